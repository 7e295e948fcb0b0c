"""JSON of files that nobody vouches for."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str | bytes) -> Any:
    """Read JSON in which no object gives a key twice.

    Raises
    ------
    ValueError
        If the text is no JSON, is nested too deeply to be read, gives a key of an object twice, or has half
        of a surrogate pair, which no file and no terminal can be given.
    """
    try:
        found = _DECODER.decode(text if isinstance(text, str) else text.decode())
        if isinstance(text, str) and "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"its JSON gives the key {shown(key)} twice")
            seen.add(key)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def printable(text: str, limit: int = 200) -> str:
    """A text of a file without signs that a terminal obeys, and not long."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)


def shown(text: object, limit: int = 100) -> str:
    """A text of a file in quotes, without signs that a terminal obeys, and not long."""
    quoted = repr(text if not isinstance(text, str) or len(text) <= limit else text[:limit] + "…")
    return quoted if len(quoted) <= 2 * limit else quoted[: 2 * limit] + "…"
