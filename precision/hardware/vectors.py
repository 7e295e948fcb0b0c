"""Recorded operands and results of a GPU, as cases that `check` compares with `precision.matmul`.

The files are ``.npz`` archives. An array of an *instruction* file is called ``INSTRUCTION|DATA|DATA OF C|X``
with X one of a, b, c, d: codes of A ``[tiles][64][K]``, codes of B ``[tiles][8][K]`` (a row is a *column* of
the right operand), bit patterns of the registers before and after ``[tiles][64][8]``. Chains have one axis
more, of instructions that ran one after the other on the same registers: A ``[tiles][steps][64][K]``.

An array of a *GEMM* file is called ``KIND|...|MxNxK|X`` with X 0: codes of A ``[M][K]``, 1: codes of B
``[N][K]`` (the call was ``a @ b.T``), 2: the result, 3 and 4: the scales of A and B. Kinds are ``tensor``
(tensor-wise scales of 1), ``scaled`` (tensor-wise), ``rowwise``, ``rowwise-dots`` (the diagonal of such a
product), ``block`` and ``mm``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from precision import accumulators
from precision._support._float_environment import in_default_environment
from precision.accumulators import Accumulator
from precision.formats import format_of
from precision.gemm import matmul
from precision.hardware.instructions import INSTRUCTIONS, OPERAND_DTYPES, Array, Instruction, bits
from precision.quantized import QuantizedTensor, scale_shape
from precision.scaling import Block

Operand = Array | QuantizedTensor

OUTPUT_DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
}


_BLOCKS: dict[str, tuple[Block, Block]] = {
    "tensor": ((None, None), (None, None)),
    "row": ((1, None), (1, None)),
    "1x128*128x128": ((1, 128), (128, 128)),
    "1x128*1x128": ((1, 128), (1, 128)),
}
"""The rows and columns of A and of B (as it is stored, K last) under one scale; None is all of them."""

SCALINGS = tuple(_BLOCKS)
"""Of the whole tensor; of each row of A and column of B; in groups of A and blocks or groups of B."""

PROMOTION = 128
"""cuBLASLt's interval without fast accumulation, in elements along K (measured on an H100)."""


class Outcome(NamedTuple):
    """How many outputs were compared, and how many of them differ in any bit."""

    outputs: int
    mismatches: int


@dataclass(frozen=True)
class Case:
    """One recorded multiplication and the accumulator that should reproduce it.

    Attributes
    ----------
    name : str
        The key in the file, without its last part.
    accumulator : Accumulator
        The model.
    a, b : ndarray or QuantizedTensor
        Operands as `matmul` takes them: ``(..., M, K)`` and ``(..., K, N)``.
    c : ndarray or None
        The register at the start.
    expected : ndarray
        Bit patterns of the result, unsigned integers as wide as ``dtype``.
    dtype : numpy.dtype
        The type of the result.
    diagonal : bool
        Only the diagonal of the product was recorded: M independent dot products.
    """

    name: str
    accumulator: Accumulator
    _: KW_ONLY
    a: Operand
    b: Operand
    expected: Array
    dtype: np.dtype[Any]
    c: Array | None = None
    diagonal: bool = False


@in_default_environment
def emulate(case: Case, accumulator: Accumulator | None = None) -> Array:
    """The bit patterns that `precision.matmul` gives for a case (with another ``accumulator``, if given)."""
    unit = case.accumulator if accumulator is None else accumulator
    product = matmul(case.a, case.b, accumulator=unit, c=case.c, dtype=case.dtype)
    return bits(np.diagonal(product) if case.diagonal else product)


@in_default_environment
def check(case: Case) -> Outcome:
    """Compare a case with `precision.matmul`, NaNs by their bits too.

    Raises
    ------
    ValueError
        If the recorded result has another shape or type than the product.
    """
    found = emulate(case)
    if found.shape != case.expected.shape or found.dtype != case.expected.dtype:
        raise ValueError(
            f"expected of {case.name} must be {found.dtype}{list(found.shape)}, the bits of the product, "
            f"got {case.expected.dtype}{list(case.expected.shape)}"
        )
    return Outcome(found.size, int(np.count_nonzero(found != case.expected)))


@in_default_environment
def read(path: str | Path) -> list[Case]:
    """Every case of a vector file. ``mma.sync`` on FP8, which no accumulator here models, is left out.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` of instructions or of GEMMs, laid out as above.

    Raises
    ------
    ValueError
        If a key names no known instruction or kind of GEMM.
    """
    with np.load(path) as archive:
        groups: dict[str, dict[str, Array]] = {}
        for key in archive.files:
            name, _, part = key.rpartition("|")
            groups.setdefault(name, {})[part] = archive[key]
    return [case for name, parts in groups.items() for case in _cases(name, parts)]


def _cases(name: str, parts: dict[str, Array]) -> Iterator[Case]:
    first = name.split("|")[0]
    if first in INSTRUCTIONS:
        if INSTRUCTIONS[first].accumulator is not None:
            yield instruction_case(
                INSTRUCTIONS[first], name, a=parts["a"], b=parts["b"], c=parts["c"], d=parts["d"]
            )
    elif first in _GEMM_KINDS:
        yield _recorded_gemm(name, [parts[str(i)] for i in range(len(parts))])
    else:
        known = ", ".join((*INSTRUCTIONS, *_GEMM_KINDS))
        raise ValueError(f"key {name!r} must begin with an instruction or a kind of GEMM: {known}")


@in_default_environment
def instruction_case(instruction: Instruction, name: str, *, a: Array, b: Array, c: Array, d: Array) -> Case:
    """A case of one instruction, or of a chain of them, from arrays laid out as in the files."""
    if instruction.accumulator is None:
        raise ValueError(f"instruction must have an accumulator that models it, got {instruction.name}")
    return Case(
        name,
        instruction.accumulator,
        a=_along_k(a).view(instruction.a),
        b=_along_k(b).view(instruction.b).swapaxes(-1, -2),
        c=c.view(instruction.register),
        expected=d,
        dtype=instruction.register,
    )


def _along_k(codes: Array) -> Array:
    """``[tiles][steps][rows][K]`` to ``[tiles][rows][steps*K]``: a chain is one product of longer rows."""
    if codes.ndim == 3:
        return codes
    tiles, steps, rows, k = codes.shape
    return np.ascontiguousarray(codes.swapaxes(1, 2)).reshape(tiles, rows, steps * k)


@in_default_environment
def scaled_case(
    name: str,
    *,
    a: Array,
    b: Array,
    scales: tuple[Array, Array],
    scaling: str,
    fast: bool,
    expected: Array,
    dtype: np.dtype[Any],
    diagonal: bool = False,
) -> Case:
    """A case of a scaled FP8 GEMM, ``(a * scale) @ (b * scale).T``.

    Parameters
    ----------
    a, b : ndarray
        FP8 arrays ``(M, K)`` and ``(N, K)``.
    scales : pair of ndarray
        Of A and B, float32, one number for each block.
    scaling : str
        One of `SCALINGS`.
    fast : bool
        No promotion (``use_fast_accum``); else one every 128 elements of K.
    """
    left, right = (
        _quantized(codes, scale, block)
        for codes, scale, block in zip((a, b), scales, _BLOCKS[scaling], strict=True)
    )
    unit = accumulators.HOPPER_FP8 if fast else accumulators.HOPPER_FP8.promoted(PROMOTION)
    return Case(name, unit, a=left, b=right.T, expected=expected, dtype=dtype, diagonal=diagonal)


def _quantized(codes: Array, scale: Array, block: Block) -> QuantizedTensor:
    scales = np.asarray(scale, np.float32).reshape(scale_shape(codes.shape, block))
    return QuantizedTensor(codes=codes, scale=scales, fmt=format_of(codes.dtype), block=block)


_GEMM_KINDS = ("tensor", "scaled", "rowwise", "rowwise-dots", "block", "mm")


def _recorded_gemm(name: str, arrays: list[Array]) -> Case:
    kind, *rest = name.split("|")
    a, b, result = arrays[:3]
    output = OUTPUT_DTYPES[rest[0]] if kind in ("scaled", "rowwise", "rowwise-dots") else OUTPUT_DTYPES["f32"]
    expected = bits(result)
    if kind == "mm":
        dtype = OPERAND_DTYPES[rest[0]]
        unit = {"bf16": accumulators.HOPPER_BF16, "f16": accumulators.HOPPER_FP16}[rest[0]]
        return Case(name, unit, a=a.view(dtype), b=b.view(dtype).T, expected=expected, dtype=output)
    types = [part for part in rest if part in ("e4m3", "e5m2")] or ["e4m3", "e4m3"]
    a, b = (codes.view(OPERAND_DTYPES[kind]) for codes, kind in zip((a, b), types, strict=True))
    fast = "fast" in rest
    if kind == "tensor":
        unit = accumulators.HOPPER_FP8 if fast else accumulators.HOPPER_FP8.promoted(PROMOTION)
        return Case(name, unit, a=a, b=b.T, expected=expected, dtype=output)
    if kind == "scaled":
        scaling = "tensor"
    elif kind == "block":
        scaling = rest[0]
    else:
        scaling = "row"
    return scaled_case(
        name,
        a=a,
        b=b,
        scales=(arrays[3], arrays[4]),
        scaling=scaling,
        fast=fast,
        expected=expected,
        dtype=output,
        diagonal=kind == "rowwise-dots",
    )
