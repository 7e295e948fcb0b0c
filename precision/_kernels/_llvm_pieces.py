"""Pieces of LLVM code that several loops are made of, written with llvmlite's documented builder.

A *vector* is what the processor adds or multiplies at once, a *lane* one of its elements, and *splat* a
vector of equal lanes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from precision._kernels._numba_codegen import prefer_wide_vectors, processor_features

I8 = ir.IntType(8)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
I64 = ir.IntType(64)
VECTOR_BYTES = 256
REGISTER_BYTES = 64


def splat(builder: Any, x: Any, lanes: int) -> Any:
    """Return a vector of equal lanes."""
    vector = ir.VectorType(x.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, x, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def declared(module: Any, signature: Any, name: str) -> Any:
    """Declare an LLVM intrinsic of a vector type, which llvmlite's ``declare_intrinsic`` cannot name."""
    try:
        return module.get_global(name)
    except KeyError:
        return ir.Function(module, signature, name)


def counted_loop(builder: Any, count: Any, carried: list[Any], body: Any) -> list[Any]:
    """Write ``for k in range(count): carried = body(k, carried)``, for a count of at least 1."""
    before = builder.block
    loop = builder.append_basic_block("products")
    after = builder.append_basic_block("products.end")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(I64)
    k.add_incoming(I64(0), before)
    phis = []
    for value in carried:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    results = body(k, phis)
    following = builder.add(k, I64(1))
    k.add_incoming(following, builder.block)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return list(results)


def passes(context: Any) -> list[range]:
    """Split the four vectors of a panel's lanes into passes whose sums all fit in registers."""
    return [range(4)] if "+avx512f" in processor_features(context) else [range(2), range(2, 4)]


def own_function(builder: Any, name: str, arguments: list[Any]) -> tuple[Any, Any]:
    """Call a new function that is never inlined, and return its parameters and the builder of its body.

    None of its arithmetic can leave its rounding mode, and it costs Numba nothing to compile.
    """
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    function = ir.Function(builder.module, kind, builder.module.get_unique_name(name))
    function.linkage = "internal"
    function.attributes.add("noinline")
    # Without it, registers would be kept on the stack across the ends of pages, at a tenth of the speed.
    function.attributes.alignstack = REGISTER_BYTES
    prefer_wide_vectors(function)
    builder.call(function, arguments)
    return function.args, ir.IRBuilder(function.append_basic_block("entry"))


def write_rounding(builder: Any, mode: Any) -> None:
    """Set this thread's rounding of float arithmetic: 0 toward zero, 1 to nearest even (the default)."""
    signature = ir.FunctionType(ir.VoidType(), [I32])
    builder.call(declared(builder.module, signature, "llvm.set.rounding"), [mode])


def larger(builder: Any, x: Any, y: Any) -> Any:
    """Return the larger of two signed integers, or of the lanes of two vectors."""
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def lowest(vector: Any) -> Any:
    """Return the lowest signed integer in every lane."""
    return ir.Constant(vector, [-(1 << (vector.element.width - 1))] * vector.count)
