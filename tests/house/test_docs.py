"""The pages: their links, their figures, and that what `docs/make.py` makes quickly is what they show."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("make", ROOT / "docs" / "make.py")
assert _SPEC is not None and _SPEC.loader is not None
make = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page):
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run(*arguments):
    found = CliRunner().invoke(make.main, arguments)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


@pytest.mark.parametrize(
    "page",
    [*make.pages(), *sorted(ROOT.glob("docs/rooms/*.md")), ROOT / "CONTRIBUTING.md"],
    ids=lambda page: f"{page.parent.name}/{page.name}",
)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_readme():
    readme = ROOT / "README.md"
    linked = {(ROOT / link).resolve() for link in LINK.findall(readme.read_text(encoding="utf-8"))}
    assert set(make.pages()) - {readme} <= linked
    assert set((ROOT / "notebooks").glob("*.ipynb")) <= linked


def test_figures_are_made_small_and_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in make.pages())
    assert {path.name for path in make.FIGURES.iterdir()} == set(make.DRAWN)
    for path in make.FIGURES.iterdir():
        assert path.stat().st_size < 150_000, path
        assert f"figures/{path.name})" in text, path


def test_every_mark_is_one():
    for page in make.pages():
        text = page.read_text(encoding="utf-8")
        assert (
            len(make.MARK.findall(text)) == text.count("made by docs/make.py:") == text.count("<!-- end -->")
        )
    with pytest.raises(Exception, match="no command, file or block is called 'spede'"):
        make.made("spede")


@pytest.mark.parametrize(
    "what",
    [
        "speed",
        "speed by benchmark",
        "studies",
        "citation",
        "file *",
        "promotion*",
        "formats*",
        "precision sweep*",
    ],
)
def test_what_is_made_quickly_is_not_stale(what):
    found = run("--check", what)
    assert found.exit_code == 0, f"{found.output}python docs/make.py {what!r} makes it anew"


def test_stale_text_is_found_and_mended(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n<!-- made by docs/make.py: citation -->\nold\n<!-- end -->\n\nkept\n")
    monkeypatch.setattr(make, "pages", lambda: [page])
    found = run("--check", "citation")
    assert (found.exit_code, found.output) == (1, "stale: page.md: citation\n")
    assert "\nold\n" in page.read_text()
    assert run("citation").output == "made: page.md: citation\n"
    assert "old" not in page.read_text() and "@software{precision," in page.read_text()
    assert page.read_text().endswith("<!-- end -->\n\nkept\n")
    assert run("--check", "citation").exit_code == 0


def test_a_figure_that_looks_otherwise_is_found(tmp_path):
    path = tmp_path / "formats.png"
    assert make.is_stale(path, b"")
    path.write_bytes((make.FIGURES / "formats.png").read_bytes())
    assert not make.is_stale(path, path.read_bytes())
    other = (make.FIGURES / "promotion.png").read_bytes()
    assert make.is_stale(path, other)


def test_an_unknown_name_is_refused():
    found = run("--check", "spede")
    assert found.exit_code == 2 and "speed" in found.output


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {project['version']}\n" in cff
    assert f"\nlicense: {project['license']}\n" in cff
