"""Grids of parameters: the calls that a sweep makes, each with its text for tables and its key in a store."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from precision._support._suggestions import suggest_names
from precision._support._types import Plain

Axes: TypeAlias = Mapping[str, Any]
_T = TypeVar("_T", int, str)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One call of a sweep: the arguments that the function gets, and their form in a table."""

    arguments: Mapping[str, Any]
    shown: Mapping[str, Plain]

    @functools.cached_property
    def key(self) -> str:
        """The key of the arguments, in any order: 128 bits of SHA-256 over their text."""
        text = json.dumps(dict(sorted(self.shown.items())), separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def as_plain(value: object) -> Plain:
    """Convert a value to the form that tables and stores hold: a number, text or None.

    Objects that print as text become that text.

    Raises
    ------
    TypeError
        If the value has no text that says all of it.
    """
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":  # items of dates depend on their unit
        item = value.item()  # the item of an ml_dtypes number is such a number again
        return as_plain(float(value) if isinstance(item, np.generic) else item)
    if isinstance(value, enum.Enum):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    # A subclass may print in another way, and no store keeps its type.
    if isinstance(value, int):
        return _check_storable(int.__int__(value))
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return _check_storable(str.__str__(value))
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    ours = type(value).__module__.partition(".")[0] == "precision"
    if ours or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        text = str(value)
        if re.search(r" at 0x[0-9a-fA-F]+>", text):
            raise TypeError(f"got {text}, whose text is another in every process")
        fields = getattr(value, "__dataclass_fields__", {})
        if any(isinstance(getattr(value, name, None), np.ndarray) for name in fields):
            raise TypeError(f"got {text}, which holds an array: its text does not say all of it")
        return _check_storable(text)
    if isinstance(value, tuple):
        texts = [(part, as_plain(part)) for part in value]
        parts = (repr(text) if isinstance(part, str) else str(text) for part, text in texts)
        return f"({', '.join(parts)})"
    raise TypeError(
        f"got {value!r} of type {type(value).__name__}; a value must be a number, a string, None, a tuple of "
        "them, or an object that prints as text (a spec, an accumulator, an enum, a dataclass)"
    )


def _check_storable(value: _T) -> _T:
    """Return a value if tables and stores can hold it, else raise TypeError."""
    try:
        str(value).encode()
    except ValueError as error:  # the value has a lone surrogate, or is an int of thousands of digits
        raise TypeError(f"got {type(value).__name__} that cannot be written: {error}") from None
    return value


def _read_signature(function: Callable[..., Any]) -> tuple[dict[str, Any], list[str], bool]:
    """Return a function's defaults, its parameters without one, and whether it takes any other name."""
    defaults: dict[str, Any] = {}
    required: list[str] = []
    takes_any = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"function {_name_function(function)} has the positional-only parameter {name!r}")
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            if parameter.default is parameter.empty:
                required.append(name)
            else:
                defaults[name] = parameter.default
    return defaults, required, takes_any


def _name_function(function: Callable[..., Any]) -> str:
    """Return the name of a function for a message."""
    return str(getattr(function, "__qualname__", function))


def _read_axis(name: str, values: Any, read: Callable[[Any], Any] | None) -> list[tuple[Any, Plain]]:
    """Return the values of an axis, each in the form that the function gets and in that of a table."""
    if isinstance(values, set | frozenset):
        raise TypeError(f"grid[{name!r}] is a set, which has no order: give a list")
    if hasattr(values, "dims"):
        values = np.asarray(values)  # the elements of an xarray array are arrays themselves
    if isinstance(values, np.ndarray) and values.ndim == 0:
        values = values[()]
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        values = [values]
    entries: dict[str, tuple[Any, Plain]] = {}
    for value in values:
        if isinstance(value, np.generic):
            try:  # the function gets the same numbers from an array and from a list
                value = as_plain(value)
            except TypeError as error:
                raise TypeError(f"grid[{name!r}]: {error}") from None
        if read is not None:
            try:
                value = read(value)
            except (TypeError, ValueError) as error:
                raise type(error)(f"grid[{name!r}]: {error}") from error
        try:
            shown = as_plain(value)
        except TypeError as error:
            raise TypeError(f"grid[{name!r}]: {error}") from None
        if isinstance(shown, float) and math.isnan(shown):
            raise ValueError(f"grid[{name!r}] holds NaN, which is no value of a parameter")
        if repr(shown) in entries:  # the repr tells 1, 1.0, True, 0.0 and -0.0 apart
            raise ValueError(f"grid[{name!r}] holds {shown!r} twice")
        entries[repr(shown)] = value, shown
    if not entries:
        raise ValueError(f"grid[{name!r}] is empty: it must hold at least one value")
    return list(entries.values())


def list_cells(
    function: Callable[..., Any],
    grid: Axes | Sequence[Axes],
    *,
    reads: Mapping[str, Callable[[Any], Any]],
    max_cells: int,
) -> list[Cell]:
    """List every cell of a grid, or of several, each cell once, the last parameter running fastest.

    A parameter with a default that no axis names is in every cell with that default, if it has a text.

    Raises
    ------
    TypeError, ValueError
        As `precision.sweep.sweep` raises them.
    """
    defaults, required, takes_any = _read_signature(function)
    if not isinstance(grid, Iterable):
        raise TypeError(f"grid must be a mapping of names to values, or several of them; got {grid!r}")
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    if not grids:
        raise ValueError("grid is empty: it must name at least one parameter")
    fixed = {}
    for name, value in defaults.items():
        try:
            fixed[name] = as_plain(value)
        except TypeError:
            continue  # a default without a text, such as an array, is no column of the table
    known = [*required, *defaults]
    if "error" in fixed or "error" in required:
        raise ValueError(
            f"function {_name_function(function)} has a parameter 'error', a column of every table"
        )
    axes = []
    for one in grids:
        if not isinstance(one, Mapping):
            raise TypeError(f"grid must be a mapping of names to values, or several of them; got {one!r}")
        if not one:
            raise ValueError("grid is empty: it must name at least one parameter")
        for name in one:
            if not isinstance(name, str):
                raise TypeError(f"grid must be keyed by names of parameters, got {name!r}")
            if name == "error":
                raise ValueError("grid: 'error' is another column of the table")
            if name not in known and not takes_any:
                raise ValueError(
                    f"grid: {_name_function(function)} has no parameter {name!r}; "
                    f"{suggest_names(name, known, 'it has')}"
                )
        lacking = [name for name in required if name not in one]
        if lacking:
            raise ValueError(
                f"grid: {_name_function(function)} needs {', '.join(lacking)}, and the grid gives no values"
            )
        axes.append({name: _read_axis(name, values, reads.get(name)) for name, values in one.items()})
    total = sum(math.prod(map(len, one.values())) for one in axes)
    if total > max_cells:
        sizes = " + ".join(" x ".join(f"{name} {len(v)}" for name, v in one.items()) for one in axes)
        raise ValueError(f"grid has {total:,} cells ({sizes}), more than max_cells = {max_cells:,}")
    cells: dict[str, Cell] = {}
    order = [*known, *dict.fromkeys(name for one in axes for name in one if name not in known)]
    for one in axes:
        for point in itertools.product(*one.values()):
            arguments = {name: value for name, (value, _) in zip(one, point, strict=True)}
            texts = fixed | {name: shown for name, (_, shown) in zip(one, point, strict=True)}
            shown = {name: texts[name] for name in order if name in texts}
            new = Cell(arguments=arguments, shown=shown)
            cells.setdefault(new.key, new)
    return list(cells.values())
