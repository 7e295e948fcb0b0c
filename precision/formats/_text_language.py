"""The one text language: specs and accumulators print as short constructor calls that parse back.

``describe`` leaves defaults out; ``evaluate`` reads names, numbers, strings, tuples, calls and method
calls of a given vocabulary, and nothing else of Python. A name outside it is tried as a format.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
from collections.abc import Mapping

from precision._support._expressions import check_text, cut, parse_expression, read_keywords, shorten
from precision._support._suggestions import find_close_names
from precision.formats._float_format import FloatFormat, Specials
from precision.formats._int_format import IntFormat
from precision.formats._named import parse_format


def describe_value(value: object) -> str:
    """One argument as `evaluate` reads it back."""
    if isinstance(value, tuple):
        inner = ", ".join(describe_value(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, enum.Enum):
        return value.name
    if dataclasses.is_dataclass(value) or value is None or isinstance(value, (bool, int, float)):
        return str(value)
    return repr(value)


def describe(instance: object, positional: int = 2) -> str:
    """A frozen dataclass as its constructor call, the first ``positional`` fields without their names."""
    parts = []
    for index, field in enumerate(dataclasses.fields(instance)):  # type: ignore[arg-type]
        value = getattr(instance, field.name)
        if index < positional and not field.kw_only:
            parts.append(describe_value(value))
        elif value != field.default:
            parts.append(f"{field.name}={describe_value(value)}")
    return f"{type(instance).__name__}({', '.join(parts)})"


def evaluate(text: str, names: Mapping[str, object], what: str) -> object:
    """What ``text`` says in the vocabulary ``names``, with the methods that objects list in ``TEXT_METHODS``.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        Naming the text and the part that is unknown.
    """
    source = check_text(text).strip()

    def fail(reason: str) -> ValueError:
        return ValueError(f"{what} {shorten(text)}: {reason}")

    def written(node: ast.expr) -> str:
        return shorten(ast.get_source_segment(source, node) or "")

    formats: dict[str, object] = {"FloatFormat": FloatFormat, "IntFormat": IntFormat}
    known = {**names, **formats, **{member.name: member for member in Specials}}

    def read_name(name: str) -> object:
        for key in (name, name.upper()):
            if key in known:
                return known[key]
        try:
            return parse_format(name)
        except ValueError:
            near = find_close_names(name.upper(), [key.upper() for key in names], n=3, cutoff=0.5)
            hint = f"; near names: {', '.join(near)}" if near else f"; known: {', '.join(names)}"
            raise fail(f"unknown name {shorten(name)}{hint}") from None

    def read(node: ast.expr) -> object:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = read(node.operand)
            if isinstance(value, (int, float)):
                return -value
        if isinstance(node, ast.Tuple):
            return tuple(read(item) for item in node.elts)
        if isinstance(node, ast.Name):
            return read_name(node.id)
        if isinstance(node, ast.Call):
            function = _method(node.func) if isinstance(node.func, ast.Attribute) else read(node.func)
            if not callable(function):
                raise fail(f"{written(node.func)} takes no arguments")
            arguments = [read(item) for item in node.args]
            try:
                named = read_keywords(node)
            except ValueError as error:
                raise fail(str(error)) from None
            keywords = {name: read(item) for name, item in named.items()}
            try:
                return function(*arguments, **keywords)
            except (TypeError, ValueError) as error:
                raise fail(cut(str(error))) from None
        raise fail(f"cannot read {written(node)}")

    def _method(node: ast.Attribute) -> object:
        owner = read(node.value)
        known = getattr(type(owner), "TEXT_METHODS", ())
        if node.attr not in known:
            raise fail(f"unknown form {shorten(node.attr)}; known: {', '.join(known) or 'none'}")
        return getattr(owner, node.attr)

    try:
        body = parse_expression(source)
    except ValueError as error:
        raise fail(str(error)) from None
    return read(body)
