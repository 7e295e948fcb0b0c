"""Threads, memory, processors and the floating-point environment of the machine."""
