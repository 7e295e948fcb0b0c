"""Checks of functions that pack codes into bytes."""
