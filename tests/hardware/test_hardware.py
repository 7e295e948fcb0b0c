"""Every recorded result of an H100, bit for bit. ``vectors/README.md`` says where they come from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import precision as pr
from precision._support._types import Array
from precision.accumulators import _small_products
from precision.hardware import (
    INSTRUCTIONS,
    MODELLED,
    Instruction,
    _capture,
    _exponent_floor,
    _gemm_models,
    _library_gemms,
    _recorded_cases,
    _verification,
)

FILES = sorted((Path(__file__).parents[1] / "vectors").glob("*.npz"))
CASES = [case for path in FILES for case in _recorded_cases.read(path)]


@pytest.mark.parametrize("most", [-1, 2**60], ids=["panels", "small"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_recorded_result_is_reproduced(
    case: _recorded_cases.Case, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the kernels over panels, and by the loop for small products where it suits."""
    monkeypatch.setattr(_small_products, "MOST", most)
    outputs, mismatches = _recorded_cases.check(case)
    assert outputs == case.expected.size > 0
    assert mismatches == 0


def test_every_modelled_instruction_was_recorded_and_nothing_was_lost() -> None:
    instructions = {case.name.split("|")[0] for case in CASES if "." in case.name}
    unrecorded = {"wgmma.f16.e4m3.e5m2", "wgmma.f16.e5m2.e4m3"}  # mixed operands with FP16 registers
    assert instructions == {i.name for i in MODELLED} - unrecorded
    assert len(CASES) == 14 * 14 + 8 + 3 + 42 + 10 + 4


def test_one_flipped_bit_is_one_mismatch() -> None:
    case = next(case for case in CASES if case.name == "wgmma.f32.e4m3.e4m3|normal|normal")
    wrong = case.expected.copy()
    wrong[0, 5, 3] ^= 1
    assert _recorded_cases.check(dataclasses.replace(case, expected=wrong)) == (wrong.size, 1)


def test_a_nan_of_another_payload_is_a_mismatch() -> None:
    case = next(case for case in CASES if case.name == "wgmma.f32.e4m3.e4m3|specials|normal")
    nan = case.expected == 0x7FFFFFFF
    assert nan.any()
    wrong = np.where(nan, np.uint32(0x7FC00000), case.expected)
    assert _recorded_cases.check(dataclasses.replace(case, expected=wrong)).mismatches == np.count_nonzero(
        nan
    )


def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected of .* must be uint32"):
        _recorded_cases.check(dataclasses.replace(CASES[0], expected=CASES[0].expected[:1].astype(np.uint64)))


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"hmma.f32|normal|zero|a": np.zeros(1)})
    with pytest.raises(ValueError, match=r"hmma\.f32.*must begin with an instruction"):
        _recorded_cases.read(tmp_path / "x.npz")


def test_fp8_on_the_fp16_unit_is_left_out(tmp_path: Path) -> None:
    left_out = [i.name for i in INSTRUCTIONS.values() if i.accumulator is None]
    assert left_out == ["mma.f32.e4m3.e4m3", "mma.f32.e5m2.e5m2", "mma.f16.e4m3.e4m3"]
    np.savez(tmp_path / "x.npz", **{f"{name}|normal|zero|a": np.zeros(1) for name in left_out})
    assert _recorded_cases.read(tmp_path / "x.npz") == []


# --- The comparison with a GPU, with the emulator in the GPU's place -----------------------------


class Emulated:
    """A stand-in for the probe: runs the model, and flips one bit of every ``every``-th batch."""

    def __init__(self, every: int) -> None:
        self.every, self.batches = every, 0

    def run(self, instruction: Instruction, a: Array, b: Array, c: Array) -> Array:
        blank = np.zeros_like(c[None])
        case = _recorded_cases.build_instruction_case(
            instruction, "x", a=a[None], b=b[None], c=c[None], d=blank
        )
        d = _recorded_cases.emulate(case)[0]
        self.batches += 1
        if self.batches % self.every == 0:
            d[-1, -1] ^= 1
        return d


def test_instructions_are_counted_and_differences_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_verification, "BATCH", (64, 8))
    wrong = _verification.verify_instructions(600, seed=3, folder=tmp_path, probe=Emulated(5))
    rows = [json.loads(line) for line in (tmp_path / "instructions.jsonl").read_text().splitlines()]
    assert [row["instruction"] for row in rows] == [i.name for i in MODELLED]
    assert all(row["outputs"] == 1024 for row in rows)
    assert wrong == sum(row["mismatches"] for row in rows) == 2 * len(MODELLED) // 5
    example = next(row["examples"][0] for row in rows if row["mismatches"])
    assert example["gpu"] ^ example["emulator"] == 1
    assert len(example["a"]) == len(example["b"])


@pytest.mark.parametrize("floor", [-133, -21])
def test_floor_of_fp16_registers_can_be_told(floor: int) -> None:
    instruction = INSTRUCTIONS["wgmma.f16.f16.f16"]

    def run(instruction: Instruction, a: Array, b: Array, c: Array) -> Array:
        unit = dataclasses.replace(instruction.accumulator, min_exponent=floor)
        blank = np.zeros_like(c[None])
        case = _recorded_cases.build_instruction_case(
            instruction, "x", a=a[None], b=b[None], c=c[None], d=blank
        )
        return _recorded_cases.emulate(case, unit)[0]

    missed, recorded = _exponent_floor.count_mismatches(instruction, run)
    fitting = {candidate for candidate, count in missed.items() if count == 0}
    assert floor in fitting
    assert not fitting & ({-21, -20} if floor == -133 else {-133, -23, -22, -20})
    assert recorded["d"].shape[1:] == (64, 8)


def random_gemm(
    scaling: str, *, fast: bool, shape: tuple[int, int, int] = (48, 136, 1040)
) -> _library_gemms.Gemm:
    m, n, k = shape
    point = _library_gemms.Point(m=m, n=n, k=k, a="e4m3", b="e5m2", fast=fast, scaling=scaling)
    return point.gemm(np.random.default_rng(1), data="normal", output="f32")


@pytest.mark.parametrize("scaling", _recorded_cases.SCALINGS)
def test_part_of_a_product_is_what_the_whole_product_holds(scaling: str) -> None:
    gemm = random_gemm(scaling, fast=False)
    whole = _recorded_cases.emulate(gemm.case("whole", np.empty(0)))
    rows = np.array([0, 7, 47])
    columns = np.arange(128, 136) if gemm.square_blocks else np.array([1, 135])
    part = gemm.select(rows, columns)
    assert _recorded_cases.check(part.case("part", whole[np.ix_(rows, columns)])) == (
        rows.size * columns.size,
        0,
    )


@pytest.mark.parametrize("scaling", ["tensor", "row", "1x128*1x128"])
def test_split_k_is_recognised(scaling: str) -> None:
    fast = scaling in ("tensor", "row")  # promoted partial sums are short: their order seldom shows
    gemm = random_gemm(scaling, fast=fast)
    tiles = [np.arange(0, 384), np.arange(384, 768), np.arange(768, 1040)]
    unit = pr.HOPPER_FP8 if fast else pr.HOPPER_FP8.promoted(128)
    total = np.zeros(1, np.float32)
    for along_k in tiles:
        sa, sb = (
            (s[:, along_k[0] // 128 : along_k[-1] // 128 + 1] if gemm.blockwise else s) for s in gemm.scales
        )
        part = dataclasses.replace(gemm, a=gemm.a[:, along_k], b=gemm.b[:, along_k], scales=(sa, sb))
        if not gemm.blockwise:
            ones = (np.ones_like(gemm.scales[0]), np.ones_like(gemm.scales[1]))
            part = dataclasses.replace(part, scales=ones)
        total = total + _recorded_cases.emulate(part.case("part", np.empty(0)), unit).view(np.float32)
    if scaling == "tensor":
        total = total * (gemm.scales[0] * gemm.scales[1])
    elif scaling == "row":
        total = (total * gemm.scales[1]) * gemm.scales[0][:, None]
    expected = total.view(np.uint32)
    assert _recorded_cases.check(gemm.case("whole", expected)).mismatches > 0
    model, left = _gemm_models.explain(gemm, expected)
    assert model.startswith("K split in 3 parts of tiles of 128")
    assert left == 0


def test_few_differences_are_not_explained_by_chance() -> None:
    """Rounded to bfloat16, split sums seldom differ, and many models fit those that do."""
    gemm = dataclasses.replace(random_gemm("tensor", fast=True), output="bf16")
    halves = [
        dataclasses.replace(gemm, a=gemm.a[:, part], b=gemm.b[:, part]) for part in (np.s_[:640], np.s_[640:])
    ]
    one = (np.ones((), np.float32), np.ones((), np.float32))
    sums = [
        _recorded_cases.emulate(dataclasses.replace(half, scales=one, output="f32").case("half", np.empty(0)))
        for half in halves
    ]
    total = (sums[0].view(np.float32) + sums[1].view(np.float32)) * (gemm.scales[0] * gemm.scales[1])
    expected = total.astype(_recorded_cases.OUTPUT_DTYPES["bf16"]).view(np.uint16)
    assert 0 < _recorded_cases.check(gemm.case("whole", expected)).mismatches < expected.size / 4
    assert _gemm_models.explain(gemm, expected, sample=1).mismatches == 0


def test_no_explanation_is_said_so() -> None:
    gemm = random_gemm("tensor", fast=True, shape=(16, 16, 272))
    expected = _recorded_cases.emulate(gemm.case("whole", np.empty(0))) ^ 1
    assert _gemm_models.explain(gemm, expected).mismatches > 0


def test_the_grid_and_what_is_compared_of_it() -> None:
    points = _library_gemms.shuffle_points(5)
    assert len(set(points)) == len(points) == 5 * 5 * 7 * 3 * 2 * 4
    assert _library_gemms.shuffle_points(5) == points != _library_gemms.shuffle_points(6)
    for point in points[:200]:
        rows, columns = _library_gemms.choose_outputs(point, np.random.default_rng(0), budget=10**8)
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, point.m - 1, 0, point.n - 1)
        assert len(rows) * len(columns) * point.k <= 4 * 10**8
        if point.scaling == "1x128*128x128":
            counts = np.bincount(columns // 128)[np.unique(columns // 128)]
            assert set(counts[:-1]) <= {128}
            assert counts[-1] == point.n - 128 * ((point.n - 1) // 128)


def test_refused_and_differing_points_are_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def library(gemm: _library_gemms.Gemm, *, name_kernels: bool = True) -> _capture.GemmResult:
        if gemm.blockwise:
            raise _capture.Refused("not on this GPU")
        result = _recorded_cases.emulate(gemm.case("x", np.empty(0)))
        if gemm.scaling == "row":
            result[0, 0] ^= 1
        return _capture.GemmResult(result, ("kernel",))

    small = [p for p in _library_gemms.shuffle_points(2) if p.m * p.n * p.k < 10**5][:40]
    monkeypatch.setattr(_library_gemms, "shuffle_points", lambda seed: small)
    monkeypatch.setattr(_capture, "library_gemm", library)
    wrong = _verification.verify_gemms(40, seed=2, seconds=600, budget=10**9, folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "gemms.jsonl").read_text().splitlines()]
    assert len(rows) == 40
    assert all(("refused" in row) == row["scaling"].startswith("1x128") for row in rows)
    assert not any("failed" in row for row in rows)
    differing = [row for row in rows if row.get("mismatches")]
    assert wrong == len(differing) == sum(row["scaling"] == "row" for row in rows) > 0
    table = (tmp_path / "gemms.txt").read_text()
    assert table.count("NOT explained") == len(differing)
    assert table.count("not on this GPU") == sum("refused" in row for row in rows)


def test_probe_is_not_built_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="nvcc must be on the PATH"):
        _capture.build()
