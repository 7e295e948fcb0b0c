"""Damaged texts and TOML files end in an answer or in the documented error, at once."""

from __future__ import annotations

from pathlib import Path

import hostile_texts
import pytest


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads how much memory it has from /proc")
@pytest.mark.parametrize(("kind", "cases"), hostile_texts.KINDS.items())
def test_damaged_texts_of_every_kind(kind, cases):
    counts = hostile_texts.fuzz(kind, seed=0, cases=cases)
    assert counts.total() == cases
    assert counts["refused"] > cases / 20 and counts["read"] > cases / 50


@pytest.mark.parametrize("kind", hostile_texts.TEXTS)
def test_undamaged_texts_are_read(kind):
    read, texts = hostile_texts.TEXTS[kind]
    for text in texts:
        assert read(str(read(text))) == read(text)
