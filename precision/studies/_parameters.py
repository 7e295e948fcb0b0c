"""Readers, which turn the text of a command line or a TOML file into the values of a study's parameters.

A reader takes text, or a value of the right kind, which it returns unchanged; any other argument raises an
error that names the parameter. A value's text, as ``str`` gives it, is read back as that value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from precision import accumulators, specs
from precision._support._argument_checks import check_int
from precision._support._expressions import shorten
from precision._support._suggestions import did_you_mean
from precision.accumulators._accumulator import Accumulator
from precision.formats import _text_language
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format, parse_format
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._distributions import DISTRIBUTIONS
from precision.quantization._granularity import PerBlock, PerGroup, PerTensor, PerVector
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.studies._array_sources import Arrays

Reader = Callable[[Any], Any]


def _reader(name: str, parse: Callable[[str], Any], kinds: tuple[type, ...], said: str) -> Reader:
    """Return a reader that parses text, and checks that the value is an instance of ``kinds``."""

    def read(given: Any) -> Any:
        value = given
        if isinstance(given, str):
            try:
                value = parse(given)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if isinstance(value, bool) or not isinstance(value, kinds):
            kind = ValueError if isinstance(given, str) else TypeError
            raise kind(f"{name} must be {said}, got {shorten(given)}")
        return value

    return read


def whole(name: str, low: int = 1, high: int = 2**31 - 1, *, none: bool = False) -> Reader:
    """Return a reader of an int from ``low`` to ``high``, and of "None" if ``none`` is true."""
    said = f"an int from {low} to {high}" + (" or None" if none else "")

    def read(given: Any) -> Any:
        value = given
        if isinstance(given, str):
            try:
                value = None if given.strip() == "None" else int(given)
            except ValueError:
                raise ValueError(f"{name} must be {said}, got {shorten(given)}") from None
        if value is None and none:
            return None
        try:
            return check_int(name, value, low, high)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(given, str) else type(error)
            raise kind(f"{name} must be {said}, got {shorten(given)}") from None

    return read


def number(name: str) -> Reader:
    """Return a reader of a finite float."""

    def read(given: Any) -> float:
        value = given
        if isinstance(given, str):
            try:
                value = float(given)
            except ValueError:
                raise ValueError(f"{name} must be a number, got {shorten(given)}") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {shorten(given)}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, got {shorten(given)}")
        return float(value)

    return read


def truth(name: str) -> Reader:
    """Return a reader of True or False."""
    words = {"true": True, "false": False}

    def read(given: Any) -> bool:
        value = words.get(given.strip().lower()) if isinstance(given, str) else given
        if not isinstance(value, bool):
            kind = ValueError if isinstance(given, str) else TypeError
            raise kind(f"{name} must be True or False, got {shorten(given)}")
        return value

    return read


def one_of(name: str, options: Iterable[str]) -> Reader:
    """Return a reader of one of a few words."""
    known = tuple(options)

    def read(given: Any) -> str:
        if not isinstance(given, str):
            raise TypeError(f"{name} must be a str, got {shorten(given)}")
        if given not in known:
            hint = did_you_mean(given, known)
            raise ValueError(f"{name} must be one of {', '.join(known)}; got {shorten(given)}{hint}")
        return given

    return read


def accumulator(name: str) -> Reader:
    """Return a reader of an accumulator, as HOPPER_FP8.promoted(128)."""
    return _reader(name, accumulators.parse, (Accumulator,), "an accumulator, as HOPPER_FP8.promoted(128)")


def any_spec(name: str) -> Reader:
    """Return a reader of any spec that quantizes an array: a QuantSpec, a LogFMT, or a bare format."""
    return _reader(name, specs.parse, (QuantSpec, LogFMT, FloatFormat), "a spec or a format, as MXFP4")


def operand_spec(name: str) -> Reader:
    """Return a reader of a spec that quantizes an operand of a product: a QuantSpec or a bare format."""
    said = "a QuantSpec or a floating-point format, as QuantSpec(e4m3, PerTensor()) or e4m3"
    return _reader(name, specs.parse, (QuantSpec, FloatFormat), said)


def scaled_spec(name: str) -> Reader:
    """Return a reader of a `QuantSpec`, a spec with scales."""
    return _reader(name, specs.parse, (QuantSpec,), "a QuantSpec, as MXFP4 or QuantSpec(e4m3, PerGroup(32))")


def any_format(name: str) -> Reader:
    """Return a reader of a floating-point or integer format."""

    def parse(text: str) -> Format:
        return parse_format(text.strip())

    return _reader(name, parse, (FloatFormat, IntFormat), "a format, as e4m3 or int8")


def float_format(name: str) -> Reader:
    """Return a reader of a floating-point format."""

    def parse(text: str) -> Format:
        return parse_format(text.strip())

    return _reader(name, parse, (FloatFormat,), "a floating-point format, as bf16")


def granularity(name: str) -> Reader:
    """Return a reader of a granularity, as PerGroup(32), which also takes an object of a user's own class."""
    kinds = PerTensor, PerVector, PerGroup, PerBlock
    names: dict[str, object] = {kind.__name__: kind for kind in kinds}
    said = f"one of {', '.join(names)}, as PerGroup(32)"

    def read(given: Any) -> Any:
        value = _text_language.evaluate(given, names, name) if isinstance(given, str) else given
        if isinstance(value, type) or not callable(getattr(value, "block", None)):
            kind = ValueError if isinstance(given, str) else TypeError
            raise kind(f"{name} must be {said}, got {shorten(given)}")
        return value

    return read


def rounding(name: str) -> Reader:
    """Return a reader of a rounding: a member of `Rounding`, or ``Stochastic(bits)``."""
    names: dict[str, object] = {mode.name: mode for mode in Rounding} | {"Stochastic": Stochastic}

    def parse(text: str) -> object:
        return _text_language.evaluate(text, names, "rounding")

    kinds = Rounding, Stochastic
    return _reader(name, parse, kinds, f"one of {', '.join(map(str, Rounding))}, or Stochastic(bits)")


def mode(name: str) -> Reader:
    """Return a reader of a deterministic rounding, a member of `Rounding`."""
    text = one_of(name, Rounding.__members__)

    def read(given: Any) -> Rounding:
        return given if isinstance(given, Rounding) else Rounding[text(given)]

    return read


def scale_rule(name: str) -> Reader:
    """Return a reader of a member of `ScaleRule`."""
    text = one_of(name, ScaleRule.__members__)

    def read(given: Any) -> ScaleRule:
        return given if isinstance(given, ScaleRule) else ScaleRule[text(given)]

    return read


def named(*readers: tuple[str, Callable[..., Reader]], **sizes: int) -> dict[str, Reader]:
    """Return readers by the names of their parameters; ``sizes`` has the least values of int parameters."""
    return {name: make(name) for name, make in readers} | {
        name: whole(name, low) for name, low in sizes.items()
    }


def distribution(name: str) -> Reader:
    """Return a reader of a distribution's name."""
    return one_of(name, DISTRIBUTIONS)


def text(name: str) -> Reader:
    """Return a reader of any text."""

    def read(given: Any) -> str:
        if not isinstance(given, str):
            raise TypeError(f"{name} must be a str, got {shorten(given)}")
        return given

    return read


def or_word(read_other: Reader, word: str) -> Reader:
    """Return a reader of one word, and else of what another reader reads."""
    return lambda given: word if isinstance(given, str) and given == word else read_other(given)


def distribution_or(name: str, kind: type) -> Reader:
    """Return a reader of a distribution's name, or of an instance of ``kind``, which holds given arrays."""
    read_name = distribution(name)
    return lambda given: given if isinstance(given, kind) else read_name(given)


DRAWN = {
    "distribution": distribution("distribution"),
    "offset": number("offset"),
    "seed": whole("seed", 0, 2**63 - 1),
}
PRODUCT = named(k=1, m=1, n=1) | DRAWN
NUMBERS = named(rows=1, columns=1) | {
    "distribution": distribution("distribution"),
    "seed": whole("seed", 0, 2**63 - 1),
}
ARRAYS = named(rows=1, columns=1) | {
    "data": distribution_or("data", Arrays),
    "tensor": text("tensor"),
    "axis": whole("axis", -64, 63),
    "seed": whole("seed", 0, 2**63 - 1),
}
