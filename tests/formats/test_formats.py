"""Formats: limits, codes, names, and agreement with ml_dtypes and with the oracle's decoder."""

import dataclasses
import math
import os
import pickle
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import reference

from precision import formats
from precision.formats import (
    E2M1,
    E4M3,
    E5M2,
    E8M0,
    E8M13,
    FP16,
    FP32,
    FP64,
    NAMED,
    TF32,
    FloatFormat,
    IntFormat,
    Specials,
    _format_text,
    format_of,
    parse_format,
)

ML_DTYPES = [
    "bfloat16",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]

# FACTS A1 and A4: bias, max, min normal, min subnormal, NaN code, Inf code
LIMITS = {
    "e4m3": (7, 448, 2**-6, 2**-9, 0x7F, None),
    "e5m2": (15, 57344, 2**-14, 2**-16, 0x7E, 0x7C),
    "float8_e4m3": (7, 240, 2**-6, 2**-9, 0x7C, 0x78),
    "e4m3b11fnuz": (11, 30, 2**-10, 2**-13, 0x80, None),
    "e4m3fnuz": (8, 240, 2**-7, 2**-10, 0x80, None),
    "e5m2fnuz": (16, 57344, 2**-15, 2**-17, 0x80, None),
    "e3m4": (3, 15.5, 2**-2, 2**-6, 0x78, 0x70),
    "e8m0": (127, 2.0**127, 2.0**-127, None, 0xFF, None),
    "e2m3": (1, 7.5, 1, 2**-3, None, None),
    "e3m2": (3, 28, 2**-2, 2**-4, None, None),
    "e2m1": (1, 6, 1, 0.5, None, None),
    "bf16": (127, (2 - 2**-7) * 2.0**127, 2.0**-126, 2.0**-133, 0x7FC0, 0x7F80),
    "fp16": (15, 65504, 2**-14, 2**-24, 0x7E00, 0x7C00),
    "tf32": (127, (2 - 2**-10) * 2.0**127, 2.0**-126, 2.0**-136, 0x3FE00, 0x3FC00),
    "e8m13": (127, (2 - 2**-13) * 2.0**127, 2.0**-126, 2.0**-139, 0x1FF000, 0x1FE000),
    "fp32": (127, (2 - 2**-23) * 2.0**127, 2.0**-126, 2.0**-149, 0x7FC00000, 0x7F800000),
    "ue4m3": (7, 448, 2**-6, 2**-9, 0x7F, None),
    "ue5m3": (15, 114688, 2**-14, 2**-17, 0xFF, None),
    "binary8p3se": (16, 49152, 2**-15, 2**-17, 0x80, 0x7F),
    "binary8p3sf": (16, 57344, 2**-15, 2**-17, 0x80, None),
    "binary8p4se": (8, 224, 2**-7, 2**-10, 0x80, 0x7F),
    "binary8p4sf": (8, 240, 2**-7, 2**-10, 0x80, None),
    "binary8p4ue": (16, 53248, 2**-15, 2**-18, 0xFF, 0xFE),
    "binary8p4uf": (16, 57344, 2**-15, 2**-18, 0xFF, None),
    "binary8p1uf": (128, 2.0**126, 2.0**-127, None, 0xFF, None),
    "binary4p2sf": (2, 3, 0.5, 0.25, 0x8, None),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    fmt = FloatFormat.parse(name)
    limits = (fmt.bias, fmt.max, fmt.min_normal, fmt.min_subnormal, fmt.nan_code, fmt.inf_code)
    assert limits == LIMITS[name]
    assert fmt.smallest == (fmt.min_subnormal or fmt.min_normal)
    assert fmt.max_exponent == math.floor(math.log2(fmt.max))
    assert fmt.min_exponent == math.log2(fmt.min_normal)
    assert (fmt.has_nan, fmt.has_inf) == (fmt.nan_code is not None, fmt.inf_code is not None)


@pytest.mark.parametrize("name", ML_DTYPES)
def test_every_code_of_ml_dtypes(name):
    fmt = FloatFormat.parse(name)
    assert fmt.dtype == np.dtype(getattr(ml_dtypes, name)) and format_of(fmt.dtype) == fmt
    codes = np.arange(1 << fmt.bits, dtype=fmt.code_dtype)
    values = np.array([fmt.value(int(code)) for code in codes])
    with np.errstate(invalid="ignore"):
        theirs = codes.view(fmt.dtype).astype(np.float64)
    np.testing.assert_array_equal(values, theirs)
    finite = np.isfinite(theirs) & (theirs != 0)
    assert np.array_equal(np.signbit(values[theirs == 0]), np.signbit(theirs[theirs == 0]))
    assert fmt.max == theirs[finite].max() and fmt.smallest == np.abs(theirs[finite]).min()


def test_every_type_of_ml_dtypes_is_known():
    kinds = {
        np.dtype(getattr(ml_dtypes, name))
        for name in dir(ml_dtypes)
        if name in ml_dtypes.__all__ and isinstance(getattr(ml_dtypes, name), type) and "float" in name
    }
    assert {np.dtype(getattr(ml_dtypes, name)) for name in ML_DTYPES} == kinds
    for kind in kinds:
        assert format_of(kind).dtype == kind


def oracle(fmt: FloatFormat) -> reference.Format:
    specials = fmt.specials.value
    if not fmt.signed and specials == "fnuz":
        specials = "fn"
    return reference.Format(
        fmt.exponent_bits, fmt.fraction_bits, fmt.bias, fmt.signed, specials, fmt.subnormals
    )


@pytest.mark.parametrize(
    "fmt",
    [
        *(fmt for fmt in NAMED.values() if isinstance(fmt, FloatFormat) and fmt.bits <= 12),
        FloatFormat(1, 2),
        FloatFormat(3, 0, specials=Specials.NONE, subnormals=False),
        FloatFormat(3, 2, specials=Specials.FN, subnormals=False, bias=-2),
        FloatFormat(5, 3, signed=False),
        FloatFormat(4, 3, signed=False, specials=Specials.EXTENDED),
        FloatFormat(8, 0, specials=Specials.EXTENDED),
    ],
    ids=str,
)
def test_values_against_the_oracle(fmt):
    for code in range(1 << fmt.bits):
        want = reference.decode(code, oracle(fmt))
        assert reference.from_float(fmt.value(code)) == want
    assert fmt.max == max(x for x, _ in reference.values(oracle(fmt)))


def test_names_parse_back():
    for name, fmt in NAMED.items():
        assert str(fmt) == name and parse_format(name) == fmt and parse_format(f" {name.upper()} ") == fmt
    for fmt in (
        FloatFormat(4, 3, bias=9, specials=Specials.FNUZ),
        FloatFormat(5, 2, specials=Specials.FN),
        FloatFormat(3, 4, signed=False, specials=Specials.FN),
        FloatFormat(3, 4, signed=False),
        FloatFormat(2, 1, specials=Specials.FN),
        FloatFormat(6, 3, subnormals=False),
        FloatFormat(8, 7, specials=Specials.EXTENDED),
        IntFormat(6),
        IntFormat(8, symmetric=False),
        IntFormat(5, signed=False, fraction_bits=3),
    ):
        assert parse_format(str(fmt)) == fmt


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("e4m3fn", "e4m3"),
        ("float8_e4m3fn", "e4m3"),
        ("float8_e4m3", "float8_e4m3"),
        ("E5M10", "fp16"),
        ("float16", "fp16"),
        ("e8m10", "tf32"),
        ("fp22", "e8m13"),
        ("ue8m0", "e8m0"),
        ("e2m1fn", "e2m1"),
        ("binary8p4sf", "e4m3fnuz"),
        ("binary8p4ue", "binary8p4ue"),
        ("e6m5", "e6m5"),
        ("FloatFormat(4, 3, bias=9, specials=FNUZ)", "FloatFormat(4, 3, bias=9, specials=FNUZ)"),
        ("FloatFormat(5, 10)", "fp16"),
        ("IntFormat(8, fraction_bits=6)", "mxint8"),
    ],
)
def test_other_spellings(text, printed):
    assert str(parse_format(text)) == printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("e4m3fm", "near: .*e4m3"),
        ("bfloat17", "near: bfloat16"),
        ("", "examples: e4m3"),
        ("e9m2", "exponent_bits must lie in 1..8, got 9"),
        ("e4m24", "fraction_bits must lie in 0..23, got 24"),
        ("e5m0", "at least 1 fraction bit"),
        ("e8m23fn", "has values that no float32 holds"),
        ("binary4p6sf", "exponent_bits must lie in 1..8"),
        ("FloatFormat(4, 3, bias=__import__('os'))", "no format"),
        ("FloatFormat(4)", "fraction_bits"),
        ("e4m3 + 1", "no format"),
    ],
)
def test_unknown_names(text, message):
    with pytest.raises(ValueError, match=message):
        parse_format(text)


def test_parse_keeps_kinds_apart():
    assert IntFormat.parse("int4") == IntFormat(4) and FloatFormat.parse("e2m1") == E2M1
    with pytest.raises(ValueError, match="'int8' is of class IntFormat, must be of FloatFormat"):
        FloatFormat.parse("int8")
    with pytest.raises(ValueError, match="'e4m3' is of class FloatFormat, must be of IntFormat"):
        IntFormat.parse("e4m3")
    with pytest.raises(TypeError, match="text must be a str, got 3"):
        parse_format(3)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 3), {}, ValueError, "exponent_bits must lie in 1..8, got 0"),
        ((4, -1), {}, ValueError, "fraction_bits must lie in 0..23, got -1"),
        ((4.0, 3), {}, TypeError, "exponent_bits must be an int, got 4.0"),
        ((4, 3), {"bias": 1.5}, TypeError, "bias must be an int, got 1.5"),
        ((4, 3), {"specials": "fn"}, TypeError, "specials must be a Specials, got 'fn'"),
        ((4, 3), {"signed": 1}, TypeError, "signed must be a bool, got 1"),
        ((4, 3), {"bias": -120}, ValueError, "no float32 holds"),
        ((4, 3), {"bias": 150}, ValueError, "no float32 holds"),
        ((8, 23), {"bias": 128}, ValueError, "no float32 holds"),
        ((1, 0), {"specials": Specials.FN}, ValueError, "no positive finite value"),
        ((4, 3), {"specials": Specials.FNUZ, "subnormals": False}, ValueError, "subnormals=True"),
        ((11, 52), {"bias": 1000}, ValueError, "FP64 only"),
        ((11, 10), {}, ValueError, "exponent_bits must lie in 1..8, got 11"),
    ],
)
def test_impossible_float_formats(arguments, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        FloatFormat(*arguments, **options)


@pytest.mark.parametrize(
    ("bits", "options", "message"),
    [
        (0, {}, "bits must lie in 2..16, got 0"),
        (1, {}, "bits must lie in 2..16, got 1"),
        (17, {"signed": False}, "bits must lie in 1..16, got 17"),
        (8, {"fraction_bits": -1}, "fraction_bits must lie in 0..24, got -1"),
    ],
)
def test_impossible_integer_formats(bits, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        IntFormat(bits, **options)


def test_integer_limits():
    assert (IntFormat(8).max, IntFormat(8).min, IntFormat(8, symmetric=False).min) == (127, -127, -128)
    assert IntFormat(8, fraction_bits=6).max == 1.984375 and IntFormat(8).value(0x80) == -128
    assert IntFormat(4, signed=False, symmetric=False) == formats.UINT4
    kinds = [fmt.dtype.name for fmt in map(parse_format, ("int8", "uint8", "int4", "uint4", "int2", "uint1"))]
    assert kinds == ["int8", "uint8", "int4", "uint4", "int2", "uint1"]
    assert IntFormat(6).dtype == np.uint8 and IntFormat(12).dtype == np.uint16


def test_equality_is_by_value():
    assert FloatFormat(5, 2) == E5M2 == FloatFormat(5, 2, bias=15) != E4M3
    assert len({FloatFormat(5, 10), FP16, parse_format("fp16")}) == 1
    assert {TF32.dtype, E8M13.dtype} == {np.dtype(np.uint32)} and FP64.dtype == np.float64
    assert FP32.max == float(np.finfo(np.float32).max) and FP64.max == float(np.finfo(np.float64).max)
    assert not E8M0.has_zero and not E8M0.has_negative_zero and E4M3.has_negative_zero


def test_value_checks_its_code():
    with pytest.raises(ValueError, match=re.escape("code must lie in 0..255, got 256")):
        E4M3.value(256)


def test_format_of_unknown_type():
    with pytest.raises(ValueError, match=r"no format has dtype complex64; known: .*float8_e4m3fn"):
        format_of(np.complex64)


def test_formats_start_no_compiler():
    program = "import precision.formats, precision.quantization, sys; assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_constants_are_the_named_formats():
    constants = {
        n: f for n, f in vars(formats).items() if n.isupper() and isinstance(f, FloatFormat | IntFormat)
    }
    assert len(constants) == 28 and set(constants.values()) <= set(NAMED.values())
    spelled = {n: str(f) for n, f in constants.items() if n != "E4M3_IEEE"}
    assert spelled == {n: n.lower() for n in spelled}


def test_pickles_hold_fields_alone():
    """A hash kept by one process is not that of another, where texts hash differently."""
    for fmt in NAMED.values():
        assert hash(fmt) == hash(fmt) and fmt.max > 0 and fmt.dtype is not None
        state = fmt.__getstate__()
        assert set(state) == {field.name for field in dataclasses.fields(fmt)}
        again = pickle.loads(pickle.dumps(fmt))
        assert again == fmt and hash(again) == hash(fmt) and again.dtype == fmt.dtype
    data = pickle.dumps(NAMED["e4m3"])
    program = f"import pickle, precision as pr; print(pickle.loads({data!r}) in {{pr.E4M3}})"
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True
        )
        assert found.stdout.split() == [b"True"], found.stderr


def test_a_format_has_one_name():
    with pytest.raises(ValueError, match=r"name must be the only one of FloatFormat\(5, 2\), got 'again'"):
        _format_text.enter("again", "FloatFormat(5, 2)", None, ())
    assert formats.format_of(np.int8) == formats.INT8 and parse_format("fp22") == formats.E8M13
