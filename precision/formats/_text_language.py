"""The text of specs, accumulators and their parts: constructor calls that print short and parse back.

``describe`` leaves arguments with default values out; ``evaluate`` reads names of a given vocabulary, and
takes any other name as that of a format. `precision._support._expressions` says what else of Python is read.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from precision._support._expressions import check_text, evaluate_tree, parse_expression, shorten
from precision._support._suggestions import find_close_names
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import parse_format


def describe_value(value: object) -> str:
    """Return the text of an argument, as `evaluate` reads it back."""
    if isinstance(value, tuple):
        inner = ", ".join(describe_value(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value) or value is None or isinstance(value, (bool, int, float)):
        return str(value)
    return repr(value)


def describe(instance: object, positional: int = 2) -> str:
    """Return the constructor call of a dataclass's object, its first ``positional`` fields without names."""
    parts = []
    for index, field in enumerate(dataclasses.fields(instance)):  # type: ignore[arg-type]
        value = getattr(instance, field.name)
        if index < positional and not field.kw_only:
            parts.append(describe_value(value))
        elif value != field.default:
            parts.append(f"{field.name}={describe_value(value)}")
    return f"{type(instance).__name__}({', '.join(parts)})"


def evaluate(text: str, names: Mapping[str, object], kind: str) -> object:
    """Return the object that a text describes in a vocabulary of names, which formats' names extend.

    Parameters
    ----------
    text : str
        A name or a constructor call, with or without methods that its class lists in ``TEXT_METHODS``.
    names : mapping
        The objects and classes that a name may stand for, in capitals too.
    kind : str
        The kind of thing that the text should describe, which messages begin with: "spec", for one.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If a part of the text cannot be read; the message has the text and that part.
    """
    source = check_text(text).strip()
    formats: dict[str, object] = {"FloatFormat": FloatFormat, "IntFormat": IntFormat}
    known = {**names, **formats, **{member.name: member for member in Specials}}

    def read_name(name: str) -> object:
        for key in (name, name.upper()):
            if key in known:
                return known[key]
        try:
            return parse_format(name)
        except ValueError:
            near = find_close_names(name.upper(), {key.upper(): key for key in names}, n=3, cutoff=0.5)
            hint = f"; near names: {', '.join(near)}" if near else f"; known: {', '.join(names)}"
            raise ValueError(f"unknown name {shorten(name)}{hint}") from None

    try:
        return evaluate_tree(parse_expression(source), source, read_name)
    except ValueError as error:
        raise ValueError(f"{kind} {shorten(text)}: {error}") from None
