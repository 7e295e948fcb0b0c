"""The caller's floating-point environment: no result depends on it, and it is afterwards as it was."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import pickle
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import precision as pr
from precision._support.machine import _blas
from precision._support.machine import _float_environment as environment
from precision._support.machine._float_environment import (
    callers_environment,
    default_environment,
    is_protected,
)

cases = pytest.importorskip("environment_cases")
pytestmark = pytest.mark.skipif(cases.LAYOUT is None, reason="no layout of fenv_t is known for this platform")

#: Of other processes, which import the same package.
ENVIRON = {**os.environ, "PYTHONPATH": str(Path(pr.__file__).parents[1]), "MPLBACKEND": "Agg"}
ALONE = ["ftz", "daz", "up", "down", "zero"]
BAD = [name for name in cases.MODES if name != "nearest"]
FLUSHING = [name for name in BAD if "ftz" in name or "daz" in name]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Whatever a test leaves behind, the next one begins with the default environment."""
    cases.set_mode("nearest")
    yield
    cases.set_mode("nearest")


@pytest.fixture(scope="module")
def inputs() -> Any:
    return cases.Inputs()


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """The digests of a clean process, on one thread."""
    return _of_process("nearest", 1)


def _of_process(mode: str, threads: int) -> dict[str, str]:
    """The digests of a process that is in ``mode`` from before its import of the package on."""
    script = Path(cases.__file__)
    done = subprocess.run(
        [sys.executable, str(script), mode, str(threads)],
        capture_output=True,
        text=True,
        timeout=600,
        env=ENVIRON,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(line.split("\t") for line in done.stdout.splitlines())


def _differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    assert found.keys() == expected.keys()
    return [name for name in found if found[name] != expected[name]]


# ---- every public function ----------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", ALONE)
def test_no_result_depends_on_the_callers_mode_and_the_mode_stays(
    mode: str, threads: int, inputs: Any, expected: dict[str, str]
) -> None:
    before, found, moved = pr.get_num_threads(), {}, []
    pr.set_num_threads(threads)
    try:
        for name, case in cases.CASES.items():
            with cases.mode(mode):
                register = cases.control()
                result = case(inputs)
                after = cases.control()
            found[name] = cases.digest(result)
            moved += [name] if after != register else []
    finally:
        pr.set_num_threads(before)
    assert not moved, f"the caller's mode is another one after {moved}"
    assert not (wrong := _differing(found, expected)), f"other bits under {mode}: {wrong}"


@pytest.mark.parametrize("mode", ["ftz+daz+up", "ftz+daz+down"])
def test_a_process_that_begins_in_another_mode_gives_the_same_bits(
    mode: str, expected: dict[str, str]
) -> None:
    """No constant of a module, cached table or compiled kernel may keep what the mode made of it."""
    assert not (wrong := _differing(_of_process(mode, 2), expected)), f"other bits: {wrong}"


#: Rooms are first asked for in another mode than that of `import precision`: each module runs in the default.
LATE = """
import sys, types
import precision as pr
from precision._support.machine._float_environment import is_default
text = open("environment_cases.py", encoding="utf-8").read().partition("import precision as pr")[0]
cases = types.ModuleType("cases")  # the modes alone: the cases import rooms
exec(text, vars(cases))
found = []
def heard(event, given):
    if event == "exec" and "precision" in getattr(given[0], "co_filename", ""):
        found.append(is_default())
sys.addaudithook(heard)
cases.set_mode(sys.argv[1])
from precision import *
left = is_default()
cases.set_mode("nearest")
assert len(found) > 50 and all(found) and not left, (len(found), sum(found), left)
"""


@pytest.mark.parametrize("mode", ["ftz", "up"])
def test_rooms_first_asked_for_in_another_mode_run_in_the_default_one(mode: str) -> None:
    command, folder = [sys.executable, "-c", LATE, mode], Path(cases.__file__).parent
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_threads_of_the_caller_with_different_modes(inputs: Any, expected: dict[str, str]) -> None:
    names = ["precision.round_to", "precision.QuantSpec.quantize", "precision.matmul"]

    def caller(mode: str) -> tuple[list[Any], int, int]:
        with cases.mode(mode):
            register = cases.control()
            results = [cases.CASES[name](inputs) for name in names]
            return results, register, cases.control()

    before = pr.get_num_threads()
    pr.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(caller, ["ftz+daz", "nearest", "up", "down"]))
    finally:
        pr.set_num_threads(before)
    for results, register, after in found:
        assert [cases.digest(one) for one in results] == [expected[name] for name in names]
        assert register == after


def test_torch_sets_flush_to_zero() -> None:
    torch = pytest.importorskip("torch")
    x = np.full((4096, 256), 3e-39, np.float32)
    want = pr.round_to(x, pr.BF16)
    if not torch.set_flush_denormal(True):
        pytest.skip("torch cannot flush denormals on this machine")
    try:
        register = cases.control()
        found = pr.round_to(x, pr.BF16)
        assert register == cases.control() != 0
    finally:
        torch.set_flush_denormal(False)
    assert want.any() and found.tobytes() == want.tobytes()


# ---- the public names ---------------------------------------------------------------------------------
#: Public functions that compute nothing that depends on the environment, or that leave that to others.
UNPROTECTED = {
    "precision.quantize": "hands over to spec.quantize, which is protected; a user's own spec is the user's",
    "precision.format_of": "looks a type up",
    "precision.get_num_threads": "no numbers",
    "precision.accumulators.as_accumulator": "hands over to parse, which is protected",
    "precision.testing.declared_accumulator": "hands over to parse, which is protected",
    "precision.set_num_threads": "no numbers",
    "precision.studies.study": "looks a name up; the cells are protected",
    "precision.plots.check": "looks at the name of a file",
    "precision.plots.panels": "lays panels out; the caller's function draws them",
    "precision.specs.check_suits": "whole numbers",
    "precision.specs.for_operands": "whole numbers: seeds",
    "precision.quantization.alike_but_for_rule": "compares fields",
    "precision.quantization.filled": "whole numbers",
    "precision.quantization.scale_shape": "whole numbers",
    **{
        f"precision.testing.strategies.{name}": "a composite of Hypothesis, whose body is protected"
        for name in ("accumulators", "blocks", "fused_sums", "specs")
    },
    "precision.testing.strategies.overflows": "picks members of an enumeration",
    "precision.testing.strategies.roundings": "picks members of an enumeration",
}
#: Public classes whose methods hold whole numbers, names and text, the protected ones excepted.
WHOLE = {
    "FloatFormat", "IntFormat", "QuantSpec", "QuantizedTensor", "PerBlock", "PerGroup", "PerTensor",
    "PerVector", "FusedSum", "FmaChain", "Exact", "ScaledProducts", "ScaledGroups", "Stochastic", "MLA",
    "MHA", "MQA", "GQA", "Report", "Outcome", "Property", "Fault", "CheckFailed", "Verdict", "Specials",
    "Rounding",
    "Overflow", "ScaleRule", "Arithmetic", "NonFinite", "LogBase", "Metadata", "SingleValued", "Space",
    "BelowClamp", "Accumulator", "InnerScales", "ScaleEntry", "Step", "Evidence", "Unit", "Arrays",
    "Matrices", "Better",
}  # fmt: skip
#: Values made by other methods of theirs, which are protected: exact, and never subnormal in float64.
EXACT_PROPERTIES = {
    "FloatFormat": {"max", "smallest", "max_exponent"},
    "IntFormat": {"max", "min", "smallest"},
    # They sum a checked product, which `matmul` and `trace` make in the default environment.
    **{kind: {"run", "trace"} for kind in ("Accumulator", "FusedSum", "FmaChain", "Exact")},
}
#: Rooms whose modules are public without a list of names; what they compute is protected and run here.
ROOMS = ["accumulators", "bounds", "cost", "formats", "gemm", "logfmt", "metrics", "plots", "quantization",
         "specs", "storage", "studies", "sweep", "testing", "testing.strategies", "units"]  # fmt: skip


def _public_objects() -> dict[str, Any]:
    """Every public function and class by its first public path."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for room in ["", *ROOMS]:
        module = importlib.import_module("precision" + ("." if room else "") + room)
        for name in getattr(module, "__all__", None) or []:
            value = getattr(module, name)
            if id(value) in seen or not callable(value) or isinstance(value, pr.Hadamard):
                continue
            if getattr(value, "__module__", "").split(".")[0] == "precision":
                seen.add(id(value))
                found[f"{module.__name__}.{name}"] = value
    return found


def _methods(cls: type) -> dict[str, Any]:
    kinds = (property, cached_property, classmethod, staticmethod)
    return {
        name: value
        for name, value in vars(cls).items()
        if (name == "__post_init__" or not name.startswith("_") or name in ("__call__", "__add__", "__str__"))
        and (inspect.isfunction(value) or isinstance(value, kinds))
    }


def test_the_rooms_are_all_there_are() -> None:
    listed = {
        module.name.removeprefix("precision.")
        for module in pkgutil.walk_packages(pr.__path__, "precision.")
        if not any(part.startswith("_") for part in module.name.split("."))
    }
    others = {
        "cli",
        "cli.subcommands",
        "plots.figures",
        "accumulators.kinds",
        "studies.built_in",
    }  # entries, by name
    hardware = {name for name in listed if name.startswith("hardware")}  # recorded answers, and a GPU's
    parts = {name for name in listed if name.startswith("testing.")} - {"testing.strategies"}
    assert listed - others - hardware - parts == set(ROOMS)


def test_every_public_function_is_protected_or_has_a_reason() -> None:
    bare, stale = [], []
    for path, value in _public_objects().items():
        if inspect.isclass(value):
            methods = {} if getattr(value, "_is_protocol", False) else _methods(value)
            exact = EXACT_PROPERTIES.get(value.__name__, set())
            open_ones = {name for name, one in methods.items() if not is_protected(one)} - exact
            if value.__name__ not in WHOLE:
                bare += [f"{path}.{name}" for name in open_ones]
            else:
                bare += [f"{path}.{name}" for name in open_ones if _may_be_float(methods[name])]
        elif not is_protected(inspect.unwrap(value, stop=is_protected)) and path not in UNPROTECTED:
            bare.append(path)
        elif is_protected(value) and path in UNPROTECTED:
            stale.append(path)
    assert not bare, f"not protected, and no reason said: {sorted(bare)}"
    assert not stale, f"said to need no protection, and protected: {stale}"


def _may_be_float(method: Any) -> bool:
    """Whether a method says that it gives floats or arrays."""
    function = method.fget if isinstance(method, property) else getattr(method, "__func__", method)
    function = function.func if isinstance(function, cached_property) else function
    said = str(inspect.signature(function).return_annotation)
    return any(word in said for word in ("float", "Array", "ndarray"))


def test_every_protected_public_name_is_run() -> None:
    missing = []
    for path, value in _public_objects().items():
        if not inspect.isclass(value):
            if is_protected(inspect.unwrap(value, stop=is_protected)) and path not in cases.CASES:
                missing.append(path)
            continue
        for name, one in _methods(value).items():
            places = {f"{path}.{name}", f"{path.rpartition('.')[0]}.{value.__name__}.{name}"}
            if is_protected(one) and not places & cases.CASES.keys():
                missing.append(f"{path}.{name}")
    assert not missing, f"protected, and in no case: {sorted(missing)}"


def test_what_is_listed_by_name_is_protected() -> None:
    from precision.metrics import DISTRIBUTIONS
    from precision.studies import STUDIES

    assert all(is_protected(kind.draw) for kind in DISTRIBUTIONS.values())
    assert all(is_protected(study.cell) for study in STUDIES.values())


def test_protecting_keeps_signatures_docs_and_pickling() -> None:
    assert pickle.loads(pickle.dumps(pr.round_to)) is pr.round_to
    assert list(inspect.signature(pr.round_to).parameters)[:3] == ["x", "fmt", "rounding"]
    assert pr.round_to.__module__ == "precision.formats._codec" and "Examples" in (pr.round_to.__doc__ or "")
    assert "Quantize an array" in (pr.QuantSpec.quantize.__doc__ or "")
    assert (pr.LogFMTTensor.min.__doc__ or "").strip()


# ---- errors, exceptions, code of the user ---------------------------------------------------------------
@pytest.mark.parametrize("mode", BAD)
def test_the_mode_stays_when_a_call_raises(mode: str, inputs: Any) -> None:
    calls = [
        lambda: pr.round_to(inputs.both, "no format"),
        lambda: pr.round_to(np.float32([np.nan]), pr.IntFormat(8)),
        lambda: pr.matmul(inputs.a, inputs.a, accumulator=pr.FP32_FMA),
        lambda: pr.QuantSpec.parse("QuantSpec(e4m3, nonsense)"),
        lambda: pr.QuantizedTensor(inputs.a8, -1e-40, fmt=pr.E4M3),
    ]
    for call in calls:
        with cases.mode(mode):
            register = cases.control()
            with contextlib.suppress(TypeError, ValueError):
                call()
                pytest.fail("the call must raise")
            assert cases.control() == register


@pytest.mark.parametrize("mode", FLUSHING)
def test_a_tiny_negative_scale_is_refused_under_denormals_are_zero(mode: str, inputs: Any) -> None:
    with cases.mode(mode), pytest.raises(ValueError, match="negative"):
        pr.QuantizedTensor(inputs.a8, -1e-40, fmt=pr.E4M3)


@pytest.mark.parametrize("time_limit", [None, 60.0])
@pytest.mark.parametrize("mode", BAD)
def test_a_function_under_test_runs_in_the_callers_mode(mode: str, time_limit: float | None) -> None:
    from precision.testing import check_quantizer

    seen, converted = set(), set()

    def mine(x: Any) -> Any:
        seen.add(cases.control())
        cases.set_mode("ftz+daz+up")  # and leaves another one behind
        return pr.encode(x, pr.E4M3)

    def convert(x: Any) -> Any:
        converted.add(cases.control())
        return x

    want = check_quantizer(lambda x: pr.encode(x, pr.E4M3), pr.E4M3).to_dict()
    with cases.mode(mode):
        register = cases.control()
        found = check_quantizer(mine, pr.E4M3, convert=convert, time_limit=time_limit)
        after = cases.control()
    assert seen == converted == {register} == {after}
    assert {**found.to_dict(), "subject": ""} == {**want, "subject": ""}


@pytest.mark.parametrize("mode", ["nearest", *BAD])
def test_a_cell_of_a_sweep_runs_in_the_callers_mode(mode: str) -> None:
    sweep = pytest.importorskip("precision.sweep").sweep

    def cell(x: int) -> dict[str, int]:
        found = cases.control()
        cases.set_mode("ftz+daz+down")
        return {"control": found, "x2": 2 * x}

    for executor in (None, ThreadPoolExecutor(2)):
        with executor or contextlib.nullcontext(), cases.mode(mode):
            register = cases.control()
            table = sweep(cell, {"x": [1, 2, 3]}, executor=executor, progress=False)
            after = cases.control()
        assert table["control"].tolist() == [register] * 3 and after == register


def test_code_of_the_user_within_code_of_the_user() -> None:
    found = []
    with cases.mode("up"):
        outer = cases.control()
        with default_environment():
            found.append(cases.control())
            with callers_environment():
                found.append(cases.control())
                cases.set_mode("ftz+daz")
                with default_environment():
                    found.append(cases.control())
                    with callers_environment():
                        found.append(cases.control())
                    found.append(cases.control())
                found.append(cases.control())
                cases.set_mode("nearest")
                with default_environment(), callers_environment():
                    found.append(cases.control())
            found.append(cases.control())
        assert cases.control() == outer
    default = cases.control()
    with cases.mode("ftz+daz"):
        flushing = cases.control()
    assert found == [default, outer, default, flushing, default, flushing, default, default]


# ---- the guard itself -----------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", BAD)
def test_every_mode_is_found_and_described(mode: str) -> None:
    assert environment.is_default() and environment.describe_difference() == ""
    with cases.mode(mode):
        found, words = environment.is_default(), environment.describe_difference()
    assert not found
    parts = set(cases.MODES[mode])
    assert ("FTZ or DAZ" in words) == bool(parts & {"ftz", "daz"})
    for part, said in (("up", "upward"), ("down", "rounds downward"), ("zero", "toward zero")):
        assert (said in words.replace("ties away from zero", "")) == (part in parts)


@pytest.mark.parametrize("mode", BAD)
def test_a_mode_that_cannot_be_set_is_refused(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def save(self) -> int:
            return 0

        def set_default(self) -> None: ...

        def restore(self, kept: int) -> None: ...

    for register, said in ((Stuck, "after it was set"), (_missing, "cannot be set: no such library")):
        monkeypatch.setattr(environment, "_register", register)
        with cases.mode(mode), pytest.raises(FloatingPointError, match=said):
            pr.round_to(np.float32([1.0]), pr.BF16)


def _missing() -> None:
    raise OSError("no such library")


def test_the_whole_environment_comes_back() -> None:
    """Flags too: what our own arithmetic raised is not left in the caller's register."""
    with cases.mode("ftz+daz+up"):
        with default_environment():
            pass
        before = bytes(cases._environment())
        with default_environment():
            np.float32(1) / np.float32(3)
        assert bytes(cases._environment()) == before


def test_generators_leave_the_callers_mode_between_items() -> None:
    from precision._support.machine._float_environment import each_in_default_environment

    inside = set()

    @each_in_default_environment
    def items() -> Iterator[int]:
        for i in range(3):
            inside.add(cases.control())
            yield i

    seen = set()
    with cases.mode("ftz+daz+up"):
        register = cases.control()
        for _ in items():
            seen.add(cases.control())
        seen.add(cases.control())
    assert seen == {register} and register not in inside


# ---- BLAS's threads -------------------------------------------------------------------------------------
def test_blas_is_found_to_be_right_here() -> None:
    assert _blas._wrong_elements() == 0
    _blas.check_blas()


@pytest.mark.parametrize("mode", BAD)
def test_the_product_that_tries_blas_shows_every_mode(mode: str) -> None:
    """The calling thread is one of those that compute it."""
    with cases.mode(mode):
        wrong = _blas._wrong_elements()
    assert wrong >= 1024


BLAS = """
import threading, environment_cases as cases  # which imports NumPy
import os, sys
def work():
    cases.set_mode("ftz+daz")
    import numpy
    numpy.ones((600, 600)) @ numpy.ones((600, 600))  # after a fork OpenBLAS starts its threads here
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=work)
thread.start(); thread.join()
from precision._support.machine import _blas
from precision.bounds import error_bound
import precision as pr
if _blas._wrong_elements() == 0:
    os._exit(5)  # one thread, or another library
ones = cases.np.ones((2, 2), "f4")
try:
    error_bound(spec=None, accumulator=pr.FP32_FMA, a=ones, b=ones)
except FloatingPointError as error:
    os._exit(0 if "BLAS" in str(error) else 3)
os._exit(4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a fork after which BLAS starts its threads anew")
def test_wrong_threads_of_blas_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLAS],
        cwd=Path(cases.__file__).parent,
        capture_output=True,
        text=True,
        env=ENVIRON,
    )
    if done.returncode == 5:
        pytest.skip("BLAS has one thread here, or threads that begin in the default environment")
    assert done.returncode == 0, done.stderr[-2000:]


def test_threads_of_the_pool_are_set_whatever_they_began_with() -> None:
    """Threads that the pool starts inherit the starter's register; each sets its own all the same."""
    x = np.full(1 << 20, 3e-39, np.float32)
    want = pr.round_to(x, pr.BF16)
    found = []

    def caller() -> None:
        with cases.mode("ftz+daz"):
            found.append(pr.round_to(x, pr.BF16))

    before = pr.get_num_threads()
    pr.set_num_threads(5)  # more than any earlier test asked for: new threads
    try:
        thread = threading.Thread(target=caller)
        thread.start()
        thread.join()
        found.append(pr.round_to(x, pr.BF16))
    finally:
        pr.set_num_threads(before)
    assert [one.tobytes() for one in found] == [want.tobytes()] * 2
