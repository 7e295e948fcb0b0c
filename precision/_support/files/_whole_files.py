"""Output files that appear whole or not at all, and devices and pipes, which are written to as they are.

A symbolic link stays, and what it points to is written. An existing file keeps its mode and, where this
process may give files away, its owner.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

_MOST_LINKS = 40  # the number of links that the Linux kernel follows


class _Target(NamedTuple):
    """The file that an output goes to once every symbolic link is followed."""

    path: str  #: the path of the file itself, or as the user gave it where it is no regular file
    found: os.stat_result | None  #: the status of an existing file, or None
    descriptor: int | None  #: the open descriptor of this process that the path names, as /dev/stdout does

    @property
    def is_regular(self) -> bool:
        """True if the output is a regular file or a new one, which another file can replace."""
        return self.descriptor is None and (self.found is None or stat.S_ISREG(self.found.st_mode))


def _find_descriptor(path: str) -> int | None:
    """Return the number N if a path leads to /dev/fd/N, as /dev/stdout and /proc/self/fd/N do, else None."""
    tables = rf"/dev/fd|/proc/(self|thread-self|{os.getpid()})(/task/\d+)?/fd"
    current = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(current)
        folder = os.path.realpath(folder)
        if name.isdecimal() and re.fullmatch(tables, folder):
            return int(name)
        try:
            link = os.readlink(os.path.join(folder, name))
        except OSError:
            return None
        current = os.path.join(folder, link)
    return None


def _resolve_target(path: str | Path) -> _Target:
    """Follow ``path`` to its target, and raise if no output can be written there."""
    given = os.fspath(path)
    if given in ("", ".") or "\0" in given:
        raise ValueError(f"{given!r} is no file's name")
    descriptor = _find_descriptor(given)
    if descriptor is not None:
        os.write(descriptor, b"")  # raises if the descriptor is closed, or open for reading alone
        return _Target(given, os.fstat(descriptor), descriptor)
    try:
        found = os.stat(given)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    regular = found is None or stat.S_ISREG(found.st_mode)
    target = _Target(os.path.realpath(given) if regular else given, found, None)
    folder = os.path.dirname(target.path)
    if found is None and not os.path.isdir(folder):
        raise FileNotFoundError(f"{given}: {os.path.dirname(given) or folder} is not a folder")
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(f"{given} is a folder; it must be a file")
    if found is not None and stat.S_ISSOCK(found.st_mode):
        raise OSError(f"{given} is a socket; it must be a file")
    if found is not None and not os.access(target.path, os.W_OK):
        raise PermissionError(f"{given} cannot be written: this user may not")
    return target


def check_regular(path: str | Path) -> None:
    """Raise as `check_output` does, and also for a device or a pipe, which cannot hold a database."""
    check_output(path)
    if not _resolve_target(path).is_regular:
        raise OSError(f"{os.fspath(path)} is a device or a pipe; it must be a file")


def check_output(path: str | Path) -> None:
    """Raise at once, before any work, if `draft` could not write to a path. No file is left behind.

    Raises
    ------
    ValueError
        If the name is empty or holds a NUL.
    OSError
        If its folder is missing or takes no files, or the path is a folder or a file that may not be written.
    """
    with _name_path_in_errors(path):
        target = _resolve_target(path)
        if target.is_regular:
            os.unlink(_new_file(target))


@contextmanager
def _name_path_in_errors(path: str | Path) -> Iterator[None]:
    """Put the output's name into the messages of the system's errors within the block."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise type(error)(f"{os.fspath(path)} cannot be written: {error.strerror}") from error


def _new_file(target: _Target) -> str:
    """Make an empty file of a new name beside the target, and return its name."""
    # A file that replaces a private one is never readable by others; a new file gets the mode of the umask.
    mode = 0o666 if target.found is None else 0o600
    folder = os.path.dirname(target.path)
    while True:
        name = os.path.join(folder, f".precision-{secrets.token_hex(8)}")
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        except FileExistsError:
            continue
        return name


@contextmanager
def draft(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; what is written becomes the output when the block ends without error.

    A regular file changes whole or not at all. A device, a pipe, or a descriptor of this process gets the
    bytes at the end of the block.

    Raises
    ------
    ValueError, OSError
        As `check_output`, before the block runs; or if the file cannot be replaced.
    """
    with _name_path_in_errors(path):
        target = _resolve_target(path)
        beside = _new_file(target) if target.is_regular else None
    if beside is None:
        with tempfile.TemporaryDirectory(prefix="precision-") as folder:
            whole = Path(folder, "draft")
            whole.touch()
            yield whole
            with _open_output(target) as output, whole.open("rb") as written:
                shutil.copyfileobj(written, output)
        return
    try:
        made = os.stat(beside)
        yield Path(beside)
        # A library may have put a file of its own in the draft's place, of another mode.
        _copy_owner_and_mode(beside, made if target.found is None else target.found)
        os.replace(beside, target.path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _open_output(target: _Target) -> BinaryIO:
    """Open a device, a pipe or a descriptor to write to."""
    if target.descriptor is None:
        return open(os.open(target.path, os.O_WRONLY), "wb")
    for stream in (sys.stdout, sys.stderr):  # text that was printed before comes first
        with suppress(OSError, ValueError):
            stream.flush()
    return open(os.dup(target.descriptor), "wb")


def _copy_owner_and_mode(path: str, like: os.stat_result) -> None:
    """Give a file the mode of another and, where this process may, its owner."""
    if hasattr(os, "chown"):
        made = os.stat(path)
        for owner, group in ((like.st_uid, -1), (-1, like.st_gid)):
            if owner not in (-1, made.st_uid) or group not in (-1, made.st_gid):
                with suppress(PermissionError):
                    os.chown(path, owner, group)
    os.chmod(path, stat.S_IMODE(like.st_mode))
