"""The fast loops for groups of 16 and 32 against the general ones, which other tests hold to oracles."""

import dataclasses
import itertools
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision.formats import E4M3, E8M0, UE4M3, FloatFormat, Overflow, Rounding, Stochastic
from precision.quantization import PerBlock, PerGroup, QuantizedTensor, QuantSpec, ScaleRule
from precision.quantization import _group_loops as blocks
from precision.quantization import _row_loops as machinery
from precision.quantization._quant_spec import SPECS as NAMED_SPECS
from precision.quantization._scale_rules import ScaleFormula

MX = [spec for spec in NAMED_SPECS.values() if spec.scale_format == E8M0]
POWERS = [rule for rule in ScaleRule if rule.recipe(pr.E2M1).formula is ScaleFormula.POWER]
NV = QuantSpec(pr.E2M1, PerGroup(16), scale_format=E4M3, tensor_scale=True)
SPECS = [
    *(dataclasses.replace(spec, scale_rule=rule) for spec in MX for rule in POWERS),
    *(dataclasses.replace(spec, granularity=PerGroup(16)) for spec in MX),
    NV,
    pr.NVFP4,
    dataclasses.replace(pr.NVFP4, arithmetic=pr.Arithmetic.TRANSFORMER_ENGINE),
    QuantSpec(pr.parse_format("int4"), PerGroup(16), scale_format=E4M3, tensor_scale=True),
    QuantSpec(E4M3, PerGroup(32), scale_format=E4M3, tensor_scale=True),
    QuantSpec(FloatFormat(3, 4), PerBlock(1, 32), scale_format=E8M0, scale_rule=ScaleRule.FLOOR),
]


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inputs(spec: QuantSpec) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of whole groups, some larger than a tile."""
    rng = np.random.default_rng(1)
    rows = random(0, 291, 96)
    yield "plain", rows
    with np.errstate(over="ignore", under="ignore"):
        yield "wide", (rows * 2.0 ** rng.integers(-160, 128, (291, 1))).astype(np.float32)
        yield "tiny", (rows * 2.0 ** rng.integers(-149, -120, (291, 1))).astype(np.float32)
    yield "bits", rng.integers(0, 1 << 32, (9, 4128), dtype=np.uint32).view(np.float32)
    # The format's values, their midpoints and the neighbours of those, below powers of two of every size.
    grid = np.sort(np.abs(pr.decode(np.arange(1 << (spec.fmt.bits - 1), dtype=np.uint8), spec.fmt)))
    grid = grid[np.isfinite(grid)]
    grid = np.concatenate([grid, (grid[1:] + grid[:-1]) / 2])
    grid = np.concatenate([grid, np.nextafter(grid, np.float32(np.inf)), np.nextafter(grid, np.float32(0))])
    ties = rng.choice(grid, (512, 64)) * rng.choice([-1, 1], (512, 64))
    yield "ties", (ties * 2.0 ** rng.integers(-126, 100, (512, 1))).astype(np.float32)
    near = 2.0 ** np.arange(-149, 128)
    near = np.stack([near, near * (1 + 2.0**-23), near * (1 - 2.0**-24), near * spec.fmt.max], axis=1)
    peaks = np.zeros((near.size, 32), np.float32)
    with np.errstate(over="ignore"):
        peaks[:, 5] = near.reshape(-1)
    peaks[:, 6] = peaks[:, 5] / 3
    yield "peaks", peaks
    special = rows.copy()
    special[3, 7], special[4, 90], special[5, 0], special[6, 95] = np.nan, np.inf, -np.inf, -np.nan
    special[7], special[8] = 0, -0.0
    special[9, ::2] = -1e-30
    yield "special", special
    yield "zeros", np.zeros((3, 64), np.float32)
    yield "nothing finite", np.full((3, 64), np.nan, np.float32)


@pytest.fixture
def general(monkeypatch):
    """Call a function with the general loops."""

    def call(function, *args, **named):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "choose_loops", lambda *_: None)
            patch.setattr(blocks, "dequantize", lambda *_: False)
            return function(*args, **named)

    return call


@pytest.fixture
def taken(monkeypatch):
    """The fast loops that were chosen, None for the general ones."""
    found = []
    choose = blocks.choose_loops
    monkeypatch.setattr(blocks, "choose_loops", lambda *args: found.append(choose(*args)) or found[-1])
    return found


def assert_same(ours: QuantizedTensor, theirs: QuantizedTensor, name: str = "") -> None:
    np.testing.assert_array_equal(ours.scale.view(np.uint8), theirs.scale.view(np.uint8), name)
    np.testing.assert_array_equal(ours.codes.view(np.uint8), theirs.codes.view(np.uint8), name)
    assert (ours.tensor_scale, ours.block) == (theirs.tensor_scale, theirs.block), name


def assert_same_values(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Bits, but for those of NaN."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    np.testing.assert_array_equal(np.where(np.isnan(ours), 0, ours.view(np.uint32)),
                                  np.where(np.isnan(theirs), 0, theirs.view(np.uint32)))  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_same_bits_as_the_general_loops(spec, general, taken):
    for name, x in inputs(spec):
        ours = pr.quantize(x, spec)
        assert taken.pop() is not None
        assert_same(ours, general(pr.quantize, x, spec), name)
        assert_same_values(ours.dequantize(), general(ours.dequantize))


@pytest.mark.parametrize("spec", [pr.MXFP8_E4M3, pr.MXINT8, NV], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_sources(spec, dtype, general, taken):
    x = random(2, 130, 160).astype(dtype)
    ours = pr.quantize(x, spec)
    assert (taken.pop() is None) == (dtype == np.float64)
    assert_same(ours, general(pr.quantize, x, spec))


@pytest.mark.parametrize("spec", [pr.MXFP4, NV, pr.NVFP4], ids=str)
@pytest.mark.parametrize(
    ("shape", "axis", "fast"),
    [
        ((64, 96), -2, True),
        ((3, 64, 40), 1, True),
        ((2, 3, 64), -1, True),
        ((4096 * 5 + 32,), -1, True),
        ((1, 3 << 18), -1, True),
        ((7, 33), -1, False),
        ((33, 64), -2, False),
        ((5, 31), -1, False),
        ((5, 16), -1, None),
    ],
)
def test_shapes(spec, shape, axis, fast, general, taken):
    x = random(3, *shape)
    ours = pr.quantize(x, spec, axis)
    if fast is not None:
        assert (taken.pop() is not None) == fast
    assert_same(ours, general(pr.quantize, x, spec, axis))
    assert_same_values(ours.dequantize(), general(ours.dequantize))
    strided = np.repeat(x, 2, axis=0)[::2]
    assert_same(pr.quantize(strided, spec, axis), ours)
    again = pr.quantize(-x, spec, axis)
    assert_same(pr.quantize(x, spec, axis, out=again), ours)


@pytest.mark.parametrize("spec", [pr.MXFP8_E4M3, pr.NVFP4], ids=str)
def test_pieces_and_threads_change_no_bit(spec, monkeypatch):
    x = random(4, 70, 992)
    x[50, 3] = np.inf
    whole = pr.quantize(x, spec)
    before = pr.get_num_threads()
    for piece, threads in itertools.product((96, 1 << 12, 1 << 20), (1, 3)):
        monkeypatch.setattr(machinery, "PIECE", piece)
        pr.set_num_threads(threads)
        try:
            assert_same(pr.quantize(x, spec), whole)
        finally:
            pr.set_num_threads(before)


@pytest.mark.parametrize(
    "change",
    [
        {"rounding": Rounding.TOWARD_ZERO},
        {"rounding": Stochastic()},
        {"min_amax": 1e-4},
        {"granularity": PerGroup(8)},
        {"granularity": PerGroup(64)},
        {"granularity": PerBlock(2, 32)},
        {"scale_format": UE4M3},
        {"scale_rule": ScaleRule.AMAX},
        {"fmt": pr.parse_format("uint8")},
        {"fmt": pr.BF16},
        {"fmt": pr.E4M3, "overflow": Overflow.NON_SATURATING},
    ],
    ids=str,
)
def test_only_plain_specs_take_the_fast_loops(change, general, taken):
    x, spec = random(5, 64, 64), dataclasses.replace(pr.MXFP4, **change)
    ours = pr.quantize(x, spec)
    assert taken in ([], [None])
    assert_same_values(ours.dequantize(), general(ours.dequantize))


def test_elements_may_be_multiplied():
    """By the reciprocal, as arXiv 2509.25149 (appendix B) has it, each step in NumPy's float32."""
    from precision._kernels.numbers import _short_groups as kernels
    from precision.formats._codec_constants import format_params, short_params

    one = np.float32(1)
    x = random(6, 562, 16)
    x[:, 0] = amax = np.abs(x).max(axis=1)
    encode_scale = np.float32(2688) / amax.max()
    tensor_scale = one / encode_scale
    scales = pr.encode(amax / np.float32(6) * encode_scale, E4M3)
    totals = pr.decode(scales, E4M3) * tensor_scale
    x[:, 1:6] = totals[:, None] * np.float32([0.25, 0.75, -1.25, 2.5, -3.5])  # ties, for some on one way only
    factors = one / totals
    wanted = pr.encode(x * factors[:, None], pr.E2M1)

    nested = kernels.Nested(np.float32(6), tensor_scale, encode_scale, 1)
    target = kernels.Narrow(short_params(E4M3), format_params(E4M3), 1)
    elements = kernels.Elements(short_params(pr.E2M1), format_params(pr.E2M1), 0)
    codes, got = np.empty(x.size, np.uint8), np.empty(len(x), np.uint8)
    scratch = np.empty(256, np.float32)
    flat = x.reshape(-1)
    kernels.quantize_nested(
        flat, flat.view(np.uint32), 16, nested, target, got, scratch, scratch.view(np.uint32), elements, codes
    )
    np.testing.assert_array_equal(got, scales.view(np.uint8))
    np.testing.assert_array_equal(codes.reshape(x.shape), wanted.view(np.uint8))
    divided = pr.encode(x / totals[:, None], pr.E2M1)
    assert (wanted.view(np.uint8) != divided.view(np.uint8)).any()  # so the flag was seen


FORMATS = [
    *dict.fromkeys(spec.fmt for spec in SPECS),
    pr.parse_format("int8"),
    *(FloatFormat(4, 3, bias=bias) for bias in (11, 126, 127)),
]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("scale_format", [E8M0, E4M3, pr.FP32, pr.BF16], ids=str)
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("group", [16, 128])
def test_every_code_with_every_scale(fmt, scale_format, special, group, general):
    """With Inf and NaN, which take a loop of their own, or without."""
    codes = np.tile(np.arange(1 << fmt.bits, dtype=fmt.code_dtype), (256, max(1, 2 * group >> fmt.bits)))
    if not special:
        codes[~np.isfinite(pr.decode(codes, fmt))] = 1
    bits = np.arange(1 << min(scale_format.bits, 16), dtype=np.uint32) << max(0, scale_format.bits - 16)
    bits = bits[pr.decode(bits.astype(scale_format.code_dtype), scale_format) >= 0]
    some = (
        np.random.default_rng(7).choice(bits, (256, codes.shape[1] // group)).astype(scale_format.code_dtype)
    )
    for tensor_scale in (None, np.float32(0.7)):
        q = QuantizedTensor(
            codes, some, fmt=fmt, scale_format=scale_format, block=(1, group), tensor_scale=tensor_scale
        )
        assert_same_values(q.dequantize(), general(q.dequantize))
        np.testing.assert_array_equal(q.dequantize(np.float64), general(q.dequantize, np.float64))


@pytest.mark.parametrize("group", [16, 64, 128, 2048, 4096, 8192, 48, 8])
def test_values_of_groups_of_any_length(group, general):
    x = random(10, 5, 3 * group)
    x[1, 2], x[2, 5] = np.nan, np.inf
    q = pr.quantize(x, QuantSpec(E4M3, PerGroup(group)))
    values = q.dequantize()
    assert_same_values(values, general(q.dequantize))
    np.testing.assert_array_equal(values, pr.decode(q.codes, E4M3) * np.repeat(q.scale, group, axis=1))


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("start", [0, 1, 7, 15])
@pytest.mark.parametrize("size", [32, 4096 + 32, 3 * 4096, 20000])
def test_values_into_any_place(streams, start, size, monkeypatch):
    """Past the caches or not, every element is written once, and none beside them."""
    monkeypatch.setattr(blocks, "LARGE", 0 if streams else 1 << 60)
    q = pr.quantize(random(8, size), pr.MXFP8_E4M3)
    place = np.full(size + 32, 7, np.float32)
    out = place[start : start + size]
    assert q.dequantize(out=out) is out
    np.testing.assert_array_equal(
        out, pr.decode(q.codes, E4M3) * np.repeat(pr.decode(q.scale, E8M0), 32)[:size]
    )
    assert (place[:start] == 7).all() and (place[start + size :] == 7).all()


@pytest.mark.parametrize("spec", [pr.MXFP4, pr.QuantSpec(E4M3, PerGroup(128)), NV], ids=str)
@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dequantize_into_given_arrays(spec, axis, dtype):
    q = pr.quantize(random(9, 64, 96), spec, axis)
    wanted = q.dequantize(dtype)
    places = [
        np.empty((64, 96), dtype),
        np.empty((64, 96), dtype, order="F"),
        np.empty((128, 192), dtype)[::2, 1::2],
        np.empty((64, 96), dtype)[::-1],
    ]
    for out in places:
        assert q.dequantize(dtype, out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_dequantize_into_the_memory_of_the_codes():
    q = pr.quantize(random(10, 64, 96), pr.MXFP8_E4M3)
    wanted = q.dequantize()
    memory = np.zeros(4 * q.codes.size, np.uint8)
    codes = memory[: q.codes.size].reshape(q.shape)
    codes[...] = q.codes.view(np.uint8)
    shared = QuantizedTensor(codes, q.scale, fmt=q.fmt, block=q.block)
    np.testing.assert_array_equal(shared.dequantize(out=memory.view(np.float32).reshape(q.shape)), wanted)


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        ([0.0] * 32, TypeError, "out must be an ndarray, got list"),
        (np.zeros(32), TypeError, "out must have dtype float32, got float64"),
        (np.zeros(31, np.float32), ValueError, r"out must have shape \(32,\), got \(31,\)"),
        (np.broadcast_to(np.float32(0), 32), ValueError, "out must be writable"),
    ],
)
def test_bad_out(out, error, message):
    with pytest.raises(error, match=message):
        pr.quantize(random(11, 32), pr.MXFP4).dequantize(out=out)


def test_empty():
    q = pr.quantize(np.empty((0, 32), np.float32), pr.MXFP4)
    out = np.empty((0, 32), np.float32)
    assert q.dequantize(out=out) is out


@pytest.mark.parametrize("bias", [46, 47, 60])
def test_zeros_get_the_least_scale_however_small_the_elements_are(bias: int) -> None:
    """The fast loops count zeros as an amax of 2**-159: formats below 2**-32 are left to the general ones."""
    spec = QuantSpec(
        FloatFormat(4, 3, bias=bias), PerGroup(32), scale_format=E8M0, scale_rule=ScaleRule.FLOOR
    )
    x = np.zeros((2, 32), np.float32)
    x[1, 5] = 2.0**-149
    scale = pr.quantize(x, spec).scale.astype(np.float64)[:, 0]
    assert scale.tolist() == [2.0**-127, max(2.0 ** (-149 - spec.fmt.max_exponent), 2.0**-127)]
    assert (blocks.quantizer(spec, x.dtype) is None) == (spec.fmt.max_exponent < -32)
