"""Plans: the parts of a call that follow from the kinds of its arguments alone, kept for later calls.

An operation on a small array should cost its checks, its arrays and its loop. So an operation is split in
two, as einops splits its own: a function *prepares*, from specs, shapes, data types and units, and returns a
plan; the plan is then applied to the arrays. Equal arguments share a plan. `planned` is the one place that
keeps them.

A plan follows from the arguments of its function alone. It holds neither a caller's array nor the number of
threads, which may change, and nothing changes it: several threads apply one plan at a time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Prepare = TypeVar("Prepare", bound=Callable[..., Any])

MOST = 256
"""The number of plans that one function keeps. The one that was asked for longest ago goes first."""


def planned(prepare: Prepare) -> Prepare:
    """Decorate a function that prepares plans, so that equal arguments share one.

    Arguments are positional. Equal ones must stand for the same plan: a bool is equal to an int, so that
    callers check their types first. For arguments that have no hash the plan is prepared anew at each call,
    and so is an error. The function runs in the environment of its caller: the default one, where a public
    function asks.

    Examples
    --------
    >>> from precision._support._plans import planned
    >>> @planned
    ... def prepare(n):
    ...     return [n]
    >>> prepare(3) is prepare(3), prepare([3])
    (True, [[3]])
    """
    kept = functools.lru_cache(maxsize=MOST)(prepare)

    @functools.wraps(prepare)
    def plan(*kinds: Any) -> Any:
        try:
            return kept(*kinds)
        except TypeError:
            if _have_hash(kinds):
                raise
            return prepare(*kinds)

    plan.cache_clear = kept.cache_clear  # type: ignore[attr-defined]
    plan.cache_info = kept.cache_info  # type: ignore[attr-defined]
    return plan  # type: ignore[return-value]


def _have_hash(kinds: tuple[Any, ...]) -> bool:
    """Tell whether arguments can be the key of a cache."""
    try:
        hash(kinds)
    except TypeError:
        return False
    return True
