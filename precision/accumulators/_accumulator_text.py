"""The names of accumulators, and the parser of their text."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from precision._support._collected_modules import find_entries
from precision._support._expressions import shorten
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._inner_scales import ScaledGroups, ScaledProducts
from precision.formats import _text_language
from precision.formats._rounding_modes import Rounding

Kind = TypeVar("Kind", bound=Accumulator)

#: Modules that enter their accumulators in `NAMED` when they are imported.
CATALOGUES = ("precision.units",)
#: The folder of the classes whose constructor calls a text may hold.
KINDS = "precision.accumulators.kinds"
_entered: dict[str, Accumulator] = {}


def _all_entered() -> dict[str, Accumulator]:
    """Return the accumulators that have names, once the catalogues have entered theirs."""
    for catalogue in CATALOGUES:
        importlib.import_module(catalogue)
    return _entered


@functools.cache
def _find_kinds() -> dict[str, type[Accumulator]]:
    """Return the classes of accumulators that the modules of the collection define, by their names."""
    modules = [importlib.import_module(module) for module in find_entries(KINDS).values()]
    found = [(module, value) for module in modules for value in vars(module).values()]
    return {
        value.__name__: value
        for module, value in found
        if isinstance(value, type) and issubclass(value, Accumulator) and value.__module__ == module.__name__
    }


class _Named(Mapping[str, Accumulator]):
    """A view of the named accumulators that imports the catalogues when it is read."""

    def __getitem__(self, name: str) -> Accumulator:
        return _all_entered()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_all_entered())

    def __len__(self) -> int:
        return len(_all_entered())

    def __repr__(self) -> str:
        return repr(_all_entered())


#: Every accumulator that has a name of its own.
NAMED: Mapping[str, Accumulator] = _Named()


def enter_accumulator(name: str, accumulator: Kind) -> Kind:
    """Enter an accumulator under its name, and return it with that name.

    Raises
    ------
    ValueError
        If the name is taken.
    """
    if name in _entered:
        raise ValueError(f"name must be new, got {name!r}, which is taken")
    _entered[name] = accumulator.with_name(name)
    return _entered[name]  # type: ignore[return-value]


@in_default_environment
def parse(text: str) -> Accumulator:
    """Return the accumulator that a text describes, which is how the accumulator prints.

    Parameters
    ----------
    text : str
        A name as ``HOPPER_FP8`` or a constructor call as ``FusedSum((fp16,), 8, fraction_bits=24)``, with or
        without calls of methods as ``.promoted(128)``.

    Raises
    ------
    TypeError
        If ``text`` is not a string.
    ValueError
        If ``text`` describes no accumulator; the message lists near names.

    Examples
    --------
    >>> import precision as pr
    >>> pr.parse_accumulator("HOPPER_FP8.with_width(10)") == pr.HOPPER_FP8.with_width(10)
    True
    """
    vocabulary: dict[str, object] = {**_all_entered()}
    vocabulary |= _find_kinds()
    vocabulary |= {kind.__name__: kind for kind in (ScaledProducts, ScaledGroups)}
    vocabulary |= {mode.name: mode for mode in Rounding}
    result = _text_language.evaluate(text, vocabulary, "accumulator")
    if not isinstance(result, Accumulator):
        kind = type(result).__name__
        raise ValueError(f"accumulator {shorten(text)}: names a {kind}, not an accumulator")
    return result


def as_accumulator(value: object) -> Accumulator:
    """Return the accumulator that an argument is, or that its text describes.

    Parameters
    ----------
    value : Accumulator or str
        An accumulator, or the text of one.

    Raises
    ------
    TypeError
        If ``value`` is neither an accumulator nor a string.
    ValueError
        If the text describes no accumulator.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.accumulators import as_accumulator
    >>> as_accumulator("EXACT") is as_accumulator(pr.EXACT)
    True
    """
    if isinstance(value, Accumulator):
        return value
    if isinstance(value, str):
        return parse(value)
    raise TypeError(f"accumulator must be a FusedSum, FmaChain or Exact, or the text of one, got {value!r}")
