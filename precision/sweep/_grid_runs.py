"""Sweeps of a function over a grid of parameters, as a tidy table; resumable, on any executor."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from precision._support._optional_packages import require
from precision._support.machine._float_environment import callers_environment, in_default_environment
from precision.studies._experiment import Study
from precision.studies._registry import study
from precision.sweep import _store
from precision.sweep._cell_runs import CellOutcome
from precision.sweep._executors import Runner
from precision.sweep._grid import Axes, Cell, list_cells
from precision.sweep._provenance import Function, build_identity, build_provenance
from precision.sweep._store import Store
from precision.sweep._tidy_table import build_table

if TYPE_CHECKING:
    import pandas as pd


MAX_CELLS = 100_000
"""The largest number of cells of a grid that `sweep` takes by default."""


@in_default_environment
def sweep(
    function: Function | Study | str,
    grid: Axes | Sequence[Axes] | None = None,
    *,
    executor: object = None,
    store: str | Path | None = None,
    extend: bool = False,
    retry_failed: bool = False,
    max_cells: int = MAX_CELLS,
    kernel_threads: int | None = None,
    progress: bool | None = None,
    stop_at_error: bool = False,
) -> pd.DataFrame:
    """Call a function at every point of a grid: one row a cell, every parameter and metric a column.

    Parameters
    ----------
    function : callable, Study or str
        The function. It is called with the parameters of a cell by keyword, and returns a mapping of metrics
        to numbers, text or None, or one such value (the column ``result``). It must depend on nothing but its
        parameters (a seed is one of them): then the table has the same bits whatever the executor, the order
        and the interruptions. Or a study, or the name of one in `studies.STUDIES`.
    grid : mapping or sequence of mappings
        Names of parameters to the values that each takes: numbers, text, None, tuples of them, specs,
        formats, accumulators, enums. One value alone may stand without a list. Of several mappings every cell
        is computed once. Parameters with defaults need no values, and are columns all the same. Of a study,
        what is named here takes the place of its own grid's values, and text is read as the study's
        parameters need it.
    executor : concurrent.futures.Executor, distributed.Client or str, optional
        By default this process computes one cell after the other. A str is the address of a Dask scheduler
        (extra ``distributed``). Functions of a notebook or script are sent to other processes whole, those of
        a module by name, so that workers must have it installed.
    store : path, optional
        An SQLite file that keeps every cell when it is done. Where it exists, the cells in it are not
        computed again: a sweep that was killed goes on where it was.
    extend : bool
        Let the store be one of another grid of the same parameters; it then holds both.
    retry_failed : bool
        Compute those cells of the store again that raised.
    max_cells : int
        The largest number of cells; a larger grid raises ValueError.
    kernel_threads : int, optional
        Threads for `set_num_threads` wherever cells run. By default 1 in other processes, whose executor has
        a worker for each core, and as it is in this one.
    progress : bool, optional
        Show a progress bar; by default if the standard error is a terminal.
    stop_at_error : bool
        Raise the error of the first cell that raises one, instead of going on with the others.

    Returns
    -------
    pandas.DataFrame
        In the grid's order, the last parameter running fastest: the parameters (objects by their text), the
        metrics, and ``error``, the error of a cell that raised (its metrics are then missing, and the sweep
        goes on).
        ``attrs["provenance"]`` says what made it: versions, the function, what every named object stood for,
        how many cells, which failed, and whether it is complete. After Ctrl-C the table holds what was done,
        and a warning says so.

    Raises
    ------
    ImportError
        If pandas, or Dask where it is asked for, is not installed; the message names the extra.
    TypeError, ValueError
        Before any work: if there is no such study or parameter (near names are listed), the grid is empty,
        too large, or lacks a parameter; if a value has no text; if worker processes could not import the
        function; if the store was written by another function, version or grid, is no store, or is damaged.
    BlockingIOError
        If another sweep is writing to the store.
    concurrent.futures.BrokenExecutor
        If the executor ends before the cells do, as a pool whose worker dies. The store keeps what was done.
    OSError
        If the store cannot be written (a full disk). Cells done before are kept.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.sweep import sweep
    >>> def cell(fmt, seed):
    ...     x = np.random.default_rng(seed).standard_normal(1000)
    ...     return {"largest": abs(pr.round_to(x, fmt) - x).max()}
    >>> table = sweep(cell, {"fmt": [pr.E4M3, pr.E5M2], "seed": range(2)})
    >>> print(table.drop(columns="error").round(3))
        fmt  seed  largest
    0  e4m3     0    0.119
    1  e4m3     1    0.124
    2  e5m2     0    0.250
    3  e5m2     1    0.249

    A study by name, and part of it:

    >>> part = {"promoted": [0, 128], "k": 4096, "accumulator": "HOPPER_FP8", "offset": 1.0, "n": 16}
    >>> table = sweep("promotion", part)
    >>> table[["accumulator", "promoted", "k"]].values.tolist()
    [['HOPPER_FP8', 0, 4096], ['HOPPER_FP8', 128, 4096]]
    >>> bool(table.norm_relative_error[0] > 50 * table.norm_relative_error[1])
    True
    """
    require("pandas", "sweep")
    chosen = study(function) if isinstance(function, str) else function
    reads: Mapping[str, Callable[[Any], Any]] = {}
    if isinstance(chosen, Study):
        call, reads, grid = chosen.cell, chosen.reads, _merge_grid(chosen, grid)
    elif callable(chosen):
        call = chosen
    else:
        raise TypeError(f"function must be callable, a Study or the name of one; got {function!r}")
    if grid is None:
        raise ValueError("grid must be given: names of parameters to values")
    cells = list_cells(call, grid, reads=reads, max_cells=max_cells)
    if kernel_threads is not None and (type(kernel_threads) is not int or kernel_threads < 1):
        raise ValueError(f"kernel_threads must be an int of at least 1, got {kernel_threads!r}")
    if store is not None:
        _store.check_path(Path(store))
    identity = build_identity(chosen, cells)
    with Runner(executor) as runner, Store(Path(store)) if store is not None else nullcontext() as open_store:
        provenance = build_provenance(chosen, identity, cells) | {"executor": runner.description}
        outcomes: dict[str, CellOutcome] = {}
        if open_store is not None:
            open_store.claim(identity, [cell.key for cell in cells], extend=extend)
            outcomes = open_store.outcomes()
            if retry_failed:
                mine = [cell.key for cell in cells if cell.key in outcomes]
                failed = [key for key in mine if outcomes[key].error is not None]
                open_store.forget(failed)
                outcomes = {key: outcome for key, outcome in outcomes.items() if key not in failed}
            open_store.begin(provenance)
        left = [cell for cell in cells if cell.key not in outcomes]
        _run(runner, call, left, len(cells), outcomes, open_store, kernel_threads, progress, stop_at_error)
        if open_store is not None and len(left):
            # An interrupt may have come after a cell was stored and before it was counted.
            outcomes = open_store.outcomes()
    done = [(cell.shown, outcomes[cell.key]) for cell in cells if cell.key in outcomes]
    return build_table(done, provenance, cells=len(cells))


def _run(
    runner: Runner,
    call: Function,
    left: Sequence[Cell],
    total: int,
    outcomes: dict[str, CellOutcome],
    store: Store | None,
    kernel_threads: int | None,
    progress: bool | None,
    stop_at_error: bool,
) -> None:
    """Compute the missing cells into ``outcomes`` and the store. Ctrl-C ends it with a warning."""
    if not left:
        return
    bar = None
    # tqdm does not ask whether the standard error is a terminal, which that of a notebook is not.
    if sys.stderr.isatty() if progress is None else progress:
        bar = require("tqdm.auto", "sweep").tqdm(total=total, initial=total - len(left), unit="cell")

    @in_default_environment
    def done(cell: Cell, outcome: CellOutcome) -> None:
        """Record the outcome of a cell."""
        if store is not None:
            store.add(cell, outcome)
        outcomes[cell.key] = outcome
        if stop_at_error and outcome.error is not None:
            raise outcome.raised or RuntimeError(f"a cell raised {outcome.error}")
        if bar is not None:
            bar.update()

    with nullcontext() if bar is None else bar:
        try:
            with callers_environment():  # threads and processes inherit the environment in which they start
                runner.run(call, left, done, kernel_threads=kernel_threads, keep_errors=stop_at_error)
        except KeyboardInterrupt:
            missing = sum(cell.key not in outcomes for cell in left)
            where = (
                "the table holds the others" if store is None else "run again with the same store to go on"
            )
            warnings.warn(f"interrupted: {missing} of {total} cells are missing; {where}", stacklevel=3)


def _merge_grid(chosen: Study, grid: Axes | Sequence[Axes] | None) -> Axes | Sequence[Axes]:
    """Return a study's own grid, with the values that a user gives in place of its own."""
    if grid is None:
        return chosen.grid
    if isinstance(grid, Mapping):
        return {**chosen.grid, **grid}
    if not isinstance(grid, Iterable):
        return grid  # `list_cells` raises TypeError for it
    return [{**chosen.grid, **one} if isinstance(one, Mapping) else one for one in grid]


# ---- tables ----------------------------------------------------------------------------------------
@in_default_environment
def read_store(store: str | Path) -> pd.DataFrame:
    """Read the table of a store as far as it is filled, without computing or writing anything.

    The store may lie in a folder that is read-only. One that a sweep closed is read where it is. One whose
    sweep was killed has its last cells in a log beside it; the two are then copied to the system's temporary
    folder and read there.

    Parameters
    ----------
    store : path
        A file that `sweep` wrote.

    Returns
    -------
    pandas.DataFrame
        The table as `sweep` returns it, with the provenance of the last run. A store without cells gives a
        table without rows.

    Raises
    ------
    ImportError
        If pandas is not installed; the message names the extra.
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    ValueError
        If the file is no store (an empty file is none), or is damaged: its schema, its pages and every row
        must be as `sweep` writes them.
    BlockingIOError
        If a sweep is writing to it.
    OSError
        If it cannot be read, or there is no room for a copy.
    """
    require("pandas", "sweep")
    found = _store.read(Path(store))
    provenance = found.runs[-1] if found.runs else {"parameters": []}
    return build_table(found.rows, provenance, cells=found.cells)
