"""Mutation testing of the kernels: single edits of their sources, each of which some test should notice.

Run ``python benchmarks/mutation.py --jobs 16 --sample 250 --budget 480 --store mutants.jsonl`` (not in CI).
Sources of `TESTS` are edited one place at a time: operators, comparisons, constants off by one, bounds,
conditions, swapped arguments, removed statements. A mutant is *killed* if a test fails or never ends, or the
process crashes. Those in `mutation_equivalents.toml` compute the same bits, for the reason written there.

Compiling dominates, so every mutant takes over the compiled code of the functions that it cannot reach: its
copy of the package has one stamp, where `_jit` takes a checksum of the sources, and what
mentions an edited function, by name and however indirectly, is compiled anew. ``--cold`` shares nothing.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
ROOM = Path("precision/_kernels")
NAME = ("file", "function", "before", "after")
EQUIVALENTS = Path(__file__).with_name("mutation_equivalents.toml")

SCALAR = [
    "test_codec.py::test_shifted_products_of_whole_words",
    "test_codec.py::test_codes_survive_the_round_trip",
    "test_codec.py::test_integers_of_every_length_round_once",
    "test_codec.py::test_boundaries_against_the_integer_oracle",
    "test_codec.py::test_stochastic_against_the_oracle",
]
LOOPS = [
    "test_codec.py::test_the_short_ways_are_the_general_one",
    "test_codec.py::test_every_code_as_ml_dtypes_writes_it",
    "test_codec.py::test_what_streams_past_the_caches_is_the_same",
    "test_codec.py::test_random_words_past_four_billion_elements",
    "test_codec.py::test_any_float_into_any_format",
    "test_codec.py::test_every_16_bit_input_into_integers",
    "test_codec.py::test_nan_of_every_payload",
    "test_codec.py::test_smallest_float64_numbers_are_not_zero",
]
SUMS = [
    "test_gemm.py::test_registers_of_one_bit",
    "test_gemm.py::test_each_kernel_is_chosen_and_exact_over_panels_and_tiles",
    "test_hardware.py::test_recorded_result_is_reproduced",
    "test_gemm.py::test_any_fused_sum_is_the_oracles",
    "test_gemm.py::test_fma_chain_is_the_oracles",
    "test_gemm.py::test_a_step_of_the_integer_way_stays_within_its_sums",
]
SCALED = ["test_scaled_units.py", "test_sum_edges.py"]
#: Tests for the mutants of a file, those that kill most in the least time first.
TESTS = {
    "_scalar_rounding": [*SCALAR, *LOOPS, *SUMS, *SCALED],
    "_llvm_scalars": [*SCALAR, *LOOPS, *SUMS, *SCALED],
    "numbers/_conversion_loops": [*SCALAR[1:2], *SCALAR[3:], *LOOPS],
    "numbers/_llvm_squares": ["test_llvm_loops.py", "test_quantized.py::test_results_in_any_order_of_memory"],
    "products/_llvm_narrow_step": SUMS,
    "products/_llvm_integer_step": [*SUMS, *SCALED],
    "products/_llvm_grouped_step": SCALED,
    "products/_llvm_elements": ["test_product_loops.py", *SUMS, *SCALED],
    "_llvm_pieces": [*SUMS, *SCALED],
    "_llvm_vectors": [*SUMS, *SCALED, "test_codec.py::test_what_streams_past_the_caches_is_the_same"],
    "products/_panel_steps": [*SUMS, *SCALED],
    "products/_small_products": ["test_small_products.py"],
    "products/_single_sums": [*SUMS, *SCALED, "test_gemm.py::test_trace_is_every_prefix"],
    "products/_kulisch": [
        "test_gemm.py::test_exact_sums_anywhere_in_float64",
        "test_gemm.py::test_exact_products_and_factors_of_every_bit",
        "test_gemm.py::test_exact_is_the_correctly_rounded_sum",
        "test_sum_edges.py::test_the_last_digit_of_an_exact_sum_counts",
        "test_sum_edges.py::test_exact_factors_leave_what_they_multiply_exactly",
        "test_gemm.py::test_exact_takes_scales_in",
        "test_gemm.py::test_millions_of_k",
    ],
    "numbers/_flat_calls": [
        "test_blocks.py",
        "test_single_calls.py",
        "test_quantized.py::test_agrees_with_the_oracle",
    ],
    "numbers/_group_scales": [
        "test_quantized.py::test_agrees_with_the_oracle",
        "test_quantized.py::test_agrees_with_the_oracle_at_the_ends_of_the_range",
        "test_quantized.py::test_nan_and_inf_make_the_scale_nan",
        "test_quantized.py::test_scales_that_underflow_and_overflow",
        "test_quantized.py::test_zeros",
        "test_quantized.py::test_min_amax",
        "test_microscaling.py",
        "test_quantized.py::test_source_types",
        "test_quantized.py::test_agrees_with_the_oracle_for_any_shape",
        "test_quantized.py::test_pieces_and_threads_change_no_bit",
    ],
}
#: Where each test file lies; no two have one name.
FILES = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}

#: What each run of pytest loads: no shrinking of failures, the same examples every time, one thread, and
#: a line for every test that has ended.
PROFILE = """
import hypothesis, os, precision, time
hypothesis.settings.register_profile(
    "mutation", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate], derandomize=True,
    database=None, deadline=None, report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("mutation")
precision.set_num_threads(1)

def pytest_runtest_logfinish(nodeid, location):
    with open(os.environ["MUTATION_PROGRESS"], "a") as file:
        file.write(f"{time.time()}\\n")
"""
NOT_COMPILED = re.compile(
    r"TypingError|LoweringError|numba\.core\.errors|SyntaxError|LLVM IR parsing"
    r"|^E +(TypeError|AttributeError|NameError)", re.M
)  # fmt: skip
STAMP = "_STAMP = _room_stamp()"  #: the line of `_jit` by which a copy's compiled code is told from others'


# ---- mutants ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One edit: ``text[start:stop]`` of a source becomes ``new``."""

    file: str
    kind: str
    start: int
    stop: int
    new: str
    line: int
    before: str  #: the lines around the edit, without margins
    after: str
    function: str  #: the top-level name whose body holds it
    count: int = 0  #: of the same edits of the same line before it in that function

    @property
    def key(self) -> str:
        """The same while the line and its function are."""
        name = "\n".join((self.file, self.function, self.before, self.after, str(self.count)))
        return hashlib.sha1(name.encode()).hexdigest()[:12]


BINARY = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "//",
    ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "|", ast.LShift: ">>", ast.RShift: "<<",
}  # fmt: skip
COMPARED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
CALLED = {
    "left": "right", "right": "left", "min": "max", "max": "min", "add": "sub", "sub": "add",
    "fadd": "fsub", "fsub": "fadd", "mul": "add", "fmul": "fadd", "and_": "or_", "or_": "and_",
    "shl": "lshr", "lshr": "shl", "zext": "sext", "sext": "zext",
}  # fmt: skip
COMMUTE = {"min", "max", "add", "mul", "fadd", "fmul", "and_", "or_"}
#: What takes two arguments of different kinds, which nobody could swap unnoticed.
UNLIKE = {
    "VectorType", "FunctionType", "Constant", "Function", "call", "store", "gep", "zext", "sext",
    "fpext", "trunc", "bitcast", "fptosi", "body", "pointer", "declared", "splat", "write_rounding",
    "declare_intrinsic", "lookup", "getattr", "get_constant", "exponents", "step", "cut_step",
    "exponent_step", "own_function", "counted_loop", "insert_element", "astype",
    "get_global",
}  # fmt: skip
#: Hints to LLVM, and what Numba is told of types: no arithmetic.
HINTS = re.compile(
    r"attributes\.add|prefer_wide_vectors|always_inline\(\)|(set|add)_metadata|nothing\(context\)|fmt: skip"
)


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text, self.found = file, text, list[Mutant]()
        self.starts = [0]
        for line in text.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.function, self.depth = "", 0
        self.assigned: set[str] = set()

    def place(self, line: int, column: int) -> int:
        start = self.starts[line - 1]
        return start + len(self.text[start:].split("\n", 1)[0].encode()[:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        return (
            self.place(node.lineno, node.col_offset),  # type: ignore[attr-defined]
            self.place(node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
        )

    def add(self, kind: str, start: int, stop: int, new: str) -> None:
        first = self.text.rfind("\n", 0, start) + 1
        last = self.text.find("\n", stop)
        old, line = self.text[start:stop], self.text.count("\n", 0, start) + 1
        new += "\n" * (old.count("\n") - new.count("\n"))  # names of compiled code hold line numbers
        before = " ".join(self.text[first:last].split())
        after = " ".join((self.text[first:start] + new + self.text[stop:last]).split())
        if before != after and not HINTS.search(before):
            self.found.append(Mutant(self.file, kind, start, stop, new, line, before, after, self.function))

    def between(self, left: ast.AST, right: ast.AST, sign: str, new: str, kind: str) -> None:
        start, stop = self.span(left)[1], self.span(right)[0]
        at = self.text.index(sign, start, stop)
        self.add(kind, at, at + len(sign), new)

    def wrap(self, kind: str, node: ast.AST, before: str, after: str) -> None:
        start, stop = self.span(node)
        self.add(kind, start, stop, before + self.text[start:stop] + after)

    # -- where to look: bodies of functions, without annotations, decorators and what Numba is told of types

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.function, self.assigned
        self.function = self.function or node.name
        self.assigned = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
        self.depth += 1
        for statement in node.body:
            self.visit(statement)
        self.depth -= 1
        self.function, self.assigned = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        pass

    def visit_Import(self, node: ast.AST) -> None:
        pass

    visit_ImportFrom = visit_Import

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value and self.depth:
            self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        named = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not named & {"codegen", "types"}:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        named = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        if "types" in named or (not self.depth and not isinstance(node.value, ast.Constant)):
            return
        self.function = self.function or (node.targets[0].id if isinstance(node.targets[0], ast.Name) else "")
        targets = {n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        store = any(isinstance(t, ast.Subscript) for t in node.targets)
        if self.depth and (store or targets <= self.assigned):
            self.add("statement removed", *self.span(node), "pass")
        self.assigned |= targets
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                self.visit(target.slice)
        self.visit(node.value)
        if not self.depth:
            self.function = ""

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add("statement removed", *self.span(node), "pass")
        sign, new = SIGNS[type(node.op)], BINARY[type(node.op)]
        self.between(node.target, node.value, sign + "=", new + "=", "operator")
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.add("statement removed", *self.span(node), "pass")
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self.wrap("condition", node.test, "not (", ")")
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        for statement in node.body:
            self.visit(statement)

    # -- expressions

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.wrap("condition", node.test, "not (", ")")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        sign, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, sign, new, "and/or")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start, stop = self.span(node)
        sign = {ast.USub: "-", ast.Not: "not ", ast.Invert: "~"}[type(node.op)]  # type: ignore[index]
        self.add(f"{sign.strip()} dropped", start, stop, self.text[start + len(sign) : stop])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in BINARY:
            self.between(node.left, node.right, SIGNS[type(node.op)], BINARY[type(node.op)], "operator")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            if type(op) in COMPARED:
                self.between(left, right, SIGNS[type(op)], COMPARED[type(op)], "comparison")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        start, stop = self.span(node)
        text = self.text[start:stop]
        if isinstance(node.value, bool):
            self.add("constant", start, stop, str(not node.value))
        elif isinstance(node.value, int):
            hexadecimal = text.startswith("0x")
            for change in (1, -1) if node.value else (1,):
                value = node.value + change
                self.add("constant", start, stop, f"0x{value:X}" if hexadecimal else str(value))
        elif isinstance(node.value, float):
            self.add("constant", start, stop, f"({text} + 1.0)")
        elif node.value in ("<", ">", "<=", ">=", "==", "!="):
            swap = {"<": "<=", ">": ">=", "<=": "<", ">=": ">", "==": "!=", "!=": "=="}
            self.add("comparison", start, stop, f'"{swap[node.value]}"')

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        if name in CALLED:
            stop = self.span(node.func)[1]
            self.add("call", stop - len(name), stop, CALLED[name])
        if name == "range":
            self.wrap("bound", node.args[-1 if len(node.args) < 3 else 1], "(", ") - 1")
        elif len(plain) == len(node.args) > 1 and name not in COMMUTE | UNLIKE:
            # The last two: those of ``select`` are its branches.
            (a, b), (c, d) = self.span(node.args[-2]), self.span(node.args[-1])
            swapped = self.text[c:d] + self.text[b:c] + self.text[a:b]
            self.add("arguments swapped", a, d, swapped)
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)
        for argument in node.args:
            self.visit(argument)
        for keyword in node.keywords:
            if keyword.arg != "flags":
                self.visit(keyword.value)


def with_path(test: str) -> str:
    """Return a test's name with the path of its file, as pytest takes it."""
    file, *name = test.split("::")
    return "::".join([str(FILES[file]), *name])


def mutants_of(file: str, text: str) -> list[Mutant]:
    finder = _Finder(file, text)
    finder.visit(ast.parse(text))
    # An edit that another way of finding it gave as well is one mutant.
    found = {(m.line, m.after): m for m in finder.found}.values()
    seen = Counter[tuple[str, str, str]]()
    mutants = []
    for mutant in found:
        same = mutant.function, mutant.before, mutant.after
        mutants.append(replace(mutant, count=seen[same]))
        seen[same] += 1
    return mutants


# ---- what an edit reaches --------------------------------------------------------------------------------


def _statements(sources: dict[str, str]) -> Iterator[tuple[set[str], set[str]]]:
    """(names defined, names mentioned) of every top-level statement of the room."""
    for text in sources.values():
        for node in ast.parse(text).body:
            defined, mentioned = set[str](), set[str]()
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
                # ``@overload(f)``: what f's callers run.
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call):
                        defined |= {a.id for a in decorator.args if isinstance(a, ast.Name)}
            for part in ast.walk(node):
                if isinstance(part, ast.alias):
                    defined.add(part.asname or part.name)
                    mentioned.add(part.name)
                elif isinstance(part, ast.Attribute):
                    mentioned.add(part.attr)
                elif isinstance(part, ast.Name):
                    mentioned.add(part.id)
                    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                        defined |= {part.id} if isinstance(part.ctx, ast.Store) else set()
            yield defined, mentioned


def reached(function: str, statements: list[tuple[set[str], set[str]]]) -> set[str]:
    """Names of everything that may hold code of ``function``: more than needed, never less."""
    names, before = {function}, 0
    while len(names) != before:
        before = len(names)
        for defined, mentioned in statements:
            if defined & names or mentioned & names:
                names |= defined
    return names


# ---- running ---------------------------------------------------------------------------------------------


class Runner:
    """Folders with copies of the package, and the compiled code that they share."""

    def __init__(self, folder: Path, cold: bool, limit: float, end: float) -> None:
        self.folder, self.cold, self.limit, self.end = folder, cold, limit, end
        paths = sorted((ROOT / ROOM).rglob("*.py"))
        self.sources = {
            path.relative_to(ROOT / ROOM).with_suffix("").as_posix(): path.read_text() for path in paths
        }
        self.statements = list(_statements(self.sources))
        self.compiled: dict[tuple[str, str], list[Path]] = {}  #: by folder of the source, and function

    def copy(self, name: str) -> Path:
        target = self.folder / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "precision", target / "precision", ignore=ignored)
        (target / "mutation_profile.py").write_text(PROFILE)
        jit = target / ROOM / "_jit.py"
        text = jit.read_text()
        if STAMP not in text:
            raise SystemExit(f"_jit.py has no line {STAMP!r}: copies would not share compiled code")
        jit.write_text(text.replace(STAMP, "_STAMP = 'mutation'"))
        return target

    def caches(self, package: Path, cache: Path, without: set[str]) -> None:
        """Compiled code for a copy of the package, but not that of some functions."""
        targets = {}
        for folder in {(package / ROOM / name).parent.resolve() for name in self.sources}:
            # As Numba names the folder of a source's compiled code: a wrong name compiles all anew.
            target = cache / f"{folder.name}_{hashlib.sha1(str(folder).encode()).hexdigest()}"
            target.mkdir(parents=True)
            targets[folder.name] = target
        for (folder_name, name), paths in self.compiled.items():
            target, parts = targets[folder_name], name.split("-")[0].split(".")
            if "locals" not in parts and not without & set(parts):  # what a closure holds has no name
                for path in paths:
                    os.link(path, target / path.name)

    def test(self, package: Path, cache: Path, tests: list[str]) -> tuple[int | str, str, float]:
        """Exit status, output, and the longest time without the end of a test; the status is "timeout" where
        that is over the limit, and "unfinished" where the time for all is over.
        """
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-p", "mutation_profile", "-p", "no:cacheprovider",
            "--tb=short", "-W", "ignore", *map(with_path, tests),
        ]  # fmt: skip
        progress = cache / "progress"
        environment = os.environ | {
            "PYTHONPATH": str(package), "NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MUTATION_PROGRESS": str(progress),
        }  # fmt: skip
        last = time.time()
        process = subprocess.Popen(
            command, cwd=package, env=environment, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        cut = ""
        while True:
            try:
                output, _ = process.communicate(timeout=None if cut else 1)
                break
            except subprocess.TimeoutExpired:
                now = max(last, progress.stat().st_mtime if progress.exists() else 0)
                cut = "timeout" if time.time() - now > self.limit else ""
                cut = "unfinished" if time.monotonic() > self.end else cut
                if cut:
                    os.killpg(process.pid, signal.SIGKILL)
        ends = [float(line) for line in progress.read_text().split()] if progress.exists() else []
        gaps = [after - before for before, after in zip([last, *ends], ends, strict=False)]
        return cut or process.returncode, output, max(gaps, default=0.0)

    def baseline(self, stems: list[str], jobs: int) -> float:
        """Run all tests on an unchanged copy and keep its compiled code; one that fails there is left out.

        Returns the longest time that a test took.
        """
        package = self.copy("baseline")
        tests = list(dict.fromkeys(test for stem in stems for test in TESTS[stem]))
        # A cache for each: two processes that write one at the same time may mix up signatures.
        caches = [self.folder / f"baseline{n}" for n in range(len(tests))]
        for cache in caches:
            cache.mkdir()
        longest = 0.0

        def run(test: str, cache: Path) -> tuple[int | str, str, float, float]:
            start = time.monotonic()
            return *self.test(package, cache, [test]), time.monotonic() - start

        with ThreadPoolExecutor(jobs) as pool:
            for test, (code, output, gap, seconds) in zip(tests, pool.map(run, tests, caches), strict=True):
                print(f"unchanged {seconds:6.0f} s  {test}", flush=True)
                longest = max(longest, gap)
                if code != 0:
                    print(f"LEFT OUT, as it does not pass unchanged ({code}):\n{output[-2000:]}", flush=True)
                    for some in TESTS.values():
                        some[:] = [other for other in some if other != test]
        if not all(TESTS[stem] for stem in stems):
            raise SystemExit("no test passes unchanged")
        for cache in () if self.cold else caches:
            found: dict[tuple[str, str], list[Path]] = {}
            for path in cache.glob("*/*.nbc"):
                name = re.sub(r"\.[0-9a-f]{24}\.nbc$", "", path.name)
                found.setdefault((path.parent.name.rpartition("_")[0], name), []).append(path)
            for key, paths in found.items():  # the most signatures
                self.compiled[key] = max(self.compiled.get(key, []), paths, key=len)
        return longest

    def judge(self, mutant: Mutant, package: Path) -> dict[str, object]:
        """Run a mutant in a copy that is then as before."""
        start = time.monotonic()
        text = self.sources[mutant.file]
        edited = text[: mutant.start] + mutant.new + text[mutant.stop :]
        path = package / ROOM / f"{mutant.file}.py"
        cache = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            ast.parse(edited)
            path.write_text(edited)
            self.caches(package, cache, reached(mutant.function, self.statements))
            code, output, _ = self.test(package, cache, TESTS[mutant.file])
        except SyntaxError:
            code, output = 1, "SyntaxError"
        finally:
            path.write_text(text)
            shutil.rmtree(cache, ignore_errors=True)
        failed = re.findall(r"^(?:FAILED|ERROR) (?:\S*/)?(test_\w+\.py\S*)", output, re.M)
        if isinstance(code, str):
            status = code
        elif code == 0:
            status = "survived"
        elif code < 0 or code > 2:
            status = "crash"
        elif NOT_COMPILED.search(output):
            status = "not compiled"
        else:
            status = "killed"
        seconds = round(time.monotonic() - start, 1)
        shown = {key: value for key, value in asdict(mutant).items() if key not in ("start", "stop", "new")}
        return {"key": mutant.key, **shown, "status": status, "test": failed[:1], "seconds": seconds}


# ---- reports ---------------------------------------------------------------------------------------------


def reasons() -> dict[tuple[str, ...], str]:
    """Why a mutant, named by file, function and lines before and after, computes the same bits."""
    entries = tomllib.loads(EQUIVALENTS.read_text()).get("equivalent", []) if EQUIVALENTS.exists() else []
    return {tuple(e[part] for part in NAME): e["reason"] for e in entries}


def report(rows: list[dict[str, object]], total: int) -> None:
    known = reasons()
    table: dict[str, Counter[str]] = {}
    survivors, equivalents = [], []
    for row in rows:
        status = str(row["status"])
        if status == "survived":
            reason = known.get(tuple(str(row[part]) for part in NAME))
            (equivalents if reason else survivors).append((row, reason))
            status = "equivalent" if reason else status
        table.setdefault(str(row["file"]), Counter())[status] += 1
    columns = ["killed", "crash", "timeout", "not compiled", "survived", "equivalent"]
    print(f"{'file':10}" + "".join(f"{column:>14}" for column in columns))
    for file, counts in [*sorted(table.items()), ("all", sum(table.values(), Counter()))]:
        print(f"{file:10}" + "".join(f"{counts[column]:14}" for column in columns))
    counts = sum(table.values(), Counter())
    judged = len(rows) - counts["equivalent"]
    compiled = judged - counts["not compiled"]
    print(f"\n{len(rows)} of {total} mutants were run, {counts['equivalent']} of them are equivalent.")
    if judged and compiled:
        dead = judged - counts["survived"]
        print(
            f"Killed: {dead} of {judged}, {100 * dead / judged:.1f} %; of those that compile "
            f"{compiled - counts['survived']} of {compiled}, "
            f"{100 * (1 - counts['survived'] / compiled):.1f} %."
        )
    for title, some in (("survived", survivors), ("equivalent", equivalents)):
        for row, reason in sorted(some, key=lambda pair: (str(pair[0]["file"]), int(str(pair[0]["line"])))):
            print(f"\n{title} {row['file']}.py:{row['line']} ({row['kind']}, {row['key']})")
            print(f"  - {row['before']}\n  + {row['after']}" + (f"\n  = {reason}" if reason else ""))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="*", help=f"of {', '.join(TESTS)}; all without any")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--sample", type=int, help="how many mutants, drawn by the seed; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which none starts")
    parser.add_argument("--grace", type=float, default=40, help="seconds after those in which one may end")
    parser.add_argument(
        "--limit", type=float, help="seconds for one test; 3 times the slowest if that is more"
    )
    parser.add_argument("--store", type=Path, default=Path("mutants.jsonl"), help="results, also to resume")
    parser.add_argument("--keys", nargs="*", help="only these mutants, again")
    parser.add_argument("--tests", nargs="*", help="instead of the file's own: test_x.py::test_y ...")
    parser.add_argument("--cold", action="store_true", help="share no compiled code")
    parser.add_argument("--list", action="store_true", help="print the mutants of the sample, run none")
    parser.add_argument("--report", action="store_true", help="print what the store holds, run none")
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    stems = chosen.files or list(TESTS)
    if chosen.tests:
        TESTS.update(dict.fromkeys(TESTS, chosen.tests))
    if unknown := set(stems) - set(TESTS):
        parser.error(f"no such file: {', '.join(sorted(unknown))}; known: {', '.join(TESTS)}")
    every = [m for stem in stems for m in mutants_of(stem, (ROOT / ROOM / f"{stem}.py").read_text())]
    order = sorted(every, key=lambda m: hashlib.sha1(f"{chosen.seed} {m.key}".encode()).digest())
    wanted = [m for m in order if m.key in chosen.keys] if chosen.keys else order[: chosen.sample]
    if chosen.list:
        for m in wanted:
            print(f"{m.key} {m.file}.py:{m.line} {m.kind}\n  - {m.before}\n  + {m.after}")
        print(f"{len(wanted)} of {len(every)}", Counter(m.file for m in wanted))
        return 0
    stored = (
        [json.loads(line) for line in chosen.store.read_text().splitlines()] if chosen.store.exists() else []
    )
    rows = {row["key"]: row for row in stored}
    keys = {m.key for m in wanted}
    left = [m for m in wanted if m.key not in rows or chosen.keys] if not chosen.report else []
    unfinished = 0
    if left:
        with tempfile.TemporaryDirectory() as name:
            runner = Runner(Path(name), chosen.cold, 600, started + chosen.budget + chosen.grace)
            longest = runner.baseline(stems, chosen.jobs)
            runner.limit = max(chosen.limit or 45, 3 * longest)
            print(
                f"unchanged: {time.monotonic() - started:.0f} s, the slowest test {longest:.0f} s; "
                f"{len(left)} mutants to run",
                flush=True,
            )
            packages: SimpleQueue[Path] = SimpleQueue()
            for n in range(chosen.jobs):
                packages.put(runner.copy(f"worker{n}"))

            def run(mutant: Mutant) -> dict[str, object] | None:
                if time.monotonic() - started > chosen.budget:
                    return None
                package = packages.get()
                try:
                    return runner.judge(mutant, package)
                finally:
                    packages.put(package)

            with ThreadPoolExecutor(chosen.jobs) as pool, chosen.store.open("a") as store:
                for future in as_completed([pool.submit(run, mutant) for mutant in left]):
                    row = future.result()
                    if row is None or row["status"] == "unfinished":
                        unfinished += row is not None
                    else:
                        rows[str(row["key"])] = row
                        store.write(json.dumps(row) + "\n")
                        store.flush()
                        print(f"{row['status']:12} {row['seconds']:6} s  {row['file']}.py:{row['line']}  "
                              f"{row['after']}", flush=True)  # fmt: skip
    found = [row for key, row in rows.items() if key in keys]
    report(found, len(every))
    if len(found) < len(wanted):
        print(
            f"\nNot run: {len(wanted) - len(found)} of the sample, {unfinished} of them begun and not ended."
        )
    spent = sum(float(row["seconds"]) for row in found)
    print(f"\n{time.monotonic() - started:.0f} s in all, {spent:.0f} s of mutants")
    return 0


if __name__ == "__main__":
    sys.exit(main())
