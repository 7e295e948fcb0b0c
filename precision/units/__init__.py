"""The catalogue of matrix units, each with its instruction, its GPUs and the evidence for it.

Every unit of the catalogue is an attribute of this room: `precision.units.HOPPER_FP8`.
"""

from precision.units import _nvidia, _plain_arithmetic  # noqa: F401 -- they enter their units
from precision.units._catalogue import CATALOGUE, Evidence, Unit
from precision.units._catalogue import find_accumulator as __getattr__  # noqa: F401 -- Python asks for it
from precision.units._catalogue import list_names as __dir__  # noqa: F401 -- Python asks for it
from precision.units._defaults import DEFAULTS

__all__ = ["CATALOGUE", "DEFAULTS", "Evidence", "Unit"]
