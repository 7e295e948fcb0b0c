"""`check_matmul` on good products (no false alarm), on callables that misbehave, and its arguments."""

import time

import numpy as np
import pytest
import reference as ref

import precision as pr
from precision.testing import check_matmul, matmul_properties
from precision.testing._reports import CheckFailed, Verdict

GROUPS, BLOCKS = pr.PerGroup(128), pr.PerBlock(128, 128)
SLOW = pr.HOPPER_FP8.promoted(128)

NAMED = [
    pr.HOPPER_FP8,
    SLOW,
    pr.HOPPER_FP8_ACC16,
    pr.HOPPER_FP16,
    pr.HOPPER_BF16,
    pr.HOPPER_FP16_ACC16,
    pr.HOPPER_TF32,
    pr.BLACKWELL_MX,
    pr.BLACKWELL_NVFP4,
    pr.FP32_FMA,
    pr.FP32_FMA.promoted(128),
    pr.EXACT,
]
SCALED = [
    (SLOW, (GROUPS, BLOCKS)),
    (SLOW, GROUPS),
    (pr.HOPPER_FP8, pr.PerVector()),
    (SLOW, pr.PerTensor()),
    (pr.BLACKWELL_NVFP4, pr.MXFP4),
    (pr.EXACT, GROUPS),
]


@pytest.fixture(autouse=True)
def one_thread():
    """Products here are tiny: handing them to threads only costs time."""
    before = pr.get_num_threads()
    pr.set_num_threads(1)
    yield
    pr.set_num_threads(before)


def own(accumulator, dtype=np.float32):
    def fn(a, b, c=None):
        return pr.matmul(a, b, accumulator=accumulator, c=c, dtype=dtype)

    return fn


@pytest.mark.parametrize("accumulator", NAMED, ids=str)
def test_own_products_pass(accumulator):
    report = check_matmul(own(accumulator), accumulator, start=True)
    assert report.ok, str(report)


@pytest.mark.parametrize("accumulator", NAMED, ids=str)
def test_own_products_are_within_their_bounds(accumulator):
    report = check_matmul(own(accumulator), accumulator, exact=False)
    assert report.ok, str(report)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(("accumulator", "scales"), SCALED, ids=str)
def test_own_scaled_products_pass(accumulator, scales, exact):
    report = check_matmul(own(accumulator), accumulator, scales=scales, exact=exact)
    assert report.ok, str(report)


@pytest.mark.parametrize("dtype", [np.float16, pr.BF16.dtype])
def test_results_of_16_bits_pass(dtype):
    report = check_matmul(own(pr.HOPPER_BF16, dtype), pr.HOPPER_BF16, dtype=dtype)
    assert report.ok, str(report)


def by_reference(a, b):
    """HOPPER_FP8 in Python integers."""
    unit = ref.Unit(32, 13, ref.E8M13)
    codes = a.view(np.uint8).tolist(), b.view(np.uint8).T.tolist()
    values = [[ref.dot(row, ref.E4M3, column, ref.E4M3, unit) for column in codes[1]] for row in codes[0]]
    return np.array([[float(v) for v in row] for row in values], np.float32)


def test_a_slow_reference_passes():
    report = check_matmul(by_reference, pr.HOPPER_FP8, batches=False)
    assert report.ok, str(report)


def test_blas_is_within_bounds():
    def blas(a, b):
        return np.matmul(a.astype(np.float32), b.astype(np.float32))

    for like in (pr.FP32_FMA, pr.HOPPER_FP8, pr.HOPPER_BF16):
        report = check_matmul(blas, like, exact=False)
        assert report.ok, str(report)
    assert not check_matmul(lambda a, b: blas(a, b) * np.float32(0), pr.HOPPER_FP8, exact=False).ok


def test_torch_is_within_bounds():
    torch = pytest.importorskip("torch", reason="no extra brings PyTorch: pip install torch==2.13.0")
    report = check_matmul(torch.matmul, pr.FP32_FMA, exact=False, convert=torch.from_numpy)
    assert report.ok, str(report)


def test_bounds_name_misread_operands():
    def transposed(a, b):
        y = b.swapaxes(-1, -2) if b.shape[-1] == b.shape[-2] else b
        return np.matmul(a, y)

    report = check_matmul(transposed, pr.FP32_FMA, exact=False)
    assert report.causes == ("b read transposed",), str(report)


# ---- what a callable takes ---------------------------------------------------------------------------
def test_codes_with_their_scales():
    def fn(a, b, scale_a, scale_b):
        assert a.dtype == b.dtype == np.uint8
        tensors = (
            pr.QuantizedTensor(x, s, fmt=pr.E4M3, block=block)
            for x, s, block in ((a, scale_a, (1, 128)), (b, scale_b, (128, 128)))
        )
        return pr.matmul(*tensors, accumulator=SLOW)

    assert check_matmul(fn, SLOW, scales=(GROUPS, BLOCKS), operands="codes", batches=False).ok


def test_values_with_two_levels_of_scales():
    def fn(a, b, scale_a, scale_b, tensor_a, tensor_b):
        spread = np.repeat(scale_a, 16, 1)[:, : a.shape[1]], np.repeat(scale_b, 16, 0)[: b.shape[0]]
        y = (a * spread[0]).astype(np.float64) @ (b * spread[1]).astype(np.float64)
        return (y * float(np.float32(tensor_a * tensor_b))).astype(np.float32)

    options = {"scales": pr.NVFP4, "operands": "values", "batches": False, "exact": False}
    report = check_matmul(fn, pr.BLACKWELL_NVFP4, **options)
    assert report.ok, str(report)


# ---- bad callables -----------------------------------------------------------------------------------
def test_bad_callables_are_named():
    good = own(pr.HOPPER_FP8)

    def writes(a, b):
        y = good(a, b)
        a[...] = 0
        return y

    state = np.random.default_rng(0)

    def restless(a, b):
        return good(a, b) + state.random() * np.float32(1e-3)

    def fails(a, b):
        raise RuntimeError("no such kernel")

    def hangs(a, b):
        time.sleep(5)

    for fn, cause in (
        (lambda a, b: good(a, b).T[..., :1], "wrong shape"),
        (lambda a, b: good(a, b).astype(np.float64), "wrong dtype"),
        (lambda a, b: "seven", "wrong type"),
        (fails, "raises"),
        (writes, "changes its input"),
    ):
        assert check_matmul(fn, pr.HOPPER_FP8).causes[0] == cause
    assert check_matmul(restless, pr.HOPPER_FP8)["determinism"].cause == "not deterministic"
    report = check_matmul(hangs, pr.HOPPER_FP8, time_limit=0.05)
    assert report.causes == ("hangs",)
    assert report["alignment"].verdict is Verdict.NOT_APPLICABLE


def test_the_smallest_failing_product_is_small():
    report = check_matmul(own(pr.HOPPER_FP8.with_width(12)), pr.HOPPER_FP8)
    assert "M=1, N=1" in report["alignment"].example
    properties = {str(prop): prop for prop in matmul_properties("HOPPER_FP8")}
    with pytest.raises(CheckFailed, match="12 fraction bits"):
        properties["alignment"].check(own(pr.HOPPER_FP8.with_width(12)))


def test_arguments():
    for options, error, text in (
        ({"like": "HOPPER_FP9"}, ValueError, "HOPPER_FP8"),
        ({"like": 3}, TypeError, "like must be an accumulator"),
        ({"like": pr.HOPPER_FP8, "operands": "bits"}, ValueError, "operands must be"),
        ({"like": pr.HOPPER_FP8, "dtype": np.float64}, TypeError, "dtype must be"),
        ({"like": pr.HOPPER_FP8, "scales": GROUPS}, ValueError, "accumulator must be promoted"),
        ({"like": pr.HOPPER_FP8, "formats": pr.FP16}, TypeError, "must hold"),
        ({"like": pr.HOPPER_FP8, "formats": 8}, TypeError, "formats must be"),
    ):
        with pytest.raises(error, match=text):
            check_matmul(own(pr.HOPPER_FP8), **options)
    with pytest.raises(TypeError, match="fn must be callable"):
        check_matmul(3, pr.HOPPER_FP8)


def test_the_command_checks_products(tmp_path):
    from click.testing import CliRunner

    from precision.cli import command

    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np, precision as pr\n"
        "def good(a, b):\n    return pr.matmul(a, b, accumulator=pr.HOPPER_FP8)\n"
        "def blas(a, b):\n    return a.astype(np.float32) @ b.astype(np.float32)\n"
    )
    runner = CliRunner()
    good = runner.invoke(command, ["check", f"{file}:good", "--like", "HOPPER_FP8"])
    assert good.exit_code == 0, good.output
    blas = runner.invoke(command, ["check", f"{file}:blas", "--like", "HOPPER_FP8"])
    assert blas.exit_code == 1
    assert "accumulates in FP32 where 13 bits were declared" in " ".join(blas.output.split())
    bound = runner.invoke(command, ["check", f"{file}:blas", "--like", "HOPPER_FP8", "--bound"])
    assert bound.exit_code == 0, bound.output
