"""Careful reading of files, and writing of whole files."""
