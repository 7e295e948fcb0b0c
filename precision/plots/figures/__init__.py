"""The figures, one a module."""
