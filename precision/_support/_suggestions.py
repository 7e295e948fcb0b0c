"""Suggestions of names that a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 100
"""The most characters of a name for which close names are searched: the search is slow for longer ones."""


def find_close_names(name: str, names: Iterable[str], n: int, cutoff: float) -> list[str]:
    """Return the names that are most like a given one, at most ``n`` of them."""
    if len(name) > LONGEST:
        return []
    import difflib  # only after a mistake

    return difflib.get_close_matches(name, list(names), n=n, cutoff=cutoff)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)``, the end of a message that lists all names, or nothing."""
    found = find_close_names(name, names, n=2, cutoff=0.5)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


def suggest_names(name: str, names: Iterable[str], what: str = "known") -> str:
    """Return the names that are like an unknown one, or all names, as the end of a message."""
    names = list(names)
    found = find_close_names(name, names, n=3, cutoff=0.5)
    if found:
        return f"did you mean {' or '.join(map(repr, found))}?"
    return f"{what}: {', '.join(names) or 'none'}"
