"""A sample of the oracle fuzz of LogFMT, metrics and overlapping outputs; its comparisons can fail."""

import math
import sys
from pathlib import Path

import ml_dtypes
import mpmath
import numpy as np
import pytest

import precision as pr
from precision.logfmt import BelowClamp, LogBase, Metadata, SingleValued, Space

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import oracle_fuzz
import oracle_fuzz_aliasing as aliasing
import oracle_fuzz_logfmt as logfmt
import oracle_fuzz_metrics as measures
import oracle_logfmt
import oracle_metrics


def run(compare, count, seed=17):
    """Run some cases; return the differences of kinds that are not known."""
    threads = pr.get_num_threads()
    try:
        counts, differences = oracle_fuzz.run(compare, count, seed, jobs=1)
    finally:
        pr.set_num_threads(threads)
    assert counts.total() == count
    return differences


@pytest.mark.parametrize(
    ("compare", "count"),
    [
        pytest.param(logfmt.compare, 25, id="logfmt"),
        pytest.param(measures.compare, 500, id="metrics"),
        pytest.param(aliasing.compare, 150, id="aliasing"),
    ],
)
def test_sample_equals_the_oracle(compare, count):
    """Random cases equal the oracle."""
    assert not run(compare, count)


def test_every_function_with_an_out_is_drawn():
    """The fuzz of overlapping arrays knows every public function that takes an ``out``, and no other."""
    assert aliasing.functions_with_out() == set(aliasing.DRAW)


# ---- the oracles themselves


def oracle_of(x, spec):
    """Return the oracle's tensor of one line of numbers."""
    case = logfmt.Case()
    case.spec, case.axis, case.plain = spec, -1, np.asarray(x, np.float64)
    return oracle_logfmt.Oracle(case)


def test_oracle_of_logfmt_gives_the_documents_examples():
    """The oracle gives the codes and stored numbers that the pages and docstrings show."""
    x = np.float32([1e-30, 0.1, 0.2, 0.7, 2**32])
    codes = [oracle_of(x, pr.LogFMT(3, below_clamp=below)).codes.tolist() for below in BelowClamp]
    by_name = dict(zip([below.name for below in BelowClamp], codes, strict=True))
    assert by_name == {
        "NEAREST": [0, 0, 0, 1, 3],
        "MIN": [1, 1, 1, 1, 3],
        "ZERO": [0, 0, 0, 0, 3],
        "NEXT_LEVEL": [0, 0, 0, 1, 3],
    }
    x = np.float32([1, 2.1, 4, 16])
    assert oracle_of(x, pr.LogFMT(3, space=Space.LINEAR)).codes.tolist() == [1, 1, 2, 3]
    assert oracle_of(x, pr.LogFMT(3, space=Space.LOG)).codes.tolist() == [1, 2, 2, 3]
    assert oracle_of([2, -2, 0], pr.LogFMT(4, single_valued=SingleValued.LAST)).codes.tolist() == [7, 15, 0]
    stored = oracle_of([1, 2, 4, 8], pr.LogFMT(4, base=LogBase.E)).metadata()
    assert [float(numbers[0]) for numbers in stored] == [0.0, float(np.float32(0.3465736))]
    stored = oracle_of([-3, 1, 5], pr.LogFMT(8, metadata=Metadata.EXTREMES)).metadata()
    assert [float(numbers[0]) for numbers in stored] == [1.0, 5.0]


@pytest.mark.parametrize("bits", [4, 8, 12])
@pytest.mark.parametrize("space", list(Space), ids=str)
def test_oracle_of_logfmt_chooses_the_nearest_level(bits, space):
    """The oracle's codes are those that a search of all levels in float64 finds, away from boundaries."""
    x = np.random.default_rng(bits).lognormal(size=60)
    spec = pr.LogFMT(bits, space=space, from_stored=False)
    low, high = np.log(x.min()), np.log(x.max())
    levels = np.exp(low + (high - low) / (2 ** (bits - 1) - 2) * np.arange(2 ** (bits - 1) - 1))
    place = (lambda v: v) if space is Space.LINEAR else np.log
    distances = np.abs(place(x)[:, None] - place(levels)[None, :])
    nearest = np.sort(distances, axis=1)
    clear = nearest[:, 1] - nearest[:, 0] > 1e-9
    assert np.count_nonzero(clear) > 50
    assert np.array_equal(oracle_of(x, spec).codes[clear], distances.argmin(axis=1)[clear] + 1)


def test_oracle_of_logfmt_decides_alike_quickly_and_slowly(monkeypatch):
    """The choice in float64 equals the one in high precision, wherever float64 makes one."""
    seen = []
    quick = oracle_logfmt.Chooser.quickly

    def both(self, size, threshold):
        found = quick(self, size, threshold)
        if found is not None and len(seen) < 2000:
            seen.append((found, self.slowly(size, threshold)))
        return found

    monkeypatch.setattr(oracle_logfmt.Chooser, "quickly", both)
    for index in range(25):
        oracle_logfmt.Oracle(logfmt.draw_case(3, index))
    assert len(seen) > 600
    assert [pair for pair in seen if pair[0] != pair[1]] == []


def test_oracle_of_metrics_equals_the_formulas_on_ordinary_numbers():
    """The exact measures are the formulas that the docstrings give."""
    draw = np.random.default_rng(0)
    y = draw.standard_normal(50)
    x = y + 0.01 * draw.standard_normal(50)
    error = x - y
    expected = {
        "norm_relative_error": np.linalg.norm(error) / np.linalg.norm(y),
        "sqnr": -20 * np.log10(np.linalg.norm(error) / np.linalg.norm(y)),
        "max_error_over_mean": np.abs(error).max() / np.abs(y).mean(),
        "signed_relative_error": (np.sign(y) * error).sum() / np.abs(y).sum(),
        "cosine": x @ y / np.linalg.norm(x) / np.linalg.norm(y),
        "calc_diff": 1 - 2 * (x @ y) / (x @ x + y @ y),
    }
    assert {*expected, "mean_ulp", "max_ulp"} == {
        metric.measure.__name__ for metric in pr.metrics.METRICS.values() if metric.measure
    }
    sums = oracle_metrics.Sums(x.tolist(), y.tolist())
    for name, value in expected.items():
        assert float(oracle_metrics.measure(name, sums)[0]) == pytest.approx(value, rel=1e-9), name


def test_oracle_of_ulps_orders_codes_as_ml_dtypes_does():
    """The places of all finite values of a format are consecutive whole numbers."""
    for dtype in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fnuz):
        values = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
        finite = np.unique(values[np.isfinite(values)])
        grid = oracle_metrics.grid_of(pr.format_of(dtype))
        places = [oracle_metrics.ordered(value, grid) for value in finite.tolist()]
        assert np.array_equal(np.diff(places), np.ones(len(finite) - 1))


def test_tolerances_of_metrics_are_narrow():
    """A value that is off by a few more ULP than float64 sums allow is a fault."""
    exact = mpmath.mpf("0.1")
    assert oracle_metrics.fault(0.1, exact, 0, 1) is None
    assert oracle_metrics.fault(0.1 + 20 * math.ulp(0.1), exact, 0, 1)
    assert oracle_metrics.fault(math.inf, exact, 0, 1)
    assert oracle_metrics.fault(0.0, mpmath.mpf("1e-300"), 0, 1)
    assert oracle_metrics.fault(math.inf, mpmath.mpf("1e400"), 0, 1) is None


# ---- the comparisons can fail


def test_a_wrong_oracle_of_logfmt_is_noticed(monkeypatch):
    """An oracle that rounds up two parts in five of the way, not half, differs somewhere."""
    right = oracle_logfmt.Chooser.threshold
    monkeypatch.setattr(oracle_logfmt.Chooser, "threshold", lambda self, index: right(self, index) * 4 / 5)
    assert len(run(logfmt.compare, 20)) > 3


def test_a_wrong_oracle_of_metrics_is_noticed(monkeypatch):
    """An oracle that takes one element more for the mean differs somewhere."""
    right = oracle_metrics.Sums.__init__

    def wrong(self, result, reference):
        right(self, result, reference)
        self.count += 1

    monkeypatch.setattr(oracle_metrics.Sums, "__init__", wrong)
    assert len(run(measures.compare, 60)) > 3


def test_an_out_that_is_written_too_early_is_noticed(monkeypatch):
    """A function that clears ``out`` before it reads its input differs wherever they overlap."""
    right = pr.round_to

    def early(x, fmt, *, out=None, **options):
        if out is not None:
            out[...] = 0
        return right(x, fmt, out=out, **options)

    monkeypatch.setattr(pr, "round_to", early)
    assert run(aliasing.compare, 60)
