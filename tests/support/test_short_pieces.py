"""Work is done in short pieces, between which Ctrl-C stops it, and pieces change no bit of a result."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from piece_cases import GENERAL, RNG, normal, product, threads  # noqa: F401 -- threads is a fixture

import precision as pr
from precision._kernels.logfmt import _decoding, _tiles
from precision._kernels.numbers import _quantizing_loops, _running_sums
from precision._kernels.products import _kulisch, _single_sums, _tile_sums
from precision.accumulators import _exact_sums, _general_loops, _operand_layout
from precision.logfmt import _long_tiles, _tile_loops
from precision.quantization import _dequantizing, _row_loops
from precision.studies.built_in._stochastic_bits import running_sums


def arrays_of(result: Any) -> list[Any]:
    """Return every array of a result: an array, or a tensor or trace that holds some."""
    if isinstance(result, tuple):
        return [array for part in result for array in arrays_of(part)]
    if not dataclasses.is_dataclass(result):
        return [result]
    held = [getattr(result, field.name) for field in dataclasses.fields(result)]
    return [array for part in held for array in arrays_of(part) if isinstance(array, np.ndarray)]


def kept(result: Any) -> list[bytes]:
    return [np.ascontiguousarray(array).tobytes() for array in arrays_of(result)]


def products_of_many_pieces() -> dict[str, Callable[[], Any]]:
    a, b, c = normal(5, 70), normal(70, 37), normal(5, 37)
    x, y, start = normal(2, 1013), normal(1013, 3), normal(2, 3)
    wild, other = x.copy(), y.copy()
    wild[0, [3, 500]], other[[3, 900], 1], start[1, 1] = [np.inf, np.nan], [0, -np.inf], -np.inf
    one, two = (pr.QuantizedTensor(pr.encode(v, pr.E8M13), 1.0, fmt=pr.E8M13) for v in (x, y))
    works: dict[str, Callable[[], Any]] = {
        "general": product(GENERAL, 3, 70, 37, pr.E8M13),
        "exact": product(pr.EXACT, 5, 70, 37),
        "blas": product(pr.EXACT, 67, 33, 45, pr.E2M1),
        "exact with c": lambda: pr.matmul(a, b, c=c, accumulator=pr.EXACT),
        "fp8": product(pr.HOPPER_FP8.with_width(28), 5, 1013, 3, pr.E4M3),
    }
    for unit in (GENERAL, GENERAL.promoted(64), GENERAL.promoted(1024)):
        works[f"long {unit}"] = lambda unit=unit: pr.matmul(one, two, c=start, accumulator=unit)
    for unit in (pr.FP32_FMA, pr.FP32_FMA.promoted(50), pr.EXACT):
        works[f"long {unit}"] = lambda unit=unit: pr.matmul(x, y, c=start, accumulator=unit)
        works[f"wild {unit}"] = lambda unit=unit: pr.matmul(wild, other, accumulator=unit)
    for unit in (pr.FP32_FMA, pr.FP32_FMA.promoted(50)):
        works[f"trace {unit}"] = lambda unit=unit: pr.trace(x[0], y[:, 0], accumulator=unit)
    return works


def tensors_of_many_pieces() -> dict[str, Callable[[], Any]]:
    x = np.float32(10) * normal(3, 2001)
    wild, zeros, powers = x.copy(), x.copy(), np.exp2(np.round(x)).astype(np.float32)
    wild[0, 700], wild[2, 2000], zeros[:, ::7], zeros[1] = np.inf, np.nan, 0, -0.0
    sources = {"plain": x, "wild": wild, "zeros": zeros, "powers": powers, "float64": x.astype(np.float64)}
    finite = pr.quantization.NonFinite.FINITE_AMAX
    specs: list[Any] = [
        pr.QuantSpec(pr.E4M3, granularity, rounding=rounding, **rest)
        for granularity in (pr.PerTensor(), pr.PerBlock(1, 700), pr.PerBlock(2, 700), pr.PerBlock(1, 2001))
        for rounding in (pr.Rounding.TIES_TO_EVEN, pr.Stochastic(8, seed=5))
        for rest in ({}, {"tensor_scale": True, "scale_format": pr.E4M3}, {"non_finite": finite})
        if not (rest.get("tensor_scale") and granularity == pr.PerTensor())
    ]
    specs += [
        pr.LogFMT(8, block_size=700),
        pr.LogFMT(12, block_size=2001, rounding=pr.Stochastic(8, seed=5)),
        pr.LogFMT(4, block_size=1500, skip_zeros=False, negative_zero=False),
        pr.LogFMT(8, block_size=1999, metadata=pr.logfmt.Metadata.EXTREMES, non_finite=finite),
    ]

    def both_ways(spec: Any, source: Any) -> Any:
        tensor = spec.quantize(source)
        return tensor, tensor.dequantize(), tensor.dequantize(np.float64)

    return {
        f"{name} {spec}": lambda spec=spec, source=source: both_ways(spec, source)
        for name, source in sources.items()
        for spec in specs
    }


def test_pieces_change_no_bit(monkeypatch):
    works = products_of_many_pieces() | tensors_of_many_pieces()
    expected = {name: kept(work()) for name, work in works.items()}
    assert sum(map(len, expected.values())) > 2 * len(works)
    for module, name, size in (
        (_exact_sums, "_SUM_PIECE", 300),
        (_exact_sums, "_BLAS_PIECE", 2000),
        (_general_loops, "GENERAL_PIECE", 300),
        (_operand_layout, "_PIECE", 256),
        (_row_loops, "PIECE", 416),
        (_row_loops, "TILE", 100),
        (_dequantizing, "PIECE", 416),
        (_long_tiles, "LONG", 500),
        (_long_tiles, "PART", 331),
        (_tile_loops, "_PIECE", 331),
    ):
        monkeypatch.setattr(module, name, size)
    for count in (1, 2):
        pr.set_num_threads(count)
        for name, work in works.items():
            assert kept(work()) == expected[name], name


#: What makes one output of 3 * 2**20 products, or a group or tile of as many elements.
LONG = 3 * 2**20
LONG_WORKS: dict[str, Callable[[], Any]] = {
    "wide": lambda: product(GENERAL, 2, 1024, 2048, pr.E8M13)(),
    "wide exact": lambda: product(pr.EXACT, 2, 1024, 2048)(),
    "general": lambda: product(GENERAL, 1, LONG, 1, pr.E8M13)(),
    "promoted": lambda: product(GENERAL.promoted(LONG), 1, LONG, 1, pr.E8M13)(),
    "exact": lambda: product(pr.EXACT, 1, LONG, 1)(),
    "chain": lambda: product(pr.FP32_FMA, 1, LONG, 1)(),
    "trace": lambda: pr.trace(normal(LONG), normal(LONG), accumulator=pr.FP32_FMA),
    "groups": lambda: pr.quantize(
        normal(1, 2 * LONG), pr.QuantSpec(pr.E4M3, pr.PerBlock(1, LONG))
    ).dequantize(),
    "logfmt": lambda: pr.LogFMT(8, block_size=LONG).quantize(normal(LONG)).dequantize(),
    "running sums": lambda: running_sums(normal(LONG // 4, 4), pr.BF16, pr.Rounding.TIES_TO_EVEN, 0),
}


@pytest.mark.parametrize("name", LONG_WORKS)
def test_pieces_are_short(name, monkeypatch):
    """No function that cannot be stopped is called with more than 2**20 products or elements."""
    largest: dict[str, int] = {}

    def watch(holder: Any, name: str, size: Callable[..., int]) -> None:
        real = getattr(holder, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            largest[name] = max(largest.get(name, 0), size(*args, **kwargs))
            return real(*args, **kwargs)

        monkeypatch.setattr(holder, name, watched)

    def outputs(first: int, last: int, *, columns: Any, length: int, **rest: Any) -> int:
        return (last - first) * columns.size * length

    watch(_kulisch, "sum_exact", lambda first, last, left, right, *_: (last - first) * right.size)
    watch(_kulisch, "add_products", lambda left, i, right, j, first, last, *_: last - first)
    watch(_single_sums, "sum_general", outputs)
    watch(_single_sums, "dot", lambda *_, begin, until, **rest: until - begin)
    watch(_running_sums, "sum_rows", lambda addends, first, stop, *_: (stop - first) * addends.shape[1])
    watch(_tile_sums, "lay_out_rows", lambda first, last, rows, *rest: (last - first) * rows * rest[-4].depth)
    watch(_row_loops.Rows, "take", lambda rows, span, _: (span.bottom - span.top) * (span.right - span.left))
    watch(_quantizing_loops, "dequantize", lambda codes, start, stop, width, *_: (stop - start) * width)
    watch(_tiles, "encode_tiles", lambda bits, *_: bits.size)
    watch(_decoding, "decode_tiles", lambda codes, first, last, rows, *_: (last - first) * rows.block)
    LONG_WORKS[name]()
    assert largest and max(largest.values()) <= 2**20, largest
