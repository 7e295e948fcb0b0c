"""Damage to bytes and to JSON, drawn from a seeded generator: what fuzz tests of files and texts share."""

from __future__ import annotations

import json
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NUMBERS = [0, 1, 2, 7, 8, 63, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1]
NUMERALS = [
    "0",
    "-1",
    "-0",
    "1e3",
    "1.5",
    "00",
    "true",
    "null",
    "NaN",
    "Infinity",
    "0x10",
    "1_0",
    "9" * 20,
    str(2**63 - 1),
    str(2**63),
    str(2**64 - 1),
    str(2**64),
    str(10**15),
    "9" * 5000,
    "[]",
    '"1"',
]
NAMES = [
    "",
    "a",
    "error",
    "w.codes",
    "__metadata__",
    "é",
    "\ud800",
    "\0",
    "\x1b[31m",
    "x" * 5000,
    "../../x",
    "1",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    2**31,
    2**63 - 1,
    2**64,
    10**30,
    float("inf"),
    float("nan"),
    "",
    "a",
    [],
    {},
    [0],
    [None],
    ["x"],
    {"x": 1},
    [2**62, 2**62],
    [True],
    "MXFP4",
    "F32",
    "F4",
    [0, 0],
    [-1],
    [0] * 70,
    [1] * 70,
    [1] * 60,
]


class Pairs(list):  # type: ignore[type-arg]
    """A JSON object as its pairs, in which a key may stand twice."""


def parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=Pairs)


def written(node: Any) -> str:
    """JSON of a node; a `str` inside a `Raw` stands as it is."""
    if isinstance(node, Raw):
        return str(node.text)
    if isinstance(node, Pairs):
        return "{" + ",".join(f"{json.dumps(key)}:{written(value)}" for key, value in node) + "}"
    if isinstance(node, dict):
        return written(Pairs(node.items()))
    if isinstance(node, list):
        return "[" + ",".join(map(written, node)) + "]"
    return json.dumps(node)


class Raw:
    """Text that stands in JSON as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


def _nested(rng: random.Random) -> Raw:
    depth = rng.choice([2, 30, 130, 900, 5000, 100_000])
    start, end = rng.choice([("[", "]"), ('{"a":', "}")])
    inner = "" if start == "[" else "1"
    return Raw(start * depth + inner + (end * depth if rng.random() < 0.8 else ""))


def _places(node: Any) -> list[tuple[Any, int]]:
    """Every container of a JSON value, with each index into it."""
    found, todo = [], [node]
    while todo:
        one = todo.pop()
        if isinstance(one, Pairs):
            found += [(one, i) for i in range(len(one))]
            todo += [value for _, value in one]
        elif isinstance(one, list):
            found += [(one, i) for i in range(len(one))]
            todo += one
    return found


def _replacement(rng: random.Random, old: Any, places: list[tuple[Any, int]]) -> Any:
    how = rng.randrange(6)
    if how == 0:
        return Raw(rng.choice(NUMERALS))
    if how == 1:
        return _nested(rng)
    if how == 2:
        return Raw(written(rng.choice(places)[0]))
    if how == 3:
        return old + rng.choice([-1, 1, 8]) if type(old) is int else [old]
    if how == 4:
        return rng.choice(NAMES)
    return rng.choice(VALUES)


def edit_json(rng: random.Random, text: str) -> str:
    """JSON with one to three values changed, dropped, doubled, nested or renamed."""
    node = parsed(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _places(node)
        if not places:
            break
        where, i = rng.choice(places)
        key, old = where[i] if isinstance(where, Pairs) else (None, where[i])
        new = _replacement(rng, old, places)
        how = rng.randrange(8)
        if how == 0:
            del where[i]
        elif how == 1 and key is not None:
            where.insert(rng.randrange(len(where) + 1), (key, old if rng.random() < 0.5 else new))
        elif how == 2 and key is not None:
            where[i] = (rng.choice([*NAMES, *(name for name, _ in where)]), old)
        elif how == 3:
            where.insert(i, (rng.choice(NAMES), new) if key is not None else new)
        else:
            where[i] = (key, new) if key is not None else new
    return written(node)


def damage(rng: random.Random, data: bytes) -> bytes:
    """Bytes with one to four faults, half of them near the start."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        size = len(found)
        at = rng.randrange(min(size, 300) if rng.random() < 0.5 else size) if size else 0
        stop = min(size, at + rng.choice([1, 2, 4, 8, 16, 100, 4096]))
        how = rng.randrange(10)
        if how == 0 and size:
            found[at] ^= 1 << rng.randrange(8)
        elif how == 1 and size:
            found[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, ord("{"), ord("("), ord('"'), ord("-")])
        elif how == 2:
            width = rng.choice([2, 4, 8])
            number = rng.choice([*NUMBERS, size, size - 1, size + 1]) % (1 << 8 * width)
            found[at : at + width] = number.to_bytes(width, rng.choice(["little", "big"]))
        elif how == 3:
            del found[at:]
        elif how == 4:
            found[at:at] = found[at:stop]
        elif how == 5:
            found[at:at] = rng.randbytes(rng.choice([1, 3, 64, 1000]))
        elif how == 6:
            del found[at:stop]
        elif how == 7:
            found += rng.choice([b"\0", rng.randbytes(100), bytes(4096), bytes(found[at:stop])])
        elif how == 8:
            found[at:stop] = rng.randbytes(stop - at)
        else:
            digits = [match.span() for match in re.finditer(rb"\d+", bytes(found[:4096]))]
            if digits:
                first, last = rng.choice(digits)
                found[first:last] = rng.choice(NUMERALS).encode()
    return bytes(found)


# ---- running ----------------------------------------------------------------------------------------
SECONDS = 5.0  # of the processor, for one case at most
ROOM = 1 << 30  # bytes that all of them together may ask for


@contextmanager
def little_memory() -> Iterator[None]:
    """Let this process have no more than a GiB beyond what it has: asking for more is a MemoryError."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def run(
    case: Callable[[random.Random, int], str],
    *,
    name: str,
    seed: int,
    cases: int | None,
    seconds: float | None,
) -> Counter[str]:
    """Try numbered cases, each from a generator of its own; return what became of how many.

    ``case`` returns what became of it, and raises for what must not happen.
    """
    counts: Counter[str] = Counter()
    start = time.monotonic()
    number = 0
    while (cases is None or number < cases) and (seconds is None or time.monotonic() - start < seconds):
        before = time.process_time()
        try:
            counts[case(random.Random(f"{name} {seed} {number}"), number)] += 1
        except BaseException as error:
            error.add_note(f"{name}: seed {seed}, case {number}")
            raise
        took = time.process_time() - before
        assert took < SECONDS, f"{name}: seed {seed}, case {number} took {took:.1f} s"
        number += 1
    return counts
