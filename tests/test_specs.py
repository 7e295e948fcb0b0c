"""Specs and bare formats in one language, and quantizing by either."""

from __future__ import annotations

import numpy as np
import pytest

import precision as pr
from precision import specs
from precision.formats import IntFormat
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
        ("INT9", "near names: INT8, INT4, INT2$"),  # each once, however it is written
    ],
)
def test_refusals(text, message):
    with pytest.raises(ValueError, match=message):
        specs.parse(text)


def test_a_spec_is_an_attribute_by_one_line_alone(monkeypatch):
    """An entry is enough: text, attribute and tab completion follow."""
    monkeypatch.setattr(_quant_spec, "SPECS", dict(_quant_spec.SPECS))
    mine = _quant_spec.name_spec("INT4_G64", pr.QuantSpec(IntFormat(4), pr.PerGroup(64), scale_format=pr.FP16))
    room = pr.quantization
    assert room.INT4_G64 is mine and "INT4_G64" in dir(room) and str(mine) == "INT4_G64"
    assert specs.parse("int4_g64") == mine and {*room.__all__, "NVFP4"} <= set(dir(room))
    with pytest.raises(AttributeError, match=r"has no attribute 'INT4_G46' \(did you mean 'INT4_G64'"):
        _ = room.INT4_G46
    with pytest.raises(AttributeError, match=r"has no attribute '_microscale'$"):
        _ = room._microscale


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


def test_there_is_one_quantize():
    assert pr.quantize is specs.quantize and not hasattr(pr.quantization, "quantize")


@pytest.mark.parametrize(
    "spec", [pr.MXFP4, pr.LogFMT(6), pr.NVFP4, pr.QuantSpec(pr.E4M3, pr.PerTensor())], ids=str
)
def test_quantize_by_a_spec_its_method_and_its_text(spec):
    x = np.random.default_rng(0).standard_normal((4, 200), np.float32)
    by_method = spec.quantize(x, axis=0)
    for tensor in (pr.quantize(x, spec, axis=0), pr.quantize(x, str(spec), axis=0), pr.quantize(x, spec, 0)):
        assert type(tensor) is type(by_method)
        np.testing.assert_array_equal(tensor.codes.view(np.uint8), by_method.codes.view(np.uint8))
        np.testing.assert_array_equal(tensor.dequantize(), by_method.dequantize())


def test_quantize_by_the_text_of_a_bare_format():
    x = np.array([[0.3, -500, 0, 1e-9]], np.float32)
    tensor = pr.quantize(x, "bf16")
    assert isinstance(tensor, pr.QuantizedTensor) and tensor.fmt == pr.BF16
    np.testing.assert_array_equal(tensor.dequantize(), pr.round_to(x, pr.BF16))


def test_quantize_by_a_bare_format_into_a_tensor():
    x = np.array([[0.3, -500, 0, 7]], np.float32)
    out = pr.quantize(np.full_like(x, 3), pr.E4M3)
    out.scale[...] = 2
    again = pr.quantize(x, pr.E4M3, out=out)
    assert np.shares_memory(again.codes, out.codes) and out.scale.tolist() == [[1]]
    np.testing.assert_array_equal(out.dequantize(), pr.round_to(x, pr.E4M3))
    with pytest.raises(ValueError, match="out must have fmt e4m3, got e5m2"):
        pr.quantize(x, pr.E4M3, out=pr.quantize(x, pr.E5M2))
    with pytest.raises(TypeError, match="out must be a QuantizedTensor, got ndarray"):
        pr.quantize(x, pr.E4M3, out=x)


@pytest.mark.parametrize(
    "spec",
    [*_quant_spec.SPECS.values(), pr.QuantSpec(pr.E4M3, pr.PerGroup(128)),
     pr.QuantSpec(pr.IntFormat(8), pr.PerBlock(4, 2), rounding=pr.Stochastic(8, seed=3), min_amax=1e-4)]
)  # fmt: skip
def test_the_repr_of_a_spec_is_its_text(spec):
    assert repr(spec) == str(spec) and specs.parse(repr(spec)) == spec
    assert repr([spec]) == f"[{spec}]"


def test_reprs():
    assert repr(pr.MXFP8_E4M3) == "MXFP8_E4M3"
    assert repr(pr.QuantSpec(pr.E4M3, pr.PerGroup(128))) == "QuantSpec(e4m3, PerGroup(128))"


def test_what_suits_a_shape():
    for spec in (pr.MXFP4, pr.LogFMT(8), pr.BF16):
        specs.check_suits(spec, (3, 5), -2)
        with pytest.raises(ValueError, match="axis must lie in"):
            specs.check_suits(spec, (3, 5), 2)
    with pytest.raises(ValueError, match="at least 2 axes"):
        specs.check_suits(pr.QuantSpec(pr.E4M3, pr.PerBlock(2, 2)), (5,))
