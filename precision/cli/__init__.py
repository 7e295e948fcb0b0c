"""The command `precision`."""

from precision.cli._main import command

__all__ = ["command"]
