"""The command ``python -m benchmarks``: rows, recorded tables and their comparison, with made-up timings."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import precision as pr

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import __main__ as command
from benchmarks import machine, measuring, record, runs, tables
from benchmarks.measuring import Measured, Row, Yardstick

ROWS = [row for found in measuring.topics().values() for row in found]
COPY = Yardstick("a copy", lambda: lambda: 1.0)
FAST = Row("fast", COPY, make=lambda: lambda: 2.0, bar=0.4, goal=0.9)
COST = Row("cost", COPY, make=lambda: lambda: 2.0, bar=3.0, cost=True)


def entry(ratio=0.5, low=0.45, high=0.55, yardstick="a copy"):
    return {"yardstick": yardstick, "ratio": ratio, "low": low, "high": high}


def table(**rows):
    found = {
        "processor": "Some(R) Processor",
        "kind": "k",
        "vectors": "AVX2",
        "cores": 2,
        "compiled_for": "k",
    }
    described = {"machine": found, "versions": {"numpy": "2.0"}, "date": "2026-01-01", "tree": "abc"}
    return record.table(described, rows)


# ---- declared rows --------------------------------------------------------------------------------------
def test_every_row_has_a_name_of_its_own():
    assert len({row.name for row in ROWS}) == len(ROWS) > 100
    assert all(len(rows) for rows in measuring.topics().values())
    assert "|" not in "".join(row.name + row.to.text for row in ROWS)  # they are cells of tables


def test_a_goal_asks_for_no_less_than_the_bar():
    for row in ROWS:
        bars = row.bar.values() if isinstance(row.bar, dict) else [row.bar]
        assert row.goal is None or all(row.reaches(row.goal, bar) for bar in bars), row.name


def test_every_unit_of_the_catalogue_has_a_product():
    products = [row.name for row in measuring.topics()["bench_gemm"]]
    for name in pr.units.CATALOGUE:
        assert any(product.split(",")[0].split(" ")[0] == name for product in products), name


def test_pytest_runs_the_rows_of_each_file():
    for topic in measuring.topics():
        (mark,) = sys.modules[f"benchmarks.{topic}"].test_row.pytestmark
        assert mark.args[1] == measuring.topics()[topic]


def test_the_pytest_run_fails_below_a_bar(monkeypatch):
    test = measuring.as_test([FAST])
    for ratio in (0.39, 0.41):
        result = Measured(ratio, ratio, ratio, turns=7, ours=1.0, theirs=1.0)
        monkeypatch.setattr(measuring, "measure", lambda row, result=result: result)
        if ratio < FAST.bar:
            with pytest.raises(AssertionError):
                test(FAST)
        else:
            test(FAST)


def test_a_bar_may_depend_on_the_processor(monkeypatch):
    row = Row("r", COPY, make=COPY.make, bar={"AVX-512": 0.8, "other": 2.0})
    for vectors, bar in {"AVX-512": 0.8, "AVX2": 2.0, "other": 2.0}.items():
        monkeypatch.setattr(machine, "vectors", lambda vectors=vectors: vectors)
        assert row.bar_here() == bar


# ---- turns ----------------------------------------------------------------------------------------------
def test_sides_are_measured_in_turn(monkeypatch):
    said = []
    sides = [lambda name=name: said.append(name) or 1.0 for name in ("ours", "theirs")]
    monkeypatch.setattr(measuring, "SECONDS", 0)
    assert measuring.take_turns(*sides) == [(1.0, 1.0)] * measuring.LEAST_TURNS
    assert said == ["ours", "theirs"] * measuring.LEAST_TURNS and measuring.LEAST_TURNS >= 7
    monkeypatch.setattr(measuring, "SECONDS", 1e9)
    assert len(measuring.take_turns(*sides)) == measuring.MOST_TURNS


def test_a_ratio_is_the_median_of_the_turns_ratios():
    pairs = [(1.0, 2.0), (2.0, 2.0), (2.0, 8.0)]
    assert measuring.ratios(FAST, pairs) == Measured(2.0, 1.0, 4.0, turns=3, ours=2.0, theirs=2.0)
    assert measuring.ratios(COST, pairs) == Measured(0.5, 0.25, 1.0, turns=3, ours=2.0, theirs=2.0)


# ---- recorded tables ------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", sorted(record.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_tables_have_the_form(path):
    found = record.read(path)
    assert found.keys() == {"machine", "versions", "date", "tree", "note", "rows"}
    assert found["machine"].keys() == {"processor", "kind", "vectors", "cores", "compiled_for"}
    assert found["machine"]["vectors"] in ("AVX-512", "AVX2", "other")
    assert found["note"] or (found["date"] and found["versions"]["numpy"] and found["versions"]["blas"])
    assert found["rows"].keys() <= {row.name for row in ROWS}, "rename the row in the table as well"
    for name, one in found["rows"].items():
        assert one["yardstick"], name
        ratio, low, high = (one[key] for key in ("ratio", "low", "high"))
        assert ratio is not None or low is not None, name
        if low is not None:
            assert 0 <= low <= (low if ratio is None else ratio) <= high, name
        if not found["note"]:
            assert one["turns"] >= measuring.LEAST_TURNS and one["ours"] > 0 and one["theirs"] > 0, name


def test_a_written_table_is_read_as_it_was(tmp_path):
    measured = Measured(1 / 3, 0.25, 0.5, turns=7, ours=1.2345e-6, theirs=4e-7)
    found = table(fast=record.entry(FAST, measured), cost=entry())
    assert found["rows"]["fast"] == {
        **entry(0.333, 0.25, 0.5), "turns": 7, "ours": 1.23e-6, "theirs": 4e-7, "unit": "s",
    }  # fmt: skip
    record.write(tmp_path / "new" / "table.json", found)
    assert record.read(tmp_path / "new" / "table.json") == found
    assert len((tmp_path / "new" / "table.json").read_text().splitlines()) < 25  # a line for each row


@pytest.mark.parametrize(
    ("ratio", "low", "high", "said"),
    [
        (0.2, 0.184, 0.219, "0.20 (0.18 to 0.22)"),
        (13.3, None, None, "13"),
        (None, 0.7, 0.9, "0.70 to 0.90"),
        (3630.0, 700.0, 4000.0, "3630 (700 to 4000)"),
    ],
)
def test_what_is_shown_of_a_ratio(ratio, low, high, said):
    assert record.said(entry(ratio, low, high)) == said


def test_markdown_shows_machines_side_by_side():
    one, two = table(fast=entry(), cost=entry(2.0, None, None)), table(fast=entry(yardstick="another copy"))
    assert tables.markdown([FAST, COST], [one, two]).splitlines() == [
        "| what | of | Some, AVX2 | Some, AVX2 |",
        "| --- | --- | --- | --- |",
        "| fast | a copy | 0.50 (0.45 to 0.55) | 0.50 (0.45 to 0.55) of another copy |",
        "| cost | a copy | 2.0 times |  |",
    ]
    assert (
        tables.described(one)
        == "- Some, AVX2: 2 cores (k); numpy 2.0; measured on 2026-01-01; at commit abc\n"
    )


# ---- comparison -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "before", "now", "verdict"),
    [
        (FAST, entry(), entry(0.41, 0.4, 0.42), "equal"),
        (FAST, entry(), entry(0.39, 0.38, 0.4), "worse"),
        (FAST, entry(), entry(0.39, 0.3, 0.45), "equal"),  # the new spread is the larger one
        (FAST, entry(), entry(0.61, 0.6, 0.62), "better"),
        (COST, entry(), entry(0.61, 0.6, 0.62), "worse"),
        (COST, entry(), entry(0.39, 0.38, 0.4), "better"),
        (FAST, entry(0.5, 0.5, 0.5), entry(0.49, 0.49, 0.49), "worse"),  # sizes do not vary
        (FAST, None, entry(), "unknown"),
        (FAST, entry(yardstick="another"), entry(0.1), "unknown"),
        (FAST, entry(0.5, None, None), entry(0.1), "unknown"),
        (FAST, entry(None), entry(0.1), "unknown"),
    ],
)
def test_verdicts(row, before, now, verdict):
    assert record.verdict(row, before, now) == verdict


def test_a_comparison_tells_rows_and_versions():
    before, now = table(fast=entry(), cost=entry()), table(fast=entry(0.2, 0.19, 0.21), cost=entry())
    now["versions"] = {"numpy": "2.1"}
    found = record.compare([FAST, COST], before, now)
    assert (found.worse, found.better, found.equal, found.unknown) == (["fast"], [], ["cost"], [])
    assert record.told(found, before, now).splitlines() == [
        "worse: fast: 0.50 (0.45 to 0.55) recorded, 0.20 (0.19 to 0.21) now",
        "numpy 2.0 there, 2.1 here",
        "1 worse by more than their spread, 0 better, 1 within it, 0 not recorded with a spread",
    ]


# ---- the command ----------------------------------------------------------------------------------------
@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command on two made-up rows; each measurement takes the next ratio of the row called fast."""

    def run(*arguments, ratios=(0.5,), cost=2.0, rows=(FAST, COST)):
        left = iter(ratios)

        def measure_all(chosen):
            found = {
                row.name: next(left) if row is FAST else cost for rows in chosen.values() for row in rows
            }
            return {
                name: x if isinstance(x, str) else Measured(x, 0.9 * x, 1.1 * x, turns=7, ours=1.0, theirs=x)
                for name, x in found.items()
            }

        described = {key: value for key, value in table().items() if key not in ("note", "rows")}
        monkeypatch.setattr(command, "topics", lambda: {"bench_made_up": rows})
        monkeypatch.setattr(machine, "described", lambda: described)
        monkeypatch.setattr(record, "here", lambda: tmp_path / "here.json")
        for module in (command, runs):
            monkeypatch.setattr(module, "measure_all", measure_all)
        found = CliRunner().invoke(command.main, arguments)
        assert isinstance(found.exception, SystemExit | None), found.exception
        return found

    return run


def test_a_whole_run_writes_this_machines_table(run, tmp_path):
    assert run().exit_code == 0
    assert record.read(tmp_path / "here.json")["rows"]["fast"]["ratio"] == 0.5
    assert "not at its goal: fast: 0.5, goal 0.9" in run().output


def test_rows_apart_are_measured_only_if_they_are_named(run):
    apart = dataclasses.replace(COST, apart=True)
    assert "2 rows" in run().output
    assert "1 rows" in run(rows=(FAST, apart)).output
    assert "1 rows" in run("--only", "cost", rows=(FAST, apart)).output
    assert "cost, of a copy: at most, bar 3 (only if it is named)" in run("--list", rows=(FAST, apart)).output


def test_a_part_writes_only_what_it_is_told_to(run, tmp_path):
    assert run("--only", "fas*").exit_code == 0
    assert not list(tmp_path.iterdir())
    assert run("--only", "COST", "--out", str(tmp_path / "part.json")).exit_code == 0
    assert list(record.read(tmp_path / "part.json")["rows"]) == ["cost"]


def test_a_missed_bar_and_a_failure_are_told(run):
    assert run(ratios=[0.39]).exit_code == run(cost=3.1).exit_code == run(cost="failed: why").exit_code == 1
    assert "misses its bar: fast: 0.39, bar 0.4" in run(ratios=[0.39]).output
    found = run(cost="needs torch")
    assert found.exit_code == 0 and "left out: cost: needs torch" in found.output


def test_a_comparison_measures_once_more_before_it_says_worse(run, tmp_path):
    assert run(ratios=[0.9]).exit_code == 0
    before = record.read(tmp_path / "here.json")
    assert run("--compare", ratios=[0.89]).exit_code == 0
    assert run("--compare", ratios=[0.6, 0.9]).exit_code == 0
    found = run("--compare", ratios=[0.6, 0.61])
    assert found.exit_code == 1 and "worse: fast: 0.90 (0.81 to 0.99) recorded, 0.61" in found.output
    assert record.read(tmp_path / "here.json") == before
    assert run("--compare", str(tmp_path / "none.json")).exit_code == 2


def test_rows_are_found_by_parts_of_names(run):
    assert run("--list").output.splitlines() == [
        "bench_made_up: fast, of a copy: at least, bar 0.4, goal 0.9",
        "bench_made_up: cost, of a copy: at most, bar 3",
    ]
    assert len(run("--list", "--only", "made_up").output.splitlines()) == 2
    faster = dataclasses.replace(FAST, name="faster")
    assert "2 rows" in run("--only", "FAST", rows=(FAST, faster)).output
    assert "1 rows" in run("--only", "fast", rows=(FAST, faster)).output
    found = run("--only", "fats")
    assert found.exit_code == 2 and "near are: fast" in found.output
