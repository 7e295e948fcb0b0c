"""Helpers that every room may use and that compute nothing: checks of arguments, text, files, the machine."""

from precision._support.machine._guarded_imports import guard_imports

guard_imports()  # before any module that computes: `_support` is the first that the package imports

from precision._support.machine import _forks  # noqa: E402 -- behind the guard, as all others

_forks.register()  # before any thread can import a room
