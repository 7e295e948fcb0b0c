"""Compares random products of every unit with an oracle in Python's integers, bit for bit.

    python benchmarks/oracle_fuzz_products.py --count 220000 --seed 1 --jobs 2

It draws the unit (named, user-made, with and without promotion and scales inside), operands, values,
scales, shapes, ``c`` and ``dtype`` of each case from the seed and the case's number, prints how many cases
of each kind differ, and the first differences in full, each with the command that runs it again. The oracle
(`oracle_products`) follows the documents and docstrings and was written without reading the package.
"""

import argparse
import math
import random

import ml_dtypes
import numpy as np
import oracle_fuzz
from oracle_numbers import grid_of, unsigned
from oracle_products import Case, Oracle, Side, bits_in, nan_bits, whole_tensor

import precision as pr

# ---- drawing

FORMATS = pr.formats
NAMED = [
    pr.HOPPER_FP8,
    pr.HOPPER_FP8_ACC16,
    pr.HOPPER_FP16,
    pr.HOPPER_BF16,
    pr.HOPPER_TF32,
    pr.HOPPER_FP16_ACC16,
    pr.BLACKWELL_MX,
    pr.BLACKWELL_NVFP4,
]
ANY_OPERAND = [
    pr.E4M3, pr.E5M2, pr.E2M1, pr.E2M3, pr.E3M2, pr.FP16, pr.BF16, pr.TF32,
    pr.E5M6, pr.E8M13, pr.FP32, pr.E8M0,
    FORMATS.E4M3FNUZ, FORMATS.E5M2FNUZ, FORMATS.E4M3B11FNUZ, FORMATS.E3M4, FORMATS.E4M3_IEEE,
    FORMATS.UE4M3, FORMATS.UE5M3,
    FORMATS.INT8, FORMATS.INT4, FORMATS.MXINT8, FORMATS.UINT8, FORMATS.UINT4, FORMATS.INT2, FORMATS.UINT2,
    pr.IntFormat(12, fraction_bits=5, symmetric=False), pr.IntFormat(16),
]  # fmt: skip
SCALE_FORMATS = [
    pr.FP32,
    pr.FP32,
    pr.FP32,
    pr.E8M0,
    pr.E4M3,
    FORMATS.UE4M3,
    FORMATS.UE5M3,
    pr.FP16,
    pr.BF16,
    pr.E5M2,
]
ROUNDINGS = list(pr.Rounding)
SINGLE_GROUP = "one group over K, not promoted"


def random_float_format(rng, *, small=False):
    """Draw a format of floating-point numbers; wide ones are rare, as reading them takes large tables."""
    wide = not small and rng.random() < 0.1
    while True:
        exponent, fraction = rng.randint(1, 8), rng.randint(0, 23 if wide else rng.choice([3, 6, 10]))
        if not wide and exponent + fraction > 15:
            continue
        specials = rng.choice(list(pr.Specials))
        standard = 2 ** (exponent - 1) - 1
        bias = rng.choice([None, None, standard + rng.randint(-6, 6), rng.randint(-20, 60)])
        try:
            return pr.FloatFormat(
                exponent,
                fraction,
                bias=bias,
                signed=rng.random() < 0.9,
                specials=specials,
                subnormals=rng.random() < 0.95,
            )
        except ValueError:
            continue


def random_register(rng):
    """Draw the format of a register."""
    roll = rng.random()
    if roll < 0.4:
        return pr.FP32
    if roll < 0.6:
        return rng.choice([pr.E8M13, pr.FP16, pr.BF16, pr.TF32])
    return None


def random_unit(rng):
    """Draw a user-made fused sum."""
    while True:
        operands = tuple(
            rng.choice([f for f in ANY_OPERAND if isinstance(f, pr.FloatFormat)])
            if rng.random() < 0.6
            else random_float_format(rng)
            for _ in range(rng.randint(1, 3))
        )
        products = rng.choice([1, 2, 3, 4, 8, 16, 32, 64, rng.randint(1, 300), 1024])
        inside = None
        roll = rng.random()
        if roll < 0.15:
            inside = pr.ScaledProducts()
        elif roll < 0.35:
            divisors = [n for n in (1, 2, 4, 8, 16, 32, 64, 3, 5) if products % n == 0]
            inside = pr.ScaledGroups(rng.choice(divisors))
            operands = (
                rng.choice(
                    [pr.E2M1, pr.E4M3, pr.E2M3, pr.E3M2, FORMATS.E3M4, random_float_format(rng, small=True)]
                ),
            )
        options = {
            "fraction_bits": rng.choice([rng.randint(1, 30), 13, 24, 25]),
            "alignment_rounding": rng.choice([pr.Rounding.TOWARD_ZERO, *ROUNDINGS]),
            "register_rounding": rng.choice([pr.Rounding.TOWARD_ZERO, pr.Rounding.TIES_TO_EVEN, *ROUNDINGS]),
            "min_exponent": rng.choice([-133, -139, -21, rng.randint(-300, 0), 0]),
            "scale_in_unit": inside,
        }
        if isinstance(inside, pr.ScaledGroups):
            options["fraction_bits"] = rng.choice([rng.randint(1, 40), 35])
        register = random_register(rng)
        try:
            while register is None or not register.has_zero:  # a zero sum is +0
                register = random_float_format(rng)
            options["register"] = register
            unit = pr.FusedSum(operands, products, **options)
            if rng.random() < 0.4:
                unit = unit.promoted(products * rng.randint(1, 6))
            return unit
        except ValueError:
            continue


def draw_unit(rng):
    """Draw a unit, and the name of its kind."""
    roll = rng.random()
    if roll < 0.42:
        unit = rng.choice(NAMED)
        kind = str(unit)
        if rng.random() < 0.4:
            unit = unit.promoted(unit.products * rng.choice([1, 2, 3, 4]))
            kind += ".promoted"
        if rng.random() < 0.1:
            width = rng.randint(5, 30)
            unit = unit.with_width(width)
            kind += ".with_width"
        return unit, kind
    if roll < 0.54:
        return (
            (pr.FP32_FMA, "FP32_FMA")
            if rng.random() < 0.5
            else (
                pr.FP32_FMA.promoted(rng.choice([1, 2, 7, 16, 32, 128])),
                "FP32_FMA.promoted",
            )
        )
    if roll < 0.64:
        return pr.EXACT, "EXACT"
    unit = random_unit(rng)
    inside = "" if unit.scale_in_unit is None else f", {type(unit.scale_in_unit).__name__}"
    return unit, f"FusedSum{inside}" + (", promoted" if unit.promotion else "")


def draw_length(rng):
    """Draw K."""
    roll = rng.random()
    if roll < 0.02:
        return 0
    if roll < 0.2:
        return rng.randint(1, 5)
    if roll < 0.6:
        return rng.randint(5, 48)
    if roll < 0.88:
        return rng.randint(32, 130)
    return rng.randint(130, 300)


def draw_shapes(rng, length):
    """Draw the shapes of both operands."""
    room = 1500 // max(length, 1) + 1
    m, n = rng.randint(1, 5), rng.randint(1, 5)
    while m * n > max(room, 1):
        m, n = max(m - 1, 1), max(n - (n >= m), 1)
    if rng.random() < 0.1:
        return (length,), (length, n) if rng.random() < 0.7 else (length,)
    if rng.random() < 0.08:
        return (m, length), (length,)
    first, second = (m, length), (length, n)
    if rng.random() < 0.2 and m * n * 2 <= room:
        batch = rng.choice(
            [
                ((2,), ()),
                ((), (2,)),
                ((2,), (1,)),
                ((1,), (2,)),
                ((2,), (2,)),
                ((2, 1), (3,)),
                ((1, 2), (2, 1)),
            ]
        )
        return (*batch[0], *first), (*batch[1], *second)
    return first, second


def draw_codes(rng, draw, fmt, shape):
    """Draw codes of a format, of one of many kinds of values."""
    grid = grid_of(fmt)
    size = math.prod(shape)
    everything = draw.integers(0, 1 << grid.bits, size, dtype=np.uint64)
    if grid.is_int:
        if rng.random() < 0.3:
            everything = everything & np.uint64(3)
        return everything.reshape(shape)
    mask, fraction = np.uint64(grid.mask), np.uint64(grid.fraction)
    signs = everything & np.uint64(grid.sign_bit) if grid.signed else np.zeros(size, np.uint64)
    kind = rng.choice(
        ["bits", "finite", "finite", "normal", "normal", "narrow", "ties", "tiny", "zeros", "large"]
    )
    magnitude = everything & mask
    top = np.uint64(grid.max_code)
    if kind == "bits":
        return everything.reshape(shape)
    if kind in ("normal", "narrow", "ties"):
        spread = np.abs(draw.standard_normal(size)) if kind == "normal" else draw.random(size)
        width = 1 if kind == "normal" else rng.randint(0, 5)
        center = rng.randint(1, max(1, int(top >> fraction)))
        if kind == "normal":
            exponent = np.floor(np.log2(spread + 1e-9)).astype(np.int64) + center
        else:
            exponent = np.floor(spread * width).astype(np.int64) + center
        low = np.uint64(rng.getrandbits(32) & ((1 << grid.fraction) - 1)) if kind == "ties" else mask
        part = magnitude & np.uint64((1 << grid.fraction) - 1) & low
        magnitude = (np.clip(exponent, 0, int(top >> fraction)).astype(np.uint64) << fraction) | part
    elif kind == "tiny":
        magnitude = magnitude & np.uint64((1 << (grid.fraction + rng.randint(0, 2))) - 1)
    elif kind == "zeros":
        magnitude = np.where(draw.random(size) < 0.8, np.uint64(0), magnitude)
    elif kind == "large":
        magnitude = top - (magnitude & np.uint64(rng.choice([0, 1, 7])))
    magnitude = np.where(magnitude > top, top, magnitude)
    if grid.kind in ("FNUZ", "EXTENDED"):
        signs = np.where(magnitude == 0, np.uint64(0), signs)
    if rng.random() < 0.3:
        signs = np.zeros(size, np.uint64)
    codes = magnitude | signs
    if size and rng.random() < 0.12:
        for _ in range(rng.randint(1, 3)):
            specials = [0, grid.sign_bit if grid.signed else 0]
            specials += [grid.nan_code] if grid.has_nan else []
            specials += (
                [grid.inf_code, grid.inf_code | (grid.sign_bit if grid.signed else 0)] if grid.has_inf else []
            )
            codes[rng.randrange(size)] = rng.choice(specials)
    return codes.reshape(shape)


def cancel(rng, a, b):
    """Make neighbours along K cancel: b the same, a with the other sign, in pairs a power of two apart."""
    grid = grid_of(a.fmt)
    length = a.codes.shape[-1]
    if length < 2 or grid.is_int or not grid.signed or grid.kind in ("FNUZ", "EXTENDED"):
        return
    stride = rng.choice([1, length // 2])
    for k in range(0, length - stride, 2 * stride):
        a.codes[..., k + stride : k + 2 * stride] = (a.codes[..., k : k + stride] ^ np.uint64(grid.sign_bit))[
            ..., : a.codes[..., k + stride : k + 2 * stride].shape[-1]
        ]
        if b.codes.ndim == 1:
            b.codes[k + stride : k + 2 * stride] = b.codes[k : k + stride][
                : len(b.codes[k + stride : k + 2 * stride])
            ]
        else:
            there = b.codes[..., k + stride : k + 2 * stride, :]
            b.codes[..., k + stride : k + 2 * stride, :] = b.codes[..., k : k + stride, :][
                ..., : there.shape[-2], :
            ]
    if rng.random() < 0.7:
        index = tuple(rng.randrange(n) for n in a.codes.shape)
        a.codes[index] = np.uint64(rng.getrandbits(grid.bits)) & np.uint64(grid.mask)


def draw_scale_codes(rng, draw, fmt, shape):
    """Draw codes of scales, which are not negative."""
    grid = grid_of(fmt)
    size = math.prod(shape)
    codes = draw.integers(0, grid.mask + 1, size, dtype=np.uint64)
    kind = rng.choice(["near one", "near one", "near one", "power", "any"])
    top = np.uint64(grid.max_code)
    if kind != "any":
        field = grid.bias + draw.integers(-6, 7, size)
        field = np.clip(field, 0, int(top) >> grid.fraction).astype(np.uint64)
        part = codes & np.uint64((1 << grid.fraction) - 1)
        codes = field << np.uint64(grid.fraction)
        if kind == "near one":
            codes |= part
    codes = np.where(codes > top, top, codes)
    if size and rng.random() < 0.1:
        specials = [0, 1]
        specials += [grid.nan_code] if grid.nan_code is not None and not grid.nan_code & grid.sign_bit else []
        specials += [grid.inf_code] if grid.has_inf else []
        codes[rng.randrange(size)] = rng.choice(specials)
    return codes.reshape(shape)


def draw_block(rng, case, side, axis, length):
    """Draw which elements of an operand share a scale: a block along each axis, as the unit takes it."""
    shape = side.codes.shape
    unit = case.unit
    along = -1 if len(shape) == 1 else axis
    block = [rng.choice([1, None]) for _ in shape]
    kinds = ["tensor", "row"]
    inside = getattr(unit, "scale_in_unit", None)
    multiple = None
    if isinstance(unit, pr.Exact):
        multiple = 1
    elif inside is not None:
        multiple = getattr(inside, "n", 1)
        if isinstance(inside, pr.ScaledProducts):
            multiple = 16
    elif unit.promotion is not None:
        multiple = unit.promotion
    if multiple is not None:
        kinds += ["group", "group", "group", "block", "block"]
    kind = rng.choice(kinds)
    if multiple is None and length and rng.random() < 0.05:
        case.kind = SINGLE_GROUP
        if len(shape) > 1:
            block[-1 if along == -2 else -2] = 1
        block[along] = length
        return block, "one group"
    if kind == "tensor":
        return [None] * len(shape), kind
    other = -1 if along == -2 else -2
    if kind == "row":
        if len(shape) > 1:
            block[other] = 1 if rng.random() < 0.8 else rng.randint(1, 3)
        block[along] = None
    else:
        groups = max(1, -(-length // multiple))
        block[along] = multiple * rng.randint(1, min(groups, 4) + (rng.random() < 0.2))
        if len(shape) > 1:
            block[other] = 1 if kind == "group" else rng.choice([2, 3, None, block[along]])
    return block, kind


def draw_scale(rng, draw, case, side, axis, length):
    """Give an operand scales, or none where its type says what its codes mean."""
    unit = case.unit
    inside = getattr(unit, "scale_in_unit", None)
    array_types = not isinstance(side.fmt, pr.IntFormat) and side.fmt.dtype.name in ARRAYS
    if array_types and rng.random() < 0.4:
        return
    side.scale_fmt = pr.E8M0 if isinstance(inside, pr.ScaledProducts) else rng.choice(SCALE_FORMATS)
    block, side.kind = draw_block(rng, case, side, axis, length)
    shape = tuple(
        -(-extent // (n or max(extent, 1))) for n, extent in zip(block, side.codes.shape, strict=True)
    )
    side.block = tuple(block)
    side.scale = draw_scale_codes(rng, draw, side.scale_fmt, shape)
    if rng.random() < 0.15:
        side.tensor_scale = float(np.float32(2.0 ** rng.uniform(-12, 12)))
        side.kind += "+ts"


ARRAYS = {
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz", "float8_e3m4",
    "float8_e4m3",
    "float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float16", "bfloat16", "float32",
}  # fmt: skip


def typed(codes, fmt):
    """Return codes as an array of the format's type."""
    dtype = np.dtype(fmt.dtype)
    return codes.astype(f"u{dtype.itemsize}").view(dtype)


def arranged(rng, array):
    """Return the same array in another layout of memory, now and then."""
    roll = rng.random()
    if array.ndim and roll < 0.06:
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if array.ndim > 1 and roll < 0.15:
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if array.ndim and roll < 0.2:
        wide = np.repeat(array, 2, axis=-1)
        return wide[..., ::2]
    return array


def give(rng, unit, side):
    """Build what `matmul` gets of an operand."""
    if side.scale is None and side.given is None:
        codes = typed(side.codes, side.fmt)
        if np.dtype(side.fmt.dtype).name in ARRAYS and not isinstance(side.fmt, pr.IntFormat):
            side.given = arranged(rng, codes)
            return
        inside = isinstance(getattr(unit, "scale_in_unit", None), pr.ScaledProducts)
        side.scale_fmt = pr.E8M0 if inside else pr.FP32
        side.scale = np.full([min(n, 1) for n in codes.shape], 127 if inside else 127 << 23, np.uint64)
        side.block = (None,) * codes.ndim
    if side.given is not None:
        return
    side.given = pr.QuantizedTensor(
        arranged(rng, typed(side.codes, side.fmt)),
        typed(side.scale, side.scale_fmt),
        fmt=side.fmt,
        block=side.block,
        scale_format=side.scale_fmt,
        tensor_scale=None if side.tensor_scale is None else np.float32(side.tensor_scale),
    )


def draw_side(rng, draw, unit, shape):
    """Draw one operand's format and codes."""
    operands = getattr(unit, "operands", None) or ANY_OPERAND
    fmt = rng.choice(operands)
    if fmt == pr.TF32 and rng.random() < 0.5 and getattr(unit, "operands", None) == (pr.TF32,):
        wide = draw_codes(rng, draw, pr.FP32, shape)
        side = Side(fmt, wide >> np.uint64(13))
        side.given = arranged(rng, typed(wide, pr.FP32))
        return side
    return Side(fmt, draw_codes(rng, draw, fmt, shape))


def draw_start(rng, draw, unit, shape):
    """Draw ``c``: values of the register where it is narrower than float32 in range."""
    kept = [n for n in shape]
    for d in range(len(kept)):
        if rng.random() < 0.2:
            kept[d] = 1
    while kept and rng.random() < 0.15:
        del kept[0]
    register = getattr(unit, "register", pr.FP32)
    if getattr(unit, "promotion", None) is not None or (register.exponent_bits == 8 and register.bias == 127):
        source = rng.choice([pr.FP32, pr.FP32, pr.BF16, pr.FP16])
        codes = draw_codes(rng, draw, source, tuple(kept))
        return typed(codes, source)
    codes = draw_codes(rng, draw, register, tuple(kept))
    values = np.array([grid_of(register).value(int(code)) for code in codes.reshape(-1)], np.float32)
    return values.reshape(kept)


def draw_case(seed, index):
    """Draw the case of a number under a seed."""
    rng = random.Random(f"products {seed} {index}")
    draw = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    unit, kind = draw_unit(rng)
    length = draw_length(rng)
    first, second = draw_shapes(rng, length)
    case = Case(unit, kind, draw_side(rng, draw, unit, first), draw_side(rng, draw, unit, second))
    if case.a.given is None and case.b.given is None and rng.random() < 0.2:
        cancel(rng, case.a, case.b)
    for side, axis in ((case.a, -1), (case.b, -2)):
        if side.given is None and rng.random() < 0.65:
            draw_scale(rng, draw, case, side, axis, length)
        give(rng, unit, side)
    shape = np.matmul(np.zeros(first, np.int8), np.zeros(second, np.int8)).shape
    if case.kind == SINGLE_GROUP and any(
        side.scale is not None and whole_tensor(side) for side in (case.a, case.b)
    ):
        case.kind += ", by a tensor's scale"
    if length == 0 and (case.a.tensor_scale or case.b.tensor_scale):
        case.kind = "K = 0 under a tensor scale"
    if rng.random() < 0.3:
        case.c = draw_start(rng, draw, unit, shape)
    case.dtype = rng.choice([np.float32, np.float32, np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
    return case


# ---- comparing


def describe(case):
    """Return a case in words."""
    lines = [f"unit {case.unit!s}", f"dtype {np.dtype(case.dtype).name}"]
    for name, side in (("a", case.a), ("b", case.b)):
        lines.append(
            f"{name}: {side.fmt!s} shape {side.codes.shape} kind {side.kind} block {side.block} "
            f"scale format {side.scale_fmt!s} tensor scale {side.tensor_scale}"
        )
        if side.codes.size <= 64:
            lines.append(f"  codes {[hex(int(code)) for code in side.codes.reshape(-1)]}")
        if side.scale is not None and side.scale.size <= 64:
            lines.append(f"  scale codes {[hex(int(code)) for code in side.scale.reshape(-1)]}")
    if case.c is not None:
        lines.append(f"c: {case.c.dtype} shape {case.c.shape} {case.c.reshape(-1)[:20].tolist()}")
    return "\n".join(lines)


def compare(seed, index):
    """Run one case; return its kind, and the difference in words or None."""
    case = draw_case(seed, index)
    kind = f"{case.kind}"
    oracle = Oracle(case)
    results, shape = oracle.outputs()
    try:
        given = pr.matmul(case.a.given, case.b.given, accumulator=case.unit, c=case.c, dtype=case.dtype)
    except Exception as error:
        return kind, f"{describe(case)}\nraised {type(error).__name__}: {error}"
    given = np.asarray(given)
    if given.shape != shape or given.dtype != np.dtype(case.dtype):
        return kind, f"{describe(case)}\nshape {given.shape} {given.dtype}, expected {shape}"
    got = unsigned(given).reshape(-1).tolist()
    nan = nan_bits(case.dtype, oracle.name)
    any_nan = nan is None or case.a.codes.shape[-1] == 0
    for place, (bits, value) in enumerate(zip(got, results, strict=True)):
        want = bits_in(value, case.dtype)
        if want == "nan":
            if any_nan and math.isnan(float(given.reshape(-1)[place])):
                continue
            want = nan
        if want != bits:
            shown = hex(want) if want is not None else "NaN"
            return kind, (
                f"{describe(case)}\noutput {place} of {len(got)}: "
                f"got {bits:#x} {given.reshape(-1)[place]!r}, "
                f"expected {shown} {value!r}"
            )
    if case.a.codes.ndim == case.b.codes.ndim == 1 and oracle.name != "Exact":
        return f"{kind}, traced", compare_trace(case, oracle)
    return kind, None


def compare_trace(case, oracle):
    """Compare the steps of one dot product; return the difference in words or None."""
    start = None if case.c is None else case.c.reshape(-1)[0]
    try:
        given = pr.trace(case.a.given, case.b.given, accumulator=case.unit, c=start)
    except Exception as error:
        return f"{describe(case)}\ntrace raised {type(error).__name__}: {error}"
    for name, got, want in zip(
        ("k", "register", "total"), (given.k, given.register, given.total), oracle.trace(), strict=True
    ):
        if len(got) != len(want) or any(
            one != other and not (one != one and other != other)
            for one, other in zip(got.tolist(), want, strict=True)
        ):
            return f"{describe(case)}\ntrace's {name}: got {got.tolist()}, expected {want}"
    return None


def main():
    """Run the fuzz."""
    oracle_fuzz.main(compare, "benchmarks/oracle_fuzz_products.py", __doc__, argparse.ArgumentParser)


if __name__ == "__main__":
    main()
