"""The framework of `precision.testing`: reports, faults, shrinking, strategies, the command."""

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import find, given, settings
from hypothesis import strategies as st

import precision as pr
from precision import storage
from precision.cli import command
from precision.testing import (
    check_dequantizer,
    check_matmul,
    check_packing,
    check_quantizer,
    check_roundtrip,
    dequantizer_properties,
    matmul_properties,
    quantizer_properties,
)
from precision.testing import strategies as pst
from precision.testing._reports import CheckFailed, Report, Verdict
from precision.testing._shrinking import shrink, simplest_first, simplicity
from precision.testing.strategies import (
    _block_strategies,
    _format_strategies,
    _number_strategies,
    _spec_strategies,
)

FORMATS = [
    pr.E4M3,
    pr.E5M2,
    pr.E2M1,
    pr.E3M2,
    pr.BF16,
    pr.E8M0,
    pr.IntFormat(8),
    *map(pr.parse_format, ("e4m3fnuz", "uint4", "binary8p4se")),
]
SPECS = [
    pr.MXFP8_E4M3,
    pr.MXINT8,
    pr.NVFP4,
    pr.NVFP4_4OVER6,
    pr.QuantSpec(pr.E4M3, pr.PerBlock(16, 32)),
    pr.QuantSpec(pr.E5M2, pr.PerTensor(), overflow=pr.Overflow.NON_SATURATING),
    pr.QuantSpec(pr.parse_format("uint4"), pr.PerVector()),
    replace(pr.MXFP4, rounding=pr.Rounding.TOWARD_ZERO, non_finite=pr.NonFinite.FINITE_AMAX),
    replace(pr.MXFP4, rounding=pr.Stochastic(8)),
]


# ---- no false alarm ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_our_formats_pass(fmt):
    for fn in (pr.encode, pr.round_to):
        report = check_quantizer(lambda x, fn=fn: fn(x, fmt), fmt)
        assert report.ok, str(report)
    assert check_dequantizer(lambda codes: pr.decode(codes, fmt), fmt).ok
    assert check_roundtrip(lambda x: pr.encode(x, fmt), lambda codes: pr.decode(codes, fmt), fmt).ok


@pytest.mark.parametrize("rounding", [*pr.Rounding, pr.Stochastic(8, seed=1)], ids=str)
@pytest.mark.parametrize("overflow", pr.Overflow, ids=str)
def test_our_roundings_pass(rounding, overflow):
    options = {"rounding": rounding, "overflow": overflow}
    report = check_quantizer(lambda x: pr.encode(x, pr.E4M3, **options), pr.E4M3, **options)
    assert report.ok, str(report)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_our_specs_pass(spec):
    report = check_quantizer(lambda x: pr.quantize(x, spec), spec)
    assert report.ok, str(report)
    if spec.granularity != pr.PerTensor():
        report = check_quantizer(lambda x: pr.quantize(x, spec, axis=0), spec, axis=0)
        assert report.ok, str(report)


def test_restored_values_alone():
    report = check_quantizer(lambda x: pr.quantize(x, pr.MXFP4).dequantize(), pr.MXFP4)
    assert report.ok, str(report)
    report = check_quantizer(
        lambda x: pr.quantize(x, replace(pr.MXFP4, rounding=pr.Rounding.TIES_TO_AWAY)).dequantize(), pr.MXFP4
    )
    assert report.causes == ("ties away from zero",), str(report)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16], ids=str)
def test_other_sources(dtype):
    assert check_quantizer(lambda x: pr.encode(x, pr.E5M2), pr.E5M2, dtype=dtype).ok
    assert check_quantizer(lambda x: pr.quantize(x, pr.MXFP8_E4M3), "mxfp8_e4m3", dtype=dtype).ok


@pytest.mark.parametrize("fmt", [pr.E2M1, pr.E3M2, pr.E4M3, pr.parse_format("uint1")], ids=str)
def test_our_packing_passes(fmt):
    report = check_packing(
        lambda c: storage.pack(c, fmt), lambda packed, length: storage.unpack(packed, fmt, int(length)), fmt
    )
    assert report.ok, str(report)


# ---- bad callables ---------------------------------------------------------------------------------------
def raises(x):
    raise RuntimeError("no kernel for you")


def writes(x):
    result = pr.encode(x, pr.E4M3)
    x[...] = 0
    return result


class Random:
    """Nearest, but for one element of a hundred."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return pr.round_to(
            x * np.where(self.rng.random(x.shape) < 0.01, np.float32(1.1), np.float32(1)), pr.E4M3
        )


BAD = [
    (raises, "result", "raises", "RuntimeError: no kernel for you"),
    (lambda x: pr.encode(x, pr.E4M3)[..., :-1], "result", "wrong shape", "(256,)"),
    (lambda x: pr.encode(x, pr.E5M2), "result", "wrong dtype", "float8_e5m2"),
    (lambda x: "codes", "result", "wrong type", "str"),
    (lambda x: time.sleep(5), "result", "hangs", "0.2 s"),
    (writes, "input unchanged", "changes its input", "argument 0"),
    (Random(), "determinism", "not deterministic", ""),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad[2])
def test_bad_callables_are_named(bad):
    fn, name, cause, text = bad
    report = check_quantizer(fn, pr.E4M3, time_limit=0.2 if cause == "hangs" else None)
    assert report[name].failed and report[name].cause == cause
    assert text in str(report[name])
    if name == "result":
        assert all(o.verdict is Verdict.NOT_APPLICABLE for o in report.outcomes if o.name != name)


def test_bad_callables_for_a_spec():
    def check(fn):
        return check_quantizer(fn, pr.MXFP8_E4M3)["result"]

    q = pr.quantize
    assert "tuple of 1" in check(lambda x: (x,)).got
    assert check(lambda x: (q(x, pr.MXFP8_E4M3).codes, np.ones(3, np.float32))).cause == "wrong shape"
    assert (
        check(lambda x: (q(x, pr.MXFP8_E4M3).codes, q(x, pr.MXFP8_E4M3).scale.astype(int))).cause
        == "wrong dtype"
    )
    assert "unpack" in check(lambda x: (np.zeros((len(x), x.shape[1] // 2), np.uint8), None)).got


def test_raising_on_one_number_is_pinned_down():
    def refuses_inf(x):
        if np.isinf(x).any():
            raise ValueError("no infinities")
        return pr.encode(x, pr.E4M3)

    outcome = check_quantizer(refuses_inf, pr.E4M3)["overflow rule"]
    assert outcome.cause == "raises" and outcome.example == "inf (0x7F800000)"


def test_arguments():
    def ask(**options):
        return check_quantizer(pr.encode, **{"like": pr.E4M3, **options})

    with pytest.raises(ValueError, match="like 'e9m9' is no spec"):
        ask(like="e9m9")
    with pytest.raises(TypeError, match="like must be"):
        ask(like=3)
    with pytest.raises(ValueError, match="returns must be"):
        ask(returns="scales")
    with pytest.raises(ValueError, match="MXFP4's own"):
        ask(like=pr.MXFP4, rounding=pr.Rounding.TO_ODD)
    with pytest.raises(ValueError, match="overflow must be SATURATE for e2m1"):
        ask(like=pr.E2M1, overflow=pr.Overflow.NON_SATURATING)
    with pytest.raises(TypeError, match="dtype must be one of"):
        ask(dtype=np.int32)
    with pytest.raises(ValueError, match="time_limit must be"):
        ask(time_limit=0)
    with pytest.raises(TypeError, match="fn must be callable"):
        check_quantizer(3, pr.E4M3)


# ---- reports ----------------------------------------------------------------------------------------------
def ties_away(x):
    return pr.round_to(x, pr.E4M3, rounding=pr.Rounding.TIES_TO_AWAY)


def test_report():
    report = check_quantizer(ties_away, pr.E4M3)
    tie = report["tie rule"]
    assert (tie.example, tie.expected, tie.got) == ("1.0625 (0x3F880000)", "1 (0x38)", "1.125 (0x39)")
    assert not report and report.failed and report.headline().startswith("ties_away like e4m3: 2 of 13")
    assert "likely cause: ties away from zero" in str(report) and "0x3F880000" in str(report)
    as_json = json.loads(json.dumps(report.to_dict()))
    assert as_json["ok"] is False and as_json["causes"] == ["ties away from zero"]
    with pytest.raises(CheckFailed, match="ties away from zero"):
        report.raise_if_failed()
    with pytest.raises(KeyError, match="tie rule"):
        report["ties"]
    good = check_quantizer(lambda x: pr.encode(x, pr.E4M3), pr.E4M3)
    assert good and isinstance(good, Report)
    good.raise_if_failed()


@pytest.mark.parametrize("prop", quantizer_properties(pr.MXFP4), ids=str)
def test_properties_one_by_one(prop):
    prop.check(lambda x: pr.quantize(x, pr.MXFP4))


def test_the_documentation_names_every_property():
    tried = [
        (
            check_quantizer,
            quantizer_properties,
            (pr.E4M3, pr.MXFP4, replace(pr.MXFP4, rounding=pr.Stochastic(8))),
        ),
        (check_dequantizer, dequantizer_properties, (pr.E4M3, pr.MXFP4)),
        (check_matmul, matmul_properties, (pr.HOPPER_FP8.promoted(128), pr.HOPPER_TF32, pr.BLACKWELL_NVFP4)),
    ]
    for check, properties, likes in tried:
        named = {str(prop) for like in likes for prop in properties(like)}
        assert [name for name in named if f"*{name}*" not in check.__doc__] == []


def test_a_property_raises():
    ties = {str(prop): prop for prop in quantizer_properties(pr.E4M3)}["tie rule"]
    with pytest.raises(CheckFailed, match="ties away from zero"):
        ties.check(ties_away)
    assert {"finite values", "NaN"} <= {str(prop) for prop in dequantizer_properties(pr.E4M3)}


def test_a_failing_block_is_small():
    spec = pr.MXFP4
    away = replace(spec, rounding=pr.Rounding.TIES_TO_AWAY)
    tie = check_quantizer(lambda x: pr.quantize(x, away), spec)["tie rule"]
    assert tie.failed and tie.example.startswith("shape (1, 32)") and tie.example.count(" = ") <= 2


# ---- shrinking --------------------------------------------------------------------------------------------
def test_shrinking():
    x = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32) + 3
    small = shrink(x, lambda x: bool((x > 3.7).any()), steps=(1, 32))
    assert small.shape == (1, 32) and np.count_nonzero(small) == 1 and small.max() in (3.75, 4.0)


@given(st.floats(width=32, allow_nan=False))
def test_simplicity_prefers_zero(x):
    assert simplicity(0.0) <= simplicity(x)


@given(st.lists(st.floats(1e-320, 1e308)) | st.lists(st.floats(2.0**-149, 8, width=32)))
def test_many_numbers_are_sorted_as_one_by_one(values):
    assert simplest_first(np.array(values)) == tuple(sorted(values, key=simplicity))


# ---- strategies -------------------------------------------------------------------------------------------
def test_numbers_shrink_to_a_readable_tie():
    even = lambda x: pr.round_to(x, pr.E4M3)  # noqa: E731
    found = find(_number_strategies.arrays(pr.E4M3), lambda x: (even(x) != ties_away(x))[~np.isnan(x)].any())
    assert found.size == 1 and simplicity(float(found[0])) <= simplicity(1.9375)


def test_blocks_shrink_to_one_element():
    rceil = replace(pr.MXFP4, scale_rule=pr.ScaleRule.RCEIL)

    def differ(x):
        return (pr.quantize(x, pr.MXFP4).scale != pr.quantize(x, rceil).scale).any()

    found = find(_block_strategies.blocks(pr.MXFP4, finite=True), differ)
    assert np.count_nonzero(found) == 1 and found.size <= 32


@settings(max_examples=30, deadline=None)
@given(
    _block_strategies.blocks(pr.MXFP4, max_blocks=(3, 1), ragged=False, finite=True, amaxes=(2.0**-3, 2.0**5))
)
def test_blocks_within_a_range(x):
    assert len(x) <= 3 and x.shape[1] == 32
    amax = np.abs(x).max(axis=1)
    assert ((amax == 0) | (amax >= 2.0**-3) & (amax <= 2.0**5)).all()


def test_a_range_without_amaxes():
    with pytest.raises(ValueError, match="amaxes must be a range with a power of two inside, got"):
        find(_block_strategies.blocks(pr.MXFP4, amaxes=(3.0, 2.0)), lambda x: True)


@pytest.mark.parametrize("kind", ["tie", "subnormal", "overflow", "nan", "inf", "negative zero"])
def test_numbers_hit(kind):
    hits = {
        "tie": lambda x: (
            pr.round_to(x, pr.E4M3) != pr.round_to(x, pr.E4M3, rounding=pr.Rounding.TIES_TO_AWAY) and x == x
        ),
        "subnormal": lambda x: 0 < abs(x) < 2.0**-6,
        "overflow": lambda x: 448 < x < np.inf,
        "nan": np.isnan,
        "inf": np.isinf,
        "negative zero": lambda x: x == 0 and np.signbit(x),
    }
    find(_number_strategies.numbers(pr.E4M3), lambda x: bool(hits[kind](x)))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_spec_has_blocks_and_any_format_codes(data):
    spec = data.draw(_spec_strategies.specs(stochastic=True, every_field=True))
    x = data.draw(_block_strategies.blocks(spec, max_blocks=2))
    assert x.ndim == 2 and x.dtype == np.float32
    fmt = data.draw(_format_strategies.formats())
    assert data.draw(_number_strategies.codes(fmt)).dtype == fmt.dtype


# ---- the command ------------------------------------------------------------------------------------------
GOOD_FILE = "import numpy as np, precision as pr\ndef good(x):\n    return pr.encode(x, pr.E4M3)\n"
BAD_FILE = "def bad(x):\n    return pr.round_to(x, pr.E4M3, rounding=pr.Rounding.TIES_TO_AWAY)\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_of_the_test.py").write_text(GOOD_FILE + BAD_FILE)


@pytest.mark.usefixtures("mine")
def test_command():
    run = CliRunner().invoke
    good = run(command, ["check", "mine_of_the_test:good", "--like", "e4m3"])
    assert good.exit_code == 0 and "13 properties hold" in good.output
    bad = run(command, ["check", "mine_of_the_test.py:bad", "--like", "E4M3"])
    assert bad.exit_code == 1 and "likely cause: ties away from zero" in bad.output
    assert "0x3F880000" in bad.output
    as_json = run(command, ["check", "mine_of_the_test:bad", "--like", "e4m3", "--json"])
    assert as_json.exit_code == 1 and json.loads(as_json.output)["causes"] == ["ties away from zero"]
    for text, message in (
        ("mine_of_the_test:ugly", "has no 'ugly'"),
        ("mine_of_the_test", "module:function"),
        ("no_such_module_here:f", "No module named"),
        ("none.py:f", "there is no file none.py"),
    ):
        failed = run(command, ["check", text, "--like", "e4m3"])
        assert failed.exit_code == 2 and message in failed.output
    mistaken = run(command, ["check", "mine_of_the_test:good", "--like", "mxfp8"]).output
    assert "did you mean" in mistaken and "MXFP8_E5M2" in mistaken


def test_a_property_as_the_strategies_page_shows_it_passes_in_an_empty_cache(tmp_path):
    """What compiles at its first call takes longer than Hypothesis's deadline."""
    lines = pst.__doc__.split("::\n", 1)[1]
    code = textwrap.dedent(lines) + "\ntest_rounding_again_changes_nothing()\nprint('passed')\n"
    before = "import numpy as np, precision as pr\ndef my_rounding(x):\n    return pr.round_to(x, pr.E4M3)\n"
    found = subprocess.run(
        [sys.executable, "-c", before + code],
        cwd=tmp_path,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == ["passed"], found.stderr[-2000:]
