"""What all tests share: slow draws are no fault of a test, and small arrays take the general ways in some.

Nor is a first call that compiles: the processes that tests start keep their standard error for other things.
"""

import os
from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

_QUIET = "ignore:precision:UserWarning"
os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _QUIET]))

GENERAL = {"accumulators", "gemm", "kernels", "logfmt", "quantization", "units", "test_short_pieces"}
"""Folders and files whose tests are about the ways that large arrays take, by small arrays."""
SMALL = {"test_small_products", "test_single_calls", "test_small_logfmt"}
"""Files in these folders about the ways that small arrays take."""
SHORT_CUTS = (
    "precision.accumulators._small_products",
    "precision.quantization._single_calls",
    "precision.quantization._dequantizing",
    "precision.logfmt._single_calls",
)
"""Modules with a way for small arrays, each of which has the size of the largest of them as ``MOST``."""


@pytest.fixture(autouse=True, scope="module")
def general_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the general ways for arrays of any size in the tests of `GENERAL`."""
    path = request.path
    if path.stem in SMALL or not {path.parent.name, path.stem} & GENERAL:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for module in SHORT_CUTS:
            patch.setattr(import_module(module), "MOST", -1)
        yield
