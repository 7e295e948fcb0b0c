"""The default number of threads, from environment variables, the processors and the container."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path  # it takes a while to import, and `import precision` needs none

#: Environment variables of other libraries; the first one that is set decides.
SHARED_VARIABLES = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"
OWN_VARIABLE = "PRECISION_NUM_THREADS"

#: Text of a positive whole number.
_WHOLE = re.compile(r"\s*\+?0*([1-9][0-9]{0,8})\s*", re.ASCII)
#: Variables, with their texts, that a warning was given of.
_warned: set[tuple[str, str]] = set()


def default_threads() -> int:
    """Return the number of threads that environment variables set, else the number of processors.

    Raises
    ------
    ValueError
        If PRECISION_NUM_THREADS is not a positive whole number.
    """
    text = os.environ.get(OWN_VARIABLE, "")
    if text.strip():
        number = _read_whole(text)
        if number is None:
            raise ValueError(f"{OWN_VARIABLE} must be a whole number of at least 1, got {text!r}")
        return number
    for name in SHARED_VARIABLES:
        number = _read_shared(name, os.environ.get(name, ""))
        if number is not None:
            return number
    return processors()


def _read_whole(text: str) -> int | None:
    """Return the positive whole number in a text, or None if the text is none."""
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else None


def _read_shared(name: str, text: str) -> int | None:
    """Return the number of threads that another library's variable sets, or None if it sets none.

    OpenMP's variable may be a list, with a number for each level of nested threads; the first one counts. A
    text that cannot be read is ignored with a warning, as OpenMP ignores it.
    """
    if not text.strip():
        return None
    entries = [_read_whole(entry) for entry in (text.split(",") if name == "OMP_NUM_THREADS" else [text])]
    if None not in entries:
        return entries[0]
    if (name, text) not in _warned:
        _warned.add((name, text))
        warnings.warn(
            f"precision: {name} is {text!r}, which is no positive whole number, and is ignored",
            RuntimeWarning,
            stacklevel=4,
        )
    return None


def processors() -> int:
    """Return the number of processors that affinity and CPU quota let this process use."""
    known = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    quota = _own_quota()
    return count if quota is None else min(count, quota)


@functools.cache
def _own_quota() -> int | None:
    """Return the CPU quota of this process, which is read once."""
    from pathlib import Path

    return cpu_quota(Path("/proc/self"), Path("/"))


def cpu_quota(process: Path, root: Path) -> int | None:
    """Return the number of processors that a process's control groups grant it, or None without a limit.

    A fraction of a processor counts as a whole one.

    Parameters
    ----------
    process : Path
        The folder of the process in /proc.
    root : Path
        The folder that stands for "/", below which the mount points lie.

    Notes
    -----
    A group's quota binds all groups below it, so the smallest quota of the group and its ancestors counts:
    ``cpu.max`` in version 2 of control groups, ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` in version 1
    (Linux's Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).
    """
    try:
        folders = list(_group_folders(process, root))
    except (OSError, ValueError):
        return None
    quotas = [quota for folder in folders if (quota := _read_quota(folder)) is not None]
    return min(quotas, default=None)


def _group_folders(process: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of a process's control groups that may limit its processors, and all above them."""
    from pathlib import PurePosixPath

    groups: dict[bool, str] = {}
    for line in (process / "cgroup").read_text(errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            groups[not controllers] = path
    for line in (process / "mountinfo").read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        second = kind == "cgroup2"
        if second not in groups or not (second or (kind == "cgroup" and "cpu" in options.split(","))):
            continue
        mounted, point = (_unescape(field) for field in before.split(" ")[3:5])
        top = root / point.lstrip("/")
        folder = top
        yield folder
        # A mount may show a part of the tree alone, as a container's does; then its top is the only folder.
        group = PurePosixPath(groups[second])
        if group.is_relative_to(mounted) and ".." not in group.parts:
            for part in group.relative_to(mounted).parts:
                folder = folder / part
                yield folder


def _unescape(text: str) -> str:
    """Return a field of /proc with octal escapes (of spaces and the like) undone."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _read_quota(folder: Path) -> int | None:
    """Return the quota in a control group's folder, in processors rounded up, or None if it has none."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = (number for name in names for number in (folder / name).read_text().split())
            if int(period) > 0 and quota != "max" and int(quota) > 0:
                return max(1, -(-int(quota) // int(period)))
        except (OSError, ValueError):
            continue
    return None
