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


def _function(builder: Any, name: str, arguments: list[Any]) -> tuple[Any, Any]:
    """Call a new function that is never inlined; returns its parameters and the builder of its body.

    None of its arithmetic can leave its rounding mode, and it costs Numba nothing to compile.
    """
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    function = ir.Function(builder.module, kind, builder.module.get_unique_name(name))
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder.call(function, arguments)
    return function.args, ir.IRBuilder(function.append_basic_block("entry"))


def _set_rounding(builder: Any, mode: Any) -> None:
    """0 toward zero, 1 to nearest even (the default), for this thread."""
    signature = ir.FunctionType(ir.VoidType(), [_I32])
    builder.call(_declared(builder.module, signature, "llvm.set.rounding"), [mode])


def _largest(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


@intrinsic
def set_rounding(typingctx: Any, mode: Any) -> Any:
    """Set this thread's rounding of float arithmetic: 0 toward zero, 1 to nearest even (the default)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _set_rounding(builder, args[0])
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
def stream(typingctx: Any, source: Any, s0: Any, target: Any, t0: Any, count: Any) -> Any:
    """Copy ``count`` elements to memory past the caches, which a normal store would first fill from there.

    Both places are aligned to 64 bytes, and ``count`` elements are a multiple of that.
    """
    each = 8 * REGISTER_BYTES // source.dtype.bitwidth

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(source.dtype.bitwidth), each)
        places = (
            _pointer(context, builder, source, *args[:2]),
            _pointer(context, builder, target, *args[2:4]),
        )
        reads, writes = (builder.bitcast(place, vector.as_pointer()) for place in places)
        mark = builder.module.add_metadata([_I32(1)])

        def body(k: Any, _: list[Any]) -> list[Any]:
            value = builder.load(builder.gep(reads, [k]), align=REGISTER_BYTES)
            stored = builder.store(value, builder.gep(writes, [k]), align=REGISTER_BYTES)
            stored.set_metadata("nontemporal", mark)
            return []

        _counted_loop(builder, builder.udiv(args[4], _I64(each)), [], body)
        return context.get_dummy_value()

    if source.dtype != target.dtype:
        return None
    return types.void(source, types.intp, target, types.intp, types.intp), codegen


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


def _cut_step(builder: Any, left: Any, right: Any, vector: Any) -> Any:
    """The loop body of `add_cut_products`: ``(k, sums so far) -> sums``."""
    registers = VECTOR_BYTES // REGISTER_BYTES
    absolute = builder.module.declare_intrinsic("llvm.fabs", [ir.FloatType()])
    half = _I64(registers)

    def body(k: Any, carried: list[Any]) -> list[Any]:
        x = builder.load(builder.gep(left, [k]))
        sign = builder.zext(builder.lshr(builder.bitcast(x, _I32), _I32(31)), _I64)
        magnitude = builder.call(absolute, [x])
        if vector.element != ir.FloatType():
            magnitude = builder.fpext(magnitude, vector.element)
        row = _splat(builder, magnitude, vector.count)
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

    return body


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
        initial = [builder.load(place, align=REGISTER_BYTES) for place in places]
        results = _counted_loop(builder, count, initial, _cut_step(builder, left, right, vector))
        for value, place in zip(results, places, strict=True):
            builder.store(value, place, align=REGISTER_BYTES)
        return context.get_dummy_value()

    return types.void(types.intp, a, types.intp, b, types.intp, sums), codegen


@intrinsic
def narrow_steps(
    typingctx: Any, rows: Any, steps: Any, products: Any, a: Any, ae: Any, a0: Any, depth: Any,
    b: Any, be: Any, registers: Any, reference: Any, floor: Any, power: Any, mask: Any,
) -> Any:  # fmt: skip
    """What `fused.advance_narrow` says, for rows of 64 registers: row by row, ``steps`` of ``products`` each.

    A step's sums start at ``±2**(e + power)``, joined by the register of their sign, where ``e`` is the
    largest of the products' exponents (int8, less ``reference``), the register's and ``floor``; they end
    as positive less negative sum, without the bits that ``mask`` lacks. A row of ``a`` and ``ae`` is
    ``depth`` long; ``b`` is laid out as for `add_cut_products`.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        places = [
            _pointer(context, builder, kind, array, offset)
            for kind, array, offset in (
                (a, args[3], args[5]), (ae, args[4], args[5]), (b, args[7], _I64(0)), (be, args[8], _I64(0)),
                (registers, args[9], _I64(0)),
            )
        ]  # fmt: skip
        arguments = [*args[:3], *places, args[6], *args[10:]]
        parameters, inner = _function(builder, "narrow_steps", arguments)
        rows, steps, products, left, left_exponents, right, right_exponents, state = parameters[:8]
        depth, reference, floor, power, mask = parameters[8:]
        count = VECTOR_BYTES // REGISTER_BYTES
        reals, words = ir.VectorType(ir.FloatType(), 16), ir.VectorType(_I32, 16)
        zeros = ir.Constant(reals, [0.0] * 16)
        _set_rounding(inner, _I32(0))
        reference, floor, mask = (_splat(inner, x, 16) for x in (reference, floor, mask))
        power = _splat(inner, inner.add(power, _I32(127)), 16)
        right = inner.bitcast(right, reals.as_pointer())
        exponent_vector = _exponent_vector(be)
        right_exponents = inner.bitcast(right_exponents, exponent_vector.as_pointer())
        state = inner.bitcast(state, reals.as_pointer())

        def step(place: Any, k: Any, held: list[Any]) -> list[Any]:
            """One step: the registers, four vectors of 16, after the products from k."""
            at = inner.add(place, k)
            exponents = _exponent_step(
                inner, inner.gep(left_exponents, [at]), inner.gep(right_exponents, [k]), exponent_vector
            )
            (largest,) = _counted_loop(
                inner, products, [_lowest(exponent_vector)], lambda n, carried: [exponents(n, carried[0])]
            )
            sums: list[list[Any]] = [[], []]
            for i, register in enumerate(held):
                lanes = ir.Constant(words, list(range(16 * i, 16 * (i + 1))))
                part = inner.shuffle_vector(largest, ir.Constant(exponent_vector, ir.Undefined), lanes)
                exponent = inner.add(inner.sext(part, words), reference)
                field = inner.lshr(inner.bitcast(register, words), ir.Constant(words, [23] * 16))
                field = inner.and_(field, ir.Constant(words, [255] * 16))
                own = inner.sub(field, ir.Constant(words, [127] * 16))
                exponent = _largest(inner, _largest(inner, exponent, own), floor)
                first = inner.shl(inner.add(exponent, power), ir.Constant(words, [23] * 16))
                first = inner.bitcast(first, reals)
                positive = inner.fcmp_ordered(">", register, zeros)
                sums[0].append(inner.fadd(first, inner.select(positive, register, zeros)))
                sums[1].append(inner.fsub(first, inner.select(positive, zeros, register)))
            body = _cut_step(
                inner, inner.gep(left, [at]), inner.gep(right, [inner.mul(k, _I64(2 * count))]), reals
            )
            totals = _counted_loop(inner, products, sums[0] + sums[1], body)
            results = []
            for plus, minus in zip(totals[:count], totals[count:], strict=True):
                total = inner.bitcast(inner.fsub(plus, minus), words)
                results.append(inner.bitcast(inner.and_(total, mask), reals))
            return results

        def row(i: Any, _: list[Any]) -> list[Any]:
            place = inner.mul(i, depth)
            first = inner.mul(i, _I64(count))
            cells = [inner.gep(state, [inner.add(first, _I64(n))]) for n in range(count)]
            held = [inner.load(cell, align=REGISTER_BYTES) for cell in cells]
            results = _counted_loop(
                inner, steps, held, lambda n, carried: step(place, inner.mul(n, products), carried)
            )
            for result, cell in zip(results, cells, strict=True):
                inner.store(result, cell, align=REGISTER_BYTES)
            return []

        _counted_loop(inner, rows, [], row)
        _set_rounding(inner, _I32(1))
        inner.ret_void()
        return context.get_dummy_value()

    ints = (types.intp,) * 3
    return (
        types.void(*ints, a, ae, types.intp, types.intp, b, be, registers,
                   types.int32, types.int32, types.int32, types.uint32),
        codegen,
    )  # fmt: skip


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
