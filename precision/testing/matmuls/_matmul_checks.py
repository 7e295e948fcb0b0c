"""Checks of matrix products, on everything that shows how they accumulate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from precision._support._array_checks import check_dtype
from precision._support.machine._blas import check_blas
from precision._support.machine._float_environment import in_default_environment
from precision.accumulators._accumulator import Accumulator
from precision.accumulators._accumulator_text import as_accumulator
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import E2M1, E4M3, FP32
from precision.quantization._granularity import Granularity
from precision.quantization._microscaling import MXFP8_E4M3, NVFP4
from precision.quantization._quant_spec import QuantSpec
from precision.testing._calls import Call, label
from precision.testing._properties import Property, run
from precision.testing._reports import Report
from precision.testing.matmuls._designed_problems import Designs, checked_format, fit_start
from precision.testing.matmuls._hard_products import scales as scaled_inputs
from precision.testing.matmuls._problem import CODES, TENSORS, VALUES, Declared
from precision.testing.matmuls._product_properties import gemm_properties

Scaling = QuantSpec | Granularity
Scales = Scaling | tuple[Scaling | None, Scaling | None] | None
Formats = FloatFormat | tuple[FloatFormat, FloatFormat] | None


def declared_accumulator(like: Accumulator | str) -> Accumulator:
    """Return the accumulator that an argument is, or that its text describes.

    Parameters
    ----------
    like : Accumulator or str
        The accumulator, or its text, which is how it prints.

    Raises
    ------
    TypeError, ValueError
        If ``like`` is neither an accumulator nor text, or the text describes none.

    Examples
    --------
    >>> from precision.testing import declared_accumulator
    >>> print(declared_accumulator("HOPPER_FP8.promoted(128)"))
    HOPPER_FP8.promoted(128)
    """
    if not isinstance(like, Accumulator | str):
        raise TypeError(f"like must be an accumulator, or the text of one, got {like!r}")
    return as_accumulator(like)


@in_default_environment
def matmul_properties(
    like: Accumulator | str,
    *,
    formats: Formats = None,
    scales: Scales = None,
    operands: str = TENSORS,
    start: bool = False,
    exact: bool = True,
    dtype: npt.DTypeLike = np.float32,
    batches: bool = True,
    ragged: bool = True,
) -> tuple[Property, ...]:
    """Return the properties that `check_matmul` tries, for pytest to try one by one.

    Parameters
    ----------
    like, formats, scales, operands, start, exact, dtype, batches, ragged
        As in `check_matmul`.

    Returns
    -------
    tuple of Property
        Each prints as its name, and has ``check(fn)``, which raises an AssertionError where ``fn`` lacks it.

    Examples
    --------
    In a test file::

        @pytest.mark.parametrize("prop", precision.testing.matmul_properties(precision.HOPPER_FP8), ids=str)
        def test_my_gemm(prop):
            prop.check(my_gemm)

    >>> import precision as pr
    >>> from precision.testing import matmul_properties
    >>> properties = matmul_properties(pr.HOPPER_FP8)
    >>> [str(prop) for prop in properties][:5]
    ['result', 'input unchanged', 'determinism', 'exact sums', 'shapes']
    >>> properties[0].check(lambda a, b: pr.matmul(a, b, accumulator=pr.HOPPER_FP8)).failed
    False
    """
    declared = _declared(
        declared_accumulator(like), formats, scales, operands, start, exact, dtype, batches, ragged
    )
    return gemm_properties(declared)


@in_default_environment
def check_matmul(
    fn: Callable[..., Any],
    like: Accumulator | str,
    *,
    formats: Formats = None,
    scales: Scales = None,
    operands: str = TENSORS,
    start: bool = False,
    exact: bool = True,
    dtype: npt.DTypeLike = np.float32,
    batches: bool = True,
    ragged: bool = True,
    convert: Callable[[Any], Any] | None = None,
    time_limit: float | None = None,
) -> Report:
    """Try a matrix product on everything that shows how it accumulates.

    Parameters
    ----------
    fn : callable
        Of two operands of shapes ``(..., M, K)`` and ``(..., K, N)``: their product, of ``dtype``. Tensors of
        PyTorch are read as well.
    like : FusedSum, FmaChain, Exact or str
        How it is said to accumulate: ``pr.HOPPER_FP8.promoted(128)``, ``"HOPPER_BF16"``.
    formats : FloatFormat, or a pair of them, optional
        Of the operands; by default the specs', or the first that the accumulator takes (float32 for those
        that take any).
    scales : QuantSpec or granularity, or a pair of them or None, optional
        Of the operands, groups running along K: ``pr.MXFP4``, ``(pr.PerGroup(128), pr.PerBlock(128, 128))``.
        Of a spec the granularity, the scales' format and whether there is a tensor scale count. By default
        none; for a unit that takes scales itself, ``MXFP8_E4M3``'s or ``NVFP4``'s.
    operands : {"tensors", "codes", "values"}
        What ``fn`` takes. "tensors": what `matmul` takes, arrays of the format's type, or `QuantizedTensor`
        where there are scales. "codes": unsigned integers, "values": float32 numbers of the format; scales
        follow as arrays, ``fn(a, b, scale_a, scale_b, tensor_scale_a, tensor_scale_b)``, those that there
        are, of shapes as `QuantizedTensor` has them.
    start : bool
        Whether ``fn`` takes ``c``, a float32 matrix (M, N) that starts the sum, by that name.
    exact : bool
        Whether each result must be the declared one to the last bit. If not, it must lie within a proven
        bound of the exact product: the larger of `precision.bounds.error_bound` and of what sums in any
        order of such steps can be off.
    dtype : dtype
        Of the result: float32, float16 or bfloat16.
    batches : bool
        Whether ``fn`` takes stacks of matrices.
    ragged : bool
        Whether K that the steps, intervals and groups do not divide is tried.
    convert : callable, optional
        Turns each NumPy array (or QuantizedTensor) into what ``fn`` takes: ``torch.from_numpy``, for one.
    time_limit : float, optional
        Seconds for each call. A call that takes longer is named as hanging; its thread cannot be stopped,
        and is left behind.

    Returns
    -------
    Report
        One outcome for each property, with the smallest failing product that was found, what was expected,
        what came, and a guess at the cause: the known mistake that gives exactly what came, every time.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. Whatever ``fn`` does wrong is in the report.

    Notes
    -----
    Expected results come from `matmul`. Any NaN is taken for any other, and the sign of zero counts in the
    property of that name alone. Inputs are the same in every run.

    The properties, in order:

    - *result*, *input unchanged*, *determinism*: a result of the right shape and type comes, operands are
      only read, and the same operands give the same bits.
    - *exact sums*: products of small integers, whose sums no order or width changes.
    - *shapes*, *K tail*, *batches*: any numbers of rows and columns, K that steps and intervals of promotion
      do not divide, stacks of matrices as `numpy.matmul` broadcasts them.
    - *ordinary data*: normal and uniform numbers.
    - *alignment*: within a step, how many bits are kept below the largest exponent, and how the rest is cut.
    - *register*: how sums are rounded into the register, and to how many bits.
    - *products in a step*: which products are summed together, and in which order.
    - *promotion*: where partial sums join the float32 total.
    - *scales*, *epilogue*: which scale belongs to which element, and in which order partial sums, scales and
      totals are multiplied and added.
    - *start*: where ``c`` enters.
    - *NaN and Inf*, *overflow*, *signed zero*: they propagate; sums beyond the largest number become what
      the register says; a sum of zero has the declared sign.
    - *subnormal operands*, *tiny sums*: subnormals count, and sums near the register's smallest numbers are
      right.
    - *low bits*: bits of an operand that the unit ignores (TF32's) have no effect.
    - *result type*: the sum is rounded once to the result's type.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.testing import check_matmul
    >>> def mine(a, b):
    ...     return np.matmul(a.astype(np.float32), b.astype(np.float32))
    >>> report = check_matmul(mine, like=pr.HOPPER_FP8)
    >>> print(report.causes[0])
    accumulates in FP32 where 13 bits were declared, in an order of its own
    >>> check_matmul(mine, like=pr.HOPPER_FP8, exact=False).ok
    True
    """
    call = Call(fn, convert=convert, time_limit=time_limit)
    unit = declared_accumulator(like)
    declared = _declared(unit, formats, scales, operands, start, exact, dtype, batches, ragged)
    said = [str(unit)] + [str(spec) for spec in declared.specs if spec is not None]
    said += [] if exact else ["within its error bound"]
    return run(gemm_properties(declared), call, subject=label(fn), like=", ".join(dict.fromkeys(said)))


def _declared(
    unit: Accumulator,
    formats: Formats,
    scales: Scales,
    operands: str,
    start: bool,
    exact: bool,
    dtype: npt.DTypeLike,
    batches: bool,
    ragged: bool,
) -> Declared:
    """Return the checked declaration of a product; `matmul` raises here if it takes no such product."""
    if operands not in (TENSORS, CODES, VALUES):
        raise ValueError(f"operands must be 'tensors', 'codes' or 'values', got {operands!r}")
    check_blas()
    kind = check_dtype(dtype, "float32, float16 or bfloat16")
    if kind.name not in ("float32", "float16", "bfloat16"):
        raise TypeError(f"dtype must be float32, float16 or bfloat16, got {kind}")
    pair = scales if isinstance(scales, tuple) else (scales, scales)
    if len(pair) != 2:
        raise ValueError(f"scales must be one for both operands, or a pair, got {scales!r}")
    inside = unit.inner_scales
    if inside is not None and pair == (None, None):
        given = formats[0] if isinstance(formats, tuple) else formats
        spec = NVFP4 if inside.group or given == E2M1 else MXFP8_E4M3
        pair = (spec, spec)
    chosen = [_format(unit, formats, pair[side], side) for side in (0, 1)]
    specs = [_spec(one, fmt) for one, fmt in zip(pair, chosen, strict=True)]
    declared = Declared(
        unit,
        (chosen[0], chosen[1]),
        specs=(specs[0], specs[1]),
        operands=operands,
        dtype=kind,
        start=start,
        batches=batches,
        ragged=ragged,
        exact=exact,
    )
    # What `matmul` says against such a product it says now.
    designs = Designs(declared)
    fit_start(next(scaled_inputs(designs, np.random.default_rng(0))), declared).expected(declared)
    return declared


def _format(unit: Accumulator, formats: Formats, scaling: Scaling | None, side: int) -> FloatFormat:
    """Return the format of an operand: the one given, the spec's, or one that the accumulator takes."""
    given = formats[side] if isinstance(formats, tuple) else formats
    if given is not None:
        return checked_format(given)
    if isinstance(scaling, QuantSpec) and not isinstance(scaling.fmt, IntFormat):
        return scaling.fmt
    if unit.operand_formats:
        return unit.operand_formats[0]
    return E4M3 if scaling is not None else FP32


def _spec(scaling: Scaling | None, fmt: FloatFormat) -> QuantSpec | None:
    """Return the spec of an operand's scales; a granularity means float32 scales."""
    if scaling is None or isinstance(scaling, QuantSpec):
        return scaling
    return QuantSpec(fmt, scaling)
