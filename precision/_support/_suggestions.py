"""Names that a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 100
"""Characters of a name that near ones are sought for: the search in a longer one is slow."""


def close(name: str, names: Iterable[str], n: int, cutoff: float) -> list[str]:
    """The names that are most like one, ``n`` at most."""
    if len(name) > LONGEST:
        return []
    import difflib  # only after a mistake

    return difflib.get_close_matches(name, list(names), n=n, cutoff=cutoff)


def hint(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the end of a message that lists all names, or nothing."""
    found = close(name, names, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def near(name: str, names: Iterable[str], what: str = "known") -> str:
    """The near names, or all of them where none is near: the end of a message about an unknown one."""
    names = list(names)
    found = close(name, names, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    return f"{what}: {', '.join(names) or 'none'}"
