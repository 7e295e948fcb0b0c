"""Scale rules: each is declared once, and whatever knows of rules asks the declaration."""

import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import find, settings

import precision as pr
from precision.formats import E2M1, E4M3, E5M2, FP32, INT8, MXINT8, UE5M3, FloatFormat, Format
from precision.quantization import PerGroup, QuantSpec, ScaleRule
from precision.quantization._scale_rules import Recipe, ScaleFormula
from precision.specs import quantize
from precision.studies import _parameters, study
from precision.testing import strategies as pst
from precision.testing.blocks import _expected_blocks, _scale_mistakes

ELEMENTS = [E4M3, E5M2, E2M1, INT8, MXINT8]


def _power(name: str):
    def scales(amax: np.float32, fmt: Format) -> set[float]:
        places = fmt.fraction_bits if isinstance(fmt, FloatFormat) else fmt.bits - 2
        exponent = reference.scale_exponent(name, Fraction(float(amax)), Fraction(fmt.max), places)
        return {2.0**exponent}

    return scales


def _reciprocal_power(amax: np.float32, fmt: Format) -> set[float]:
    product = np.float32(amax * (np.float32(1) / np.float32(fmt.max)))
    mantissa, exponent = math.frexp(product)
    return {math.ldexp(0.5 if mantissa == 0.5 else 1.0, exponent)}


def _quotient(amax: np.float32, fmt: Format) -> set[float]:
    return {float(amax / np.float32(fmt.max))}


def _either(amax: np.float32, fmt: Format) -> set[float]:
    """1.5 times the scale is taken where its errors are the lower ones, which other tests hold to oracles."""
    scale = amax / np.float32(fmt.max)
    return {float(scale), float(np.float32(scale * np.float32(1.5)))}


#: Each rule, and the scales in FP32 that it may give a positive normal amax, found without the package.
DEFINITIONS = {
    "AMAX": _quotient,
    "FLOOR": _power("floor"),
    "CEIL": _power("ceil"),
    "RCEIL": _power("rceil"),
    "RCEIL_RECIPROCAL": _reciprocal_power,
    "EVEN": _power("even"),
    "FOUR_OVER_SIX_MAE": _either,
    "FOUR_OVER_SIX_MSE": _either,
}


@pytest.mark.parametrize("rule", ScaleRule, ids=str)
def test_every_rule_is_held_to_a_definition(rule: ScaleRule) -> None:
    """A new rule needs an entry in DEFINITIONS."""
    rng = np.random.default_rng(5)
    amax = (rng.uniform(1, 2, 400) * 2.0 ** rng.integers(-20, 20, 400)).astype(np.float32)
    amax[:40] = 2.0 ** np.arange(-20, 20)
    amax[40:80] = np.nextafter(amax[:40], np.float32(np.inf))
    for fmt in ELEMENTS:
        x = np.zeros((amax.size, 4), np.float32)
        x[:, 2], x[:, 1] = -amax, amax / 3
        scale = quantize(x, QuantSpec(fmt, PerGroup(4), scale_rule=rule)).scale[:, 0]
        wrong = [
            a for a, s in zip(amax, scale, strict=True) if float(s) not in DEFINITIONS[rule.name](a, fmt)
        ]
        assert not wrong, (fmt, wrong[:3])


@pytest.mark.parametrize("rule", ScaleRule, ids=str)
def test_every_rule_is_declared_in_full(rule: ScaleRule) -> None:
    """The recipe, the table of the page, the texts and the strategies all have the rule."""
    recipes = [rule.recipe(fmt) for fmt in (*ELEMENTS, FP32, UE5M3, pr.parse_format("uint8"))]
    assert len({(recipe.formula, recipe.errors) for recipe in recipes}) == 1
    for recipe in recipes:
        assert 0 <= recipe.added < 2**56 and (recipe.added == 0 or recipe.formula is ScaleFormula.POWER)
        assert (recipe.factor == 1) == (recipe.formula is not ScaleFormula.POWER_OF_PRODUCT)
        assert recipe.errors is None or recipe.formula is ScaleFormula.QUOTIENT
    kinds = rule.gives_powers_of_two, rule.tries_two_scales, rule.only_divides
    assert sum(kinds) == 1
    assert re.search(rf"^    {rule.name} ", ScaleRule.__doc__ or "", re.MULTILINE)
    assert ScaleRule(rule.value) is rule and pickle.loads(pickle.dumps(rule)) is rule
    spec = QuantSpec(E4M3, PerGroup(4), scale_rule=rule)
    assert QuantSpec.parse(str(spec)) == spec
    command = study("quantize").command
    assert command is not None
    (option,) = [option for option in command.options if option.name == "rule"]
    assert option.kind(rule.name.lower()) is rule and re.search(rf"\b{rule.name}\b", option.help)
    assert _parameters.scale_rule("rule")(rule.name) is rule
    found = find(
        pst.specs(every_field=True),
        lambda spec: spec.scale_rule is rule,
        settings=settings(max_examples=5000),
    )
    assert found.scale_rule is rule


@pytest.mark.parametrize("more", [1, 15])
@pytest.mark.parametrize("group", [32, 5], ids=["short groups", "any group"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rule_may_give_larger_powers(more: int, group: int, dtype: type) -> None:
    """Each 2**52 that a recipe adds doubles the scale once more."""
    rng = np.random.default_rng(6)
    x = np.zeros((900, group), np.float32)
    x[:, 0] = rng.uniform(1, 2, 900) * 2.0 ** rng.integers(-149, 127, 900)
    x[:5, 0] = 0, 2.0**-149, 2.0**-126, 2.0**127, np.finfo(np.float32).max
    fraction, exponent = np.frexp(x[:, 0])
    recipe = Recipe(ScaleFormula.POWER, added=(more + 1 << 52) - 1)
    rule = object.__new__(ScaleRule)  # no member, so that caches of other rules stay as they are
    rule._name_, rule._value_, rule._sample = f"CEIL_AND_{more}", f"ceil_and_{more}", recipe
    rule._recipe = lambda fmt: recipe
    for fmt in (E4M3, E2M1, MXINT8):
        spec = QuantSpec(fmt, PerGroup(group), scale_format=pr.E8M0, scale_rule=rule)
        scale = quantize(x.astype(dtype), spec).scale.astype(np.float64)
        powers = exponent - (fraction == 0.5) - math.frexp(fmt.max)[1] + 1 + more
        powers[fraction == 0] = -127
        assert np.array_equal(scale[:, 0], 2.0 ** np.clip(powers, -127, 127))


@pytest.mark.parametrize("rule", ScaleRule, ids=str)
def test_every_rule_is_a_mistake_that_the_checks_know(rule: ScaleRule) -> None:
    declared = ScaleRule.AMAX if rule is not ScaleRule.AMAX else ScaleRule.FLOOR
    spec = QuantSpec(E2M1, PerGroup(16), scale_format=E4M3, scale_rule=declared)
    names = [name for name, _ in _scale_mistakes.scale_rules(_expected_blocks.Reference(spec, axis=-1), [])]
    nearest = "scale rounded to nearest instead of FLOOR"
    assert (nearest if rule.only_divides else f"scale rule {rule} instead of AMAX") in names
