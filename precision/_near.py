"""Names that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the end of a message that lists all names, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def near(name: str, names: Iterable[str], what: str = "known") -> str:
    """The near names, or all of them where none is near: the end of a message about an unknown one."""
    names = list(names)
    found = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    return f"{what}: {', '.join(names) or 'none'}"
