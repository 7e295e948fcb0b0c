"""The machine's threads, memory, processors and floating-point environment."""
