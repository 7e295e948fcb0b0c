"""Names of formats, as text: each stands for a constructor call, and a call prints one name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from precision._support._expressions import check_text, cut, parse_expression, read_keywords, shorten
from precision._support._suggestions import find_close_names

DTYPES: dict[str, np.dtype[Any]] = {}
"""Data types of NumPy and ml_dtypes, by the constructor calls of their formats."""

_PRINTED: dict[str, str] = {}  #: names by calls
_ALIASES: dict[str, str] = {}  #: calls by all names that stand for them


def enter(name: str, call: str, dtype: np.dtype[Any] | None, others: Iterable[str]) -> None:
    """Enter the name that a constructor call prints, its data type, and other names that stand for it.

    The data type's own name stands for it too, and so does what follows the underscore in one of ml_dtypes
    that tells which specials it has (``e4m3fn``).

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
    """Return the constructor call, perhaps an impossible one, of a name; None for no known pattern."""
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
    given = [str(exponent_bits), str(fraction_bits)]
    given += [] if signed else ["signed=False"]
    given += [f"specials={specials}"] if specials else []
    return f"FloatFormat({', '.join(given)})"


def shortest(call: str, *candidates: str) -> str:
    """Return the name that a call prints: its own, else the first candidate for it, else the call."""
    return _PRINTED.get(call) or next((name for name in candidates if call_of(name) == call), call)


def made(text: str, kinds: Mapping[str, type[Any]], words: Mapping[str, object]) -> Any:
    """Build the format that a name or constructor call describes.

    Parameters
    ----------
    text : str
        What the user wrote.
    kinds : mapping
        Classes that it may call, by name.
    words : mapping
        What bare words among the arguments mean.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If no format has that name (the message lists near ones), or if it names an impossible one.
    """
    name = check_text(text).strip()
    source = call_of(name) or name
    call = _parsed(source)
    if call is None:
        near = find_close_names(name.lower(), _ALIASES, n=4, cutoff=0.5)
        hint = f"; near: {', '.join(near)}" if near else "; examples: e4m3, e5m2fnuz, bf16, binary8p4se, int8"
        raise ValueError(f"no format {shorten(text)}{hint}")
    kind, tree = call
    if kind not in kinds:
        raise ValueError(f"{shorten(text)} is of class {kind}, must be of {' or '.join(kinds)}")

    def constant(node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in words:
            return words[node.id]
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise ValueError(f"cannot read {shorten(ast.get_source_segment(source, node) or '')}") from None

    try:
        arguments = {word: constant(value) for word, value in read_keywords(tree).items()}
        return kinds[kind](*map(constant, tree.args), **arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no format {shorten(text)}: {cut(str(error))}") from error


def _parsed(text: str) -> tuple[str, ast.Call] | None:
    """Return the class's name and the call of a format's class; None for any other text."""
    try:
        call = parse_expression(text)
    except ValueError:
        return None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    return (call.func.id, call) if call.func.id in ("FloatFormat", "IntFormat") else None
