"""Error bounds of sums and products from the literature, in closed form, each with its conditions.

They are relative to |x|' |y|, the sum of the magnitudes of the products, unless they say otherwise. In all of
them ``u`` is a unit roundoff, as `unit_roundoff` gives it. A bound whose condition does not hold
raises ValueError.
"""

from __future__ import annotations

import math

from precision._support.machine._float_environment import in_default_environment
from precision.bounds._bound_arguments import check_float, check_lam, check_roundoff, check_size, expm1
from precision.bounds._running_error import NEAREST
from precision.formats._float_format import FloatFormat
from precision.formats._rounding_modes import Rounding, Stochastic


@in_default_environment
def unit_roundoff(fmt: FloatFormat, rounding: Rounding | Stochastic = Rounding.TIES_TO_EVEN) -> float:
    """Return the largest relative error of one rounding of a normal number.

    That is half of the last place at 1 for rounding to nearest, and all of it for any other rounding.

    Parameters
    ----------
    fmt : FloatFormat
        The format that the number is rounded to.
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
    """Return ``n u / (1 - n u)``, Higham's bound for sums and products of n elements, added in any order.

    That is, |x'y - fl(x'y)| <= gamma(n, u) |x|' |y|. It is 0 for ``n=0`` or ``u=0``.

    Condition: n u < 1, each operation with a relative error of at most u, no underflow or overflow.
    Source: Higham 2002 (Accuracy and Stability of Numerical Algorithms), lemma 3.1 and equation 3.5.

    Parameters
    ----------
    n : int
        Number of roundings that a term may go through.
    u : float
        Unit roundoff, at least 0 and below 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, NaN included, or n u is 1 or more.

    Examples
    --------
    >>> from precision.bounds import gamma
    >>> f"{gamma(4096, 2.0**-24):.3e}"
    '2.442e-04'
    """
    n = check_size(n)
    check_roundoff("u", u)
    if n * u >= 1:
        raise ValueError(f"n * u must be below 1, got {n} * {u} = {n * u}")
    return n * u / (1 - n * u)


@in_default_environment
def probabilistic_gamma(n: int, u: float, lam: float) -> float:
    """Return ``exp(lam sqrt(n) u + n u**2 / (1 - u)) - 1``, a bound for independent errors of mean zero.

    It bounds the product of n factors (1 + d_i), less 1, with a probability of at least
    ``1 - failure_probability(lam, u)``; for the inner product of n elements the failure is n times that.
    It is 0 for ``n=0`` or ``u=0``, where nothing is rounded, even if ``lam`` is infinite.

    Condition: the d_i, of at most u, are independent random variables of mean zero. **Not** so for
    truncation, whose errors are one-sided and grow with n, and doubtful where the sum's magnitude far
    exceeds the terms'. Source: Higham and Mary, SISC 41(5), 2019, theorems 2.4 and 3.1.

    Parameters
    ----------
    n : int
        Number of roundings that an output goes through, or of products of an inner product.
    u : float
        Unit roundoff, at least 0 and below 1.
    lam : float
        The multiple of the standard deviation that is allowed, above 0: a larger one fails more rarely.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, NaN included.

    Examples
    --------
    >>> from precision.bounds import gamma, probabilistic_gamma
    >>> round(gamma(4096, 2.0**-24) / probabilistic_gamma(4096, 2.0**-24, lam=4.0))
    16
    """
    n = check_size(n)
    check_roundoff("u", u)
    check_lam(lam)
    if n == 0 or u == 0:  # An infinite lam times 0 would be NaN.
        return 0.0
    return expm1(lam * math.sqrt(n) * u + n * u * u / (1 - u))


@in_default_environment
def failure_probability(lam: float, u: float = 0.0, n: int = 1) -> float:
    """Return the probability that `probabilistic_gamma` fails.

    It is ``2 n exp(-lam**2 (1 - u)**2 / 2)``, at most 1.

    Source: Higham and Mary, SISC 41(5), 2019: theorem 2.4 for n = 1; theorem 3.1, an inner product of n.

    Parameters
    ----------
    lam : float
        The multiple of the standard deviation that `probabilistic_gamma` allows, above 0.
    u : float
        Unit roundoff, at least 0 and below 1.
    n : int
        Number of products of the inner product, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, NaN included.

    Examples
    --------
    >>> from precision.bounds import failure_probability
    >>> f"{failure_probability(6.0, 2.0**-24, n=4096):.1e}"
    '1.2e-04'
    """
    n = check_size(n)
    check_roundoff("u", u)
    check_lam(lam)
    reach = lam * (1 - u)
    return min(1.0, 2 * n * math.exp(-(reach * reach) / 2))


@in_default_environment
def stochastic_gamma(n: int, u: float, lam: float) -> float:
    """Return `probabilistic_gamma` for stochastic rounding, where the bound needs no assumption.

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
        If an argument is of the wrong type or range, NaN included.

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
    """Bound the error of a chain of block fused multiply-adds, as a factor of |x|' |y|.

    Each adds ``block`` products. The factor is ``gamma(q, v) + gamma(n, u_internal) + gamma(q, v) gamma(n,
    u_internal)``, where q = ceil(n / block), and v is ``u_out`` if that is larger than ``u``, 0 if ``u`` is
    at most ``u_internal``, else ``u``.

    Parameters
    ----------
    n, block : int
        Number of products, and how many of them one instruction sums.
    u : float
        Unit roundoff of the format that an instruction's result is rounded to.
    u_internal : float
        Unit roundoff of each operation inside an instruction.
    u_out : float
        Unit roundoff of the format in which results are stored between instructions.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong type or range, NaN included, or a `gamma` is not defined.

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
    n = check_size(n)
    check_roundoff("u", u)
    block = check_size(block, "block")
    check_roundoff("u_internal", u_internal)
    check_roundoff("u_out", u_out)
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    steps = -(-n // block)
    effective = u_out if u_out > u else 0.0 if u <= u_internal else u
    outer, inner = gamma(steps, effective), gamma(n, u_internal)
    return outer + inner + outer * inner


@in_default_environment
def input_conversion(u_low: float, accumulation: float = 0.0) -> float:
    """Bound the error of a product whose operands are rounded to low precision, as a factor of |x|' |y|.

    It is ``2 u_low + u_low**2 + accumulation (1 + u_low)**2``, the error of the sum included.

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
        If an argument is of the wrong type or range, NaN included.

    Examples
    --------
    >>> import precision as pr
    >>> from precision.bounds import input_conversion, unit_roundoff
    >>> input_conversion(unit_roundoff(pr.E4M3))
    0.12890625
    """
    check_roundoff("u_low", u_low)
    if not check_float("accumulation", accumulation) >= 0:
        raise ValueError(f"accumulation must not be negative, got {accumulation}")
    return 2 * u_low + u_low * u_low + accumulation * (1 + u_low) ** 2
