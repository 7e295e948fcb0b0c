"""The floating-point environment of a thread: found cheaply, set to the default for our work, and put back.

The environment is the CPU's register (MXCSR on x86-64, FPCR on ARM) that says how results are rounded, and
whether subnormal results (flush-to-zero, FTZ) and operands (denormals-are-zero, DAZ) become zero. It belongs
to a thread, and any library may change it: ``torch.set_flush_denormal`` does, so does whatever was built with
``-ffast-math``, and so does C's ``fesetround``. Our arithmetic is that of the default environment: rounding
to nearest even, no FTZ, no DAZ. Every public function that computes goes through `in_default_environment`.

What a library's own threads compute is not protected here; `precision._support._blas` looks at BLAS's.
Traps that a caller has unmasked stay unmasked as long as nothing else is wrong with the environment.
"""

from __future__ import annotations

import functools
import inspect
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def _double(bits: int) -> float:
    """Return the double of these bits; reading text or computing powers could round in a bad environment."""
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


# Names of the module, which Python's compiler cannot fold: the sums and the product are computed each time.
_ONE = _double(0x3FF0_0000_0000_0000)  # 1
_AFTER_ONE = _double(0x3FF0_0000_0000_0001)  # 1 + 2**-52, the next double
_HALF_STEP = _double((1023 - 53) << 52)  # 2**-53, half the way from 1 to it
_LONG_STEP = _double((1023 - 53) << 52 | 1 << 51)  # 1.5 * 2**-53, three quarters of the way
_HALF = _double(1022 << 52)  # 1/2
_LEAST_NORMAL = _double(1 << 52)  # 2**-1022

# `is_default` finds every environment that is not the default one:
#
# * (1 + 2**-53) + 1.5 * 2**-53. The first sum lies in the middle between 1, whose last bit is even, and the
#   next double, 1 + u. Rounding to nearest even gives 1, and so do rounding downward and toward zero;
#   rounding upward gives 1 + u, and so does rounding ties away from zero (RISC-V has it). From 1 the second
#   sum is 1 + 0.75 u, which rounding to nearest makes 1 + u, and rounding downward or toward zero 1. From
#   1 + u it is 1 + 1.75 u, which both of the others make 1 + 2 u. So 1 + u says rounding to nearest even.
# * 2**-1022 / 2 is the exact subnormal 2**-1023. With FTZ the product is zero. Without FTZ but with DAZ it is
#   2**-1023, which the comparison with zero then reads as zero. (The truth of a float is that comparison.)
#
# One register rules both sizes on the CPUs that NumPy is built for, so doubles stand for float32 as well.


def is_default() -> bool:
    """Return whether this thread rounds to nearest even and keeps subnormal numbers; costs some 100 ns."""
    return bool(_ONE + _HALF_STEP + _LONG_STEP == _AFTER_ONE and _LEAST_NORMAL * _HALF)


def described() -> str:
    """Say in words how this thread's environment differs from the default one; "" where it does not."""
    found = []
    if _ONE + _HALF_STEP != _ONE:
        found.append("rounds upward or ties away from zero")
    elif _ONE + _LONG_STEP != _AFTER_ONE:
        found.append(
            "rounds toward zero" if -_ONE - _HALF_STEP == -_ONE == -_ONE - _LONG_STEP else "rounds downward"
        )
    if _LEAST_NORMAL * _HALF == 0.0:
        found.append("takes subnormal numbers for zero (FTZ or DAZ)")
    return " and ".join(found)


class _Register:
    """The C library's access to the calling thread's environment: `save`, `set_default` and `restore`."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        # PyDLL keeps the GIL: the calls take nanoseconds.
        library = ctypes.PyDLL("libm.so.6" if sys.platform == "linux" and _is_glibc() else None)
        self._get, self._set = library.fegetenv, library.fesetenv
        for function in (self._get, self._set):
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int
        if sys.platform == "darwin":  # FE_DFL_ENV is the address of a constant
            self._default: Any = ctypes.addressof(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
        else:  # glibc and musl; it clears FTZ and DAZ too, in glibc since 2.23
            self._default = ctypes.c_void_p(-1)

    def save(self) -> Any:
        """Return the whole environment: rounding, FTZ, DAZ, masks of exceptions and flags."""
        kept = self._ctypes.create_string_buffer(256)  # no C library's fenv_t is as large
        if self._get(kept):
            raise OSError("fegetenv failed")
        return kept

    def set_default(self) -> None:
        """Set rounding to nearest even without FTZ and DAZ, every exception masked."""
        self._set(self._default)

    def restore(self, kept: Any) -> None:
        """Set the environment that `save` returned."""
        self._set(kept)


class _WindowsRegister:
    """Read, write and reset rounding, FTZ and DAZ by ``_controlfp_s``: all that this module changes."""

    _MASK = 0x0300_0300  # _MCW_DN and _MCW_RC

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._control: Any = ctypes.PyDLL("ucrtbase")._controlfp_s
        self._control.argtypes = [ctypes.POINTER(ctypes.c_uint), ctypes.c_uint, ctypes.c_uint]
        self._control.restype = ctypes.c_int

    def save(self) -> Any:
        kept = self._ctypes.c_uint()
        if self._control(self._ctypes.byref(kept), 0, 0):
            raise OSError("_controlfp_s failed")
        return kept.value

    def set_default(self) -> None:
        self.restore(0)  # _DN_SAVE and _RC_NEAR

    def restore(self, kept: Any) -> None:
        self._control(self._ctypes.byref(self._ctypes.c_uint()), kept & self._MASK, self._MASK)


def _is_glibc() -> bool:
    import os

    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):
        return False


@functools.cache
def _register() -> _Register | _WindowsRegister:
    return _WindowsRegister() if sys.platform == "win32" else _Register()


class _Callers(threading.local):
    """The environments of each thread's callers, the innermost last; None where we called one back."""

    def __init__(self) -> None:
        self.environments: list[Any] = []


_callers = _Callers()


def _saved_and_default() -> Any:
    """Return the environment of this thread, which is not the default one, and set the default.

    Raises
    ------
    FloatingPointError
        If that cannot be done here; the environment is then as it was.
    """
    found = described()
    why = "it cannot be set"
    try:
        register = _register()
        kept = register.save()
        register.set_default()
        if is_default():
            return kept
        why = f"after it was set the thread still {described()}"
        register.restore(kept)
    except (OSError, AttributeError, ValueError) as error:  # no such library or function
        why = f"it cannot be set: {error}"
    raise FloatingPointError(
        f"the floating-point environment of this thread must be the default one (rounding to nearest even, "
        f"subnormal numbers kept), but it {found}, and {why}. Undo what changed it "
        "(torch.set_flush_denormal, fesetround, a library built with -ffast-math) before the call"
    )


class default_environment:
    """A context in which this thread has the default environment; afterwards it has again what it had.

    Examples
    --------
    >>> from precision._support.machine._float_environment import default_environment, is_default
    >>> with default_environment():
    ...     is_default()
    True
    """

    __slots__ = ("_kept",)

    def __enter__(self) -> None:
        self._kept: Any = None
        if is_default():
            return
        self._kept = _saved_and_default()
        _callers.environments.append(self._kept)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept is not None:
            _callers.environments.pop()
            _register().restore(self._kept)


class callers_environment:
    """A context for code of the user that our work calls: in it this thread has what the caller of ours had.

    Afterwards the thread has again what it had before, whatever the user's code did to it.

    Parameters
    ----------
    environment : object, optional
        What `of_caller` returned in another thread, where the code runs in a thread of its own.
    """

    __slots__ = ("_caller", "_kept")

    def __init__(self, environment: Any = None) -> None:
        self._caller = environment

    def __enter__(self) -> None:
        caller = of_caller() if self._caller is None else self._caller
        self._kept = None if is_default() else _register().save()
        _callers.environments.append(None)
        if caller is not None:
            _register().restore(caller)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _callers.environments.pop()
        if self._kept is not None:
            _register().restore(self._kept)
        elif not is_default():
            _saved_and_default()


def of_caller() -> Any:
    """Return the environment that the caller of our work had, or None where it was the default one."""
    return _callers.environments[-1] if _callers.environments else None


def in_default_environment(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function`` run in the default environment, and leave the caller's as it was, also if it raises.

    It costs some 0.2 us where the environment is the default one; a method without arguments half of that.
    A generator function has its own decorator, `each_in_default_environment`.
    """
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{function.__qualname__} gives control back before it ends")

    @functools.wraps(function)
    def protected(*args: P.args, **kwargs: P.kwargs) -> R:
        # `is_default`, without the call.
        if _ONE + _HALF_STEP + _LONG_STEP == _AFTER_ONE and _LEAST_NORMAL * _HALF:
            return function(*args, **kwargs)
        with default_environment():
            return function(*args, **kwargs)

    made: Callable[P, R] = _with_self_alone(function) if _takes_self_alone(function) else protected
    made.runs_in_default_environment = True  # type: ignore[attr-defined]
    return made


def _takes_self_alone(function: Callable[..., Any]) -> bool:
    code = getattr(function, "__code__", None)  # a signature takes long, for each function of an import
    if code is None or code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return False
    return bool(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] == ("self",))


def _with_self_alone(function: Callable[..., R]) -> Callable[..., R]:
    """Do as `in_default_environment` for a method that takes nothing else, where Python calls it faster."""

    @functools.wraps(function)
    def protected(self: object) -> R:
        if _ONE + _HALF_STEP + _LONG_STEP == _AFTER_ONE and _LEAST_NORMAL * _HALF:
            return function(self)
        with default_environment():
            return function(self)

    return protected


def each_in_default_environment(function: Callable[P, Iterator[R]]) -> Callable[P, Iterator[R]]:
    """Let a generator function run in the default environment, from one item to the next.

    Between two items the thread has what it had, as the code that takes the items needs it.
    """

    @functools.wraps(function)
    def protected(*args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items = function(*args, **kwargs)
        try:
            while True:
                with default_environment():
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item
        finally:
            if hasattr(items, "close"):
                items.close()

    protected.runs_in_default_environment = True  # type: ignore[attr-defined]
    return protected


def methods_in_default_environment(cls: C) -> C:
    """Let every method and property that ``cls`` itself defines run in the default environment.

    It stands below ``@dataclass``, whose own methods (``__init__``, ``__eq__``, ``__hash__``) stay bare.
    """
    for name, value in list(vars(cls).items()):
        if inspect.isfunction(value):
            generator = inspect.isgeneratorfunction(value)
            made = each_in_default_environment(value) if generator else in_default_environment(value)
            setattr(cls, name, made)
        elif isinstance(value, classmethod | staticmethod):
            setattr(cls, name, type(value)(in_default_environment(value.__func__)))
        elif isinstance(value, property) and value.fget is not None:
            setattr(cls, name, property(in_default_environment(value.fget), value.fset, value.fdel))
        elif isinstance(value, functools.cached_property):
            value.func = in_default_environment(value.func)
    return cls


def is_protected(function: object) -> bool:
    """Return whether a function, or a property's getter, went through `in_default_environment`."""
    if isinstance(function, property):
        function = function.fget
    elif isinstance(function, functools.cached_property):
        function = function.func
    elif isinstance(function, classmethod | staticmethod):
        function = function.__func__
    return getattr(function, "runs_in_default_environment", False) is True
