"""Compiled loops that round, scale, quantize and pack numbers."""
