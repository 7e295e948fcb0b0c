"""Make what README.md and docs show between marks: outputs of commands, captions, tables; and their figures.

    pip install ".[all]" && python docs/make.py [--check] [NAME]...

A mark names what stands after it: a command, which is run as a reader would run it, ``file NAME`` of this
folder, or one of `BLOCKS`. With ``--check`` nothing is written; what is stale is listed, and the exit code is
1. NAME (a pattern as ``prec*``) takes those of that name alone. What is not installed here (the libraries of
the conformance table, the weights of an example) is left as it is, and said.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.append(str(ROOT))  # where the package `benchmarks` lies
FIGURES = HERE / "figures"
MARK = re.compile(r"(?<=<!-- made by docs/make\.py: )(.+?)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)


class Skipped(Exception):
    """What cannot be made here, and why."""


def pages() -> list[Path]:
    """README.md and the pages of this folder."""
    return [ROOT / "README.md", *sorted(HERE.glob("*.md"))]


# ---- outputs of commands ----------------------------------------------------------------------------
@functools.cache
def ran(command: str) -> tuple[str, dict[str, bytes]]:
    """What a command prints, and the pictures that it leaves, in a folder that holds the examples."""
    needed = re.search(r"\$\(([\w-]+)", command)
    if needed and shutil.which(needed[1]) is None:
        raise Skipped(f"{needed[1]} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        for example in HERE.glob("*.toml"):
            shutil.copy(example, folder)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        found = subprocess.run(
            command, shell=True, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        if found.returncode:
            raise click.ClickException(f"{command}: {found.stderr}")
        drawn = {file.name: file.read_bytes() for file in Path(folder).glob("*.png")}
    kept = (line.rstrip() for line in found.stdout.splitlines() if not line.startswith("figure: "))
    return "\n".join(kept).strip("\n"), drawn


def fenced(text: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```\n"


# ---- the three figures of the tour and what is said of them -------------------------------------------
OFFSETS = (0.0, 1.0)  # zero-mean, and all positive


@functools.cache
def table(study: str) -> pd.DataFrame:
    """Of a study that part which its figure here shows."""
    from precision.studies import STUDIES
    from precision.sweep import sweep

    specs = [spec for spec in STUDIES["formats"].grid["spec"] if "IntFormat" not in str(spec)]
    parts: dict[str, dict[str, Any]] = {
        "promotion": {"offset": OFFSETS, "k": 16384},
        "accumulation": {"offset": OFFSETS, "width": [8, 10, 13, 16, 20, 24]},
        "formats": {"distribution": "outliers", "spec": specs},
    }
    return sweep(study, parts[study], progress=False)


def by_offset(study: str, draw: Callable[..., Any], by: str) -> Any:
    """A panel for zero-mean data and one for all-positive data, narrow enough to be read in a page."""
    from precision import plots
    from precision.metrics import DISTRIBUTIONS

    found = table(study)
    drawn = DISTRIBUTIONS[found["distribution"].iloc[0]].description
    titles = {0.0: f"zero-mean: {drawn}", 1.0: f"all positive: {drawn} + 1"}
    return plots.panels(
        found.assign(drawn=found["offset"].map(titles)), "drawn", draw, by=by, size=(3.7, 3.4)
    )


def promotion_figure() -> Any:
    """Error over the interval of promotion."""
    from precision import plots

    return by_offset("promotion", plots.error_over_promotion, "accumulator")


def accumulation_figure() -> Any:
    """Error over K, a line for each width."""
    from precision import plots

    return by_offset("accumulation", plots.error_over_k, "width")


def formats_figure() -> Any:
    """The Pareto front of the formats."""
    from precision import plots

    return plots.pareto(table("formats"), names="spec")


def error(found: pd.DataFrame, **where: object) -> str:
    """The one error there, as 2.5e-1."""
    for name, value in where.items():
        found = found[found[name] == value]
    (value,) = found["norm_relative_error"]
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def promotion() -> str:
    """What the figure of promotion shows, in numbers."""
    found = table("promotion")

    def said(offset: float) -> str:
        of = functools.partial(error, found, accumulator="HOPPER_FP8", offset=offset)
        return f"{of(promoted=0)} without promotion and {of(promoted=128)} with one every 128"

    return (
        "**How often must a sum be promoted?** Hopper's FP8 unit, and one that keeps 10 bits instead of 13, "
        f"at K = {found['k'].iloc[0]}. Hopper's error of all-positive data is {said(1.0)}; of zero-mean data "
        f"it is {said(0.0)}.\n"
    )


def accumulation() -> str:
    """What the figure of widths shows, in numbers."""
    found, bits, k = table("accumulation"), (13, 16, 20, 24), 65536

    def said(offset: float) -> str:
        return ", ".join(f"{width} bits {error(found, offset=offset, width=width, k=k)}" for width in bits)

    return (
        f"**How many bits must a sum keep?** At K = {k} the errors of all-positive data are: {said(1.0)}; of "
        f"zero-mean data: {said(0.0)}. Hopper keeps 13.\n"
    )


def formats() -> str:
    """What lies on the Pareto front."""
    found = table("formats").set_index("spec")
    best = found.sort_values(["bits_per_element", "sqnr_db"], ascending=[True, False])
    front = best[best["sqnr_db"] > best["sqnr_db"].cummax().shift(fill_value=0.0)]
    points = [
        f"`{spec}` {row.sqnr_db:.1f} dB with {round(row.bits_per_element, 2):g} bits"
        for spec, row in front.iterrows()
    ]
    return (
        "**Which format for how many bits?** On N(0,1) with one channel of K in 128 times 32, scales "
        f"counted, the Pareto front is {', '.join(points)}.\n"
    )


# ---- tables -----------------------------------------------------------------------------------------
def rows_of(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def speed() -> str:
    """The table of the tour."""
    from benchmarks.tables import headlines

    return headlines()


def speed_by_benchmark() -> str:
    """The machines, and every row of each file of ``benchmarks``."""
    from benchmarks.tables import whole

    return whole()


def conformance() -> str:
    """Both tables of ``benchmarks/conformance_table.py``, where all its libraries are installed."""
    lacking = [name for name in ("torch", "torchao", "gfloat") if importlib.util.find_spec(name) is None]
    if lacking:
        raise Skipped(f"{', '.join(lacking)} not installed")
    from benchmarks.conformance_table import tables

    return str(tables()[0])


def studies() -> str:
    """The built-in studies and their questions."""
    from precision.studies import STUDIES

    return rows_of(
        ("study", "question", "varies"),
        [(f"`{found.name}`", found.question, ", ".join(found.grid)) for found in STUDIES.values()],
    )


def citation() -> str:
    """BibTeX of CITATION.cff."""
    cff = (ROOT / "CITATION.cff").read_text(encoding="utf-8")

    def field(name: str) -> str:
        found = re.search(rf'^[ -]*{name}: "?(.+?)"?$', cff, re.MULTILINE)
        assert found, name
        return found[1]

    lines = (
        f"  title = {{{{{field('title')}}}}},",
        f"  author = {{{{{field('name')}}}}},",
        f"  version = {{{field('version')}}},",
        f"  note = {{{field('license')}}}",
    )
    return fenced("\n".join(("@software{precision,", *lines, "}")), "bibtex")


BLOCKS: dict[str, Callable[[], str]] = {
    "promotion": promotion,
    "accumulation": accumulation,
    "formats": formats,
    "speed": speed,
    "speed by benchmark": speed_by_benchmark,
    "conformance": conformance,
    "studies": studies,
    "citation": citation,
}
NOTEBOOKS = {f"notebook-{path.stem}.png": path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
"""The first figure of each notebook, as it is kept there."""
DRAWN: dict[str, Callable[[], Any] | str | Path] = {
    "promotion.png": promotion_figure,
    "accumulation.png": accumulation_figure,
    "formats.png": formats_figure,
    "precision-gemm.png": "precision gemm",
    "precision-quantize.png": "precision quantize outliers",
    "precision-logfmt.png": "precision logfmt normal",
    **NOTEBOOKS,
}
"""Figures, and what draws them: a function, a command that leaves a file of that name, or a notebook."""


# ---- making and comparing -----------------------------------------------------------------------------
def made(what: str) -> str:
    """What belongs after a mark."""
    if what in BLOCKS:
        return BLOCKS[what]()
    kind, _, name = what.partition(" ")
    if kind == "file":
        path = HERE / name
        return fenced(path.read_text(encoding="utf-8").rstrip("\n"), path.suffix[1:])
    if kind != "precision":
        raise click.ClickException(f"no command, file or block is called {what!r}")
    return fenced(ran(what)[0], "text")


def first_figure(notebook: Path) -> bytes:
    """The first picture among the outputs of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    found = next((data["image/png"] for data in outputs if "image/png" in data), None)
    if found is None:
        raise click.ClickException(f"{notebook.name} is kept without a figure")
    return base64.b64decode("".join(found))


def picture(name: str) -> bytes:
    """The figure as a PNG of 128 colours, a third as large as matplotlib's own."""
    from PIL import Image, PngImagePlugin

    from precision import plots

    draw = DRAWN[name]
    if isinstance(draw, Path):
        data = first_figure(draw)
    elif isinstance(draw, str):
        data = ran(draw)[1][name]
    else:
        with tempfile.TemporaryDirectory() as folder:
            plots.save(draw(), Path(folder) / name)
            data = (Path(folder) / name).read_bytes()
    image: Image.Image = Image.open(io.BytesIO(data))
    out, said = io.BytesIO(), PngImagePlugin.PngInfo()
    said.add_text("Software", image.info["Software"])
    image = image.convert("RGB")
    said.add_text("Pixels", hashlib.sha256(image.tobytes()).hexdigest())  # before colours are merged
    image.quantize(128, dither=Image.Dither.NONE).save(
        out, "png", optimize=True, pnginfo=said, dpi=(160, 160)
    )
    return out.getvalue()


def is_stale(path: Path, data: bytes) -> bool:
    """Whether a figure looks otherwise. Another matplotlib draws otherwise, which makes no figure stale."""
    from PIL import Image

    if not path.exists():
        return True
    old, new = (Image.open(io.BytesIO(found)).info for found in (path.read_bytes(), data))
    if old.get("Software") != new.get("Software"):
        raise Skipped(f"it was drawn by {old.get('Software')}")
    return old.get("Pixels") != new.get("Pixels")


def stale(wanted: Callable[[str], bool], *, write: bool) -> Iterator[str]:
    """What is not as it would be made now, or could not be made here; mended if ``write``."""
    for path in pages():
        text = path.read_text(encoding="utf-8")

        def renewed(found: re.Match[str], page: str = path.name) -> str:
            what, end, _ = found.groups()
            if not wanted(what):
                return found[0]
            try:
                new = made(what)
            except Skipped as why:
                click.echo(f"skipped: {page}: {what}: {why}")
                return found[0]
            return f"{what}{end}{new}"

        new = MARK.sub(renewed, text)
        for before, after in zip(MARK.finditer(text), MARK.finditer(new), strict=True):
            if before[0] != after[0]:
                yield f"{path.name}: {before[1]}"
        if write and new != text:
            path.write_text(new, encoding="utf-8")
    for name in filter(wanted, DRAWN):
        data, path = picture(name), FIGURES / name
        try:
            differs = is_stale(path, data)
        except Skipped as why:
            click.echo(f"skipped: {name}: {why}")
            differs = write
        if differs:
            yield f"figures/{name}"
            if write:
                path.write_bytes(data)


@click.command(help=__doc__.partition("\n")[0])
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--check", is_flag=True, help="Write nothing; list what is stale, exit code 1.")
def main(names: tuple[str, ...], check: bool) -> None:
    """See above."""
    wanted = {
        *DRAWN,
        *(mark[1] for page in pages() for mark in MARK.finditer(page.read_text(encoding="utf-8"))),
    }
    for name in names:
        if not any(fnmatchcase(one, name) for one in wanted):
            raise click.UsageError(f"{name!r} is none of {', '.join(sorted(wanted))}")
    chosen = {one for one in wanted if not names or any(fnmatchcase(one, name) for name in names)}
    found = list(stale(chosen.__contains__, write=not check))
    for one in found:
        click.echo(f"{'stale' if check else 'made'}: {one}")
    sys.exit(bool(check and found))


if __name__ == "__main__":
    main()
