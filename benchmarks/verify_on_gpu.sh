#!/bin/sh
# Compare the emulator with a Hopper GPU on fresh operands: single instructions, then PyTorch's FP8 GEMM at every
# point of a grid. Needs nvcc, PyTorch with CUDA, and this package's dependencies; seven to ten minutes on sixteen cores.
#
#   benchmarks/verify_on_gpu.sh [FOLDER FOR THE TABLES [OPTIONS OF precision.hardware]]
set -eu
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
[ "$#" -eq 0 ] || shift
mkdir -p "$out"
{
  nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
  python3 -c 'import ml_dtypes, numba, numpy, torch
print("torch", torch.__version__, "CUDA", torch.version.cuda)
print("numpy", numpy.__version__, "numba", numba.__version__, "ml_dtypes", ml_dtypes.__version__)'
} | tee "$out/machine.txt"
PYTHONUNBUFFERED=1 exec python3 -m precision.hardware all --out "$out" "$@"
