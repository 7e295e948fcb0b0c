"""Cells of the studies of numbers: what a spec makes of a matrix of draws, and how many bits it takes.

A cell is a pure function of plain parameters: the same ones give the same bits in any process and order.
Cells of the same draws share them; each process keeps two matrices.
"""

from __future__ import annotations

import dataclasses
import functools

from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._named import E4M3, Format
from precision.logfmt._logfmt_spec import LogFMT
from precision.metrics._distributions import draw
from precision.metrics._fidelity import tally
from precision.quantization._granularity import Granularity, PerGroup
from precision.quantization._microscaling import MXFP4, MXFP8_E4M3
from precision.quantization._quant_spec import QuantSpec
from precision.quantization._scale_rules import ScaleRule
from precision.specs._spec_text import AnySpec

_TILES = PerGroup(128)


@functools.lru_cache(maxsize=2)
def _drawn(distribution: str, rows: int, columns: int, seed: int) -> Array:
    return draw(distribution, (rows, columns), k_axis=1, seed=seed)


def _measured(spec: AnySpec, distribution: str, rows: int, columns: int, seed: int) -> dict[str, float]:
    for name, size in (("rows", rows), ("columns", columns)):
        check_int(name, size, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    found = tally(_drawn(distribution, rows, columns, seed), spec)
    return {
        "bits_per_element": found.bits_per_element,
        "sqnr_db": found.sqnr_db,
        "norm_relative_error": found.norm_relative_error,
        "max_relative_error": found.max_relative_error,
        "signed_relative_error": found.signed_relative_error,
        "clipped_share": found.clipped_share,
        "flushed_share": found.flushed_share,
    }


@in_default_environment
def group_size(
    *,
    fmt: Format = E4M3,
    group: Granularity = _TILES,
    distribution: str = "outliers",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """What quantizing does to a random matrix with FP32 scales (amax / max) of groups along its rows.

    Parameters
    ----------
    fmt : FloatFormat or IntFormat
        Of the elements.
    group : PerGroup, PerVector, PerTensor or PerBlock
        Which elements share a scale.
    distribution : str
        A key of `DISTRIBUTIONS`; where it has channels, each is a column.
    rows, columns : int
        The matrix's sizes.
    seed : int
        Of the draws.

    Returns
    -------
    dict
        ``bits_per_element`` (scales counted), and ``sqnr_db``, ``norm_relative_error``,
        ``max_relative_error``, ``signed_relative_error``, ``clipped_share`` and ``flushed_share`` as
        `Tally` defines them.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.formats import INT8
    >>> from precision.studies import study
    >>> cell = study("group_size").cell
    >>> for group in (pr.PerGroup(16), pr.PerTensor()):
    ...     found = cell(fmt=INT8, group=group)
    ...     print(group, f"{found['bits_per_element']:.2f} bits {found['sqnr_db']:.0f} dB")
    PerGroup(16) 10.00 bits 41 dB
    PerTensor() 8.00 bits 20 dB
    """
    return _measured(QuantSpec(fmt, group), distribution, rows, columns, seed)


@in_default_environment
def formats(
    *,
    spec: AnySpec = MXFP8_E4M3,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """What quantizing does to a random matrix.

    Parameters
    ----------
    spec : QuantSpec, LogFMT or FloatFormat
        How, with groups along the rows; a bare format rounds the elements as they are.
    distribution, rows, columns, seed
        As in `group_size`.

    Returns
    -------
    dict
        As `group_size`.

    Raises
    ------
    TypeError, ValueError
        As `group_size`.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import study
    >>> [round(study("formats").cell(spec=spec)["sqnr_db"]) for spec in (pr.MXFP4, pr.NVFP4, pr.NVINT4)]
    [19, 20, 21]
    """
    return _measured(spec, distribution, rows, columns, seed)


@in_default_environment
def logfmt(
    *,
    bits: int = 8,
    block_size: int = 128,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """What `LogFMT` makes of a random matrix.

    Parameters
    ----------
    bits : int
        Of a code: 3 to 16.
    block_size : int
        Neighbours along a row in a tile.
    distribution, rows, columns, seed
        As in `group_size`.

    Returns
    -------
    dict
        As `group_size`.

    Raises
    ------
    TypeError, ValueError
        As `group_size`.

    Examples
    --------
    >>> from precision.studies import study
    >>> [round(study("logfmt").cell(bits=bits)["sqnr_db"]) for bits in (6, 8, 10)]
    [25, 37, 49]
    """
    return _measured(LogFMT(bits, block_size), distribution, rows, columns, seed)


@in_default_environment
def scale_rules(
    *,
    spec: QuantSpec = MXFP4,
    rule: ScaleRule = ScaleRule.FLOOR,
    distribution: str = "normal",
    rows: int = 1024,
    columns: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """What a spec with another scale rule does to a random matrix.

    Parameters
    ----------
    spec : QuantSpec
        How, but for its rule.
    rule : ScaleRule
        The rule in its place.
    distribution, rows, columns, seed
        As in `group_size`.

    Returns
    -------
    dict
        As `group_size`.

    Raises
    ------
    TypeError, ValueError
        As `group_size`; if the rule does not suit the spec.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("scale_rules").cell
    >>> for rule in (pr.ScaleRule.FLOOR, pr.ScaleRule.RCEIL):
    ...     found = [cell(spec=spec, rule=rule) for spec in (pr.MXFP8_E4M3, pr.MXFP4)]
    ...     print(rule, *(f"{values['sqnr_db']:.1f} dB" for values in found))
    FLOOR 30.6 dB 18.8 dB
    RCEIL 31.5 dB 18.8 dB
    """
    return _measured(dataclasses.replace(spec, scale_rule=rule), distribution, rows, columns, seed)
