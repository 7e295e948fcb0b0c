"""The limits of a sweep's file: what it may name by itself, and what its user must allow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from precision.cli._sweep_options import LOCAL_EXECUTORS

_FILES = {"json_path": "json", "csv_path": "csv", "figure": "figure", "store": "store"}


def refuse_untrusted(context: click.Context, asked: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise before anything is imported, run or written, if the file names what only its user may.

    A function runs with all the rights of the user, and so does what a Dask scheduler sends back. A file
    written outside of the working folder could be any: trust in the function says nothing about it.

    Raises
    ------
    click.UsageError
        Naming the key of the file, and the option that allows it.
    """

    def only_the_file_says(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP

    if not options["trust"]:
        if "function" in asked and options["named_function"] is None:
            raise click.UsageError(
                f"the file names the function {asked['function']!r}, which may do all that you may: give "
                "--trust if you know it, or name it yourself with --function"
            )
        if only_the_file_says("executor") and options["executor"] not in LOCAL_EXECUTORS:
            raise click.UsageError(
                f"the file names the executor {options['executor']!r}: give --trust if you know that "
                "scheduler, or name it yourself with --executor"
            )
    here = Path(os.path.realpath(os.curdir))
    for name, key in _FILES.items():
        path = options[name]
        if path is None or path == "-" or not only_the_file_says(name):
            continue
        if here not in Path(os.path.realpath(path)).parents:
            raise click.UsageError(
                f"the file's {key} {path!r} does not lie below the working folder: name it yourself with "
                f"--{key}"
            )
