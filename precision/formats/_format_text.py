"""Names of formats, as text: each stands for a constructor call, and a call prints one name."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._expressions import check_text, cut, parse_expression, read_keywords, shorten
from precision._support._suggestions import find_close_names

CALLS: dict[str, str] = {
    "e4m3": "FloatFormat(4, 3, specials=FN)",
    "e5m2": "FloatFormat(5, 2)",
    "e3m4": "FloatFormat(3, 4)",
    "float8_e4m3": "FloatFormat(4, 3)",
    "e4m3fnuz": "FloatFormat(4, 3, specials=FNUZ)",
    "e5m2fnuz": "FloatFormat(5, 2, specials=FNUZ)",
    "e4m3b11fnuz": "FloatFormat(4, 3, bias=11, specials=FNUZ)",
    "binary8p4se": "FloatFormat(4, 3, specials=EXTENDED)",
    "binary8p3se": "FloatFormat(5, 2, specials=EXTENDED)",
    "binary8p1uf": "FloatFormat(8, 0, signed=False, specials=FNUZ)",
    "binary4p2sf": "FloatFormat(2, 1, specials=FNUZ)",
    "e2m3": "FloatFormat(2, 3, specials=NONE)",
    "e3m2": "FloatFormat(3, 2, specials=NONE)",
    "e2m1": "FloatFormat(2, 1, specials=NONE)",
    "e8m0": "FloatFormat(8, 0, signed=False, specials=FN, subnormals=False)",
    "ue4m3": "FloatFormat(4, 3, signed=False, specials=FN)",
    "ue5m3": "FloatFormat(5, 3, signed=False, specials=FN)",
    "e5m6": "FloatFormat(5, 6)",
    "fp16": "FloatFormat(5, 10)",
    "bf16": "FloatFormat(8, 7)",
    "tf32": "FloatFormat(8, 10)",
    "e8m13": "FloatFormat(8, 13)",
    "fp32": "FloatFormat(8, 23)",
    "fp64": "FloatFormat(11, 52)",
    "int8": "IntFormat(8)",
    "mxint8": "IntFormat(8, fraction_bits=6)",
    "uint8": "IntFormat(8, signed=False)",
    "int4": "IntFormat(4)",
    "uint4": "IntFormat(4, signed=False)",
    "int2": "IntFormat(2)",
    "uint2": "IntFormat(2, signed=False)",
    "uint1": "IntFormat(1, signed=False)",
}
"""The named formats, by the name that they print; a call is written as the format itself would print it."""

DTYPES: dict[str, np.dtype[Any]] = {
    "e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "e3m4": np.dtype(ml_dtypes.float8_e3m4),
    "float8_e4m3": np.dtype(ml_dtypes.float8_e4m3),
    "e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "e4m3b11fnuz": np.dtype(ml_dtypes.float8_e4m3b11fnuz),
    "e2m3": np.dtype(ml_dtypes.float6_e2m3fn),
    "e3m2": np.dtype(ml_dtypes.float6_e3m2fn),
    "e2m1": np.dtype(ml_dtypes.float4_e2m1fn),
    "e8m0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "fp16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "fp32": np.dtype(np.float32),
    "fp64": np.dtype(np.float64),
}
"""The floating-point types of NumPy and ml_dtypes, by the names of their formats."""

_PRINTED = {call: name for name, call in CALLS.items()}
_ALIASES = {
    **CALLS,
    **{kind.name: CALLS[name] for name, kind in DTYPES.items()},
    **{
        kind.name.partition("_")[2]: CALLS[n]
        for n, kind in DTYPES.items()
        if kind.name.endswith(("fn", "fnu"))
    },
    "ue8m0": CALLS["e8m0"],
    "fp22": CALLS["e8m13"],
    "float4_e2m1": CALLS["e2m1"],
}


def call_of(name: str) -> str | None:
    """The constructor call, perhaps an impossible one, that a name stands for; None for no known pattern."""
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
    """The name that a call prints: its own, else the first candidate that stands for it, else itself."""
    return _PRINTED.get(call) or next((name for name in candidates if call_of(name) == call), call)


def made(text: str, kinds: Mapping[str, type[Any]], words: Mapping[str, object]) -> Any:
    """The format that a name or constructor call describes.

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
    """The class's name and the call of a format's class; None for any other text."""
    try:
        call = parse_expression(text)
    except ValueError:
        return None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    return (call.func.id, call) if call.func.id in ("FloatFormat", "IntFormat") else None
