"""Compares every function of `precision.metrics` with exact sums, over the whole range of float64.

    python benchmarks/oracle_fuzz_metrics.py --count 70000 --seed 1 --jobs 2

``--count`` counts metric values. Arrays are of every type and byte order, near the ends of float64's range,
subnormal, zero, not finite. A value of n elements may differ by n + 8 ULP, which is what float64 sums in any
order guarantee; where terms cancel, by as much of the sum of their magnitudes. The oracle (`oracle_metrics`)
follows the documents and docstrings and was written without reading the package.
"""

import argparse
import itertools
import math
import os
import random
import time
from collections import Counter

import ml_dtypes
import mpmath
import numpy as np
import oracle_fuzz
from oracle_metrics import NoCode, Sums, fault, measure, ulps, ulps_differ

import precision as pr
from precision import metrics

SCRIPT = "benchmarks/oracle_fuzz_metrics.py"
FORMAT_OF = {"float16": pr.FP16, "bfloat16": pr.BF16, "float32": pr.FP32, "float64": pr.FP64}
ULP_FORMATS = [
    pr.E4M3, pr.E5M2, pr.E2M1, pr.E2M3, pr.E3M2, pr.BF16, pr.FP16, pr.TF32, pr.FP32,
    pr.E5M6, pr.E8M13, pr.E8M0,
    pr.formats.UE4M3, pr.formats.UE5M3, pr.formats.E4M3FNUZ, pr.formats.E5M2FNUZ, pr.formats.E4M3B11FNUZ,
    pr.formats.E4M3_IEEE, pr.formats.E3M4, pr.parse_format("binary8p4se"),
]  # fmt: skip


# ---- drawing

TYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.float64]
SMALL_TYPES = [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz]
BOTTOM = {"float16": -24, "bfloat16": -133, "float32": -149, "float64": -1074}
TOP = {"float16": 16, "bfloat16": 128, "float32": 128, "float64": 1024}


class Case:
    """One measure, and the arrays that it gets."""


def draw_reference(rng, draw, count, dtype):
    """Draw numbers of one kind, as float64."""
    bottom, top = BOTTOM.get(np.dtype(dtype).name, -6), TOP.get(np.dtype(dtype).name, 8)
    kind = rng.choice(
        [
            "normal",
            "normal",
            "whole",
            "whole",
            "high",
            "low",
            "subnormal",
            "placed",
            "placed",
            "mixed",
            "zeros",
        ]
    )
    if kind == "normal":
        values = draw.standard_normal(count)
    elif kind == "whole":
        values = np.ldexp(1 + draw.random(count), draw.integers(bottom, top, count))
    elif kind == "high":
        values = np.ldexp(2 - draw.random(count), top - 1)
    elif kind == "low":
        values = np.ldexp(1 + draw.random(count), bottom + draw.integers(0, 60, count))
    elif kind == "subnormal":
        values = np.ldexp(draw.integers(0, rng.choice([2, 9, 1000]), count).astype(float), bottom)
    elif kind == "placed":
        values = np.ldexp(draw.standard_normal(count), rng.randint(bottom, top - 4))
    elif kind == "mixed":
        values = np.where(draw.random(count) < 0.5, np.ldexp(1.0, bottom + 3), np.ldexp(1.5, top - 2))
    else:
        values = np.zeros(count)
    signs = draw.random(count) < rng.choice([0, 0.5, 0.5, 1])
    values = np.where(signs, -values, values)
    return kind, np.where(draw.random(count) < rng.choice([0, 0, 0.1, 0.7]), 0.0, values)


def draw_result(rng, draw, reference, dtype):
    """Draw numbers that are like, near or far from the reference."""
    kind = rng.choice(["near", "near", "near", "ulps", "same", "other", "negated", "scaled", "zeros"])
    with np.errstate(all="ignore"):
        if kind == "near":
            size = 2.0 ** -rng.choice([1, 4, 9, 20, 30, 52])
            result = reference * (1 + draw.standard_normal(reference.size) * size)
        elif kind == "ulps":
            result = reference.copy()
            for _ in range(rng.choice([1, 1, 3])):
                result = np.where(
                    draw.random(result.size) < 0.5,
                    np.nextafter(result, draw.choice([-np.inf, np.inf])),
                    result,
                )
        elif kind == "same":
            result = reference.copy()
            if rng.random() < 0.5:
                place = rng.randrange(result.size)
                result[place] = result[place] * 1.5
        elif kind == "other":
            result = draw_reference(rng, draw, reference.size, dtype)[1]
        elif kind == "negated":
            result = -reference
        elif kind == "scaled":
            result = np.ldexp(reference, rng.randint(-300, 300))
        else:
            result = np.zeros(reference.size)
    return kind, result


def convert(values, dtype, rng):
    """Convert to a type, its largest number in place of what lies beyond it, unless Inf was meant."""
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        low, high = max(int(info.min), -(2**53)), min(int(info.max), 2**53)
        return np.clip(np.nan_to_num(np.rint(values), nan=0.0), low, high).astype(dtype)
    top = float(ml_dtypes.finfo(dtype).max)
    with np.errstate(all="ignore"):
        kept = np.where(np.isfinite(values), np.clip(values, -top, top), values)
        return (kept if rng.random() < 0.97 else values).astype(dtype)


def sprinkle(rng, draw, values):
    """Put NaN and Inf among the values now and then."""
    if rng.random() < 0.12:
        chosen = rng.choice([[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan, np.inf]])
        few = draw.random(values.size) < rng.choice([0.02, 0.3, 1.0])
        values = np.where(few, draw.choice(chosen, values.size), values)
    return values


def laid_out(rng, values):
    """Give an array another layout in memory or byte order."""
    layout = rng.choice(["plain", "plain", "swapped", "swapped", "reversed", "strided", "list"])
    if layout == "swapped" and values.dtype.kind in "fiu" and values.dtype.itemsize > 1:
        return layout, values.astype(values.dtype.newbyteorder(">"))
    if layout == "reversed" and values.ndim:
        return layout, np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    if layout == "strided":
        padded = np.zeros((*values.shape, 2), values.dtype)
        padded[..., 0] = values
        return layout, padded[..., 0]
    if layout == "list" and values.dtype == np.float64:
        return layout, values.tolist()
    return "plain", values


#: The functions that are tried; `report` holds the measures of ULPs.
NAMES = ["calc_diff", "cosine", "max_error_over_mean", "norm_relative_error", "report",
         "signed_relative_error", "sqnr", "ulp_distance"]  # fmt: skip


def draw_case(seed, index):
    """Draw a case from the seed and its number."""
    rng = random.Random(f"metrics {seed} {index}")
    draw = np.random.default_rng([seed, index, 7])
    case = Case()
    case.name = rng.choice(NAMES)
    count = rng.choice([1, 1, 2, 3, 5, 8, 17, 40, 100] + ([3000] if index % 50 == 0 else []))
    shapes = (
        [(count,), (1, count), (count, 1)]
        + ([(2, count // 2)] if count % 2 == 0 else [])
        + ([()] if count == 1 else [])
    )
    shape = rng.choice(shapes)
    dtype = rng.choice(TYPES)
    other = dtype if rng.random() < 0.5 else rng.choice(TYPES)
    case.fmt = None
    if case.name == "ulp_distance":
        if rng.random() < 0.5:
            case.fmt = rng.choice(ULP_FORMATS)
        else:
            other = dtype = dtype if rng.random() < 0.9 else rng.choice(SMALL_TYPES)
    elif rng.random() < 0.06:
        dtype = rng.choice([np.int8, np.uint8, np.int32, np.int64])
    elif rng.random() < 0.03:
        other = rng.choice([np.int16, np.uint16])
    kind, reference = draw_reference(
        rng, draw, count, other if np.dtype(other).kind not in "iu" else np.float16
    )
    near, result = draw_result(rng, draw, reference, other)
    case.kind = f"{kind}, {near}"
    result = convert(sprinkle(rng, draw, result).reshape(shape), dtype, rng)
    reference = convert(sprinkle(rng, draw, reference).reshape(shape), other, rng)
    case.layouts = [None, None]
    case.types = result.dtype, reference.dtype
    case.plain = [array.astype(np.float64).reshape(-1).tolist() for array in (result, reference)]
    case.layouts[0], case.result = laid_out(rng, result)
    case.layouts[1], case.reference = laid_out(rng, reference)
    case.count, case.shape = count, shape
    case.values = len(metrics.MEASURES) if case.name == "report" else 1
    return case


# ---- comparing


def describe(case):
    """Return a case in words."""
    types = " and ".join(f"{t.name} {layout}" for t, layout in zip(case.types, case.layouts, strict=True))
    fmt = "" if case.fmt is None else f" in {case.fmt!s}"
    lines = [f"metrics.{case.name}{fmt} of {types}, shape {case.shape}, {case.kind}"]
    if case.count <= 20:
        lines += [f"  result    {case.plain[0]}", f"  reference {case.plain[1]}"]
    return "\n".join(lines)


def compare(seed, index):
    """Run one case; return its kind with its number of values, and the difference in words or None."""
    case = draw_case(seed, index)
    kind = (case.name + ("" if case.fmt is None else " in a format"), case.values)
    with mpmath.workprec(160):
        words = difference(case)
    return kind, None if words is None else f"{describe(case)}\n{words}"


def difference(case):
    """Return how the package's answer differs from the exact one, or None."""
    function = getattr(metrics, case.name)
    if case.name == "ulp_distance":
        return ulp_difference(case)
    try:
        got = function(case.result, case.reference)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    sums = Sums(*case.plain)
    if case.name != "report":
        if type(got) is not float:
            return f"got {type(got).__name__}, expected float"
        words = fault(got, *measure(case.name, sums), case.count)
        return words and f"got {got!r}, {words}"
    if tuple(got) != metrics.MEASURES:
        return f"got the names {tuple(got)}"
    fmt = FORMAT_OF.get(case.types[0].name, pr.FP64)
    steps = ulps(*case.plain, fmt)
    for name, value in got.items():
        if name == "mean_ulp":
            mean = math.inf if math.inf in steps else mpmath.mpf(sum(steps)) / len(steps)
            words = fault(value, mean, 0, case.count)
        elif name == "max_ulp":
            words = None if ulps_differ([value], [max(steps)]) is None else f"expected {max(steps)}"
        else:
            words = fault(value, *measure("sqnr" if name == "sqnr_db" else name, sums), case.count)
        if words:
            return f"{name}: got {value!r}, {words}"
    return None


def ulp_difference(case):
    """Return how distances in ULPs differ from those of integers, or None."""
    name = case.types[0].name
    fmt = case.fmt or FORMAT_OF.get(name) or pr.format_of(case.types[0])
    try:
        wanted = ulps(*case.plain, fmt)
    except NoCode:
        wanted = None
    try:
        given = metrics.ulp_distance(case.result, case.reference, *([] if case.fmt is None else [case.fmt]))
    except ValueError as error:
        return None if wanted is None else f"raised {type(error).__name__}: {error}"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    if wanted is None:
        return "raised nothing where the format has neither Inf nor NaN"
    given = np.asarray(given)
    if given.shape != case.shape or given.dtype != np.float64:
        return f"shape {given.shape}, type {given.dtype}"
    place = ulps_differ(given.reshape(-1).tolist(), wanted)
    if place is None:
        return None
    pair = case.plain[0][place], case.plain[1][place]
    return f"element {place}, {pair}: got {given.reshape(-1)[place]!r}, expected {wanted[place]}"


# ---- command


def cases_for(values, seed, start):
    """Return how many cases from ``start`` on hold so many values."""
    total = 0
    for number in itertools.count(1):
        total += draw_case(seed, start + number - 1).values
        if total >= values:
            return number


def main():
    """Read the command line and run the fuzz."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument(
        "--count", type=int, default=2000, help="number of metric values, filled up to a whole case"
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
    counts, differences = oracle_fuzz.run(compare, count, chosen.seed, jobs, chosen.start, 200, chosen.budget)
    values = Counter()
    for (kind, size), number in counts.items():
        values[kind] += number * size
    wrong = Counter(kind for _, (kind, _), _ in differences)
    width = max(map(len, values))
    print(f"{'kind':{width}} {'values':>8} {'differ':>7}")
    for kind in sorted(values):
        print(f"{kind:{width}} {values[kind]:8} {wrong[kind]:7}")
    print(f"{'all':{width}} {values.total():8} {len(differences):7}   {time.perf_counter() - begun:.0f} s")
    for index, (kind, _), text in differences[: chosen.show]:
        print(f"\n--- case {index}, {kind}\n{text}")
        print(f"again: python {SCRIPT} --seed {chosen.seed} --start {index} --count 1")
    raise SystemExit(bool(differences))


if __name__ == "__main__":
    main()
