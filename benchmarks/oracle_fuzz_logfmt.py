"""Compares random LogFMT tensors with an oracle in high precision: codes, metadata, packed bytes, values.

    python benchmarks/oracle_fuzz_logfmt.py --count 780000 --seed 1 --jobs 2

``--count`` counts elements. It draws every option of `LogFMT`, the type, shape, layout and axis of the array,
and values that are ordinary, extreme, narrow, subnormal, not finite, or beside the boundary between two
levels, from the seed and the case's number. The oracle (`oracle_logfmt`) follows the documents and docstrings
and was written without reading the package.
"""

import argparse
import itertools
import math
import os
import random
import time
from collections import Counter
from fractions import Fraction

import ml_dtypes
import mpmath
import numpy as np
import oracle_fuzz
from oracle_logfmt import FORMATS, LN2, NARROW, Oracle, Tile, real
from oracle_numbers import unsigned

import precision as pr
from precision.logfmt import (
    BelowClamp,
    Fallback,
    LogBase,
    LogFMT,
    LogFMTTensor,
    Metadata,
    SingleValued,
    Space,
)

SCRIPT = "benchmarks/oracle_fuzz_logfmt.py"
LOGARITHMS = "all equal but min and step"
WIDE_LOGARITHMS = f"{LOGARITHMS}, of a zero under a clamp wider than float64"


# ---- drawing

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
SMALL_TYPES = [
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e3m4,
]
RANGE = {"float16": (-24, 16), "bfloat16": (-133, 128), "float32": (-149, 128), "float64": (-1074, 1024)}


class Case:
    """One tensor: the spec, the array that is given, and the same numbers as float64 in C order."""


def draw_spec(rng):
    """Draw every option of LogFMT."""
    bits = rng.choice([3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16])
    block = rng.choice([1, 2, 3, 5, 8, 16, 31, 32, 64, 128, 128, 200])
    metadata = rng.choice(list(Metadata))
    extremes = metadata is Metadata.EXTREMES
    skip = rng.random() < 0.6
    clamp = rng.choice([32, 32, 1, 2, 5, 16, 31, 100, 300, 4096, None if skip else 8])
    rounding = rng.choice(
        [pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_EVEN, pr.Rounding.TIES_TO_AWAY, None, None]
    )
    if rounding is None:
        rounding = pr.Stochastic(
            rng.choice([1, 2, 4, 8, 16, 31, 32]), rng.choice([0, 1, rng.getrandbits(64)])
        )
    fallback = None
    if extremes and rng.random() < 0.4:
        fallback = Fallback(
            rng.choice([pr.BF16, pr.FP16]),
            block * rng.choice([1, 2, 3, 8]),
            amax_below=rng.choice([1.0, 0.25, 3.7, 1e30]),
        )
    return LogFMT(
        bits,
        block,
        base=rng.choice(list(LogBase)),
        rounding=rounding,
        space=rng.choice(list(Space)),
        clamp=clamp,
        below_clamp=rng.choice(list(BelowClamp)),
        metadata=metadata,
        metadata_format=rng.choice([pr.FP32, pr.FP32, pr.BF16] + ([] if extremes else [pr.FP16])),
        from_stored=rng.random() < 0.6,
        single_valued=rng.choice(list(SingleValued)),
        skip_zeros=skip,
        negative_zero=rng.random() < 0.6,
        non_finite=rng.choice(list(pr.NonFinite)),
        fallback=fallback,
    )


def draw_sizes(rng, draw, count, dtype):
    """Draw magnitudes of one kind."""
    low, high = RANGE.get(np.dtype(dtype).name, (-10, 4))
    kind = rng.choice(
        ["normal", "normal", "uniform", "whole", "wide", "narrow", "powers", "low", "high", "one", "spread"]
    )
    if kind == "normal":
        return kind, np.abs(draw.standard_normal(count)) * 2.0 ** rng.choice([0, 0, -3, 5])
    if kind == "uniform":
        return kind, draw.random(count)
    if kind == "whole":
        return kind, np.ldexp(1 + draw.random(count), draw.integers(low, high, count))
    if kind == "wide":
        span = rng.choice([10, 20, 40, 64, 120])
        start = rng.randint(low, max(low, high - span))
        return kind, np.ldexp(
            1 + draw.random(count), np.minimum(draw.integers(start, start + span, count), high - 1)
        )
    if kind == "narrow":
        start = (1 + rng.random()) * 2.0 ** rng.randint(max(low // 2, -60), min(high // 2, 60))
        return kind, start * (1 + draw.random(count) * 2.0 ** -rng.choice([3, 7, 10, 20, 23, 40, 50]))
    if kind == "powers":
        start = rng.choice([0, 0, -4, 3])
        return kind, np.ldexp(
            draw.choice([1.0, 1.0, 1.5, 1.25, 1.75], count),
            start + draw.integers(0, rng.choice([2, 3, 7, 9]), count),
        )
    if kind == "low":
        return kind, np.ldexp(draw.integers(0, rng.choice([3, 16, 2000]), count).astype(float), low)
    if kind == "high":
        return kind, np.ldexp(2 - draw.random(count) * 2.0 ** -rng.choice([0, 5, 12]), high - 1)
    if kind == "one":
        return kind, np.full(count, draw.standard_normal())
    return kind, np.exp2(draw.standard_normal(count) * rng.choice([1, 4, 12, 30]))


def sprinkle(rng, draw, values):
    """Put zeros, NaN and Inf among the values, and sign them."""
    count = values.size
    values = np.where(draw.random(count) < rng.choice([0, 0.5, 0.5]), -values, values)
    values = np.where(
        draw.random(count) < rng.choice([0, 0, 0.02, 0.3, 0.95]),
        np.copysign(0.0, draw.random(count) - 0.5),
        values,
    )
    if rng.random() < 0.15:
        few = draw.random(count) < rng.choice([0.01, 0.1, 0.9])
        values = np.where(few, draw.choice([np.nan, -np.nan, np.inf, -np.inf], count), values)
    return values


def clipped(values, dtype):
    """Convert to a type, its largest number in place of what lies beyond it."""
    top = float(ml_dtypes.finfo(dtype).max)
    finite = np.isfinite(values)
    values = np.where(finite, np.clip(np.where(finite, values, 0), -top, top), values)
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def near_boundaries(rng, spec, plain, axis, dtype):
    """Move some elements to a level or to the middle of two, keeping each tile's extremes."""
    lines = np.moveaxis(plain, axis, -1)
    for lead in np.ndindex(*lines.shape[:-1]):
        for start in range(0, lines.shape[-1], spec.block_size):
            values = lines[lead][start : start + spec.block_size]
            sizes = np.abs(values)
            inside = np.flatnonzero(np.isfinite(sizes) & (sizes > 0))
            if inside.size < 3 or rng.random() < 0.3:
                continue
            order = inside[np.argsort(sizes[inside])]
            tile = Tile(spec, values.tolist())
            if tile.written is None or tile.single:
                continue
            for place in order[1:-1][: rng.choice([2, 5, 12])]:
                k = rng.choice([0, 1, 1, rng.randint(1, tile.count), rng.randint(1, tile.count)])
                first, second = tile.written.log(k), tile.written.log(k + 1)
                part = rng.choice([0, Fraction(1, 2), Fraction(1, 2), Fraction(1, 4)])
                if rng.random() < 0.5:
                    log = first + (second - first) * real(part)
                    level = mpmath.exp(log)
                else:
                    lower, upper = (
                        (0 if k == 0 and rng.random() < 0.5 else mpmath.exp(first)),
                        mpmath.exp(second),
                    )
                    level = lower + (upper - lower) * real(part)
                if level > sizes[order[-1]] or (spec.clamp is None and level < sizes[order[0]]):
                    continue
                moved = clipped(np.array([float(level)]), dtype).astype(np.float64)[0]
                if moved <= sizes[order[-1]] and (moved >= sizes[order[0]]):
                    values[place] = math.copysign(moved, values[place])


def draw_case(seed, index, values=True):
    """Draw a case from the seed and its number, or without its values, of which ``size`` says how many."""
    rng = random.Random(f"logfmt {seed} {index}")
    draw = np.random.default_rng([seed, index])
    case = Case()
    spec = case.spec = draw_spec(rng)
    dtype = rng.choice(TYPES) if rng.random() < 0.93 else rng.choice(SMALL_TYPES)
    length = max(
        1,
        rng.choice([1, 7, 50, spec.block_size, 2 * spec.block_size, 3 * spec.block_size + rng.randint(0, 9)]),
    )
    others = rng.choice([(), (), (1,), (2,), (5,), (2, 3)])
    while length * math.prod(others) > 500 and others:
        others = others[1:]
    if rng.random() < 0.04:  # enough tiles for whatever takes many at a time
        others, length = rng.choice([((2,), 2048), ((9,), 384), ((3, 7), 130), ((), 4000), ((64,), 33)])
    case.axis = axis = rng.randrange(-len(others) - 1, len(others) + 1)
    shape = list(others)
    shape.insert(axis if axis >= 0 else len(others) + 1 + axis, length)
    case.size = length * math.prod(others)
    if not values:
        return case
    case.kind, sizes = draw_sizes(rng, draw, case.size, dtype)
    plain = clipped(sprinkle(rng, draw, sizes), dtype).astype(np.float64).reshape(shape)
    if rng.random() < 0.5:
        with mpmath.workprec(NARROW):
            near_boundaries(rng, spec, plain, axis, dtype)
    case.plain = plain = clipped(plain, dtype).astype(np.float64)
    given = clipped(plain, dtype)
    case.layout = rng.choice(["plain", "plain", "fortran", "reversed", "strided", "swapped"])
    if case.layout == "fortran":
        given = np.asfortranarray(given)
    elif case.layout == "reversed":
        given = np.ascontiguousarray(given[..., ::-1])[..., ::-1]
    elif case.layout == "strided":
        padded = np.zeros((*given.shape, 3), given.dtype)
        padded[..., 1] = given
        given = padded[..., 1]
    elif case.layout == "swapped" and np.dtype(dtype).kind == "f" and np.dtype(dtype).itemsize > 1:
        given = given.astype(np.dtype(dtype).newbyteorder(">"))
    case.given, case.dtype = given, np.dtype(dtype)
    case.read_as = rng.choice([np.float32, np.float64])
    case.packs = rng.random() < 0.3
    return case


# ---- comparing


def describe(case):
    """Return a case in words."""
    array = f"{case.dtype.name} {case.kind} {case.given.shape} axis {case.axis} layout {case.layout}"
    lines = [f"spec {case.spec!s}, {array}"]
    if case.plain.size <= 64:
        lines.append(f"  x {case.plain.reshape(-1).tolist()}")
    return "\n".join(lines)


def tile_text(case, place):
    """Return the values of the tile around an element, given by its place with the axis last."""
    lines = np.moveaxis(case.plain, case.axis, -1)
    start = place[-1] // case.spec.block_size * case.spec.block_size
    return f"tile {lines[place[:-1]][start : start + case.spec.block_size].tolist()}"


def same_bits(given, wanted):
    """Say where two arrays of one floating-point type have the same bits, any NaN being like another."""
    equal = unsigned(given) == unsigned(wanted)
    return equal | (np.isnan(given.astype(np.float64)) & np.isnan(wanted.astype(np.float64)))


def value_fault(got, code, tile, spec, dtype):
    """Return how a dequantized value is wrong, or None."""
    if not tile.cast:
        name = str(spec.fallback.fmt)
        want = float(np.uint16(code).view(FORMATS[name][3]))
        fine = got == want and math.copysign(1, got) == math.copysign(1, want)
        return None if fine or (math.isnan(got) and math.isnan(want)) else f"expected {want!r}"
    if tile.poisoned:
        return None if math.isnan(got) else "expected NaN"
    k, negative = code & (2 ** (spec.bits - 1) - 1), code >> (spec.bits - 1)
    if math.isnan(got) or (math.copysign(1, got) < 0) != bool(negative):
        return "its sign is wrong, or it is NaN"
    size = abs(got)
    if k == 0:
        return None if size == 0 else "expected 0"
    fraction_bits, bottom, bound = (23, -126, 1) if dtype == np.float32 else (52, -1022, 4)
    # "The extremes are met exactly" is of levels; of values in float64 the promise is the bound of four ULP.
    exact = tile.exact_level(k) if dtype == np.float32 else None
    if exact is not None and size != exact:
        return f"expected {exact!r}, a stored extreme, exactly"
    level = tile.level(k)
    limit = float(np.finfo(dtype).max)
    if level >= limit:
        level = mpmath.mpf(limit)
        if size > limit:
            return "expected the largest number"
    exponent = max(mpmath.frexp(level)[1] - 1, bottom)
    with mpmath.workprec(160):
        distance = abs(mpmath.mpf(size) - level) / mpmath.ldexp(1, exponent - fraction_bits)
    return None if distance <= bound else f"{float(distance):.4f} ULP from {mpmath.nstr(level, 25)}"


def compare(seed, index):
    """Run one case; return its kind with its number of elements, and the difference in words or None."""
    case = draw_case(seed, index)
    spec = case.spec
    rounding = "Stochastic" if isinstance(spec.rounding, pr.Stochastic) else spec.rounding.name
    kind = (
        f"{spec.metadata.name} {spec.space.name} {rounding}" + (", fallback" if spec.fallback else ""),
        case.plain.size,
    )
    oracle = Oracle(case)
    try:
        tensor = pr.quantize(case.given, spec, axis=case.axis)
        values = tensor.dequantize(case.read_as)
        packed = tensor.pack() if case.packs else None
        tensor.check()
    except Exception as error:
        return kind, f"{describe(case)}\nraised {type(error).__name__}: {error}"
    words = difference(case, oracle, tensor, values, packed)
    if words is None:
        words = logarithms_differ(case, oracle, tensor)
        zero = spec.metadata is Metadata.EXTREMES and not spec.skip_zeros and spec.clamp > 1000
        kind = kind if words is None else (WIDE_LOGARITHMS if zero else LOGARITHMS, case.size)
    return kind, words


def difference(case, oracle, tensor, values, packed):
    """Return how the tensor differs from the oracle's, or None."""
    spec = case.spec
    for name, given, wanted in zip(("first", "second"), tensor.metadata, oracle.metadata(), strict=True):
        lines = np.moveaxis(given, case.axis, -1)
        if given.shape != spec.tiles_shape(case.plain.shape, case.axis) or given.dtype != wanted.dtype:
            return f"{describe(case)}\nmetadata: shape {given.shape}, type {given.dtype}"
        wrong = np.argwhere(~same_bits(lines, wanted))
        if len(wrong):
            place = tuple(wrong[0])
            at = (*place[:-1], place[-1] * spec.block_size)
            return (
                f"{describe(case)}\n{name} number of tile {place}: got {lines[place]!r}, "
                f"expected {wanted[place]!r}; {tile_text(case, at)}"
            )
    wide = np.uint16 if spec.bits > 8 or spec.fallback else np.uint8
    if tensor.codes.dtype != wide or tensor.codes.shape != case.plain.shape:
        return f"{describe(case)}\ncodes: shape {tensor.codes.shape}, type {tensor.codes.dtype}"
    codes = np.moveaxis(tensor.codes, case.axis, -1).astype(np.int64)
    wrong = np.argwhere((codes != oracle.codes) & ~nan_pairs(codes, oracle, spec))
    if len(wrong):
        place = tuple(int(n) for n in wrong[0])
        value = np.moveaxis(case.plain, case.axis, -1)[place]
        tile = oracle.tiles[(*place[:-1], place[-1] // spec.block_size)]
        return (
            f"{describe(case)}\n{len(wrong)} codes differ; at {place} of x {value!r}: got {codes[place]}, "
            f"expected {oracle.codes[place]}; stored {tile.first!r} {tile.second!r} clamped {tile.clamped}; "
            f"{tile_text(case, place)}"
        )
    if not np.array_equal(np.moveaxis(tensor.cast_elements(), case.axis, -1), oracle.cast):
        return f"{describe(case)}\ncast_elements differs"
    fault = values_differ(case, oracle, values, codes)
    if fault or packed is None:
        return fault
    return packed_differs(case, oracle, tensor, packed)


def logarithms_differ(case, oracle, tensor):
    """Return how ``min`` and ``step`` differ, or None: those stored exactly, others by float64's error."""
    spec = case.spec
    low, pace = (np.moveaxis(a, case.axis, -1) for a in (tensor.min, tensor.step))
    for place, tile in oracle.tiles.items():
        got = float(low[place]), float(pace[place])
        wanted, allowed = (tile.first, tile.second), (0.0, 0.0)
        if tile.extremes and tile.read is not None:
            unit = LN2 if tile.two else 1.0
            wanted = tile.read.start / unit, tile.read.pace / unit
            allowed = 2.0**-49 * (1 + abs(wanted[0]) + abs(wanted[1]) * tile.count)
            allowed = allowed, allowed / tile.count
        for name, one, other, margin in zip(("min", "step"), got, wanted, allowed, strict=True):
            if not (abs(one - other) <= margin or (math.isnan(one) and math.isnan(other))):
                return (
                    f"{describe(case)}\n{name} of tile {place}, {spec.metadata.name} {tile.first!r} "
                    f"{tile.second!r}: got {one!r}, expected {other!r}"
                )
    return None


def nan_pairs(codes, oracle, spec):
    """Say which elements are NaNs that are sent as numbers of the fallback's format, in both."""
    result = np.zeros(codes.shape, bool)
    if spec.fallback is not None and not oracle.cast.all():
        dtype = FORMATS[str(spec.fallback.fmt)][3]
        read = [np.isnan(c.astype(np.uint16).view(dtype).astype(np.float32)) for c in (codes, oracle.codes)]
        result = ~oracle.cast & read[0] & read[1]
    return result


def values_differ(case, oracle, values, codes):
    """Return how dequantized values are wrong, or None."""
    if values.shape != case.plain.shape or values.dtype != case.read_as:
        return f"{describe(case)}\nvalues: shape {values.shape}, type {values.dtype}"
    lines = np.moveaxis(values, case.axis, -1)
    for place in np.ndindex(*codes.shape):
        tile = oracle.tiles[(*place[:-1], place[-1] // case.spec.block_size)]
        got = float(lines[place])
        fault = value_fault(got, int(codes[place]), tile, case.spec, case.read_as)
        if fault:
            return (
                f"{describe(case)}\nvalue at {place} in {np.dtype(case.read_as).name}, code {codes[place]}, "
                f"stored {tile.first!r} {tile.second!r}: got {got!r}, {fault}"
            )
    return None


def packed_differs(case, oracle, tensor, packed):
    """Return how packed bytes are wrong, or None."""
    wanted = oracle.packed()
    bits = 8 * wanted.size / case.plain.size
    if packed.size != wanted.size or tensor.nbytes != wanted.size or tensor.bits_per_element != bits:
        return (
            f"{describe(case)}\npacked: {packed.size} bytes, nbytes {tensor.nbytes}, expected {wanted.size}"
        )
    nan = np.isnan(case.plain).any() or any(tile.poisoned for tile in oracle.tiles.values())
    if not nan and not np.array_equal(packed, wanted):
        return f"{describe(case)}\npacked bytes differ at {np.flatnonzero(packed != wanted)[:5]}"
    back = case.spec.unpack(packed, case.plain.shape, axis=case.axis)
    same = np.array_equal(back.codes, tensor.codes) and all(
        same_bits(a, b).all() for a, b in zip(back.metadata, tensor.metadata, strict=True)
    )
    return None if same and isinstance(back, LogFMTTensor) else f"{describe(case)}\nunpack(pack()) differs"


# ---- command


def cases_for(elements, seed, start):
    """Return how many cases from ``start`` on hold so many elements."""
    total = 0
    for number in itertools.count(1):
        total += draw_case(seed, start + number - 1, values=False).size
        if total >= elements:
            return number


def main():
    """Read the command line and run the fuzz."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--count", type=int, default=10000, help="number of elements, filled up to a whole case"
    )
    options.add_argument("--seed", type=int, default=0, help="what the cases are drawn from")
    options.add_argument("--start", type=int, default=0, help="number of the first case")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options.add_argument("--show", type=int, default=5, help="differences printed in full")
    options.add_argument(
        "--budget", type=float, default=math.inf, help="seconds after which no more cases are begun"
    )
    chosen = options.parse_args()
    begun = time.perf_counter()
    count = cases_for(chosen.count, chosen.seed, chosen.start)
    jobs = chosen.jobs if count > 400 else 1
    counts, differences = oracle_fuzz.run(compare, count, chosen.seed, jobs, chosen.start, 20, chosen.budget)
    cases, elements = Counter(), Counter()
    for (kind, size), number in counts.items():
        cases[kind] += number
        elements[kind] += number * size
    wrong = Counter(kind for _, (kind, _), _ in differences)
    width = max(map(len, cases))
    print(f"{'kind':{width}} {'elements':>8} {'tensors':>8} {'differ':>7}")
    for kind in sorted(cases):
        print(f"{kind:{width}} {elements[kind]:8} {cases[kind]:8} {wrong[kind]:7}")
    seconds = time.perf_counter() - begun
    print(f"{'all':{width}} {elements.total():8} {cases.total():8} {len(differences):7}   {seconds:.0f} s")
    for index, (kind, _), text in differences[: chosen.show]:
        print(f"\n--- case {index}, {kind}\n{text}")
        print(f"again: python {SCRIPT} --seed {chosen.seed} --start {index} --count 1")
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
