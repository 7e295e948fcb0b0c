"""Accumulators as records: what they print, what they refuse, and their named forms."""

import dataclasses
import importlib
import sys

import numpy as np
import pytest
from hypothesis import given

import precision as pr
from precision import accumulators, bounds
from precision.accumulators import _accumulator_text, _operand_layout
from precision.formats import parse_format
from precision.testing.strategies import _unit_strategies

FORMS = [
    *accumulators.NAMED.values(),
    pr.HOPPER_FP8.promoted(128),
    pr.HOPPER_FP8.with_width(10),
    pr.HOPPER_FP8.with_width(25).promoted(64),
    pr.HOPPER_FP8_ACC16.with_width(20),
    pr.FP32_FMA.promoted(1),
    pr.FusedSum((pr.FP16,), 8, fraction_bits=24, min_exponent=-132),
    pr.FusedSum((pr.E4M3, parse_format("e5m6")), 4, fraction_bits=9, promotion=48),
    pr.FusedSum(
        (pr.FloatFormat(4, 3, bias=9, specials=pr.Specials.FNUZ),),
        1,
        fraction_bits=30,
        register=parse_format("e6m9"),
        alignment_rounding=pr.Rounding.TO_ODD,
        register_rounding=pr.Rounding.TIES_TO_AWAY,
    ),
]


@pytest.mark.parametrize("accumulator", FORMS, ids=str)
def test_text_reads_back(accumulator):
    assert pr.parse_accumulator(str(accumulator)) == accumulator


@given(_unit_strategies.accumulators() | _unit_strategies.fused_sums(scaled=None))
def test_any_text_reads_back(unit):
    assert pr.parse_accumulator(str(unit)) == unit


def test_named_forms_print_short():
    assert str(pr.HOPPER_FP8) == "HOPPER_FP8"
    assert str(pr.HOPPER_FP8.with_width(13)) == "HOPPER_FP8"
    assert str(pr.HOPPER_FP8.promoted(128).with_width(10)) == "HOPPER_FP8.with_width(10).promoted(128)"
    assert pr.parse_accumulator("hopper_fp8.promoted(64)") == pr.HOPPER_FP8.promoted(64)


def test_with_width_moves_the_register_too():
    assert pr.HOPPER_FP8.with_width(10).register == pr.FloatFormat(8, 10)
    assert pr.HOPPER_FP8.with_width(30).register == pr.FP32
    assert pr.HOPPER_BF16.with_width(25) == pr.HOPPER_BF16
    assert pr.HOPPER_FP16_ACC16.with_width(10).register == pr.FP16
    assert pr.HOPPER_FP8.promoted(None) == pr.HOPPER_FP8


def test_named_units_are_what_was_measured():
    """FACTS 0.1: products, fraction bits, register and rounding; the floor of FP16 registers is an H200's."""
    rows = {
        "HOPPER_FP8": (32, 13, pr.E8M13, pr.Rounding.TOWARD_ZERO, -133),
        "HOPPER_FP8_ACC16": (32, 13, pr.FP16, pr.Rounding.TIES_TO_EVEN, -21),
        "HOPPER_FP16": (16, 25, pr.FP32, pr.Rounding.TOWARD_ZERO, -133),
        "HOPPER_BF16": (16, 25, pr.FP32, pr.Rounding.TOWARD_ZERO, -133),
        "HOPPER_FP16_ACC16": (16, 25, pr.FP16, pr.Rounding.TIES_TO_EVEN, -21),
        "HOPPER_TF32": (8, 25, pr.FP32, pr.Rounding.TOWARD_ZERO, -133),
    }
    for name, (products, bits, register, rounding, floor) in rows.items():
        unit = getattr(pr, name)
        assert (unit.products, unit.fraction_bits, unit.register) == (products, bits, register)
        assert (unit.register_rounding, unit.min_exponent) == (rounding, floor)
        assert unit.alignment_rounding is pr.Rounding.TOWARD_ZERO and unit.promotion is None


def unit(**changes):
    return dataclasses.replace(pr.HOPPER_FP8, **changes)


BAD = {
    "no operands": (lambda: unit(operands=()), TypeError, "operands must be a tuple"),
    "list of operands": (lambda: unit(operands=[pr.E4M3]), TypeError, "operands must be a tuple"),
    "integer operands": (
        lambda: unit(operands=(pr.IntFormat(8),)),
        TypeError,
        "operands must be FloatFormats",
    ),
    "wide operands": (lambda: unit(operands=(pr.FP64,)), ValueError, "float32 values, got fp64"),
    "products": (lambda: unit(products=0), ValueError, "products must lie in 1..1024, got 0"),
    "products' type": (lambda: unit(products=4.0), TypeError, "products must be an int, got 4.0"),
    "too wide": (lambda: unit(fraction_bits=31), ValueError, "fraction_bits must lie in 1..30, got 31"),
    "no width": (lambda: pr.HOPPER_FP8.with_width(0), ValueError, "bits must lie in 1..30, got 0"),
    "register's type": (lambda: unit(register="fp32"), TypeError, "register must be a FloatFormat"),
    "register without Inf": (lambda: unit(register=pr.E4M3), ValueError, "with Inf and NaN, got e4m3"),
    "deep register": (
        lambda: unit(register=pr.FloatFormat(5, 2, bias=140)),
        ValueError,
        "exponents of -126 and above",
    ),
    "rounding": (lambda: unit(register_rounding="rz"), TypeError, "register_rounding must be a Rounding"),
    "stochastic": (lambda: unit(alignment_rounding=pr.Stochastic()), TypeError, "alignment_rounding must be"),
    "floor": (lambda: unit(min_exponent=1), ValueError, "min_exponent must lie in -300..0, got 1"),
    "promotion": (
        lambda: pr.HOPPER_FP8.promoted(48),
        ValueError,
        "multiple of the unit's 32 products, got 48",
    ),
    "promotion 0": (lambda: pr.FP32_FMA.promoted(0), ValueError, "promotion must lie in 1"),
    "unknown name": (lambda: pr.parse_accumulator("HOPER_FP8"), ValueError, "near names: HOPPER_FP8"),
    "unknown form": (
        lambda: pr.parse_accumulator("HOPPER_FP8.wider(3)"),
        ValueError,
        "known: promoted, with_width",
    ),
    "a format": (lambda: pr.parse_accumulator("e4m3"), ValueError, "not an accumulator"),
    "no expression": (lambda: pr.parse_accumulator("HOPPER_FP8..x"), ValueError, "cannot be read"),
    "python": (lambda: pr.parse_accumulator("__import__('os')"), ValueError, "unknown name"),
    "bad argument": (
        lambda: pr.parse_accumulator("HOPPER_FP8.promoted(5)"),
        ValueError,
        "32 products, got 5",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_parameters_are_answered(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()


def half(units):
    """The FP16 number nearest to ``units * 2**-48``, ties to even, in the same units."""
    place = max(abs(units).bit_length() - 11, 24)
    whole, rest = divmod(units, 1 << place)
    return whole + (2 * rest + (whole & 1) > 1 << place) << place


@pytest.mark.parametrize("wide", [1, 4, 14])
def test_one_product_aligned_to_odd_is_a_chain_of_fp16_fused_multiply_adds(wide):
    chain = pr.FusedSum(
        (pr.FP16,),
        1,
        fraction_bits=30,
        register=pr.FP16,
        alignment_rounding=pr.Rounding.TO_ODD,
        register_rounding=pr.Rounding.TIES_TO_EVEN,
    )
    rng = np.random.default_rng(wide)
    for _ in range(40):
        exponents = rng.integers(-wide, min(wide, 5), (2, 60)) * 1.0
        a, b = (rng.standard_normal((2, 60)) * 2**exponents).astype(np.float16)
        register, steps = 0, []
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            register = half(register + int(x * 2**24) * int(y * 2**24))
            steps.append(register / 2**48)
        assert max(map(abs, steps)) < 65504
        assert pr.trace(a, b, accumulator=chain).register.tolist() == steps
        assert pr.matmul(a, b, accumulator=chain) == steps[-1]


NEW_KIND = """
from dataclasses import dataclass

import numpy as np

from precision.accumulators import ScaleEntry
from precision.accumulators.kinds._exact import Exact


@dataclass(frozen=True, repr=False)
class LastProduct(Exact):
    scale_entry = ScaleEntry.AFTER

    def trace(self, product):
        registers = np.arange(product.length, dtype=np.float32)
        return registers, registers
"""


@pytest.fixture
def last_product(tmp_path, monkeypatch):
    """An accumulator whose kind is a module of the folder of kinds, and is named nowhere else."""
    kinds = importlib.import_module(_accumulator_text.KINDS)
    (tmp_path / "_last_product.py").write_text(NEW_KIND)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    _accumulator_text._find_kinds.cache_clear()
    yield pr.parse_accumulator("LastProduct()")
    _accumulator_text._find_kinds.cache_clear()
    sys.modules.pop(f"{_accumulator_text.KINDS}._last_product")


def test_a_kind_is_one_module(last_product):
    assert str(last_product) == "LastProduct()" and type(last_product).__name__ == "LastProduct"
    assert set(_accumulator_text._find_kinds()) == {"Exact", "FmaChain", "FusedSum", "LastProduct"}


def test_a_kind_without_steps_has_a_trace_of_its_own_and_no_bound(last_product):
    ones = np.ones(3, pr.E4M3.dtype)
    steps = pr.trace(ones, ones, accumulator=last_product)
    assert steps.k.tolist() == [1, 2, 3] and steps.register.tolist() == [0.0, 1.0, 2.0]
    assert pr.trace(ones[:0], ones[:0], accumulator=last_product).k.tolist() == []
    for call in (
        lambda: bounds.error_bound(None, last_product, ones, ones),
        lambda: bounds.explain(np.float32(3), accumulator=last_product, a=ones, b=ones),
    ):
        with pytest.raises(TypeError, match=r"declare the step .*; LastProduct\(\) declares none"):
            call()


@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_of_a_left_operand_are_laid_out_in_chunks(transposed: bool) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (3, 5, 128), np.uint8)
    if transposed:
        codes = np.ascontiguousarray(codes.swapaxes(1, 2)).swapaxes(1, 2)
    grid = _operand_layout.panel_modules()[1].Grid(5, 4, 1, 128, 32, 4, 64, 1)
    stack = _operand_layout.Stack(codes, pr.E4M3)
    rows = _operand_layout.LeftRows(stack, 8, grid, 2, np.dtype(np.int8), False)
    values = pr.decode(codes.astype(np.uint8), pr.E4M3)
    expected = np.where(np.isnan(values), 0, values).reshape(3, 5, 4, 32).swapaxes(1, 2)
    rows.lay_out(1, 2, 1, 3)
    laid = rows.record.values.reshape(2, 4, 4, 32)
    assert laid[:, :, :3].tobytes() == expected[1:, :, 1:4].tobytes()
    marks = np.isnan(values).any(axis=2)
    marks[0] = marks[:, 0] = marks[:, 4] = False
    assert (rows.marks.reshape(3, 5) != 0).tolist() == marks.tolist()
