"""The site: `sphinx-build -c docs -W --keep-going . build/site` builds it.

The source folder is the whole repository, so that a link between two files leads to the same place on the
site as in the repository. The pages have no trees of their own: `TREES` says what stands under which page.
"""

from __future__ import annotations

import re
import sys
import tomllib
import zlib
from enum import Enum
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import api_pages  # noqa: E402 -- it stands beside this file

logger = getLogger(__name__)
project = "precision"
author = copyright = "The precision developers"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
root_doc = "README"
include_patterns = [
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "docs/rooms/generated/*.rst",
    "notebooks/*.ipynb", "tests/vectors/README.md",
]  # fmt: skip
exclude_patterns = ["build", ".venv*", ".*", "**/.*"]

# ---- pages and notebooks ------------------------------------------------------------------------------
myst_heading_anchors = 3
myst_links_external_new_tab = False
#: Notebooks are kept with their outputs, which CI makes again on its own.
nb_execution_mode = "off"
nb_merge_streams = True

ROOM_PAGES = ["precision", *(room.removeprefix("precision.") for room in api_pages.rooms())]
#: What stands under a page in the navigation.
TREES = {
    "README": ["/docs/guide", "/docs/notebooks", "/docs/rooms/index", "/docs/public", "/CONTRIBUTING",
               "/CHANGELOG"],
    "docs/guide": [
        "/docs/concepts", "/docs/gemm", "/docs/quantize", "/docs/microscaling", "/docs/logfmt",
        "/docs/sweeps", "/docs/testing", "/docs/hardware", "/docs/speed",
        "/docs/fast_loops",
    ],
    "docs/hardware": ["/tests/vectors/README"],
    "docs/notebooks": re.findall(
        r"^## .*\(\.\.(/notebooks/\w+)\.ipynb\)$", (HERE / "notebooks.md").read_text(encoding="utf-8"), re.M
    ),
    "docs/rooms/index": [f"{room} </docs/rooms/{room}>" for room in ROOM_PAGES],
}  # fmt: skip


def complete(app: Sphinx, docname: str, content: list[str]) -> None:
    """Add what a page's file does not hold: the tree under it, and the listing of a room."""
    if docname in TREES:
        content[0] += "\n".join(["\n\n```{toctree}", ":hidden:", "", *TREES[docname], "```\n"])
    room = docname.removeprefix("docs/rooms/")
    if room in ROOM_PAGES:
        content[0] += api_pages.listing("precision" if room == "precision" else f"precision.{room}")


class Builder(StandaloneHTMLBuilder):
    """Builds HTML whose first page, made of README.md, is index.html."""

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        """Return where a page stands on the site."""
        return super().get_target_uri("index" if docname == root_doc else docname, typ)

    def get_output_path(self, page_name: str, /) -> Any:
        """Return the file of a page."""
        return super().get_output_path("index" if page_name == root_doc else page_name)


# ---- the reference ------------------------------------------------------------------------------------
default_role = "obj"
smartquotes = False
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
ENTRIES = [entry for room in api_pages.rooms() for entry in api_pages.entries(room)]
#: Names that are words too, as `codes`: they are linked where a docstring of their room marks them.
WORDS = {entry.name for entry in ENTRIES if entry.name.islower() and "_" not in entry.name}
numpydoc_xref_ignore = {"optional", "default", "of", "or", "shape", "type"} | WORDS
#: Where the names of `precision` itself are documented.
EVERYDAY = {name: entry.path for name, entry in api_pages.everyday().items()}
#: Where a name that is given without its room is documented.
PLACES = {entry.name: entry.path for entry in reversed(ENTRIES) if entry.name not in WORDS} | EVERYDAY
KNOWN = {entry.path for entry in ENTRIES} | set(EVERYDAY.values())


def keep_bars(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let |x| in a docstring be text, where Sphinx would look for a substitution."""
    lines[:] = api_pages.escaped(lines)


def find_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> Any:
    """Link a public name that a docstring writes without its room: `quantize`, `QuantSpec.quantize`."""
    if node.get("refdomain") != "py":
        return None
    if node["reftarget"] in KNOWN:
        logger.warning("%s has no entry", node["reftarget"], location=node)
    room, _, rest = node["reftarget"].rpartition("precision.")
    first, *more = rest.split(".")
    if first not in PLACES or room:
        return None
    target = ".".join([PLACES[first], *more])
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)


def plain_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: object, signature: str | None, returned: str | None
) -> tuple[str, str] | None:
    """Leave out the signatures of enumerations and protocols, which nobody calls."""
    if what == "class" and (issubclass(obj, Enum) or getattr(obj, "_is_protocol", False)):
        return "", ""
    return None


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Link public names in the code spans of a page, where it is plain which name is meant.

    Plain are the everyday names, names with their room, and on a room's page the names of that room.
    """
    page = app.env.current_document.docname
    own = f"precision.{page.removeprefix('docs/rooms/')}"
    for node in list(doctree.findall(nodes.literal)):
        name = node.astext().removesuffix("()").removeprefix("pr.").removeprefix("precision.")
        first, *more = name.split(".")
        if first in EVERYDAY:
            path = ".".join([EVERYDAY[first], *more])
        else:
            path = name if first in INVENTORIES else f"precision.{name}"
            if f"{own}.{first}" in KNOWN:
                path = f"{own}.{name}"
        inside = isinstance(node.parent, nodes.title | nodes.reference | pending_xref)
        if not inside and (more or path in KNOWN) and "generated" not in page:
            node.replace_self(to_name(path, page, node))


def strip_code(app: Sphinx, doctree: nodes.document) -> None:
    """Take the blank line, which ends a doctest, from the end of a block of code."""
    for node in doctree.findall(nodes.literal_block):
        node.children = [nodes.Text(node.astext().rstrip())]


def to_name(path: str, page: str, node: nodes.literal) -> pending_xref:
    """Return a reference to a name, shown as the code span that it replaces."""
    return pending_xref(
        "", node.deepcopy(), refdomain="py", reftype="obj", reftarget=path, refexplicit=True, refdoc=page
    )


# ---- links to other projects ----------------------------------------------------------------------------
INVENTORIES = tomllib.loads((HERE / "inventories.toml").read_text(encoding="utf-8"))
WRITTEN = ROOT / "build" / "inventories"


def inventory(name: str) -> Path:
    """Write the listed names of a project as an inventory of Sphinx, and return its file."""
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version: \n# zlib\n"
    lines = (f"{key} {role} 1 {place} -\n" for key, (role, place) in INVENTORIES[name]["names"].items())
    path = WRITTEN / f"{name}.inv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
    return path


#: A project's own inventory comes first; ml_dtypes has none.
intersphinx_mapping = {
    name: (known["url"], (str(inventory(name)),) if name == "ml_dtypes" else (None, str(inventory(name))))
    for name, known in INVENTORIES.items()
}
intersphinx_timeout = 10

# ---- the look -----------------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = f"precision {release}"
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Write the pages of the reference, and connect the above."""
    api_pages.write_stubs()
    app.add_builder(Builder, override=True)
    app.connect("source-read", complete)
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", strip_code)
    app.connect("autodoc-process-docstring", keep_bars)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("missing-reference", find_name)
