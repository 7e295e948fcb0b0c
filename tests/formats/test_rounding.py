"""Rounding modes and overflow rules as arguments, and the scaled-integer rounding that the GEMM uses."""

import re

import numpy as np
import pytest
import reference
from hypothesis import example, given, settings
from hypothesis import strategies as st

from precision._kernels._scalar_rounding import round_scaled_integer
from precision.formats import BF16, E4M3, E4M3FNUZ, E8M13, FP16, FP32, TF32, Overflow, Rounding, Stochastic
from precision.formats._codec_constants import MODES, format_params
from precision.testing.strategies import _format_strategies


def test_members_print_as_their_names():
    assert [str(mode) for mode in Rounding] == [name.upper() for name in reference.MODES]
    assert [str(rule) for rule in Overflow] == ["SATURATE", "NON_SATURATING"]
    assert str(Stochastic()) == "Stochastic()"
    assert str(Stochastic(8, 3)) == "Stochastic(bits=8, seed=3)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bits": 0}, ValueError, "bits must lie in 1..32, got 0"),
        ({"bits": 33}, ValueError, "bits must lie in 1..32, got 33"),
        ({"bits": 8.0}, TypeError, "bits must be an int, got 8.0"),
        ({"bits": True}, TypeError, "bits must be an int, got True"),
        ({"seed": -1}, ValueError, "seed must lie in 0..18446744073709551615, got -1"),
        ({"seed": 2**64}, ValueError, "seed must lie in"),
        ({"seed": None}, TypeError, "seed must be an int, got None"),
    ],
)
def test_stochastic_refuses(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Stochastic(**arguments)


REGISTERS = {
    FP32: reference.FP32,
    FP16: reference.FP16,
    BF16: reference.BF16,
    E8M13: reference.E8M13,
    TF32: reference.TF32,
    E4M3: reference.E4M3,
    E4M3FNUZ: reference.Format(4, 3, 8, specials="fnuz"),
}


@settings(max_examples=600, deadline=None)
@given(
    # Scaled integers, as the GEMM's kernels have, and no floats that `pst.numbers` could draw.
    integer=st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-70000, 70000)),
    exponent=st.integers(-230, 130),
    fmt=st.sampled_from(list(REGISTERS)),
    mode=_format_strategies.roundings(),
)
@example(integer=0, exponent=5, fmt=FP32, mode=Rounding.TOWARD_POSITIVE)
@example(integer=2**62 + 2**38, exponent=-62, fmt=FP32, mode=Rounding.TIES_TO_EVEN)  # a tie
@example(
    integer=2**62 + 2**38 + 1, exponent=-62, fmt=FP32, mode=Rounding.TIES_TO_EVEN
)  # past it by the last bit
@example(integer=2**62 + 3 * 2**38 - 1, exponent=-62, fmt=FP32, mode=Rounding.TIES_TO_AWAY)
@example(integer=2**63 - 1, exponent=65, fmt=FP32, mode=Rounding.TIES_TO_EVEN)  # carries to Inf
@example(integer=2**63 - 1, exponent=65, fmt=FP32, mode=Rounding.TOWARD_ZERO)
@example(integer=1, exponent=-150, fmt=FP32, mode=Rounding.TIES_TO_EVEN)  # half the smallest subnormal
@example(integer=3, exponent=-151, fmt=FP32, mode=Rounding.TIES_TO_EVEN)
@example(integer=-1, exponent=-230, fmt=E8M13, mode=Rounding.TOWARD_NEGATIVE)
@example(integer=-(2**24) - 1, exponent=-24 - 20, fmt=FP16, mode=Rounding.TO_ODD)
def test_scaled_integers_round_once(integer, exponent, fmt, mode):
    oracle = REGISTERS[fmt]
    exact = integer * reference.power(exponent)
    want = reference.round_value(exact, oracle, mode.value)
    got = round_scaled_integer(np.int64(integer), np.int64(exponent), format_params(fmt), MODES[mode])
    if want == "nan":  # a format without Inf: the kernel knows Inf only
        want = "+inf" if integer > 0 else "-inf"
    if reference._finite(want) == 0 and "inf" not in str(want):
        assert got == 0 and bool(np.signbit(got)) == (integer < 0)
    else:
        assert reference.from_float(got) == want
