"""The rooms of the package: imports run downwards, and faces only list names."""

from __future__ import annotations

import ast

import pytest
import structure

import precision as pr

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


def test_faces_only_list_names():
    for face in structure.PACKAGE.rglob("__init__.py"):
        if face.parent.name == "_support":  # it guards the imports of all others
            continue
        for node in ast.parse(face.read_text(encoding="utf-8")).body:
            listed = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [
                "__all__"
            ]
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert listed or text or isinstance(node, ast.ImportFrom), (face, ast.unparse(node)[:80])


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


def test_a_unit_prints_as_the_name_that_it_was_asked_for_by():
    built = pr.FusedSum((pr.E4M3, pr.E5M2), 32, fraction_bits=13, register=pr.E8M13)
    assert built == pr.HOPPER_FP8 and hash(built) == hash(pr.HOPPER_FP8)
    assert repr(pr.HOPPER_FP8.with_width(10).promoted(128)) == "HOPPER_FP8.with_width(10).promoted(128)"
    assert str(built).startswith("FusedSum(") and pr.parse_accumulator(str(built)) == built
    for name, unit in pr.units.CATALOGUE.items():
        assert str(unit.accumulator) == name and pr.parse_accumulator(name) == unit.accumulator
        assert unit.instruction and unit.source
