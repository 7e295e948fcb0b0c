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
    """Raise if a sweep's file names a function, a scheduler or an output that needs its user's consent.

    Nothing has been imported, run or written before. A function runs with all the rights of the user, and
    so does what a Dask scheduler sends back. An output outside of the working folder could overwrite any
    file of the user's, whether its function is trusted or not.

    Raises
    ------
    click.UsageError
        If there is such a name; the message has the key of the file, and the option that allows it.
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
