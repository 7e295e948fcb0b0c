"""Gives every function with an ``out`` arrays that overlap at random, and compares with copied inputs.

    python benchmarks/oracle_fuzz_aliasing.py --count 20000 --seed 1 --jobs 2

Inputs and ``out`` lie in one buffer with strides, orders, directions and places drawn at random. The answer
must be the one for copies of the inputs, and no byte of the buffer outside ``out`` may change; or the call is
refused by an error that names the argument, and then no byte at all may change. Parts of one ``out`` that
share memory must be refused.
"""

import argparse
import inspect
import random

import ml_dtypes
import numpy as np
import oracle_fuzz

import precision as pr
from precision import bounds, cost, logfmt, metrics, storage, testing

SIZE = 1 << 16
FORMATS = [fmt for name, fmt in pr.formats.NAMED.items() if name != "fp64"]
TYPES = [np.float32, np.float32, np.float64, np.float16, ml_dtypes.bfloat16]


def functions_with_out():
    """Return the names of all public functions and methods that take an ``out``, by their signatures."""
    found = set()
    for room in (pr, pr.formats, logfmt, metrics, testing, bounds, cost, storage):
        for name in room.__all__:
            thing = getattr(room, name)
            members = [(name, thing)]
            if inspect.isclass(thing):
                members = [
                    (f"{name}.{key}", getattr(thing, key)) for key in dir(thing) if not key.startswith("_")
                ]
            for label, member in members:
                if callable(member):
                    try:
                        parameters = inspect.signature(member).parameters
                    except (TypeError, ValueError):
                        continue
                    if "out" in parameters:
                        found.add(label)
    return found


# ---- places in a buffer


class Buffer:
    """Bytes, and views into them around one place."""

    def __init__(self, rng, draw, largest):
        self.rng = rng
        self.size = max(SIZE, 24 * largest)
        self.bytes = np.resize(draw.integers(0, 256, 4099, dtype=np.uint8), self.size)
        self.spread = rng.choice([0, 1, 8, 64, 512, largest])

    def view(self, shape, dtype, near=None):
        """Return a view that does not overlap itself, at or near a byte, and the byte where it begins."""
        rng, item = self.rng, np.dtype(dtype).itemsize
        axes = list(range(len(shape)))
        if rng.random() < 0.4:
            rng.shuffle(axes)
        strides, step = [0] * len(shape), item
        for axis in reversed(axes):
            step *= rng.choice([1, 1, 1, 1, 2, 3])
            strides[axis] = step
            step *= shape[axis]
        low, high = 0, item
        for axis, length in enumerate(shape):
            if rng.random() < 0.2:
                strides[axis] = -strides[axis]
            reach = strides[axis] * (length - 1)
            low, high = low + min(reach, 0), high + max(reach, 0)
        start = self.size // 2 + low if near is None else near + rng.randint(-self.spread, self.spread)
        if rng.random() < 0.9:
            start -= start % 8 - rng.choice([0, 0, item if item < 8 else 0])
        offset = min(max(start - low, -low), self.size - high)
        return np.ndarray(shape, dtype, self.bytes.data, offset, tuple(strides)), offset + low

    def disjoint(self, parts, near=None):
        """Return views of (shape, dtype) of which no two share memory."""
        for _ in range(50):
            views = []
            for shape, dtype in parts:
                view, start = self.view(shape, dtype, near)
                views.append(view)
                near = start if near is None else near
            if not any(np.shares_memory(a, b) for k, a in enumerate(views) for b in views[:k]):
                return views, near
        end, views = 8, []
        for shape, dtype in parts:
            count = int(np.prod(shape)) * np.dtype(dtype).itemsize
            views.append(np.ndarray(shape, dtype, self.bytes.data, end))
            end += -(-count // 8) * 8
        return views, 8


class Case:
    """One call: what is called, the views, and the answer for copies."""


def draw_shape(rng):
    """Draw a shape, now and then one large enough for several threads."""
    if rng.random() < 0.03:
        return rng.choice([(300, 700), (64, 2048), (150000,)])
    return rng.choice([(1,), (5,), (33,), (300,), (4, 40), (7, 33), (16, 64), (2, 3, 17), (40, 1), (1, 130)])


def draw_values(rng, draw, shape, dtype, special=True):
    """Draw ordinary numbers, with zeros and now and then NaN and Inf."""
    values = draw.standard_normal(shape) * 2.0 ** rng.choice([0, 0, 4, -6])
    values = np.where(draw.random(shape) < 0.05, 0.0, values)
    if special and rng.random() < 0.2:
        values = np.where(draw.random(shape) < 0.03, draw.choice([np.nan, np.inf, -np.inf], shape), values)
    return values.astype(dtype)


def bytes_of(array):
    """Return an array's elements as bytes, in C order."""
    return np.ascontiguousarray(array).tobytes()


# ---- elements


def element_case(case, rng, draw, buffer, shape):
    """Draw a call of round_to, encode or decode."""
    fmt = rng.choice(FORMATS)
    if case.function == "decode":
        codes = pr.encode(draw_values(rng, draw, shape, np.float32, False), fmt, **no_nan(fmt))
        if rng.random() < 0.5:
            codes = codes.view(f"u{codes.dtype.itemsize}")
            if codes.dtype.itemsize == 1:
                codes = codes & np.uint8((1 << fmt.bits) - 1)
        x, near = buffer.view(shape, codes.dtype)
        out, _ = buffer.view(shape, np.float32, near)
        x[...] = codes
        case.call, case.plain = (lambda: pr.decode(x, fmt, out=out)), (lambda: pr.decode(codes, fmt))
    else:
        dtype = rng.choice(TYPES)
        values = draw_values(rng, draw, shape, dtype, False)
        rounding = rng.choice([*pr.Rounding, pr.Stochastic(8, 3)])
        options = {"rounding": rounding, "overflow": rng.choice(list(pr.Overflow)), **no_nan(fmt)}
        function = getattr(pr, case.function)
        target = (
            fmt.dtype if case.function == "encode" else (np.float64 if dtype is np.float64 else np.float32)
        )
        x, near = buffer.view(shape, dtype)
        out, _ = buffer.view(shape, target, near)
        x[...] = values
        case.call, case.plain = (
            (lambda: function(x, fmt, out=out, **options)),
            (lambda: function(values, fmt, **options)),
        )
    case.text = f"{case.function} {fmt!s}"
    case.inputs, case.outs = [x], [out]
    case.parts = lambda result: [np.asarray(result)]


def no_nan(fmt):
    """Return what takes NaN's place in a format that has none."""
    has_nan = isinstance(fmt, pr.FloatFormat) and fmt.specials is not pr.Specials.NONE
    return {} if has_nan else {"nan": fmt.max}


# ---- tensors


def draw_spec(rng, shape):
    """Draw a spec of quantized tensors and an axis."""
    axis = rng.randrange(-len(shape), len(shape))
    choices = [pr.PerTensor(), pr.PerVector(), pr.PerGroup(rng.choice([1, 4, 16, 128]))]
    if len(shape) > 1:
        choices.append(pr.PerBlock(rng.choice([1, 4, 128]), rng.choice([3, 32])))
        axis = rng.choice([-1, -2]) if rng.random() < 0.7 else axis
    if rng.random() < 0.4:
        return rng.choice(
            [pr.MXFP4, pr.MXFP8_E4M3, pr.MXFP6_E2M3, pr.NVFP4, pr.NVFP4_TE, pr.NVFP4_4OVER6, pr.MXINT8]
        ), axis
    granularity = rng.choice(choices)
    if isinstance(granularity, pr.PerBlock):
        axis = rng.choice([-1, -2])
    fmt = rng.choice([pr.E4M3, pr.E5M2, pr.E2M1, pr.formats.INT8, pr.formats.INT4, pr.BF16])
    if rng.random() < 0.3:
        return pr.QuantSpec(
            fmt,
            granularity,
            scale_format=pr.E8M0,
            scale_rule=rng.choice([pr.ScaleRule.FLOOR, pr.ScaleRule.RCEIL]),
        ), axis
    rounding = rng.choice([pr.Rounding.TIES_TO_EVEN, pr.Stochastic(16, 1)])
    non_finite = rng.choice(list(pr.NonFinite))
    return pr.QuantSpec(fmt, granularity, rounding=rounding, non_finite=non_finite), axis


def draw_logfmt(rng):
    """Draw a LogFMT."""
    options = {"rounding": rng.choice([pr.Rounding.TIES_TO_EVEN, pr.Stochastic(8)])}
    if rng.random() < 0.4:
        options["metadata"] = logfmt.Metadata.EXTREMES
        if rng.random() < 0.5:
            options["fallback"] = logfmt.Fallback(pr.BF16, 128)
    if rng.random() < 0.3:
        options["metadata_format"] = pr.BF16
    if rng.random() < 0.3:
        options["space"] = logfmt.Space.LOG
    return pr.LogFMT(rng.choice([4, 8, 10, 16]), rng.choice([8, 32, 128]), **options)


def pieces(tensor):
    """Return the arrays that a tensor holds."""
    if isinstance(tensor, pr.LogFMTTensor):
        return [tensor.codes, *tensor.metadata]
    return [tensor.codes, tensor.scale]


def rebuilt(tensor, arrays):
    """Return a tensor like another with these arrays."""
    if isinstance(tensor, pr.LogFMTTensor):
        return pr.LogFMTTensor(arrays[0], tuple(arrays[1:]), tensor.spec, axis=tensor.axis)
    return pr.QuantizedTensor(
        arrays[0],
        arrays[1],
        fmt=tensor.fmt,
        tensor_scale=tensor.tensor_scale,
        block=tensor.block,
        scale_format=tensor.scale_format,
    )


def quantize_case(case, rng, draw, buffer, shape):
    """Draw a call of quantize."""
    log = "LogFMT" in case.function
    spec, axis = (draw_logfmt(rng), rng.randrange(-len(shape), len(shape))) if log else draw_spec(rng, shape)
    dtype = rng.choice(TYPES)
    values = draw_values(rng, draw, shape, dtype)
    template = pr.quantize(values, spec, axis=axis)
    x, near = buffer.view(shape, dtype)
    needed = [(array.shape, array.dtype) for array in pieces(template)]
    if rng.random() < 0.85:
        outs, _ = buffer.disjoint(needed, near)
    else:
        outs = [buffer.view(*part, near)[0] for part in needed]
    for out in reversed(outs):
        out[...] = np.ones(1, np.float32).astype(out.dtype)
    try:
        target = rebuilt(template, outs)
    except ValueError:  # parts that share memory may spoil a scale
        outs = [np.ones(*part) for part in needed]
        target = rebuilt(template, outs)
    x[...] = values
    if case.function == "quantize":
        case.call = lambda: pr.quantize(x, spec, axis=axis, out=target)
    else:
        case.call = lambda: spec.quantize(x, axis=axis, out=target)
    case.plain = lambda: pr.quantize(values, spec, axis=axis)
    case.text = f"{case.function} {spec!s} axis {axis}"
    case.inputs, case.outs = [x], outs
    case.parts = pieces
    case.extra = lambda tensor: getattr(tensor, "tensor_scale", None)


def dequantize_case(case, rng, draw, buffer, shape):
    """Draw a call of dequantize."""
    log = "LogFMT" in case.function
    spec, axis = (draw_logfmt(rng), rng.randrange(-len(shape), len(shape))) if log else draw_spec(rng, shape)
    template = pr.quantize(draw_values(rng, draw, shape, np.float32), spec, axis=axis)
    held = pieces(template)
    inputs, near = buffer.disjoint([(array.shape, array.dtype) for array in held])
    for view, array in zip(inputs, held, strict=True):
        view[...] = array
    dtype = rng.choice([np.float32, np.float32, np.float64])
    out, _ = buffer.view(shape, dtype, near)
    tensor = rebuilt(template, inputs)
    case.call, case.plain = (lambda: tensor.dequantize(dtype, out=out)), (lambda: template.dequantize(dtype))
    case.text = f"{case.function} {spec!s} axis {axis}"
    case.inputs, case.outs = inputs, [out]
    case.parts = lambda result: [np.asarray(result)]


# ---- comparing

DRAW = {
    "round_to": element_case,
    "encode": element_case,
    "decode": element_case,
    "quantize": quantize_case,
    "QuantSpec.quantize": quantize_case,
    "LogFMT.quantize": quantize_case,
    "QuantizedTensor.dequantize": dequantize_case,
    "LogFMTTensor.dequantize": dequantize_case,
}


def draw_case(seed, index):
    """Draw a case from the seed and its number."""
    rng = random.Random(f"aliasing {seed} {index}")
    draw = np.random.default_rng([seed, index, 11])
    case = Case()
    case.function = rng.choice(list(DRAW))
    case.shape = draw_shape(rng)
    case.extra = lambda result: None
    case.threads = rng.choice([1, 2, 3])
    case.buffer = Buffer(rng, draw, 8 * int(np.prod(case.shape)))
    DRAW[case.function](case, rng, draw, case.buffer, case.shape)
    return case


def describe(case):
    """Return a case in words."""
    base = case.buffer.bytes.__array_interface__["data"][0]
    lines = [f"{case.text}, shape {case.shape}, {case.threads} threads"]
    for name, arrays in (("input", case.inputs), ("out", case.outs)):
        for array in arrays:
            place = array.__array_interface__["data"][0] - base
            lines.append(
                f"  {name} {array.dtype.name} {array.shape} at byte {place}, strides {array.strides}"
            )
    return "\n".join(lines)


def compare(seed, index):
    """Run one case; return its kind, and the difference in words or None."""
    case = draw_case(seed, index)
    pr.set_num_threads(case.threads)
    outs = case.outs
    clash = any(np.shares_memory(a, b) for k, a in enumerate(outs) for b in outs[:k])
    meets = any(np.shares_memory(a, b) for a in outs for b in case.inputs)
    kind = f"{case.function}, {'parts of out clash' if clash else 'overlaps' if meets else 'apart'}"
    wanted = case.plain()
    before = case.buffer.bytes.copy()
    try:
        result = case.call()
    except (TypeError, ValueError) as error:
        words = None if "out" in str(error) else "an error that does not name out"
        if not np.array_equal(before, case.buffer.bytes):
            words = "refused after bytes were changed"
        return f"{kind}, refused", words and f"{describe(case)}\n{words}: {type(error).__name__}: {error}"
    except Exception as error:
        return kind, f"{describe(case)}\nraised {type(error).__name__}: {error}"
    words = "taken, though parts of out share memory" if clash else difference(case, result, wanted, before)
    return kind, words and f"{describe(case)}\n{words}"


def difference(case, result, wanted, before):
    """Return how the answer or the buffer is not as it must be, or None."""
    for number, (got, want, out) in enumerate(
        zip(case.parts(result), case.parts(wanted), case.outs, strict=True)
    ):
        if got.shape != want.shape or got.dtype != want.dtype:
            return f"part {number}: shape {got.shape} {got.dtype}, expected {want.shape} {want.dtype}"
        if got.size and not np.may_share_memory(got, out):
            return f"part {number} of the answer does not lie in out"
        for name, array in (("the answer", got), ("out", out)):
            if bytes_of(array) != bytes_of(want):
                width = want.dtype.itemsize
                pair = [np.frombuffer(bytes_of(a), f"V{width}") for a in (array, want)]
                wrong = np.flatnonzero(pair[0] != pair[1])
                place = tuple(int(n) for n in np.unravel_index(wrong[0], want.shape))
                return (
                    f"part {number} of {name}: {wrong.size} of {want.size} elements differ; at {place} got "
                    f"{array[place]!r}, expected {want[place]!r}"
                )
    if case.extra(result) != case.extra(wanted):
        return f"tensor scale: got {case.extra(result)!r}, expected {case.extra(wanted)!r}"
    after = case.buffer.bytes.copy()
    case.buffer.bytes[...] = before
    for want, out in zip(case.parts(wanted), case.outs, strict=True):
        out[...] = want
    changed = np.flatnonzero(after != case.buffer.bytes)
    return f"bytes outside out changed, the first at {changed[0]}" if changed.size else None


def main():
    """Run the fuzz."""
    missing = functions_with_out() - set(DRAW)
    if missing:
        raise SystemExit(f"functions with an out that this fuzz does not know: {', '.join(sorted(missing))}")
    oracle_fuzz.main(compare, "benchmarks/oracle_fuzz_aliasing.py", __doc__, argparse.ArgumentParser)


if __name__ == "__main__":
    main()
