"""The site's reference: every public name has a page, a docstring of NumPy's form, a place in its room."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import sys
import tomllib
from pathlib import Path
from types import FunctionType

import pytest

from precision._support._rooms import ROOMS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
import api_pages  # noqa: E402 -- it stands beside the site's conf.py

sys.path.remove(str(DOCS))

LISTED = api_pages.rooms()
PAGES = {f"precision.{path.stem}": path for path in DOCS.glob("rooms/*.md") if path.stem != "index"}
PAGES["precision"] = PAGES.pop("precision.precision")
#: Checks of numpydoc that every public docstring passes: sections known, in order, underlined and not empty;
#: a summary that ends with a full stop; no parameter that the signature lacks.
CHECKS = {
    "GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10", "SS01", "SS03", "SS04", "PR02",
    "PR05", "PR06", "PR10", "RT02", "SA02", "SA03", "SA04",
}  # fmt: skip


def opening(page):
    """The text between the title and the first snippet of a room's page."""
    text = page.read_text(encoding="utf-8")
    return re.split(r"^```", text.partition("\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_room_lists_names_and_has_a_page():
    assert {f"precision.{room}" for room in ROOMS} <= set(LISTED)
    assert set(PAGES) == {"precision", *LISTED}
    index = (DOCS / "rooms" / "index.md").read_text(encoding="utf-8")
    assert all(f"({page.name})" in index for page in PAGES.values())


@pytest.mark.parametrize("room", PAGES)
def test_a_rooms_page_opens_with_three_sentences_and_a_snippet_that_uses_it(room):
    sentences = re.findall(r"[.:] |\.$", " ".join(opening(PAGES[room]).split()))
    assert sum(end.startswith(".") for end in sentences) == 3, opening(PAGES[room])
    (snippet,) = re.findall(r"^```python\n(.*?)^```", PAGES[room].read_text(encoding="utf-8"), re.M | re.S)
    assert doctest.DocTestParser().get_examples(snippet)
    own = room.rpartition(".")[2]
    assert re.search(rf"^>>> (from|import) (precision\b.*\b)?{own}\b", snippet, re.M), snippet


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """The generated pages, in a folder where there was one of a name that went."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "precision.formats.went.rst").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_pages, "STUBS", folder)
        api_pages.write_stubs()
    return folder


def test_the_reference_has_every_public_name_and_no_other(stubs):
    public = {f"{room}.{name}" for room in LISTED for name in api_pages.names(room)}
    own = {entry.path for entry in api_pages.everyday().values() if entry.room == "precision"}
    assert {path.stem for path in stubs.iterdir()} == public | own
    for name in public | own:
        text = (stubs / f"{name}.rst").read_text(encoding="utf-8")
        room, _, last = name.rpartition(".")
        assert f"\n.. currentmodule:: {room}\n" in text
        assert re.search(rf"^\.\. (auto(function|class|exception):: {name}|py:data:: {last})$", text, re.M), (
            text
        )
        assert text.startswith(name.replace("_", r"\_") + "\n===")
        assert " at 0x" not in text and str(ROOT) not in text  # the same on every machine


def test_constants_are_shown_as_they_are_written():
    shown = {entry.name: api_pages.shown(entry.value) for entry in api_pages.entries("precision.formats")}
    assert shown["E4M3"] == "FloatFormat(exponent_bits=4, fraction_bits=3, bias=7, specials=FN)"
    assert shown["Format"] == "FloatFormat | IntFormat"
    (unit,) = (entry for entry in api_pages.entries("precision.units") if entry.name == "HOPPER_BF16")
    assert api_pages.shown(unit.value) == "FusedSum(operands=(bf16,), products=16, fraction_bits=25)"
    assert api_pages.shown((1, (2,))) == "(1, (2,))" and api_pages.shown(object()) == ""


@pytest.mark.parametrize("room", ["precision", *LISTED])
def test_a_rooms_page_lists_its_names(room):
    listing = api_pages.listing(room)
    shown = dict(re.findall(r"^   \* - :obj:`(\w+) <([\w.]+)>`$", listing, re.M))
    module = importlib.import_module(room)
    public = set(module.__all__)
    own = {f"{room}.{name}" for name in shown}
    if room == "precision":
        assert set(shown) == public
        own &= set(shown.values())
        assert own == {"precision.get_num_threads", "precision.set_num_threads"}
        assert shown["parse_accumulator"] == "precision.accumulators.parse"
    else:
        entered = set(dir(module)) if room in ("precision.quantization", "precision.units") else set()
        assert set(shown) == public | entered
        assert shown == {name: f"{room}.{name}" for name in shown}
    assert set(re.findall(r"^\w+ <generated/(.+)>$", listing, re.M)) == own


@pytest.mark.parametrize("room", LISTED)
def test_every_public_name_is_documented(room):
    assert [entry.path for entry in api_pages.entries(room) if not entry.doc.strip()] == []


@pytest.mark.parametrize("room", LISTED)
def test_docstrings_have_numpys_form(room):
    validate = pytest.importorskip("numpydoc.validate").validate
    for entry in api_pages.entries(room):
        if entry.kind == "constant" or "<locals>" in entry.value.__qualname__:  # Hypothesis builds some
            continue
        methods = [
            name
            for name, value in vars(entry.value).items()
            if isinstance(value, FunctionType) and value.__doc__
        ]
        paths = [entry.path, *(f"{entry.path}.{name}" for name in methods if name[0] != "_")]
        wanted = CHECKS | {"PR01"} if entry.kind == "function" else CHECKS
        for path in paths if entry.kind != "function" else paths[:1]:
            assert [found for found in validate(path)["errors"] if found[0] in wanted] == [], path


def test_a_comment_is_of_the_lines_that_follow_it(tmp_path, monkeypatch):
    text = '#: Of both.\nA = 1\nB: int = 2\n\nC = 3\nD, E = 4, 5\n"""Of the pair."""\n'
    (tmp_path / "commented.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert [api_pages.comment("commented", name) for name in "ABCDE"] == [
        "Of both.", "Of both.", "", "Of the pair.", "Of the pair."
    ]  # fmt: skip


def test_bars_are_text_outside_code():
    lines = ["at most |x|, ``|y|``", ">>> a | b", "c | d", "", "|z|"]
    assert api_pages.escaped(lines) == [r"at most \|x\|, ``|y|``", ">>> a | b", "c | d", "", r"\|z\|"]


def test_links_to_other_projects_name_what_they_have():
    listed = tomllib.loads((DOCS / "inventories.toml").read_text(encoding="utf-8"))
    assert set(listed) == {"python", "numpy", "hypothesis", "ml_dtypes"}
    for project, known in listed.items():
        assert known["url"].startswith("https://")
        for name, (role, place) in known["names"].items():
            assert place.startswith(("reference/", "blob/", "library/", "glossary"))
            if role.startswith("py:") and project != "python":
                assert pkgutil.resolve_name(name) is not None
