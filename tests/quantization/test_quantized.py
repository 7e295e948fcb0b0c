"""Quantized tensors against a naive oracle in exact rationals, and every convention of their docstrings."""

import dataclasses
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import precision as pr
from precision._support.machine._threads import get_num_threads, set_num_threads
from precision.formats import (
    BF16,
    E2M1,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M6,
    E8M0,
    FP32,
    FP64,
    INT4,
    INT8,
    MXINT8,
    UE4M3,
    UE5M3,
    UINT8,
    FloatFormat,
    Format,
    IntFormat,
    Overflow,
    Rounding,
    Stochastic,
    decode,
    encode,
)
from precision.quantization import (
    PerBlock,
    PerGroup,
    PerTensor,
    PerVector,
    QuantizedTensor,
    QuantSpec,
    ScaleRule,
    _dequantizing,
    _row_views,
)
from precision.quantization import _row_loops as machinery
from precision.quantization._granularity import clip_block, scale_shape
from precision.specs import quantize
from precision.testing.strategies import _spec_strategies

MX = QuantSpec(E2M1, PerGroup(32), scale_format=E8M0, scale_rule=ScaleRule.FLOOR)
NV = QuantSpec(E2M1, PerGroup(16), scale_format=E4M3, tensor_scale=True)
FP8 = QuantSpec(E4M3, PerGroup(128))
PAPER, SIX = pr.Arithmetic.NVFP4_PAPER, ScaleRule.FOUR_OVER_SIX_MAE
FINITE = QuantSpec(E4M3, PerVector(), non_finite=pr.NonFinite.FINITE_AMAX)
TRIED = dataclasses.replace(pr.NVFP4_4OVER6, granularity=PerGroup(1000))
UNDER = {"tensor_scale": True, "scale_format": E4M3}
SPECS = [
    FP8,
    QuantSpec(E5M2, PerTensor(), rounding=Rounding.TOWARD_ZERO),
    QuantSpec(E4M3, PerVector(), overflow=Overflow.NON_SATURATING),
    QuantSpec(E4M3, PerBlock(3, 5)),
    QuantSpec(E4M3FNUZ, PerGroup(4), min_amax=1e-4),
    QuantSpec(E5M6, PerGroup(7), scale_rule=ScaleRule.CEIL),
    QuantSpec(UE4M3, PerGroup(7)),
    QuantSpec(INT8, PerGroup(6)),
    QuantSpec(INT4, PerBlock(2, 4), rounding=Stochastic(bits=9, seed=3)),
    QuantSpec(IntFormat(8, symmetric=False), PerVector(), rounding=Rounding.TOWARD_NEGATIVE),
    QuantSpec(UINT8, PerTensor()),
    QuantSpec(MXINT8, PerGroup(32), scale_format=E8M0, scale_rule=ScaleRule.FLOOR),
    QuantSpec(E4M3, PerGroup(8), scale_format=E8M0, scale_rule=ScaleRule.RCEIL, rounding=Stochastic()),
    MX,
    NV,
    QuantSpec(E2M1, PerGroup(8), scale_format=UE5M3, scale_rule=ScaleRule.EVEN),
    QuantSpec(E2M1, PerBlock(4, 4), scale_format=E4M3, tensor_scale=True, scale_rule=ScaleRule.CEIL),
    QuantSpec(BF16, PerGroup(5), scale_format=BF16),
    QuantSpec(FP32, PerGroup(5)),
]


def wide(seed: int, shape: tuple[int, ...], spread: int = 12, dtype: type = np.float32) -> np.ndarray:
    """Normal numbers times powers of two, some zeros and some of the same magnitude."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    x[rng.random(shape) < 0.1] = 0
    with np.errstate(under="ignore", over="ignore"):
        return x.astype(dtype)


def oracle_round(x: float, fmt: Format, spec: QuantSpec, index: int) -> int:
    """The code of one quotient."""
    value, rounding = reference.from_float(x), spec.rounding
    random = isinstance(rounding, Stochastic)
    word = reference.random_integer(rounding.seed, index, rounding.bits) if random else 0
    if isinstance(fmt, IntFormat):
        mode = "ties_to_even" if random else rounding.value
        return reference.int_round(
            value, fmt.bits, signed=fmt.signed, fraction_bits=fmt.fraction_bits, symmetric=fmt.symmetric,
            mode=mode, random=word, random_bits=rounding.bits if random else 0,
        )  # fmt: skip
    known = reference.Format(
        fmt.exponent_bits, fmt.fraction_bits, fmt.bias, fmt.signed, fmt.specials.value, fmt.subnormals
    )
    if random:
        return reference.stochastic_round(value, known, word, rounding.bits, spec.overflow.value)
    return reference.integer_round(value, known, rounding.value, spec.overflow.value)


def oracle_scale(amax: np.floating, tensor_scale: np.floating, spec: QuantSpec) -> float:
    """The scale of a finite group as stored; float arithmetic is NumPy's, in the source's type."""
    fmt, scale_format, kind = spec.fmt, spec.scale_format, type(amax)
    if amax == 0:
        return 1.0 if scale_format == FP32 else scale_format.smallest
    if spec.scale_rule is ScaleRule.AMAX:
        quotient = amax / kind(fmt.max) / tensor_scale
        nearest = dataclasses.replace(spec, rounding=Rounding.TIES_TO_EVEN, overflow=Overflow.SATURATE)
        code = oracle_round(float(quotient), scale_format, nearest, 0)
        return max(scale_format.value(code), scale_format.smallest)
    places = fmt.fraction_bits if isinstance(fmt, FloatFormat) else fmt.bits - 1 - fmt.signed
    exact = Fraction(float(amax / tensor_scale))
    exponent = reference.scale_exponent(spec.scale_rule.value, exact, Fraction(fmt.max), places)
    low = int(np.log2(scale_format.smallest))
    return 2.0 ** min(max(exponent, low), scale_format.max_exponent)


def oracle(x: np.ndarray, spec: QuantSpec, axis: int) -> tuple[np.ndarray, np.ndarray, object]:
    """Codes (integers), scales and tensor scale of finite input, one block after another."""
    kind = x.dtype.type if x.dtype == np.float64 else np.float32
    source = x.astype(kind)
    block = clip_block(spec.granularity.block(x.shape, axis), x.shape)
    counts = scale_shape(x.shape, block)
    floor = kind(spec.min_amax or 0)

    def part(index: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, block, strict=True))

    blocks = [part(index) for index in np.ndindex(counts)]
    amax = [np.abs(source[place]).max(initial=floor) for place in blocks]
    tensor_scale = None
    if spec.tensor_scale:
        tensor_scale = np.float32(max(amax, default=0) / kind(spec.fmt.max * spec.scale_format.max))
        tensor_scale = max(tensor_scale, np.float32(2.0**-149)) if max(amax, default=0) else np.float32(1)
    codes, scales = np.zeros(x.shape, np.int64), np.zeros(counts)
    flat = np.arange(x.size).reshape(x.shape)
    for index, place, largest in zip(np.ndindex(counts), blocks, amax, strict=True):
        scale = oracle_scale(kind(largest), kind(1 if tensor_scale is None else tensor_scale), spec)
        scales[index] = scale
        divisor = np.float32(scale) * np.float32(1 if tensor_scale is None else tensor_scale)
        divisor = kind(max(divisor, np.float32(2.0**-149)))
        with np.errstate(over="ignore"):
            quotients = source[place] / divisor
        here = [
            oracle_round(float(q), spec.fmt, spec, int(i))
            for q, i in zip(quotients.ravel(), flat[place].ravel(), strict=True)
        ]
        codes[place] = np.reshape(here, quotients.shape)
    return codes, scales, tensor_scale


def raw(q: QuantizedTensor) -> np.ndarray:
    return np.ascontiguousarray(q.codes).view(q.fmt.code_dtype)


def agree(x: np.ndarray, spec: QuantSpec, axis: int = -1) -> None:
    q = quantize(x, spec, axis)
    codes, scales, tensor_scale = oracle(x, spec, axis)
    assert q.block == spec.granularity.block(x.shape, axis)
    np.testing.assert_array_equal(decode(q.scale, q.scale_format), scales)
    np.testing.assert_array_equal(raw(q), codes)
    assert q.tensor_scale == tensor_scale


def same(a: QuantizedTensor, b: QuantizedTensor) -> bool:
    return (
        raw(a).tobytes() == raw(b).tobytes()
        and decode(a.scale, a.scale_format).tobytes() == decode(b.scale, b.scale_format).tobytes()
        and (a.tensor_scale, a.block, a.fmt, a.scale_format)
        == (b.tensor_scale, b.block, b.fmt, b.scale_format)
    )


# ---- against the oracle -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("axis", [-1, 0])
def test_agrees_with_the_oracle(spec: QuantSpec, axis: int) -> None:
    agree(wide(1, (9, 67)), spec, axis)


@pytest.mark.parametrize("spec", [FP8, MX, NV, SPECS[1], SPECS[8]], ids=str)
@pytest.mark.parametrize("spread", [3, 70, 140])
def test_agrees_with_the_oracle_at_the_ends_of_the_range(spec: QuantSpec, spread: int) -> None:
    rng = np.random.default_rng(spread)
    x = wide(2, (6, 70), 0) * np.ldexp(1.0, rng.integers(-spread, spread // 2, (6, 70)))
    x *= np.ldexp(1.0, rng.integers(-9, 1, (6, 1)))
    agree(x.astype(np.float32), spec)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, ml_dtypes.float8_e5m2, ">f4"])
@pytest.mark.parametrize("spec", [FP8, SPECS[3], MX, NV, SPECS[8], SPECS[12]], ids=str)
def test_source_types(dtype: type, spec: QuantSpec) -> None:
    agree(wide(3, (5, 40), 6).astype(dtype), spec)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_oracle_for_any_shape(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=4).map(tuple))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    flat = len(shape) > 1 and axis % len(shape) >= len(shape) - 2
    base = data.draw(st.sampled_from([FP8, MX, NV, *SPECS]))  # whose every rule the oracle states
    granularity = data.draw(_spec_strategies.granularities(max_group=8, blocks=flat))
    spec = dataclasses.replace(base, granularity=granularity)
    x = wide(data.draw(st.integers(0, 99)), shape, data.draw(st.integers(0, 40)))
    agree(x, spec, axis)


def test_ties_go_to_even_after_the_division() -> None:
    steps = np.array([[448, 17, 19, 21, -17, -19, 2.0**-10, 3 * 2.0**-10, -(2.0**-10)]], np.float32)
    q = quantize(steps, QuantSpec(E4M3, PerVector()))
    assert q.scale.item() == 1
    assert decode(q.codes, E4M3).tolist() == [[448, 16, 20, 20, -16, -20, 0, 2.0**-8, -0.0]]
    assert np.signbit(decode(q.codes, E4M3)[0, -1])


def test_elements_are_divided_not_multiplied_by_a_reciprocal() -> None:
    ties = np.float32([448, 17, 19, 21, 23, 35, 39, 41, 45])
    x = ties * np.arange(1, 200, 2, dtype=np.float32)[:, None]
    q = quantize(x, FP8)
    scale = np.abs(x).max(axis=1, keepdims=True) / np.float32(448)
    assert np.array_equal(raw(q), encode(x / scale, E4M3).view(np.uint8))
    assert not np.array_equal(raw(q), encode(x * (np.float32(1) / scale), E4M3).view(np.uint8))


# ---- layout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [s for s in SPECS if not isinstance(s.rounding, Stochastic)], ids=str)
def test_axes_are_equivalent(spec: QuantSpec) -> None:
    x = wide(5, (33, 70))
    assert same(quantize(x.T, spec, axis=0), quantize(x, spec).T)
    assert same(quantize(np.asfortranarray(x), spec), quantize(x, spec))


def test_random_bits_belong_to_the_element_of_the_given_array() -> None:
    x = np.full((6, 5, 4), 1.03, np.float32)
    x[..., 0] = 448
    spec = QuantSpec(E4M3, PerTensor(), rounding=Stochastic(bits=16, seed=11))
    codes = raw(quantize(x, spec))
    for axis, granularity in itertools.product(range(3), (PerVector(), PerGroup(2))):
        huge = np.where(x > 1.03, x, np.float32(1.03))
        got = quantize(huge, dataclasses.replace(spec, granularity=granularity, min_amax=448.0), axis)
        assert np.array_equal(raw(got), codes), axis
    assert len(np.unique(codes)) == 3


@pytest.mark.parametrize("shape", [(3, 700_001), (600_001,), (1100, 600), (2, 40, 9000), (70_000, 9)])
@pytest.mark.parametrize("spec", [FP8, SPECS[1], SPECS[2], NV, SPECS[12], pr.NVFP4, FINITE, TRIED], ids=str)
def test_pieces_and_threads_change_no_bit(
    shape: tuple[int, ...], spec: QuantSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = wide(6, shape)
    before = get_num_threads()
    results, values = [], []
    try:
        for threads, piece, tile in ((1, 1 << 30, 1 << 14), (2, 1 << 19, 1 << 14), (7, 1 << 12, 1 << 8)):
            set_num_threads(threads)
            monkeypatch.setattr(machinery, "PIECE", piece)
            monkeypatch.setattr(machinery, "TILE", tile)
            monkeypatch.setattr(_dequantizing, "PIECE", piece)
            results.append(quantize(x, spec))
            values.append(results[-1].dequantize())
    finally:
        set_num_threads(before)
    assert same(results[0], results[1]) and same(results[0], results[2])
    assert np.array_equal(values[0], values[1]) and np.array_equal(values[0], values[2])


def test_many_callers_at_once() -> None:
    x = wide(7, (300, 1000))
    wanted = quantize(x, FP8)
    with ThreadPoolExecutor(8) as pool:
        assert all(same(q, wanted) for q in pool.map(lambda _: quantize(x, FP8), range(16)))


def test_strides_and_read_only_input() -> None:
    x = wide(8, (20, 300))
    x.flags.writeable = False
    wanted = quantize(x[::2, 3:290:2].copy(), FP8)
    assert same(quantize(x[::2, 3:290:2], FP8), wanted)
    flipped = quantize(x[::-1, ::-1], QuantSpec(E4M3, PerTensor()))
    assert np.array_equal(raw(flipped)[::-1, ::-1], raw(quantize(x, QuantSpec(E4M3, PerTensor()))))
    assert same(quantize(x.tolist(), FP8), quantize(x.astype(np.float64), FP8))


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
@pytest.mark.parametrize("spec", [FP8, NV, SPECS[1], SPECS[2]], ids=str)
def test_empty(shape: tuple[int, ...], spec: QuantSpec) -> None:
    q = quantize(np.zeros(shape, np.float32), spec)
    assert q.shape == shape and q.dequantize().shape == shape and q.T.shape == shape[::-1]
    assert q.scale.shape == spec.scale_shape(shape)


def test_codes_are_contiguous_along_the_axis() -> None:
    q = quantize(wide(9, (64, 48)), FP8, axis=-2)
    assert q.codes.T.flags.c_contiguous and q.scale.T.flags.c_contiguous
    assert q.block == (128, 1) and q.scale.shape == (1, 48)


# ---- out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*SPECS, pr.NVFP4, pr.NVFP4_4OVER6], ids=str)
@pytest.mark.parametrize("axis", [-1, -2])
def test_out(spec: QuantSpec, axis: int) -> None:
    x, other = wide(10, (24, 70)), wide(11, (24, 70))
    wanted = quantize(x, spec, axis)
    out = quantize(other, spec, axis)
    got = quantize(x, spec, axis, out=out)
    assert got.codes is out.codes and got.scale is out.scale and same(got, wanted)
    # C order, which is not that of the rows for axis -2
    plain = dataclasses.replace(out, codes=np.zeros_like(out.codes, order="C"), scale=out.scale.copy("C"))
    assert same(quantize(x, spec, axis, out=plain), wanted)
    assert np.array_equal(raw(plain), raw(wanted))


@pytest.mark.parametrize("shape", [(70, 130), (3, 33, 65), (2, 3, 16, 48), (40, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_in_any_order_of_memory(
    shape: tuple[int, ...], dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of results are copied to where they lie across memory by squares, and what is left one by one."""
    x = wide(14, shape)
    for axis in range(len(shape)):
        q = quantize(x, FP8, axis)
        values = q.dequantize(dtype)
        plain = dataclasses.replace(q, codes=np.zeros_like(q.codes, order="C"), scale=q.scale.copy("C"))
        monkeypatch.setattr(_row_views, "FEW", 0)
        assert same(quantize(x, FP8, axis, out=plain), q)
        for order in ("C", "F"):
            out = np.zeros(shape, dtype, order=order)  # type: ignore[call-overload]
            np.testing.assert_array_equal(q.dequantize(dtype, out=out), values)
        monkeypatch.undo()


def test_out_may_lie_in_the_input() -> None:
    x = wide(12, (8, 256))
    wanted = quantize(x, FP8)
    memory = x.view(np.uint8).reshape(-1)[100 : 100 + x.size].view(ml_dtypes.float8_e4m3fn).reshape(x.shape)
    out = QuantizedTensor(memory, np.ones((8, 2), np.float32), fmt=E4M3, block=(1, 128))
    assert same(quantize(x, FP8, out=out), wanted)


def test_bad_out() -> None:
    x = wide(13, (8, 256))
    out = quantize(x, FP8)
    frozen = out.codes.copy()
    frozen.flags.writeable = False
    cases = [
        (x[:4], out, ValueError, "out must have shape (4, 256), got (8, 256)"),
        (x, quantize(x, QuantSpec(E5M2, PerGroup(128))), ValueError, "out must have fmt e4m3, got e5m2"),
        (
            x,
            quantize(x, QuantSpec(E4M3, PerGroup(64))),
            ValueError,
            "out must have block (1, 128), got (1, 64)",
        ),
        (
            x,
            quantize(x, dataclasses.replace(FP8, scale_format=E8M0)),
            ValueError,
            "out must have scale_format",
        ),
        (x, dataclasses.replace(out, codes=frozen), ValueError, "out must be writable"),
        (x, out.codes, TypeError, "out must be a QuantizedTensor, got ndarray"),
    ]
    for source, target, error, message in cases:
        with pytest.raises(error, match=re.escape(message)):
            quantize(source, FP8, out=target)
    assert same(out, quantize(x, FP8))


# ---- special values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_zeros(spec: QuantSpec) -> None:
    spec = dataclasses.replace(spec, min_amax=None)
    q = quantize(np.zeros((4, 40), np.float32), spec)
    assert not q.dequantize().any()
    wanted = 1.0 if spec.scale_format == FP32 else spec.scale_format.smallest
    assert (decode(q.scale, q.scale_format) == wanted).all()
    assert q.tensor_scale in (None, 1)


def test_negative_zeros_keep_their_sign_where_they_can() -> None:
    zeros = np.array([[-0.0, 0.0]], np.float32)
    assert raw(quantize(zeros, FP8)).tolist() == [[0x80, 0]]
    assert raw(quantize(zeros, QuantSpec(E4M3FNUZ, PerGroup(2)))).tolist() == [[0, 0]]
    assert raw(quantize(zeros, QuantSpec(INT8, PerGroup(2)))).tolist() == [[0, 0]]


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("spec", [*SPECS, pr.NVFP4, pr.NVFP4_TE, pr.NVFP4_4OVER6], ids=str)
def test_nan_and_inf_make_the_scale_nan(spec: QuantSpec, dtype: type, bad: float) -> None:
    x = wide(14, (9, 80), 3, dtype)
    x[4, 41] = bad
    q = quantize(x, spec)
    hit = np.isnan(q.multipliers())
    assert hit.sum() == 1
    block = tuple(
        slice(i * n, (i + 1) * n)
        for i, n in zip(np.argwhere(hit)[0], clip_block(q.block, x.shape), strict=True)
    )
    inside = np.zeros(x.shape, bool)
    inside[block] = True
    assert inside[4, 41]
    assert np.array_equal(np.isnan(q.dequantize()), inside)
    code = spec.fmt.nan_code if isinstance(spec.fmt, FloatFormat) and spec.fmt.has_nan else 0
    assert (raw(q)[inside] == code).all()
    without = np.where(inside, 0, x)
    assert np.array_equal(raw(q)[~inside], raw(quantize(without, spec))[~inside])
    assert q.tensor_scale == quantize(without, spec).tensor_scale


def test_scales_that_underflow_and_overflow() -> None:
    tiny, huge = np.float32(2.0**-149), np.finfo(np.float32).max
    q = quantize(np.array([[tiny, -tiny]]), QuantSpec(E4M3, PerVector()))
    assert q.scale.item() == tiny and q.dequantize().tolist() == [[tiny, -tiny]]
    q = quantize(np.array([[tiny, 0]]), QuantSpec(E2M1, PerVector(), scale_format=E4M3))
    assert float(q.scale.item()) == E4M3.smallest and not q.dequantize().any()
    q = quantize(np.array([[huge, 1]]), QuantSpec(E2M1, PerVector(), scale_format=E4M3))
    assert float(q.scale.item()) == 448 and q.dequantize().tolist() == [[2688, 0]]
    q = quantize(np.array([[1e300, -1e300]]), QuantSpec(E4M3, PerVector()))
    assert q.scale.item() == huge and raw(q).tolist() == [[0x7E, 0xFE]]
    # The product of both scales is zero: the smallest float32 stands for it, so that nothing divides by 0.
    tensor = quantize(np.array([[tiny * 4] * 16 + [tiny] * 15 + [0]]), NV)
    assert tensor.tensor_scale == tiny and tensor.multipliers()[0, 1] == 0
    assert decode(tensor.codes, E2M1)[0, 16:].tolist() == [1] * 15 + [0]


def test_overflow_of_elements() -> None:
    x = np.array([[7.9, -7.9, 4, 1]], np.float32)
    floor = QuantSpec(E2M1, PerVector(), scale_rule=ScaleRule.FLOOR)
    assert quantize(x, floor).dequantize().tolist() == [[6, -6, 4, 1]]
    x = np.array([[500, -500, 4, 1]], np.float32)
    loud = QuantSpec(E4M3, PerVector(), scale_rule=ScaleRule.FLOOR, overflow=Overflow.NON_SATURATING)
    assert np.isnan(quantize(x, loud).dequantize()).tolist() == [[True, True, False, False]]
    assert np.isfinite(quantize(x, loud).scale).all()


def test_min_amax() -> None:
    spec = QuantSpec(E4M3, PerVector(), min_amax=1e-4)
    q = quantize(np.array([[0, 0], [1e-6, 0], [1, 0]], np.float32), spec)
    wanted = np.float32([[1e-4], [1e-4], [1]]) / np.float32(448)
    assert np.array_equal(q.scale, wanted)


# ---- values back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("axis", [-1, 0])
def test_dequantize(spec: QuantSpec, axis: int) -> None:
    q = quantize(wide(15, (13, 37)), spec, axis)
    scale = decode(q.scale, q.scale_format)
    if q.tensor_scale is not None:
        scale = scale * q.tensor_scale
    for along, step in enumerate(clip_block(q.block, q.shape)):
        scale = np.repeat(scale, step, axis=along)[tuple(slice(n) for n in q.shape[: along + 1])]
    codes = decode(q.codes, q.fmt)
    assert np.array_equal(q.dequantize(), codes * scale)
    exact = codes.astype(np.float64) * scale.astype(np.float64)
    assert np.array_equal(q.dequantize(np.float64), exact)
    assert np.array_equal(q.T.dequantize(), q.dequantize().T)
    # codes in another order of memory, where groups run across the rows
    turned = dataclasses.replace(q, codes=np.asfortranarray(q.codes))
    assert np.array_equal(turned.dequantize(), q.dequantize())


def test_dequantize_in_three_dimensions() -> None:
    x = wide(16, (3, 8, 6), 2)
    for axis in range(3):
        q = quantize(x, QuantSpec(E4M3, PerGroup(4)), axis)
        assert np.abs(q.dequantize() - x).max() <= np.abs(x).max() / 14
        assert np.array_equal(q.mT.dequantize(), np.swapaxes(q.dequantize(), 1, 2))
        assert q.mT.block == (q.block[0], q.block[2], q.block[1])


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_quantizing_again_changes_no_value(seed: int) -> None:
    x = wide(seed, (4, 64), 8)
    for spec in (FP8, MX, QuantSpec(INT8, PerGroup(16))):
        once = quantize(x, spec).dequantize()
        assert np.array_equal(quantize(once, spec).dequantize(), once)


def test_scaling_by_a_power_of_two_scales_the_result() -> None:
    x = wide(17, (8, 256), 4)
    for spec in (FP8, MX, NV, QuantSpec(INT4, PerBlock(4, 4))):
        assert np.array_equal(quantize(x * 8, spec).dequantize(), quantize(x, spec).dequantize() * 8)


def test_errors_stay_within_half_a_step() -> None:
    x = wide(18, (50, 128), 2)
    q = quantize(x, FP8)
    quotient = x / q.scale
    step = np.maximum(2.0 ** (np.floor(np.log2(np.maximum(np.abs(quotient), 1e-9))) - 3), 2.0**-9)
    assert (np.abs(decode(q.codes, E4M3) - quotient) <= step / 2).all()


# ---- tensors by hand --------------------------------------------------------------------------------


def codes_of(*shape: int) -> np.ndarray:
    return np.zeros(shape, ml_dtypes.float8_e4m3fn)


@pytest.mark.parametrize(
    ("shape", "scales", "block"),
    [
        ((4, 256), (4, 2), (1, 128)),
        ((4, 256), (1, 1), (None, None)),
        ((4, 384), (4, 3), (1, 128)),
        ((256, 256), (2, 2), (128, 128)),
        ((4, 6), (4, 6), (1, 1)),
        ((1, 6), (1, 1), (1, None)),
        ((4, 100), (4, 1), (1, None)),
        ((0, 4), (0, 1), (1, None)),
    ],
)
def test_block_is_inferred(shape: tuple[int, ...], scales: tuple[int, ...], block: tuple[int, ...]) -> None:
    assert QuantizedTensor(codes_of(*shape), np.ones(scales, np.float32), fmt=E4M3).block == block


@pytest.mark.parametrize(("shape", "scales"), [((4, 300), (4, 3)), ((4, 192), (4, 2)), ((4, 200), (4, 3))])
def test_block_is_not_guessed(shape: tuple[int, ...], scales: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"block cannot be told from \d scales .* pass block="):
        QuantizedTensor(codes_of(*shape), np.ones(scales, np.float32), fmt=E4M3)
    step = -(-shape[1] // scales[1])
    q = QuantizedTensor(codes_of(*shape), np.ones(scales, np.float32), fmt=E4M3, block=(1, step))
    assert q.block == (1, step)


def test_one_scale_by_hand() -> None:
    for scale in (0.5, np.float32(0.5), np.array(0.5, np.float32), np.full((1, 1), 0.5, np.float32)):
        q = QuantizedTensor(encode(np.ones((3, 5), np.float32), E4M3), scale, fmt=E4M3)
        assert q.block == (None, None) and q.scale.shape == (1, 1)
        assert (q.dequantize() == 0.5).all()


def test_integer_codes_and_scales_by_hand() -> None:
    q = QuantizedTensor(
        np.full((2, 32), 0x38, np.uint8), np.full((2, 1), 128, np.uint8), fmt=E4M3, scale_format=E8M0
    )
    assert q.codes.dtype == E4M3.dtype and q.scale.dtype == E8M0.dtype
    assert (q.dequantize() == 2).all()
    e5m3 = QuantizedTensor(q.codes, np.array([[0x78]] * 2, np.uint8), fmt=E4M3, scale_format=UE5M3)
    assert (e5m3.dequantize() == UE5M3.value(0x78)).all()


@pytest.mark.parametrize("scale", [0.0, -0.0, np.inf, np.nan, -np.nan])
def test_scales_propagate_as_arithmetic_does(scale: float) -> None:
    q = QuantizedTensor(encode(np.array([[1.0, 0.0, -2.0]]), E4M3), np.float32([[scale]]), fmt=E4M3)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(q.dequantize(), np.float32([[1, 0, -2]]) * np.float32(scale))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"codes": codes_of(4, 256).astype(np.float32)}, TypeError, "codes of e4m3 must have dtype"),
        ({"codes": [[1, 2]]}, TypeError, "codes must be an ndarray, got list"),
        ({"codes": codes_of()}, ValueError, "codes must have at least one axis"),
        ({"codes": np.full((4, 256), 16, np.uint8), "fmt": E2M1}, ValueError, "must lie below 2**4, got 16"),
        ({"fmt": "e4m3"}, TypeError, "fmt must be a FloatFormat"),
        ({"fmt": FP64}, TypeError, "fmt must be a FloatFormat"),
        ({"scale": np.ones((4, 2))}, TypeError, "scale must be float32"),
        ({"scale": np.ones((4, 2), np.uint8)}, TypeError, "scale must be float32"),
        ({"scale": np.ones((4, 2), np.int32)}, TypeError, "scale must be float32"),
        ({"scale": np.full((4, 2), -1, np.float32)}, ValueError, "scale must not be negative, got -1.0"),
        (
            {"scale": np.full((4, 2), -0.5, np.float32).astype(ml_dtypes.float8_e4m3fn)},
            ValueError,
            "scale must not be negative, got -0.5",
        ),
        ({"scale": np.ones((4, 2), np.float32), "scale_format": E8M0}, TypeError, "scale of e8m0 must have"),
        ({"scale_format": INT8}, TypeError, "scale_format must be a FloatFormat"),
        ({"scale": np.ones(2, np.float32)}, ValueError, "scale must have the codes' 2 axes"),
        ({"scale": np.ones((3, 2), np.float32)}, ValueError, "block cannot be told from 3 scales for 4"),
        ({"block": (1, 64)}, ValueError, "scale must have shape (4, 4) for codes of (4, 256)"),
        ({"block": (1,)}, ValueError, "block must have 2 entries"),
        ({"block": (0, 128)}, ValueError, "block must have 2 entries of at least 1"),
        ({"block": (1.0, 128)}, TypeError, "block must be a tuple of ints"),
        ({"tensor_scale": np.inf}, ValueError, "tensor_scale must be finite and positive, got inf"),
        ({"tensor_scale": np.float32(-1)}, ValueError, "tensor_scale must be finite and positive"),
        ({"tensor_scale": 0.0}, ValueError, "tensor_scale must be finite and positive"),
        ({"tensor_scale": np.ones(2)}, TypeError, "tensor_scale must be a float32 number"),
    ],
)
def test_bad_tensors(change: dict[str, object], error: type[Exception], message: str) -> None:
    fields = {"codes": codes_of(4, 256), "scale": np.ones((4, 2), np.float32), "fmt": E4M3} | change
    with pytest.raises(error, match=re.escape(message)):
        QuantizedTensor(**fields)  # type: ignore[arg-type]


def test_bad_uses_of_a_tensor() -> None:
    q = quantize(np.ones(4, np.float32), QuantSpec(E4M3, PerTensor()))
    with pytest.raises(ValueError, match="mT needs at least 2 axes"):
        _ = q.mT
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got float16"):
        q.dequantize(np.float16)
    with pytest.raises(dataclasses.FrozenInstanceError):
        q.codes = None  # type: ignore[misc]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_sizes(spec: QuantSpec) -> None:
    shape = (31, 77)
    q = quantize(wide(19, shape), spec)
    bits = q.codes.size * spec.fmt.bits + q.scale.size * spec.scale_format.bits + 32 * spec.tensor_scale
    assert spec.bits_per_element(shape) == pytest.approx(bits / (31 * 77))
    assert 0 <= q.nbytes - bits / 8 < 2
    assert q.T.nbytes == q.nbytes


# ---- specs ------------------------------------------------------------------------------------------


@given(_spec_strategies.specs(stochastic=True, every_field=True))
@settings(max_examples=200, deadline=None)
def test_specs_print_as_text_that_parses_back(spec: QuantSpec) -> None:
    assert QuantSpec.parse(str(spec)) == spec
    assert hash(QuantSpec.parse(str(spec))) == hash(spec)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_kind_of_spec_parses_back(spec: QuantSpec) -> None:
    assert QuantSpec.parse(str(spec)) == spec


def test_text_of_specs() -> None:
    assert str(FP8) == "QuantSpec(e4m3, PerGroup(128))"
    assert (str(MX), str(NV)) == (
        "MXFP4",
        "QuantSpec(e2m1, PerGroup(16), scale_format=e4m3, tensor_scale=True)",
    )
    assert str(dataclasses.replace(NV, arithmetic=pr.Arithmetic.NVFP4_PAPER)) == "NVFP4"
    other = dataclasses.replace(MX, scale_rule=ScaleRule.EVEN)
    assert str(other) == "QuantSpec(e2m1, PerGroup(32), scale_format=e8m0, scale_rule=EVEN)"
    assert (str(pr.MXINT8), str(pr.MXINT8.fmt)) == ("MXINT8", "mxint8")
    for named in (pr.MXFP8_E4M3, pr.MXINT8, pr.MXINT4, pr.NVINT4, pr.NVFP4, pr.NVFP4_TE, pr.NVFP4_4OVER6):
        assert QuantSpec.parse(str(named)) == named
    assert (
        QuantSpec.parse(" quantspec(E4M3, pergroup(128))".replace("quants", "QuantS").replace("perg", "PerG"))
        == FP8
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("QuantSpec(e4m3", "cannot be read"),
        ("QuantSpec(e4m3, PerGrup(128))", "PerGrup"),
        ("QuantSpec(e4m3, PerGroup(0))", "n must be at least 1"),
        ("e4m3", "must say a QuantSpec"),
        ("QuantSpec(e4m3, PerGroup(128), scale_rule=LOUD)", "LOUD"),
        ("__import__('os')", "__import__"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        QuantSpec.parse(text)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fmt": "e4m3"}, TypeError, "fmt must be a FloatFormat or IntFormat, got 'e4m3'"),
        ({"fmt": FP64}, ValueError, "fmt must have a zero and at most 32 bits, got fp64"),
        ({"fmt": E8M0}, ValueError, "fmt must have a zero and at most 32 bits, got e8m0"),
        ({"granularity": 128}, TypeError, "granularity must be one as PerGroup(128), got 128"),
        ({"granularity": PerGroup}, TypeError, "granularity must be one as PerGroup(128)"),
        ({"scale_format": INT8}, TypeError, "scale_format must be a FloatFormat"),
        ({"scale_format": E2M1}, ValueError, "scale_format must have a NaN"),
        ({"scale_format": FP64}, ValueError, "scale_format must have a NaN and at most 32 bits, got fp64"),
        ({"scale_rule": "floor"}, TypeError, "scale_rule must be a ScaleRule, got 'floor'"),
        ({"tensor_scale": 1}, TypeError, "tensor_scale must be a bool, got 1"),
        ({"tensor_scale": True}, ValueError, "tensor_scale needs a scale_format of less range than fp32"),
        ({"rounding": "up"}, TypeError, "rounding must be a Rounding or Stochastic, got 'up'"),
        ({"overflow": None}, TypeError, "overflow must be a Overflow, got None"),
        (
            {"fmt": E2M1, "overflow": Overflow.NON_SATURATING},
            ValueError,
            "overflow must be SATURATE for e2m1",
        ),
        ({"min_amax": -1.0}, ValueError, "min_amax must be positive"),
        ({"min_amax": 0.0}, ValueError, "min_amax must be positive"),
        ({"min_amax": np.nan}, ValueError, "min_amax must be positive"),
        ({"min_amax": np.inf}, ValueError, "min_amax must be positive"),
        ({"min_amax": "1e-4"}, TypeError, "min_amax must be a float or None"),
        ({"arithmetic": "division"}, TypeError, "arithmetic must be a Arithmetic, got 'division'"),
        ({"arithmetic": PAPER}, ValueError, "arithmetic NVFP4_PAPER needs tensor_scale=True"),
        (
            UNDER | {"arithmetic": PAPER, "scale_rule": ScaleRule.FLOOR},
            ValueError,
            "arithmetic NVFP4_PAPER needs the scale_rule AMAX or one of FOUR_OVER_SIX, got FLOOR",
        ),
        ({"scale_bound": 256.0}, ValueError, "scale_bound 256.0 needs tensor_scale=True"),
        (UNDER | {"scale_bound": 449}, ValueError, "scale_bound must be positive and at most 448.0"),
        (UNDER | {"scale_bound": np.nan}, ValueError, "scale_bound must be positive and at most 448.0"),
        (UNDER | {"scale_bound": 0}, ValueError, "the largest e4m3, got 0"),
        (UNDER | {"scale_bound": True}, TypeError, "scale_bound must be a float or None, got True"),
        ({"zero_scale": "1"}, TypeError, "zero_scale must be a float or None, got '1'"),
        ({"zero_scale": -1.0}, ValueError, "zero_scale must be 0 or a positive value of fp32, got -1.0"),
        ({"zero_scale": 0.1}, ValueError, "zero_scale must be 0 or a positive value of fp32, got 0.1"),
        ({"zero_scale": np.nan}, ValueError, "zero_scale must be 0 or a positive value of fp32, got nan"),
        (
            {"scale_format": E8M0, "zero_scale": 0.0},
            ValueError,
            "zero_scale must be a positive value of e8m0, got 0.0",
        ),
        (
            {"scale_format": E8M0, "zero_scale": 3.0},
            ValueError,
            "zero_scale must be a positive value of e8m0",
        ),
        ({"scale_format": E4M3, "least_scale": 2**-10}, ValueError, "least_scale must be 0 or a positive"),
        ({"least_scale": np.inf}, ValueError, "least_scale must be 0 or a positive value of fp32, got inf"),
        (
            {"least_scale": 3.0, "scale_rule": ScaleRule.CEIL},
            ValueError,
            "least_scale must be a power of two for CEIL, got 3.0",
        ),
        (
            {"least_scale": 0.0, "scale_rule": ScaleRule.RCEIL_RECIPROCAL},
            ValueError,
            "least_scale must be a power of two for RCEIL_RECIPROCAL, got 0.0",
        ),
        ({"non_finite": None}, TypeError, "non_finite must be a NonFinite, got None"),
        ({"scale_overflow": "nan"}, TypeError, "scale_overflow must be a Overflow, got 'nan'"),
        (
            {"scale_rule": SIX, "granularity": PerVector()},
            ValueError,
            "FOUR_OVER_SIX_MAE needs PerGroup(1) to PerGroup(1024), got PerVector()",
        ),
        ({"scale_rule": SIX, "granularity": PerGroup(1025)}, ValueError, "got PerGroup(1025)"),
        (
            {"scale_rule": SIX, "rounding": Stochastic(bits=8)},
            ValueError,
            "FOUR_OVER_SIX_MAE compares errors and needs a deterministic rounding, got Stochastic(bits=8)",
        ),
    ],
)
def test_bad_specs(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        QuantSpec(**({"fmt": E4M3, "granularity": PerGroup(128)} | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "axis", "spec", "error", "message"),
    [
        (np.ones((2, 2), int), -1, FP8, TypeError, "x must be of a floating-point type"),
        (np.array([None, 1.0]), -1, FP8, TypeError, "x must be of a floating-point type"),
        (np.ones(3, complex), -1, FP8, TypeError, "x must be of a floating-point type"),
        (np.float32(1), -1, FP8, ValueError, "x must have at least one axis"),
        (np.ones((2, 2)), 2, FP8, ValueError, "axis must lie in -2..1 for 2 axes, got 2"),
        (np.ones((2, 2)), -3, FP8, ValueError, "axis must lie in -2..1"),
        (np.ones((2, 2)), 0.0, FP8, TypeError, "axis must be an int"),
        (np.ones(4), 0, QuantSpec(E4M3, PerBlock(2, 2)), ValueError, "at least 2 axes, got shape (4,)"),
        (np.ones(4), -1, "no spec", ValueError, "spec 'no spec': cannot be read"),
        (np.ones(4), -1, "MXFP9", ValueError, "spec 'MXFP9': unknown name 'MXFP9'; near names: MXFP4"),
        (np.ones(4), -1, "int8", ValueError, "spec 'int8': must say a QuantSpec"),
        (np.ones(4), -1, 8, TypeError, "spec must be one as QuantSpec(E4M3, PerGroup(128)), got 8"),
        (np.ones(4), -1, QuantSpec, TypeError, "spec must be one as QuantSpec"),
    ],
)
def test_bad_calls(x: object, axis: object, spec: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        quantize(x, spec, axis)  # type: ignore[arg-type, type-var]


def test_no_size_without_elements() -> None:
    with pytest.raises(ValueError, match="shape must hold at least one element"):
        FP8.bits_per_element((0, 4))


def test_a_new_granularity_is_one_small_class() -> None:
    @dataclasses.dataclass  # without a hash, which nothing asks for
    class PerSlab:
        """One scale for two slabs of the first axis."""

        def block(self, shape: tuple[int, ...], axis: int = -1) -> tuple[int, ...]:
            return (2, *shape[1:])

    x = wide(20, (5, 3, 4))
    q = quantize(x, QuantSpec(E4M3, PerSlab()))
    assert q.scale.shape == (3, 1, 1)
    for slab in range(3):
        part = x[2 * slab : 2 * slab + 2]
        alone = quantize(part, QuantSpec(E4M3, PerTensor()))
        assert np.array_equal(raw(q)[2 * slab : 2 * slab + 2], raw(alone))
