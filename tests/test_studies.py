"""Built-in studies: every cell against arithmetic in fractions or plain NumPy, purity, grids and readers."""

import inspect
import itertools
import json
import math
import os
import pickle
import subprocess
import sys
from fractions import Fraction

import ml_dtypes
import numpy as np
import oracle
import pytest
import reference as ref

import precision as pr
from precision.formats import INT8
from precision.metrics import draw
from precision.studies import STUDIES, _array_sources, _drawn_products, _parameters, study
from precision.studies.built_in import _matrix_product, _stochastic_rounding

E4M3, FP32 = oracle.plain(pr.E4M3), oracle.plain(pr.FP32)
SMALL = {"m": 2, "n": 3, "rows": 4, "columns": 64, "sums": 5}


def parameters(name):
    return inspect.signature(STUDIES[name].cell).parameters


def small(name, **values):
    """A study's cell at sizes that the slow arithmetic of the tests can follow."""
    sizes = {key: size for key, size in SMALL.items() if key in parameters(name)}
    return STUDIES[name].cell(**sizes | values)


def fraction(x):
    return Fraction(float(x))


# ---- measures in fractions --------------------------------------------------------------------------
def norm(values):
    return math.sqrt(sum(value * value for value in values))


def measures(result, reference):
    """What a cell says of a result, from lists of fractions."""
    error = [x - y for x, y in zip(result, reference, strict=True)]
    size = sum(abs(y) for y in reference)
    relative = norm(error) / norm(reference)
    signed = sum(e * (1 if y > 0 else -1 if y < 0 else 0) for e, y in zip(error, reference, strict=True))
    return {
        "norm_relative_error": relative,
        "sqnr_db": -20 * math.log10(relative) if relative else math.inf,
        "signed_relative_error": float(signed / size),
        "max_error_over_mean": float(max(abs(e) for e in error) * len(reference) / size),
    }


def assert_measures(found, result, exact, original=None):
    # The references of the cell are rounded once to float64.
    for name, value in measures(result, exact).items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-13), name
    if original is not None:
        expected = measures(result, original)
        for name in ("norm_relative_error", "sqnr_db", "signed_relative_error"):
            assert found[f"total_{name}"] == pytest.approx(expected[name], rel=1e-9), name


# ---- products ---------------------------------------------------------------------------------------
def operands(k, distribution="symmetric", offset=0.0, seed=0):
    a = draw(distribution, (SMALL["m"], k), k_axis=1, seed=seed) + np.float32(offset)
    b = draw(distribution, (k, SMALL["n"]), k_axis=0, seed=seed) + np.float32(offset)
    return a, b


def e4m3(x):
    return np.clip(x, -448, 448).astype(ml_dtypes.float8_e4m3fn)


def product(a, b, scale=lambda i, j, k: 1):
    """The exact product of two matrices of floats, terms scaled, as a flat list of fractions."""
    return [
        sum(fraction(a[i, k]) * fraction(b[k, j]) * scale(i, j, k) for k in range(a.shape[1]))
        for i, j in np.ndindex(a.shape[0], b.shape[1])
    ]


def dots(a, b, unit, **options):
    rows, columns = a.view(np.uint8).tolist(), b.view(np.uint8).T.tolist()
    return [ref.dot(x, E4M3, y, E4M3, unit, **options) for x in rows for y in columns]


@pytest.mark.parametrize("width", [None, 4, 10])
@pytest.mark.parametrize(
    ("distribution", "offset"), [("symmetric", 0.0), ("symmetric", 1.0), ("outliers", 0.5)]
)
def test_accumulation_is_the_oracles(width, distribution, offset):
    a, b = operands(200, distribution, offset, seed=3)
    register = ref.Format(8, 13 if width is None else width, 127, specials="ieee")
    unit = ref.Unit(32, 13 if width is None else width, register)
    result = dots(e4m3(a), e4m3(b), unit)
    found = small("accumulation", width=width, k=200, distribution=distribution, offset=offset, seed=3)
    assert_measures(found, result, product(e4m3(a), e4m3(b)), product(a, b))


def test_accumulation_takes_other_units_and_formats():
    a, b = operands(48)
    exact = product(a.astype(ml_dtypes.bfloat16), b.astype(ml_dtypes.bfloat16))
    found = small("accumulation", accumulator=pr.EXACT, fmt=pr.BF16, k=48)
    assert_measures(found, [fraction(np.float32(float(x))) for x in exact], exact, product(a, b))
    assert small("accumulation", accumulator=pr.HOPPER_BF16, fmt=pr.BF16, k=48)["norm_relative_error"] < 1e-6
    groups = pr.QuantSpec(pr.E4M3, pr.PerGroup(32))
    unit = pr.HOPPER_FP8.promoted(32)
    assert small("accumulation", accumulator=unit, fmt=groups, k=96)["total_sqnr_db"] > 20


@pytest.mark.parametrize("promoted", [0, 32, 64, 256])
def test_promotion_is_the_oracles(promoted):
    a, b = operands(160, offset=0.25)
    unit = ref.Unit(32, 13, ref.Format(8, 13, 127, specials="ieee"))
    result = dots(e4m3(a), e4m3(b), unit, promotion=promoted or None)
    found = small("promotion", promoted=promoted, k=160, offset=0.25)
    assert_measures(found, result, product(e4m3(a), e4m3(b)), product(a, b))


def test_promotion_replaces_the_units_own():
    own = pr.HOPPER_FP8.promoted(32)
    assert small("promotion", accumulator=own, k=256) == small("promotion", k=256)
    assert small("promotion", accumulator=own, promoted=64, k=256) == small("promotion", promoted=64, k=256)
    assert small("promotion", accumulator=pr.FP32_FMA, promoted=8, k=64)["norm_relative_error"] < 1e-6


def scaled(x, block):
    """Codes of float32 numbers, and the scale of each element: amax / 448 of its block."""
    scales = np.empty_like(x)
    for i, j in np.ndindex(tuple(-(-size // step) for size, step in zip(x.shape, block, strict=True))):
        where = np.s_[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
        scales[where] = np.abs(x[where]).max() / np.float32(448)
    return e4m3(x / scales), scales


@pytest.mark.parametrize(("design", "width", "group"), [
    ("promoted", 13, 32), ("promoted", 8, 64), ("in_unit", 13, 64), ("in_unit", 20, 16), ("in_unit", 25, 32),
])  # fmt: skip
def test_unit_scaling_is_the_oracles(design, width, group):
    a, b = operands(128, "outliers", seed=1)
    (qa, sa), (qb, sb) = scaled(a, (1, group)), scaled(b, (group, group))
    unit = ref.Unit(32, width, ref.Format(8, min(width, 23), 127, specials="ieee"))
    result = []
    for i, j in np.ndindex(2, 3):
        x, y = qa[i].view(np.uint8).tolist(), qb[:, j].copy().view(np.uint8).tolist()
        if design == "promoted":
            scales = ([fraction(s) for s in side[::group]] for side in (sa[i], sb[:, j]))
            total = ref.dot(x, E4M3, y, E4M3, unit, promotion=group, epilogue="block",
                            **dict(zip(("scale_a", "scale_b"), scales, strict=True)))  # fmt: skip
        else:
            codes = list(
                zip(sa[i].view(np.uint32).tolist(), sb[:, j].copy().view(np.uint32).tolist(), strict=True)
            )
            total = ref.ZERO
            for k in range(0, 128, 32):
                pairs = list(zip(x[k : k + 32], y[k : k + 32], strict=True))
                total = ref.scaled_fused_sum(
                    pairs, E4M3, E4M3, total, unit, codes[k : k + 32], (FP32, FP32), min(group, 32)
                )
        result.append(total)
    exact = product(qa, qb, lambda i, j, k: fraction(sa[i, k]) * fraction(sb[k, j]))
    found = small("unit_scaling", design=design, width=width, group=group, k=128, seed=1)
    assert_measures(found, result, exact, product(a, b))


def test_a_unit_that_rounds_to_nearest_does_not_drift():
    cut, near = (
        small("unit_scaling", width=20, k=4096, distribution="uniform", rounding=mode)
        for mode in (pr.Rounding.TOWARD_ZERO, pr.Rounding.TIES_TO_EVEN)
    )
    assert abs(near["signed_relative_error"]) < 0.1 * abs(cut["signed_relative_error"])


# ---- numbers ----------------------------------------------------------------------------------------
def assert_tallied(found, x, values, bits):
    """A cell's measures from plain NumPy, for specs that clip nothing."""
    x, values = x.astype(np.float64), values.astype(np.float64)
    error = values - x
    relative = np.abs(error)[x != 0] / np.abs(x)[x != 0]
    expected = {
        "bits_per_element": bits,
        "sqnr_db": 10 * np.log10((x * x).sum() / (error * error).sum()),
        "norm_relative_error": np.linalg.norm(error) / np.linalg.norm(x),
        "max_relative_error": relative.max(),
        "signed_relative_error": (np.sign(x) * error).sum() / np.abs(x).sum(),
        "flushed_share": np.mean((values == 0) & (x != 0)),
    }
    assert set(expected) | {"clipped_share"} == set(found)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def by_blocks(x, block, quantize):
    """Every block of an array quantized on its own."""
    values = np.empty(x.shape)
    for i in range(0, x.shape[0], block[0]):
        for j in range(0, x.shape[1], block[1]):
            where = np.s_[i : i + block[0], j : j + block[1]]
            values[where] = quantize(x[where])
    return values


@pytest.mark.parametrize(("group", "block"), [
    (pr.PerGroup(16), (1, 16)), (pr.PerVector(), (1, 72)), (pr.PerTensor(), (6, 72)),
    (pr.PerBlock(4, 32), (4, 32)),
])  # fmt: skip
@pytest.mark.parametrize("fmt", [INT8, pr.E4M3])
def test_group_size_is_numpys(group, block, fmt):
    x = draw("outliers", (6, 72), k_axis=1, seed=5)
    top = np.float32(fmt.max)

    def quantize(piece):
        scale = np.abs(piece).max() / top
        codes = np.rint(piece / scale) if fmt == INT8 else e4m3(piece / scale)
        return codes.astype(np.float64) * np.float64(scale)

    scales = math.prod(-(-size // step) for size, step in zip(x.shape, block, strict=True))
    found = STUDIES["group_size"].cell(fmt=fmt, group=group, rows=6, columns=72, seed=5)
    assert_tallied(found, x, by_blocks(x, block, quantize), 8 + 32 * scales / x.size)
    assert found["clipped_share"] == 0


RULES = (pr.ScaleRule.FLOOR, pr.ScaleRule.CEIL, pr.ScaleRule.RCEIL, pr.ScaleRule.EVEN)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("spec", "kind", "top"), [
    (pr.MXFP4, ml_dtypes.float4_e2m1fn, 6), (pr.MXFP6_E3M2, ml_dtypes.float6_e3m2fn, 28),
])  # fmt: skip
def test_scale_rules_are_the_oracles(rule, spec, kind, top):
    x = draw("laplace", (4, 96), k_axis=1, seed=2)
    beyond = 0

    def quantize(piece):
        nonlocal beyond
        amax = fraction(np.abs(piece).max())
        exponent = ref.scale_exponent(rule.value, amax, Fraction(top), spec.fmt.fraction_bits)
        beyond += np.count_nonzero(np.abs(piece) > top * 2.0**exponent * (1 + 2.0**-22))
        return np.clip(piece / 2.0**exponent, -top, top).astype(kind).astype(np.float64) * 2.0**exponent

    values = by_blocks(x, (1, 32), quantize)
    found = STUDIES["scale_rules"].cell(
        spec=spec, rule=rule, distribution="laplace", rows=4, columns=96, seed=2
    )
    assert_tallied(found, x, values, spec.fmt.bits + 0.25)
    assert found["clipped_share"] == beyond / x.size


@pytest.mark.parametrize("spec", [pr.BF16, pr.FP16])
def test_formats_are_numpys(spec):
    x = draw("lognormal", (4, 64), k_axis=1)
    found = small("formats", spec=spec, distribution="lognormal")
    assert_tallied(found, x, x.astype(spec.dtype), 16)


def test_formats_and_the_studies_of_one_kind_agree():
    drawn = {"distribution": "student_t", "rows": 3, "columns": 80, "seed": 7}
    formats = STUDIES["formats"].cell
    spec = pr.QuantSpec(pr.E2M1, pr.PerGroup(16))
    assert formats(spec=spec, **drawn) == STUDIES["group_size"].cell(
        fmt=pr.E2M1, group=pr.PerGroup(16), **drawn
    )
    assert formats(spec=pr.MXINT8, **drawn) == STUDIES["scale_rules"].cell(spec=pr.MXINT8, **drawn)
    assert formats(spec=pr.LogFMT(5, 32), **drawn) == STUDIES["logfmt"].cell(bits=5, block_size=32, **drawn)


@pytest.mark.parametrize(("bits", "block_size"), [(4, 32), (7, 48), (10, 128)])
def test_logfmt_is_numpys(bits, block_size):
    x = draw("normal", (3, 96), k_axis=1, seed=1)
    levels = 2 ** (bits - 1) - 1

    def quantize(piece):
        logarithms = np.log(np.abs(piece).astype(np.float64))
        low = np.float64(np.float32(logarithms.min()))
        step = np.float64(np.float32((logarithms.max() - logarithms.min()) / (levels - 1)))
        grid = np.exp(low + step * np.arange(levels))
        nearest = np.abs(np.abs(piece)[..., None] - grid).argmin(axis=-1)
        return np.sign(piece) * grid[nearest]

    found = STUDIES["logfmt"].cell(bits=bits, block_size=block_size, rows=3, columns=96, seed=1)
    tiles = 3 * -(-96 // block_size)
    assert_tallied(found, x, by_blocks(x, (1, block_size), quantize), bits + 64 * tiles / x.size)


# ---- long sums --------------------------------------------------------------------------------------
def slow_sum(addends, fmt, rounding, seeds, j):
    """The sum after every addition of fractions, each rounded into the format; it starts at zero."""
    f, total, steps = oracle.plain(fmt), Fraction(0), []
    for i, addend in enumerate(addends):
        exact = total + addend
        if isinstance(rounding, pr.Stochastic):
            random = ref.random_integer(int(seeds[i]), j, rounding.bits)
            code = ref.stochastic_round(exact, f, random, rounding.bits)
        else:
            code = ref.integer_round(exact, f, rounding.value)
        value = ref.decode(code, f)
        total = Fraction(0) if value == "-0" else value
        steps.append(total)
    return steps


ROUNDINGS = (*pr.Rounding, pr.Stochastic(1), pr.Stochastic(8, seed=3), pr.Stochastic(32))


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=str)
@pytest.mark.parametrize(("fmt", "offset"), [(pr.BF16, 1.0), (pr.FP16, 0.0), (pr.E4M3, 8.0)])
def test_stochastic_bits_is_the_oracles(rounding, fmt, offset):
    k, sums, seed = 90, SMALL["sums"], 11
    drawn = draw("symmetric", (k, sums), k_axis=0, seed=seed) + np.float32(offset)
    addends = [[fraction(x) for x in column] for column in drawn.astype(fmt.dtype).T]
    seeds = np.random.SeedSequence([seed, getattr(rounding, "seed", 0)]).generate_state(k, np.uint64)
    steps = [slow_sum(column, fmt, rounding, seeds, j) for j, column in enumerate(addends)]
    moved = [[x != y for x, y in zip(steps[j], [0, *steps[j]], strict=False)] for j in range(sums)]
    ends, exact = [its[-1] for its in steps], [sum(column) for column in addends]

    found = small("stochastic_bits", rounding=rounding, k=k, fmt=fmt, offset=offset, seed=seed)
    assert_measures(found, ends, exact)
    relative = [abs((x - y) / y) for x, y in zip(ends, exact, strict=True)]
    assert found["mean_relative_error"] == pytest.approx(float(sum(relative) / sums), rel=1e-12)
    nonzero = sum(addend != 0 for column in addends for addend in column)
    assert found["unchanged_share"] == pytest.approx(1 - sum(map(sum, moved)) / nonzero, rel=1e-12)
    assert found["stuck_share"] == sum(not any(its[k // 2 :]) for its in moved) / sums
    assert found["saturated_share"] == sum(abs(x) == fraction(fmt.max) for x in ends) / sums
    if fmt == pr.E4M3 and rounding is pr.Rounding.TOWARD_POSITIVE:
        assert found["saturated_share"] == 1


@pytest.mark.parametrize("rounding", ROUNDINGS, ids=str)
def test_sums_beyond_float64_round_once(rounding):
    """Terms 2**-80 apart: their float64 sum is rounded already, and must not be rounded again to nearest."""
    rng = np.random.default_rng(0)
    values = np.ldexp(rng.choice([1.0, -1.0, 1.5, 129 / 128], (24, 8)), rng.integers(-90, 40, (24, 8)))
    values[0, :4] = 1.0, 257 / 256, -1.0, 129 / 128
    values[1, :4] = np.ldexp([1.0, 1.0, -1.0, -1.0], [-80, -80, -80, -8])
    values = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    found = _stochastic_rounding.running_sums(values, pr.BF16, rounding, seed=4)
    seeds = np.random.SeedSequence([4, getattr(rounding, "seed", 0)]).generate_state(24, np.uint64)
    for j, column in enumerate(values.T):
        steps = slow_sum(list(map(fraction, column)), pr.BF16, rounding, seeds, j)
        assert fraction(found.values[j]) == steps[-1]
        moved = [i for i, (x, y) in enumerate(zip(steps, [0, *steps], strict=False), 1) if x != y]
        assert (found.changed[j], found.last[j]) == (len(moved), max(moved, default=0))


@pytest.mark.parametrize("spread", [0, 23, 25, 30, 110])
def test_exact_sums_are_rounded_once(spread, monkeypatch):
    rng = np.random.default_rng(spread)
    values = np.ldexp(rng.integers(-128, 129, (50, 7)), rng.integers(-spread, spread + 1, (50, 7)))
    exact = [float(sum(map(fraction, column))) for column in values.T]
    assert _stochastic_rounding._exact_sums(values.astype(np.float32)).tolist() == exact
    monkeypatch.setattr(_stochastic_rounding, "_PIECE", 100)  # two columns at a time
    assert _stochastic_rounding._exact_sums(values.astype(np.float32)).tolist() == exact
    assert _stochastic_rounding._exact_sums(np.zeros((3, 2), np.float32)).tolist() == [0.0, 0.0]


def test_few_random_bits_stop_a_sum_where_their_number_says():
    """Toward zero adding 1 stops at 2**8 in BF16, and r random bits stop it at 2**(8 + r)."""
    ones = np.ones((3000, 64), np.float32)
    for rounding, wall in ((pr.Rounding.TOWARD_ZERO, 256), (pr.Stochastic(1), 512), (pr.Stochastic(2), 1024)):
        assert (_stochastic_rounding.running_sums(ones, pr.BF16, rounding, 0).values == wall).all()
    found = _stochastic_rounding.running_sums(ones, pr.BF16, pr.Stochastic(16), 0).values
    assert abs(found.mean() - 3000) < 50 and found.std() > 20


# ---- purity -----------------------------------------------------------------------------------------
CASES = [
    ("accumulation", {"width": 9, "k": 96, "offset": 0.5}),
    ("accumulation", {"width": 20, "k": 96, "offset": 0.5}),
    ("promotion", {"promoted": 32, "k": 96, "seed": 2}),
    ("unit_scaling", {"width": 11, "k": 64, "group": 32}),
    ("group_size", {"seed": 1}),
    ("formats", {"distribution": "student_t"}),
    ("logfmt", {"bits": 6}),
    ("scale_rules", {"distribution": "laplace"}),
    ("stochastic_bits", {"k": 70, "rounding": "Stochastic(bits=5, seed=9)", "offset": 1.0}),
    ("gemm", {"k": 96, "data": "uniform", "accumulator": "HOPPER_FP8.promoted(32)"}),
    ("quantize", {"data": "laplace", "spec": "NVFP4", "axis": 0}),
    ("all_to_all", {"spec": "LogFMT(6)", "dispatch": "same", "hidden": 70, "bandwidth": "900"}),
]


def in_bits(name, values):
    values = {key: STUDIES[name].reads[key](value) for key, value in values.items()}
    found = small(name, **values)
    return {key: v if isinstance(v, str) else float(v).hex() for key, v in found.items()}


CLEARED = (
    _drawn_products._operands,
    _stochastic_rounding._addends,
    _matrix_product._operands,
    _array_sources._drawn,
)
SCRIPT = """
import json, sys
import precision.studies
left = sorted({"pandas", "matplotlib", "numba"} & set(sys.modules))
import precision as pr, test_studies
pr.set_num_threads(1)
print(json.dumps([left, [test_studies.in_bits(*case) for case in reversed(json.loads(sys.argv[1]))]]))
"""


def test_cells_give_the_same_bits_in_any_order_and_process():
    first = [in_bits(*case) for case in CASES]
    for cached in CLEARED:
        cached.cache_clear()
    backward = [in_bits(*case) for case in reversed(CASES)]
    assert backward[::-1] == first == [in_bits(*case) for case in CASES]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
        "OPENBLAS_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(CASES)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported, found = json.loads(run.stdout)
    assert imported == []
    assert found[::-1] == first


def test_every_study_is_among_the_cases():
    assert {name for name, _ in CASES} == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_cells_travel_and_return_plain_values(name):
    cell = pickle.loads(pickle.dumps(STUDIES[name].cell))
    assert cell is STUDIES[name].cell
    found = small(name)
    assert all(type(value) in (float, int, str, bool) for value in found.values())
    assert not set(found) & {*parameters(name), "error"}


# ---- grids and readers ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", STUDIES)
def test_grids_name_parameters_and_values_read_back(name):
    found, known = STUDIES[name], parameters(name)
    assert found.name == name and found.question.endswith("?") and "\n" not in found.question
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in known.values())
    assert set(found.grid) <= set(known) == set(found.reads)
    assert math.prod(map(len, found.grid.values())) <= 300
    for key, parameter in known.items():
        for value in (parameter.default, *found.grid.get(key, ())):
            read = found.reads[key](str(value))
            assert read == value and type(read) is type(value)
            assert found.reads[key](value) == value
    for values in found.grid.values():
        assert len({str(value) for value in values}) == len(values)


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_a_default_grid_runs(name):
    found = STUDIES[name]
    grid = found.grid | ({"k": (128,)} if "k" in found.grid else {})
    tables = [
        small(name, **dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())
    ]
    assert len({tuple(table) for table in tables}) == 1


BAD = [
    ("accumulation", "accumulator", "HOPPER_FP9", "accumulator.*HOPPER_FP9.*near names: .*HOPPER_FP8"),
    ("accumulation", "accumulator", "e4m3", "accumulator.*not an accumulator"),
    ("accumulation", "width", "wide", "width must be an int from 1 to 30 or None, got 'wide'"),
    ("accumulation", "width", "41", "width must be an int from 1 to 30 or None, got '41'"),
    ("accumulation", "k", "0", "k must be an int from 1 to .*, got '0'"),
    ("accumulation", "k", "1.5", "k must be an int from 1 to .*, got '1.5'"),
    ("accumulation", "m", "None", "m must be an int from 1"),
    ("accumulation", "distribution", "norml", "distribution must be one of normal.*did you mean 'normal'"),
    ("accumulation", "offset", "one", "offset must be a number, got 'one'"),
    ("accumulation", "offset", "nan", "offset must be finite, got 'nan'"),
    ("accumulation", "seed", "-1", "seed must be an int from 0"),
    ("accumulation", "fmt", "LogFMT(8)", "fmt must be a QuantSpec or a floating-point format"),
    ("accumulation", "fmt", "e4m9x", "fmt: .*e4m9x"),
    ("promotion", "promoted", "-32", "promoted must be an int from 0"),
    ("unit_scaling", "design", "inside", "design must be one of promoted, in_unit; got 'inside'"),
    ("unit_scaling", "rounding", "NEAREST", "rounding must be one of TIES_TO_EVEN"),
    ("unit_scaling", "fmt", "int8", "fmt must be a floating-point format, as bf16, got 'int8'"),
    ("group_size", "group", "PerGroop(16)", "group 'PerGroop.16.': .*near names: PERGROUP"),
    ("group_size", "group", "PerGroup", "group must be one of PerTensor.*got 'PerGroup'"),
    ("group_size", "group", "PerGroup(0)", "group.*n must be at least 1"),
    ("group_size", "fmt", "int99", "fmt: .*int99"),
    ("formats", "spec", "MXFP9", "spec.*MXFP9.*near names"),
    ("logfmt", "bits", "2", "bits must be an int from 3 to 16, got '2'"),
    ("logfmt", "block_size", "", "block_size must be an int"),
    ("scale_rules", "rule", "FLOR", "rule must be one of AMAX.*did you mean 'FLOOR'"),
    ("scale_rules", "spec", "bf16", "spec must be a QuantSpec"),
    ("stochastic_bits", "rounding", "Stochastic(40)", "rounding: .*bits must lie in 1..32, got 40"),
    ("stochastic_bits", "rounding", "PerTensor()", "rounding: .*unknown name 'PerTensor'"),
    ("gemm", "data", "norml", "data must be one of normal.*did you mean 'normal'"),
    ("gemm", "b_spec", "LogFMT(8)", "b_spec must be a QuantSpec or a floating-point format"),
    ("quantize", "axis", "99", "axis must be an int from -64 to 63, got '99'"),
    ("all_to_all", "dispatch", "int8", "dispatch.*must say a QuantSpec"),
    ("all_to_all", "bandwidth", "inf", "bandwidth must be finite"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameter", "text", "message"), BAD)
def test_bad_text_raises_and_names_the_parameter(name, parameter, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        STUDIES[name].reads[parameter](text)
    assert str(caught.value).startswith(parameter)


def test_readers_refuse_values_of_another_kind():
    for name, found in STUDIES.items():
        for parameter, read in found.reads.items():
            another = 1 if isinstance(parameters(name)[parameter].default, bool) else True
            for value in (another, [1], object(), b"1"):
                with pytest.raises(TypeError, match=f"^{parameter} must be"):
                    read(value)
            if parameter != "width" or name != "accumulation":
                with pytest.raises(TypeError, match=f"^{parameter} must be"):
                    read(None)


def test_readers_take_values_and_whole_numbers():
    reads = STUDIES["stochastic_bits"].reads
    assert reads["offset"](1) == 1.0 and type(reads["offset"](1)) is float
    assert reads["rounding"]("stochastic(8)".replace("s", "S", 1)) == pr.Stochastic(8)
    assert STUDIES["accumulation"].reads["width"](" None ") is None
    flag = _parameters.truth("flag")
    assert [flag(given) for given in ("True", " false", True, False)] == [True, False, True, False]
    for given, error in (("yes", ValueError), (1, TypeError)):
        with pytest.raises(error, match=f"flag must be True or False, got {given!r}"):
            flag(given)
    assert STUDIES["formats"].reads["spec"]("bf16") == pr.BF16


def test_near_names():
    assert study("promotion") is STUDIES["promotion"]
    with pytest.raises(ValueError, match=r"study must be one of accumulation, .*got 'group'.*'group_size'"):
        study("group")
    with pytest.raises(TypeError, match="study must be a str, got 3"):
        study(3)


@pytest.mark.parametrize(("name", "values", "error", "message"), [
    ("accumulation", {"accumulator": pr.FP32_FMA, "width": 8}, ValueError, "width must be None for FP32_FMA"),
    ("accumulation", {"width": 99}, ValueError, "bits must lie in 1"),
    ("accumulation", {"k": 0}, ValueError, "k must lie in 1"),
    ("accumulation", {"m": 2.0}, TypeError, "m must be an int"),
    ("accumulation", {"seed": -1}, ValueError, "seed must lie in 0"),
    ("accumulation", {"offset": math.inf}, ValueError, "offset must be finite"),
    ("accumulation", {"offset": "1"}, TypeError, "offset must be a number"),
    ("accumulation", {"distribution": "norml"}, ValueError, "did you mean 'normal'"),
    ("promotion", {"accumulator": pr.EXACT}, ValueError, "accumulator must be one that can be promoted"),
    ("promotion", {"promoted": 48}, ValueError, "multiple of the unit's 32"),
    ("promotion", {"promoted": None}, TypeError, "promoted must be an int"),
    ("unit_scaling", {"design": "x"}, ValueError, "design must be one of promoted, in_unit"),
    ("unit_scaling", {"design": "promoted", "group": 16}, ValueError, "multiple of the unit's 32"),
    ("group_size", {"rows": 0}, ValueError, "rows must lie in 1"),
    ("logfmt", {"bits": 2}, ValueError, "bits must lie in 3"),
    ("stochastic_bits", {"fmt": pr.FP32}, ValueError, "at most 16 fraction bits, got fp32"),
    ("stochastic_bits", {"fmt": INT8}, TypeError, "fmt must be a FloatFormat"),
    ("stochastic_bits", {"rounding": "TO_ODD"}, TypeError, "rounding must be a Rounding"),
    ("stochastic_bits", {"sums": 0}, ValueError, "sums must lie in 1"),
    ("gemm", {"k": 0}, ValueError, "k must lie in 1"),
    ("gemm", {"data": "norml"}, ValueError, "did you mean 'normal'"),
    ("gemm", {"accumulator": pr.HOPPER_BF16}, TypeError, "bf16"),
    ("quantize", {"columns": 0}, ValueError, "columns must lie in 1"),
    ("quantize", {"axis": 2}, ValueError, "axis must lie in -2..1"),
    ("all_to_all", {"tokens": 0}, ValueError, "tokens must"),
    ("all_to_all", {"bandwidth": 0.0}, ValueError, "bandwidth must be above 0"),
])  # fmt: skip
def test_bad_arguments_of_cells_are_named(name, values, error, message):
    with pytest.raises(error, match=message):
        small(name, **values)
