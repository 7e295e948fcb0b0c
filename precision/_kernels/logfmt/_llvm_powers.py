"""LogFMT's decoding loop over tiles in LLVM: 2**x to 0.75 units in the last place, the same on any processor.

`_plain_tiles` has the same loop in Python.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from precision._kernels._llvm_pieces import counted_loop, own_function
from precision._kernels._numba_codegen import llvm_loop, nothing, pointer
from precision._kernels.logfmt import _plain_tiles as plain
from precision._kernels.logfmt._llvm_lanes import GROUP, I32, I64, Lanes
from precision._kernels.logfmt._plain_tiles import EXP2, MAGIC_QUARTERS, QUARTERS

SHIFT = 0.16710861803508978
"""log2 of the first of `QUARTERS`, which is exact; chosen so that the other three are nearly so."""
_WRITES_AHEAD = 1024  # elements: a page of values, whose end stops the processor's own fetching


class Ladder(NamedTuple):
    """The levels of a tile: level K is ``2**(exponent + SHIFT + first + step*K)``.

    ``first`` and ``step`` have two parts each.     The high parts are multiples of 2**-18, so that ``first +
    step*K`` below 64 is exact without the low ones. Steps are of a code that is shifted to the top of 32
    bits: ``2**(bits - 32)`` of the tile's.
    """

    exponent: Any  #: float32, a whole number
    first: Any  #: float32, as the rest
    first_low: Any
    step: Any
    step_low: Any


def _power(lanes: Lanes, near: Any) -> Any:
    """Return 2**(SHIFT + x) as bits, from the float32 ``MAGIC_QUARTERS + x`` for x a multiple of 1/4."""
    builder = lanes.builder
    quarters = builder.bitcast(near, lanes.words)
    # The table is less beforehand by what the two low bits add to the exponent's field.
    table = [value - (j << 21) for j, value in enumerate(QUARTERS)]
    found = builder.bitcast(lanes.permuted(lanes.repeated(table), quarters), lanes.words)
    return builder.add(found, builder.shl(quarters, lanes.word(21)))


def _values(lanes: Lanes, codes: list[Any], up: Any, ladder: list[Any]) -> list[Any]:
    """Return values of some registers of codes, each step for all of them before the next."""
    builder = lanes.builder
    sum_, start, start_low, step, step_low = ladder
    words = [builder.shl(builder.zext(code, lanes.words), up) for code in codes]
    places = [builder.and_(word, lanes.word(0x7FFFFFFF)) for word in words]
    numbers = [builder.sitofp(place, lanes.floats) for place in places]
    xs = [lanes.fma(number, step, start) for number in numbers]
    lows = [lanes.fma(number, step_low, start_low) for number in numbers]
    nears = [builder.fadd(builder.fadd(x, low), sum_) for x, low in zip(xs, lows, strict=True)]
    rests = [
        builder.fadd(builder.fsub(x, builder.fsub(near, sum_)), low)
        for x, near, low in zip(xs, nears, lows, strict=True)
    ]
    powers = []
    for place, near in zip(places, nears, strict=True):
        nonzero = builder.sext(builder.icmp_signed(">", place, lanes.word(0)), lanes.words)
        powers.append(builder.bitcast(builder.and_(_power(lanes, near), nonzero), lanes.floats))
    values = []
    for word, r, power in zip(words, rests, powers, strict=True):
        tail = lanes.number(EXP2[3])
        for c in EXP2[2::-1]:
            tail = lanes.fma(tail, r, lanes.number(c))
        value = builder.bitcast(lanes.fma(builder.fmul(power, r), tail, power), lanes.words)
        value = builder.or_(value, builder.and_(word, lanes.word(0x80000000)))
        values.append(builder.bitcast(value, lanes.floats))
    return values


@llvm_loop(plain.decode)
def decode(
    typingctx: Any, codes: Any, start: Any, tiles: Any, runs: Any, ladders: Any, at: Any, width: Any,
    out: Any, to: Any,
) -> Any:  # fmt: skip
    """Write values of ``tiles`` tiles of ``runs`` runs of 16 codes, all normal numbers; 0 for K = 0.

    Column ``at`` of ``ladders`` and those that follow are the tiles' `Ladder`s, in rows of GROUP.
    """

    def codegen(context: Any, outer: Any, sig: Any, args: Any) -> Any:
        source, numbers, target = (
            pointer(context, outer, kind, array, offset)
            for kind, array, offset in (
                (codes, args[0], args[1]),
                (ladders, args[4], args[5]),
                (out, args[7], args[8]),
            )
        )
        arguments = [source, numbers, target, args[2], args[3], args[6]]
        (source, numbers, target, tiles_, runs_, width_), builder = own_function(outer, "decode", arguments)
        lanes = Lanes(context, builder)
        code_type = ir.VectorType(ir.IntType(codes.dtype.bitwidth), lanes.count)
        source = builder.bitcast(source, code_type.as_pointer())
        target = builder.bitcast(target, lanes.floats.as_pointer())
        up = lanes.splat(builder.sub(I32(32), builder.trunc(width_, I32)))
        registers = builder.mul(runs_, I64(16 // lanes.count))
        ahead = I64(_WRITES_AHEAD // lanes.count)

        def tile(t: Any, _: list[Any]) -> list[Any]:
            ladder = []
            for row in range(len(Ladder._fields)):
                place = builder.gep(numbers, [builder.add(t, I64(row * GROUP))])
                ladder.append(lanes.splat(builder.load(place)))
            ladder[0] = builder.fadd(ladder[0], lanes.number(MAGIC_QUARTERS))

            first = builder.mul(t, registers)

            def body(places: list[Any], _: list[Any]) -> list[Any]:
                places = [builder.add(first, place) for place in places]
                some = [builder.load(builder.gep(source, [place]), align=1) for place in places]
                for place in places[:: 16 // lanes.count]:
                    lanes.fetch(builder.gep(target, [builder.add(place, ahead)]), True)
                for place, value in zip(places, _values(lanes, some, up, ladder), strict=True):
                    builder.store(value, builder.gep(target, [place]), align=4)
                return []

            lanes.several(registers, body, [])
            return []

        counted_loop(builder, tiles_, [], tile)
        builder.ret_void()
        return nothing(context)

    size = types.intp
    return types.void(codes, size, size, size, ladders, size, size, out, size), codegen
