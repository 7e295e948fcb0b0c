"""The site's reference: every public name has a page, a docstring of NumPy's form, and a place in its room."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import sys
import tomllib
from pathlib import Path

import pytest

import precision as pr
from precision._support._rooms import ROOMS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))
import reference  # noqa: E402 -- it stands beside the site's conf.py

sys.path.remove(str(DOCS))

LISTED = reference.rooms()
PAGES = {f"precision.{path.stem}".replace("precision.precision", "precision"): path for path in DOCS.glob("rooms/*.md")}
PAGES.pop("precision.index")
NAMES = [entry for room in LISTED for entry in reference.entries(room)]
CALLABLE = [entry for entry in NAMES if entry.kind == "function"]


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
    assert re.search(rf"^>>> (from|import) precision\b.*\b{own}\b", snippet, re.M), snippet


@pytest.mark.parametrize("room", ["precision", *LISTED])
def test_the_reference_has_every_public_name_and_no_other(room, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "STUBS", tmp_path)
    (tmp_path / f"{room}.a_name_that_went.rst").touch()
    reference.write_stubs()
    public = set(importlib.import_module(room).__all__)
    listing = reference.listing(room)
    assert set(re.findall(r"^   \* - :obj:`(\w+) <", listing, re.M)) | {
        entry.name for entry in reference.everyday() if room == "precision"
    } >= public
    if room == "precision":
        return
    pages = {path.stem.removeprefix(f"{room}.") for path in tmp_path.glob(f"{room}.*.rst")}
    assert {name for name in pages if "." not in name} == public
    assert set(re.findall(r"<generated/(.+)>$", listing, re.M)) == {f"{room}.{name}" for name in public}
    for name in public:
        text = (tmp_path / f"{room}.{name}.rst").read_text(encoding="utf-8")
        assert re.search(rf"^\.\. (autofunction|autoclass|autoexception|py:data):: {room}\.{name}$", text, re.M)
