"""Blackwell's units against mmasim's model of them, an independent one (no recorded vectors exist here)."""

import numpy as np
import pytest

import precision as pr

REASON = "no extra brings PyTorch: pip install torch==2.13.0 mmasim==2.1.1"
torch = pytest.importorskip("torch", reason=REASON)
nv_ptx = pytest.importorskip("mmasim.nv_ptx.sim", reason=REASON)

ELEMENTS = {"e4m3": pr.E4M3, "e5m2": pr.E5M2, "e2m3": pr.E2M3, "e3m2": pr.E3M2, "e2m1": pr.E2M1}
M, N = 128, 40


def elements(rng, fmt, shape, finite):
    codes = rng.integers(0, 1 << fmt.bits, shape).astype(np.uint8)
    if finite:
        codes[~np.isfinite(pr.decode(codes, fmt))] = 1
    return codes


def starts(rng):
    c = rng.standard_normal((M, N)) * 2.0 ** rng.integers(-40, 40, (M, N))
    c[rng.random((M, N)) < 0.3] = 0
    return c.astype(np.float32)


def tensor(codes, scale, fmt, scale_format, block):
    return pr.QuantizedTensor(codes, scale.view(scale_format.dtype), fmt=fmt, block=block)


def same_bits(ours, theirs):
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.numpy().view(np.uint32))


@pytest.mark.parametrize("left", ELEMENTS)
@pytest.mark.parametrize("right", ELEMENTS)
def test_mx(left, right):
    """Every pair of elements: 4 x 5120 outputs, scales near one, far from it, at E8M0's ends, and NaN."""
    unit = nv_ptx.TCGen05MMABlockScale(
        "Blackwell", f"m{M}n{N}k32.kind::mxf8f6f4.block32.f32.{left}.{right}.ue8m0"
    )
    rng = np.random.default_rng([ord(x) for x in left + right])
    for spread, finite in ((2, True), (30, True), (127, True), (128, False)):
        a, b = elements(rng, ELEMENTS[left], (M, 32), finite), elements(rng, ELEMENTS[right], (32, N), finite)
        sa, sb = (
            np.clip(127 + rng.integers(-spread, spread + 1, shape), 0, 254 + (not finite)).astype(np.uint8)
            for shape in ((M, 1), (1, N))
        )
        c = starts(rng)

        def operand(codes, name):
            if name == "e2m1":  # lies in bits 2 to 5 of its byte
                codes = codes << 2
            found = torch.from_numpy(np.ascontiguousarray(codes))
            kinds = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
            return found.view(kinds[name]) if name in kinds else found

        scales = (torch.from_numpy(scale).view(torch.float8_e8m0fnu) for scale in (sa, sb))
        theirs = unit(operand(a, left), operand(b, right), torch.from_numpy(c), *scales)
        qa = tensor(a, sa, ELEMENTS[left], pr.E8M0, (1, 32))
        qb = tensor(b, sb, ELEMENTS[right], pr.E8M0, (32, 1))
        same_bits(pr.matmul(qa, qb, accumulator=pr.BLACKWELL_MX, c=c), theirs)


@pytest.mark.parametrize(("scale_format", "block"), [("ue4m3", 16), ("ue8m0", 16), ("ue8m0", 32)])
def test_nvfp4(scale_format, block):
    """K = 64 in one step: 8 x 5120 outputs, dense and sparse, every finite scale, then NaN ones."""
    unit = nv_ptx.TCGen05MMABlockScale(
        "Blackwell", f"m{M}n{N}k64.kind::mxf4nvf4.block{block}.f32.e2m1.e2m1.{scale_format}"
    )
    fmt = pr.E4M3 if scale_format == "ue4m3" else pr.E8M0
    kind = torch.float8_e4m3fn if fmt == pr.E4M3 else torch.float8_e8m0fnu
    nan = 127 if fmt == pr.E4M3 else 255
    rng = np.random.default_rng(block + len(scale_format))
    for round_ in range(8):
        a, b = (elements(rng, pr.E2M1, shape, True) for shape in ((M, 64), (64, N)))
        if round_ % 2:
            a[rng.random(a.shape) < 0.95] = 0
        low, high = (0, nan) if fmt == pr.E4M3 else (67, 188)
        sa, sb = (
            rng.integers(low, high, shape).astype(np.uint8) for shape in ((M, 64 // block), (64 // block, N))
        )
        if round_ >= 6:
            sa[::7, 0] = nan
        c = starts(rng)
        # Elements decoded here: mmasim's own unpacking wants two of them a byte.
        values = (torch.from_numpy(pr.decode(x, pr.E2M1)) for x in (a, b))
        scales = (torch.from_numpy(scale).view(kind) for scale in (sa, sb))
        theirs = unit.arithmetic_op(*values, torch.from_numpy(c), *scales)
        qa = tensor(a, sa, pr.E2M1, fmt, (1, block))
        qb = tensor(b, sb, pr.E2M1, fmt, (block, 1))
        same_bits(pr.matmul(qa, qb, accumulator=pr.BLACKWELL_NVFP4, c=c), theirs)
