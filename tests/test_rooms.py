"""The rooms of the package: imports run downwards, and faces only list names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import precision as pr

PACKAGE = Path(pr.__file__).parent
#: From the top of the house to its ground.
ORDER = [
    "cli", "sweep", "studies", "plots", "testing", "hardware", "bounds", "metrics", "storage", "cost", "gemm",
    "units", "accumulators", "specs", "logfmt", "quantization", "formats", "_kernels", "_support",
]  # fmt: skip
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if len(path.relative_to(PACKAGE).parts) > 1
)
MOST_MODULES = 13
COLLECTIONS = {"cli/subcommands", "studies/built_in", "plots/figures", "accumulators/kinds"}


def imports(module: Path) -> list[str]:
    """Return the package's modules that a module names in any import statement, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "precision":
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if _is_module(name) else str(node.module) for name in deeper]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "precision"]
    return found


def _is_module(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_module_lies_in_a_room():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parts[0] for path in MODULES} == set(ORDER)
    faces = ("__init__.py", "__main__.py")
    assert not [str(path) for path in MODULES if not path.name.startswith("_") and path.name not in faces]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_run_downwards(module):
    """They do between rooms, and from the folders of a room to its modules; its face is for others."""
    room, inner = module.parts[0], module.parts[1:-1]
    for name in imports(module):
        parts = name.split(".")[1:]
        assert parts, f"{module} imports the package's own face"
        assert ORDER.index(parts[0]) >= ORDER.index(room), f"{module} imports {name}, which lies above it"
        if parts[0] == room and module.name != "__init__.py":
            assert len(parts) > 1, f"{module} imports its own room's face"
            into = len(parts) > 2 or (PACKAGE / parts[0] / parts[1]).is_dir()
            assert inner or not into, f"{module} imports {name} of a folder that stands on it"


#: Modules of circles that are left. The list may only become shorter.
IN_CIRCLES = {
    f"precision.quantization.{name}"
    for name in ("_group_loops", "_quant_spec", "_quantized_tensor", "_row_loops", "_scale_constants",
                 "_spec_checks")
}  # fmt: skip


def test_modules_import_each_other_in_no_circle():
    """Lazy imports and those for types count: a circle is no less one for being imported late."""
    names = {".".join(("precision", *path.with_suffix("").parts)): path for path in MODULES}
    below = {name: set(imports(path)) & names.keys() for name, path in names.items()}
    in_circles = set()
    for name in names:
        reached, open_ones = set(), set(below[name])
        while open_ones:
            reached |= open_ones
            open_ones = {further for one in open_ones for further in below[one]} - reached
        if name in reached:
            in_circles.add(name)
    assert in_circles - IN_CIRCLES == set(), "a new circle"
    assert IN_CIRCLES - in_circles == set(), "no circle any more: take it off the list"


def test_faces_only_list_names():
    for face in PACKAGE.rglob("__init__.py"):
        if face.parent.name == "_support":  # it guards the imports of all others
            continue
        for node in ast.parse(face.read_text(encoding="utf-8")).body:
            listed = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [
                "__all__"
            ]
            text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert listed or text or isinstance(node, ast.ImportFrom), (face, ast.unparse(node)[:80])


def test_rooms_are_small():
    folders = {str(path.parent) for path in MODULES} - COLLECTIONS
    sizes = {
        folder: sum(
            path.name not in ("__init__.py", "__main__.py") for path in (PACKAGE / folder).glob("*.py")
        )
        for folder in folders
    }
    assert {folder: size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_nobody_asks_what_kind_an_accumulator_is():
    asked = re.compile(r"isinstance\([^\n]*\b(FusedSum|FmaChain|Exact|ScaledProducts|ScaledGroups)\b")
    found = [str(path) for path in MODULES if path.parts[0] != "accumulators"
             and asked.search((PACKAGE / path).read_text(encoding="utf-8"))]  # fmt: skip
    assert not found


def test_moved_modules_say_where_they_are():
    with pytest.raises(ModuleNotFoundError, match=r"precision\.codec moved to precision\.formats"):
        __import__("precision.codec")
    with pytest.raises(AttributeError, match=r"moved to precision\.quantization"):
        _ = pr.quantized
    with pytest.raises(AttributeError, match=r"it is precision\.units\.HOPPER_FP8 now"):
        _ = pr.accumulators.HOPPER_FP8
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
