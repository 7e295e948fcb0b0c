"""Support modules that know no format: argument checks, threads, files, the floating-point environment."""

from precision._support._guarded_imports import guard_imports

guard_imports()  # before any module that computes: `_support` is the first that the package imports
