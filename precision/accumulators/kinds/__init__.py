"""The kinds of accumulators, each in a module of its own."""
