"""Reading of text that a user wrote as one expression of Python's syntax, of bounded length and depth."""

from __future__ import annotations

import ast
import reprlib
from collections.abc import Callable

LONGEST = 10_000
"""The most characters of a text; a Hadamard rotation with 1024 signs has half as many."""
DEEPEST = 50
"""The most levels of the syntax tree of a text."""
WIDEST = 128
"""The most bits of a whole number in a text; seeds have 64."""


def check_text(text: object) -> str:
    """Return ``text`` if it is a string, else raise TypeError."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {reprlib.repr(text)}")
    return str.__str__(text)


def shorten(value: object, most: int = 200) -> str:
    """Return the repr of a value for a message; a long string is cut, and its length is given.

    Examples
    --------
    >>> from precision._support._expressions import shorten
    >>> print(shorten("bf16"), shorten("x" * 5000, most=8), shorten(12))
    'bf16' 'xxxxxxxx…' (5000 characters) 12
    """
    if not isinstance(value, str):
        return repr(value)
    if len(value) <= most:
        return repr(str.__str__(value))
    return f"{value[:most] + '…'!r} ({len(value)} characters)"


def cut(message: str, most: int = 400) -> str:
    """Return the beginning of a message that is too long."""
    return message if len(message) <= most else message[:most] + "…"


def parse_expression(text: str) -> ast.expr:
    """Parse a text as one expression, and return its syntax tree.

    Raises
    ------
    ValueError
        If the text is no expression, or is longer, deeper or has larger whole numbers than this module
        allows; the message is the reason alone.

    Examples
    --------
    >>> from precision._support._expressions import parse_expression
    >>> parse_expression("-" * 9000 + "1")
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters, more than {LONGEST}")
    if "\0" in text:
        raise ValueError("it has a null character")
    try:
        text.encode()
        body = ast.parse(text, mode="eval").body
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair") from None
    except SyntaxError as error:
        raise ValueError(f"cannot be read ({error.msg})") from None
    except (RecursionError, MemoryError):  # the parser's own stack is full
        raise ValueError("it is nested too deeply") from None
    _check_tree(body)
    return body


def _check_tree(body: ast.expr) -> None:
    """Raise ValueError if a syntax tree is too deep, or has a whole number of too many bits."""
    level: list[ast.AST] = [body]
    for _ in range(DEEPEST):
        for node in level:
            value = getattr(node, "value", None)
            if isinstance(value, int) and value.bit_length() > WIDEST:
                raise ValueError(f"it has a whole number of {value.bit_length()} bits, more than {WIDEST}")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def evaluate_tree(tree: ast.expr, source: str, read_name: Callable[[str], object]) -> object:
    """Return the value of an expression of names, constants, signs, tuples, calls and methods.

    Nothing else of Python is evaluated. A call calls what ``read_name`` returns for a name, or a method that
    the class of its object lists in ``TEXT_METHODS``.

    Parameters
    ----------
    tree : ast.expr
        The expression, as `parse_expression` returns it.
    source : str
        The text of the expression, for messages.
    read_name : callable
        Returns the object that a name stands for, or raises ValueError with the reason.

    Raises
    ------
    ValueError
        If a part of the expression cannot be read, or a call refuses its arguments; the message is the reason
        alone.

    Examples
    --------
    >>> from precision._support._expressions import evaluate_tree, parse_expression
    >>> text = "pair((1, -2), named=x)"
    >>> names = {"pair": lambda first, named: [first, named], "x": "the value of x"}
    >>> evaluate_tree(parse_expression(text), text, names.__getitem__)
    [(1, -2), 'the value of x']
    """

    def read(node: ast.expr) -> object:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = read(node.operand)
            if type(value) in (int, float):  # no bool
                return -value if isinstance(node.op, ast.USub) else value  # type: ignore[operator]
        if isinstance(node, ast.Tuple):
            return tuple(read(item) for item in node.elts)
        if isinstance(node, ast.Name):
            return read_name(node.id)
        if isinstance(node, ast.Call):
            return call(node)
        raise ValueError(f"cannot read {written(node)}")

    def call(node: ast.Call) -> object:
        function = method(node.func) if isinstance(node.func, ast.Attribute) else read(node.func)
        if not callable(function):
            raise ValueError(f"{written(node.func)} takes no arguments")
        arguments = [read(item) for item in node.args]
        keywords = {name: read(item) for name, item in read_keywords(node).items()}
        try:
            return function(*arguments, **keywords)
        except (TypeError, ValueError) as error:
            raise ValueError(cut(str(error))) from error

    def method(node: ast.Attribute) -> object:
        owner = read(node.value)
        known = getattr(type(owner), "TEXT_METHODS", ())
        if node.attr not in known:
            raise ValueError(f"unknown form {shorten(node.attr)}; known: {', '.join(known) or 'none'}")
        return getattr(owner, node.attr)

    def written(node: ast.expr) -> str:
        return shorten(ast.get_source_segment(source, node) or "")

    return read(tree)


def read_keywords(call: ast.Call) -> dict[str, ast.expr]:
    """Return the keyword arguments of a call by their names.

    Raises
    ------
    ValueError
        If a name stands twice, or arguments are unpacked by ``**``.
    """
    found: dict[str, ast.expr] = {}
    for word in call.keywords:
        if word.arg is None:
            raise ValueError("arguments must be written one by one, got **")
        if word.arg in found:
            raise ValueError(f"argument {shorten(word.arg)} must be given once, got it twice")
        found[word.arg] = word.value
    return found
