"""An oracle of products in Python's integers: every unit, with scales, promotion and ``c``.

It was written without reading the package, and takes of a unit and an operand only their parameters. Steps,
orders of scales and special values follow the docstrings of `matmul`, `FusedSum` and its kin, and what is
recorded of an H100.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from oracle_numbers import (
    ALL_ONES_NAN,
    FINITE,
    INFINITE,
    NAN,
    carries,
    float32,
    float_bits,
    fused_multiply_add,
    grid_of,
    parts,
)

import precision as pr

# ---- one case


@dataclass
class Side:
    """One operand: its codes, and scales by block where it has them."""

    fmt: Any
    codes: np.ndarray
    given: Any = None
    scale: np.ndarray | None = None
    scale_fmt: Any = None
    block: tuple = ()
    tensor_scale: float | None = None
    kind: str = "plain"


@dataclass
class Case:
    """One product: what `matmul` gets, and what the oracle knows of it."""

    unit: Any
    kind: str
    a: Side
    b: Side
    c: np.ndarray | None = None
    dtype: Any = np.float32


# ---- the oracle: steps of a unit


def place_term(mantissa, shift, mode):
    """Return mantissa * 2**shift as an integer, rounded by the mode."""
    if shift >= 0:
        return mantissa << shift
    negative = mantissa < 0
    size = -mantissa if negative else mantissa
    shift = -shift
    kept = size >> shift
    if mode != "TOWARD_ZERO":
        rest = size - (kept << shift)
        if rest:
            kept += carries(mode, kept & 1, rest, 1 << (shift - 1), shift, negative, 0)
    return -kept if negative else kept


class Register:
    """The register of a fused sum, and the addition of one step's terms."""

    def __init__(self, unit):
        self.grid = grid_of(unit.register)
        self.fraction_bits = unit.fraction_bits
        self.floor = unit.min_exponent
        self.alignment = unit.alignment_rounding.name
        self.rounding = unit.register_rounding.name

    def step(self, value, terms, special):
        """Return the register after one step from ``value``, of terms (mantissa, place, exponent)."""
        if special is not None or not math.isfinite(value):
            return add_specials(value, special)
        largest = self.floor
        for _, _, exponent in terms:
            if exponent > largest:
                largest = exponent
        if value:
            mantissa, place = parts(value)
            exponent = max(math.frexp(value)[1] - 1, self.grid.min_exponent)
            largest = max(exponent, largest)
        unit = largest - self.fraction_bits
        mode = self.alignment
        total = place_term(mantissa, place - unit, mode) if value else 0
        for term, place, _ in terms:
            shift = place - unit
            if shift >= 0:
                total += term << shift
            elif mode == "TOWARD_ZERO":
                total += term >> -shift if term > 0 else -(-term >> -shift)
            else:
                total += place_term(term, shift, mode)
        if total == 0:
            return 0.0
        negative = total < 0
        code = self.grid.round_magnitude(abs(total), unit, self.rounding, negative)
        if code > self.grid.max_code:
            return -math.inf if negative else math.inf
        result = self.grid.value(code)
        return -result if negative and result else result


def add_specials(value, special):
    """Add infinities and NaNs as arithmetic does: the register's value, and NaN or Inf among the products."""
    if special is None:
        return value
    if math.isnan(value) or math.isnan(special):
        return math.nan
    if math.isinf(value) and value != special:
        return math.nan
    return special


def product_special(first, second):
    """Return NaN or Inf of a product of two decoded numbers of which one is not finite."""
    if first[0] == NAN or second[0] == NAN:
        return math.nan
    if (first[0] == FINITE and first[1] == 0) or (second[0] == FINITE and second[1] == 0):
        return math.nan
    return -math.inf if first[3] != second[3] else math.inf


def join(special, other):
    """Add two specials, of which each may be None."""
    if special is None:
        return other
    return special if other is None else add_specials(special, other)


def plain_terms(row, column, start, stop, fraction, extra):
    """Return the terms of products start..stop, and their special or None; ``extra``: scales' exponents."""
    terms, special = [], None
    for k in range(start, stop):
        first, second = row[k], column[k]
        if extra is not None and extra[k] is None:  # a scale of NaN, whatever it multiplies
            special = math.nan
            continue
        if first[0] or second[0]:
            special = join(special, product_special(first, second))
            continue
        mantissa = first[1] * second[1]
        if mantissa:
            exponent = first[2] + second[2]
            if extra is not None:
                exponent += extra[k]
            terms.append((mantissa, exponent - fraction, exponent))
    return terms, special


def group_terms(row, column, start, stop, fraction, n, scales):
    """Return the terms of groups of n products between start and stop, and their special or None."""
    terms, special = [], None
    for group in range(start, stop, n):
        first, second, places = scales(group)
        dot, unit, lively, found = 0, None, False, None
        products = []
        for k in range(group, min(group + n, stop)):
            x, y = row[k], column[k]
            if x[0] or y[0]:
                found = join(found, product_special(x, y))
            elif x[1] * y[1]:
                products.append((x[1] * y[1], x[2] + y[2]))
        if products:
            unit = min(exponent for _, exponent in products)
            dot = sum(mantissa << (exponent - unit) for mantissa, exponent in products)
            lively = True
        if found is not None or first[0] or second[0]:
            special = join(special, scaled_special(found, dot, first, second))
            continue
        size = first[1] * second[1]
        if lively and size:
            exponent = first[2] + second[2]
            terms.append((dot * size, exponent - places + unit - fraction, exponent))
    return terms, special


def scaled_special(found, dot, first, second):
    """Return a group's NaN or Inf: its dot product times both scales, as arithmetic has it."""
    value = found if found is not None else (0.0 if dot == 0 else math.copysign(1.0, dot))
    for scale in (first, second):
        if scale[0] == NAN:
            return math.nan
        value = value * (math.inf if scale[0] == INFINITE else (0.0 if scale[1] == 0 else 1.0))
    return value


# ---- the oracle: whole sums


class Line:
    """One row of a left or one column of a right operand: decoded codes, and its scales along K."""

    def __init__(self, side, decoded, scales, size):
        self.decoded = decoded
        self.scales = scales
        self.size = size
        self.side = side

    def scale(self, k):
        """Return the scale of element k as (kind, mantissa, exponent, negative)."""
        if not self.scales:
            return FINITE, 1, 0, False
        return self.scales[k // self.size if self.size else 0]

    def scale_value(self, k):
        """Return the scale of element k as a float."""
        if not self.scales:
            return 1.0
        kind, mantissa, exponent, _ = self.scale(k)
        if kind == NAN:
            return math.nan
        if kind == INFINITE:
            return math.inf
        return math.ldexp(mantissa, exponent - grid_of(self.side.scale_fmt).fraction)

    def multiplier(self, k):
        """Return what element k is multiplied by: its scale, times the tensor's, rounded to float32."""
        value = self.scale_value(k)
        return value if self.side.tensor_scale is None else float32(value * self.side.tensor_scale)


def lines_of(side, axis):
    """Return one Line for each vector of an operand along ``axis`` (-1 or -2), in an object array."""
    grid = grid_of(side.fmt)
    codes = np.moveaxis(side.codes, axis, -1) if side.codes.ndim > 1 else side.codes
    lead, length = codes.shape[:-1], codes.shape[-1]
    result = np.empty(lead, dtype=object)
    scales = blocks = None
    if side.scale is not None:
        scale_grid = grid_of(side.scale_fmt)
        scales = np.moveaxis(side.scale, axis, -1) if side.scale.ndim > 1 else side.scale
        order = list(side.block)
        if len(order) > 1:
            order.append(order.pop(axis))
        blocks = order
    read = grid.read
    for index in np.ndindex(*lead):
        decoded = [read(code) for code in codes[index].tolist()] if length else []
        found, size = None, None
        if scales is not None:
            place = tuple(i // (blocks[d] or i + 1) for d, i in enumerate(index))
            found = [scale_grid.read(code) for code in scales[place].tolist()]
            size = blocks[-1]
        result[index] = Line(side, decoded, found, size)
    return result


def along_k(side, axis):
    """Return the block of an operand along K, or None where its scales do not change along it."""
    if side.scale is None:
        return None
    return side.block[-1] if len(side.block) == 1 else side.block[axis]


def per_line(side, axis):
    """Say whether each line along K has scales of its own, as a vector has."""
    if side.scale is None or len(side.block) < 2:
        return True
    return side.block[-1 if axis == -2 else -2] == 1


def whole_tensor(side):
    """Say whether an operand has one scale for all of it, or none."""
    return side.scale is None or all(n is None for n in side.block)


class Oracle:
    """The product of one case."""

    def __init__(self, case):
        self.case = case
        unit = self.unit = case.unit
        self.name = type(unit).__name__
        self.promotion = getattr(unit, "promotion", None)
        self.inside = getattr(unit, "scale_in_unit", None)
        a_axis, b_axis = -1, -2
        self.groups = (along_k(case.a, a_axis), along_k(case.b, b_axis))
        self.lined = (per_line(case.a, a_axis), per_line(case.b, b_axis))
        if self.promotion is None and self.name != "Exact" and self.inside is None:
            self.groups = (None, None)  # one group over all of K counts as a row's scale (DESIGN)
        whole = (whole_tensor(case.a), whole_tensor(case.b))
        row_wise = self.groups == (None, None) and (
            not any(whole) or case.a.scale is None or case.b.scale is None
        )
        self.tensor_wise = all(whole)
        self.row_wise = row_wise
        self.grouped = (
            self.inside is None and not self.tensor_wise and not row_wise and self.promotion is not None
        )
        self.both_groups = all(n is not None for n in self.groups) and all(self.lined)
        self.fraction = sum(grid_of(side.fmt).fraction for side in (case.a, case.b))
        self.steps = []
        if self.name == "FusedSum":
            self.register = Register(unit)

    def trace(self):
        """Return the ends, registers and totals of the steps of the last output."""
        every = self.promotion
        totals = [
            0.0 if every is None else self.totals[(end - 1) // every + (end % every == 0)]
            for end, _ in self.steps
        ]
        if every is not None and self.steps:
            totals[-1] = self.totals[-1]
        return [end for end, _ in self.steps], [value for _, value in self.steps], totals

    def outputs(self):
        """Return the results of all outputs, in order, as float32 values (EXACT: in the result's type)."""
        case = self.case
        rows, columns = lines_of(case.a, -1), lines_of(case.b, -2)
        if rows.ndim == 0:
            rows = rows.reshape(1)
        if columns.ndim == 0:
            columns = columns.reshape(1)
        batch = np.broadcast_shapes(rows.shape[:-1], columns.shape[:-1])
        shape = (*batch, rows.shape[-1], columns.shape[-1])
        rows = np.broadcast_to(rows[..., :, None], shape)
        columns = np.broadcast_to(columns[..., None, :], shape)
        out_shape = list(shape)
        if case.b.codes.ndim == 1:
            del out_shape[-1]
        if case.a.codes.ndim == 1:
            del out_shape[len(batch)]
        starts = [None] * rows.size
        if case.c is not None:
            starts = np.broadcast_to(case.c.astype(np.float32), out_shape).reshape(-1).tolist()
        results = [
            self.one(row, column, start)
            for row, column, start in zip(rows.reshape(-1), columns.reshape(-1), starts, strict=True)
        ]
        return results, tuple(out_shape)

    def one(self, row, column, start):
        """Return one output."""
        if self.name == "Exact":
            return exact(row, column, start, self.fraction)
        length = len(row.decoded)
        if self.promotion is None:
            value = self.chain(row, column, 0, length, start if start is not None else 0.0)
            return self.finish(value, row, column)
        total = start if start is not None else 0.0
        self.totals = [total]
        for k in range(0, length, self.promotion):
            partial = self.chain(row, column, k, min(k + self.promotion, length), 0.0)
            total = self.promote(partial, total, row, column, k)
            self.totals.append(total)
        return self.finish(total, row, column)

    def promote(self, partial, total, row, column, k):
        """Add a partial sum to the float32 total, with the scales of its group."""
        if not self.grouped:
            return float32(partial + total)
        first, second = row.scale_value(k), column.scale_value(k)
        if self.both_groups:
            return fused_multiply_add(float32(partial * first), second, total)
        return fused_multiply_add(partial, float32(first * second), total)

    def finish(self, value, row, column):
        """Apply the scales that multiply the finished sum."""
        if self.inside is None and not self.grouped and (row.scales or column.scales):
            first, second = row.scale_value(0), column.scale_value(0)
            if self.row_wise:
                value = float32(float32(value * second) * first)
            else:
                value = float32(value * float32(first * second))
        first, second = self.case.a.tensor_scale, self.case.b.tensor_scale
        if first is not None or second is not None:
            both = float32((1.0 if first is None else first) * (1.0 if second is None else second))
            value = float32(value * both)
        return value

    def chain(self, row, column, start, stop, value):
        """Return the register after the products start..stop, from ``value``."""
        if self.name == "FmaChain":
            first, second = values_of(row), values_of(column)
            for k in range(start, stop):
                value = fused_multiply_add(first[k], second[k], value)
                self.steps.append((k + 1, value))
            return value
        extra = None
        if type(self.inside).__name__ == "ScaledProducts":
            extra = exponents_of(row, column)
        products = self.unit.products
        for k in range(start, stop, products):
            end = min(k + products, stop)
            if type(self.inside).__name__ == "ScaledGroups":
                terms, special = group_terms(
                    row.decoded, column.decoded, k, end, self.fraction, self.inside.n, scales_of(row, column)
                )
            else:
                terms, special = plain_terms(row.decoded, column.decoded, k, end, self.fraction, extra)
            value = self.register.step(value, terms, special)
            self.steps.append((end, value))
        return value


def values_of(line):
    """Return a line's elements as floats, once."""
    found = getattr(line, "values", None)
    if found is None:
        fraction = grid_of(line.side.fmt).fraction
        found = line.values = [float_of(number, fraction) for number in line.decoded]
    return found


def float_of(number, fraction):
    """Return a decoded number as a float."""
    kind, mantissa, exponent, negative = number
    if kind == NAN:
        return math.nan
    if kind == INFINITE:
        return -math.inf if negative else math.inf
    if mantissa == 0:
        return -0.0 if negative else 0.0
    return math.ldexp(mantissa, exponent - fraction)


def exponents_of(row, column):
    """Return for each k the sum of the exponents of both scales, powers of two; None where one is NaN."""
    result = []
    for k in range(len(row.decoded)):
        first, second = row.scale(k), column.scale(k)
        result.append(None if first[0] or second[0] else first[2] + second[2])
    return result


def scales_of(row, column):
    """Return a function of k that gives both scales decoded, and how many fraction bits both have."""
    places = 0
    for line in (row, column):
        if line.scales is not None:
            places += grid_of(line.side.scale_fmt).fraction
    return lambda k: (row.scale(k), column.scale(k), places)


def exact(row, column, start, fraction):
    """Return the exact sum of exact products with scales, plus ``c``, as (integer, exponent) or a special."""
    special, total, place = None, 0, 0
    terms = []
    for k, (x, y) in enumerate(zip(row.decoded, column.decoded, strict=True)):
        first, second = row.multiplier(k), column.multiplier(k)
        if x[0] or y[0] or not (math.isfinite(first) and math.isfinite(second)):
            product = 1.0
            for value in (float_of(x, 0), float_of(y, 0), first, second):
                product *= (
                    value if not math.isfinite(value) else (math.copysign(1.0, value) if value else 0.0)
                )
            if math.isfinite(product):
                raise AssertionError("a product with a special is special")
            special = join(special, product)
            continue
        (scale, place), (other, other_place) = parts(first), parts(second)
        mantissa = x[1] * y[1] * scale * other
        if mantissa:
            terms.append((mantissa, x[2] + y[2] - fraction + place + other_place))
    if start is not None:
        if not math.isfinite(start):
            special = join(special, start)
        elif start:
            terms.append(parts(start))
    if special is not None:
        return special
    if terms:
        place = min(e for _, e in terms)
        total = sum(m << (e - place) for m, e in terms)
    return total, place


# ---- results as bits

DTYPES = {"float16": (pr.FP16, 16), "bfloat16": (pr.BF16, 16), "float32": (pr.FP32, 32)}


def bits_in(value, dtype):
    """Return the bits of a float32 value (or of an exact sum) in the result's type; None for any NaN."""
    name = np.dtype(dtype).name
    if isinstance(value, tuple):
        total, place = value
        if name == "float64":
            return double_bits(exact_double(total, place))
    elif math.isnan(value):
        return "nan"
    elif name == "float64":
        return double_bits(value)
    elif math.isinf(value):
        grid = grid_of(DTYPES[name][0])
        return grid.inf_code | (grid.sign_bit if value < 0 else 0)
    elif name == "float32":
        return float_bits(value)
    elif value == 0:
        return grid_of(DTYPES[name][0]).sign_bit if math.copysign(1.0, value) < 0 else 0
    else:
        total, place = parts(value)
    grid = grid_of(DTYPES[name][0])
    code = min(grid.round_magnitude(abs(total), place, "TIES_TO_EVEN", total < 0), grid.inf_code)
    return code | (grid.sign_bit if total < 0 else 0)


def exact_double(total, place):
    """Round total * 2**place once to float64, to nearest even."""
    size = abs(total)
    shift = max(size.bit_length() + place - 53, -1074) - place
    if shift > 0:
        kept = size >> shift
        rest, half = size - (kept << shift), 1 << (shift - 1)
        kept += carries("TIES_TO_EVEN", kept & 1, rest, half, shift, False, 0) if rest else 0
        size, place = kept, place + shift
    value = math.inf if size.bit_length() + place > 1024 else math.ldexp(size, place)
    return -value if total < 0 else value


def double_bits(value):
    """Return the bits of a float64."""
    return int(np.float64(value).view(np.uint64))


def nan_bits(dtype, name):
    """Return the bits of every NaN of a unit in float32 and float16, or None where no page says them."""
    if name == "Exact":
        return None
    return {"float32": ALL_ONES_NAN, "float16": 0x7FFF}.get(np.dtype(dtype).name)
