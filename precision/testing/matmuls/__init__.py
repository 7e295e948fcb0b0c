"""Checks of matrix products."""
