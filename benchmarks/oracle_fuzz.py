"""A runner of oracle fuzzes: many cases in processes, what differs by kind, first differences in full."""

import math
import multiprocessing
import os
import time
import warnings
from collections import Counter
from functools import partial

import precision as pr


def run_range(compare, seed, bounds):
    """Compare the cases of a range; return counts by kind, and the differences."""
    pr.set_num_threads(1)
    counts, differences = Counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Inf and NaN are drawn on purpose
        for index in range(*bounds):
            kind, difference = compare(seed, index)
            counts[kind] += 1
            if difference is not None:
                differences.append((index, kind, difference))
    return counts, differences


def run(compare, count, seed, jobs, start=0, piece=50, budget=math.inf):
    """Compare ``count`` cases from ``start`` in ``jobs`` processes; return counts and sorted differences.

    It stops early once ``budget`` seconds have passed.
    """
    end = time.monotonic() + budget
    bounds = [(k, min(k + piece, start + count)) for k in range(start, start + count, piece)]
    work = partial(run_range, compare, seed)
    counts, differences = Counter(), []
    if jobs == 1:
        parts = map(work, bounds)
        for some, found in parts:
            counts += some
            differences += found
            if time.monotonic() > end:
                break
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            for some, found in pool.imap_unordered(work, bounds):
                counts += some
                differences += found
                if time.monotonic() > end:
                    break
    return counts, sorted(differences)


def report(counts, differences, seconds, seed, script, show):
    """Print a table of the kinds, and the first differences in full."""
    wrong = Counter(kind for _, kind, _ in differences)
    width = max(map(len, counts), default=4)
    print(f"{'kind':{width}} {'cases':>8} {'differ':>7}")
    for kind in sorted(counts):
        print(f"{kind:{width}} {counts[kind]:8} {wrong[kind]:7}")
    total = sum(counts.values())
    print(
        f"{'all':{width}} {total:8} {len(differences):7}"
        f"   {seconds:.0f} s, {1e3 * seconds / max(total, 1):.2f} ms a case"
    )
    for index, kind, difference in differences[:show]:
        print(f"\n--- case {index}, {kind}\n{difference}")
        print(f"again: python {script} --seed {seed} --start {index} --count 1")


def main(compare, script, doc, parser):
    """Read the command line, run the fuzz, and end with 1 where something differs."""
    options = parser(description=doc.partition("\n")[0])
    options.add_argument("--count", type=int, default=1000, help="number of cases")
    options.add_argument("--seed", type=int, default=0, help="what the cases are drawn from")
    options.add_argument("--start", type=int, default=0, help="number of the first case")
    options.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options.add_argument("--show", type=int, default=5, help="differences printed in full")
    options.add_argument(
        "--budget", type=float, default=math.inf, help="seconds after which no more cases are begun"
    )
    chosen = options.parse_args()
    begun = time.perf_counter()
    jobs = chosen.jobs if chosen.count > 400 else 1
    counts, differences = run(compare, chosen.count, chosen.seed, jobs, chosen.start, budget=chosen.budget)
    report(counts, differences, time.perf_counter() - begun, chosen.seed, script, chosen.show)
    raise SystemExit(bool(differences))
