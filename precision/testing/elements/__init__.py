"""Checks of functions that round numbers one by one."""
