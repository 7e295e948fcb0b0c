"""A search for the exponent floor of the alignment in instructions with FP16 registers.

The products are so small that only the floor decides how a tie is rounded. A sum of a multiple of 2^-23, half
of an FP16 subnormal (2^-25) and a tiny term rounds as if the tiny term were not there exactly when the
alignment cut it off: when it lies below 2^(max(largest exponent, floor) - F).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.hardware import _recorded_cases
from precision.hardware._instructions import INSTRUCTIONS, Instruction, as_bits

CANDIDATES = (-133, *range(-30, -9))
"""The candidate floors."""

PROBED = tuple(INSTRUCTIONS[name] for name in ("wgmma.f16.f16.f16", "mma.f16.f16.f16", "wgmma.f16.e5m2.e5m2"))
"""The instructions with FP16 registers whose operands have values that are small enough."""

#: Runs an instruction on codes of A, codes of B and registers, and returns the registers afterwards.
Runner = Callable[[Instruction, Array, Array, Array], Array]


@in_default_environment
def build_operands(instruction: Instruction) -> tuple[Array, Array, Array]:
    """Build codes of A (M, K) and B (8, K), and registers (M, 8) of zero, whose sums depend on the floor.

    Columns 0 and 1 of A and B make the main terms, column 2 half a subnormal, and column 3 the tiny term.
    """
    smallest = {"float16": -24, "float8_e5m2": -16}[instruction.a.name]
    mains = [None, *range(-25, -13)]
    tinies = range(2 * smallest, 2 * smallest + 12)
    rows = []
    for main, tiny, half, sign in itertools.product(mains, tinies, (1.0, -1.0), (1.0, -1.0)):
        row = np.zeros(instruction.k)
        if main is not None:
            row[:2] = 2.0 ** (main + 12)
        row[2] = half * 2.0**-13
        row[3] = sign * 2.0 ** (tiny - smallest)
        rows.append(row)
    rows += [np.zeros(instruction.k)] * (-len(rows) % 64)
    columns = np.zeros((8, instruction.k))
    columns[:, :3] = 2.0**-12
    columns[:, 3] = 2.0**smallest * np.array([1, 1, 2, 3, 0, -1, 1, -3])
    columns[:, 1] *= np.array([1, 0, 1, 1, 1, 1, -1, 0])
    return (
        as_bits(np.array(rows).astype(instruction.a)),
        as_bits(columns.astype(instruction.b)),
        np.zeros((len(rows), 8), np.uint16),
    )


@in_default_environment
def count_mismatches(instruction: Instruction, run: Runner) -> tuple[dict[int, int], dict[str, Array]]:
    """Count, for each candidate floor, the outputs on which the model differs; return also the arrays.

    Parameters
    ----------
    run : callable
        Function of the instruction, A, B and C that returns the registers, as `Probe.run` does.
    """
    a, b, c = build_operands(instruction)
    d = run(instruction, a, b, c)
    tiles = (a.reshape(-1, 64, a.shape[1]), c.reshape(-1, 64, 8), d.reshape(-1, 64, 8))
    recorded = {"a": tiles[0], "b": np.repeat(b[None], len(tiles[0]), axis=0), "c": tiles[1], "d": tiles[2]}
    case = _recorded_cases.build_instruction_case(instruction, "floor16", **recorded)
    unit: Any = case.accumulator  # every instruction's unit is a fused sum
    missed = {}
    for floor in CANDIDATES:
        found = _recorded_cases.emulate(case, dataclasses.replace(unit, min_exponent=floor))
        missed[floor] = int(np.count_nonzero(found != case.expected))
    return missed, recorded
