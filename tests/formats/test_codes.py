"""Codes with bits that their format has not: every reader refuses them, or reads them as ml_dtypes does."""

import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import precision as pr
from precision import storage
from precision.formats import FP64, INT2, INT4, NAMED, UINT1, UINT2, UINT4, FloatFormat, IntFormat
from precision.formats._code_checks import clean_codes, largest_code

UNNAMED = (
    IntFormat(3), IntFormat(5, signed=False), IntFormat(9), IntFormat(12), IntFormat(4, fraction_bits=2),
    FloatFormat(2, 2), FloatFormat(5, 12), FloatFormat(8, 4, signed=False),
    FloatFormat(3, 0, specials=pr.Specials.NONE),
)  # fmt: skip
FORMATS = [fmt for fmt in (*NAMED.values(), *UNNAMED) if fmt != FP64]
NARROW_INTEGERS = [INT4, UINT4, INT2, UINT2, UINT1, IntFormat(4, fraction_bits=2)]
NARROW_FLOATS = [pr.E2M1, pr.E2M3, pr.E3M2]
LOOSE = [fmt for fmt in FORMATS if fmt.bits < 8 * fmt.code_dtype.itemsize]
BYTES = np.arange(256, dtype=np.uint8)


def unit_for(fmt):
    """A unit whose kernels look codes up in tables."""
    if isinstance(fmt, IntFormat):
        return pr.EXACT
    return pr.FusedSum((fmt,), 16, fraction_bits=25, alignment_rounding=pr.Rounding.TIES_TO_EVEN)


READERS = {
    "dequantize": lambda q: q.dequantize(),
    "dequantize float64": lambda q: q.dequantize(np.float64),
    "transposed": lambda q: q.T.dequantize().T,
    "decode": lambda q: pr.decode(q.codes, q.fmt),
    "matmul": lambda q: pr.matmul(q, q.T, accumulator=unit_for(q.fmt)),
    "matmul exact": lambda q: pr.matmul(q, q.T, accumulator=pr.EXACT),
    "matmul fma": lambda q: pr.matmul(q, q.T, accumulator=pr.FP32_FMA),
    "trace": lambda q: np.stack(pr.trace(row(q), row(q), accumulator=pr.FP32_FMA)),
    "pack": lambda q: storage.pack(q.codes, q.fmt) if q.fmt.bits <= 16 else q.codes.copy(),
}


def row(q):
    parts = {"scale": np.ones(1, np.float32), "fmt": q.fmt, "scale_format": pr.FP32, "tensor_scale": None}
    return pr.QuantizedTensor._of_settled_parts(codes=q.codes[0], block=(None,), **parts)


def tensor(codes: np.ndarray, fmt) -> pr.QuantizedTensor:
    """A tensor that was sound when it was built, with these codes."""
    q = pr.QuantizedTensor(np.zeros_like(codes).view(fmt.code_dtype), 1.0, fmt=fmt)
    q.codes[...] = codes.view(fmt.dtype)
    return q


def stray(fmt, seed: int, shape: tuple[int, ...] = (3, 37)) -> np.ndarray:
    """Any bits of the codes' type, at least one of them above the format's."""
    top = np.iinfo(fmt.code_dtype).max
    codes = np.random.default_rng(seed).integers(0, top, shape, dtype=fmt.code_dtype, endpoint=True)
    codes[-1, -1] = top
    return codes


def expected_error(fmt, codes: np.ndarray) -> str:
    largest = int(codes.view(fmt.code_dtype).max())
    return re.escape(f"codes of {fmt} must lie below 2**{fmt.bits}, got {largest}")


@pytest.mark.parametrize("fmt", LOOSE, ids=str)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_of_a_tensor_whose_codes_were_changed(reader, fmt):
    for seed in range(3):
        codes = stray(fmt, seed)
        q = tensor(codes, fmt)
        if fmt in NARROW_INTEGERS:
            clean = tensor(codes & codes.dtype.type((1 << fmt.bits) - 1), fmt)
            assert READERS[reader](q).tobytes() == READERS[reader](clean).tobytes()
            assert (q.codes.view(codes.dtype) == codes).all()  # the caller's stay as they are
            continue
        if (reader == "pack" and fmt.bits > 16) or (reader == "matmul" and not takes(fmt)):
            continue  # neither reads such codes
        with pytest.raises(ValueError, match=expected_error(fmt, codes[:1] if reader == "trace" else codes)):
            READERS[reader](q)


def takes(fmt) -> bool:
    try:
        unit_for(fmt)
    except (TypeError, ValueError):
        return False
    return True


@pytest.mark.parametrize("fmt", LOOSE, ids=str)
def test_unsigned_integers_are_taken_at_their_word(fmt):
    codes = stray(fmt, 5)
    message = expected_error(fmt, codes)
    for read in (
        lambda: pr.QuantizedTensor(codes, 1.0, fmt=fmt),
        lambda: pr.QuantizedTensor(codes[:, ::-2].T, 1.0, fmt=fmt),
        lambda: pr.decode(codes, fmt),
        lambda: pr.decode(codes.astype(np.uint64), fmt),
        lambda: pr.decode(codes.astype(codes.dtype.newbyteorder(">")), fmt),
        *([lambda: storage.pack(codes, fmt)] if fmt.bits <= 16 else []),
    ):
        with pytest.raises(ValueError, match=r"must lie below 2\*\*" + str(fmt.bits)):
            read()
    with pytest.raises(ValueError, match=message):
        pr.QuantizedTensor(codes, 1.0, fmt=fmt)
    none = pr.QuantizedTensor(codes[:0], np.ones((0, 1), np.float32), fmt=fmt)
    assert none.dequantize().shape == (0, 37)


@pytest.mark.parametrize("fmt", NARROW_INTEGERS, ids=str)
def test_all_bytes_of_narrow_integers_are_read_as_ml_dtypes_reads_them(fmt):
    codes = BYTES.view(fmt.dtype)
    wanted = codes.astype(np.float32) / 2.0**fmt.fraction_bits
    assert (pr.decode(codes, fmt) == wanted).all()
    q = pr.QuantizedTensor(codes.reshape(4, 64), 1.0, fmt=fmt)
    assert (q.dequantize().ravel() == wanted).all()
    ones = pr.QuantizedTensor(pr.encode(np.ones((1, 1)), pr.E4M3), 1.0, fmt=pr.E4M3)
    column = pr.QuantizedTensor(codes.reshape(256, 1), 1.0, fmt=fmt)
    for unit in (pr.EXACT, pr.FP32_FMA):
        assert (pr.matmul(column, ones, accumulator=unit).ravel() == wanted).all()
    back = storage.unpack(storage.pack(codes, fmt), fmt, 256)
    assert (pr.decode(back, fmt) == wanted).all()


@pytest.mark.parametrize("fmt", NARROW_FLOATS, ids=str)
def test_all_bytes_of_narrow_floats_are_read_as_ml_dtypes_reads_them_or_refused(fmt):
    """ml_dtypes reads a byte with bits above in two ways, one converting and one comparing: none is taken."""
    for code in range(256):
        codes = np.uint8([[code]]).view(fmt.dtype)
        if code >> fmt.bits:
            for name, read in {
                "codes": lambda codes=codes: pr.QuantizedTensor(codes, 1.0, fmt=fmt),
                "decode": lambda codes=codes: pr.decode(codes, fmt),
                "a": lambda codes=codes: pr.matmul(codes, codes, accumulator=pr.FP32_FMA),
                "pack": lambda codes=codes: storage.pack(codes, fmt),
            }.items():
                with pytest.raises(
                    ValueError, match=rf"codes of {fmt} must lie below 2\*\*{fmt.bits}, got {code}"
                ):
                    read()
                    raise AssertionError(name)
            continue
        wanted = codes.astype(np.float32)
        one = pr.QuantizedTensor(codes, 1.0, fmt=fmt)
        assert pr.decode(codes, fmt).tobytes() == one.dequantize().tobytes() == wanted.tobytes()
        assert pr.matmul(one, np.ones((1, 1), np.float16), accumulator=pr.EXACT)[0, 0] == wanted[0, 0]


def test_the_names_of_operands_and_scales_are_said():
    good = pr.QuantizedTensor(np.zeros((2, 4), np.uint16), 1.0, fmt=pr.E5M6)
    bad = tensor(np.full((2, 4), 0xFFFF, np.uint16), pr.E5M6)
    for name, pair in {"a": (bad, good.T), "b": (good, bad.T)}.items():
        with pytest.raises(ValueError, match=rf"^{name}: codes of e5m6 must lie below 2\*\*12, got 65535"):
            pr.matmul(*pair, accumulator=unit_for(pr.E5M6))
    with pytest.raises(ValueError, match=r"^b_column: codes of e5m6"):
        pr.trace(row(good), row(bad), accumulator=pr.FP32_FMA)
    with pytest.raises(ValueError, match=r"^scale of e5m6 must lie below 2\*\*12"):
        pr.QuantizedTensor(good.codes, np.full((2, 1), 0x8000, np.uint16), fmt=pr.E5M6, scale_format=pr.E5M6)
    scale = pr.encode(np.ones((2, 4)), pr.E5M6)
    worn = pr.QuantizedTensor(good.codes, scale, fmt=pr.E5M6, scale_format=pr.E5M6)
    scale[1, 3] = 0x1000
    for read in (worn.dequantize, worn.multipliers, lambda: pr.matmul(worn, good.T, accumulator=pr.EXACT)):
        with pytest.raises(ValueError, match=r"scale of e5m6 must lie below 2\*\*12, got 4096"):
            read()


def test_files(tmp_path: Path):
    pytest.importorskip("safetensors")
    for fmt in (pr.E8M13, pr.E5M6, pr.E2M1):
        bad = tensor(stray(fmt, 0), fmt)
        with pytest.raises(ValueError, match=rf"^tensor 'w': codes of {fmt} must lie below"):
            storage.save(tmp_path / "w.safetensors", {"w": bad})
    assert not list(tmp_path.iterdir())
    odd = pr.QuantizedTensor(np.int8([[-1, 2, 3, 4]]).view(ml_dtypes.int4), 1.0, fmt=INT4)
    storage.save(tmp_path / "w.safetensors", {"w": odd})
    assert storage.load(tmp_path / "w.safetensors", "w").dequantize().tolist() == [[-1, 2, 3, 4]]


def test_logfmt():
    q = pr.quantize(np.ones((2, 128), np.float32), pr.LogFMT(10))
    q.codes[1, 5] = 1 << 10  # `dequantize`, which looks nothing up by a code, reads the low bits alone
    for read in (q.pack, q.check, lambda: type(q)(q.codes, q.metadata, q.spec)):
        with pytest.raises(
            ValueError, match=r"codes of (LogFMT\(10, 128\)|10 bits) must lie below 2\*\*10, got 1024"
        ):
            read()


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_largest_of_many(order):
    codes = np.zeros((1300, 2100), np.uint8, order=order)
    for view in (codes, codes.T, codes[::2, 1:], codes[::-1]):
        assert largest_code(view) == 0
        view[-1, -1] = 77
        assert largest_code(view) == 77
        view[-1, -1] = 0
    assert largest_code(codes[:0]) == 0
    full = codes.view(pr.E4M3.dtype)
    assert clean_codes(full, pr.E4M3) is full
