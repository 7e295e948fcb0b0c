"""Names of formats as text: each stands for a constructor call, and each call prints one name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from precision._support._expressions import check_text, evaluate_tree, parse_expression, shorten
from precision._support._suggestions import find_close_names

DTYPES: dict[str, np.dtype[Any]] = {}
"""Data types of NumPy and ml_dtypes, by the constructor calls of their formats."""

_PRINTED: dict[str, str] = {}  #: the name that each constructor call prints
_ALIASES: dict[str, str] = {}  #: the constructor call of each name


def enter(name: str, call: str, dtype: np.dtype[Any] | None, others: Iterable[str]) -> None:
    """Enter in the tables the name and the data type of a constructor call, and other names for it.

    The data type's own name stands for the call too. So does the part after the underscore in a name of
    ml_dtypes that says which special values the type has (``e4m3fn`` of ``float8_e4m3fn``).

    Raises
    ------
    ValueError
        If the call has a name already.
    """
    if call in _PRINTED:
        raise ValueError(f"name must be the only one of {call}, got {name!r} beside {_PRINTED[call]!r}")
    _PRINTED[call] = name
    names = [name, *others]
    if dtype is not None:
        DTYPES[call] = dtype
        names.append(dtype.name)
        if dtype.name.endswith(("fn", "fnu")):
            names.append(dtype.name.partition("_")[2])
    _ALIASES.update(dict.fromkeys(names, call))


def call_of(name: str) -> str | None:
    """Return the constructor call that a name stands for, or None for a name of no known pattern.

    The call may be one that no format has: its numbers are not checked here.
    """
    name = name.lower()
    if name in _ALIASES:
        return _ALIASES[name]
    if found := re.fullmatch(r"(u?)e(\d{1,2})m(\d{1,2})(fnuz|fn|)", name, re.ASCII):
        u, e, m, suffix = found.groups()
        specials = suffix.upper() or ("FN" if u else "")
        return _float_call(int(e), int(m), not u, specials)
    if found := re.fullmatch(r"binary(\d{1,2})p(\d{1,2})([su])([ef])", name, re.ASCII):
        k, p, signed = int(found[1]), int(found[2]), found[3] == "s"
        return _float_call(k - p + (not signed), p - 1, signed, "EXTENDED" if found[4] == "e" else "FNUZ")
    return None


def _float_call(exponent_bits: int, fraction_bits: int, signed: bool, specials: str) -> str:
    """Return the constructor call of a floating-point format with the standard bias."""
    given = [str(exponent_bits), str(fraction_bits)]
    given += [] if signed else ["signed=False"]
    given += [f"specials={specials}"] if specials else []
    return f"FloatFormat({', '.join(given)})"


def shortest_name(call: str, *candidates: str) -> str:
    """Return the name that the format of a constructor call prints.

    It is the name that was entered for the call, else the first candidate that stands for the call, else the
    call itself.
    """
    return _PRINTED.get(call) or next((name for name in candidates if call_of(name) == call), call)


def build_format(text: str, classes: Mapping[str, type[Any]], words: Mapping[str, object]) -> Any:
    """Build the format that a name or constructor call describes.

    Parameters
    ----------
    text : str
        The name or the call, as a user wrote it.
    classes : mapping
        The classes that a call may name, by their names.
    words : mapping
        The objects that bare words among the arguments stand for.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If no format has that name (the message lists near ones), or if it names an impossible one.
    """
    name = check_text(text).strip()
    source = call_of(name) or name
    call = _parsed_call(source)
    if call is None:
        near = find_close_names(name.lower(), _ALIASES, n=4, cutoff=0.5)
        hint = f"; near: {', '.join(near)}" if near else "; examples: e4m3, e5m2fnuz, bf16, binary8p4se, int8"
        raise ValueError(f"no format {shorten(text)}{hint}")
    class_name, tree = call
    if class_name not in classes:
        raise ValueError(f"{shorten(text)} is of class {class_name}, must be of {' or '.join(classes)}")
    known = {**words, **classes}

    def read_name(word: str) -> object:
        if word in known:
            return known[word]
        raise ValueError(f"cannot read {shorten(word)}")

    try:
        return evaluate_tree(tree, source, read_name)
    except ValueError as error:
        raise ValueError(f"no format {shorten(text)}: {error}") from error


def _parsed_call(text: str) -> tuple[str, ast.Call] | None:
    """Return the class and the syntax tree of a call that builds a format, or None for any other text."""
    try:
        call = parse_expression(text)
    except ValueError:
        return None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    return (call.func.id, call) if call.func.id in ("FloatFormat", "IntFormat") else None
