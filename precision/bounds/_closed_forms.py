"""Error bounds of sums and products, each with its conditions, and the bound of a whole product.

`error_bound` and `explain` look at data: they say what one product may have lost, and what it did lose and
where. The functions beside them are the literature's bounds in closed form, relative to |x|' |y|, the sum of
the magnitudes of the products (unless they say otherwise).

In all of them ``u`` is a unit roundoff, as `unit_roundoff` gives it. A bound whose condition does not hold
raises ValueError.
"""

from __future__ import annotations

import math
from fractions import Fraction

from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._step import Step
from precision.bounds._decomposition import Explanation, explain
from precision.bounds._running_error import NEAREST
from precision.bounds._whole_product import ErrorBound, error_bound
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format
from precision.formats._rounding_modes import Rounding, Stochastic

__all__ = [
    "ErrorBound",
    "Explanation",
    "aligned_sum",
    "aligned_truncation",
    "block_fma",
    "error_bound",
    "explain",
    "failure_probability",
    "gamma",
    "input_conversion",
    "kulisch_width",
    "probabilistic_gamma",
    "stochastic_gamma",
    "unit_roundoff",
]


_LARGEST = 2**1000  # of any number here: twice such a one, or its square root, is a float64


def _check(n: int, u: float, name: str = "n") -> None:
    _check_count(name, n)
    if n > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {n.bit_length()} bits")
    _check_roundoff("u", u)


def _check_count(name: str, n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name} must be an int, got {n!r}")
    if n < 0:
        raise ValueError(f"{name} must not be negative, got {n}")


def _checked_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a float, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError(f"{name} must be at most 2**1000, got an int of {value.bit_length()} bits")
    return value


def _check_roundoff(name: str, u: object) -> None:
    if not 0 <= _checked_float(name, u) < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {u}")


def _check_lam(lam: object) -> None:
    if not _checked_float("lam", lam) > 0:
        raise ValueError(f"lam must be positive, got {lam}")


def _expm1(x: float) -> float:
    """``exp(x) - 1``, Inf where float64 does not hold it: such a bound says nothing."""
    try:
        return math.expm1(x)
    except OverflowError:
        return math.inf


@in_default_environment
def unit_roundoff(fmt: FloatFormat, rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN) -> float:
    """The largest relative error of one rounding of a normal number: half a last place at 1, or a whole one.

    Parameters
    ----------
    fmt : FloatFormat
        What is rounded to.
    rounding : Rounding or Stochastic
        To nearest: ``2**-(fraction_bits + 1)``. Any other: twice that.

    Raises
    ------
    TypeError
        If an argument is of another type.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import unit_roundoff
    >>> unit_roundoff(pr.FP32) == 2.0**-24, unit_roundoff(pr.E8M13, pr.Rounding.TOWARD_ZERO) == 2.0**-13
    (True, True)
    """
    if not isinstance(fmt, FloatFormat):
        raise TypeError(f"fmt must be a FloatFormat, got {fmt!r}")
    if not isinstance(rounding, Rounding | Stochastic):
        raise TypeError(f"rounding must be a Rounding or a Stochastic, got {rounding!r}")
    return 2.0 ** -(fmt.fraction_bits + (rounding in NEAREST))


@in_default_environment
def gamma(n: int, u: float) -> float:
    """``n u / (1 - n u)``: |x'y - fl(x'y)| <= gamma(n, u) |x|' |y| for products of n elements, in any order.

    Condition: n u < 1, each operation with a relative error of at most u, no underflow or overflow.
    Source: Higham 2002 (Accuracy and Stability of Numerical Algorithms), lemma 3.1 and equation 3.5.

    Parameters
    ----------
    n : int
        Roundings that a term may go through.
    u : float
        Unit roundoff.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, or n u is 1 or more.

    Examples
    --------
    >>> from precision.bounds import gamma
    >>> f"{gamma(4096, 2.0**-24):.3e}"
    '2.442e-04'
    """
    _check(n, u)
    if n * u >= 1:
        raise ValueError(f"n * u must be below 1, got {n} * {u} = {n * u}")
    return n * u / (1 - n * u)


@in_default_environment
def probabilistic_gamma(n: int, u: float, lam: float) -> float:
    """``exp(lam sqrt(n) u + n u**2 / (1 - u)) - 1``: gamma for errors that are independent and of mean zero.

    It bounds the product of n factors (1 + d_i), less 1, with a probability of at least
    ``1 - failure_probability(lam, u)``; for the inner product of n elements the failure is n times that.

    Condition: the d_i, of at most u, are independent random variables of mean zero. **Not** so for
    truncation, whose errors are one-sided and grow with n, and doubtful where the sum's magnitude far
    exceeds the terms'. Source: Higham and Mary, SISC 41(5), 2019, theorems 2.4 and 3.1.

    Parameters
    ----------
    n : int
        Roundings that an output is subject to, or products of an inner product.
    u : float
        Unit roundoff, at most 1.
    lam : float
        Which multiple of the standard deviation is allowed: a larger one fails more rarely.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> from precision.bounds import gamma, probabilistic_gamma
    >>> round(gamma(4096, 2.0**-24) / probabilistic_gamma(4096, 2.0**-24, lam=4.0))
    16
    """
    _check(n, u)
    _check_lam(lam)
    return _expm1(lam * math.sqrt(n) * u + n * u * u / (1 - u))


@in_default_environment
def failure_probability(lam: float, u: float = 0.0, n: int = 1) -> float:
    """``2 n exp(-lam**2 (1 - u)**2 / 2)``, at most 1: how often `probabilistic_gamma` fails.

    Source: Higham and Mary, SISC 41(5), 2019: theorem 2.4 for n = 1; theorem 3.1, an inner product of n.

    Parameters
    ----------
    lam : float
        As `probabilistic_gamma` takes it.
    u : float
        Unit roundoff.
    n : int
        Products of the inner product.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> from precision.bounds import failure_probability
    >>> f"{failure_probability(6.0, 2.0**-24, n=4096):.1e}"
    '1.2e-04'
    """
    _check(n, u)
    _check_lam(lam)
    reach = lam * (1 - u)
    return min(1.0, 2 * n * math.exp(-(reach * reach) / 2))


@in_default_environment
def stochastic_gamma(n: int, u: float, lam: float) -> float:
    """`probabilistic_gamma` for stochastic rounding, where it needs no assumption.

    ``u`` is stochastic rounding's own, ``unit_roundoff(fmt, Stochastic())``: twice that of nearest.

    Condition: each rounding goes up with a probability equal to the fraction that it discards, so that errors
    have mean zero whatever came before (they are mean independent, which suffices). With few random bits
    (`Stochastic`) they are biased toward zero by less than ``2**-bits`` of a last place, which adds up to
    n times that.
    Source: Connolly, Higham, Mary, SIMAX 42, 2021.

    Parameters
    ----------
    n, u, lam
        As `probabilistic_gamma` takes them.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import stochastic_gamma, unit_roundoff
    >>> f"{stochastic_gamma(100, unit_roundoff(pr.BF16, pr.Stochastic()), lam=4.0):.2f}"
    '0.38'
    """
    return probabilistic_gamma(n, u, lam)


@in_default_environment
def block_fma(n: int, block: int, u: float, u_internal: float, u_out: float = 0.0) -> float:
    """A chain of block fused multiply-adds, ``block`` products each: the factor of |x|' |y|.

    ``gamma(q, v) + gamma(n, u_internal) + gamma(q, v) gamma(n, u_internal)``, where q = ceil(n / block), and
    v is ``u_out`` if that is larger than ``u``, 0 if ``u`` is at most ``u_internal``, else ``u``.

    Parameters
    ----------
    n, block : int
        Products, and how many of them one instruction sums.
    u : float
        Of the format that an instruction's result is rounded to.
    u_internal : float
        Of each operation inside an instruction.
    u_out : float
        Of the format that results are stored in between.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, or a `gamma` is not defined.

    Notes
    -----
    Condition: every operation has a relative error of its own result. **Not** so where terms are aligned at a
    common exponent, as in tensor cores: a small term may be lost whole. `aligned_truncation` is for those.
    Source: Blanchard, Higham, Lopez, Mary, Pranesh, SISC 42(3), C124, 2020.

    Examples
    --------
    >>> from precision.bounds import block_fma
    >>> f"{block_fma(4096, 16, u=2.0**-24, u_internal=2.0**-26):.2e}"
    '7.63e-05'
    """
    _check(n, u)
    _check(block, u_internal, "block")
    _check_roundoff("u_out", u_out)
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    steps = -(-n // block)
    effective = u_out if u_out > u else 0.0 if u <= u_internal else u
    outer, inner = gamma(steps, effective), gamma(n, u_internal)
    return outer + inner + outer * inner


@in_default_environment
def input_conversion(u_low: float, accumulation: float = 0.0) -> float:
    """Both operands rounded to low precision first: the factor of |x|' |y|, with the sum's own added.

    ``2 u_low + u_low**2 + accumulation (1 + u_low)**2``.

    Condition: relative errors of at most ``u_low``: no element is subnormal, clipped or flushed to zero.
    Source: Blanchard, Higham, Lopez, Mary, Pranesh, SISC 42(3), C124, 2020, theorem 3.2.

    Parameters
    ----------
    u_low : float
        Unit roundoff of the operands' format.
    accumulation : float
        The factor of the sum alone, as `gamma` or `block_fma` gives it.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import input_conversion, unit_roundoff
    >>> input_conversion(unit_roundoff(pr.E4M3))
    0.12890625
    """
    _check_roundoff("u_low", u_low)
    if not _checked_float("accumulation", accumulation) >= 0:
        raise ValueError(f"accumulation must not be negative, got {accumulation}")
    return 2 * u_low + u_low * u_low + accumulation * (1 + u_low) ** 2


@in_default_environment
def aligned_sum(unit: Accumulator, exponent: int) -> float:
    """The absolute error of one fused sum before its register rounds it, for a largest exponent.

    ``(terms + 1) 2**(exponent - fraction_bits)``, half of that where terms are aligned to nearest; the terms
    are the unit's products, or its groups of them. Each of them and the register lose less than one last
    place.

    Condition: none. Relative to the *largest term*, so that where terms cancel the relative error of the sum
    is unbounded. The register adds a rounding of its own. Source: derived; see `aligned_truncation`.

    Parameters
    ----------
    unit : FusedSum
        Whose products, alignment and its rounding count.
    exponent : int
        The largest among the terms, the register and ``min_exponent``; -900 to 900.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import aligned_sum
    >>> aligned_sum(pr.HOPPER_FP8, exponent=13)
    33.0
    """
    step = _aligning_step(unit)
    if isinstance(exponent, bool) or not isinstance(exponent, int):
        raise TypeError(f"exponent must be an int, got {exponent!r}")
    if not -900 <= exponent <= 900:  # farther than any sum of float32 products under scales
        raise ValueError(f"exponent must lie in -900..900, got {exponent}")
    return (step.terms + 1) * _loss(step) * 2.0**exponent


@in_default_environment
def aligned_truncation(unit: Accumulator, n: int) -> float:
    """A chain of fused sums over n products: the factor of |c| + |x|' |y|.

    **Theorem.** Let q = ceil(n / products) steps of L terms each start from a register c. Let k = 2**-F
    (half of that where terms are aligned to nearest), F the fraction bits kept in the alignment, and v the
    unit roundoff of the register's rounding. If no operand is subnormal, ``min_exponent`` lies below every
    step's largest exponent and no register is subnormal or overflows, then with t = (1 + v) (1 + (L + 1) k)
    - 1 ::

        |register - (c + x'y)| <= ((1 + t)**q - 1) (|c| + |x|' |y|)

    *Proof.* Write X_j for |c| plus the magnitudes of the products of the first j steps, s_j for the exact
    sum after them and r_j for the register. The claim is |r_j - s_j| <= ((1 + t)**j - 1) X_j, which holds
    for j = 0. Suppose that it does for j - 1. Then |r_(j-1)| <= |s_(j-1)| + |r_(j-1) - s_(j-1)| <= (1 +
    t)**(j-1) X_(j-1). An operand that is not subnormal has a significand of at least 1, so that a product
    with exponent E has a magnitude of at least 2**E. So 2**e, e the step's largest exponent, is at most the
    largest of the products and |r_(j-1)|, and that is at most (1 + t)**(j-1) X_j. Each of the L + 1 terms is
    changed by at most k 2**e, and the exact sum of what is left is w = r_(j-1) + (products) + d, where |d|
    <= (L + 1) k (1 + t)**(j-1) X_j and |r_(j-1) + (products)| <= (1 + t)**(j-1) X_j. The register takes w
    with an error of at most v |w|, hence of v (1 + (L + 1) k) (1 + t)**(j-1) X_j. So ::

        |r_j - s_j| <= |r_(j-1) - s_(j-1)| + |d| + v |w|
                    <= ((1 + t)**(j-1) - 1) X_j + (1 + t)**(j-1) X_j ((L + 1) k + v (1 + (L + 1) k))
                     = ((1 + t)**(j-1) - 1) X_j + (1 + t)**(j-1) X_j t = ((1 + t)**j - 1) X_j.

    To first order it is q ((L + 1) k + v): truncation drifts with the number of steps, not its square root,
    and L small terms next to a large one cost L last places. `error_bound` follows the same argument on the
    data.

    Parameters
    ----------
    unit : FusedSum
        Without promotion, and without scales inside.
    n : int
        Products.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type, or the unit is promoted or takes scales.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import aligned_truncation, gamma
    >>> f"{aligned_truncation(pr.HOPPER_FP8, 128):.4f}", f"{aligned_truncation(pr.HOPPER_BF16, 4096):.1e}"
    ('0.0167', '1.6e-04')
    """
    step = _aligning_step(unit)
    _check(n, 0.0)
    if unit.promotion is not None or unit.inner_scales is not None:
        raise ValueError(f"unit must neither be promoted nor take scales, got {unit}")
    steps = -(-n // step.products)
    roundoff = unit_roundoff(step.register, step.register_rounding)
    aligning = (step.products + 1) * _loss(step)
    return _expm1(steps * math.log1p(aligning + roundoff + aligning * roundoff))


def _aligning_step(unit: object) -> Step:
    """Return the step of an accumulator that aligns its terms, or raise."""
    step = unit.step if isinstance(unit, Accumulator) else None
    if step is None or not step.aligns:
        raise TypeError(f"unit must be a FusedSum, which aligns its terms, got {unit!r}")
    return step


def _loss(step: Step) -> float:
    """Return what a term loses at most, relative to the power of two at which it is aligned."""
    assert step.fraction_bits is not None
    return 2.0 ** -(step.fraction_bits + (step.alignment_rounding in NEAREST))


@in_default_environment
def kulisch_width(left: Format, right: Format, n: int = 1) -> int:
    """Bits of a fixed-point register that sums n products without any error, its sign not counted.

    From the last place of the smallest product to the first of n of the largest.

    Condition: operands are finite. Source: Kulisch's accumulator; the widths are derived from the formats.

    Parameters
    ----------
    left, right : FloatFormat or IntFormat
        Of the operands.
    n : int
        Products.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no number of products, or an operand's format is none.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import kulisch_width
    >>> kulisch_width(pr.E4M3, pr.E4M3), kulisch_width(pr.FP16, pr.FP16, n=4096)
    (36, 92)
    """
    _check_count("n", n)
    most = n
    for name, fmt in (("left", left), ("right", right)):
        if not isinstance(fmt, FloatFormat | IntFormat):
            raise TypeError(f"{name} must be a FloatFormat or an IntFormat, got {fmt!r}")
        # Largest values as integers of the smallest: two's complement has one more below zero.
        lowest = -fmt.fraction_bits + (fmt.min_exponent if isinstance(fmt, FloatFormat) else 0)
        large = (
            fmt.max_code + fmt.signed
            if isinstance(fmt, IntFormat)
            else int(Fraction(fmt.max) / Fraction(2) ** lowest)
        )
        most *= large
    return most.bit_length()
