"""A base of frozen dataclasses that serve as keys of caches."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar


class HashedOnce:
    """A frozen dataclass whose instances compute their hash once, and pickle their fields alone.

    A dataclass writes its own ``__hash__``, so that each states ``__hash__ = HashedOnce.__hash__``. What
    instances keep beside their fields (the hash, which another process would not compute alike, and what
    ``cached_property`` keeps) is not pickled.
    """

    _hash: ClassVar[int]  #: of an instance, once it was asked for; no field

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hash(tuple(getattr(self, field.name) for field in dataclasses.fields(self)))  # type: ignore[arg-type]
            self.__dict__["_hash"] = found
            return found

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
