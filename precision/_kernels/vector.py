"""Vector loops written straight in LLVM, where Numba's own loops would leave registers unused.

A *vector of lanes* is 64 columns of the right operand (float32 lanes) or 32 (float64 lanes): 256
bytes, which LLVM keeps in as few registers as the processor has (four of 512 bits). Every function
here walks ``count`` products of one dot product for all lanes at once, its sums in registers.

Arrays are flat, one-dimensional and contiguous; offsets are in elements. The right operand's
arrays are aligned to 64 bytes and their offsets are whole vectors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from precision._kernels._jit import intrinsic

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
VECTOR_BYTES = 256
REGISTER_BYTES = 64


def _splat(builder: Any, x: Any, lanes: int) -> Any:
    vector = ir.VectorType(x.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, x, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _declared(module: Any, signature: Any, name: str) -> Any:
    """An LLVM intrinsic of a vector type, which llvmlite's own ``declare_intrinsic`` cannot name."""
    return cgutils.get_or_insert_function(module, signature, name)  # type: ignore[no-untyped-call]


def _float(kind: Any) -> tuple[Any, Any, int]:
    """LLVM's float and integer types of this size, and how many fill one register."""
    if kind == types.float32:
        return ir.FloatType(), _I32, 16
    return ir.DoubleType(), _I64, 8


def _counted_loop(builder: Any, count: Any, carried: list[Any], body: Any) -> list[Any]:
    """``for k in range(count): carried = body(k, carried)``, for a count of at least 1."""
    before = builder.block
    loop = builder.append_basic_block("products")
    after = builder.append_basic_block("products.end")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(_I64)
    k.add_incoming(_I64(0), before)
    phis = []
    for value in carried:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    results = body(k, phis)
    following = builder.add(k, _I64(1))
    k.add_incoming(following, builder.block)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
    builder.position_at_end(after)
    return list(results)


@intrinsic
def set_rounding(typingctx: Any, mode: Any) -> Any:
    """Set this thread's rounding of float arithmetic: 0 toward zero, 1 to nearest even (the default)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        signature = ir.FunctionType(ir.VoidType(), [_I32])
        function = _declared(builder.module, signature, "llvm.set.rounding")
        builder.call(function, [args[0]])
        return context.get_dummy_value()

    return types.void(types.int32), codegen


@intrinsic
def keep_apart(typingctx: Any) -> Any:
    """Called first in a kernel: never inline it, so that none of its arithmetic leaves its rounding mode."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def fused_multiply_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a*b + c`` rounded once, on any processor (float32 or float64)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, a, a), codegen


@intrinsic
def add_exact_product(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a*b + c`` where ``a*b`` is exact: fused where the processor can, the same bits where not."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return a(a, a, a), codegen


def _exponent_step(builder: Any, a: Any, b: Any, vector: Any) -> Any:
    """The loop body of a largest exponent: ``(k, largest so far) -> largest``."""
    width, lanes = vector.element.width, vector.count
    signature = ir.FunctionType(vector, [vector, vector])
    add = _declared(builder.module, signature, f"llvm.sadd.sat.v{lanes}i{width}")

    def body(k: Any, largest: Any) -> Any:
        row = _splat(builder, builder.load(builder.gep(a, [k])), lanes)
        column = builder.load(builder.gep(b, [k]), align=REGISTER_BYTES)
        total = builder.call(add, [row, column])
        return builder.select(builder.icmp_signed(">", total, largest), total, largest)

    return body


def _exponent_vector(kind: Any) -> Any:
    width = kind.dtype.bitwidth
    return ir.VectorType(ir.IntType(width), 8 * REGISTER_BYTES // width)


def _lowest(vector: Any) -> Any:
    return ir.Constant(vector, [-(1 << (vector.element.width - 1))] * vector.count)


@intrinsic
def largest_exponents(typingctx: Any, count: Any, ae: Any, a0: Any, be: Any, b0: Any, out: Any) -> Any:
    """``out[j] = max over k of ae[a0 + k] + be[b0 + k*lanes + j]``, saturating, for int8 or int16 exponents.

    There are as many lanes as exponents in 64 bytes.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, ae_, a0_, be_, b0_, out_ = args
        vector = _exponent_vector(ae)
        a = _pointer(context, builder, ae, ae_, a0_)
        b = builder.bitcast(_pointer(context, builder, be, be_, b0_), vector.as_pointer())
        target = builder.bitcast(_pointer(context, builder, out, out_, _I64(0)), vector.as_pointer())
        step = _exponent_step(builder, a, b, vector)
        (largest,) = _counted_loop(
            builder, count, [_lowest(vector)], lambda k, carried: [step(k, carried[0])]
        )
        builder.store(largest, target, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, ae, types.intp, be, types.intp, out), codegen


@intrinsic
def add_cut_products(typingctx: Any, count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any) -> Any:
    """Add positive products to ``sums[:lanes]`` and the magnitudes of negative ones to ``sums[lanes:]``.

    ``b`` holds, for each k, the lanes' values with negative ones replaced by 0, then their
    negatives with negative ones replaced by 0. Every sum lies in one binade and rounding is
    toward zero, so each addition cuts its product's magnitude to a multiple of the sum's last
    place and is otherwise exact. Left operands are float32; ``b`` and ``sums`` have one float type.
    """
    real, _, per_register = _float(b.dtype)
    registers = VECTOR_BYTES // REGISTER_BYTES

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, a_, a0_, b_, b0_, sums_ = args
        vector = ir.VectorType(real, per_register)
        left = _pointer(context, builder, a, a_, a0_)
        right = builder.bitcast(_pointer(context, builder, b, b_, b0_), vector.as_pointer())
        target = builder.bitcast(_pointer(context, builder, sums, sums_, _I64(0)), vector.as_pointer())
        places = [builder.gep(target, [_I64(i)]) for i in range(2 * registers)]
        absolute = builder.module.declare_intrinsic("llvm.fabs", [ir.FloatType()])
        half = _I64(registers)

        def body(k: Any, carried: list[Any]) -> list[Any]:
            x = builder.load(builder.gep(left, [k]))
            sign = builder.zext(builder.lshr(builder.bitcast(x, _I32), _I32(31)), _I64)
            magnitude = builder.call(absolute, [x])
            if real != ir.FloatType():
                magnitude = builder.fpext(magnitude, real)
            row = _splat(builder, magnitude, per_register)
            first = builder.mul(k, _I64(2 * registers))
            # A negative left operand swaps the two halves.
            shift = builder.mul(sign, half)
            starts = (builder.add(first, shift), builder.sub(builder.add(first, half), shift))
            results = []
            for side, start in enumerate(starts):
                for i in range(registers):
                    place = builder.gep(right, [builder.add(start, _I64(i))])
                    column = builder.load(place, align=REGISTER_BYTES)
                    product = builder.fmul(row, column, flags=("contract",))
                    sum_ = carried[side * registers + i]
                    results.append(builder.fadd(sum_, product, flags=("contract",)))
            return results

        initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
        for value, place in zip(_counted_loop(builder, count, initial, body), places, strict=True):
            builder.store(value, place, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, a, types.intp, b, types.intp, sums), codegen


@intrinsic
def add_scaled_products(
    typingctx: Any, count: Any, a: Any, a0: Any, b: Any, b0: Any, scale: Any, sums: Any, s0: Any
) -> Any:
    """``sums[s0 + j] += sum over k of int32(a[a0 + k] * b[b0 + k*lanes + j] * scale[j])``, cut toward zero.

    Products and scaled products are exact in float32; the sums are int32 and must not overflow.
    """
    registers = VECTOR_BYTES // REGISTER_BYTES

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, a_, a0_, b_, b0_, scale_, sums_, s0_ = args
        vector = ir.VectorType(ir.FloatType(), 16)
        whole = ir.VectorType(_I32, 16)
        zero = _I64(0)
        left = _pointer(context, builder, a, a_, a0_)
        right = builder.bitcast(_pointer(context, builder, b, b_, b0_), vector.as_pointer())
        factor = builder.bitcast(_pointer(context, builder, scale, scale_, zero), vector.as_pointer())
        target = builder.bitcast(_pointer(context, builder, sums, sums_, s0_), whole.as_pointer())
        factors = [
            builder.load(builder.gep(factor, [_I64(i)]), align=REGISTER_BYTES) for i in range(registers)
        ]
        places = [builder.gep(target, [_I64(i)]) for i in range(registers)]

        def body(k: Any, carried: list[Any]) -> list[Any]:
            row = _splat(builder, builder.load(builder.gep(left, [k])), 16)
            first = builder.mul(k, _I64(registers))
            results = []
            for i in range(registers):
                place = builder.gep(right, [builder.add(first, _I64(i))])
                column = builder.load(place, align=REGISTER_BYTES)
                term = builder.fmul(builder.fmul(row, column), factors[i])
                results.append(builder.add(carried[i], builder.fptosi(term, whole)))
            return results

        initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
        for value, place in zip(_counted_loop(builder, count, initial, body), places, strict=True):
            builder.store(value, place, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return (
        types.void(types.intp, a, types.intp, b, types.intp, scale, sums, types.intp),
        codegen,
    )


@intrinsic
def chain_products(typingctx: Any, count: Any, a: Any, a0: Any, b: Any, b0: Any, sums: Any, s0: Any) -> Any:
    """``sums[s0 + j] = fma(a[a0 + k], b[b0 + k*lanes + j], sums[s0 + j])`` for each k in turn, in float32."""
    registers = VECTOR_BYTES // REGISTER_BYTES

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, a_, a0_, b_, b0_, sums_, s0_ = args
        vector = ir.VectorType(ir.FloatType(), 16)
        left = _pointer(context, builder, a, a_, a0_)
        right = builder.bitcast(_pointer(context, builder, b, b_, b0_), vector.as_pointer())
        target = builder.bitcast(_pointer(context, builder, sums, sums_, s0_), vector.as_pointer())
        places = [builder.gep(target, [_I64(i)]) for i in range(registers)]
        fma = _declared(builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")

        def body(k: Any, carried: list[Any]) -> list[Any]:
            row = _splat(builder, builder.load(builder.gep(left, [k])), 16)
            first = builder.mul(k, _I64(registers))
            results = []
            for i in range(registers):
                place = builder.gep(right, [builder.add(first, _I64(i))])
                column = builder.load(place, align=REGISTER_BYTES)
                results.append(builder.call(fma, [row, column, carried[i]]))
            return results

        initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
        for value, place in zip(_counted_loop(builder, count, initial, body), places, strict=True):
            builder.store(value, place, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, a, types.intp, b, types.intp, sums, types.intp), codegen
