"""The reference of the API, written from the lists of public names that the rooms keep.

The site (`docs/conf.py`) and its test (`tests/test_site.py`) read the same entries, so that a name cannot be
public and undocumented. This module needs the package with its extras, and no Sphinx.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import precision
from precision.formats import FloatFormat, IntFormat
from precision.units import CATALOGUE

HERE = Path(__file__).resolve().parent
ROOMS = HERE / "rooms"
STUBS = ROOMS / "generated"
KINDS = {"function": "Functions", "class": "Classes", "exception": "Exceptions", "constant": "Constants"}
"""Kinds of names in the order of a room's page, and their headings there."""
#: Bases of classes whose members are not ours to document.
FOREIGN_BASES = "object,tuple,dict,str,int,float,Enum,Exception,Protocol,Mapping"


@dataclass(frozen=True)
class Entry:
    """A public name of a room: its kind, its object, and its docstring or the comment over its definition."""

    room: str
    name: str
    kind: str
    value: Any
    doc: str

    @property
    def path(self) -> str:
        """The dotted name by which it is imported."""
        return f"{self.room}.{self.name}"

    @property
    def summary(self) -> str:
        """The first paragraph of its documentation, on one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())


def rooms() -> list[str]:
    """Return the dotted names of all packages that list public names, `precision` itself left out."""
    found = [
        module.name
        for module in pkgutil.walk_packages(precision.__path__, "precision.")
        if module.ispkg and "._" not in module.name
    ]
    return [name for name in found if getattr(importlib.import_module(name), "__all__", ())]


@functools.cache
def source(module: str) -> tuple[str, ast.Module]:
    """Return a module's text and its syntax tree."""
    path = inspect.getsourcefile(importlib.import_module(module))
    assert path is not None, module
    text = Path(path).read_text(encoding="utf-8")
    return text, ast.parse(text)


def comment(module: str, name: str) -> str:
    """Return what the source says of a constant, or nothing: a ``#:`` comment above it or a string below it.

    A function that a decorator has made an object of another kind keeps its docstring. A comment counts for
    every line that follows it without a blank line. Imports are followed to the module that defines the name.
    """
    text, tree = source(module)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == module:  # it imports modules of its own
                said = [comment(f"{module}.{alias.name}", name) for alias in node.names]
                if any(said):
                    return next(filter(None, said))
            original = {alias.asname or alias.name: alias.name for alias in node.names}.get(name)
            if original is not None and node.module.startswith("precision."):
                return comment(node.module, original)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = (part for target in targets if target is not None for part in ast.walk(target))
        if any(isinstance(part, ast.Name) and part.id == name for part in named):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return inspect.cleandoc(str(after.value.value))
            lines = text.splitlines()[: node.lineno - 1]
            return "\n".join(comment_above(lines))
    return ""


def comment_above(lines: list[str]) -> list[str]:
    """Return the last ``#:`` comment of some lines, unless a blank line stands after it."""
    found: list[str] = []
    for line in reversed(lines):
        if line.startswith("#:"):
            found.insert(0, line[2:].strip())
        elif found or not line.strip():
            break
    return found


def kind_of(value: object) -> str:
    """Return the kind of a public object; a class of another package counts as a constant that names it."""
    if inspect.isfunction(value):
        return "function"
    if inspect.isclass(value) and value.__module__.startswith("precision"):
        return "exception" if issubclass(value, Exception) else "class"
    return "constant"


def doc_of(room: str, name: str, value: object) -> str:
    """Return the documentation of a public object."""
    if kind_of(value) != "constant":
        return inspect.getdoc(value) or ""
    found = comment(room, name)
    if isinstance(value, FloatFormat | IntFormat):
        codes = f"{value.dtype.type.__module__}.{value.dtype.name}"
        bits = f"{value.bits} bit{'s' * (value.bits > 1)}"
        said = f"The format ``{value}``: {bits}, values up to {value.max:g}, codes of type :obj:`{codes}`."
        found = f"{said}\n\n{found}".strip()
    if room == "precision.units" and name in CATALOGUE:
        unit = CATALOGUE[name]
        found += f"\n\nInstruction: {unit.instruction}. How it is known: {unit.evidence}, {unit.source}."
        found += f" GPUs: {', '.join(unit.gpus)}." if unit.gpus else ""
    return found


def names(room: str) -> list[str]:
    """Return the public names of a room: those of its list, then those that its `dir` adds (units, specs)."""
    module = importlib.import_module(room)
    added = [name for name in dir(module) if not inspect.ismodule(getattr(module, name))]
    return [*module.__all__, *(name for name in added if name not in module.__all__)]


@functools.cache
def entries(room: str) -> list[Entry]:
    """Return every public name of a room."""
    module = importlib.import_module(room)
    values = {name: getattr(module, name) for name in names(room)}
    return [
        Entry(room, name, kind_of(value), value, doc_of(room, name, value)) for name, value in values.items()
    ]


def everyday() -> dict[str, Entry]:
    """Return the names of `precision` itself, each with the entry of the room that it comes from."""
    listed = [entry for room in rooms() for entry in entries(room)]
    found = {}
    for name in precision.__all__:
        value = getattr(precision, name)
        same = [entry for entry in listed if entry.value is value]
        same.sort(key=lambda entry: entry.name != name)
        own = Entry("precision", name, kind_of(value), value, inspect.getdoc(value) or "")
        found[name] = same[0] if same else own
    return found


def escaped(lines: list[str]) -> list[str]:
    """Return lines of a docstring in which bars, as in |x|, are text where they stand outside code."""
    found, in_example = [], False
    for line in lines:
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        parts = line.split("``")
        parts[::2] = [part if in_example else re.sub(r"(?<!\\)\|", r"\\|", part) for part in parts[::2]]
        found.append("``".join(parts))
    return found


# ---- pages ------------------------------------------------------------------------------------------
def shown(value: object) -> str:
    """Return a constant's value as text that says the same on every machine, or nothing."""
    if isinstance(value, Mapping):
        return ", ".join(map(str, value))
    if isinstance(value, PurePath):
        return value.name
    if is_dataclass(value) and not isinstance(value, type):
        given = ((part, getattr(value, part.name)) for part in fields(value) if part.repr)
        parts = (f"{part.name}={short(it)}" for part, it in given if it != part.default)
        return f"{type(value).__name__}({', '.join(parts)})"
    text = short(value)
    return "" if text.startswith("<") else text


def short(value: object) -> str:
    """Return the text of a value as a user writes it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(short, value))}{',' * (len(value) == 1)})"
    if isinstance(value, Enum):
        return value.name
    text = str(value) if is_dataclass(value) else repr(value)
    text = text.replace("numpy.ndarray[tuple[typing.Any, ...], numpy.dtype[typing.Any]]", "ndarray")
    text = re.sub(r"\b(?:collections\.abc|typing|numpy)\.(?=\w)", "", text)
    return re.sub(r"\b(?:precision|random)(?:\.\w+)*\._\w+\.(?=[A-Za-z])", "", text)


def stub(entry: Entry) -> str:
    """Return the page of one name, as reStructuredText."""
    title = entry.path.replace("_", r"\_")
    head = f"{title}\n{'=' * len(title)}\n\n.. currentmodule:: {entry.room}\n\n"
    if entry.kind == "function":
        return f"{head}.. autofunction:: {entry.path}\n"
    if entry.kind == "exception":
        return f"{head}.. autoexception:: {entry.path}\n"
    if entry.kind == "class":
        return f"{head}.. autoclass:: {entry.path}\n   :members:\n   :inherited-members: {FOREIGN_BASES}\n"
    lines = [f".. py:data:: {entry.name}", "", *escaped(entry.doc.splitlines()), "", *of_class(entry.value)]
    text = shown(entry.value)
    if text not in ("", entry.name):
        lines += ["", ".. code-block:: text", "", f"   {text}"]
    return head + lines[0] + "\n" + "".join(f"   {line}".rstrip() + "\n" for line in lines[1:])


def of_class(value: object) -> list[str]:
    """Return the line that names a constant's class, if the package documents that."""
    if inspect.isclass(value):
        module = re.sub(r"\._\w+", "", value.__module__)
        return [f"Another name of :obj:`{module}.{value.__name__}`."]
    for room in rooms():
        for entry in entries(room):
            if entry.value is type(value):
                return [f"A :obj:`~{entry.path}`."]
    return []


def table(listed: dict[str, Entry]) -> Iterator[str]:
    """Yield the lines of a table of names and what they are."""
    yield from (".. list-table::", "   :widths: 35 65", "")
    for name, entry in listed.items():
        yield f"   * - :obj:`{name} <{entry.path}>`"
        yield f"     - {escaped([entry.summary])[0]}"
    yield ""


def listing(room: str) -> str:
    """Return what follows the hand-written opening of a room's page: tables of its names, as MyST."""
    listed = everyday() if room == "precision" else {entry.name: entry for entry in entries(room)}
    lines = ["", ""]
    for kind, heading in KINDS.items():
        some = {name: entry for name, entry in listed.items() if entry.kind == kind}
        if some:
            lines += [f"## {heading}", "", "```{eval-rst}", *table(some), "```", ""]
    own = (entry for entry in listed.values() if entry.room == room)
    tree = (f"{entry.name} <generated/{entry.path}>" for entry in own)
    return "\n".join([*lines, "```{toctree}", ":hidden:", "", *tree, "```", ""])


def write_stubs() -> list[Path]:
    """Write the page of each public name into `docs/rooms/generated`, and remove those of other names."""
    listed = [entry for room in rooms() for entry in entries(room)]
    listed += [entry for entry in everyday().values() if entry.room == "precision"]
    STUBS.mkdir(exist_ok=True)
    pages = {STUBS / f"{entry.path}.rst": stub(entry) for entry in listed}
    for path in set(STUBS.iterdir()) - set(pages):
        path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return list(pages)
