"""The division of work into pieces for all threads; a single piece runs on the caller's thread."""

from __future__ import annotations

from collections.abc import Callable

from precision._support.machine._threads import parallel


def in_pieces(work: Callable[[int, int], None], total: int, grain: int) -> None:
    """Call ``work(start, stop)`` over ``range(total)`` in pieces of ``grain``, as `parallel` does.

    One piece is done without threads, whose start would take longer than small work does.
    """
    if 0 < total <= grain:
        work(0, total)
    else:
        parallel(work, total, grain)
