"""Compiled code on disk: a file for each function and signature, which begins with a checksum of the rest.

A file that is damaged, of another state, or cannot be read or written is a miss, of which one warning tells;
nothing is unpickled before its checksum is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba

_MARK = b"precision: compiled code, version 1\n"
_SIZE = 32  # bytes of a checksum
_HEAD = len(_MARK) + _SIZE
_warned = False


def warn_once(reason: str) -> None:
    """Warn that code is compiled anew; only the first warning of a process is shown."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"precision: {reason}; what is missing is compiled anew. Set NUMBA_CACHE_DIR to another folder "
            "that can be written, or remove what is damaged.",
            RuntimeWarning,
            stacklevel=3,
        )


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SIZE).digest()


class CodeFiles:
    """The compiled code of one function, in the place of Numba's `IndexDataCacheFile`.

    There is no index: the signature's checksum is part of the file's name, and the signature itself of its
    content. So processes that compile at the same time neither lose each other's entries nor mix them up.
    ``dumps`` pickles code.
    """

    def __init__(
        self, folder: str, name: str, stamp: object, dumps: Callable[[object], bytes] = pickle.dumps
    ) -> None:
        self.folder, self.name, self.dumps = Path(folder), name, dumps
        self.state = numba.__version__, llvmlite.__version__, stamp

    def path(self, key: object) -> Path:
        """Return the file for a signature."""
        short = hashlib.blake2b(repr(key).encode(), digest_size=12).hexdigest()
        return self.folder / f"{self.name}.{short}.nbc"

    def load(self, key: object) -> Any:
        """Return what was saved for a signature, None where that is missing or damaged."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            warn_once(f"compiled code cannot be read ({error})")
            return None
        head, body = content[:_HEAD], content[_HEAD:]
        if head != _MARK + _checksum(body):
            warn_once(f"compiled code is damaged ({path})")
            return None
        try:
            state, found, code = pickle.loads(body)
        except Exception as error:  # whole, but pickled by other versions of what it names
            warn_once(f"compiled code cannot be understood ({path}: {type(error).__name__}: {error})")
            return None
        return code if state == self.state and found == key else None

    def save(self, key: object, code: object) -> None:
        """Save the code for a signature, unless the disk does not let it."""
        body = self.dumps((self.state, key, code))
        path = self.path(key)
        draft = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
        try:
            try:
                draft.write_bytes(_MARK + _checksum(body) + body)
                os.replace(draft, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise
        except OSError as error:
            warn_once(f"compiled code cannot be saved ({error})")

    def flush(self) -> None:
        """Forget all that is saved, as Numba asks before it compiles a function anew."""
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"{self.name}.*.nbc"):
                path.unlink()
