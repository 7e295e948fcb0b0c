"""Runs every kernel on arrays beside a page that may not be touched: a fault ends the process.

``python guarded.py end`` (or ``begin``) runs each call twice: first on ordinary arrays, which also compiles
what is needed, then with operands, codes, scales, outputs and the package's own ``np.empty`` buffers ending
(or beginning) at such a page. The two must give the same bytes. Each call is named first, so that the
last line names the one that faulted.

``python guarded.py stray end`` (or ``begin``) gives every reader codes in which all the bits are set that
their format has not: each is refused, or read as ml_dtypes reads it.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np

import precision as pr
from precision import storage
from precision.accumulators import _small_products
from precision.formats import FP64, NAMED, FloatFormat, IntFormat
from precision.quantization._quant_spec import SPECS

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
SOURCES = ("float32", "float64", "float16", "bfloat16")
UNNAMED = (
    IntFormat(3), IntFormat(5, signed=False), IntFormat(12), IntFormat(16, symmetric=False),
    FloatFormat(2, 2), FloatFormat(5, 12), FloatFormat(8, 4, signed=False),
)  # fmt: skip
FORMATS = [fmt for fmt in (*NAMED.values(), *UNNAMED) if fmt != FP64]
Call = Callable[["Memory"], list[np.ndarray]]
plain_empty = np.empty


class Memory:
    """Gives memory for arrays: NumPy's own, or beside a page that may not be touched."""

    def __init__(self, side: str | None) -> None:
        self.side = side
        self.held: list[mmap.mmap] = []

    def empty(self, shape: object, dtype: object = float, order: str = "C") -> np.ndarray:
        """Like `numpy.empty`, filled with bytes of 0xA5."""
        dtype = np.dtype(dtype)
        example = plain_empty(shape, np.uint8, order=order)
        nbytes = example.size * dtype.itemsize
        if self.side is None or not nbytes or dtype.hasobject:
            return plain_empty(shape, dtype, order=order)
        whole = -(-nbytes // PAGE) * PAGE
        region = mmap.mmap(-1, whole + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(region))
        for guard in (start, start + PAGE + whole):
            if LIBC.mprotect(guard, PAGE, mmap.PROT_READ * 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.held.append(region)
        offset = PAGE if self.side == "begin" else PAGE + whole - nbytes
        flat = np.frombuffer(region, np.uint8, nbytes, offset)
        flat[:] = 0xA5
        return flat.view(dtype).reshape(example.shape, order=order)

    def place(self, array: np.ndarray) -> np.ndarray:
        """A copy of an array in such memory."""
        copy = self.empty(array.shape, array.dtype, "F" if array.flags.fnc else "C")
        copy[...] = array
        return copy

    def tensor(self, q: pr.QuantizedTensor) -> pr.QuantizedTensor:
        """A copy of a tensor whose codes and scales lie in such memory."""
        return pr.QuantizedTensor(
            self.place(q.codes), self.place(q.scale), fmt=q.fmt, tensor_scale=q.tensor_scale, block=q.block,
            scale_format=q.scale_format,
        )  # fmt: skip


def drawn(seed: int, *shape: int, dtype: str = "float32") -> np.ndarray:
    return (
        np.random.default_rng(seed)
        .standard_normal(shape)
        .astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    )


def codes_of(fmt: object, *shape: int) -> np.ndarray:
    codes = np.random.default_rng(7).integers(0, 1 << fmt.bits, shape, dtype=np.uint64)
    return codes.astype(fmt.code_dtype).view(fmt.dtype)


# ---- the calls -------------------------------------------------------------------------------------------


def codec_calls(fmt: object) -> Iterator[tuple[str, Call]]:
    """`round_to`, `encode` and `decode`, `pack` and `unpack`."""
    ways = [*pr.Rounding, pr.Stochastic(bits=9, seed=1)]
    for dtype in SOURCES:
        for way in ways if dtype == "float32" else (ways[0], ways[-1]):

            def convert(memory: Memory, dtype: str = dtype, way: object = way) -> list[np.ndarray]:
                made = []
                for size in (1, 37, 1003):
                    x = memory.place(drawn(size, size, dtype=dtype))
                    wide = np.float64 if dtype == "float64" else np.float32
                    made.append(pr.round_to(x, fmt, rounding=way, out=memory.empty(x.shape, wide)))
                    made.append(pr.encode(x, fmt, rounding=way, out=memory.empty(x.shape, fmt.dtype)))
                return made

            yield f"round_to and encode {fmt} {dtype} {way}", convert

    def read(memory: Memory) -> list[np.ndarray]:
        made = []
        for shape in ((1,), (37,), (3, 331)):
            codes = memory.place(codes_of(fmt, *shape))
            made.append(pr.decode(codes, fmt, out=memory.empty(shape, np.float32)))
            if fmt.bits <= 16:
                packed = memory.place(storage.pack(codes, fmt))
                made += [packed, storage.unpack(packed, fmt, shape[-1])]
        return made

    yield f"decode, pack and unpack {fmt}", read


def specs() -> Iterator[pr.QuantSpec]:
    """The named specs, and every format under several granularities and kinds of scales."""
    yield from SPECS.values()
    for fmt in FORMATS:
        if fmt.has_zero:
            yield pr.QuantSpec(fmt, pr.PerTensor())
            yield pr.QuantSpec(fmt, pr.PerGroup(7), scale_format=pr.E8M0, scale_rule=pr.ScaleRule.CEIL)
            yield pr.QuantSpec(fmt, pr.PerBlock(3, 16), rounding=pr.Stochastic(bits=5))
            yield pr.QuantSpec(fmt, pr.PerGroup(1), scale_format=pr.E5M6)
    for rule in pr.ScaleRule:
        yield pr.QuantSpec(pr.E2M1, pr.PerGroup(16), scale_format=pr.E4M3, tensor_scale=True, scale_rule=rule)


def quantizer_calls(spec: pr.QuantSpec) -> Iterator[tuple[str, Call]]:
    """`quantize` into given codes and scales, and `dequantize`."""

    def run(memory: Memory) -> list[np.ndarray]:
        made = []
        for dtype, shape, axis in (
            ("float32", (5, 96), -1), ("float32", (33, 7), 0),
            ("float64", (3, 37), -1), ("bfloat16", (2, 65), -1),
        ):  # fmt: skip
            x = memory.place(drawn(3, *shape, dtype=dtype))
            q = memory.tensor(pr.quantize(x, spec, axis=axis))
            q = pr.quantize(x, spec, axis=axis, out=q)
            made += [q.codes, q.scale]
            made += [q.dequantize(kind, out=memory.empty(shape, kind)) for kind in (np.float32, np.float64)]
            made += [q.dequantize(), q.T.dequantize()]
        return made

    yield f"quantize and dequantize {spec}", run


def units() -> Iterator[tuple[object, object, object]]:
    """Accumulators, with an operand format for each side."""
    accumulators = vars(pr.accumulators)
    named = [unit for unit in accumulators.values() if isinstance(unit, pr.FusedSum)]
    away = pr.Rounding.TIES_TO_EVEN
    made = [
        pr.FusedSum((pr.E8M13,), 16, fraction_bits=25, alignment_rounding=away),
        pr.FusedSum((pr.E5M6, pr.E4M3), 5, fraction_bits=7),
        pr.FusedSum((pr.E2M1, pr.BF16), 64, fraction_bits=30),
        pr.FusedSum((pr.FP16,), 3, fraction_bits=29, register_rounding=away),
        pr.HOPPER_FP8.with_width(4),
    ]
    for unit in dict.fromkeys((*named, *made)):
        for left in unit.operands:
            yield unit, left, unit.operands[-1]
        if unit.scale_in_unit is None:
            yield unit.promoted(2 * unit.products), unit.operands[0], unit.operands[0]
    for fmt in FORMATS:
        yield pr.EXACT, fmt, pr.E4M3
    for fmt in (pr.FP32, pr.FP16, pr.BF16, pr.E4M3, pr.E2M1, pr.E5M6):
        yield pr.FP32_FMA, fmt, fmt
        yield pr.FP32_FMA.promoted(16), fmt, fmt


def product_calls(unit: object, left: object, right: object) -> Iterator[tuple[str, Call]]:
    """`matmul` and `trace`, with and without a start, of either order in memory."""
    inside = getattr(unit, "scale_in_unit", None)

    def operand(memory: Memory, fmt: object, shape: tuple[int, ...], axis: int, f_order: bool) -> object:
        codes = codes_of(fmt, *shape)
        codes = memory.place(np.asfortranarray(codes) if f_order else codes)
        if inside is None:
            return pr.QuantizedTensor(codes, 1.0, fmt=fmt)
        fixed = np.random.default_rng(2)
        step = 16
        scales = list(shape)
        scales[axis] = -(-shape[axis] // step)
        kind = pr.E8M0 if isinstance(inside, pr.accumulators.ScaledProducts) else pr.E4M3
        scale = pr.encode(
            fixed.integers(1, 5, scales).astype(np.float32), kind, rounding=pr.Rounding.TOWARD_ZERO
        )
        block = tuple(step if i == axis % len(shape) else 1 for i in range(len(shape)))
        return pr.QuantizedTensor(codes, memory.place(scale), fmt=fmt, block=block)

    def run(memory: Memory) -> list[np.ndarray]:
        made = []
        panels, loop = -1, 2**60  # what is left to the loop for small products: nothing, or every one
        for m, k, n, f_order, most in (
            (1, 1, 1, False, panels), (5, 67, 9, False, panels), (17, 100, 33, True, panels),
            (1, 1, 1, False, loop), (5, 67, 9, True, loop),
        ):  # fmt: skip
            _small_products.MOST = most
            a = operand(memory, left, (m, k), -1, f_order)
            b = operand(memory, right, (k, n), -2, f_order)
            made.append(pr.matmul(a, b, accumulator=unit))
            c = memory.place(np.ones((m, n), np.float32))
            made.append(pr.matmul(a, b, accumulator=unit, c=c))
            if not isinstance(unit, pr.accumulators.Exact):
                row, column = operand(memory, left, (k,), -1, False), operand(memory, right, (k,), -1, False)
                made += list(pr.trace(row, column, accumulator=unit))
        return made

    yield f"matmul and trace {unit} {left} {right}", run


def other_calls() -> Iterator[tuple[str, Call]]:
    """LogFMT, Hadamard, and scales in cuBLAS's order."""
    for text in ("LogFMT(8)", "LogFMT(4, 7)", "LogFMT(10, base=TWO)", "DEEPEP_LOGFMT10", "LogFMT(3, 33)"):
        spec = pr.LogFMT.parse(text)

        def log(memory: Memory, spec: pr.LogFMT = spec) -> list[np.ndarray]:
            made = []
            for dtype, shape, axis in (
                ("float32", (3, 256), -1), ("float32", (5, 67), -1),
                ("float64", (33, 5), 0), ("bfloat16", (1, 1), -1),
            ):  # fmt: skip
                if spec.fallback and shape[axis] % 512:
                    shape = (2, 1024) if axis == -1 else (1024, 2)
                x = memory.place(drawn(5, *shape, dtype=dtype))
                q = pr.quantize(x, spec, axis=axis)
                placed = tuple(memory.place(array) for array in q.metadata)
                q = pr.quantize(
                    x, spec, axis=axis, out=type(q)(memory.place(q.codes), placed, spec, axis=axis)
                )
                made += [q.codes, *q.metadata, q.pack()]
                made += [
                    q.dequantize(kind, out=memory.empty(shape, kind)) for kind in (np.float32, np.float64)
                ]
            return made

        yield f"logfmt {text}", log

    def rotate(memory: Memory) -> list[np.ndarray]:
        made = []
        for dtype in SOURCES:
            x = memory.place(drawn(1, 7, 64, dtype=dtype))
            rotation = pr.Hadamard(16, seed=3)
            made += [rotation(x), rotation.inverse(x), rotation(memory.place(x.T), axis=0)]
        return made

    yield "hadamard", rotate

    def order(memory: Memory) -> list[np.ndarray]:
        scale = memory.place(pr.encode(np.ones((131, 5), np.float32), pr.E8M0))
        swizzled = storage.swizzle(scale)
        return [swizzled, storage.unswizzle(memory.place(swizzled), scale.shape)]

    yield "swizzle and unswizzle", order


def calls() -> Iterator[tuple[str, Call]]:
    for fmt in FORMATS:
        yield from codec_calls(fmt)
    for spec in dict.fromkeys(specs()):
        yield from quantizer_calls(spec)
    for unit in units():
        yield from product_calls(*unit)
    yield from other_calls()


# ---- codes with bits that their format has not -----------------------------------------------------------


def readers(fmt: object) -> Iterator[tuple[str, tuple[int, ...], Callable[[pr.QuantizedTensor], object]]]:
    """Everything that reads a tensor's codes, with the shape that it takes."""
    matrix = (3, 37)
    yield "dequantize", matrix, lambda q: q.dequantize()
    yield "decode", matrix, lambda q: pr.decode(q.codes, fmt)
    if fmt.bits <= 16:
        yield "pack", matrix, lambda q: storage.pack(q.codes, fmt)
    units = [pr.EXACT, pr.FP32_FMA]
    if isinstance(fmt, FloatFormat) and fmt.signed:  # the general kernel, which looks codes up in tables
        way = pr.Rounding.TIES_TO_EVEN
        units.append(pr.FusedSum((fmt,), 16, fraction_bits=25, alignment_rounding=way))
    for unit in units:
        yield f"matmul {unit}", matrix, lambda q, unit=unit: pr.matmul(q, q.T, accumulator=unit)
    yield "trace", (37,), lambda q: np.stack(pr.trace(q, q, accumulator=pr.FP32_FMA))


def stray(side: str) -> None:
    count = 0
    for fmt in FORMATS:
        kind = fmt.code_dtype
        if fmt.bits == 8 * kind.itemsize:
            continue
        above = kind.type(np.iinfo(kind).max ^ ((1 << fmt.bits) - 1))
        for name, shape, read in readers(fmt):
            print(f"stray codes: {name} {fmt}", flush=True)
            codes = codes_of(fmt, *shape)
            wanted = read(pr.QuantizedTensor(codes, 1.0, fmt=fmt)).tobytes()
            memory = Memory(side)
            q = pr.QuantizedTensor(memory.place(np.zeros_like(codes)), 1.0, fmt=fmt)
            q.codes.view(kind)[...] = codes.view(kind) | above
            np.empty = memory.empty
            try:
                got, refused = read(q).tobytes(), ""
            except ValueError as error:
                got, refused = b"", str(error)
            finally:
                np.empty = plain_empty
            if isinstance(fmt, IntFormat) and fmt.dtype != kind:  # ml_dtypes' own, which keep their low bits
                assert got == wanted, f"{name} {fmt}: stray bits change what is read. {refused}"
            else:
                assert "must lie below 2**" in refused, f"{name} {fmt}: read, or refused otherwise: {refused}"
            count += 1
    print(f"{count} calls, no read or write outside")


def main(side: str) -> None:
    count = 0
    for name, call in calls():
        print(name, flush=True)
        wanted = [array.tobytes() for array in call(Memory(None))]
        memory = Memory(side)
        np.empty = memory.empty  # the package's own buffers; what it compiles has been compiled
        try:
            got = [array.tobytes() for array in call(memory)]
        finally:
            np.empty = plain_empty
        assert got == wanted, f"{name}: other bytes beside a page that may not be touched"
        count += 1
    print(f"{count} calls, no read or write outside")


if __name__ == "__main__":
    if sys.argv[1] == "outside":  # shows that a fault is one
        memory = Memory(sys.argv[2])
        array = memory.place(np.arange(5, dtype=np.float32))
        print("one element outside", flush=True)
        step = 4 if sys.argv[2] == "end" else -4
        outside = ctypes.c_float.from_address(array.ctypes.data + (16 if step > 0 else 0) + step)
        sys.exit(f"no fault: {outside.value}")
    if sys.argv[1] == "stray":
        stray(sys.argv[2])
    else:
        main(sys.argv[1])
