"""Compiled loops over arrays, whose parameters are NamedTuples of numbers and no class of any other room.

Importing this package starts no compiler; its modules import Numba and are imported only inside
the functions that need them.
"""
