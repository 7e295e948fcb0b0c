"""The search for the smallest failing product: fewer rows, columns and K, more zeros, simpler numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from precision._support._types import Array
from precision.formats._codec import round_to
from precision.formats._named import FP32, TF32
from precision.formats._rounding_modes import Overflow
from precision.testing._shrinking import Budget as _Budget
from precision.testing._shrinking import simplicity
from precision.testing.matmuls._problem import Declared, Problem

TRIES = 400
"""Calls that shrinking one product may take."""


def smallest(p: Problem, bad: Array, d: Declared, fails: Callable[[Problem], bool]) -> Problem:
    """Return as small a product as is found that still fails."""
    ask: Any = _Budget(fails, TRIES)  # type: ignore[arg-type]
    p, bad = _one_matrix(p, bad, ask)
    if p.a.ndim == p.b.ndim == 2:
        p = _one_output(p, bad, d, ask)
    p = _plainer(p, ask)
    if p.a.ndim == p.b.ndim == 2:
        p = _shorter(_emptier(p, ask), d, ask)
    return _simpler(p, d, ask)


def _one_matrix(p: Problem, bad: Array, ask: Any) -> tuple[Problem, Array]:
    if bad.ndim == 2:
        return p, bad
    flat = bad.reshape(-1, *bad.shape[-2:])
    for one, wrong in zip(p.matrices(), flat, strict=True):
        if wrong.any() and ask(one):
            return one, wrong
    return p, bad


def _one_output(p: Problem, bad: Array, d: Declared, ask: Any) -> Problem:
    for row, column in np.argwhere(bad)[:6]:
        one = p.rows(d, np.array([row])).columns(d, np.array([column]))
        if ask(one):
            return one
    for cut, axis in ((Problem.rows, 0), (Problem.columns, 1)):
        size = bad.shape[axis]
        for n in sorted({2, 3, 4, 5, 6, size // 2, size - 1}):
            if 0 < n < size:
                drop_slices = cut(p, d, np.arange(n))
                if ask(drop_slices):
                    p = drop_slices
                    break
    return p


def _plainer(p: Problem, ask: Any) -> Problem:
    """Return the problem without c, and with scales of one, if it fails so too."""
    for side in (0, 1):
        for name in ("second", "scales"):
            pair = list(getattr(p, name))
            if pair[side] is not None and (pair[side] != 1).any():
                pair[side] = np.ones_like(pair[side])
                p = _kept(p, _with(p, name, tuple(pair)), ask)
    if p.c is not None and p.c.any():
        p = _kept(p, replace(p, c=np.zeros_like(p.c)), ask)
    return p


def _with(p: Problem, name: str, value: Any) -> Problem:
    changed: dict[str, Any] = {name: value}
    return replace(p, **changed)


def _kept(p: Problem, tried: Problem, ask: Any) -> Problem:
    return tried if ask(tried) else p


def _emptier(p: Problem, ask: Any) -> Problem:
    """Return the problem with as many zero products as it still fails with, many tried at a time."""
    used = np.flatnonzero((p.a != 0).any(axis=0) | (p.b != 0).any(axis=1))
    size = len(used)
    while size:
        for start in range(0, len(used), size):
            part = used[start : start + size]
            a, b = p.a.copy(), p.b.copy()
            a[:, part], b[part] = 0, 0
            p = _kept(p, replace(p, a=a, b=b), ask)
        used = np.flatnonzero((p.a != 0).any(axis=0) | (p.b != 0).any(axis=1))
        size = min(size // 2, len(used))
    return p


def _shorter(p: Problem, d: Declared, ask: Any) -> Problem:
    """Return the problem with K cut behind the last product, before the first, and where there are zeros."""
    used = np.flatnonzero((p.a != 0).any(axis=0) | (p.b != 0).any(axis=1))
    if not len(used):
        return _kept(p, p.span(d, 0, 1), ask)
    granule, last = d.granule, int(used[-1]) + 1
    last = last if d.ragged else -(-last // granule) * granule
    for first in (int(used[0]) // granule * granule, 0):
        shorter = p.span(d, first, min(last, p.length))
        if shorter.length < p.length and ask(shorter):
            p = shorter
            break
    size = p.length // 2 if granule == 1 and d.ragged else 0
    while size:
        start = 0
        while start < p.length and p.length > size:
            gone = np.s_[start : start + size]
            tried = replace(p, a=np.delete(p.a, gone, 1), b=np.delete(p.b, gone, 0))
            if not p.a[:, gone].any() and not p.b[gone].any() and tried.length and ask(tried):
                p = tried
            else:
                start += size
        size //= 2
    return p


def _simpler(p: Problem, d: Declared, ask: Any) -> Problem:
    """Return the problem with ones for numbers, else powers of two, else fewer bits, where it still fails."""
    for name in ("b", "a"):
        x = getattr(p, name)
        for index in map(tuple, np.argwhere((x != 0) & np.isfinite(x))[:64]):
            p = _simpler_at(p, d, name, index, ask)
    for side in (0, 1):
        scale, spec = p.scales[side], d.specs[side]
        if scale is None or spec is None:
            continue
        for index in map(tuple, np.argwhere(scale != 1)[:16]):
            for value in (1.0, 2.0 ** np.floor(np.log2(scale[index]))):
                pair = list(p.scales)
                new = np.array(p.scales[side])
                new[index] = value
                pair[side] = new
                tried = replace(p, scales=(pair[0], pair[1]))
                if ask(tried):
                    p = tried
                    break
    return p


def _simpler_at(p: Problem, d: Declared, name: str, index: tuple[int, ...], ask: Any) -> Problem:
    fmt = d.formats[0 if name == "a" else 1]
    fmt = FP32 if fmt == TF32 else fmt
    now = float(getattr(p, name)[index])
    fraction, exponent = np.frexp(abs(now))
    cut = [float(np.ldexp(np.floor(np.ldexp(fraction, bits)), exponent - bits)) for bits in (1, 2, 3, 4, 8)]
    for value in dict.fromkeys((1.0, *cut, -1.0, *(-one for one in cut), -now)):
        held = float(np.asarray(round_to(np.float64(value), fmt, overflow=Overflow.SATURATE)))
        if held != value or simplicity(value) >= simplicity(now):
            continue
        new = getattr(p, name).copy()
        new[index] = value
        tried = _with(p, name, new)
        if ask(tried):
            return tried
    return p
