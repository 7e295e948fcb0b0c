"""Reading of the arguments of ``precision sweep``: configuration files, axes as text, names of executors."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from precision._support._optional_packages import require
from precision._support._suggestions import suggest_names
from precision._support._user_functions import import_function
from precision.studies._experiment import Study
from precision.studies._registry import STUDIES, study
from precision.sweep._cell_runs import delay_interrupts, start_worker
from precision.sweep._grid_runs import sweep

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

_OWN: dict[str, tuple[type, ...]] = {
    "study": (str,),
    "function": (str,),
    "grid": (dict, list),
}  # keys of a configuration file that are not options of the command line
_FOR_THE_COMMAND_LINE = ("listing", "set", "help", "trust", "named_function")  # options that are not keys


def _parts(text: str) -> Iterator[str]:
    """Split a text at commas outside brackets and quotes: ``PerGroup(16, 3), 'a, b'`` has two parts."""
    depth, start, quote = 0, 0, ""
    for i, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and not text[start:i].strip():
            quote = sign if sign in text[i + 1 :] else ""
        else:
            depth += (sign in "([") - (sign in ")]")
        if sign == "," and depth == 0 and not quote:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def _value(text: str) -> Any:
    """Return the number or truth value that a text is in TOML, else the text itself."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # it is not TOML, or has too many digits or brackets
        return text
    if "\n" in text:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def axis_of(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not (name.strip() and equals and values.strip()):
        raise ValueError(f"must be NAME=VALUE,..., got {text!r}")
    return name.strip(), [_value(part) for part in _parts(values)]


def _configuration(path: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} cannot be read: its arrays or tables are nested too deeply") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if ("study" in found) == ("function" in found):
        raise ValueError(f"{path} must have one of study (a name) and function (module:function)")
    for name, kind in _OWN.items():
        if name in found and not isinstance(found[name], kind):
            said = "a table, or an array of tables" if name == "grid" else "a string"
            raise ValueError(f"{path}: {name} must be {said}, got {found[name]!r}")
    return found


def _as_option_text(option: click.Option, key: str, value: Any) -> Any:
    """Return a value of a configuration file as the text that the option would have on a command line."""
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{key} must be one value, got {value!r}")
    if isinstance(value, bool) != option.is_flag:
        raise ValueError(f"{key} must {'be' if option.is_flag else 'not be'} true or false, got {value!r}")
    return value if option.is_flag else str(value)


def read_argument(context: click.Context, parameter: click.Parameter, named: str | None) -> dict[str, Any]:
    """Read the argument: a study's name, or a configuration file, whose options become defaults.

    Returns the study, the function and the grid that are named.
    """
    if named is None:
        return {}
    if named in STUDIES:
        return {"study": named}
    try:
        if not os.path.isfile(named):
            if Path(named).suffix == ".toml":
                raise ValueError(f"there is no file {named}")
            study(named)  # raises an error that suggests names
        found = _configuration(Path(named))
        known = {
            option.opts[0].removeprefix("--").replace("-", "_"): option
            for option in context.command.params
            if isinstance(option, click.Option) and option.name not in _FOR_THE_COMMAND_LINE
        }
        for key in found:
            if key not in _OWN and key not in known:
                raise ValueError(f"{named}: unknown key {key!r}; {suggest_names(key, [*_OWN, *known])}")
        context.default_map = {
            known[key].name: _as_option_text(known[key], f"{named}: {key}", value)
            for key, value in found.items()
            if key not in _OWN
        }
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    return {key: value for key, value in found.items() if key in _OWN}


class _Processes(ProcessPoolExecutor):
    """A pool whose processes print no traceback at Ctrl-C in a terminal, which ends their cells anyway."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a call; processes are started here, with Ctrl-C held back."""
        with delay_interrupts():
            return super().submit(fn, *args, **kwargs)


_Processes.__name__ = ProcessPoolExecutor.__name__  # the provenance of a table shows this name
_HERE = "in-process"
LOCAL_EXECUTORS = (_HERE, "threads", "processes")


@contextmanager
def open_executor(name: str, workers: int | None, *, quiet: bool) -> Iterator[Executor | str | None]:
    """Open an executor by its name, for the length of a block; workers that are ``quiet`` print to stderr."""
    if name == _HERE:
        if workers:
            raise ValueError("workers belong to the executors processes and threads")
        yield None
    elif name == "threads":
        with ThreadPoolExecutor(workers) as pool:
            yield pool
    elif name == "processes":
        with _Processes(
            workers, mp_context=get_context("spawn"), initializer=start_worker, initargs=(quiet,)
        ) as processes:
            yield processes
    elif "://" in name:
        yield name
    else:
        raise ValueError(
            f"executor must be in-process, threads, processes, or a Dask scheduler's address; got {name!r}"
        )


def _by_value(function: Callable[..., Any] | Study) -> None:
    """Make pickles hold the code of a user's function, for workers that cannot import its module."""
    module = sys.modules.get(getattr(function, "__module__", ""))
    if module is not None and not isinstance(function, Study):
        require("cloudpickle", "sweep").register_pickle_by_value(module)


def _grid(asked: Mapping[str, Any], axes: Mapping[str, Any]) -> Any:
    """Return the grid or grids of a file, with the axes of the command line in place of their own."""
    grid = asked.get("grid", {})
    grids = grid if isinstance(grid, list) else [grid]
    merged = [{**one, **axes} if isinstance(one, dict) else one for one in grids]
    return merged if isinstance(grid, list) else merged[0]


def run_sweep(
    asked: Mapping[str, Any], options: Mapping[str, Any], *, quiet: bool
) -> tuple[pd.DataFrame, Study | None]:
    """Run the sweep, and return its table and its study (None for a user's function).

    With ``quiet``, what functions print goes to stderr, so that JSON on the standard output stays clean.
    """
    with redirect_stdout(sys.stderr) if quiet else nullcontext():
        return _run_sweep(asked, options, quiet=quiet)


def _run_sweep(
    asked: Mapping[str, Any], options: Mapping[str, Any], *, quiet: bool
) -> tuple[pd.DataFrame, Study | None]:
    of = study(asked["study"]) if "study" in asked else None
    function = of or import_function(asked["function"])
    grid = _grid(asked, dict(options["set"]))
    _by_value(function)
    with open_executor(options["executor"], options["workers"], quiet=quiet) as executor:
        table = sweep(
            function,
            None if of is not None and not grid else grid,
            executor=executor,
            store=options["store"],
            extend=options["extend"],
            retry_failed=options["retry_failed"],
            max_cells=options["max_cells"],
            kernel_threads=options["kernel_threads"],
        )
    return table, of
