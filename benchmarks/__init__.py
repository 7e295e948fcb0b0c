"""The benchmarks, of which ``python -m benchmarks`` measures every row; and longer checks, each a script."""
