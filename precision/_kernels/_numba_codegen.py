"""Numba's and llvmlite's undocumented code generation, as far as loops in LLVM need it.

This is the only module that reaches into it. The private parts, and what serves where they have changed:

- the layout of arrays and of tuples in compiled code (`PARTS`, and the members of an array): the
  loops of the modules ``_plain_*``, which Numba compiles from Python (`llvm_loop` chooses);
- ``magic_tuple()[2]``, the processor's features: none, for which loops are written as for any processor;
- llvmlite's set of a function's attributes, past its check of names: none, and LLVM chooses its registers;
- ``get_dummy_value()``, what a function returns that returns nothing: a null pointer.

Each of them gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from precision._kernels._jit import intrinsic, jit
from precision._kernels._private_parts import changed

PARTS = {
    "numba.core.base:BaseContext.make_array": ("self", "typ"),
    "numba.core.base:BaseContext.cast": ("self", "builder", "val", "fromty", "toty"),
}
WIDE_VECTORS = '"prefer-vector-width"="512"'


@functools.cache
def changed_parts() -> list[str]:
    """Name the private parts of arrays and tuples that are not as this module knows them."""
    return changed(PARTS)


def llvm_loop(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Make a decorator for a loop written in LLVM; ``plain`` takes its place where Numba has changed."""

    def choose(typer: Callable[..., Any]) -> Any:
        return jit(plain) if changed_parts() else intrinsic(typer)

    return choose


def pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Return the address of an element of a flat array."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def array_on_stack(context: Any, builder: Any, kind: Any, shape: list[int]) -> Any:
    """Return a new array of a type and a shape, in memory that the function has until it returns."""
    number, word = context.get_data_type(kind.dtype), ir.IntType(64)
    size, count = kind.dtype.bitwidth // 8, math.prod(shape)
    with builder.goto_entry_block():
        memory = builder.alloca(ir.ArrayType(number, count))
    memory.align = 64
    array = context.make_array(kind)(context, builder)
    strides = [size * math.prod(shape[place + 1 :]) for place in range(len(shape))]
    tuples = ir.ArrayType(word, len(shape))
    array.data = builder.bitcast(memory, number.as_pointer())
    array.shape, array.strides = ir.Constant(tuples, shape), ir.Constant(tuples, strides)
    array.itemsize, array.nitems = word(size), word(count)
    array.meminfo, array.parent = (ir.Constant(ir.IntType(8).as_pointer(), None) for _ in range(2))
    return array._getvalue()


def tuple_field(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
    """Return a number of a `NamedTuple`: a float32 as it is, an integer as a word of 32 bits."""
    place = kind.fields.index(name)
    number = builder.extract_value(value, place)
    if kind.types[place] == types.float32:
        return number
    return context.cast(builder, number, kind.types[place], types.uint32)


def processor_features(context: Any) -> frozenset[str]:
    """Return LLVM's names of what the processor can do that code is made for, as ``"+avx2"``."""
    describe = getattr(context.codegen(), "magic_tuple", None)
    described: tuple[Any, ...] = describe() if describe else ()
    if len(described) != 3 or not isinstance(described[2], str):
        return frozenset()
    return frozenset(described[2].split(","))


def prefer_wide_vectors(function: Any) -> None:
    """Let LLVM use registers of 512 bits in this function where the processor has them.

    For several processors it would keep to 256 bits. llvmlite's set of attributes takes only names that
    it knows; the set beneath takes any.
    """
    if isinstance(function.attributes, set):
        set.add(function.attributes, WIDE_VECTORS)


def nothing(context: Any) -> Any:
    """Return what code gives back for a function that returns nothing."""
    dummy = getattr(context, "get_dummy_value", None)
    return dummy() if dummy else ir.Constant(ir.IntType(8).as_pointer(), None)
