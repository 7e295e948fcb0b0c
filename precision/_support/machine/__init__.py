"""What the machine offers: threads, memory, processors and the floating-point environment."""
