"""The check that undocumented parts of other packages still exist and take the arguments that we pass."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping


def changed(parts: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Name the parts that are gone or take other arguments, each with what changed; empty if none did.

    ``parts`` maps ``"package.module:name"`` to the names of the function's parameters.
    """
    found = []
    for name, parameters in parts.items():
        try:
            part = pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            found.append(f"{name} is gone")
            continue
        try:
            now = tuple(inspect.signature(part).parameters)
        except (TypeError, ValueError):
            found.append(f"{name} is no function")
            continue
        if now != parameters:
            found.append(f"{name} takes ({', '.join(now)}), not ({', '.join(parameters)})")
    return found
