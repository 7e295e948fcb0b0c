"""Matrix products, each summed as a chosen accumulator sums."""

from precision.gemm._matrix_product import matmul
from precision.gemm._step_trace import Trace, trace

__all__ = ["Trace", "matmul", "trace"]
