"""Compiled loops: arrays and NamedTuples in, arrays out; they know no class of the floors above.

Importing this package starts no compiler; its modules import Numba and are imported only inside
the functions that need them.
"""
