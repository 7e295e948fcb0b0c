"""Compiled loops of LogFMT."""
