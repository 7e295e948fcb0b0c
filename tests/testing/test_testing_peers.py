"""The checks on other libraries: silent where they conform, and right about where they do not.

torch, torchao and gfloat are not in the dev extra: what is not installed is skipped. Versions that the
expectations were written for: ml_dtypes 0.6, torch 2.13 (CPU), torchao 0.18, gfloat 0.5.
"""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision.testing import check_dequantizer, check_quantizer

LOUD = pr.Overflow.NON_SATURATING
FLOATS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e3m4", "float8_e4m3fnuz"]
FLOATS += ["bfloat16", "float16"]
NARROW = ["float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"]


def kind_of(name):
    return np.dtype(getattr(ml_dtypes, name, name))


def missing(report):
    return {outcome.name: outcome.cause for outcome in report.failed}


@pytest.mark.parametrize("name", FLOATS + NARROW)
def test_ml_dtypes(name):
    kind = kind_of(name)
    fmt = pr.format_of(kind)
    overflow = LOUD if name in FLOATS else pr.Overflow.SATURATE
    report = check_quantizer(lambda x: x.astype(kind), fmt, overflow=overflow)
    assert report.ok, str(report)
    assert check_dequantizer(lambda codes: codes.astype(np.float32), fmt).ok
    if name in FLOATS:
        report = check_quantizer(lambda x: x.astype(kind), fmt)
        assert missing(report) == {"overflow rule": "does not saturate"}, str(report)


def test_ml_dtypes_where_it_does_not_conform():
    for name in ("int4", "uint4"):
        kind = kind_of(name)
        report = check_quantizer(lambda x, kind=kind: x.astype(kind), pr.format_of(kind))
        assert report.causes == ("truncates, and overflow wraps around",), str(report)
    report = check_quantizer(
        lambda x: x.astype(ml_dtypes.float8_e4m3fn), pr.E4M3, overflow=LOUD, dtype=np.float64
    )
    assert report.causes == ("double rounding through float32",), str(report)
    report = check_quantizer(lambda x: x.astype(ml_dtypes.float8_e8m0fnu), pr.E8M0, overflow=LOUD)
    assert report["tie rule"].cause == "ties away from zero"
    # Just above 2^-127, float32's subnormals go up to 2^-126.
    assert report["nearest value"].example == "5.877473e-39 (0x00400001)"


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "bfloat16", "float16"])
def test_torch(name):
    torch = pytest.importorskip(
        "torch", minversion="2.13", reason="no extra brings PyTorch: pip install torch==2.13.0"
    )
    fmt = pr.format_of(kind_of(name))
    overflow = pr.Overflow.SATURATE if name == "float8_e4m3fn" else LOUD
    fn = lambda x: x.to(getattr(torch, name))  # noqa: E731
    report = check_quantizer(fn, fmt, overflow=overflow, convert=torch.from_numpy)
    assert report.ok, str(report)
    other = LOUD if overflow is pr.Overflow.SATURATE else pr.Overflow.SATURATE
    report = check_quantizer(fn, fmt, overflow=other, convert=torch.from_numpy)
    cause = "saturates" if other is LOUD else "does not saturate"
    assert missing(report) == {"overflow rule": cause}, str(report)


@pytest.mark.parametrize("fmt", [pr.E4M3, pr.E5M2, pr.E2M3, pr.E3M2, pr.E2M1], ids=str)
def test_gfloat(fmt):
    gfloat = pytest.importorskip("gfloat", reason="no extra brings peers: pip install gfloat")
    known = pytest.importorskip("gfloat.formats")
    info = getattr(known, f"format_info_ocp_{fmt}")
    for overflow in pr.Overflow if fmt.has_nan else (pr.Overflow.SATURATE,):

        def fn(x, sat=overflow is pr.Overflow.SATURATE):
            return np.asarray(gfloat.round_ndarray(info, x.astype(np.float64), sat=sat), np.float32)

        report = check_quantizer(fn, fmt, overflow=overflow)
        assert report.ok, str(report)


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL", "EVEN", "RCEIL"])
def test_torchao(mode):
    torch = pytest.importorskip(
        "torch", minversion="2.13", reason="no extra brings PyTorch: pip install torch==2.13.0"
    )
    pytest.importorskip("torchao")
    config = pytest.importorskip("torchao.prototype.mx_formats.config")
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")

    def fn(x):
        scale, data = mx.to_mx(x, torch.float8_e4m3fn, 32, config.ScaleCalculationMode[mode])
        return data, scale

    spec = replace(pr.MXFP8_E4M3, scale_rule=pr.ScaleRule[mode])
    report = check_quantizer(fn, spec, convert=torch.from_numpy, ragged=False)
    wrong = missing(report)
    assert wrong.pop("NaN and Inf").startswith("a block with Inf has the scale")
    small = wrong.pop("subnormals")
    if mode == "RCEIL":
        assert wrong == dict.fromkeys(("scale rule", "scale range"), "ceil of float32 log2 of amax / max")
    else:
        assert wrong == {} and small == "scales below 2^-126 divided as 2^-126"
