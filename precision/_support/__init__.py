"""Support modules that know no format: argument checks, threads, files, the floating-point environment."""
