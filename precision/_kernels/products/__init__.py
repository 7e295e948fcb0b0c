"""Compiled loops that sum products."""
