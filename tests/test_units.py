"""The catalogue of units: its face, its table of defaults, and the command that prints it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import precision as pr
from precision.cli._main import command
from precision.testing.strategies import _unit_strategies
from precision.units import CATALOGUE, DEFAULTS
from precision.units import _catalogue as catalogue
from precision.units._defaults import OperandKind, default_unit


def ran(*arguments):
    result = CliRunner().invoke(command, ["units", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_unit_is_an_attribute_by_one_line_alone(monkeypatch):
    """An entry is enough: attribute, tab completion, text and table follow."""
    monkeypatch.setattr(catalogue, "CATALOGUE", dict(CATALOGUE))
    monkeypatch.setattr("precision.accumulators._accumulator_text.NAMED", {})
    fields = {"gpus": ("X1",), "evidence": pr.units.Evidence.PROPOSED, "source": "nobody"}
    catalogue.unit("X1_BF16", pr.FusedSum((pr.BF16,), 8, fraction_bits=24), instruction="mma", **fields)
    assert str(pr.units.X1_BF16) == "X1_BF16" and "X1_BF16" in dir(pr.units)
    assert pr.parse_accumulator("X1_BF16.promoted(64)") == pr.units.X1_BF16.promoted(64)
    with pytest.raises(AttributeError, match="did you mean 'X1_BF16'"):
        _ = pr.units.X1_BF61


def test_strategies_draw_every_unit():
    assert sorted(map(str, _unit_strategies._UNITS)) == sorted(CATALOGUE)


def test_defaults_are_fixed():
    """A new unit does not change what products get where their caller names none."""
    mx, nv = OperandKind(pr.E2M1, pr.E8M0, 32), OperandKind(pr.E2M1, pr.E4M3, 16)
    chosen = {
        "E4M3": (OperandKind(pr.E4M3), OperandKind(pr.E4M3)),
        "E5M2 E4M3": (OperandKind(pr.E5M2), OperandKind(pr.E4M3, pr.FP32, 128)),
        "BF16": (OperandKind(pr.BF16),) * 2,
        "FP16": (OperandKind(pr.FP16),) * 2,
        "TF32": (OperandKind(pr.TF32),) * 2,
        "FP32": (OperandKind(pr.FP32),) * 2,
        "MXFP8 MXFP4": (OperandKind(pr.E4M3, pr.E8M0, 32), mx),
        "NVFP4": (nv, nv),
        "MXFP4 NVFP4": (mx, nv),
        "BF16 E4M3": (OperandKind(pr.BF16), OperandKind(pr.E4M3)),
        "E2M1": (OperandKind(pr.E2M1),) * 2,
        "FP64": (OperandKind(pr.FP64),) * 2,
    }
    assert {name: str(default_unit(*pair)) for name, pair in chosen.items()} == {
        "E4M3": "HOPPER_FP8", "E5M2 E4M3": "HOPPER_FP8", "BF16": "HOPPER_BF16", "FP16": "HOPPER_FP16",
        "TF32": "HOPPER_TF32", "FP32": "FP32_FMA", "MXFP8 MXFP4": "BLACKWELL_MX", "NVFP4": "BLACKWELL_NVFP4",
        "MXFP4 NVFP4": "None", "BF16 E4M3": "None", "E2M1": "None", "FP64": "None",
    }  # fmt: skip
    assert all(line.unit.name in CATALOGUE for line in DEFAULTS)
    assert all(line.unit.takes(fmt) == fmt for line in DEFAULTS for fmt in line.formats)


# ---- precision units -------------------------------------------------------------------------------------
def test_table_has_a_line_for_each_unit():
    lines = {line.split()[0]: line for line in ran().splitlines() if line and not line.startswith(" ")}
    assert set(CATALOGUE) <= set(lines)
    assert lines["HOPPER_FP8"].split() == [
        "HOPPER_FP8", "e4m3", "e5m2", "32", "13", "e8m13", "H100,", "H200", "recorded", "vectors",
    ]  # fmt: skip


def test_one_unit_in_full():
    text = ran("BLACKWELL_NVFP4")
    for said in ("ScaledGroups(16)", "4 exact sums of 16 products", "35 fraction bits", "at least -139",
                 "published model", "2511.10909"):  # fmt: skip
        assert said in text
    for unit in CATALOGUE.values():
        assert unit.instruction in ran(unit.name) and unit.source in ran(unit.name)


def test_units_for_machines():
    entries = json.loads(ran("--json"))
    assert [entry["name"] for entry in entries] == list(CATALOGUE)
    for entry in entries:
        assert pr.parse_accumulator(entry["accumulator"]) == CATALOGUE[entry["name"]].accumulator
    assert {entry["name"] for entry in json.loads(ran("--json", "--gpu", "B200"))} == {
        "BLACKWELL_MX", "BLACKWELL_NVFP4",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"), [(["HOPER_FP8"], "did you mean 'HOPPER_FP8'"), (["--gpu", "H101"], "got 'H101'")]
)
def test_unknown_names_are_refused(arguments, said):
    result = CliRunner().invoke(command, ["units", *arguments])
    assert result.exit_code != 0 and said in result.stderr


# ---- products without a named unit -----------------------------------------------------------------------
def _operands(kind):
    x = np.random.default_rng(5).standard_normal((6, 64)).astype(np.float32)
    if isinstance(kind, pr.QuantSpec):
        return pr.quantize(x, kind), pr.quantize(x, kind).T
    codes = pr.encode(x, kind) if kind != pr.TF32 else pr.QuantizedTensor(pr.encode(x, kind), 1.0, fmt=kind)
    return codes, codes.T


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        (pr.E4M3, "HOPPER_FP8"), (pr.E5M2, "HOPPER_FP8"), (pr.BF16, "HOPPER_BF16"), (pr.FP16, "HOPPER_FP16"),
        (pr.TF32, "HOPPER_TF32"), (pr.FP32, "FP32_FMA"), (pr.MXFP8_E4M3, "BLACKWELL_MX"),
        (pr.MXFP4, "BLACKWELL_MX"), (pr.NVFP4, "BLACKWELL_NVFP4"),
        (pr.QuantSpec(pr.E4M3, pr.PerTensor()), "HOPPER_FP8"),
    ],
    ids=str,
)  # fmt: skip
def test_products_without_a_named_unit_take_the_table(kind, unit):
    a, b = _operands(kind)
    assert np.array_equal(pr.matmul(a, b), pr.matmul(a, b, accumulator=unit))
    row = (a.codes[0], b.codes[:, 0]) if hasattr(a, "codes") else (a[0], b[:, 0])
    if not hasattr(a, "codes"):
        assert np.array_equal(pr.trace(*row).register, pr.trace(*row, accumulator=unit).register)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (
            pr.encode(np.ones((2, 8)), pr.E4M3),
            np.ones((8, 2), np.float32),
            "a of e4m3 and b of fp32: no line",
        ),
        (
            pr.encode(np.ones((2, 8)), pr.E2M1),
            pr.encode(np.ones((8, 2)), pr.E2M1),
            "accumulator must be given",
        ),
        (np.ones((2, 8)), np.ones((8, 2)), "a must be a QuantizedTensor or an array of float16"),
        (np.ma.masked_array(np.ones((2, 8), np.float32)), np.ones((8, 2)), "a must"),
    ],
)
def test_operands_that_no_unit_takes_by_default(a, b, said):
    with pytest.raises(TypeError, match=said):
        pr.matmul(a, b)
