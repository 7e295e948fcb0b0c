"""The number of threads that a process may use: by its environment, its processors and its container."""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path  # it takes a while to import, and `import precision` needs none

#: Other libraries' variables, in the order in which they win: the one of Numba first, then everybody's.
SHARED_VARIABLES = "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"
OWN_VARIABLE = "PRECISION_NUM_THREADS"

_WHOLE = re.compile(r"\s*\+?0*([1-9][0-9]{0,8})\s*", re.ASCII)
_warned: set[tuple[str, str]] = set()


def default_threads() -> int:
    """Return the number of threads where no call has set it: the environment's, else the processors'.

    Raises
    ------
    ValueError
        If PRECISION_NUM_THREADS is not a positive whole number.
    """
    text = os.environ.get(OWN_VARIABLE, "")
    if text.strip():
        number = _whole(text)
        if number is None:
            raise ValueError(f"{OWN_VARIABLE} must be a whole number of at least 1, got {text!r}")
        return number
    for name in SHARED_VARIABLES:
        number = _shared(name, os.environ.get(name, ""))
        if number is not None:
            return number
    return processors()


def _whole(text: str) -> int | None:
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else None


def _shared(name: str, text: str) -> int | None:
    """Read another library's variable; as OpenMP does, one that cannot be read is ignored with a warning.

    OpenMP's may be a list, a number for each level of nested threads, of which the first is ours.
    """
    if not text.strip():
        return None
    entries = [_whole(entry) for entry in (text.split(",") if name == "OMP_NUM_THREADS" else [text])]
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
    """Return the number of processors that this process may keep busy, by affinity and by quota."""
    known = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    quota = _own_quota()
    return count if quota is None else min(count, quota)


@functools.cache
def _own_quota() -> int | None:
    from pathlib import Path

    return cpu_quota(Path("/proc/self"), Path("/"))


def cpu_quota(process: Path, root: Path) -> int | None:
    """Return the processors that the control groups of a process grant it, rounded up; None without limit.

    Parameters
    ----------
    process : Path
        The folder of the process in /proc.
    root : Path
        The folder that stands for "/", below which the mount points lie.

    Notes
    -----
    A group's quota binds all that are below it, so the least of the group's own and its ancestors' counts:
    ``cpu.max`` in version 2 of control groups, ``cpu.cfs_quota_us`` and ``cpu.cfs_period_us`` in version 1
    (Linux's Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst).
    """
    try:
        folders = list(_group_folders(process, root))
    except (OSError, ValueError):
        return None
    quotas = [quota for folder in folders if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _group_folders(process: Path, root: Path) -> Iterator[Path]:
    """List the folders of a process's control groups that may limit its processors, and all above them."""
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
        mounted, point = (_unescaped(field) for field in before.split(" ")[3:5])
        top = root / point.lstrip("/")
        folder = top
        yield folder
        # The mount may show a part of the tree alone, as a container's does; then its top is all there is.
        group = PurePosixPath(groups[second])
        if group.is_relative_to(mounted) and ".." not in group.parts:
            for part in group.relative_to(mounted).parts:
                folder = folder / part
                yield folder


def _unescaped(text: str) -> str:
    """Undo the octal escapes of /proc for spaces and the like."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _quota_of(folder: Path) -> int | None:
    """Read one group's quota, in processors rounded up; None where it has none."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = (number for name in names for number in (folder / name).read_text().split())
            if int(period) > 0 and quota != "max" and int(quota) > 0:
                return max(1, -(-int(quota) // int(period)))
        except (OSError, ValueError):
            continue
    return None
