"""Runs of single tensor-core instructions and of library GEMMs on this machine's GPU.

Instructions need nvcc and a Hopper GPU; library GEMMs need PyTorch with CUDA. Operands and results are bits.
"""

from __future__ import annotations

import ctypes
import importlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision.hardware._instructions import INSTRUCTIONS, Instruction, code_dtype
from precision.hardware._library_gemms import Gemm

#: The CUDA program that runs instructions: `build` compiles it.
SOURCE = Path(__file__).with_name("probe.cu")
#: Rows and columns of the result of one instruction as the probe stores it.
TILE_ROWS, TILE_COLUMNS = 64, 8


class Refused(Exception):
    """The error for arguments that the library refuses, with the first line of the library's message."""


def build(folder: str | Path | None = None) -> Path:
    """Compile ``probe.cu`` with nvcc, and return the path of the library.

    Parameters
    ----------
    folder : str or pathlib.Path, optional
        The folder for the library; by default a new temporary one.

    Returns
    -------
    pathlib.Path
        The library, from which `Probe` is made.

    Raises
    ------
    FileNotFoundError
        If nvcc is not on the PATH.
    RuntimeError
        If nvcc fails; the message is the compiler's.
    """
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        raise FileNotFoundError("nvcc must be on the PATH to build the probe, and is not")
    target = Path(folder if folder is not None else tempfile.mkdtemp(prefix="precision-probe-")) / "probe.so"
    command = [nvcc, "-gencode=arch=compute_90a,code=sm_90a", "-shared", "-Xcompiler", "-fPIC"]
    command += ["-o", str(target), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"nvcc could not build {SOURCE.name}: {done.stderr.strip()}")
    return target


class Probe:
    """The compiled probe, which runs one instruction, or a chain of it, on every tile of a product."""

    def __init__(self, library: str | Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._run = loaded.probe
        self._run.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4, *[ctypes.c_int] * 3]
        self._run.restype = ctypes.c_int
        self._message = loaded.probe_error
        self._message.argtypes = [ctypes.c_int]
        self._message.restype = ctypes.c_char_p

    def run(self, instruction: Instruction, a: Array, b: Array, c: Array) -> Array:
        """Return the registers after ``a @ b.T + c``, as the instruction computes them on the GPU.

        Parameters
        ----------
        a, b : ndarray
            Codes ``(M, K)`` and ``(N, K)``, M a multiple of 64, N of 8, K of the instruction's: more than one
            step runs as a chain on the same registers.
        c : ndarray
            Bit patterns ``(M, N)`` of the registers at the start.

        Raises
        ------
        ValueError
            If a shape or a type does not fit.
        RuntimeError
            If the GPU reports an error.
        """
        (m, k), n = a.shape, b.shape[0]
        register = code_dtype(instruction.register)
        wanted = {"a": (m, k), "b": (n, k), "c": (m, n)}
        kinds = {"a": code_dtype(instruction.a), "b": code_dtype(instruction.b), "c": register}
        for name, array in {"a": a, "b": b, "c": c}.items():
            if array.shape != wanted[name] or array.dtype != kinds[name]:
                raise ValueError(
                    f"{name} must be {kinds[name]}{list(wanted[name])}, got {array.dtype}{list(array.shape)}"
                )
        if m % TILE_ROWS or n % TILE_COLUMNS or k % instruction.k:
            raise ValueError(
                f"M, N, K must be multiples of {TILE_ROWS}, {TILE_COLUMNS}, {instruction.k}, "
                f"got {m}, {n}, {k}"
            )
        steps = k // instruction.k
        tiles = (m // TILE_ROWS, n // TILE_COLUMNS)
        a_tiles = a.reshape(tiles[0], 1, TILE_ROWS, steps, instruction.k).swapaxes(2, 3)
        b_tiles = b.reshape(1, tiles[1], TILE_COLUMNS, steps, instruction.k).swapaxes(2, 3)
        c_tiles = c.reshape(tiles[0], TILE_ROWS, tiles[1], TILE_COLUMNS).swapaxes(1, 2)
        sent = [
            np.ascontiguousarray(np.broadcast_to(a_tiles, tiles + a_tiles.shape[2:])),
            np.ascontiguousarray(np.broadcast_to(b_tiles, tiles + b_tiles.shape[2:])),
            np.ascontiguousarray(c_tiles),
            np.empty(c_tiles.shape, register),
        ]
        number = list(INSTRUCTIONS).index(instruction.name)
        status = self._run(
            number, *[array.ctypes.data for array in sent], tiles[0] * tiles[1], steps, register.itemsize
        )
        if status != 0:
            raise RuntimeError(f"{instruction.name} failed on the GPU: {self._message(status).decode()}")
        return sent[3].swapaxes(1, 2).reshape(m, n)


class GemmResult(NamedTuple):
    """The bit patterns of a library GEMM's result, and the GPU kernels that computed it."""

    bits: Array
    kernels: tuple[str, ...]


def library_gemm(gemm: Gemm, *, name_kernels: bool = True) -> GemmResult:
    """Run PyTorch's FP8 GEMM on the GPU.

    The function is `torch._scaled_mm`, or `torch.nn.functional.scaled_mm` for scales of blocks.

    Parameters
    ----------
    gemm : Gemm
        The operands and scales, and the types and scaling of the call.
    name_kernels : bool
        True to run the call a second time under the profiler, and name the GPU kernels that it starts.

    Returns
    -------
    GemmResult
        The bit patterns of the result, and the names of the kernels.

    Raises
    ------
    Refused
        If the library does not take the combination.
    """
    torch: Any = importlib.import_module("torch")
    functional: Any = importlib.import_module("torch.nn.functional")
    a, b = _copy_to_gpu(torch, gemm.a), _copy_to_gpu(torch, gemm.b).t()
    sa, sb = (torch.from_numpy(np.array(scale, np.float32)).cuda() for scale in gemm.scales)
    output = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[gemm.output]
    if gemm.scaling in ("tensor", "row"):
        if gemm.scaling == "row":
            sa, sb = sa[:, None], sb[None, :]

        def call() -> Any:
            return torch._scaled_mm(a, b, scale_a=sa, scale_b=sb, out_dtype=output, use_fast_accum=gemm.fast)
    else:
        sa = sa.t().contiguous().t()
        sb = _pad_to_four(torch, sb) if gemm.square_blocks else sb.t().contiguous().t()
        group = functional.ScalingType.BlockWise1x128
        other = functional.ScalingType.BlockWise128x128 if gemm.square_blocks else group

        def call() -> Any:
            return functional.scaled_mm(
                a, b, sa, group, sb, other, output_dtype=output, use_fast_accum=gemm.fast
            )

    try:
        result = call()
        torch.cuda.synchronize()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise Refused(str(error).strip().split("\n")[0]) from error
    patterns = result.view({4: torch.int32, 2: torch.int16}[result.element_size()]).cpu().numpy()
    names = _list_kernels(torch, call) if name_kernels else ()
    return GemmResult(patterns.view(f"u{patterns.dtype.itemsize}"), names)


def _copy_to_gpu(torch: Any, codes: Array) -> Any:
    """Copy FP8 codes to the GPU as bytes, so that no cast of PyTorch's changes them."""
    kind = {"float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2}[codes.dtype.name]
    return torch.from_numpy(np.ascontiguousarray(codes).view(np.uint8)).cuda().view(kind)


def _pad_to_four(torch: Any, scale: Any) -> Any:
    """Return scales of square blocks as cuBLASLt wants them: K-major, a multiple of 4 along K."""
    rows, along_k = scale.shape
    padded = torch.zeros((rows, -(-along_k // 4) * 4), dtype=torch.float32, device=scale.device)
    padded[:, :along_k] = scale
    return padded.t()


def _list_kernels(torch: Any, call: Any) -> tuple[str, ...]:
    """List the kernels that a second run of ``call`` starts; none where the profiler cannot tell."""
    try:
        activity = torch.profiler.ProfilerActivity.CUDA
        with torch.profiler.profile(activities=[activity], acc_events=True) as profile:
            call()
            torch.cuda.synchronize()
        names = dict.fromkeys(str(event.name) for event in profile.events())
    except RuntimeError:
        return ()
    others = ("cuda", "culaunch", "mem", "activity buffer", "profilerstep")
    return tuple(name for name in names if not name.lower().startswith(others))
