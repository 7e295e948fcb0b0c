"""Operands, starts and scales of products, and what is compared of their results."""

import math
from fractions import Fraction

import numpy as np
import oracle
import reference as ref

import precision as pr


def random_codes(
    rng: np.random.Generator, fmt: pr.FloatFormat, shape: tuple[int, ...], kind: str
) -> np.ndarray:
    """Codes as an array of the format's type (TF32: float32): any bits, or finite values of some spread."""
    dtype = np.dtype(np.float32) if fmt == pr.TF32 else fmt.dtype
    if kind == "bits":
        codes = rng.integers(0, 1 << (32 if fmt == pr.TF32 else fmt.bits), shape, np.uint64)
        return codes.astype(f"u{dtype.itemsize}").view(dtype)
    spread = {"normal": 0, "wide": 12, "wider": 60}[kind]
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    x[rng.random(shape) < 0.2] = 0
    if fmt == pr.E8M0:
        x = np.abs(x)
    values = x.astype(np.float32)
    return values if fmt == pr.TF32 else pr.encode(values, fmt)


def starts(rng: np.random.Generator, unit: pr.FusedSum, kind: str) -> np.ndarray | None:
    if kind == "none":
        return None
    c = rng.standard_normal((3, 2)) * 2.0 ** rng.integers(
        -40 if kind == "wide" else -3, 41 if kind == "wide" else 4, (3, 2)
    )
    if kind == "special":
        c.flat[:4] = (np.inf, -np.inf, np.nan, -0.0)
    c = c.astype(np.float32)
    if unit.promotion is None and unit.register.exponent_bits < 8:
        c = pr.round_to(c, unit.register, overflow=pr.Overflow.NON_SATURATING)
    return c


def random_scales(
    rng: np.random.Generator, fmt: pr.FloatFormat, shape: tuple[int, ...], kind: str
) -> np.ndarray:
    """Scale codes: moderate ones, any finite ones, or any, NaN, zero and Inf among them."""
    if kind == "bits":
        codes = rng.integers(0, 1 << min(fmt.bits - fmt.signed, 31), shape)
        return codes.astype(fmt.code_dtype).view(fmt.dtype)
    spread = 3 if kind == "near" else 40
    x = np.abs(rng.standard_normal(shape)) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return pr.encode(x.astype(np.float32), fmt)


def tensors(unit, scale_format, rows, length, columns, group, seed, kind, data):
    """Operands of any codes (but NaN and Inf, unless ``data`` is "bits") with scales along K."""
    rng = np.random.default_rng(seed)
    fmt = unit.operands[0]
    groups = -(-length // group)
    sides = []
    for shape, scales in (((rows, length), (rows, groups)), ((length, columns), (groups, columns))):
        codes = rng.integers(0, 1 << fmt.bits, shape).astype(fmt.code_dtype)
        if data != "bits":
            codes[~np.isfinite(pr.decode(codes, fmt))] = 1
            codes[rng.random(shape) < (0.7 if data == "sparse" else 0.1)] = 0
        block = (1, group) if shape[0] == rows and shape[1] == length else (group, 1)
        sides.append(
            pr.QuantizedTensor(
                codes, random_scales(rng, scale_format, scales, kind), fmt=fmt, block=block,
                scale_format=scale_format,
            )
        )  # fmt: skip
    return sides


def expected_bits(a, b, unit, c=None) -> np.ndarray:
    group = unit.scale_in_unit.n if isinstance(unit.scale_in_unit, pr.ScaledGroups) else 0
    model, formats = oracle.plain_unit(unit), [oracle.plain(q.scale_format) for q in (a, b)]
    fmt = oracle.plain(a.fmt)
    (rows, length), columns = a.shape, b.shape[1]
    x, y = a.codes.view(a.fmt.code_dtype), b.codes.view(b.fmt.code_dtype)
    sx, sy = a.scale.view(a.scale_format.code_dtype), b.scale.view(b.scale_format.code_dtype)
    span_a, span_b = a.block[1] or length, b.block[0] or length
    bits = np.empty((rows, columns), np.uint32)
    for i, j in np.ndindex(bits.shape):
        register = ref.ZERO if c is None else oracle.value32(c[i, j])
        for k in range(0, length, unit.products):
            some = range(k, min(length, k + unit.products))
            pairs = [(int(x[i, n]), int(y[n, j])) for n in some]
            scales = [(int(sx[i, n // span_a]), int(sy[n // span_b, j])) for n in some]
            register = ref.scaled_fused_sum(pairs, fmt, fmt, register, model, scales, tuple(formats), group)
        bits[i, j] = ref.register_bits(register, ref.FP32)
    return bits


def same_bits(result: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(result.view(f"u{result.itemsize}"), expected)


def rounded64(total: Fraction, odd: bool) -> float:
    """A fraction as float64, to nearest even by Python's own division, or to odd."""
    try:
        nearest = float(total)
    except OverflowError:
        return math.copysign(math.inf, total)
    if not odd or Fraction(nearest) == total:
        return nearest
    inside = nearest if abs(Fraction(nearest)) < abs(total) else math.nextafter(nearest, 0)
    is_odd = np.float64(inside).view(np.uint64) & np.uint64(1)
    return inside if is_odd else math.nextafter(inside, math.copysign(math.inf, total))
