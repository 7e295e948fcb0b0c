"""Types that several rooms share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy.typing as npt

Array = npt.NDArray[Any]


Plain: TypeAlias = bool | int | float | str | None
"""A value that a table or a store holds."""
