"""The tensor-core instructions that can be run one at a time, and the accumulator that models each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from precision import units
from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator

OPERAND_DTYPES: dict[str, np.dtype[Any]] = {
    "e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "tf32": np.dtype(np.float32),  # the unit ignores the low 13 bits
}
"""The array type that holds an operand, by PTX's name of its type."""
REGISTER_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16)}
"""The array type that holds a register, by PTX's name of its type."""


def code_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the unsigned integer type as wide as ``dtype``, in which bit patterns are kept."""
    return np.dtype(f"u{dtype.itemsize}")


@in_default_environment
def as_bits(values: Array) -> Array:
    """Return the bit patterns of ``values``, as unsigned integers of the same width."""
    return np.ascontiguousarray(values).view(code_dtype(values.dtype))


@dataclass(frozen=True)
class Instruction:
    """A tensor-core instruction: its name, and the accumulator that models it.

    Attributes
    ----------
    name : str
        ``wgmma`` or ``mma``, then the types of accumulator, A and B, as in ``"wgmma.f32.e4m3.e5m2"``.
    accumulator : Accumulator or None
        The accumulator that models it. None for ``mma.sync`` on FP8: Hopper has no such unit and runs it on
        the FP16 one, in another order (two sums of 16, then an addition of ``c``), which is no accumulator of
        this package.
    """

    name: str
    accumulator: Accumulator | None = field(repr=False)

    @property
    def a(self) -> np.dtype[Any]:
        """The array type of A."""
        return OPERAND_DTYPES[self.name.split(".")[2]]

    @property
    def b(self) -> np.dtype[Any]:
        """The array type of B."""
        return OPERAND_DTYPES[self.name.split(".")[3]]

    @property
    def register(self) -> np.dtype[Any]:
        """The array type of a register."""
        return REGISTER_DTYPES[self.name.split(".")[1]]

    @property
    def k(self) -> int:
        """The number of products that one instruction sums; a row of A or B has 32 bytes."""
        return 32 // self.a.itemsize


# In the order of the table in probe.cu.
_TABLE = (
    ("wgmma.f32.e4m3.e4m3", units.HOPPER_FP8),
    ("wgmma.f32.e4m3.e5m2", units.HOPPER_FP8),
    ("wgmma.f32.e5m2.e4m3", units.HOPPER_FP8),
    ("wgmma.f32.e5m2.e5m2", units.HOPPER_FP8),
    ("wgmma.f32.f16.f16", units.HOPPER_FP16),
    ("wgmma.f32.bf16.bf16", units.HOPPER_BF16),
    ("wgmma.f32.tf32.tf32", units.HOPPER_TF32),
    ("wgmma.f16.e4m3.e4m3", units.HOPPER_FP8_ACC16),
    ("wgmma.f16.e4m3.e5m2", units.HOPPER_FP8_ACC16),
    ("wgmma.f16.e5m2.e4m3", units.HOPPER_FP8_ACC16),
    ("wgmma.f16.e5m2.e5m2", units.HOPPER_FP8_ACC16),
    ("wgmma.f16.f16.f16", units.HOPPER_FP16_ACC16),
    ("mma.f32.f16.f16", units.HOPPER_FP16),
    ("mma.f32.bf16.bf16", units.HOPPER_BF16),
    ("mma.f32.tf32.tf32", units.HOPPER_TF32),
    ("mma.f16.f16.f16", units.HOPPER_FP16_ACC16),
    ("mma.f32.e4m3.e4m3", None),
    ("mma.f32.e5m2.e5m2", None),
    ("mma.f16.e4m3.e4m3", None),
)
INSTRUCTIONS: dict[str, Instruction] = {name: Instruction(name, unit) for name, unit in _TABLE}
"""Every instruction that ``probe.cu`` can run, by name; its position is the number that the probe takes."""
MODELLED: tuple[Instruction, ...] = tuple(i for i in INSTRUCTIONS.values() if i.accumulator is not None)
"""The instructions that an accumulator of this package reproduces."""
