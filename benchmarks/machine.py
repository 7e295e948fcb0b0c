"""The processor and the versions that a measurement depends on."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

import precision

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("precision-emu", "numpy", "numba", "llvmlite", "ml_dtypes", "torch", "torchao", "mmasim")


@functools.cache
def vectors() -> str:
    """Return the widest vectors that the processor has: AVX-512, AVX2 or other."""
    features = llvmlite.binding.get_host_cpu_features()
    return "AVX-512" if features.get("avx512f") else "AVX2" if features.get("avx2") else "other"


@functools.cache
def processor() -> dict[str, Any]:
    """Return the processor: its name, LLVM's name of its kind, its vectors, and how many there are."""
    import cpuinfo  # of the extra `dev`, which the tables of the pages do without

    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "processor": cpuinfo.get_cpu_info().get("brand_raw", platform.processor()),
        "kind": llvmlite.binding.get_host_cpu_name(),
        "vectors": vectors(),
        "cores": len(usable),
        # Set by NUMBA_CPU_NAME, where our loops are compiled for another processor than theirs.
        "compiled_for": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed, and of NumPy's BLAS."""
    import threadpoolctl

    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            found["blas"] = f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', '')})"
    return found


def tree() -> str:
    """Return the commit that is measured, marked where files differ from it, or "" outside of a clone."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    if ROOT not in Path(precision.__file__).resolve().parents:
        return ""
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return found.stdout.strip()


def described() -> dict[str, Any]:
    """Return all that is recorded beside the rows."""
    return {
        "machine": processor(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "tree": tree(),
    }


def slug() -> str:
    """Return the name of the file that holds this processor's table."""
    found = processor()
    compiled = "" if found["compiled_for"] == found["kind"] else f" {found['compiled_for']}"
    text = f"{found['kind']} {found['vectors']} {found['cores']} cores{compiled}"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
