"""Searches for outputs whose error comes near its bound, or passes it.

Run ``python benchmarks/bound_search.py [OUTPUTS] [NAME ...]`` (ten million outputs of each accumulator: about
half an hour on two cores). For each accumulator, rows and columns evolve: random ones, built ones (a large
product among many that lose nearly a whole last place) and the offspring of those whose products came
nearest to the bound. Every row meets every column. Prints how many outputs were compared with the exact
product, how many passed the bound (none may), and the largest error over the bound; where the theorem
`bounds.aligned_truncation` applies, the largest error over that one too, which knows only |a|' |b|. Exits
with 1 if any error passes a bound.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass

import numpy as np

import precision as pr
from precision import bounds

ROWS = 192  #: rows, and columns, of a generation
KEPT = 32  #: of them, parents of the next one


@dataclass(frozen=True)
class Case:
    """An accumulator, what it is given, and K."""

    accumulator: pr.FusedSum | pr.FmaChain | pr.Exact
    fmt: pr.FloatFormat
    length: int
    scale_format: pr.FloatFormat | None = None
    group: int = 0
    dtype: str = "float32"
    starts: bool = False


def cases() -> dict[str, Case]:
    """Every named accumulator, promotions, epilogues, widths, starts and all roundings."""
    mx = {"scale_format": pr.E8M0, "group": 32}
    found = {
        "HOPPER_FP8": Case(pr.HOPPER_FP8, pr.E4M3, 96),
        "HOPPER_FP8 e5m2": Case(pr.HOPPER_FP8, pr.E5M2, 64),
        "HOPPER_FP8 c": Case(pr.HOPPER_FP8, pr.E4M3, 64, starts=True),
        "HOPPER_FP8.promoted(64)": Case(pr.HOPPER_FP8.promoted(64), pr.E4M3, 128),
        "HOPPER_FP8.promoted(64) groups": Case(pr.HOPPER_FP8.promoted(64), pr.E4M3, 128, pr.FP32, 64),
        "HOPPER_FP8 rows, fp16": Case(pr.HOPPER_FP8, pr.E4M3, 64, pr.FP32, 0, "float16"),
        "HOPPER_FP8_ACC16": Case(pr.HOPPER_FP8_ACC16, pr.E4M3, 64),
        "HOPPER_FP8.with_width(8)": Case(pr.HOPPER_FP8.with_width(8), pr.E4M3, 96),
        "HOPPER_FP8.with_width(25)": Case(pr.HOPPER_FP8.with_width(25), pr.E4M3, 96),
        "HOPPER_FP16": Case(pr.HOPPER_FP16, pr.FP16, 48),
        "HOPPER_FP16_ACC16": Case(pr.HOPPER_FP16_ACC16, pr.FP16, 48),
        "HOPPER_BF16": Case(pr.HOPPER_BF16, pr.BF16, 48),
        "HOPPER_TF32": Case(pr.HOPPER_TF32, pr.TF32, 24),
        "BLACKWELL_MX e4m3": Case(pr.BLACKWELL_MX, pr.E4M3, 64, **mx),
        "BLACKWELL_MX e2m1": Case(pr.BLACKWELL_MX, pr.E2M1, 96, **mx),
        "BLACKWELL_NVFP4": Case(pr.BLACKWELL_NVFP4, pr.E2M1, 128, pr.E4M3, 16),
        "BLACKWELL_NVFP4 e8m0": Case(pr.BLACKWELL_NVFP4, pr.E2M1, 128, pr.E8M0, 32),
        "FP32_FMA bf16": Case(pr.FP32_FMA, pr.BF16, 48),
        "FP32_FMA fp32": Case(pr.FP32_FMA, pr.FP32, 24),
        "FP32_FMA.promoted(16)": Case(pr.FP32_FMA.promoted(16), pr.FP16, 48),
        "EXACT, bf16": Case(pr.EXACT, pr.E4M3, 48, dtype="bfloat16"),
        "EXACT fp16": Case(pr.EXACT, pr.FP16, 32),
    }
    plain = pr.FusedSum((pr.E4M3,), 8, fraction_bits=10, register=pr.E8M13)
    for mode in pr.Rounding:
        if mode is not pr.Rounding.TOWARD_ZERO:
            for name in ("alignment_rounding", "register_rounding"):
                unit = dataclasses.replace(
                    plain, register=pr.BF16 if name[0] == "r" else pr.E8M13, **{name: mode}
                )
                found[f"{name} {mode}"] = Case(unit, pr.E4M3, 24)
    return found


class Lines:
    """A generation of rows, or of columns as rows: codes, and codes of scales."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case, self.rng = case, rng
        self.groups = -(-case.length // case.group) if case.group else 1
        self.codes = self.made(ROWS)
        self.scales = self.made_scales(ROWS)

    @property
    def fmt(self) -> pr.FloatFormat:
        """What the codes are of: a TF32 unit is given float32."""
        return pr.FP32 if self.case.fmt == pr.TF32 else self.case.fmt

    def _encoded(self, values: np.ndarray) -> np.ndarray:
        return pr.encode(values.astype(np.float32), self.fmt).view(self.fmt.code_dtype)

    def made(self, count: int) -> np.ndarray:
        """Some normal numbers, some of any bits, most of them built to lose as much as they can."""
        rng, fmt, length = self.rng, self.case.fmt, self.case.length
        narrow = fmt.max_exponent - fmt.min_exponent < 40
        low, high = (fmt.min_exponent, fmt.max_exponent) if narrow else (-30, 30)
        kinds = rng.integers(0, 5, count)[:, None]
        normal = rng.standard_normal((count, length)) * 2.0 ** rng.integers(-2, 3, (count, 1))
        wide = rng.standard_normal((count, length)) * 2.0 ** rng.integers(low, high, (count, length))
        # Significands of all ones (or one), all of one exponent but for a few of the largest.
        ones = np.where(rng.random((count, 1)) < 0.5, 2 - 2.0**-fmt.fraction_bits, 1.0)
        exponent = rng.integers(low, high + 1, (count, 1)) + rng.integers(-1, 1, (count, length))
        built = ones * 2.0 ** np.clip(exponent, low, high)
        built *= np.where(rng.random((count, length)) < rng.choice([0, 0.1, 0.5], (count, 1)), -1, 1)
        peaks = rng.random((count, length)) < rng.choice([0.02, 0.1], (count, 1))
        peaks[:, 0] = True
        built = np.where(peaks, 2.0**high * rng.choice([-1, 1, 1], (count, length)), built)
        values = np.where(kinds == 0, normal, np.where(kinds == 1, wide, built))
        codes = self._encoded(np.clip(values, -fmt.max, fmt.max))
        if narrow:
            bits = rng.integers(0, 1 << fmt.bits, (count, length)).astype(codes.dtype)
            bits = np.where(np.isfinite(pr.decode(bits, fmt)), bits, codes)
            codes = np.where(rng.random((count, 1)) < 0.1, bits, codes)
        return codes

    def made_scales(self, count: int) -> np.ndarray:
        fmt, rng = self.case.scale_format, self.rng
        if fmt is None:
            return np.zeros((count, 0), np.uint8)
        spread = 4 if fmt.exponent_bits < 8 else 14
        x = (1 + rng.random((count, self.groups))) * 2.0 ** rng.integers(
            -spread, spread, (count, self.groups)
        )
        return pr.encode(x.astype(np.float32), fmt).view(fmt.code_dtype)

    def operand(self, right: bool) -> object:
        """What `matmul` takes."""
        case = self.case
        codes = self.codes.T if right else self.codes
        if case.scale_format is None:
            return codes.view(self.fmt.dtype)
        block = (1, case.group or None)
        return pr.QuantizedTensor(
            codes,
            self.scales.T if right else self.scales,
            fmt=case.fmt,
            block=block[::-1] if right else block,
            scale_format=case.scale_format,
        )

    def evolve(self, merit: np.ndarray) -> None:
        """The best lines, their offspring, and some new ones."""
        rng = self.rng
        best = np.argsort(-merit, kind="stable")[:KEPT]
        new = ROWS // 4
        parents = rng.choice(best, (2, ROWS - KEPT - new))
        cross = rng.random((parents.shape[1], self.codes.shape[1])) < 0.5
        children = np.where(cross, self.codes[parents[0]], self.codes[parents[1]])
        scales = self.scales[parents[0]]
        change = rng.random(children.shape) < 1.5 / children.shape[1]
        near = children + rng.integers(-1, 2, children.shape).astype(children.dtype)
        near &= near.dtype.type((1 << self.fmt.bits) - 1)
        any_ = self.made(len(children))
        mutated = np.where(change, np.where(rng.random(children.shape) < 0.5, near, any_), children)
        finite = np.isfinite(pr.decode(mutated, self.fmt))
        self.codes = np.concatenate([self.codes[best], np.where(finite, mutated, children), self.made(new)])
        if scales.size:
            fresh = self.made_scales(len(scales))
            scales = np.where(rng.random(scales.shape) < 0.2, fresh, scales)
        self.scales = np.concatenate([self.scales[best], scales, self.made_scales(new)])


@dataclass
class Found:
    outputs: int = 0
    exceeded: int = 0
    ratio: float = 0.0
    theorem: float | None = None
    theorem_exceeded: int = 0


def _reference(case: Case, a: object, b: object, c: np.ndarray | None) -> np.ndarray:
    """The exact product of what the unit is given."""
    if case.fmt == pr.TF32:
        a, b = (np.where(True, x.view(np.uint32) & np.uint32(0xFFFFE000), 0).view(np.float32) for x in (a, b))
    return pr.matmul(a, b, accumulator=pr.EXACT, c=c, dtype=np.float64)


def search(case: Case, outputs: int, seed: int = 0) -> Found:
    """Compare at least so many outputs with their bounds."""
    rng = np.random.default_rng(seed)
    rows, columns, found = Lines(case, rng), Lines(case, rng), Found()
    unit = case.accumulator
    theorem = None
    plain = isinstance(unit, pr.FusedSum) and not unit.promotion and unit.min_exponent < -60
    if plain and not case.scale_format and case.fmt != pr.TF32:
        theorem, found.theorem = bounds.aligned_truncation(unit, case.length), 0.0
    while found.outputs < outputs:
        a, b = rows.operand(False), columns.operand(True)
        c = None
        if case.starts:
            c = (rng.standard_normal((ROWS, ROWS)) * 2.0 ** rng.integers(-10, 20, (ROWS, 1))).astype(
                np.float32
            )
        with np.errstate(all="ignore"):
            y = pr.matmul(a, b, accumulator=unit, c=c, dtype=case.dtype).astype(np.float64)
            exact = _reference(case, a, b, c)
        bound = bounds.error_bound(None, unit, a, b, c=c, dtype=case.dtype)
        total = bound.total
        if case.fmt == pr.TF32:  # the reference is of what the unit reads
            total = total - bound.quantization
        finite = np.isfinite(total)
        error = np.abs(np.where(finite, y - exact, 0))
        with np.errstate(all="ignore"):
            ratio = np.where(error > 0, error / total, 0)
        found.outputs += int(finite.sum())
        found.exceeded += int((~(error <= total)).sum())
        found.ratio = max(found.ratio, float(ratio.max()))
        if theorem is not None:
            x, z = (np.abs(np.asarray(side).astype(np.float64)) for side in (a, b))
            least = max(case.fmt.min_normal, 2.0**-60)
            normal = [((side == 0) | (side >= least)) & (side <= 2.0**60) for side in (x, z)]
            suits = finite & normal[0].all(axis=1)[:, None] & normal[1].all(axis=0)
            size = theorem * (x @ z + (0 if c is None else np.abs(c)))
            with np.errstate(all="ignore"):
                relative = np.where(suits & (error > 0), error / size, 0)
            found.theorem = max(found.theorem or 0.0, float(relative.max()))
            found.theorem_exceeded += int((relative > 1).sum())
            ratio = ratio + relative  # look for errors that are near both
        rows.evolve(np.sort(ratio, axis=1)[:, -3:].mean(axis=1))
        columns.evolve(np.sort(ratio, axis=0)[-3:].mean(axis=0))
    return found


def main(arguments: list[str]) -> int:
    outputs = int(arguments[0]) if arguments else 10_000_000
    wanted = arguments[1:]
    bad = 0
    print(
        f"{'accumulator':<38}{'K':>4}{'outputs':>12}{'exceeded':>9}{'error/bound':>12}{'error/theorem':>14}"
    )
    for name, case in cases().items():
        if wanted and name not in wanted:
            continue
        begun = time.perf_counter()
        found = search(case, outputs)
        bad += found.exceeded + found.theorem_exceeded
        theorem = "" if found.theorem is None else f"{found.theorem:.3f}"
        print(
            f"{name:<38}{case.length:>4}{found.outputs:>12}{found.exceeded:>9}{found.ratio:>12.3f}{theorem:>14}"
            f"  ({time.perf_counter() - begun:.0f} s)",
            flush=True,
        )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
