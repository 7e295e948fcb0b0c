"""The number of bits that a value takes in a format or under a spec, the one rule of `precision.cost`."""

from __future__ import annotations

import operator
import sys
from typing import Protocol, TypeAlias

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import in_default_environment
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format

Shape: TypeAlias = tuple[int, ...]

_LARGEST = sys.float_info.max
_MOST = 10**9  # the largest number of layers, heads, values or tokens


class HasBits(Protocol):
    """An object that states how many bits it takes: `QuantSpec`, and every other spec."""

    def bits_per_element(self, shape: Shape) -> float:
        """Return the bits stored for each element of an array of ``shape``, scales counted."""
        ...


Payload: TypeAlias = Format | HasBits | float
"""A format, a spec, or a number of bits, in which values are stored or sent."""


@in_default_environment
def bits_per_element(fmt: Payload, shape: Shape) -> float:
    """Return the bits that a format takes for each element of an array, as all of `precision.cost` counts.

    Parameters
    ----------
    fmt : FloatFormat, IntFormat, spec or float
        A bare format has its own bits and no scale. A spec, or any object with ``bits_per_element(shape)``,
        is asked for its bits in such an array, groups along the last axis: they include scales, a tensor's
        scale, a tile's metadata, and shorter last groups. A number counts bits (not bytes) and is above 0;
        NaN and Inf raise ValueError.
    shape : tuple of int
        The shape of the array. Under a spec it must have elements; a bare format has its bits for any shape.

    Returns
    -------
    float
        Bits an element. Padding to whole bytes is not counted.

    Raises
    ------
    TypeError, ValueError
        If ``fmt`` is none of these, or what it gives is no positive finite number, or ``shape`` is no
        tuple of sizes; as the spec raises them where it does not suit the shape.

    Examples
    --------
    >>> import precision as pr
    >>> from precision import cost
    >>> tiles = pr.QuantSpec(pr.E4M3, pr.PerGroup(128))
    >>> [cost.bits_per_element(fmt, (32, 7168)) for fmt in (pr.E4M3, tiles, pr.MXFP4, 10)]
    [8.0, 8.25, 4.25, 10.0]

    A last group that is shorter has a whole scale too: 55 of them for 7000 values.

    >>> cost.bits_per_element(tiles, (32, 7000)) == 8 + 55 * 32 / 7000
    True
    """
    if not isinstance(shape, tuple | list) or any(isinstance(n, bool) for n in shape):
        raise TypeError(f"shape must be a tuple of ints, got {shape!r}")
    try:
        sizes = tuple(operator.index(n) for n in shape)
    except TypeError:
        raise TypeError(f"shape must be a tuple of ints, got {shape!r}") from None
    if min(sizes, default=0) < 0:
        raise ValueError(f"shape must have no negative size, got {sizes}")
    return find_bits("fmt", fmt, sizes)


def find_bits(name: str, fmt: object, shape: Shape) -> float:
    """Return the bits of a format for each element of an array; errors call the format ``name``."""
    if isinstance(fmt, FloatFormat | IntFormat):
        return float(fmt.bits)
    if isinstance(fmt, int | float) and not isinstance(fmt, bool):
        if not 0 < fmt <= _LARGEST:
            raise ValueError(f"{name} must be a positive, finite number of bits, got {fmt}")
        return float(fmt)
    own = getattr(fmt, "bits_per_element", None)
    if isinstance(fmt, type) or not callable(own):
        raise TypeError(
            f"{name} must be a format as E4M3, a spec as QuantSpec(E4M3, PerGroup(128)) or a number of bits, "
            f"got {fmt!r}"
        )
    bits = own(shape)
    if isinstance(bits, bool) or not isinstance(bits, int | float) or not 0 < bits <= _LARGEST:
        raise ValueError(
            f"{name} must give a positive, finite number of bits for shape {shape}, got {bits!r} from {fmt!r}"
        )
    return float(bits)


def check_counts(instance: object, *names: str) -> None:
    """Raise unless the named attributes of an object are ints from 1 to a billion."""
    for name in names:
        check_int(name, getattr(instance, name), 1, _MOST)


def check_real(name: str, value: object, *, zero: bool) -> None:
    """Raise unless ``value`` is a finite number above zero, or zero where ``zero`` is true."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 <= value <= _LARGEST or (value == 0 and not zero):
        raise ValueError(f"{name} must be {'at least 0' if zero else 'above 0'} and finite, got {value}")
