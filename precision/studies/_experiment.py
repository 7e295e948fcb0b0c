"""The built-in studies: each a question, a pure cell, and a grid small enough to be run in a minute."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from precision._support._suggestions import hint as did_you_mean
from precision._support._types import Plain
from precision.formats._int_format import IntFormat
from precision.formats._named import BF16, E2M1, E2M3, E4M3, E5M2, FP16, INT4, INT8
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._distributions import DISTRIBUTIONS
from precision.quantization._granularity import PerGroup, PerTensor, PerVector
from precision.quantization._microscaling import (
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXFP8_E4M3,
    MXFP8_E5M2,
    MXINT4,
    MXINT8,
    NVFP4,
    NVINT4,
)
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.studies import _drawn_matrices, _drawn_products, _figure_panels
from precision.studies import _parameters as reads
from precision.studies.built_in import _stochastic_rounding
from precision.units._nvidia import HOPPER_FP8

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["STUDIES", "Study", "study"]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question about numbers, with the grid of cells that answers it.

    Parameters
    ----------
    name : str
        As `study` finds it.
    question : str
        One line.
    cell : callable
        A module-level function of keyword-only parameters, all with defaults, to a flat mapping of numbers.
        It is pure: the same parameters give the same bits in any process and order.
    grid : mapping
        The values that the study varies, by parameter; the others keep the cell's defaults. What is slow to
        prepare varies slowest, so that neighbouring cells share it.
    reads : mapping
        For every parameter how text becomes its value. A reader also takes a value, and raises TypeError or
        ValueError, which name the parameter, for what is none.
    figure : callable
        Draws the study's table, one row a cell (extra ``plots``).

    Examples
    --------
    >>> from precision.studies import study
    >>> promotion = study("promotion")
    >>> promotion.question
    'How often must a unit be promoted to float32?'
    >>> str(promotion.reads["accumulator"]("hopper_fp8.with_width(10)"))
    'HOPPER_FP8.with_width(10)'
    >>> found = promotion.cell(promoted=128, k=1024)
    >>> found["norm_relative_error"] < 2e-4, found["total_sqnr_db"] > 28
    (True, True)
    """

    name: str
    question: str
    cell: Callable[..., Mapping[str, Plain]]
    grid: Mapping[str, tuple[Any, ...]]
    reads: Mapping[str, Callable[[Any], Any]]
    figure: Callable[[pd.DataFrame], Figure]


def _named(*readers: tuple[str, Callable[..., reads.Reader]], **sizes: int) -> dict[str, reads.Reader]:
    """Readers by the name of their parameter, and of ints by their least value."""
    return {name: make(name) for name, make in readers} | {
        name: reads.whole(name, low) for name, low in sizes.items()
    }


def _distribution(name: str) -> reads.Reader:
    return reads.one_of(name, DISTRIBUTIONS)


_DRAWN = {
    "distribution": _distribution("distribution"),
    "offset": reads.number("offset"),
    "seed": reads.whole("seed", 0, 2**63 - 1),
}
_PRODUCT = _named(k=1, m=1, n=1) | _DRAWN

_ACCUMULATION = Study(
    name="accumulation",
    question="How many bits must an accumulator keep for sums of K products?",
    cell=_drawn_products.accumulation,
    grid={
        "offset": (0.0, 0.25, 1.0),
        "k": (64, 256, 1024, 4096, 16384, 65536),
        "accumulator": (HOPPER_FP8,),
        "width": (4, 6, 8, 10, 12, 13, 14, 16, 18, 20, 22, 24),
    },
    reads=_named(("accumulator", reads.accumulator), ("fmt", reads.operand_spec))
    | {"width": reads.whole("width", 1, 30, none=True)}
    | _PRODUCT,
    figure=_figure_panels.accumulation,
)

_PROMOTION = Study(
    name="promotion",
    question="How often must a unit be promoted to float32?",
    cell=_drawn_products.promotion,
    grid={
        "offset": (0.0, 0.25, 1.0),
        "k": (4096, 16384, 65536),
        "accumulator": (HOPPER_FP8, HOPPER_FP8.with_width(10)),
        "promoted": (0, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    },
    reads=_named(("accumulator", reads.accumulator), ("fmt", reads.operand_spec), promoted=0) | _PRODUCT,
    figure=_figure_panels.promotion,
)

_UNIT_SCALING = Study(
    name="unit_scaling",
    question="What would a unit gain that takes the scales of groups itself?",
    cell=_drawn_products.unit_scaling,
    grid={
        "distribution": ("normal", "outliers", "uniform"),
        "k": (1024, 4096, 16384),
        "design": _drawn_products.DESIGNS,
        "width": (8, 10, 13, 16, 20, 25, 30),
    },
    reads=_named(("fmt", reads.float_format), ("rounding", reads.mode), width=1, group=1)
    | {"design": reads.one_of("design", _drawn_products.DESIGNS)}
    | _PRODUCT,
    figure=_figure_panels.unit_scaling,
)

_NUMBERS = _named(rows=1, columns=1) | {
    "distribution": _distribution("distribution"),
    "seed": reads.whole("seed", 0, 2**63 - 1),
}

_GROUP_SIZE = Study(
    name="group_size",
    question="How many elements may share a scale?",
    cell=_drawn_matrices.group_size,
    grid={
        "distribution": ("normal", "student_t", "outliers"),
        "fmt": (E4M3, E5M2, INT8, E2M3, E2M1, INT4),
        "group": (*(PerGroup(2**i) for i in range(4, 11)), PerVector(), PerTensor()),
    },
    reads=_named(("fmt", reads.any_format), ("group", reads.granularity)) | _NUMBERS,
    figure=_figure_panels.group_size,
)

_FORMATS = Study(
    name="formats",
    question="Which format makes the most of 8, 6 or 4 bits?",
    cell=_drawn_matrices.formats,
    grid={
        "distribution": ("normal", "laplace", "student_t", "outliers"),
        "spec": (
            MXFP8_E4M3,
            MXFP8_E5M2,
            MXINT8,
            QuantSpec(E4M3, PerGroup(128)),
            QuantSpec(INT8, PerGroup(128)),
            LogFMT(8),
            MXFP6_E2M3,
            MXFP6_E3M2,
            dataclasses.replace(MXINT8, fmt=IntFormat(6, fraction_bits=4)),
            LogFMT(6),
            MXFP4,
            NVFP4,
            MXINT4,
            NVINT4,
            LogFMT(4),
        ),
    },
    reads=_named(("spec", reads.any_spec)) | _NUMBERS,
    figure=_figure_panels.formats,
)

_LOGFMT = Study(
    name="logfmt",
    question="How many bits does LogFMT need, and how long a tile?",
    cell=_drawn_matrices.logfmt,
    grid={
        "distribution": ("normal", "laplace", "outliers"),
        "block_size": (32, 128, 512),
        "bits": tuple(range(4, 13)),
    },
    reads={"bits": reads.whole("bits", 3, 16), "block_size": reads.whole("block_size")} | _NUMBERS,
    figure=_figure_panels.logfmt,
)

_SCALE_RULES = Study(
    name="scale_rules",
    question="Which rule for scales that are powers of two suits which format?",
    cell=_drawn_matrices.scale_rules,
    grid={
        "distribution": ("normal", "laplace", "outliers"),
        "spec": (MXFP8_E4M3, MXFP8_E5M2, MXFP6_E2M3, MXFP6_E3M2, MXFP4, MXINT8),
        "rule": (ScaleRule.FLOOR, ScaleRule.EVEN, ScaleRule.RCEIL, ScaleRule.CEIL),
    },
    reads=_named(("spec", reads.scaled_spec), ("rule", reads.scale_rule)) | _NUMBERS,
    figure=_figure_panels.scale_rules,
)

_STOCHASTIC_BITS = Study(
    name="stochastic_bits",
    question="How many random bits does a running sum in a small format need?",
    cell=_stochastic_rounding.stochastic_bits,
    grid={
        "fmt": (BF16, FP16),
        "offset": (0.0, 0.5),
        "k": (64, 256, 1024, 4096, 16384, 65536),
        "rounding": (
            Rounding.TIES_TO_EVEN,
            Rounding.TOWARD_ZERO,
            *(Stochastic(bits) for bits in (2, 4, 6, 8, 16)),
        ),
    },
    reads=_named(("rounding", reads.rounding), ("fmt", reads.float_format), k=1, sums=1) | _DRAWN,
    figure=_figure_panels.stochastic_bits,
)

STUDIES: dict[str, Study] = {
    found.name: found
    for found in (
        _ACCUMULATION,
        _PROMOTION,
        _GROUP_SIZE,
        _FORMATS,
        _LOGFMT,
        _SCALE_RULES,
        _STOCHASTIC_BITS,
        _UNIT_SCALING,
    )
}
"""The built-in studies by name."""


def study(name: str) -> Study:
    """The built-in study of that name.

    Raises
    ------
    TypeError
        If ``name`` is not a string.
    ValueError
        If there is none; the message lists those there are, and near names first.

    Examples
    --------
    >>> from precision.studies import study
    >>> sorted(study("accumulation").grid)
    ['accumulator', 'k', 'offset', 'width']
    >>> study("promotoin")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: study must be one of accumulation, ...; got 'promotoin' (did you mean 'promotion'?)
    """
    if not isinstance(name, str):
        raise TypeError(f"study must be a str, got {name!r}")
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES)
        raise ValueError(f"study must be one of {', '.join(STUDIES)}; got {name!r}{hint}")
    return STUDIES[name]
