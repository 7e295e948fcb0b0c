"""The study ``stochastic_bits``: the error of running sums in a small format, by their rounding.

A cell is a pure function of plain parameters: equal parameters give equal bits in any process and order.
Cells that add the same numbers share them; each process keeps one set.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from precision.formats._named import BF16, FP16
from precision.formats._rounding_modes import Rounding, Stochastic
from precision.plots._columns import drop_failed_rows
from precision.studies import _parameters as reads
from precision.studies._experiment import Study
from precision.studies._figure_panels import by, drawn, panels
from precision.studies._parameters import DRAWN, named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

import functools
from typing import NamedTuple

import numpy as np

from precision import metrics
from precision._support._argument_checks import check_int
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._codec import round_to
from precision.formats._codec_constants import MODES, code_ends, format_params, value_ends
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Overflow
from precision.metrics._distributions import draw
from precision.studies._drawn_products import shifted

_PIECE = 1 << 18  # the number of elements that are summed exactly at a time
_MOST_FRACTION_BITS = 16  # these and 32 random bits below them fit in the 52 fraction bits of a float64


class _Addends(NamedTuple):
    values: Array  #: float32 (k, sums), values of the format
    exact: Array  #: float64 (sums,), the exact sums rounded once


def _exact_sums(values: Array) -> Array:
    """Return the sum of each column of a float32 matrix, rounded once to float64."""
    step = max(1, _PIECE // len(values))
    pieces = (values[:, first : first + step] for first in range(0, values.shape[1], step))
    return np.concatenate([_sums_of(piece.astype(np.float64)) for piece in pieces])


def _sums_of(values: Array) -> Array:
    nonzero = values[values != 0]
    if nonzero.size:
        significands, exponents = np.frexp(nonzero)
        digits = np.abs(np.ldexp(significands, 53)).astype(np.int64)
        places = exponents - 53 + np.frexp((digits & -digits).astype(np.float64))[1] - 1
        # If no partial sum can reach 2**53 units in the last place, float64 adds exactly in any order.
        if np.abs(values).sum(axis=0).max() >= math.ldexp(1.0, 52 + int(places.min())):
            return np.array([math.fsum(column) for column in values.T.tolist()])
    return np.asarray(values.sum(axis=0))


@functools.lru_cache(maxsize=1)
def _addends(fmt: FloatFormat, k: int, distribution: str, offset: float, sums: int, seed: int) -> _Addends:
    values = round_to(shifted(draw(distribution, (k, sums), k_axis=0, seed=seed), offset), fmt)
    return _Addends(values, _exact_sums(values))


class _Sums(NamedTuple):
    values: Array  #: float64
    changed: Array  #: additions that changed each
    last: Array  #: the last addition that did, counted from 1; 0 for none


def running_sums(addends: Array, fmt: FloatFormat, rounding: Rounding | Stochastic, seed: int) -> _Sums:
    """Sum each column of a float32 matrix, with a rounding to ``fmt`` after every addition."""
    from precision._kernels.numbers import _running_sums

    steps, count = addends.shape
    found = _Sums(np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64))
    ends = value_ends(fmt, code_ends(fmt, Overflow.SATURATE), 8)
    params, keys = format_params(fmt), np.empty((0, 2), np.int64)
    if isinstance(rounding, Stochastic):
        sequence = np.random.SeedSequence([seed, rounding.seed])
        keys = sequence.generate_state(2 * steps, np.uint32).astype(np.int64).reshape(steps, 2)
    rows = max(1, _PIECE // max(1, count))
    for first in range(0, steps, rows):  # Ctrl-C can end the work between two pieces
        some = first, min(steps, first + rows)
        if isinstance(rounding, Rounding):
            _running_sums.sum_rows(addends, *some, *found, params, MODES[rounding], ends)
        else:
            _running_sums.sum_rows_random(addends, *some, *found, params, rounding.bits, keys, ends)
    return found


@in_default_environment
def measure(
    *,
    rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN,
    k: int = 4096,
    fmt: FloatFormat = BF16,
    distribution: str = "symmetric",
    offset: float = 0.0,
    sums: int = 256,
    seed: int = 0,
) -> dict[str, float]:
    """Measure the errors of running sums of random numbers, rounded to a format after every addition.

    The numbers are first rounded to the format themselves, to nearest. Each addition is exact, is then
    rounded once, and saturates.

    Parameters
    ----------
    rounding : Rounding or Stochastic
        The rounding of the sums. The random bits of addition ``i`` of sum ``j`` are those of element ``j``
        under a seed that each addition has for itself, the ``i``-th 64-bit word (32 low bits first) that
        ``numpy.random.SeedSequence([seed, rounding.seed])`` generates.
    k : int
        The number of additions in each sum, which starts at zero.
    fmt : FloatFormat
        The format of the numbers and the sum: signed, of at most 16 fraction bits.
    distribution : str
        A key of `DISTRIBUTIONS`, from which the numbers are drawn.
    offset : float
        The number that is added to every draw in float32, before it is rounded to ``fmt``.
    sums : int
        The number of sums, each of other numbers.
    seed : int
        The seed of the draws and of random bits.

    Returns
    -------
    dict
        The errors against the exact sums of the rounded numbers: ``norm_relative_error``, ``sqnr_db``,
        ``signed_relative_error`` (bias) and ``max_error_over_mean`` as in `metrics`, and
        ``mean_relative_error``, the mean of |error| / |exact|. ``unchanged_share`` is the share of additions
        of a number other than zero that left the sum as it was, ``stuck_share`` the share of sums that no
        addition of the second half changed, and ``saturated_share`` the share of sums that ended at the
        format's largest value.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    4096 numbers of 1 on average, in BF16, where 256 + 1 rounds to 256:

    >>> import precision as pr
    >>> from precision.studies import study
    >>> cell = study("stochastic_bits").cell
    >>> for rounding in (pr.Rounding.TIES_TO_EVEN, pr.Stochastic(4), pr.Stochastic(16)):
    ...     found = cell(rounding=rounding, offset=1.0)
    ...     print(rounding, f"{found['signed_relative_error']:.3f} {found['stuck_share']:.2f}")
    TIES_TO_EVEN -0.875 1.00
    Stochastic(bits=4) -0.303 0.00
    Stochastic(bits=16) -0.001 0.00
    """
    if not isinstance(rounding, Rounding | Stochastic):
        raise TypeError(f"rounding must be a Rounding or a Stochastic, got {rounding!r}")
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"fmt must be a FloatFormat, got {fmt!r}")
    if not (fmt.signed and fmt.has_zero) or fmt.fraction_bits > _MOST_FRACTION_BITS:
        raise ValueError(
            f"fmt must be signed, with a zero and at most {_MOST_FRACTION_BITS} fraction bits, got {fmt}"
        )
    check_int("k", k, 1, 2**31 - 1)
    check_int("sums", sums, 1, 2**31 - 1)
    check_int("seed", seed, 0, 2**63 - 1)
    values, exact = _addends(fmt, k, distribution, offset, sums, seed)
    total, changed, last = running_sums(values, fmt, rounding, seed)
    error = np.abs(total - exact)
    relative = np.divide(error, np.abs(exact), out=np.where(error == 0, 0.0, np.inf), where=exact != 0)
    additions = int(np.count_nonzero(values))
    return {
        "norm_relative_error": metrics.norm_relative_error(total, exact),
        "sqnr_db": metrics.sqnr(total, exact),
        "signed_relative_error": metrics.signed_relative_error(total, exact),
        "max_error_over_mean": metrics.max_error_over_mean(total, exact),
        "mean_relative_error": float(relative.mean()),
        "unchanged_share": 1 - int(changed.sum()) / additions if additions else math.nan,
        "stuck_share": float(np.mean(last <= k // 2)),
        "saturated_share": float(np.mean(np.abs(total) == fmt.max)),
    }


def draw_figure(table: pd.DataFrame) -> Figure:
    """Draw the error over K, a line for each rounding, a panel for each format and distribution."""
    from precision import plots

    table = drop_failed_rows(table)
    titles = [f"{fmt} sums of {drawn}" for fmt, drawn in zip(table["fmt"], drawn(table), strict=True)]

    def draw(part: pd.DataFrame, *, ax: Axes, **options: Any) -> None:
        plots.error_over_k(part, ax=ax, **options)
        ax.set_xlabel("K, additions in each sum")

    return panels(table, titles, draw, by=by(table, "fmt", "k"), sharey=False)


STUDY = Study(
    name="stochastic_bits",
    question="How many random bits does a running sum in a small format need?",
    cell=measure,
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
    reads=named(("rounding", reads.rounding), ("fmt", reads.float_format), k=1, sums=1) | DRAWN,
    figure=draw_figure,
)
