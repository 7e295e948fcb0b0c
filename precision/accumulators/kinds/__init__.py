"""The kinds of accumulators, one a module."""
