"""The package's block quantizer against torchao's and gfloat's, byte for byte.

Every case in which one of them gives other bytes is a `Difference` of the table below: on which blocks (a
rule over the *input*, computed here), what it gives, why, and whose reading of the specification is right.
A test finds the blocks that differ and asserts that they are exactly the blocks of the table's rows: a
difference that nobody explained fails, and so does one that went away with a new version of the peer.

The peers are not in the dev extra (PyTorch is large): without them this file is skipped. Versions that
the table was written for: torchao 0.18 on PyTorch 2.13 (CPU), gfloat 0.5. To run it::

    pip install torch torchao gfloat && pytest tests/quantization/test_microscaling_peers.py
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference
import reference_blocks as oracle
from test_reference_blocks import ELEMENTS, KINDS, codes_of, float32, with_rule

import precision as pr

WHY = "needs torch, torchao and gfloat, which are not in the dev extra: pip install torch torchao gfloat"
torch = pytest.importorskip("torch", reason=WHY)
pytest.importorskip("torchao", reason=WHY)
gfloat = pytest.importorskip("gfloat", reason=WHY)

import gfloat.formats as gf  # noqa: E402
from torchao.prototype.mx_formats.config import ScaleCalculationMode  # noqa: E402
from torchao.prototype.mx_formats.mx_tensor import to_mx  # noqa: E402
from torchao.prototype.mx_formats.nvfp4_tensor import (  # noqa: E402
    nvfp4_quantize,
    per_tensor_amax_to_scale,
)

F, Array = np.float32, np.ndarray


# ---- the table --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Blocks (rows of float32), and how they are quantized."""

    x: Array
    element: reference.Format | oracle.Integer
    rule: str = "amax"
    tensor_scale: np.float32 | None = None

    @property
    def nan(self) -> Array:
        return np.isnan(self.x).any(axis=1)

    @property
    def inf(self) -> Array:
        """Blocks with an infinity and no NaN."""
        return np.isinf(self.x).any(axis=1) & ~self.nan

    @property
    def amax(self) -> Array:
        """Of the blocks; 0 for one with NaN or an infinity."""
        return np.where(self.nan | self.inf, F(0), np.abs(self.x).max(axis=1)).astype(F)

    def codes(self, quotients: Array) -> Array:
        """Elements of quotients; -1 for NaN."""
        if isinstance(self.element, oracle.Integer):
            steps = np.rint(quotients.astype(np.float64) * 2.0**self.element.fraction_bits)
            return np.nan_to_num(steps, nan=-1e9)
        return np.where(np.isnan(quotients), -1, reference.table_round_array(quotients, self.element))

    def otherwise(self, quotients: Array, ours: Array) -> Array:
        """Blocks in which an element of ``quotients`` rounds to another code than that of ``ours``."""
        return (self.codes(quotients) != self.codes(ours)).any(axis=1)

    def exponents(self) -> Array:
        """Of the scales by the rule, clamped to -127 from below; of a block of amax 0 too."""
        found = [
            oracle.scale_exponent(self.rule, Fraction(float(a)), self.element) if a else -127
            for a in self.amax
        ]
        return np.maximum(found, -127)


@dataclass(frozen=True)
class Difference:
    """One thing that a peer does otherwise, on exactly the blocks that ``blocks`` says."""

    name: str
    peer: str
    where: str  #: modes and formats
    inputs: str
    how: str
    reason: str
    right: str  #: whose reading of the specification
    blocks: Callable[[Case], Array]


def nan_codes(case: Case) -> Array:
    # With RCEIL every element is multiplied by NaN, and E4M3 has one NaN, as here.
    return case.nan & (not (case.rule == "rceil" and case.element == reference.E4M3))


def halved(case: Case) -> Array:
    x = np.where(np.isfinite(case.x), case.x, F(0)).astype(np.float64)
    lowest = (case.exponents() == -127) & (case.amax > 0)
    theirs = x * 2.0**126 if case.rule != "rceil" else x
    return lowest & case.otherwise(theirs, x * 2.0**127)


def logarithm(case: Case) -> Array:
    """The exponent of torchao's RCEIL: ceil of a float32 log2 of a float32 quotient."""
    with np.errstate(under="ignore", divide="ignore"):
        descale = (case.amax / F(oracle.largest(case.element))).astype(F)
        theirs = np.maximum(np.ceil(np.log2(descale.astype(np.float64)).astype(F)), -127)
    return theirs != case.exponents()


TORCHAO_MX = (
    Difference(
        "nan_codes",
        "torchao to_mx",
        "all modes and formats but RCEIL with E4M3",
        "a block with NaN",
        "the scale is NaN, as here; the elements' codes are those of x / Inf (FP8: NaN where x is; FP6 and "
        "FP4: some number where x is NaN), with RCEIL of x * NaN. E5M2's NaN is 7F, here 7E",
        "no code is reserved for it; FP6 and FP4 have no NaN, and the cast takes NaN's bits for a number",
        "both: all values are NaN with the scale (OCP MX v1.0, 5.1), codes under it are out of scope (4)",
        nan_codes,
    ),
    Difference(
        "infinity",
        "torchao to_mx",
        "all modes and formats",
        "a block with an infinity, and no NaN",
        "a finite scale: exponent 128 - emax, or byte 254 with RCEIL; the infinity becomes the largest "
        "element, and the others mostly zero. Here the scale is NaN",
        "amax is only tested for NaN; the exponent field of infinity is read as one more exponent",
        "neither is forbidden (OCP is silent on it); here an overflow stays visible in the result",
        lambda case: case.inf,
    ),
    Difference(
        "lowest_scale",
        "torchao to_mx",
        "FLOOR, CEIL, EVEN: all formats",
        "amax below 2**(emax - 126): scale byte 0, which is 2**-127",
        "the elements are divided by 2**-126, so that the stored values are half of x",
        "scale_fp32 is clamped to the smallest normal float32, for Triton's sake; the byte is not",
        "ours: the value of an element is code * scale (OCP 5.1)",
        lambda case: halved(case) & (case.rule != "rceil"),
    ),
    Difference(
        "lowest_scale_rceil",
        "torchao to_mx",
        "RCEIL: all formats",
        "amax up to max * 2**-127: scale byte 0",
        "the elements are multiplied by 1 instead of 2**127: all are zero",
        "byte 0 is taken for a block of zeros",
        "ours: the value of an element is code * scale (OCP 5.1)",
        lambda case: halved(case) & (case.rule == "rceil"),
    ),
    Difference(
        "logarithm",
        "torchao to_mx",
        "RCEIL: all formats",
        "amax a few units in the last place above max * 2**k: 1 at |k| = 5, 11 at 60, 22 at 100",
        "the scale is 2**k, one less than RCEIL's, and the largest element saturates",
        "ceil(log2(amax / max)) in float32: for such quotients the logarithm rounds to k itself",
        "ours, and NVIDIA's: the exponent field is rounded up by its bits, without a logarithm",
        lambda case: logarithm(case) & (case.rule == "rceil"),
    ),
)


def tensor_scale_of(case: Case) -> np.float32:
    return F(1) if case.tensor_scale is None else case.tensor_scale


def block_scales(case: Case) -> Array:
    """Codes of fl32(fl32(amax / 6) / tensor scale), down to zero."""
    return reference.table_round_array(case.amax / F(6) / tensor_scale_of(case), reference.E4M3)


E4M3_VALUES = F(
    [0.0 if (v := reference.decode(c, reference.E4M3)) == "nan" else float(v) for c in range(128)]
)


def reciprocal(case: Case) -> Array:
    """x * fl32(fl32(1 / tensor scale) / scale) against x / fl32(scale * tensor scale)."""
    scale, second = E4M3_VALUES[np.maximum(block_scales(case), 8)][:, None], tensor_scale_of(case)
    x = np.where(np.isfinite(case.x), case.x, F(0))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return case.otherwise(x * (F(1) / second / scale), x / (scale * second))


def low_scale(case: Case) -> Array:
    return (block_scales(case) < 8) & ~case.nan & ~case.inf


TORCHAO_NVFP4 = (
    Difference(
        "nan_codes",
        "torchao nvfp4_quantize",
        "with and without a tensor scale",
        "a block with NaN",
        "the scale is NaN, as here; every element is NaN's bits read as a number, here 0",
        "FP4 has no NaN",
        "both: the scale makes every value NaN",
        lambda case: case.nan,
    ),
    Difference(
        "infinity",
        "torchao nvfp4_quantize",
        "with and without a tensor scale",
        "a block with an infinity, and no NaN",
        "the scale is 448 and the infinity becomes 6; here the scale is NaN",
        "the wanted scale is clamped to 448",
        "no specification says; here an overflow stays visible in the result",
        lambda case: case.inf,
    ),
    Difference(
        "scale_floor",
        "torchao nvfp4_quantize",
        "with and without a tensor scale",
        "amax / 6 / tensor scale rounds below 2**-6, blocks of zeros included",
        "the scale is 2**-6, E4M3's smallest normal number; here the scale is rounded, down to 2**-9",
        "clamp(min=finfo(e4m3).tiny)",
        "the paper (2509.25149) says E4M3 and no floor: ours keeps more of small blocks. The spec's "
        "least_scale=2**-6 is torchao's",
        low_scale,
    ),
    Difference(
        "reciprocal",
        "torchao nvfp4_quantize",
        "with and without a tensor scale",
        "quotients x / scale next to a tie of E2M1",
        "the element goes to the other side of the tie",
        "x * fl32(fl32(1 / tensor scale) / scale) instead of x / fl32(scale * tensor scale)",
        "the paper and TransformerEngine multiply by a reciprocal too, of fl32(scale * tensor scale) (the "
        "spec's arithmetic); the division is nearer to x / scale",
        lambda case: reciprocal(case) & ~low_scale(case) & ~case.nan & ~case.inf,
    ),
)


#: The package's conventions, and the one that torchao's least scale asks for: all scales of finite blocks
#: are then the same, and only elements next to a tie are left.
NV = dataclasses.replace(pr.NVFP4, arithmetic=pr.Arithmetic.DIVISION)
NV_FLOOR = dataclasses.replace(NV, least_scale=2.0**-6)
TORCHAO_NVFP4_FLOOR = (
    *(row for row in TORCHAO_NVFP4 if row.name not in ("scale_floor", "reciprocal")),
    dataclasses.replace(
        next(row for row in TORCHAO_NVFP4 if row.name == "reciprocal"),
        blocks=lambda case: reciprocal(case) & ~case.nan & ~case.inf,
    ),
)
BOTH_FLOORS = pytest.mark.parametrize(
    ("nv", "table"), [(NV, TORCHAO_NVFP4), (NV_FLOOR, TORCHAO_NVFP4_FLOOR)], ids=["ours", "floor"]
)


def wrong_floor(case: Case) -> Array:
    """The exponent from NumPy's float32 log2 is one too high, and is not clipped."""
    emax = reference.floor_log2(oracle.largest(case.element))
    with np.errstate(divide="ignore"):
        floor = np.floor(np.log2(case.amax.astype(np.float64)).astype(F))
    return (case.amax > 0) & (np.clip(floor - emax, -127, 127) != case.exponents())


GFLOAT_LOGARITHM = Difference(
    "logarithm",
    "gfloat quantize_block, compute_scale_amax",
    "float32 input, all formats (with float64 input the same values are right)",
    "amax a few units in the last place below 2**k",
    "the scale is twice FLOOR's",
    "floor(log2(amax)) in float32: for such amax the logarithm rounds to k itself",
    "ours: OCP 6.3 says the largest power of two that is at most amax",
    wrong_floor,
)
GFLOAT = (
    Difference(
        "infinity",
        "gfloat quantize_block, compute_scale_amax",
        "all formats",
        "a block with an infinity, and no NaN",
        "the scale is 2**127 and the infinity becomes the largest element; here the scale is NaN",
        "the exponent is clipped to 127",
        "neither is forbidden (OCP is silent on it); here an overflow stays visible in the result",
        lambda case: case.inf,
    ),
    Difference(
        "nan_codes",
        "gfloat quantize_block, compute_scale_amax",
        "MXFP8 (the other formats raise ValueError)",
        "a block with NaN",
        "scale NaN as here, all elements FF; here 7F, in E5M2 7E",
        "gfloat's code of NaN is the one with the sign",
        "both: codes under a NaN scale are out of scope (OCP 4)",
        lambda case: case.nan,
    ),
    Difference(
        "asymmetric_int8",
        "gfloat quantize_block, compute_scale_amax",
        "MXINT8",
        "an element that rounds to -2 or below, in units of the scale",
        "code 80, which is -2; here 81, which is -127/64",
        "gfloat's ocp_int8 has the value -2",
        "both: OCP 5.3.4 lets the code -128 unused for symmetry, as microxcaling does",
        lambda case: most_negative(case),
    ),
)


def most_negative(case: Case) -> Array:
    if not isinstance(case.element, oracle.Integer):
        return np.zeros(len(case.x), bool)
    x = np.where(np.isfinite(case.x), case.x, F(0)).astype(np.float64)
    scale = np.ldexp(1.0, case.exponents())[:, None]
    return ((case.codes(x / scale) <= -128).any(axis=1)) & ~case.nan & ~case.inf


# ---- the comparison ---------------------------------------------------------------------------------


def compare(ours: tuple[Array, Array], theirs: tuple[Array, Array], case: Case, table: Any) -> None:
    """The blocks that differ are those that the table says."""
    differs = (ours[0].reshape(-1) != theirs[0].reshape(-1)) | (ours[1] != theirs[1]).any(axis=1)
    explained = np.zeros(len(differs), bool)
    for row in table:
        explained |= row.blocks(case)
    wrong = np.flatnonzero(differs != explained)
    assert not wrong.size, "\n".join(
        f"{'unexplained' if differs[i] else 'no longer differs'}: {case.x[i].tolist()}\n"
        f"  ours {ours[0].reshape(-1)[i]} {ours[1][i].tolist()}\n"
        f"  theirs {theirs[0].reshape(-1)[i]} {theirs[1][i].tolist()}"
        for i in wrong[:3]
    )


def near_powers(limit: float) -> Array:
    """Blocks whose amax lies up to 40 places around max * 2**k and around 2**k, for k of all sizes."""
    rng = np.random.default_rng(20)
    at = np.repeat([-126, -100, -64, -33, -7, -1, 0, 1, 2, 5, 17, 60, 100, 119], 24)
    base = np.where(np.arange(at.size) % 2, limit, 1.0) * np.ldexp(1.0, at)
    near = float32(base).view(np.int32) + rng.choice([-40, -9, -3, -2, -1, 0, 1, 2, 3, 5, 9, 15, 40], at.size)
    x = np.clip(near, 1, 0x7F7FFFFF).astype(np.int32).view(F)[:, None] * float32(rng.random((at.size, 32)))
    x[:, 5] = np.clip(near, 1, 0x7F7FFFFF).astype(np.int32).view(F) * rng.choice(F([-1, 1]), at.size)
    return x


def lowest(limit: float) -> Array:
    """Blocks whose scale is E8M0's smallest, or just is not."""
    rng = np.random.default_rng(21)
    x = rng.standard_normal((60, 32)) * np.ldexp(limit, rng.integers(-132, -125, (60, 1)))
    return float32(x)


def inputs(limit: float, width: int = 32) -> dict[str, Array]:
    rng = np.random.default_rng(22)
    drawn = {name: kind(rng, 120, width, limit) for name, kind in KINDS.items()}
    normal = float32(rng.standard_normal((200, width)))
    mixed = float32(normal * np.ldexp(1.0, rng.integers(-12, 3, (200, 1))))
    both = {"normal": normal, "mixed": mixed, "bfloat16": mixed.astype(pr.BF16.dtype).astype(F)}
    return drawn | both


def mx_inputs(limit: float) -> dict[str, Array]:
    return inputs(limit) | {"near_powers": near_powers(limit), "lowest": lowest(limit)}


MODES = [mode.value for mode in ScaleCalculationMode]
TORCH_TYPES = {
    "MXFP8_E4M3": torch.float8_e4m3fn,
    "MXFP8_E5M2": torch.float8_e5m2,
    "MXFP6_E2M3": "fp6_e2m3",
    "MXFP6_E3M2": "fp6_e3m2",
    "MXFP4": torch.float4_e2m1fn_x2,
}


def unpacked(codes: Any, packed: bool) -> Array:
    """Bytes of codes; two of FP4 lie in one byte, the first in its low half."""
    found = codes.view(torch.uint8).numpy()
    return np.stack([found & 15, found >> 4], axis=-1).reshape(len(found), -1) if packed else found


@pytest.mark.parametrize("name", TORCH_TYPES)
@pytest.mark.parametrize("mode", MODES)
def test_torchao_mx(mode: str, name: str) -> None:
    element = ELEMENTS[name]
    for x in mx_inputs(float(oracle.largest(element))).values():
        scale, codes = to_mx(torch.from_numpy(x), TORCH_TYPES[name], 32, ScaleCalculationMode(mode))
        theirs = scale.view(torch.uint8).numpy(), unpacked(codes, name == "MXFP4")
        ours = codes_of(pr.quantize(x, with_rule(name, mode)))
        compare(ours, theirs, Case(x, element, mode), TORCHAO_MX)


@pytest.mark.parametrize("mode", MODES)
def test_torchao_mx_of_bfloat16(mode: str) -> None:
    x = mx_inputs(448.0)["mixed"].astype(pr.BF16.dtype)
    given = torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    scale, codes = to_mx(given, torch.float8_e4m3fn, 32, ScaleCalculationMode(mode))
    theirs = scale.view(torch.uint8).numpy(), unpacked(codes, False)
    ours = codes_of(pr.quantize(x, with_rule("MXFP8_E4M3", mode)))
    compare(ours, theirs, Case(x.astype(F), reference.E4M3, mode), TORCHAO_MX)


@BOTH_FLOORS
def test_torchao_nvfp4_without_a_tensor_scale(nv: pr.QuantSpec, table: tuple[Difference, ...]) -> None:
    spec = dataclasses.replace(nv, tensor_scale=False)
    for x in inputs(6.0, 16).values():
        scale, codes = nvfp4_quantize(torch.from_numpy(x))
        theirs = scale.view(torch.uint8).numpy(), unpacked(codes, True)
        compare(codes_of(pr.quantize(x, spec)), theirs, Case(x, reference.E2M1), table)


def nvfp4_tensors() -> dict[str, Array]:
    """Tensors whose tensor scale is a normal float32."""
    drawn = inputs(6.0, 16)
    rng = np.random.default_rng(23)
    ties = float32(rng.integers(-24, 25, (200, 16)) * np.ldexp(0.25, rng.integers(-4, 1, (200, 1))))
    return {n: drawn[n] for n in ("wide", "overflows", "specials", "normal", "mixed", "bfloat16")} | {
        "ties": np.concatenate([ties, F([[2688.0] * 16])]),
        "bfloat16_ties": (ties * F(1.375)).astype(pr.BF16.dtype).astype(F),
        "small": drawn["mixed"] * F(2.0**-110),
    }


@BOTH_FLOORS
def test_torchao_nvfp4_under_a_tensor_scale(nv: pr.QuantSpec, table: tuple[Difference, ...]) -> None:
    for x in nvfp4_tensors().values():
        q = pr.quantize(x, nv)
        finite = np.where(np.isfinite(x).all(axis=1, keepdims=True), x, F(0))
        wanted = per_tensor_amax_to_scale(torch.tensor(np.abs(finite).max()))
        assert wanted.item() == q.tensor_scale
        scale, codes = nvfp4_quantize(torch.from_numpy(x), per_tensor_scale=wanted)
        theirs = scale.view(torch.uint8).numpy(), unpacked(codes, True)
        compare(codes_of(q), theirs, Case(x, reference.E2M1, tensor_scale=q.tensor_scale), table)
        if nv is NV_FLOOR:
            usual = np.isfinite(x).all(axis=1)
            assert np.array_equal(codes_of(q)[0][usual, 0], theirs[0][usual, 0])


@pytest.mark.parametrize("shift", [-60, -3, 0, 5, 90])
def test_torchao_nvfp4_is_the_papers_where_the_tensor_scale_is_a_power_of_two(shift: int) -> None:
    """Without roundings of the tensor scale, 1 / ts / scale is 1 / (scale * ts): bytes alike, at ties too."""
    spec = dataclasses.replace(pr.NVFP4, least_scale=2.0**-6)
    for name, x in nvfp4_tensors().items():
        if name in ("wide", "overflows", "specials", "small"):
            continue
        x = np.ldexp(np.concatenate([np.clip(x, -2688, 2688), np.full((1, 16), F(2688))]), shift)
        q = pr.quantize(x, spec)
        second = torch.tensor(q.tensor_scale)
        assert (
            q.tensor_scale == np.ldexp(1.0, shift) == per_tensor_amax_to_scale(torch.tensor(x.max())).item()
        )
        scale, codes = nvfp4_quantize(torch.from_numpy(x), per_tensor_scale=second)
        assert np.array_equal(codes_of(q)[0], scale.view(torch.uint8).numpy().reshape(-1, 1))
        assert np.array_equal(codes_of(q)[1], unpacked(codes, True))


def test_torchao_nvfp4_of_a_tiny_tensor() -> None:
    """Below amax 2688 * 2**-128 torchao's 1 / tensor scale is infinite: zeros are NaN, all else is 6.

    Below 2688 * 2**-150 its tensor scale is zero, where ours is the smallest float32. Neither the paper
    nor NVIDIA's documents say what such a tensor gives; TransformerEngine clamps s_enc to FLT_MAX.
    """
    x = float32(np.random.default_rng(24).standard_normal((40, 16)) * 2.0**-120)
    x[:, 0] = 0
    q = pr.quantize(x, NV)
    second = per_tensor_amax_to_scale(torch.tensor(np.abs(x).max()))
    assert second.item() == q.tensor_scale < 2.0**-128
    scale, codes = nvfp4_quantize(torch.from_numpy(x), per_tensor_scale=second)
    found = unpacked(codes, True)
    assert (found[:, 1:] & 7 == 7).all() and not (found[:, 0] & 7 == 0).any()
    assert np.array_equal(np.maximum(codes_of(q)[0][:, 0], 8), scale.view(torch.uint8).numpy()[:, 0])
    assert np.abs(q.dequantize() - x).max() <= np.abs(x).max() / 5  # ours are numbers of use

    least = F(2.0**-149)
    assert per_tensor_amax_to_scale(torch.tensor(least * F(1000))).item() == 0
    assert pr.quantize(np.full((1, 16), least * F(1000)), NV).tensor_scale == least
    assert per_tensor_amax_to_scale(torch.tensor(0.0)).item() == 0  # and 1 here
    assert pr.quantize(np.zeros((1, 16), F), NV).tensor_scale == 1


GFLOAT_FORMATS = {
    "MXFP8_E4M3": gf.format_info_mxfp8_e4m3,
    "MXFP8_E5M2": gf.format_info_mxfp8_e5m2,
    "MXFP6_E2M3": gf.format_info_mxfp6_e2m3,
    "MXFP6_E3M2": gf.format_info_mxfp6_e3m2,
    "MXFP4": gf.format_info_mxfp4_e2m1,
    "MXINT8": gf.format_info_mxint8,
}


def gfloat_codes(x: Array, info: Any) -> tuple[Array, Array]:
    """The steps of gfloat.quantize_block, which itself gives the values."""
    found = []
    for row in x:
        scale = gfloat.compute_scale_amax(info.etype.emax, row)
        with np.errstate(invalid="ignore"):
            found.append(list(gfloat.encode_block(info, scale, row / scale)))
    table = np.array(found)
    return table[:, 0], table[:, 1:]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", GFLOAT_FORMATS)
def test_gfloat(name: str, dtype: type) -> None:
    element, info, spec = ELEMENTS[name], GFLOAT_FORMATS[name], getattr(pr, name)
    table = (*GFLOAT, GFLOAT_LOGARITHM) if dtype is np.float32 else GFLOAT
    for x in mx_inputs(float(oracle.largest(element))).values():
        x = x[::3]
        if not name.startswith("MXFP8"):
            bad = np.isnan(x).any(axis=1)
            for row in x[bad][:1]:
                with pytest.raises(ValueError, match="No NaN"):
                    gfloat_codes(row[None], info)
            x = x[~bad]
        with np.errstate(over="ignore", under="ignore"):
            theirs = gfloat_codes(x.astype(dtype), info)
        compare(codes_of(pr.quantize(x, spec)), theirs, Case(x, element, "floor"), table)


def test_gfloat_values() -> None:
    """What gfloat.quantize_block returns is what its codes say, and what ours restore to."""
    x = inputs(6.0)["mixed"][:20].astype(np.float64)
    for name, info in GFLOAT_FORMATS.items():
        if name == "MXINT8":
            x = np.abs(x)  # away from the code -128
        ours = pr.quantize(x, getattr(pr, name)).dequantize(np.float64)
        theirs = [gfloat.quantize_block(info, row, gfloat.compute_scale_amax) for row in x]
        np.testing.assert_array_equal(ours, theirs)


def nv_cases() -> Iterator[Case]:
    for x in nvfp4_tensors().values():
        yield Case(x, reference.E2M1, tensor_scale=pr.quantize(x, NV).tensor_scale)


def mx_cases() -> Iterator[Case]:
    for name, rule in itertools.product(("MXFP4", "MXFP8_E5M2", "MXINT8"), MODES):
        for x in mx_inputs(float(oracle.largest(ELEMENTS[name]))).values():
            yield Case(x, ELEMENTS[name], rule)


@pytest.mark.parametrize(
    ("table", "cases"),
    [
        (TORCHAO_MX, mx_cases),
        (TORCHAO_NVFP4, nv_cases),
        (TORCHAO_NVFP4_FLOOR, nv_cases),
        ((*GFLOAT, GFLOAT_LOGARITHM), mx_cases),
    ],
    ids=["torchao_mx", "torchao_nvfp4", "torchao_nvfp4_floor", "gfloat"],
)
def test_every_difference_is_met(table: tuple[Difference, ...], cases: Callable[[], Iterator[Case]]) -> None:
    """The inputs hold blocks of every row, so that none of them is asserted of nothing."""
    left = {row.name: row for row in table}
    for case in cases():
        left = {name: row for name, row in left.items() if not row.blocks(case).any()}
    assert not left
