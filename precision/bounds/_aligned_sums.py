"""Error bounds of sums whose terms are aligned before they are added, and the width that loses nothing."""

from __future__ import annotations

import math
from fractions import Fraction

from precision._support._argument_checks import check_int
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._step import Step
from precision.bounds._bound_arguments import check_size, expm1
from precision.bounds._closed_forms import unit_roundoff
from precision.bounds._running_error import NEAREST
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import Format


@in_default_environment
def aligned_sum(unit: Accumulator, exponent: int) -> float:
    """Return the largest absolute error of one fused sum, before its register rounds it.

    It is ``(terms + 1) 2**(exponent - fraction_bits)``, and half of that where terms are aligned to nearest;
    the terms are the unit's products, or its groups of them. Each of them, and the register, loses less than
    one last place.

    ``(terms + 1) 2**(exponent - fraction_bits)``, half of that where terms are aligned to nearest; the terms
    are the unit's products, or its groups of them. Each of them and the register lose less than one last
    place.

    Condition: none. Relative to the *largest term*, so that where terms cancel the relative error of the sum
    is unbounded. The register adds a rounding of its own. Source: derived; see `aligned_truncation`.

    Parameters
    ----------
    unit : FusedSum
        The unit; its products, alignment and alignment rounding count, its register does not.
    exponent : int
        The largest exponent of the terms, the register and ``min_exponent``; from -900 to 900.

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
    step = _check_aligning_step(unit)
    exponent = check_int("exponent", exponent, -900, 900)  # wider than scaled float32 products reach
    return (step.terms + 1) * _find_alignment_loss(step) * 2.0**exponent


@in_default_environment
def aligned_truncation(unit: Accumulator, n: int) -> float:
    """Bound the error of a chain of fused sums over n products, as a factor of |c| + |x|' |y|.

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
        The unit, without promotion and without scales inside.
    n : int
        Number of products, at least 0; the bound is 0 for none.

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
    step = _check_aligning_step(unit)
    n = check_size(n)
    if unit.promotion is not None or unit.inner_scales is not None:
        raise ValueError(f"unit must neither be promoted nor take scales, got {unit}")
    steps = -(-n // step.products)
    roundoff = unit_roundoff(step.register, step.register_rounding)
    aligning = (step.products + 1) * _find_alignment_loss(step)
    return expm1(steps * math.log1p(aligning + roundoff + aligning * roundoff))


def _check_aligning_step(unit: object) -> Step:
    """Return the step of an accumulator that aligns its terms, or raise TypeError if it aligns none."""
    step = unit.step if isinstance(unit, Accumulator) else None
    if step is None or not step.aligns:
        raise TypeError(f"unit must be a FusedSum, which aligns its terms, got {unit!r}")
    return step


def _find_alignment_loss(step: Step) -> float:
    """Return the most that a term can lose, relative to the power of two at which it is aligned."""
    assert step.fraction_bits is not None
    return 2.0 ** -(step.fraction_bits + (step.alignment_rounding in NEAREST))


@in_default_environment
def kulisch_width(left: Format, right: Format, n: int = 1) -> int:
    """Return the width in bits of a fixed-point register that sums n products without any error.

    The sign is not counted. The width reaches from the last place of the smallest product to the first place
    of n of the largest; it is 0 for ``n=0``.

    From the last place of the smallest product to the first of n of the largest.

    Condition: operands are finite. Source: Kulisch's accumulator; the widths are derived from the formats.

    Parameters
    ----------
    left, right : FloatFormat or IntFormat
        Formats of the operands.
    n : int
        Number of products, at least 0.

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
    most = check_int("n", n, 0)
    for name, fmt in (("left", left), ("right", right)):
        if not isinstance(fmt, FloatFormat | IntFormat):
            raise TypeError(f"{name} must be a FloatFormat or an IntFormat, got {fmt!r}")
        # The largest value is counted in steps of the smallest one; two's complement has one more below zero.
        lowest = -fmt.fraction_bits + (fmt.min_exponent if isinstance(fmt, FloatFormat) else 0)
        large = (
            fmt.max_code + fmt.signed
            if isinstance(fmt, IntFormat)
            else int(Fraction(fmt.max) / Fraction(2) ** lowest)
        )
        most *= large
    return most.bit_length()
