"""Operations that write into ``out`` where it shares memory with what is read: as if it were a copy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision.logfmt import LogFMTTensor

ROWS, COLUMNS = 24, 64
ROOM = 1 << 16  # bytes on either side of what is placed
LAYOUTS = ("plain", "reversed", "transposed", "every other", "rows apart")
SHIFTS = (0, 8, -8, 64, -64, 8 * COLUMNS, 8 * COLUMNS * ROWS // 2)


def placed(memory: np.ndarray, offset: int, like: np.ndarray, layout: str) -> np.ndarray:
    """A view like another array into ``memory``, which begins ``offset`` bytes after its middle."""
    dtype, shape = like.dtype, like.shape
    stretch = {"every other": (1, 2), "rows apart": (3, 1)}.get(layout, (1, 1))
    outer = shape[0] * stretch[0], shape[1] * stretch[1]
    start = ROOM + offset - offset % dtype.itemsize
    flat = memory[start : start + outer[0] * outer[1] * dtype.itemsize].view(dtype)
    if layout == "transposed":
        return flat.reshape(shape[::-1]).T
    view = flat.reshape(outer)[:: stretch[0], :: stretch[1]]
    return view[::-1, ::-1] if layout == "reversed" else view


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def memory() -> np.ndarray:
    return np.zeros(2 * ROOM + 64 * ROWS * COLUMNS, np.uint8)


def numbers(dtype) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (rng.standard_normal((ROWS, COLUMNS)) * np.exp(rng.standard_normal((ROWS, 1)))).astype(dtype)


def codes_of(fmt: pr.FloatFormat | pr.IntFormat, dtype=None) -> np.ndarray:
    codes = np.random.default_rng(6).integers(0, 2**fmt.bits, (ROWS, COLUMNS), np.uint64)
    return codes.astype(dtype or fmt.code_dtype)


WIDE = pr.FloatFormat(8, 14)  # 23 bits in uint32
ELEMENTWISE = {
    "round float32": (numbers(np.float32), lambda x, out: pr.round_to(x, pr.E4M3, out=out)),
    "round float64": (numbers(np.float64), lambda x, out: pr.round_to(x, pr.BF16, out=out)),
    "round bfloat16": (numbers(ml_dtypes.bfloat16), lambda x, out: pr.round_to(x, pr.E5M2, out=out)),
    "round float16 at random": (
        numbers(np.float16), lambda x, out: pr.round_to(x, pr.E4M3, rounding=pr.Stochastic(8), out=out),
    ),
    "encode float32": (numbers(np.float32), lambda x, out: pr.encode(x, pr.E4M3, out=out)),
    "encode float32 in 32 bits": (numbers(np.float32), lambda x, out: pr.encode(x, WIDE, out=out)),
    "encode float16 in 16 bits": (numbers(np.float16), lambda x, out: pr.encode(x, pr.E5M6, out=out)),
    "encode float64": (numbers(np.float64), lambda x, out: pr.encode(x, pr.FP32, out=out)),
    "decode 8 bits": (codes_of(pr.E4M3), lambda x, out: pr.decode(x, pr.E4M3, out=out)),
    "decode 16 bits": (codes_of(pr.E5M6), lambda x, out: pr.decode(x, pr.E5M6, out=out)),
    "decode 32 bits": (codes_of(WIDE), lambda x, out: pr.decode(x, WIDE, out=out)),
    "decode 64 bits": (codes_of(pr.E4M3, np.uint64), lambda x, out: pr.decode(x, pr.E4M3, out=out)),
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_codec(name):
    given, operation = ELEMENTWISE[name]
    wanted = operation(given, None)
    for layout in LAYOUTS:
        for out_layout in LAYOUTS:
            for shift in SHIFTS:
                buffer = memory()
                x, out = placed(buffer, 0, given, layout), placed(buffer, shift, wanted, out_layout)
                x[...] = given
                assert operation(x, out) is out
                assert bits(out) == bits(wanted), (layout, out_layout, shift)


SPECS = [
    pr.QuantSpec(pr.E4M3, pr.PerGroup(16)),
    pr.QuantSpec(pr.E4M3, pr.PerTensor()),
    pr.QuantSpec(pr.E8M13, pr.PerVector()),
    pr.QuantSpec(pr.E5M2, pr.PerBlock(8, 16), rounding=pr.Stochastic(16)),
    pr.MXFP8_E4M3,
    pr.NVFP4,
    pr.NVFP4_4OVER6,
    pr.LogFMT(8, 16),
    pr.LogFMT(8, 16, rounding=pr.Stochastic(16)),
    pr.LogFMT(10, 32),
    pr.LogFMT(10, 32, metadata_format=pr.BF16),
    pr.LogFMT(10, 16, metadata=pr.logfmt.Metadata.EXTREMES, fallback=pr.logfmt.Fallback(pr.BF16, 32)),
]  # fmt: skip
EACH_SPEC = pytest.mark.parametrize("spec", SPECS, ids=str)


def parts_of(q) -> list[np.ndarray]:
    return [q.codes, *q.metadata] if isinstance(q, LogFMTTensor) else [q.codes, q.scale]


def with_parts(q, parts: list[np.ndarray]):
    if isinstance(q, LogFMTTensor):
        return LogFMTTensor(parts[0], (parts[1], parts[2]), q.spec, axis=q.axis)
    return pr.QuantizedTensor(*parts, fmt=q.fmt, block=q.block, scale_format=q.scale_format)


def given_for(spec) -> np.ndarray:
    x = numbers(np.float32)
    if isinstance(spec, pr.LogFMT) and spec.fallback:
        x[::2] /= 64  # some tiles below the fallback's limit, others above
    return x


@EACH_SPEC
@pytest.mark.parametrize("part", [0, 1, 2])
def test_quantize_with_one_part_in_the_memory_of_x(spec, part):
    given = given_for(spec)
    wanted = pr.quantize(given, spec)
    if part >= len(parts_of(wanted)):
        pytest.skip("this spec has two parts")
    for dtype in (np.float32, np.float64):
        given = given.astype(dtype)
        wanted = pr.quantize(given, spec)
        for layout in LAYOUTS:
            for out_layout in ("plain", "reversed", "transposed"):
                for shift in (0, 8, -8, 64, 2 * COLUMNS * ROWS):
                    buffer = memory()
                    x = placed(buffer, 0, given, layout)
                    parts = [np.zeros_like(array) for array in parts_of(wanted)]
                    parts[part] = placed(buffer, shift, parts[part], out_layout)
                    out = with_parts(wanted, parts)  # of zeros: it refuses scales below zero
                    x[...] = given
                    found = pr.quantize(x, spec, out=out)
                    for ours, theirs in zip(parts, parts_of(wanted), strict=True):
                        assert bits(ours) == bits(theirs), (layout, out_layout, shift)
                    if isinstance(found, pr.QuantizedTensor):
                        assert found.tensor_scale == wanted.tensor_scale


@EACH_SPEC
def test_quantize_with_all_parts_in_the_memory_of_x(spec):
    given = given_for(spec)
    wanted = pr.quantize(given, spec)
    for order in (1, -1):
        buffer = memory()
        x, offset, parts = placed(buffer, 0, given, "plain"), 0, []
        for array in parts_of(wanted)[::order]:
            parts.append(placed(buffer, offset, array, "plain"))
            offset += -(-array.nbytes // 8) * 8
        out = with_parts(wanted, parts[::order])
        x[...] = given
        pr.quantize(x, spec, out=out)
        for ours, theirs in zip(parts[::order], parts_of(wanted), strict=True):
            assert bits(ours) == bits(theirs)


@EACH_SPEC
def test_parts_that_overlap_each_other_are_refused(spec):
    given = given_for(spec)
    wanted = pr.quantize(given, spec)
    count = len(parts_of(wanted))
    for one in range(count):
        for other in range(one):
            for shift, layout in ((0, "plain"), (0, "reversed"), (-8, "plain"), (-8, "transposed")):
                buffer = memory()
                parts = [np.zeros_like(array) for array in parts_of(wanted)]
                parts[one] = placed(buffer, 0, parts[one], "plain")
                parts[other] = placed(buffer, shift, parts[other], layout)
                with pytest.raises(ValueError, match=r"out must have .* in memory of their own"):
                    pr.quantize(given, spec, out=with_parts(wanted, parts))
                assert not any(part.view(np.uint8).any() for part in (parts[one], buffer))  # nothing written


@EACH_SPEC
def test_parts_that_interlace_are_taken(spec):
    """Rows of codes with their scales behind them, as block formats lie in memory."""
    given = given_for(spec)
    wanted = pr.quantize(given, spec)
    arrays = parts_of(wanted)
    if any(len(array) != ROWS for array in arrays):
        pytest.skip("not every part has a row for each row of codes")
    sizes = [-(-array.shape[1] * array.itemsize // 8) * 8 for array in arrays]
    record = np.zeros((ROWS, sum(sizes)), np.uint8)
    parts, start = [], 0
    for array, size in zip(arrays, sizes, strict=True):
        parts.append(record[:, start : start + array.shape[1] * array.itemsize].view(array.dtype))
        start += size
    pr.quantize(given, spec, out=with_parts(wanted, parts))
    for ours, theirs in zip(parts, arrays, strict=True):
        assert bits(ours) == bits(theirs)


@EACH_SPEC
@pytest.mark.parametrize("part", [0, 1, 2])
def test_dequantize_into_the_memory_of_a_part(spec, part):
    made = pr.quantize(given_for(spec), spec)
    if part >= len(parts_of(made)):
        pytest.skip("this spec has two parts")
    for dtype in (np.float32, np.float64):
        wanted = made.dequantize(dtype)
        for layout in ("plain", "reversed", "transposed"):
            for out_layout in LAYOUTS:
                for shift in (0, 8, -8, 64, 4 * COLUMNS):
                    buffer = memory()
                    parts = [array.copy() for array in parts_of(made)]
                    parts[part] = placed(buffer, 0, parts[part], layout)
                    parts[part][...] = parts_of(made)[part]
                    q = with_parts(made, parts)
                    if isinstance(made, pr.QuantizedTensor) and made.tensor_scale is not None:
                        q = pr.QuantizedTensor(
                            *parts, fmt=made.fmt, block=made.block, scale_format=made.scale_format,
                            tensor_scale=made.tensor_scale,
                        )  # fmt: skip
                    out = placed(buffer, shift, wanted, out_layout)
                    assert q.dequantize(dtype, out=out) is out
                    assert bits(out) == bits(wanted), (layout, out_layout, shift)
