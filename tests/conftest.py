"""What all tests share: a busy machine, on which Hypothesis's first draws are slow, is no fault of a test."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

PANELS = {"accumulators", "gemm", "kernels", "units", "test_short_pieces"}
"""Folders and files whose products, small as they are, are to be summed by the kernels over panels."""


@pytest.fixture(autouse=True, scope="module")
def panels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no product to the loop for small ones in `PANELS`; test_small_products.py is about that loop."""
    path = request.path
    if not {path.parent.name, path.stem} & PANELS or path.stem == "test_small_products":
        yield
        return
    from precision.accumulators import _small_products

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_small_products, "MOST", -1)
        yield
