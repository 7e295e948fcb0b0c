"""The structure of the package, read from its source files: rooms, floors, circles and sizes.

``python tests/structure.py`` prints it, and exits with 1 where a rule is broken; `test_rooms` holds the same
rules in the test suite. Every import statement counts, wherever it stands: at the top of a module, inside a
function, or for a type checker alone.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "precision"
#: Every room, from the top of the house to its ground: a room imports from those below it alone.
ORDER = [
    "cli", "sweep", "studies", "plots", "testing", "hardware", "bounds", "metrics", "storage", "cost", "gemm",
    "units", "accumulators", "specs", "logfmt", "quantization", "formats", "_kernels", "_support",
]  # fmt: skip
#: Folders that hold entries and nothing else: a new entry is a new module.
COLLECTIONS = {"cli/subcommands", "studies/built_in", "plots/figures", "accumulators/kinds"}
#: The folders of tests: one for each room, and one for what is about several or about the whole package.
TEST_FOLDERS = {room.lstrip("_") for room in ORDER} | {"house"}
MOST_MODULES = 13
MOST_LINES = 400
MOST_CODE_LINES = 60
MOST_FACE_LINES = 40


def modules() -> list[Path]:
    """Return every module that lies in a room, relative to the package."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in found if len(path.parts) > 1)


@cache
def tree(module: Path) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def _is_module(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(module: Path) -> list[str]:
    """Return the package's modules that a module names in any import statement, wherever it stands."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "precision":
            deeper = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if _is_module(name) else str(node.module) for name in deeper]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "precision"]
    return found


def upward_imports() -> list[str]:
    """Return imports of a room above, of a room's own face, and of a folder that stands on the importer."""
    found = []
    for module in modules():
        room, inner = module.parts[0], module.parts[1:-1]
        for name in imports(module):
            parts = name.split(".")[1:]
            upward = not parts or ORDER.index(parts[0]) < ORDER.index(room)
            if not upward and parts[0] == room and module.name != "__init__.py":
                folder = len(parts) > 2 or (len(parts) > 1 and (PACKAGE / parts[0] / parts[1]).is_dir())
                upward = len(parts) == 1 or (folder and not inner)
            if upward:
                found.append(f"{module} imports {name}")
    return found


def graph() -> dict[str, set[str]]:
    """Return each private module and the private modules that it imports, faces left out."""
    private = {"precision." + ".".join(module.with_suffix("").parts): module for module in modules()
               if module.name != "__init__.py"}  # fmt: skip
    return {name: set(imports(module)) & set(private) for name, module in private.items()}


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(edges[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in edges[name]:
                groups.append(sorted(group))

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return groups


def floors(edges: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each module: 0 where it imports none of ours, else one above the highest."""
    found: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((floor(other) for other in edges[name]), default=-1)
        return found[name]

    for name in edges:
        floor(name)
    return found


def room_sizes() -> dict[str, int]:
    """Return the number of modules in each folder that is no collection."""
    folders = {module.parent.as_posix() for module in modules()} - COLLECTIONS
    faces = ("__init__.py", "__main__.py")
    return {
        folder: sum(path.name not in faces for path in (PACKAGE / folder).glob("*.py"))
        for folder in sorted(folders)
    }


def line_counts() -> dict[str, int]:
    """Return the number of lines of each module."""
    return {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def _code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, text: list[str]) -> int:
    """Count a function's lines of code: neither blank, nor comment, nor its docstring."""
    first, last = function.body[0], function.end_lineno or function.lineno
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    skipped = range(first.lineno, (first.end_lineno or first.lineno) + 1) if documented else range(0)
    lines = (number for number in range(function.lineno, last + 1) if number not in skipped)
    return sum(
        bool(text[number - 1].strip()) and not text[number - 1].lstrip().startswith("#") for number in lines
    )


def _emits_machine_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function writes LLVM code itself, or holds the one that does.

    Such a function has a parameter for the builder of code, ``outer`` where it also makes one of its own.
    """
    return any(
        isinstance(node, ast.arg) and node.arg in ("builder", "outer") for node in ast.walk(function)
    ) or any(isinstance(node, ast.Name) and node.id == "intrinsic" for node in function.decorator_list)


def long_functions() -> Iterator[tuple[str, int]]:
    """Yield the functions with too many lines of code; emitters of machine code are left out."""
    for module in modules():
        text = (PACKAGE / module).read_text(encoding="utf-8").splitlines()
        for node in ast.walk(tree(module)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _emits_machine_code(node):
                length = _code_lines(node, text)
                if length > MOST_CODE_LINES:
                    yield f"{module}:{node.lineno} {node.name}", length


def _kinds() -> list[str]:
    """Return the classes of accumulators, and of the scales inside them."""
    kinds = [module for module in modules() if module.parts[:2] == ("accumulators", "kinds")]
    found = [node.name for module in kinds for node in tree(module).body if isinstance(node, ast.ClassDef)]
    return [*found, "ScaledProducts", "ScaledGroups"]


def tests_of_kind() -> list[str]:
    """Return the modules outside `accumulators` that test what kind an accumulator is."""
    a_kind = re.compile(rf"isinstance\([^\n]*\b({'|'.join(_kinds())})\b")
    return [str(module) for module in modules() if module.parts[0] != "accumulators"
            and a_kind.search((PACKAGE / module).read_text(encoding="utf-8"))]  # fmt: skip


def misplaced_tests() -> list[str]:
    """Return the test files that lie in no folder of `TEST_FOLDERS`, or share their name with another."""
    found = sorted(path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    names = Counter(path.name for path in found)
    return [
        path.as_posix()
        for path in found
        if len(path.parts) == 1 or path.parts[0] not in TEST_FOLDERS or names[path.name] > 1
    ]


def _with_counts(counts: dict[str, int], most: int) -> list[str]:
    return [f"{name}: {count}" for name, count in counts.items() if count > most]


def _faces() -> dict[str, int]:
    return {name: count for name, count in line_counts().items() if name.endswith("/__init__.py")}


#: Each rule of the house, and the function that lists what breaks it.
RULES: dict[str, Callable[[], list[str]]] = {
    "imports that run upwards": upward_imports,
    "circles of modules": lambda: [" <-> ".join(group) for group in circles(graph())],
    f"rooms with more than {MOST_MODULES} modules": lambda: _with_counts(room_sizes(), MOST_MODULES),
    f"modules over {MOST_LINES} lines": lambda: _with_counts(line_counts(), MOST_LINES),
    f"faces over {MOST_FACE_LINES} lines": lambda: _with_counts(_faces(), MOST_FACE_LINES),
    f"functions over {MOST_CODE_LINES} lines of code (emitters of machine code aside)": lambda: [
        f"{name}: {length}" for name, length in long_functions()
    ],
    "modules that test an accumulator's kind": tests_of_kind,
    "test files outside of the folders that mirror the rooms": misplaced_tests,
}


def main() -> int:
    """Print the rooms with their floors, then every rule and what breaks it; return 1 where one is broken."""
    edges = graph()
    broken = {rule: find() for rule, find in RULES.items()}
    if not broken["circles of modules"]:
        heights = floors(edges)
        for room in ORDER:
            own = {name: height for name, height in heights.items() if name.split(".")[1] == room}
            print(f"{room:14} {len(own):3} modules, floors {min(own.values()):2} to {max(own.values()):2}")
    for rule, found in broken.items():
        print(f"{len(found):3} {rule}")
        for one in found:
            print(f"      {one}")
    return int(any(broken.values()))


if __name__ == "__main__":
    sys.exit(main())
