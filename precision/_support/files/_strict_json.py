"""Reading of JSON, and showing of text, from files that cannot be trusted."""

from __future__ import annotations

import json
from typing import Any


def strict_json(text: str | bytes) -> Any:
    """Decode JSON in which no object gives a key twice.

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
    """Return a JSON object as a dictionary; raise ValueError if it gives a key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"its JSON gives the key {quote_text(key)} twice")
            seen.add(key)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def escape_text(text: str, limit: int = 200) -> str:
    """Return a text from a file, cut if it is long, with control characters escaped."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in cut)


def quote_text(text: object, limit: int = 100) -> str:
    """Return a text from a file in quotes, cut if it is long, with control characters escaped."""
    quoted = repr(text if not isinstance(text, str) or len(text) <= limit else text[:limit] + "…")
    return quoted if len(quoted) <= 2 * limit else quoted[: 2 * limit] + "…"
