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

from precision import units
from precision._support._types import Array
from precision._support.files._strict_json import escape_text, quote_text
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.formats._named import format_of
from precision.gemm._matrix_product import matmul
from precision.hardware._instructions import INSTRUCTIONS, OPERAND_DTYPES, Instruction, as_bits
from precision.quantization._granularity import Block, scale_shape
from precision.quantization._quantized_tensor import QuantizedTensor
from precision.storage._npy_files import read_npz

#: An operand of a recorded product: codes as they are, or codes with scales.
Operand = Array | QuantizedTensor

#: The array type of a result, by the name that vector files use.
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
"""The kinds of scales: one for a tensor; one for each row of A and column of B; one for each group of A and
block or group of B."""

PROMOTION = 128
"""cuBLASLt's interval without fast accumulation, in elements along K (measured on an H100)."""


class Outcome(NamedTuple):
    """The number of outputs that were compared, and of those that differ in any bit."""

    outputs: int
    mismatches: int


@dataclass(frozen=True)
class Case:
    """A recorded multiplication, and the accumulator that should reproduce it.

    Attributes
    ----------
    name : str
        The key in the file, without its last part.
    accumulator : Accumulator
        The accumulator that models the GPU.
    a, b : ndarray or QuantizedTensor
        Operands as `matmul` takes them: ``(..., M, K)`` and ``(..., K, N)``.
    c : ndarray or None
        The registers at the start.
    expected : ndarray
        Bit patterns of the result, unsigned integers as wide as ``dtype``.
    dtype : numpy.dtype
        The type of the result.
    diagonal : bool
        True if only the diagonal of the product was recorded: M independent dot products.
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
    """Return the bit patterns that `precision.matmul` gives for a case.

    Parameters
    ----------
    case : Case
        The case.
    accumulator : Accumulator, optional
        The accumulator to use instead of the case's own.
    """
    unit = case.accumulator if accumulator is None else accumulator
    product = matmul(case.a, case.b, accumulator=unit, c=case.c, dtype=case.dtype)
    return as_bits(np.diagonal(product) if case.diagonal else product)


@in_default_environment
def check(case: Case) -> Outcome:
    """Compare a case with `precision.matmul`, bit for bit, NaN included.

    Parameters
    ----------
    case : Case
        The case, with the recorded result.

    Returns
    -------
    Outcome
        The number of outputs, and the number of those that differ.

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
    """Read every case of a vector file.

    Cases of ``mma.sync`` on FP8, which no accumulator here models, are left out.

    Parameters
    ----------
    path : str or Path
        An ``.npz`` archive of instructions or of GEMMs.

    Raises
    ------
    ValueError
        If the file is no archive of arrays, is damaged, or takes more than 1 GiB unpacked; if a key names no
        known instruction or kind of GEMM; if arrays of a case are missing, or of another type or number of
        axes than the layout has.
    OSError
        If the file cannot be read.
    """
    groups: dict[str, dict[str, Array]] = {}
    for key, array in read_npz(Path(path)).items():
        name, _, part = key.rpartition("|")
        groups.setdefault(name, {})[part] = array
    cases: list[Case] = []
    for name, parts in groups.items():
        try:
            cases += _build_cases(name, parts)
        except KeyError as error:
            missing = quote_text(error.args[0])
            raise ValueError(
                f"{path}: {quote_text(name)} lacks {missing}, or names what is not known"
            ) from None
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{path}: {quote_text(name)}: {escape_text(str(error), 500)}") from None
    return cases


def _build_cases(name: str, parts: dict[str, Array]) -> Iterator[Case]:
    """Yield the cases that the arrays of one name make, none if no accumulator models them."""
    first = name.split("|")[0]
    if first in INSTRUCTIONS:
        instruction = INSTRUCTIONS[first]
        if instruction.accumulator is not None:
            a, b, c, d = (parts[part] for part in "abcd")
            _check_bits("a", a, instruction.a, (3, 4))
            _check_bits("b", b, instruction.b, (a.ndim,))
            _check_products(a, b, (a.shape[0], a.shape[-2], b.shape[-2]), c=c, d=d)
            for part, register in (("c", c), ("d", d)):
                _check_bits(part, register, instruction.register, (3,))
            yield build_instruction_case(instruction, name, a=a, b=b, c=c, d=d)
    elif first in _GEMM_KINDS:
        yield _build_gemm_case(name, [parts[str(i)] for i in range(len(parts))])
    else:
        known = ", ".join((*INSTRUCTIONS, *_GEMM_KINDS))
        raise ValueError(f"key {name!r} must begin with an instruction or a kind of GEMM: {known}")


def _check_bits(part: str, array: Array, dtype: np.dtype[Any], axes: tuple[int, ...]) -> None:
    """Raise ValueError if an array of a file cannot be the bit patterns of ``dtype``."""
    found = array.dtype
    if found.kind not in "iuf" or found.itemsize != dtype.itemsize or not found.isnative:
        raise ValueError(f"array {part} must hold the bits of {dtype}, and is of type {found}")
    if array.ndim not in axes:
        raise ValueError(f"array {part} must have {' or '.join(map(str, axes))} axes, and has {array.ndim}")


def _check_products(a: Array, b: Array, shape: tuple[int, ...], **results: Array) -> None:
    """Raise ValueError if the shapes of a case's arrays do not belong together."""
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"shapes of A and B do not belong together: {a.shape} and {b.shape}")
    for part, result in results.items():
        if result.shape != shape:
            raise ValueError(f"array {part} must have shape {shape}, and has {result.shape}")


@in_default_environment
def build_instruction_case(
    instruction: Instruction, name: str, *, a: Array, b: Array, c: Array, d: Array
) -> Case:
    """Build a case of one instruction, or of a chain of them, from arrays laid out as in the files."""
    if instruction.accumulator is None:
        raise ValueError(f"instruction must have an accumulator that models it, got {instruction.name}")
    return Case(
        name,
        instruction.accumulator,
        a=_join_steps(a).view(instruction.a),
        b=_join_steps(b).view(instruction.b).swapaxes(-1, -2),
        c=c.view(instruction.register),
        expected=d,
        dtype=instruction.register,
    )


def _join_steps(codes: Array) -> Array:
    """Reshape ``[tiles][steps][rows][K]`` to ``[tiles][rows][steps*K]``.

    A chain of instructions is one product of longer rows.
    """
    if codes.ndim == 3:
        return codes
    tiles, steps, rows, k = codes.shape
    return np.ascontiguousarray(codes.swapaxes(1, 2)).reshape(tiles, rows, steps * k)


@in_default_environment
def build_scaled_case(
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
    """Build a case of a scaled FP8 GEMM, ``(a * scale) @ (b * scale).T``.

    Parameters
    ----------
    a, b : ndarray
        FP8 arrays ``(M, K)`` and ``(N, K)``.
    scales : pair of ndarray
        Scales of A and B, float32, one number for each block.
    scaling : str
        The kind of scales, one of `SCALINGS`.
    fast : bool
        True for no promotion (``use_fast_accum``); else the sum is promoted every 128 elements of K.
    """
    left, right = (
        _build_tensor(codes, scale, block)
        for codes, scale, block in zip((a, b), scales, _BLOCKS[scaling], strict=True)
    )
    unit = units.HOPPER_FP8 if fast else units.HOPPER_FP8.promoted(PROMOTION)
    return Case(name, unit, a=left, b=right.T, expected=expected, dtype=dtype, diagonal=diagonal)


def _build_tensor(codes: Array, scale: Array, block: Block) -> QuantizedTensor:
    """Build a quantized tensor from FP8 codes and the scales of their blocks."""
    scales = np.asarray(scale, np.float32).reshape(scale_shape(codes.shape, block))
    return QuantizedTensor(codes=codes, scale=scales, fmt=format_of(codes.dtype), block=block)


_GEMM_KINDS = ("tensor", "scaled", "rowwise", "rowwise-dots", "block", "mm")


def _build_gemm_case(name: str, arrays: list[Array]) -> Case:
    """Build the case of a GEMM from its name and its arrays, in the order of the file."""
    kind, *rest = name.split("|")
    scales = 0 if kind in ("mm", "tensor") else 2
    if len(arrays) != 3 + scales:
        raise ValueError(f"it must have {3 + scales} arrays, and has {len(arrays)}")
    a, b, result = arrays[:3]
    output = OUTPUT_DTYPES[rest[0]] if kind in ("scaled", "rowwise", "rowwise-dots") else OUTPUT_DTYPES["f32"]
    if kind == "mm":
        types = [rest[0]] * 2
    else:
        types = [part for part in rest if part in ("e4m3", "e5m2")] or ["e4m3"] * 2
    left, right = (OPERAND_DTYPES[of] for of in types)
    diagonal = kind == "rowwise-dots"
    for part, array, dtype in (("0", a, left), ("1", b, right), ("2", result, output)):
        _check_bits(part, array, dtype, (1,) if diagonal and part == "2" else (2,))
    _check_products(a, b, (len(a),) if diagonal else (len(a), len(b)), **{"2": result})
    expected = as_bits(result)
    a, b = a.view(left), b.view(right)
    if kind == "mm":
        unit = {"bf16": units.HOPPER_BF16, "f16": units.HOPPER_FP16}[rest[0]]
        return Case(name, unit, a=a, b=b.T, expected=expected, dtype=output)
    fast = "fast" in rest
    if kind == "tensor":
        unit = units.HOPPER_FP8 if fast else units.HOPPER_FP8.promoted(PROMOTION)
        return Case(name, unit, a=a, b=b.T, expected=expected, dtype=output)
    for part, scale in (("3", arrays[3]), ("4", arrays[4])):
        _check_bits(part, scale, np.dtype(np.float32), (0, 1, 2))
    return build_scaled_case(
        name,
        a=a,
        b=b,
        scales=(arrays[3], arrays[4]),
        scaling={"scaled": "tensor", "block": rest[0]}.get(kind, "row"),
        fast=fast,
        expected=expected,
        dtype=output,
        diagonal=diagonal,
    )
