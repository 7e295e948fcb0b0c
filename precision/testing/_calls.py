"""Safe calls of a user's callable: whatever goes wrong in it becomes a named `Fault`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from precision._support._array_checks import refuse_masked
from precision._support._types import Array
from precision._support.machine._float_environment import callers_environment, find_callers_environment


class Fault(Exception):
    """The error for a callable that raises, hangs, or returns no array of the right kind.

    ``kind`` is one of "raises", "hangs", "changes its input", "wrong shape", "wrong dtype", "wrong type",
    "not deterministic"; the message says the rest.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class Call:
    """A callable under test, with the ways in which the checks call it.

    Parameters
    ----------
    fn : callable
        What is under test.
    convert : callable, optional
        Turns each NumPy array into what ``fn`` takes (``torch.from_numpy``, for one).
    time_limit : float, optional
        Seconds for one call. Such calls run on a thread of their own, which Python cannot stop: one that
        hangs is left behind, as a daemon that does not keep the process alive, and may go on using a core.
    forgiving : bool
        Whether ``fn`` may write into its input, which it only has a copy of.
    """

    fn: Callable[..., Any]
    convert: Callable[[Array], Any] | None = field(default=None, kw_only=True)
    time_limit: float | None = field(default=None, kw_only=True)
    forgiving: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(f"fn must be callable, got {self.fn!r}")
        if self.convert is not None and not callable(self.convert):
            raise TypeError(f"convert must be callable, got {self.convert!r}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ValueError(f"time_limit must be seconds above 0, got {self.time_limit!r}")

    def __call__(self, *arrays: Array) -> Any:
        """Call ``fn`` with copies of the arrays, and return its result.

        Raises
        ------
        Fault
            If it raises, takes longer than the time limit, or writes into one of them and is not forgiven.
        """
        given = [array.copy() for array in arrays]
        arguments: list[Any] = list(given)
        if self.convert is not None:
            with callers_environment():
                arguments = [self.convert(given_one) for given_one in given]
        result = self._timed(arguments)
        if self.forgiving:
            return result
        # What was converted may share the memory of the copy, or have its own: both are looked at.
        for index, (before, after, argument) in enumerate(zip(arrays, given, arguments, strict=True)):
            now = as_array(argument) if self.convert is not None else after
            if not (same_bits(before, after) and same_bits(before, now)):
                raise Fault("changes its input", f"argument {index} of shape {before.shape} was written into")
        return result

    def _timed(self, arguments: list[Any]) -> Any:
        if self.time_limit is None:
            return self._guarded(arguments)
        box: list[Any] = []
        environment = find_callers_environment()  # of this thread's caller; the other one has none

        def work() -> None:
            try:
                box.append((True, self._guarded(arguments, environment)))
            except BaseException as error:
                box.append((False, error))

        thread = threading.Thread(target=work, name="precision.testing", daemon=True)
        thread.start()
        thread.join(self.time_limit)
        if thread.is_alive():
            raise Fault("hangs", f"no result after {self.time_limit:g} s")
        done, value = box[0]
        if not done:
            raise value
        return value

    def _guarded(self, arguments: list[Any], environment: Any = None) -> Any:
        try:
            with callers_environment(environment), np.errstate(all="ignore"):
                return self.fn(*arguments)
        except Exception as error:
            text = str(error).strip().partition("\n")[0]
            raise Fault("raises", type(error).__name__ + (f": {text}" if text else "")) from error


def as_array(value: Any) -> Array:
    """Return the result of a callable as a NumPy array in this machine's byte order.

    It may be an array, a number, or a tensor of PyTorch.

    Raises
    ------
    Fault
        "wrong type", if it is no array of numbers.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(value, torch)
    try:
        refuse_masked("the result", value)
        array = np.asarray(value)
    except Exception as error:
        raise Fault("wrong type", f"{type(value).__name__} is no array ({error})") from error
    if array.dtype.hasobject or array.dtype.kind in "USMmc":
        raise Fault("wrong type", f"{type(value).__name__} is no array of numbers")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


_TORCH_TYPES = {
    "bfloat16": "bfloat16",
    "float8_e4m3fn": "float8_e4m3fn",
    "float8_e5m2": "float8_e5m2",
    "float8_e4m3fnuz": "float8_e4m3fnuz",
    "float8_e5m2fnuz": "float8_e5m2fnuz",
    "float8_e8m0fnu": "float8_e8m0fnu",
}


def _from_torch(tensor: Any, torch: Any) -> Array:
    name = str(tensor.dtype).removeprefix("torch.")
    plain = tensor.detach().cpu().contiguous()
    if name in _TORCH_TYPES:
        kind = np.dtype(getattr(ml_dtypes, _TORCH_TYPES[name]))
        word = torch.uint8 if kind.itemsize == 1 else torch.int16
        return np.asarray(plain.view(word).numpy()).view(kind)
    try:
        return np.asarray(plain.numpy())
    except TypeError as error:
        raise Fault("wrong type", f"a tensor of {tensor.dtype}, which NumPy does not have") from error


def same_bits(a: Array, b: Array) -> bool:
    """Return whether two arrays are the same to the last bit, NaNs and signs of zeros too."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tobytes() == b.tobytes()


def expect_shape(what: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Return the array if it has this shape; else raise the fault "wrong shape", which names ``what``."""
    if array.shape != shape:
        raise Fault("wrong shape", f"{what} must have shape {shape}, got {array.shape}")
    return array


def label(fn: object) -> str:
    """Return the name by which reports call a callable."""
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or type(fn).__name__
    return str(name).replace("<locals>.", "")
