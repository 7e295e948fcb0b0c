"""Vectors of LogFMT's loops, written in LLVM: 8 or 16 elements, whose operations are IEEE's or an FMA."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from precision._kernels._llvm_pieces import counted_loop, declared, splat
from precision._kernels._numba_codegen import processor_features

I32, I64 = ir.IntType(32), ir.IntType(64)
FLOAT = ir.FloatType()

GROUP = 32  # tiles that go through each stage together
TOGETHER = 4  # registers of values made at a time, to hide latencies


class Lanes:
    """The types and constants of one register's lanes: 16 with AVX-512, else 8."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.features = processor_features(context)
        self.count = 16 if "+avx512f" in self.features else 8
        self.builder = builder
        self.words, self.floats = (ir.VectorType(kind, self.count) for kind in (I32, FLOAT))

    def word(self, value: int) -> Any:
        """Return a constant integer in every lane."""
        return ir.Constant(self.words, [value] * self.count)

    def number(self, value: float) -> Any:
        """Return a constant float32 in every lane."""
        return ir.Constant(self.floats, [value] * self.count)

    def splat(self, value: Any) -> Any:
        """Return a number in every lane."""
        return splat(self.builder, value, self.count)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return ``a*b + c``, rounded once."""
        name = f"llvm.fma.v{self.count}f32"
        signature = ir.FunctionType(a.type, [a.type] * 3)
        return self.builder.call(declared(self.builder.module, signature, name), [a, b, c])

    def permuted(self, table: Any, which: Any) -> Any:
        """Choose for each lane one of four floats, which ``table`` repeats, by two low bits of ``which``."""
        builder = self.builder
        if "+avx" in self.features:
            kind = "avx512.vpermilvar.ps.512" if self.count == 16 else "avx.vpermilvar.ps.256"
            signature = ir.FunctionType(self.floats, [self.floats, self.words])
            return builder.call(declared(builder.module, signature, f"llvm.x86.{kind}"), [table, which])
        odd, high = (
            builder.icmp_unsigned("!=", builder.and_(which, self.word(bit)), self.word(0)) for bit in (1, 2)
        )
        each = [builder.shuffle_vector(table, table, self.word(j)) for j in range(4)]
        low_half, high_half = (builder.select(odd, each[j + 1], each[j]) for j in (0, 2))
        return builder.select(high, high_half, low_half)

    def packed(self, words: list[Any], kind: Any) -> Any:
        """Join registers of integers to one vector of the narrower type ``kind``, which holds them all."""
        builder, count = self.builder, self.count
        if len(words) == 4 and count == 8 and "+avx2" in self.features:
            # The instruction packs each half of a register by itself; they are put in order at last.
            short, octet = ir.VectorType(ir.IntType(16), 16), ir.VectorType(ir.IntType(8), 32)
            signature = ir.FunctionType(short, [self.words] * 2)
            pack = declared(builder.module, signature, "llvm.x86.avx2.packusdw")
            shorts = [builder.call(pack, words[i : i + 2]) for i in (0, 2)]
            if kind.width == 16:
                ordered = [self._ordered(x, (0, 2, 1, 3), I64) for x in shorts]
                return builder.shuffle_vector(*ordered, ir.Constant(ir.VectorType(I32, 8), list(range(8))))
            signature = ir.FunctionType(octet, [short] * 2)
            pack = declared(builder.module, signature, "llvm.x86.avx2.packuswb")
            return self._ordered(builder.call(pack, shorts), (0, 4, 1, 5, 2, 6, 3, 7), I32)
        while len(words) > 1:
            size = 2 * words[0].type.count
            mask = ir.Constant(ir.VectorType(I32, size), list(range(size)))
            words = [builder.shuffle_vector(*words[i : i + 2], mask) for i in range(0, len(words), 2)]
        return builder.trunc(words[0], ir.VectorType(kind, words[0].type.count))

    def _ordered(self, vector: Any, order: tuple[int, ...], kind: Any) -> Any:
        """Put the pieces of a vector, each as large as ``kind``, into another order."""
        pieces = self.builder.bitcast(vector, ir.VectorType(kind, len(order)))
        return self.builder.shuffle_vector(pieces, pieces, ir.Constant(ir.VectorType(I32, len(order)), order))

    def repeated(self, table: Any) -> Any:
        """Repeat the bits of four floats, as `permuted` takes them."""
        return self.builder.bitcast(ir.Constant(self.words, list(table) * (self.count // 4)), self.floats)

    def fetch(self, place: Any, writes: bool) -> None:
        """Call for memory that is soon read (or written); any address will do."""
        octet = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [octet, I32, I32, I32])
        prefetch = declared(self.builder.module, signature, "llvm.prefetch.p0")
        place = self.builder.bitcast(place, octet)
        self.builder.call(prefetch, [place, I32(int(writes)), I32(3), I32(1)])

    def several(self, count: Any, body: Any, carried: list[Any]) -> list[Any]:
        """Write ``carried = body([k, k + 1, ...], carried)``: some registers at once, the rest one by one."""
        builder = self.builder
        together = builder.udiv(count, I64(TOGETHER))
        first = builder.mul(together, I64(TOGETHER))
        for times, start, each in ((together, I64(0), TOGETHER), (builder.sub(count, first), first, 1)):

            def some(k: Any, inner: list[Any], start: Any = start, each: int = each) -> list[Any]:
                one = builder.add(start, builder.mul(k, I64(each)))
                return list(body([builder.add(one, I64(i)) for i in range(each)], inner))

            before = builder.block
            with builder.if_then(builder.icmp_signed(">", times, I64(0))):
                results = counted_loop(builder, times, carried, some)
                inside = builder.block
            merged = []
            for old, new in zip(carried, results, strict=True):
                phi = builder.phi(old.type)
                phi.add_incoming(old, before)
                phi.add_incoming(new, inside)
                merged.append(phi)
            carried = merged
        return carried
