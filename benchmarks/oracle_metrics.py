"""The measures of `precision.metrics` from exact sums in integers, for the oracle fuzz.

Every float64 is a multiple of 2**-1074, so sums, squares and products are Python's integers; roots and
logarithms are mpmath's, in its present precision. Nothing here reads the package's code.
"""

import math

import mpmath
from oracle_numbers import grid_of, parts

ONE = 1074
LARGEST = math.ldexp(2 - 2.0**-52, 1023)


# ---- exact measures


class Sums:
    """The exact sums of one pair of vectors, in integers of 2**-1074 and its square."""

    def __init__(self, result, reference):
        pairs = list(zip(result, reference, strict=True))
        self.count = len(pairs)
        self.nan = any(math.isnan(v) for pair in pairs for v in pair)
        self.finite = all(math.isfinite(v) for pair in pairs for v in pair)
        self.pairs = pairs
        if not self.finite:
            return
        whole = [(scaled(x), scaled(y)) for x, y in pairs]
        self.error_squares = sum((x - y) ** 2 for x, y in whole)
        self.result_squares = sum(x * x for x, _ in whole)
        self.reference_squares = sum(y * y for _, y in whole)
        self.product = sum(x * y for x, y in whole)
        self.products = sum(abs(x * y) for x, y in whole)
        self.largest_error = max(abs(x - y) for x, y in whole)
        self.reference_sum = sum(abs(y) for _, y in whole)
        self.bias = sum((x - y) * ((y > 0) - (y < 0)) for x, y in whole)
        self.directed = sum(abs(x - y) for x, y in whole if y)
        self.zero_result = self.result_squares == 0
        self.zero_reference = self.reference_squares == 0

    def errors(self):
        """Return each error as arithmetic has it, for vectors that are not finite."""
        return [x - y if not (math.isfinite(x) and math.isfinite(y)) else 0.0 for x, y in self.pairs]


def scaled(value):
    """Return a finite float64 in units of 2**-1074."""
    mantissa, exponent = parts(value)
    shift = exponent + ONE
    return mantissa << shift if shift >= 0 else mantissa >> -shift


def ratio(a, b):
    """Return a / b as a number of mpmath."""
    return mpmath.mpf(a) / mpmath.mpf(b)


def relative(error_is_nan, error_is_inf, reference_is_inf):
    """Return a relative error of vectors that are not finite."""
    if error_is_nan or reference_is_inf:
        return math.nan
    return math.inf if error_is_inf else math.nan


def not_finite(name, sums):
    """Return a measure of vectors that hold Inf and no NaN, as arithmetic has it."""
    errors = sums.errors()
    kinds = (
        any(map(math.isnan, errors)),
        any(map(math.isinf, errors)),
        any(math.isinf(y) for _, y in sums.pairs),
    )
    if name in ("norm_relative_error", "max_error_over_mean"):
        return relative(*kinds)
    if name == "sqnr":
        value = relative(*kinds)
        return -math.inf if value == math.inf else math.nan
    if name == "cosine":
        return 0.0 if not any(x for x, _ in sums.pairs) or not any(y for _, y in sums.pairs) else math.nan
    if name == "calc_diff" or kinds[0] or kinds[2]:
        return math.nan
    if not any(y for _, y in sums.pairs):
        return math.inf
    found = {math.copysign(1, x) * math.copysign(1, y) if y else 0 for x, y in sums.pairs if math.isinf(x)}
    return math.inf * found.pop() if len(found) == 1 and 0 not in found else math.nan


def measure(name, sums):
    """Return a measure, a float or a number of mpmath, and how much it may differ beside ULPs of itself."""
    if sums.nan:
        return math.nan, 0
    if not sums.finite:
        return not_finite(name, sums), 0
    unit = mpmath.mpf(2) ** -53 * (sums.count + 8)
    if name == "norm_relative_error":
        if sums.zero_reference:
            return (math.inf if sums.error_squares else 0.0), 0
        return mpmath.sqrt(ratio(sums.error_squares, sums.reference_squares)), 0
    if name == "sqnr":
        if not sums.error_squares:
            return math.inf, 0
        if sums.zero_reference:
            return -math.inf, 0
        return -10 * mpmath.log10(ratio(sums.error_squares, sums.reference_squares)), 20 * unit
    if name == "max_error_over_mean":
        if not sums.reference_sum:
            return (math.inf if sums.largest_error else 0.0), 0
        return ratio(sums.largest_error * sums.count, sums.reference_sum), 0
    if name == "signed_relative_error":
        if not sums.reference_sum:
            return (math.inf if sums.largest_error else 0.0), 0
        return ratio(sums.bias, sums.reference_sum), 2 * unit * ratio(sums.directed, sums.reference_sum)
    if name == "cosine":
        if sums.zero_result or sums.zero_reference:
            return (1.0 if sums.zero_result and sums.zero_reference else 0.0), 0
        norms = mpmath.sqrt(mpmath.mpf(sums.result_squares)) * mpmath.sqrt(mpmath.mpf(sums.reference_squares))
        return mpmath.mpf(sums.product) / norms, 2 * unit * (mpmath.mpf(sums.products) / norms)
    total = sums.result_squares + sums.reference_squares
    return (ratio(sums.error_squares, total) if total else 0.0), 0


def fault(got, wanted, extra, count):
    """Return how a value differs from the exact one, or None; ``extra`` is allowed beside count + 8 ULP."""
    if isinstance(wanted, float) and not math.isfinite(wanted):
        return None if got == wanted or (math.isnan(got) and math.isnan(wanted)) else f"expected {wanted}"
    if math.isnan(got):
        return f"expected {mpmath.nstr(wanted, 20)}"
    wanted = mpmath.mpf(wanted)
    size = abs(wanted)
    exponent = max(mpmath.frexp(size)[1] - 1, -1022) if size else -1022
    allowed = mpmath.ldexp(count + 8, exponent - 52) + extra
    if math.isinf(got):
        fine = size + allowed > LARGEST and (got > 0) == (wanted > 0)
    else:
        fine = abs(mpmath.mpf(got) - wanted) <= allowed
    return None if fine else f"expected {mpmath.nstr(wanted, 20)}, allowed {mpmath.nstr(allowed, 5)}"


# ---- ULPs


class NoCode(Exception):
    """A number that a format without Inf and NaN cannot take."""


def ordered(value, grid):
    """Return the place of a number, once rounded to a format, on its line of ordered codes; None for NaN."""
    if math.isnan(value):
        return none_of(grid)
    negative = math.copysign(1, value) < 0
    if math.isinf(value):
        code = grid.max_code + 1
    else:
        mantissa, exponent = parts(abs(value))
        if mantissa == 0 and not grid.subnormals:
            return none_of(grid)
        code = grid.round_magnitude(mantissa, exponent, "TIES_TO_EVEN", negative)
    if negative and not grid.signed and (code or not grid.subnormals):
        return none_of(grid)
    if code > grid.max_code:
        if not grid.has_inf:
            return none_of(grid)
        code = grid.max_code + 1
    return -code if negative else code


def none_of(grid):
    """Return None, the place of NaN, or raise NoCode where the format has none."""
    if not grid.has_nan:
        raise NoCode
    return None


def distance(first, second):
    """Return the steps between two places, 0 of two NaNs, Inf of one."""
    if first is None or second is None:
        return 0 if first is second else math.inf
    return abs(first - second)


def ulps(result, reference, fmt):
    """Return the distances of two lists of numbers in a format."""
    grid = grid_of(fmt)
    return [distance(ordered(x, grid), ordered(y, grid)) for x, y in zip(result, reference, strict=True)]


def ulps_differ(got, wanted):
    """Return the first place where distances differ, or None; beyond 2**53 they may be rounded."""
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if one != other and (other == math.inf or other <= 2**53 or abs(one - other) > other * 2.0**-51):
            return place
    return None
