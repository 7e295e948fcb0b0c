"""Specs and bare formats in one language, and quantizing by either."""

from __future__ import annotations

import numpy as np
import pytest

import precision as pr
from precision import specs
from precision.logfmt import Space, _logfmt_spec
from precision.quantization import _quant_spec
from precision.studies import study


@pytest.mark.parametrize(
    "spec",
    [*study("quantize").grid["spec"], *study("all_to_all").grid["spec"], pr.LogFMT(3),
     *map(pr.LogFMT, range(13, 17)), pr.DEEPEP_LOGFMT10, pr.FP16, pr.E2M1,
     pr.LogFMT(8, 64, space=Space.LOG, rounding=pr.Stochastic(16)), pr.FloatFormat.parse("e4m2")],
    ids=str,
)  # fmt: skip
def test_what_prints_parses(spec):
    assert specs.parse(str(spec)) == spec


def test_the_vocabularies_do_not_clash():
    mine, other = _quant_spec.vocabulary(), _logfmt_spec.vocabulary()
    both = mine.keys() & other.keys()
    assert {"Stochastic", "TIES_TO_EVEN", "NAN_SCALE"} <= both
    assert all(mine[name] is other[name] for name in both)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int8", "must say a QuantSpec, as .*, a LogFMT, as LogFMT.8., or a floating-point format, as bf16"),
        ("8", "must say a QuantSpec"),
        ("LOG", "must say a QuantSpec"),
        ("e8m0", "a format without scales must have a sign and a zero"),
        ("LogFMT(2)", "bits must .* 3"),
        ("LogFTM(8)", "unknown name 'LogFTM'; near names: LOGFMT"),
        ("LogFMT(8", "cannot be read"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        specs.parse(text)


def test_text_must_be_text():
    with pytest.raises(TypeError, match="text must be a str, got 8"):
        specs.parse(8)


def test_quantize_by_a_bare_format():
    x = np.array([[0.3, -500, 0, np.nan]], np.float32)
    tensor = specs.quantize(x, pr.E4M3)
    assert tensor.block == (None, None) and tensor.scale.tolist() == [[1]]
    np.testing.assert_array_equal(tensor.dequantize(), pr.round_to(x, pr.E4M3))
    with pytest.raises(ValueError, match="NaN"):
        specs.quantize(x, pr.E2M1)
    np.testing.assert_array_equal(specs.quantize(x, pr.E2M1, nan=0.0).dequantize(), [[0.5, -6, 0, 0]])
    assert np.isnan(specs.quantize(x, pr.E4M3, nan=0.0).dequantize()[0, 3])


def test_quantize_by_a_spec():
    x = np.random.default_rng(0).standard_normal((4, 200), np.float32)
    for spec in (pr.MXFP4, pr.LogFMT(6)):
        a, b = specs.quantize(x, spec, 0), pr.quantize(x, spec, axis=0)
        np.testing.assert_array_equal(a.dequantize(), b.dequantize())


def test_what_suits_a_shape():
    for spec in (pr.MXFP4, pr.LogFMT(8), pr.BF16):
        specs.check_suits(spec, (3, 5), -2)
        with pytest.raises(ValueError, match="axis must lie in"):
            specs.check_suits(spec, (3, 5), 2)
    with pytest.raises(ValueError, match="at least 2 axes"):
        specs.check_suits(pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 2)), (5,))
