"""Helpers of every room that know no number: argument checks, text, files and what the machine offers."""
