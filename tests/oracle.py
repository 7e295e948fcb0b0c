"""The package's own types in the plain parameters of `reference`, and whole products by its slow sums."""

from fractions import Fraction

import numpy as np
import reference as ref

import precision as pr


def plain(fmt: pr.FloatFormat) -> ref.Format:
    return ref.Format(
        fmt.exponent_bits,
        fmt.fraction_bits,
        fmt.bias,
        signed=fmt.signed,
        specials=fmt.specials.name.lower(),
        subnormals=fmt.subnormals,
    )


def plain_unit(unit: pr.FusedSum) -> ref.Unit:
    return ref.Unit(
        unit.products,
        unit.fraction_bits,
        plain(unit.register),
        unit.alignment_rounding.value,
        unit.register_rounding.value,
        unit.min_exponent,
    )


def operand_codes(x: np.ndarray, fmt: pr.FloatFormat) -> np.ndarray:
    codes = x.view(f"u{x.itemsize}")
    return codes >> 13 if fmt == pr.TF32 else codes


def value32(x: float) -> ref.Value:
    return ref.decode(int(np.float32(x).view(np.uint32)), ref.FP32)


def product_bits(a, b, fa, fb, accumulator, c=None, **scales) -> np.ndarray:
    """Float32 bits of a product of two matrices, one `reference.dot` an output."""
    rows, columns = operand_codes(a, fa), operand_codes(b, fb)
    unit = "fma" if isinstance(accumulator, pr.FmaChain) else plain_unit(accumulator)
    bits = np.empty((a.shape[0], b.shape[1]), np.uint32)
    for i, j in np.ndindex(bits.shape):
        start = ref.ZERO if c is None else value32(c[i, j])
        x, y = rows[i].tolist(), columns[:, j].tolist()
        chosen = {key: value(i, j) if callable(value) else value for key, value in scales.items()}
        total = ref.dot(x, plain(fa), y, plain(fb), unit, c=start, promotion=accumulator.promotion, **chosen)
        bits[i, j] = ref.register_bits(total, ref.FP32)
    return bits


def exact_bits(a, b, fa, fb, output: ref.Format, c=None) -> np.ndarray:
    """The same by `reference.exact_dot`."""
    rows, columns = operand_codes(a, fa), operand_codes(b, fb)
    bits = np.empty((a.shape[0], b.shape[1]), np.uint64)
    for i, j in np.ndindex(bits.shape):
        start = ref.ZERO if c is None else value32(c[i, j])
        x, y = rows[i].tolist(), columns[:, j].tolist()
        total = ref.exact_dot(x, plain(fa), y, plain(fb), c=start, output=output)
        bits[i, j] = 0 if total == Fraction(0) else ref.register_bits(total, output)
    return bits
