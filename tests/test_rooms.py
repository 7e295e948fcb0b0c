"""The rooms of the package: imports run downwards, and faces only list names."""

from __future__ import annotations

import ast
import importlib

import pytest
import structure

import precision as pr
from precision._support import _rooms
from precision._support.machine._guarded_imports import GROUND
from precision.quantization import _quant_spec

MODULES = structure.modules()


def test_every_module_lies_in_a_room():
    assert {path.name for path in structure.PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parts[0] for path in MODULES} == set(structure.ORDER)
    faces = ("__init__.py", "__main__.py")
    assert not [str(path) for path in MODULES if not path.name.startswith("_") and path.name not in faces]


@pytest.mark.parametrize("rule", structure.RULES)
def test_the_house_keeps_its_rules(rule):
    """Imports run downwards without circles, lazy ones counted; rooms, modules and functions are small."""
    assert structure.RULES[rule]() == []


def test_the_script_sees_what_breaks_a_rule(tmp_path, monkeypatch):
    """A house built to break each rule is told apart from one that keeps them."""
    monkeypatch.setattr(structure, "PACKAGE", tmp_path)
    long = "def long():\n" + "    print()\n" * 61
    files = {
        "formats/__init__.py": "# list\n" * 41,
        "formats/_upward.py": "def later():\n    from precision.units import _a\n",
        "formats/_face.py": "from precision.formats import parse_format\n",
        "units/__init__.py": "",
        "units/_a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import precision.units._b\n",
        "units/_b.py": "from precision.units import _a\n" + long,
        "gemm/__init__.py": "",
        **{f"gemm/_module_{n}.py": "# line\n" * (401 if n == 13 else 1) for n in range(14)},
        "gemm/_kind.py": "isinstance(unit, FusedSum)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    structure.tree.cache_clear()
    try:
        assert [find() for find in structure.RULES.values()] == [
            ["formats/_face.py imports precision.formats",
             "formats/_upward.py imports precision.units._a"],
            ["precision.units._a <-> precision.units._b"],
            ["gemm: 15"],
            ["gemm/_module_13.py: 401"],
            ["formats/__init__.py: 41"],
            ["units/_b.py:2 long: 62"],
            ["gemm/_kind.py"],
        ]  # fmt: skip
    finally:
        structure.tree.cache_clear()


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse


def test_faces_only_list_names():
    for face in structure.PACKAGE.rglob("__init__.py"):
        if face.parent.name == "_support":  # it guards the imports of all others
            continue
        body = ast.parse(face.read_text(encoding="utf-8")).body
        if face.parent == structure.PACKAGE:  # it lists its names for type checkers alone
            body = [part for node in body for part in (node.body if is_for_type_checkers(node) else [node])]
        for node in body:
            listed = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [
                "__all__"
            ]
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert listed or text or isinstance(node, ast.ImportFrom), (face, ast.unparse(node)[:80])


def listed_for_type_checkers() -> list[tuple[str, str, str]]:
    """Return the module, the name there, and the everyday name of each import that type checkers read."""
    face = ast.parse((structure.PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in face.body if is_for_type_checkers(node))
    return [
        (str(node.module), alias.name, alias.asname or alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def test_type_checkers_read_the_names_that_python_finds():
    """The imports for type checkers, the table that Python uses and `__all__` are the same names."""
    found = [
        (f"precision.{module}", _rooms.RENAMED.get(name, name), name)
        for module, names in _rooms.EVERYDAY.items()
        for name in names
    ]
    assert sorted(listed_for_type_checkers()) == sorted(found)
    assert sorted(pr.__all__) == sorted(name for _, _, name in found)
    assert set(_rooms.RENAMED) <= set(pr.__all__)


@pytest.mark.parametrize(("module", "there", "name"), listed_for_type_checkers())
def test_an_everyday_name_is_the_rooms_object_and_is_looked_up_once(module, there, name, monkeypatch):
    value = getattr(pr, name)
    assert value is getattr(importlib.import_module(module), there)
    assert vars(pr)[name] is value
    monkeypatch.delitem(vars(pr), name)  # as before it was first asked for
    assert getattr(pr, name) is value and vars(pr)[name] is value


def test_the_ground_lies_in_the_order_of_the_rooms():
    """Every room of the everyday names is of the ground, and stands on those before it."""
    assert [room for room in reversed(structure.ORDER) if room in GROUND] == list(GROUND)
    rooms = {module.partition(".")[0] for module in _rooms.EVERYDAY}
    assert {room for room in rooms if not room.startswith("_")} == set(GROUND)


def test_moved_modules_say_where_they_are():
    with pytest.raises(ModuleNotFoundError, match=r"precision\.codec moved to precision\.formats"):
        __import__("precision.codec")
    with pytest.raises(AttributeError, match=r"moved to precision\.quantization"):
        _ = pr.quantized
    with pytest.raises(AttributeError, match=r"it is precision\.units\.HOPPER_FP8 now"):
        _ = pr.accumulators.HOPPER_FP8
    with pytest.raises(AttributeError, match=r"it is precision\.specs\.quantize now"):
        _ = pr.quantization.quantize
    assert {"metrics", "units", "E4M3"} <= set(dir(pr)) and not [
        name for name in dir(pr) if name.startswith("_")
    ]


def test_tab_completion_shows_public_names_alone():
    for room in ("accumulators", "bounds", "formats", "metrics", "plots", "quantization", "testing", "units"):
        module = getattr(pr, room)
        listed = dir(module)
        assert set(module.__all__) <= set(listed) and listed == sorted(listed)
        assert not [name for name in listed if name.startswith("_")]
    assert "METRICS" in dir(pr.metrics) and "annotations" not in dir(pr.metrics)


def test_a_named_spec_is_an_attribute_by_one_line_alone(monkeypatch):
    """An entry is enough: attribute, tab completion, text and errors follow."""
    monkeypatch.setattr(_quant_spec, "SPECS", dict(_quant_spec.SPECS))
    spec = _quant_spec.name_spec("X1", pr.QuantSpec(pr.formats.E3M4, pr.PerGroup(8)))
    assert pr.quantization.X1 is spec and str(spec) == "X1" and pr.specs.parse("x1") is spec
    assert "X1" in dir(pr.quantization) and set(pr.quantization.__all__) <= set(dir(pr.quantization))
    with pytest.raises(AttributeError, match="no attribute 'X2'"):
        _ = pr.quantization.X2


def test_a_unit_prints_as_the_name_that_it_was_asked_for_by():
    built = pr.FusedSum((pr.E4M3, pr.E5M2), 32, fraction_bits=13, register=pr.E8M13)
    assert built == pr.HOPPER_FP8 and hash(built) == hash(pr.HOPPER_FP8)
    assert repr(pr.HOPPER_FP8.with_width(10).promoted(128)) == "HOPPER_FP8.with_width(10).promoted(128)"
    assert str(built).startswith("FusedSum(") and pr.parse_accumulator(str(built)) == built
    for name, unit in pr.units.CATALOGUE.items():
        assert str(unit.accumulator) == name and pr.parse_accumulator(name) == unit.accumulator
        assert unit.instruction and unit.source
