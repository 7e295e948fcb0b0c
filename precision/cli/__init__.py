"""The command `precision`."""

from precision.cli._main import command, formats, gemm

__all__ = ["command", "formats", "gemm"]
