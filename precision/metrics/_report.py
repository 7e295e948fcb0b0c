"""The report of every measure of a result against its reference."""

from __future__ import annotations

import numpy.typing as npt

from precision._support.machine._float_environment import in_default_environment
from precision.metrics import _error_measures, _ulp_measures  # noqa: F401 -- they declare their measures
from precision.metrics._columns import PAIR_MEASURES
from precision.metrics._pairs import check_pair

MEASURES = tuple(PAIR_MEASURES)
"""The keys of `report`, in order."""


@in_default_environment
def report(result: npt.ArrayLike, reference: npt.ArrayLike) -> dict[str, float]:
    """Return every measure of a result by its name; ULPs are those of the result's type.

    The reference is rounded to that type where ULPs are counted. NaN, Inf and zeros count as each measure
    says.

    Parameters
    ----------
    result, reference : array_like
        Real numbers, of the same shape. An integer ``result`` counts ULPs in float64.

    Returns
    -------
    dict
        Each measure's value by its name, in the order of `MEASURES`.

    Raises
    ------
    TypeError, ValueError
        If an array is not real or is empty, or the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from precision import metrics
    >>> values = metrics.report(np.float32([1.0, 2.0, 4.0]), [1.0, 2.0, 5.0])
    >>> values["max_error_over_mean"], values["max_ulp"]
    (0.375, 2097152.0)
    """
    pair = check_pair(result, reference)
    return {name: measure(pair) for name, measure in PAIR_MEASURES.items()}
