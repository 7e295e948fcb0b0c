"""The README's table: which library rounds, saturates and scales how, as `precision.testing` finds it.

    pip install torch torchao gfloat && python benchmarks/conformance_table.py

Every row is one `check_quantizer` (no claim of ours): what a library's cast is *like* among the roundings and
overflow rules, or which properties of a spec it lacks, with the cause that the check names. Libraries that
are not installed are left out. ``--verbose`` prints the reports as well.
"""

import argparse
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

import precision as pr
from precision.testing import check_quantizer
from precision.testing._reports import Report

CASTS = (
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn", "bfloat16", "float16", "int8", "int4",
)  # fmt: skip
RULES = {
    "FLOOR": pr.ScaleRule.FLOOR,
    "CEIL": pr.ScaleRule.CEIL,
    "EVEN": pr.ScaleRule.EVEN,
    "RCEIL": pr.ScaleRule.RCEIL,
}
Row = tuple[str, str, str, str, Report]


def has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def named(*packages: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in packages)


def rounding_of(report: Report) -> str:
    """What the properties of rounding say."""
    names = ("nearest value", "tie rule", "subnormals", "monotonicity")
    causes = [report[name].cause or f"{name} fails" for name in names if report[name].failed]
    return ", ".join(dict.fromkeys(causes)) or "nearest, ties to even"


def cast(library: str, what: str, fmt: Any, fn: Callable[[Any], Any], **options: Any) -> Row:
    """The overflow rule under which a cast has the fewest faults, and what it still lacks."""
    rules = [rule for rule in pr.Overflow if rule is pr.Overflow.SATURATE or fmt.has_nan]
    reports = {rule: check_quantizer(fn, fmt, overflow=rule, **options) for rule in rules}
    best = min(rules, key=lambda rule: (reports[rule]["overflow rule"].failed, len(reports[rule].failed)))
    report = reports[best]
    over = report["overflow rule"]
    said = {
        pr.Overflow.SATURATE: "saturates",
        pr.Overflow.NON_SATURATING: "to Inf" if fmt.has_inf else "to NaN",
    }
    overflow = (over.cause or "neither rule") if over.failed else said[best]
    return library, what, rounding_of(report), overflow, report


def scaled(library: str, what: str, spec: pr.QuantSpec, fn: Callable[[Any], Any], **options: Any) -> Row:
    """What a quantizer with scales lacks of a spec."""
    report = check_quantizer(fn, spec, **options)
    scales = [o for o in report.failed if o.name in ("scale rule", "scale range", "zero blocks")]
    others = [o for o in report.failed if o not in scales]

    def told(outcomes: list[Any]) -> str:
        causes: dict[str, list[str]] = {}
        for outcome in outcomes:
            causes.setdefault(outcome.cause or "differs", []).append(outcome.name)
        return "; ".join(f"{', '.join(names)}: {cause}" for cause, names in causes.items())

    return library, what, told(scales) or "as declared", told(others) or "as declared", report


def casts() -> Iterator[Row]:
    library = named("ml_dtypes")
    for name in CASTS:
        kind = np.dtype(getattr(ml_dtypes, name, name))
        library = named("numpy") if name in ("float16", "int8") else named("ml_dtypes")
        yield cast(library, f"astype({name})", pr.format_of(kind), lambda x, kind=kind: x.astype(kind))
    yield cast(
        named("ml_dtypes"), "astype(float8_e4m3fn) of float64", pr.E4M3,
        lambda x: x.astype(ml_dtypes.float8_e4m3fn), dtype=np.float64,
    )  # fmt: skip
    if has("torch"):
        import torch

        for name in CASTS:
            if hasattr(torch, name) and name not in ("int8",):
                kind = getattr(torch, name)
                fmt = pr.format_of(np.dtype(getattr(ml_dtypes, name, name)))
                if name.startswith(("float6", "float4", "int4")):
                    continue
                yield cast(
                    named("torch"),
                    f"to({name})",
                    fmt,
                    lambda x, kind=kind: x.to(kind),
                    convert=torch.from_numpy,
                )
    if has("gfloat"):
        import gfloat
        import gfloat.formats as known

        for name, fmt in (
            ("e4m3", pr.E4M3),
            ("e5m2", pr.E5M2),
            ("e2m3", pr.E2M3),
            ("e3m2", pr.E3M2),
            ("e2m1", pr.E2M1),
        ):
            info = getattr(known, f"format_info_ocp_{name}")
            for sat in (True, False) if fmt.has_nan else (True,):

                def fn(x: Any, info: Any = info, sat: bool = sat) -> Any:
                    return np.asarray(gfloat.round_ndarray(info, x.astype(np.float64), sat=sat)).astype(
                        np.float32
                    )

                yield cast(named("gfloat"), f"round_ndarray(ocp_{name}, sat={sat})", fmt, fn)


def specs() -> Iterator[Row]:
    if has("gfloat"):
        import gfloat
        import gfloat.formats as known

        for name, spec in (("mxfp8_e4m3", pr.MXFP8_E4M3), ("mxfp4_e2m1", pr.MXFP4)):
            info = getattr(known, f"format_info_{name}", None) or getattr(
                known, f"format_info_{name.upper()}", None
            )
            if info is None:
                continue

            def fn(x: Any, info: Any = info) -> Any:
                blocks = x.reshape(-1, 32).astype(np.float64)
                rows = [gfloat.quantize_block(info, row, gfloat.compute_scale_amax) for row in blocks]
                return np.asarray(rows).reshape(x.shape)

            yield scaled(named("gfloat"), f"quantize_block, {name}", spec, fn, ragged=False, returns="values")
    if has("torch") and has("torchao"):
        import torch
        from torchao.prototype.mx_formats.config import ScaleCalculationMode
        from torchao.prototype.mx_formats.mx_tensor import to_mx
        from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize

        def halves(packed: Any) -> Any:
            data = packed.view(torch.uint8).numpy()
            return np.stack([data & 15, data >> 4], -1).reshape(len(data), -1)

        library = named("torchao", "torch")
        for name, kind, spec in (
            ("e4m3", torch.float8_e4m3fn, pr.MXFP8_E4M3),
            ("e2m1", torch.float4_e2m1fn_x2, pr.MXFP4),
        ):
            for mode, rule in RULES.items():

                def fn(x: Any, kind: Any = kind, mode: str = mode) -> Any:
                    scale, data = to_mx(x, kind, 32, ScaleCalculationMode[mode])
                    return (halves(data) if kind == torch.float4_e2m1fn_x2 else data), scale

                declared = replace(spec, scale_rule=rule)
                yield scaled(
                    library, f"to_mx, {name}, {mode}", declared, fn, ragged=False, convert=torch.from_numpy
                )
        nvfp4 = pr.QuantSpec(pr.E2M1, pr.PerGroup(16), scale_format=pr.E4M3, least_scale=2.0**-6)

        def nv(x: Any) -> Any:
            scale, data = nvfp4_quantize(x, 16)
            return halves(data), scale

        yield scaled(library, "nvfp4_quantize", nvfp4, nv, ragged=False, convert=torch.from_numpy)


def table(heads: tuple[str, ...], rows: list[Row]) -> str:
    """One line for all casts of a library that read alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        alike.setdefault((row[0], *row[2:4]), []).append(row[1])
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += [
        "| " + " | ".join((library, "; ".join(names), *rest)) + " |"
        for (library, *rest), names in alike.items()
    ]
    return "\n".join(lines)


def tables() -> tuple[str, list[Row]]:
    """What is printed, and every row behind it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = list(casts()), list(specs())
    heads = ("library", "cast of float32", "rounding", "overflow and Inf")
    others = ("library", "quantizer", "scales", "elements")
    return f"{table(heads, first)}\n\n{table(others, second)}\n", [*first, *second]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verbose", action="store_true")
    verbose = parser.parse_args().verbose
    printed, rows = tables()
    print(printed, end="")
    if verbose:
        for row in rows:
            print(f"\n{row[0]}, {row[1]}\n{row[4]}")


if __name__ == "__main__":
    main()
