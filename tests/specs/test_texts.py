"""Texts of formats, specs, accumulators and rotations that nobody should write: what is said of each."""

from __future__ import annotations

import time

import pytest

import precision as pr
from precision import specs
from precision.studies import _parameters as reads
from precision.testing.blocks._quantizer_checks import parse_like

PARSERS = {
    "parse_format": pr.parse_format,
    "FloatFormat.parse": pr.FloatFormat.parse,
    "IntFormat.parse": pr.IntFormat.parse,
    "specs.parse": specs.parse,
    "QuantSpec.parse": pr.QuantSpec.parse,
    "LogFMT.parse": pr.LogFMT.parse,
    "parse_accumulator": pr.parse_accumulator,
    "Hadamard.parse": pr.Hadamard.parse,
}
READERS = {
    "testing.parse_like": parse_like,
    "granularity": reads.granularity("group"),
    "rounding": reads.rounding("rounding"),
    "whole": reads.whole("k"),
    "number": reads.number("offset"),
    "mode": reads.mode("mode"),
}
PARSERS_AND_READERS = PARSERS | READERS

LONG = 100_000
HOSTILE = {
    "a long name": "a" * LONG,
    "long spaces": "QuantSpec(e4m3," + " " * LONG + "PerTensor(),)x",
    "a long number": "9" * LONG,
    "open brackets": "(" * LONG,
    "open lists": "[" * LONG,
    "closed brackets": "(" * 150 + "x" + ")" * 150,
    "nested calls": "QuantSpec(" * 180 + ")" * 180,
    "nested subscripts": "x[" * 150 + "y" + "]" * 150,
    "a long chain": "HOPPER_FP8" + ".with_width(10)" * 600,
    "long attributes": "HOPPER_FP8" + ".x" * 4900,
    "signs": "-" * LONG + "1",
    "signs that fit": "-" * 9000 + "x",
    "nots": "not " * 2400 + "x",
    "a long sum": "1+" * 4900 + "1",
    "a long tuple": "1," * LONG,
    "a large number": "FloatFormat(4, 3, bias=0x" + "f" * 5000 + ")",
    "a large decimal": "FloatFormat(4, 3, bias=" + "9" * 5000 + ")",
    "a null byte": "e4m3\0",
    "a null byte inside": "QuantSpec(e4m3\0, PerTensor())",
    "half a pair": "e4m3\ud800",
    "other letters": "é" * 50,
    "other digits": "e٤m٣",
    "right to left": "\u202ee4m3",
    "an open string": "'",
    "an f-string": "FloatFormat(4, f'{3}')",
    "a set of lists": "FloatFormat(4, {[]})",
    "a star": "FloatFormat(*x)",
    "two stars": "FloatFormat(4, 3, **x)",
    "nothing": "",
    "a lambda": "lambda: 0",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("parse", PARSERS_AND_READERS.values(), ids=PARSERS_AND_READERS)
def test_hostile_texts_end_in_a_short_value_error(parse, text):
    start = time.process_time()
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert caught.type is ValueError
    assert len(str(caught.value)) < 2000  # a list of known names among it
    assert time.process_time() - start < 2


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_inside_of_calls(text):
    for call in (f"QuantSpec({text}, PerTensor())", f"QuantSpec(e4m3, PerGroup({text}))"):
        with pytest.raises(ValueError):
            pr.QuantSpec.parse(call)


def test_what_is_said_of_long_and_deep_texts():
    with pytest.raises(ValueError, match=r"^spec 'aaa.*a…' \(100000 characters\): it has 100000 characters"):
        pr.QuantSpec.parse("a" * LONG)
    with pytest.raises(ValueError, match=r"characters\): it is nested too deeply$"):
        pr.QuantSpec.parse("-" * 9000 + "1")
    with pytest.raises(ValueError, match=r"spec 'x\\x00': it has a null character"):
        specs.parse("x\0")
    with pytest.raises(ValueError, match=r"^no format 'aaa.*a…' \(100000 characters\); examples: e4m3"):
        pr.parse_format("a" * LONG)


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        ("parse_format", "FloatFormat(4, 3, bias=9, bias=7)", "argument 'bias' must be given once"),
        ("FloatFormat.parse", "FloatFormat(4, 3, bias=9, bias=9)", "argument 'bias' must be given once"),
        ("IntFormat.parse", "IntFormat(8, signed=False, signed=True)", "argument 'signed'"),
        ("specs.parse", "QuantSpec(e4m3, PerTensor(), min_amax=1.0, min_amax=2.0)", "argument 'min_amax'"),
        ("QuantSpec.parse", "QuantSpec(e4m3, PerGroup(n=8, n=16))", "argument 'n'"),
        ("QuantSpec.parse", "QuantSpec(FloatFormat(4, 3, bias=1, bias=2), PerTensor())", "argument 'bias'"),
        ("LogFMT.parse", "LogFMT(8, clamp=3, clamp=4)", "argument 'clamp'"),
        ("Hadamard.parse", "Hadamard(4, seed=1, seed=2)", "argument 'seed'"),
        ("parse_accumulator", "HOPPER_FP8.promoted(every=64, every=128)", "argument 'every'"),
        ("parse_accumulator", "FusedSum((e4m3,), 32, fraction_bits=13, fraction_bits=9)", "'fraction_bits'"),
        ("rounding", "Stochastic(bits=8, bits=9)", "argument 'bits'"),
        ("granularity", "PerBlock(1, 2, **x)", r"must be written one by one, got \*\*"),
        ("parse_format", "FloatFormat(4, 3, **x)", r"must be written one by one, got \*\*"),
        ("QuantSpec.parse", "QuantSpec(e4m3, PerTensor(), **x)", r"must be written one by one, got \*\*"),
        ("LogFMT.parse", "LogFMT(8, **{})", r"must be written one by one, got \*\*"),
        ("parse_accumulator", "HOPPER_FP8.promoted(128, **x)", r"must be written one by one, got \*\*"),
        ("Hadamard.parse", "Hadamard(4, **x)", r"must be written one by one, got \*\*"),
    ],
)
def test_repeated_keywords_and_unpacking_are_refused(parse, text, said):
    with pytest.raises(ValueError, match=said):
        PARSERS_AND_READERS[parse](text)


@pytest.mark.parametrize("given", [5, None, b"e4m3", 1.5, ["e4m3"], pr.E4M3], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
def test_what_is_no_text_is_named(parse, given):
    with pytest.raises(TypeError, match=r"^text must be a str, got "):
        parse(given)


def test_readers_name_the_parameter():
    for name, wrong in (("granularity", 5), ("rounding", 5), ("whole", 1.5), ("number", ()), ("mode", 5)):
        with pytest.raises(TypeError, match=r"^(group|rounding|k|offset|mode) must be "):
            READERS[name](wrong)


def test_long_texts_that_mean_something_are_read():
    signs = pr.Hadamard(1024, signs=(-1,) * 1024)
    assert pr.Hadamard.parse(str(signs)) == signs
    deep = pr.HOPPER_FP8.with_width(10).promoted(128)
    assert pr.parse_accumulator(f"  {deep}\n") == deep
    assert pr.QuantSpec.parse("QuantSpec(e4m3, PerTensor(), rounding=Stochastic(seed=0xffffffffffffffff))")


@pytest.mark.parametrize(
    "text",
    ["FloatFormat(4, 3, bias=-3)", "FloatFormat(+4, 3)", "FloatFormat(4, 3, specials=FN)", "e4m3", "ue5m3"],
)
def test_formats_are_read_alike_alone_and_in_a_spec(text):
    assert pr.QuantSpec.parse(f"QuantSpec({text}, PerTensor())").fmt == pr.parse_format(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FloatFormat(4, 3, bias=-True)", "cannot read '-True'"),
        ("FloatFormat([4], 3)", r"cannot read '\[4\]'"),
        ("FloatFormat(4, {[]})", r"cannot read '{\[\]}'"),
        ("FloatFormat(4, 1 + 2)", r"cannot read '1 \+ 2'"),
        ("FloatFormat(4, '3')", "fraction_bits must be an int, got '3'"),
        ("FloatFormat(4, 3, 2)", "positional argument"),
    ],
)
def test_formats_are_refused_alike_alone_and_in_a_spec(text, said):
    for parse, whole in ((pr.parse_format, text), (pr.QuantSpec.parse, f"QuantSpec({text}, PerTensor())")):
        with pytest.raises(ValueError, match=said):
            parse(whole)
