"""Compiled functions that are parts of their callers: typed by themselves, optimized and made code with them.

Numba makes machine code of every function by itself, also of one that only compiled code calls, then copies
its optimized code into each caller and optimizes that as a whole. A `Kernel` has two forms. Python calls the
one, which is compiled as Numba does it. Compiled code calls the other, its `part`: that ends as simplified
code of LLVM, and becomes machine code in its callers alone. This makes the first call of a kernel two to
three times faster. Both forms leave out those of Numba's passes that serve what no kernel has.

This is the only module that reaches into how Numba links functions. The private parts are those that `PARTS`
names; the attributes ``_codegen``, ``_final_module``, ``_linking_libraries``,
``_reload_init`` and ``_finalized`` of a code library; and ``_numba_type_`` of a compiled function. Where one
of `PARTS` has changed, `kernel` compiles every function as Numba does: the same bits, after a longer wait.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numba
from numba import types
from numba.core import untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.registry import CPUDispatcher

from precision._kernels._private_parts import changed
from precision._support.machine._compiling_notice import note_compiling

PARTS = {
    "numba.core.codegen:JITCodeLibrary": ("codegen", "name"),
    "numba.core.codegen:JITCodeLibrary._get_module_for_linking": ("self",),
    "numba.core.codegen:JITCodeLibrary.finalize": ("self",),
    "numba.core.codegen:JITCodeLibrary.get_pointer_to_function": ("self", "name"),
    "numba.core.codegen:JITCPUCodegen.set_env": ("self", "env_name", "env"),
    "numba.core.compiler:DefaultPassBuilder.define_nopython_pipeline": ("state", "name"),
    "numba.core.dispatcher:Dispatcher.compile": ("self", "sig"),
    "numba.core.dispatcher:Dispatcher.get_call_template": ("self", "args", "kws"),
    "numba.core.registry:CPUDispatcher": ("py_func", "locals", "targetoptions", "pipeline_class"),
}

_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
#: Numba's passes for what no kernel has: blocks of `with`, closures, literals as types, array expressions.
_LEFT_OUT = (
    "WithLifting", "InlineClosureLikes", "RewriteDynamicRaises", "MakeFunctionToJitFunction",
    "FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass", "NopythonRewrites",
    "DumpParforDiagnostics",
)  # fmt: skip


@functools.cache
def changed_parts() -> list[str]:
    """Name the private parts that are not as this module knows them; empty if all are."""
    return changed(PARTS)


class _NoMachineCode:
    """The code generator of a library that has no machine code, where an environment could be stored."""

    def __init__(self, codegen: Any) -> None:
        self._all = codegen

    def set_env(self, env_name: str, env: Any) -> None:
        """Store nothing: the library's functions have no address."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)


class _PartLibrary(JITCodeLibrary):
    """A library of functions that are left as code of LLVM, for other libraries to link."""

    @property
    def codegen(self) -> Any:
        """The code generator."""
        return _NoMachineCode(self._codegen)

    def finalize(self) -> None:
        """Link what the functions call, and end at that."""
        self._raise_if_finalized()  # type: ignore[no-untyped-call]
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0, which says that there is no such function in memory."""
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        return 0


@register_pass(mutates_CFG=False, analysis_only=False)  # type: ignore[no-untyped-call]
class _BeginPart(FunctionPass):
    """The pass that chooses the library of a part."""

    _name = "precision_begin_part"

    def __init__(self) -> None:
        FunctionPass.__init__(self)  # type: ignore[no-untyped-call]

    def run_pass(self, state: Any) -> bool:
        """Make the library, where Numba's own would be made at the end."""
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)  # type: ignore[no-untyped-call]
        return False


class _EntryCompiler(CompilerBase):
    """Numba's compiler, without the passes that kernels do not need."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes that are run."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        manager.passes = [one for one in manager.passes if one[0].__name__ not in _LEFT_OUT]
        manager.finalize()
        return [manager]


class _PartCompiler(_EntryCompiler):
    """The compiler of parts."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes that are run."""
        (manager,) = super().define_pipelines()
        manager.add_pass_after(_BeginPart, untyped_passes.TranslateByteCode)
        manager.finalize()
        return [manager]


_unliteral: Any = types.unliteral


class _Part(CPUDispatcher):
    """A function that is a part of its callers, for each combination of types, but not of constants."""

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Compile for arguments of these types, where Numba would take each constant for a type."""
        args, names = [[_unliteral(one) for one in some] for some in (args, kws.values())]
        return super().get_call_template(tuple(args), dict(zip(kws, names, strict=True)))


class Kernel(CPUDispatcher):
    """A compiled function, with another form of it for compiled code."""

    @functools.cached_property
    def part(self) -> Any:
        """The form that compiled code calls."""
        options = {**self.targetoptions, "no_cpython_wrapper": True}
        return _Part(self.py_func, targetoptions=options, pipeline_class=_PartCompiler)

    def compile(self, sig: Any) -> Any:
        """Compile for a signature, or load what is kept, and take note of a long time."""
        start, missed = time.perf_counter(), sum(self.stats.cache_misses.values())
        try:
            return super().compile(sig)
        finally:
            if sum(self.stats.cache_misses.values()) > missed:
                note_compiling(time.perf_counter() - start)

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(self.part)


def kernel(function: Callable[..., Any]) -> Any:
    """Return a function that is compiled at its first call, for each of its forms."""
    if changed_parts():
        return numba.njit(nogil=True, error_model="numpy")(function)
    return Kernel(function, targetoptions=dict(_OPTIONS), pipeline_class=_EntryCompiler)


def part_options() -> dict[str, Any]:
    """Return the options of Numba's `jit` by which a function becomes a part of its callers."""
    if changed_parts():
        return {"nogil": True, "error_model": "numpy"}
    return {**_OPTIONS, "no_cpython_wrapper": True, "pipeline_class": _PartCompiler}
