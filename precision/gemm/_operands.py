"""The checks of a product's arguments before any work: operands, shapes, type of the result and start."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype, refuse_masked
from precision._support._plans import planned
from precision._support._types import Array
from precision.accumulators._accumulator import Accumulator
from precision.formats._code_checks import clean_codes
from precision.formats._codec import round_to
from precision.formats._codec_arrays import WORDS
from precision.formats._float_format import FloatFormat
from precision.formats._named import BF16, FP16, FP32, FP64, TF32, Format, format_in_use
from precision.formats._rounding_modes import Overflow
from precision.quantization._quantized_tensor import QuantizedTensor

Operand = npt.ArrayLike | QuantizedTensor

#: The most elements of an operand, and of a result, of products of which plans are kept.
_SMALL = 2**14

#: The types of results, and their names.
_RESULTS = tuple(fmt.dtype for fmt in (FP16, BF16, FP32, FP64))
_NAMES = ", ".join(map(str, _RESULTS))


class Checked(NamedTuple):
    """A checked operand: codes of shape (..., rows, columns), their format, and the tensor with scales."""

    name: str
    codes: Array
    fmt: Format
    quantized: QuantizedTensor | None


def checked_operand(name: str, x: Operand, accumulator: Accumulator) -> Checked:
    """Return an operand's codes and format, or raise if the accumulator does not take it."""
    if isinstance(x, QuantizedTensor):
        codes, fmt, quantized = clean_codes(x.codes, x.fmt, f"{name}: codes"), x.fmt, x
        if fmt == TF32:  # a `Stack` holds TF32 as the bits of float32
            codes = codes << np.uint32(13)
    else:
        refuse_masked(name, x)
        codes, quantized = np.asarray(x), None
        fmt = format_in_use(codes.dtype) or FP64
        if not isinstance(fmt, FloatFormat) or fmt.bits == 64:
            raise TypeError(
                f"{name} must be a QuantizedTensor or an array of float16, float32 or an ml_dtypes float, "
                f"got an array of {codes.dtype}"
            )
        codes = clean_codes(codes, fmt, f"{name}: codes")
    read_as = accumulator.takes(fmt)
    if read_as is None or (quantized is not None and read_as != fmt):
        taken = ", ".join(str(operand) for operand in accumulator.operand_formats)
        given = f"{codes.dtype} ({fmt})"
        raise TypeError(f"{name} must hold {taken}, which is what {accumulator} takes, got {given}")
    fmt = read_as
    if codes.ndim == 0:
        raise ValueError(f"{name} must have at least one axis, got a scalar")
    return Checked(name, codes, fmt, quantized)


def checked_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the type of the result, or raise if no result has that type."""
    kind = check_dtype(dtype, f"one of {_NAMES}")
    if kind not in _RESULTS and kind.newbyteorder("=") not in _RESULTS:
        raise TypeError(f"dtype must be one of {_NAMES}, got {kind}")
    return kind


def _unsigned(codes: Array) -> Array:
    """Return codes as unsigned integers, a view."""
    return codes.view(WORDS[codes.itemsize])


def keeps_plans(a: Array, b: Array) -> bool:
    """Tell whether a product of such codes is so small that its plans, which grow with it, are kept."""
    length = a.shape[-1]
    return a.size <= _SMALL and b.size <= _SMALL and 0 < a.size * b.size <= _SMALL * length * length


class Shapes:
    """The shapes of a product by `numpy.matmul`'s rules: vectors are matrices, batch axes broadcast."""

    left: Array  #: stacks of matrices of codes
    right: Array
    batch: tuple[int, ...]
    rows: int
    length: int
    columns: int
    left_matrix: Array  #: for each result, the index of the matrix that it is computed from
    right_matrix: Array
    sizes: tuple[int, int, int]  #: numbers of results, rows and columns
    result: tuple[int, ...]

    def __init__(self, a: Checked, b: Checked) -> None:
        shapes = a.codes.shape, b.codes.shape
        small = keeps_plans(a.codes, b.codes)
        self.__dict__.update(lay_out(*shapes) if small else lay_out.__wrapped__(*shapes))  # type: ignore[attr-defined]
        self.left, self.right = stack_codes(a.codes, 0), stack_codes(b.codes, 1)


@planned
def lay_out(a: tuple[int, ...], b: tuple[int, ...]) -> dict[str, Any]:
    """Return what `Shapes` holds of two operands' shapes, or raise if they do not fit together."""
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise ValueError(
            f"a and b must agree in K: a has shape {a}, b has shape {b}, so K is {left[-1]} and {right[-2]}"
        )
    batches, batch = (left[:-2], right[:-2]), ()
    if batches != ((), ()):
        try:
            batch = np.broadcast_shapes(*batches)
        except ValueError:
            raise ValueError(
                f"the batch axes of a and b must broadcast: a has shape {a}, b has shape {b}"
            ) from None
    rows, columns = left[-2], right[-1]
    squeezed = (() if len(a) == 1 else (rows,)) + (() if len(b) == 1 else (columns,))
    left_matrix, right_matrix = (_matrix_of_each_result(some, batch) for some in batches)
    return {
        "batch": batch,
        "rows": rows,
        "length": left[-1],
        "columns": columns,
        "left_matrix": left_matrix,
        "right_matrix": right_matrix,
        "sizes": (len(left_matrix), rows, columns),
        "result": (*batch, *squeezed),
    }


def _matrix_of_each_result(batch: tuple[int, ...], whole: tuple[int, ...]) -> Array:
    """Return for each result the index of the operand's matrix that it is computed from."""
    if not whole:
        return np.zeros(1, np.int64)
    return np.broadcast_to(np.arange(math.prod(batch)).reshape(batch), whole).ravel().astype(np.int64)


def stack_codes(codes: Array, axis: int) -> Array:
    """Return codes as a stack of matrices of unsigned integers; of a vector, ``axis`` is the new axis."""
    return _stack_matrices(_unsigned(codes if codes.ndim > 1 else np.expand_dims(codes, axis)))


def _stack_matrices(codes: Array) -> Array:
    """Reshape codes to (matrices, rows, columns), with a copy only if neither axis is contiguous."""
    if codes.ndim == 2:
        return codes[None]
    if not codes.flags.c_contiguous and codes.swapaxes(-1, -2).flags.c_contiguous:
        swapped = codes.swapaxes(-1, -2)
        return swapped.reshape(math.prod(codes.shape[:-2]), *swapped.shape[-2:]).swapaxes(1, 2)
    return np.ascontiguousarray(codes).reshape(math.prod(codes.shape[:-2]), *codes.shape[-2:])


def checked_start(c: npt.ArrayLike | None, accumulator: Accumulator, shapes: Shapes) -> Array | None:
    """Return the starts of the sums as float32 (results, rows, columns), or raise if ``c`` does not fit."""
    if c is None:
        return None
    refuse_masked("c", c)
    start = np.asarray(c)
    allowed = ("float16", "bfloat16", "float32")
    if start.dtype.name not in allowed:
        raise TypeError(f"c must be an array of {', '.join(allowed)}, got {start.dtype}")
    try:
        start = np.broadcast_to(start, shapes.result)
    except ValueError:
        raise ValueError(
            f"c must broadcast to the result's shape {shapes.result}, got shape {start.shape}"
        ) from None
    start = np.ascontiguousarray(start.reshape(shapes.sizes), dtype=np.float32)
    register = accumulator.start_format
    if register.exponent_bits < 8:
        held = round_to(start, register, overflow=Overflow.NON_SATURATING)
        if not ((held == start) | np.isnan(start)).all():
            raise ValueError(f"c must hold values of the register's format {register}")
    return start
