"""A base of frozen dataclasses that serve as keys of caches."""

from __future__ import annotations

import dataclasses
from typing import Any


class HashedOnce:
    """A frozen dataclass whose instances compute their hash once, and pickle their fields alone.

    A dataclass writes its own ``__hash__``, so that each states ``__hash__ = HashedOnce.__hash__``. What
    instances keep beside their fields (the hash, which another process would not compute alike, and what
    ``cached_property`` keeps) is not pickled.
    """

    def __hash__(self) -> int:
        found = self.__dict__.get("_hash")
        if found is None:
            found = hash(tuple(getattr(self, field.name) for field in dataclasses.fields(self)))  # type: ignore[arg-type]
            self.__dict__["_hash"] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
