"""Undocumented parts of other packages that this one uses: where, and whether they are as we know them."""

from __future__ import annotations

import ast
import os
import pkgutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

import precision as pr
from precision._kernels import _numba_cache, _numba_codegen, _numba_parts, _private_parts
from precision._kernels.products import _tile_sums

PACKAGE = Path(pr.__file__).parent
FENCES = {
    "_kernels/_numba_cache.py",
    "_kernels/_numba_codegen.py",
    "_kernels/_numba_parts.py",
    "_support/machine/_forks.py",
}
PARTS = _numba_cache.PARTS | _numba_codegen.PARTS | _numba_parts.PARTS


@pytest.fixture
def context():
    from numba.core.registry import cpu_target

    return cpu_target.target_context


def trees():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


# ---- the parts are as we know them; whoever sees one of these fail adapts the fence that it names --------


@pytest.mark.parametrize("part", PARTS)
def test_a_private_part_is_as_we_know_it(part):
    assert not _private_parts.changed({part: PARTS[part]})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_changes_is_named(part, monkeypatch):
    module, _, path = part.partition(":")
    owner, _, name = path.rpartition(".")
    holder = pkgutil.resolve_name(f"{module}:{owner}" if owner else module)
    monkeypatch.setattr(holder, name, lambda other, another: None)
    assert _private_parts.changed({part: PARTS[part]}) == [
        f"{part} takes (other, another), not ({', '.join(PARTS[part])})"
    ]
    monkeypatch.setattr(holder, name, None)
    assert _private_parts.changed({part: PARTS[part]}) == [f"{part} is no function"]
    assert _private_parts.changed({part + "_": ()}) == [f"{part}_ is gone"]


def test_a_functions_cache_has_the_attributes_that_we_replace():
    from numba.core.caching import FunctionCache

    cache = FunctionCache(_tile_sums.sum_tiles.py_func)
    for name in ("_cache_file", "_cache_path", "_impl"):
        assert name in vars(cache), f"numba.core.caching:FunctionCache has no attribute {name}"
    assert isinstance(cache._impl.filename_base, str), "FunctionCache's _impl.filename_base is no text"
    for name in ("load", "save", "flush"):
        assert hasattr(cache._cache_file, name), f"FunctionCache's _cache_file has no {name}"
    assert type(_tile_sums.sum_tiles._cache) is _numba_cache._Cache, "a compiled function has another cache"


def test_arrays_and_tuples_are_laid_out_as_we_know_it():
    from numba import types
    from numba.core.datamodel import default_manager

    members = default_manager[types.float32[::1]]._fields
    for name in ("meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides"):
        assert name in members, f"an array in compiled code has no member {name}, but {members}"
    assert len(members) == 7, f"an array in compiled code has more members: {members}"
    named = types.NamedTuple((types.int64, types.float32), namedtuple("Two", "a b"))
    assert named.fields == ("a", "b") and named.types == (types.int64, types.float32)


def test_arrays_on_the_stack_are_like_new_ones():
    import numpy as np

    from precision._kernels import _llvm_scalars as scalars
    from precision._kernels._jit import jit

    plain_row, plain_table = jit(scalars._new_row), jit(scalars._new_table)

    @jit
    def fill(out):
        row, table = scalars.stack_row(np.uint16, 5), scalars.stack_table(out.dtype.type, 2, 3)
        for i in range(row.size):
            row[i] = i + 65534
        for i in range(table.shape[0]):
            for j in range(table.shape[1]):
                table[i, j] = out[i, j] + row[i + j]
        out[:] = table

    @jit
    def fill_plainly(out):
        row, table = plain_row(np.uint16, 5), plain_table(out.dtype.type, 2, 3)
        for i in range(row.size):
            row[i] = i + 65534
        for i in range(table.shape[0]):
            for j in range(table.shape[1]):
                table[i, j] = out[i, j] + row[i + j]
        out[:] = table

    one, other = (np.arange(6.0).reshape(2, 3) for _ in range(2))
    fill(one)
    fill_plainly(other)
    assert one.tolist() == other.tolist() == [[65534.0, 65536.0, 2.0], [65538.0, 4.0, 6.0]]


def test_the_processors_features_are_known(context):
    described = context.codegen().magic_tuple()
    assert len(described) == 3 and isinstance(described[2], str), f"magic_tuple() is {described}"
    features = _numba_codegen.processor_features(context)
    assert features == set(described[2].split(","))
    import llvmlite.binding

    if llvmlite.binding.get_host_cpu_features().get("avx2"):
        assert "+avx2" in features


@pytest.mark.parametrize("codegen", [SimpleNamespace(), SimpleNamespace(magic_tuple=lambda: ("a", "b"))])
def test_features_that_cannot_be_told_are_none(codegen):
    assert _numba_codegen.processor_features(SimpleNamespace(codegen=lambda: codegen)) == frozenset()


def test_wide_vectors_pass_llvmlites_check_of_names():
    from llvmlite import ir

    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "f")
    with pytest.raises(ValueError, match="unknown attr"):
        function.attributes.add(_numba_codegen.WIDE_VECTORS)  # else the set beneath is no longer needed
    _numba_codegen.prefer_wide_vectors(function)
    assert _numba_codegen.WIDE_VECTORS in str(function)
    other = SimpleNamespace(attributes=["noinline"])
    _numba_codegen.prefer_wide_vectors(other)
    assert other.attributes == ["noinline"]


def test_nothing_is_a_null_pointer(context):
    ours, plain = _numba_codegen.nothing(context), _numba_codegen.nothing(None)
    assert (str(ours), ours.type) == (str(plain), plain.type)


# ---- nobody else reaches into them -----------------------------------------------------------------------


def test_only_the_fences_name_undocumented_modules():
    for module, tree in trees():
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
                names = [node.value]
            for name in names:
                undocumented = name.startswith(
                    ("numba.core", "numba.np", "llvmlite.ir.", "llvmlite.binding.ffi")
                )
                assert not undocumented or module in FENCES, f"{module} names {name}"


def test_only_modules_that_write_llvm_import_llvmlite():
    for module, tree in trees():
        named = any(
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llvmlite")
            for node in ast.walk(tree)
        )
        assert not named or "/_llvm_" in module or module in FENCES, f"{module} imports llvmlite"


def test_only_the_fences_take_private_attributes_of_others():
    for module, tree in trees():
        if not module.startswith("_kernels") or module in FENCES:
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                ours = isinstance(node.value, ast.Name) and node.value.id == "self"
                assert ours or node.attr in ("_fields", "_replace"), f"{module} takes {ast.unparse(node)}"


def test_nothing_suppresses_every_exception():
    for module, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                names = {ast.unparse(argument) for argument in node.args}
                assert not names & {"Exception", "BaseException"}, f"{module}: {ast.unparse(node)}"
            if isinstance(node, ast.ExceptHandler) and ast.unparse(node.type or ast.Name("Exception")) in (
                "Exception",
                "BaseException",
            ):
                assert not all(isinstance(part, ast.Pass) for part in node.body), f"{module}:{node.lineno}"


# ---- what serves in their place gives the same bits ------------------------------------------------------

#: Rounds every float16, and prints a checksum, the warnings and how the code was kept.
CACHED = """
import hashlib, warnings
warnings.simplefilter("always")
import precision._kernels._numba_cache as fence
{change}
import numpy as np, precision as pr
x = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    y = pr.round_to(x, pr.E4M3)
print(hashlib.sha256(np.nan_to_num(y).tobytes()).hexdigest())
from precision._kernels.numbers._conversion_loops import round_nearest32
print(type(round_nearest32._cache).__name__, sum(round_nearest32.stats.cache_misses.values()))
print([text for text in map(str, (warning.message for warning in seen)) if "first calls" not in text])
"""


def run(code: str, folder: Path) -> list[str]:
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_numbas_own_cache_gives_the_same_bits(tmp_path):
    ours = [run(CACHED.format(change=""), tmp_path / "ours") for _ in range(2)]
    change = "fence.changed_parts = lambda: ['numba.core.caching:FunctionCache._load_overload is gone']"
    numbas = [run(CACHED.format(change=change), tmp_path / "numba") for _ in range(2)]
    assert [lines[1] for lines in ours + numbas] == [
        "_Cache 1",
        "_Cache 0",
        "FunctionCache 1",
        "FunctionCache 0",
    ]
    assert len({lines[0] for lines in ours + numbas}) == 1
    assert ours[0][2] == ours[1][2] == "[]"
    assert (
        "_load_overload is gone), and misses edits" in numbas[0][2] and numbas[0][2].count("precision:") == 1
    )


#: Quantizes to MXFP4 and back, and prints a checksum.
LOOPS = """
import hashlib
import precision._kernels._numba_codegen as fence
{change}
import numpy as np, precision as pr
x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
x[0, :32], x[1, 5], x[2, 7] = 0.0, np.inf, np.nan
q = pr.quantize(x, pr.MXFP4)
for part in (q.codes, q.scale, np.nan_to_num(q.dequantize())):
    print(hashlib.sha256(part.tobytes()).hexdigest())
from precision._kernels.numbers import _llvm_groups
print(type(_llvm_groups.largest32).__name__)
"""


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("fence.changed_parts = lambda: ['numba.core.base:BaseContext.make_array is gone']", "Kernel"),
        ("fence.processor_features = lambda context: frozenset()", "_Intrinsic"),
        ("fence.prefer_wide_vectors = lambda function: None", "_Intrinsic"),
    ],
)
def test_loops_without_a_private_part_give_the_same_bits(change, kind, tmp_path):
    *ours, intrinsic = run(LOOPS.format(change=""), tmp_path / "ours")
    *others, other = run(LOOPS.format(change=change), tmp_path / "others")
    assert (intrinsic, other) == ("_Intrinsic", kind)
    assert ours == others and len(ours) == 3


#: Quantizes in two ways, and prints checksums and how functions are compiled.
COMPILED = """
import hashlib
import precision._kernels._numba_parts as fence
{change}
import numpy as np, precision as pr
x = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float32)
x[0, :32], x[1, 5], x[2, 7] = 0.0, np.inf, np.nan
for spec in (pr.QuantSpec(pr.E4M3, pr.PerGroup(32)), pr.MXFP4):
    q = pr.quantize(x, spec)
    for part in (q.codes, q.scale):
        print(hashlib.sha256(part.tobytes()).hexdigest())
print(type(fence.kernel(lambda x: x)).__name__)
"""


def test_functions_compiled_by_themselves_give_the_same_bits(tmp_path):
    *ours, kind = run(COMPILED.format(change=""), tmp_path / "ours")
    change = "fence.changed_parts = lambda: ['numba.core.codegen:JITCodeLibrary.finalize is gone']"
    *others, other = run(COMPILED.format(change=change), tmp_path / "others")
    assert (kind, other) == ("Kernel", "CPUDispatcher")
    assert ours == others and len(ours) == 4


def test_a_library_has_the_attributes_that_parts_use(context):
    library = context.codegen().create_library("some")
    for name in ("_codegen", "_final_module", "_linking_libraries", "_reload_init", "_finalized"):
        assert hasattr(library, name), f"numba.core.codegen:JITCodeLibrary has no attribute {name}"


def test_a_part_has_no_machine_code_and_one_form_for_all_constants():
    import numpy as np

    from precision._kernels._jit import jit

    @jit
    def shifted(x, by):
        return x + by

    @jit
    def loop(x):
        for i in range(x.size):
            x[i] = shifted(x[i], 1) + shifted(x[i], 2)

    x = np.arange(3.0)
    loop(x)
    assert x.tolist() == [3.0, 5.0, 7.0]
    assert len(shifted.part.signatures) == 1 and not shifted.signatures
    library = next(iter(shifted.part.overloads.values())).library
    assert type(library) is _numba_parts._PartLibrary
    assert library.get_pointer_to_function("any") == 0
    assert shifted(1.0, 2.0) == 3.0  # Python gets a form of its own
