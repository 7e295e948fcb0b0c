"""The command ``python -m precision.hardware``: it compares the emulator with this machine's GPU.

The operands are fresh. The command has three parts: ``instructions`` (single tensor-core instructions and
short chains), ``gemms`` (PyTorch's FP8 GEMM at points of a grid) and ``floors`` (the exponent floor of FP16
registers). Every row is printed, and with ``--out`` also written as it comes: nothing that differs is left
out.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.hardware import (
    _capture,
    _exponent_floor,
    _gemm_models,
    _library_gemms,
    _random_operands,
    _recorded_cases,
)
from precision.hardware._instructions import MODELLED, Instruction, as_bits

BATCH = (512, 256)
"""The numbers of rows of A and of B in one batch of instructions."""


class Report:
    """A table that is printed row by row and, with a folder, written to ``NAME.txt`` and ``NAME.jsonl``."""

    def __init__(self, name: str, folder: Path | None) -> None:
        self._files = [(folder / f"{name}.{kind}").open("w") for kind in ("txt", "jsonl")] if folder else []

    def line(self, text: str) -> None:
        """Print one line of text, and write it to the text file."""
        print(text, flush=True)
        if self._files:
            print(text, file=self._files[0], flush=True)

    def row(self, text: str, record: dict[str, Any]) -> None:
        """Print one row, and write its record to the file of records."""
        self.line(text)
        if self._files:
            print(json.dumps(record), file=self._files[1], flush=True)


def _write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """Write arrays to a compressed ``.npz`` archive."""
    save: Any = np.savez_compressed  # its type reads every keyword as a bool
    save(path, **arrays)


def verify_instructions(
    outputs: int, *, seed: int, folder: Path | None = None, probe: _capture.Probe | None = None
) -> int:
    """Compare fresh outputs of every modelled instruction on this machine's GPU with the emulator.

    Parameters
    ----------
    outputs : int
        The number of outputs for each instruction, rounded up to whole batches.
    seed : int
        The seed of all operands.
    folder : pathlib.Path, optional
        The folder for the report; by default it is only printed.
    probe : Probe, optional
        The compiled probe; by default it is built.

    Returns
    -------
    int
        The number of outputs that differ.
    """
    report = Report("instructions", folder)
    probe = _capture.Probe(_capture.build()) if probe is None else probe
    report.line(f"{'instruction':22}{'accumulator':20}{'outputs':>12}{'mismatches':>12}{'seconds':>9}")
    counted = wrong = 0
    for number, instruction in enumerate(MODELLED):
        start = time.perf_counter()
        done = missed = 0
        examples: list[dict[str, Any]] = []
        for batch in range(-(-outputs // (BATCH[0] * BATCH[1]))):
            rng = np.random.default_rng([seed, number, batch])
            case = _run_batch(rng, instruction, probe, steps=4 if batch % 4 == 3 else 1)
            found = _recorded_cases.emulate(case)
            where = np.argwhere(found != case.expected)
            done, missed = done + found.size, missed + len(where)
            examples += [_record_example(case, found, *index) for index in where[: max(0, 4 - len(examples))]]
        seconds = time.perf_counter() - start
        record: dict[str, Any] = {
            "instruction": instruction.name,
            "accumulator": str(instruction.accumulator),
        }
        record |= {"outputs": done, "mismatches": missed, "examples": examples}
        report.row(
            f"{instruction.name:22}{instruction.accumulator!s:20}{done:12,}{missed:12,}{seconds:9.1f}", record
        )
        counted, wrong = counted + done, wrong + missed
    report.line(f"{'all':42}{counted:12,}{wrong:12,}")
    return wrong


def _run_batch(
    rng: np.random.Generator, instruction: Instruction, probe: _capture.Probe, *, steps: int
) -> _recorded_cases.Case:
    """Run one batch of fresh operands on the GPU, and build its case."""
    k = steps * instruction.k
    a = _random_operands.draw_operand_rows(rng, instruction.a, (BATCH[0], k), right=False)
    b = _random_operands.draw_operand_rows(rng, instruction.b, (BATCH[1], k), right=True)
    c = _random_operands.draw_registers(rng, instruction.register, BATCH)
    d = probe.run(instruction, a, b, c)
    name = f"{instruction.name}|{steps} in a row"
    return _recorded_cases.build_instruction_case(
        instruction, name, a=a[None], b=b[None], c=c[None], d=d[None]
    )


def _record_example(case: _recorded_cases.Case, found: Array, *where: int) -> dict[str, Any]:
    """Record one output that differs, with all numbers that are needed to compute it again."""
    tile, row, column = where
    assert isinstance(case.a, np.ndarray) and isinstance(case.b, np.ndarray) and case.c is not None
    return {
        "a": as_bits(case.a[tile, row]).tolist(),
        "b": as_bits(case.b[tile, :, column]).tolist(),
        "c": int(as_bits(case.c)[tile, row, column]),
        "gpu": int(case.expected[tile, row, column]),
        "emulator": int(found[tile, row, column]),
    }


def verify_floors(*, folder: Path | None = None, probe: _capture.Probe | None = None) -> dict[str, list[int]]:
    """Print which floors of the alignment's exponent fit this machine's GPU, and return them.

    Parameters
    ----------
    folder : pathlib.Path, optional
        The folder for the report and the arrays of all outputs; by default the report is only printed.
    probe : Probe, optional
        The compiled probe; by default it is built.

    Returns
    -------
    dict
        For the name of each instruction, the floors with which no output differs.
    """
    report = Report("floors", folder)
    probe = _capture.Probe(_capture.build()) if probe is None else probe
    fitting: dict[str, list[int]] = {}
    arrays: dict[str, Array] = {}
    for instruction in _exponent_floor.PROBED:
        missed, recorded = _exponent_floor.count_mismatches(instruction, probe.run)
        fitting[instruction.name] = [floor for floor, count in missed.items() if count == 0]
        report.row(
            f"{instruction.name}: {recorded['d'].size} outputs; "
            f"floors that fit: {fitting[instruction.name]}; mismatches by floor: {missed}",
            {"instruction": instruction.name, "mismatches": missed},
        )
        arrays |= {f"{instruction.name}|floor16|zero|{part}": array for part, array in recorded.items()}
    if folder:
        _write_npz(folder / "floors16.npz", arrays)
    return fitting


def verify_gemms(points: int, *, seed: int, seconds: float, budget: int, folder: Path | None = None) -> int:
    """Compare library GEMMs at some points of the grid; return the number of outputs that differ.

    Parameters
    ----------
    points : int
        Number of points with a result; refused ones are listed and do not count.
    seed : int
        Seed of the order of the points and of all operands.
    seconds : float
        Time after which no new point is begun.
    budget : int
        Number of multiply-adds that the emulator spends on one point; larger products are compared in part.
    folder : pathlib.Path, optional
        The folder for the report and for corners of products that differ; by default the report is only
        printed.
    """
    report = Report("gemms", folder)
    report.line(
        f"{'#':>5}{'M':>6}{'N':>6}{'K':>7} {'types':10}{'sum':5}{'scaling':15}{'out':5}{'data':8}"
        f"{'compared':>12}{'outputs':>10}{'mismatches':>11}  note"
    )
    start = time.perf_counter()
    tally: dict[tuple[str, ...], collections.Counter[str]] = {}
    saved: dict[str, Array] = {}
    answered = wrong = 0
    for number, point in enumerate(_library_gemms.shuffle_points(seed)):
        if answered == points or time.perf_counter() - start > seconds:
            break
        record: dict[str, Any] = {"number": number, **asdict(point)}
        try:
            _compare(point, np.random.default_rng([seed, number]), budget, record, saved)
        except Exception as error:  # a point that fails is a row of the table, not the end of it
            record["failed"] = f"{type(error).__name__}: {error}"
        report.row(_format_row(record), record)
        kind = (f"{point.a} x {point.b}", "fast" if point.fast else "slow", point.scaling)
        count = tally.setdefault(kind, collections.Counter())
        if "outputs" in record:
            answered, wrong = answered + 1, wrong + record["mismatches"]
            count.update(points=1, outputs=record["outputs"], mismatches=record["mismatches"])
            count.update(differing=record["mismatches"] > 0, explained=record.get("explained", False))
        count.update(refused="refused" in record, failed="failed" in record)
    if folder and saved:
        _write_npz(folder / "mismatches.npz", saved)
    _print_summary(report, tally)
    report.line(f"{answered} points answered, {wrong} outputs differ, {time.perf_counter() - start:.0f} s")
    return wrong


def _compare(
    point: _library_gemms.Point,
    rng: np.random.Generator,
    budget: int,
    record: dict[str, Any],
    saved: dict[str, Array],
) -> None:
    """Fill ``record`` with the library's answer at a point, and its differences from the emulator's."""
    record["data"] = str(rng.choice(_random_operands.GEMM_DATA))
    outputs = point.outputs(rng)
    gemm = point.gemm(rng, data=record["data"], output=outputs[0])
    for output in outputs:
        gemm = dataclasses.replace(gemm, output=output)
        record["output"] = output
        try:
            result = _capture.library_gemm(gemm)
            break
        except _capture.Refused as refusal:
            record["refused"] = str(refusal)
    else:
        return
    record.pop("refused", None)
    record["kernels"] = list(result.kernels)
    rows, columns = _library_gemms.choose_outputs(point, rng, budget=budget)
    part, expected = gemm.select(rows, columns), result.bits[np.ix_(rows, columns)]
    total, mismatches = _recorded_cases.check(part.case("point", expected))
    record |= {"rows": len(rows), "columns": len(columns), "outputs": total, "mismatches": mismatches}
    if mismatches:
        again = _capture.library_gemm(gemm, name_kernels=False).bits
        record["repeatable"] = bool(np.array_equal(again, result.bits))
        _save_corner(saved, "|".join(str(value) for value in asdict(point).values()), part, expected)
        model, left = _gemm_models.explain(part, expected)
        record |= {"model": model, "left": left, "explained": left == 0}


def _save_corner(saved: dict[str, Array], name: str, part: _library_gemms.Gemm, expected: Array) -> None:
    """Keep a corner of a product that differs, unless all corners together grow too large to send."""
    rows = np.arange(min(8, len(part.a)))
    columns = np.arange(min(_library_gemms.BLOCK if part.square_blocks else 8, len(part.b)))
    few = part.select(rows, columns)
    arrays = [as_bits(np.asarray(x)) for x in (few.a, few.b, expected[np.ix_(rows, columns)], *few.scales)]
    if sum(array.nbytes for array in (*saved.values(), *arrays)) <= 8 * 10**6:
        saved |= {f"{name}|{i}": array for i, array in enumerate(arrays)}


def _format_row(record: dict[str, Any]) -> str:
    """Return the row of text of a record."""
    text = (
        f"{record['number']:5}{record['m']:6}{record['n']:6}{record['k']:7} "
        f"{record['a'] + 'x' + record['b']:10}{'fast' if record['fast'] else 'slow':5}{record['scaling']:15}"
        f"{record.get('output', ''):5}{record.get('data', ''):8}"
    )
    troubles = "; ".join(
        f"{trouble}: {record[trouble]}" for trouble in ("refused", "failed") if trouble in record
    )
    if "outputs" not in record:
        return f"{text}{'-':>12}{'-':>10}{'-':>11}  {troubles}"
    notes = [" + ".join(name.removeprefix("void ").split("<")[0].split("(")[0] for name in record["kernels"])]
    if "model" in record:
        left = f"NOT explained ({record['left']} differ still), nearest:"
        notes.append(f"{'explained by' if record['explained'] else left} {record['model']}")
    if not record.get("repeatable", True):
        notes.append("a second call gave other bits")
    compared = f"{record['rows']}x{record['columns']}"
    return f"{text}{compared:>12}{record['outputs']:10}{record['mismatches']:11}  " + "; ".join(
        [*notes, *([troubles] if troubles else [])]
    )


def _print_summary(report: Report, tally: dict[tuple[str, ...], collections.Counter[str]]) -> None:
    """Print the counts by formats, accumulation and scaling."""
    report.line("")
    columns = ("points", "outputs", "mismatches", "differing", "explained", "refused", "failed")
    report.line(f"{'':40}" + "".join(f"{name:>12}" for name in columns))
    for kind, count in sorted(tally.items()):
        report.line(f"{'  '.join(kind):40}" + "".join(f"{count[name]:12,}" for name in columns))
    total = sum(tally.values(), collections.Counter())
    report.line(f"{'all':40}" + "".join(f"{total[name]:12,}" for name in columns))


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the command; return 1 if any output differs, explained or not, else 0."""
    parser = argparse.ArgumentParser(prog="python -m precision.hardware", description=__doc__)
    parser.add_argument("part", choices=("instructions", "gemms", "floors", "all"))
    parser.add_argument("--outputs", type=int, default=20_000_000, help="outputs for each instruction")
    parser.add_argument(
        "--points", type=int, default=len(_library_gemms.list_points()), help="points with a result; all"
    )
    parser.add_argument("--seconds", type=float, default=420.0, help="time after which no point is begun")
    parser.add_argument("--budget", type=int, default=2 * 10**10, help="multiply-adds emulated for a point")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--out", type=Path, help="folder for tables and records")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    wrong = 0
    if options.part in ("floors", "all"):
        verify_floors(folder=options.out)
    if options.part in ("instructions", "all"):
        wrong += verify_instructions(options.outputs, seed=options.seed, folder=options.out)
    if options.part in ("gemms", "all"):
        limits = {"seconds": options.seconds, "budget": options.budget}
        wrong += verify_gemms(options.points, seed=options.seed, folder=options.out, **limits)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
