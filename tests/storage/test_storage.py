"""Bit streams against Python's integers, scale tiles against the formula one by one, files bit for bit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save_file

import precision as pr
from precision import storage
from precision.formats import (
    E3M4,
    E4M3_IEEE,
    E4M3FNUZ,
    E5M2FNUZ,
    INT2,
    INT8,
    NAMED,
    UE4M3,
    UE5M3,
    UINT1,
    UINT4,
    UINT8,
    FloatFormat,
    IntFormat,
    parse_format,
)
from precision.formats._bit_packing import pack_bits, unpack_bits
from precision.formats._text_language import evaluate
from precision.quantization._quant_spec import SPECS

SHORT = [fmt for fmt in NAMED.values() if fmt.bits <= 16]
SHORT += [IntFormat(bits) for bits in range(2, 17)] + [IntFormat(bits, signed=False) for bits in range(1, 17)]
UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


def bits_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(UNSIGNED[array.itemsize])


def stream(row: list[int], bits: int) -> bytes:
    """One row's bytes, from one large integer."""
    whole = sum(code << (i * bits) for i, code in enumerate(row))
    return whole.to_bytes((len(row) * bits + 7) // 8, "little")


def drawn_codes(bits: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, shape)
    return codes.astype(np.uint8 if bits <= 8 else np.uint16)


# ---- packed codes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_width_and_length(bits):
    for length in range(35):
        codes = drawn_codes(bits, (3, length), seed=length)
        packed = pack_bits(codes, bits)
        assert packed.dtype == np.uint8
        assert [row.tobytes() for row in packed] == [stream(row.tolist(), bits) for row in codes]
        assert packed.shape == (3, (length * bits + 7) // 8)
        back = unpack_bits(packed, bits, length)
        assert back.dtype == codes.dtype and back.shape == codes.shape and (back == codes).all()


@given(st.data(), st.integers(1, 16), st.integers(0, 300))
@settings(deadline=None)
def test_round_trip(data, bits, length):
    row = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=length, max_size=length))
    codes = np.array(row, np.uint8 if bits <= 8 else np.uint16)
    packed = pack_bits(codes, bits)
    assert packed.tobytes() == stream(row, bits)
    assert unpack_bits(packed, bits, length).tolist() == row


@pytest.mark.parametrize("bits", [3, 4, 5, 6, 12])
@pytest.mark.parametrize(
    "shape", [(1 << 17,), ((1 << 17) + 5,), (2, (1 << 15) + 3), (70001, 7), (2, 3, 4096)]
)
def test_long_streams_and_threads(bits, shape):
    """Rows that are cut into pieces for threads, against NumPy's own bits."""
    codes = drawn_codes(bits, shape)
    ones = (codes[..., None] >> np.arange(bits, dtype=codes.dtype)) & 1
    wanted = np.packbits(ones.astype(np.uint8).reshape(*shape[:-1], -1), axis=-1, bitorder="little")
    before = pr.get_num_threads()
    try:
        for threads in (1, 3):
            pr.set_num_threads(threads)
            packed = pack_bits(codes, bits)
            assert packed.shape == wanted.shape and (packed == wanted).all()
            assert (unpack_bits(packed, bits, shape[-1]) == codes).all()
    finally:
        pr.set_num_threads(before)


@pytest.mark.parametrize("fmt", SHORT, ids=str)
def test_every_format(fmt):
    plain = (np.arange(2 * 75) * 7 % (1 << fmt.bits)).astype(fmt.code_dtype).reshape(2, 75)
    for codes in (plain, plain.view(fmt.dtype)):
        packed = storage.pack(codes, fmt)
        assert [row.tobytes() for row in packed] == [stream(row.tolist(), fmt.bits) for row in plain]
        back = storage.unpack(packed, fmt, 75)
        assert back.dtype == fmt.dtype and (bits_of(back) == plain).all()


def test_known_bytes():
    assert storage.pack(np.uint8([0x1, 0x2, 0xF]), pr.E2M1).tolist() == [0x21, 0x0F]
    four = np.uint8([0b000001, 0b100010, 0b111100, 0b010101])
    assert storage.pack(four, pr.E3M2).tolist() == [0b10000001, 0b11001000, 0b01010111]
    halves = np.float16([1.0, -2.0])
    assert storage.pack(halves, pr.FP16).tobytes() == halves.astype("<f2").tobytes()


@pytest.mark.parametrize("fmt", [pr.IntFormat(4), UINT4, INT2, UINT1], ids=str)
def test_bits_above_an_integer_are_no_part_of_it(fmt):
    """ml_dtypes looks at the low bits of a byte alone, and so does `pack`."""
    odd = np.random.default_rng(0).integers(0, 256, 77, dtype=np.uint8)
    clean = odd & ((1 << fmt.bits) - 1)
    assert (odd.view(fmt.dtype).astype(np.float32) == clean.view(fmt.dtype).astype(np.float32)).all()
    assert (storage.pack(odd.view(fmt.dtype), fmt) == storage.pack(clean, fmt)).all()


@pytest.mark.parametrize("fmt", [pr.E2M3, pr.E3M2, pr.E2M1], ids=str)
def test_bits_above_a_float_are_refused(fmt):
    odd = np.uint8([1, 2, 1 << fmt.bits, 3])
    for codes in (odd, odd.view(fmt.dtype)):
        with pytest.raises(ValueError, match=rf"below 2\*\*{fmt.bits}, got {1 << fmt.bits}"):
            storage.pack(codes, fmt)


def test_arrays_in_any_order_of_memory():
    codes = drawn_codes(6, (9, 5, 16))
    for view in (codes[::2], codes[..., ::-1], codes.transpose(2, 0, 1), codes[:, :, 1:8], codes[1]):
        kept = view.copy()
        packed = storage.pack(view, pr.E2M3)
        assert (packed == storage.pack(kept, pr.E2M3)).all() and (view == kept).all()
    packed = np.repeat(storage.pack(codes, pr.E2M3), 2, axis=0)[::2]
    packed.flags.writeable = False
    assert (bits_of(storage.unpack(packed, pr.E2M3, 16)) == codes).all()
    wide = storage.pack(codes.view(np.int8), INT8)
    wide[:] = 0
    assert codes.any()  # 8 bits are copied too


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: storage.pack([1], pr.E2M1), TypeError, "codes must be an ndarray, got list"),
        (lambda: storage.pack(np.int8([1]), pr.E2M1), TypeError, "dtype float4_e2m1fn or uint8, got int8"),
        (lambda: storage.pack(np.uint8(1), pr.E2M1), TypeError, "must be an ndarray"),
        (lambda: storage.pack(np.array(1, np.uint8), pr.E2M1), ValueError, "at least one axis"),
        (lambda: storage.pack(np.uint8([3, 16]), pr.E2M1), ValueError, r"below 2\*\*4, got 16"),
        (lambda: storage.pack(np.float32([1]), pr.FP32), ValueError, "at most 16 bits, got fp32 with 32"),
        (lambda: storage.pack(np.uint8([1]), "e2m1"), TypeError, "fmt must be a FloatFormat or an IntFormat"),
        (lambda: storage.unpack([1], pr.E2M1, 2), TypeError, "packed must be an ndarray, got list"),
        (lambda: storage.unpack(np.int8([1]), pr.E2M1, 2), TypeError, "dtype uint8, got int8"),
        (lambda: storage.unpack(np.uint8([1]), pr.E2M1, 2.0), TypeError, "length must be an int, got 2.0"),
        (lambda: storage.unpack(np.uint8([1]), pr.E2M1, -1), ValueError, "length must lie in 0"),
        (
            lambda: storage.unpack(np.uint8([1]), pr.E2M1, 3),
            ValueError,
            "must have 2 bytes a row for 3 codes",
        ),
        (lambda: storage.unpack(np.uint8([1, 2]), pr.E4M3, 1), ValueError, "must have 1 bytes a row"),
        (lambda: storage.unpack(np.uint8([1, 16]), pr.E2M1, 3), ValueError, "zero bits"),
        (lambda: storage.unpack(np.uint8([[0, 0], [0, 128]]), pr.E2M3, 2), ValueError, "zero bits"),
        (lambda: storage.unpack(np.array(1, np.uint8), pr.E2M1, 1), ValueError, "at least one axis"),
        (lambda: storage.unpack(np.uint8([1]), pr.TF32, 1), ValueError, "at most 16 bits"),
        (
            lambda: pack_bits(np.uint16([1]), 7),
            TypeError,
            "codes of 7 bits must have dtype uint8, got uint16",
        ),
        (lambda: pack_bits(np.uint8([128]), 7), ValueError, r"below 2\*\*7, got 128"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- scales in tiles -------------------------------------------------------------------------------------
def tiled(scale: np.ndarray) -> np.ndarray:
    """One matrix, scale by scale, as cuBLAS's documentation says."""
    rows, columns = scale.shape
    high, wide = (rows + 127) // 128, (columns + 3) // 4
    found = np.zeros(512 * high * wide, np.uint8)
    for row in range(rows):
        for column in range(columns):
            r, c = row % 128, column % 4
            tile = (row // 128) * wide + column // 4
            found[512 * tile + (r % 32) * 16 + (r // 32) * 4 + c] = scale[row, column]
    return found


@pytest.mark.parametrize(
    "shape", [(1, 1), (128, 4), (129, 5), (31, 3), (33, 9), (300, 17), (256, 8), (0, 4), (5, 0)]
)
def test_tiles(shape):
    scale = np.random.default_rng(1).integers(1, 256, shape, dtype=np.uint8)
    for kind in (np.uint8, ml_dtypes.float8_e8m0fnu, ml_dtypes.float8_e4m3fn):
        found = storage.swizzle(scale.view(kind))
        assert found.dtype == np.uint8 and found.shape == tiled(scale).shape
        assert (found == tiled(scale)).all()
    back = storage.unswizzle(found, shape)
    assert back.shape == shape and (back == scale).all()
    assert (storage.swizzle(scale.T.copy().T) == found).all()


@given(st.integers(0, 260), st.integers(0, 12), st.lists(st.integers(0, 3), max_size=2))
@settings(deadline=None, max_examples=30)
def test_tiles_of_batches(rows, columns, batch):
    scale = np.random.default_rng(rows).integers(0, 256, (*batch, rows, columns), dtype=np.uint8)
    found = storage.swizzle(scale)
    for index in np.ndindex(*batch):
        assert (found[index] == tiled(scale[index])).all()
    assert (storage.unswizzle(found, scale.shape) == scale).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: storage.swizzle(np.ones((4, 4), np.float32)),
            TypeError,
            "float8_e8m0fnu, float8_e4m3fn, ui",
        ),
        (lambda: storage.swizzle([[1]]), TypeError, "scale must be an ndarray, got list"),
        (lambda: storage.swizzle(np.ones(4, np.uint8)), ValueError, "at least two axes"),
        (lambda: storage.unswizzle(np.ones(512, np.int8), (1, 1)), TypeError, "uint8, got int8"),
        (lambda: storage.unswizzle(np.ones(512, np.uint8), (1, 5)), ValueError, r"shape \(1024,\) for"),
        (lambda: storage.unswizzle(np.ones(512, np.uint8), (5,)), ValueError, "rows, columns"),
        (lambda: storage.unswizzle(np.ones(512, np.uint8), (5, -1)), ValueError, "rows, columns"),
        (lambda: storage.unswizzle(np.ones(512, np.uint8), (5, 1.0)), TypeError, "sequence of ints"),
        (lambda: storage.unswizzle(np.ones(512, np.uint8), 5), TypeError, "sequence of ints"),
    ],
)
def test_tile_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- PyTorch's own ---------------------------------------------------------------------------------------
def test_as_pytorch_and_torchao_have_them(tmp_path):
    reason = "compares with PyTorch and torchao 0.18, which no extra of the package brings"
    torch = pytest.importorskip("torch", reason=reason)
    kernels = pytest.importorskip("torchao.prototype.mx_formats.kernels", reason=reason)
    utils = pytest.importorskip("torchao.prototype.mx_formats.utils", reason=reason)
    codes = drawn_codes(4, (6, 64))
    packed = kernels.pack_uint4(torch.from_numpy(codes))
    assert (storage.pack(codes, pr.E2M1) == packed.numpy()).all()
    for shape in ((128, 4), (300, 17), (1, 1)):
        scale = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
        theirs = utils.to_blocked(torch.from_numpy(scale))
        assert (storage.swizzle(scale) == theirs.numpy()).all()
        assert (storage.unswizzle(theirs.numpy(), shape) == utils.from_blocked(theirs, *shape).numpy()).all()
    # A file of ours holds what PyTorch would write of its own tensors.
    from safetensors.torch import load_file
    from safetensors.torch import save as torch_bytes

    q = pr.quantize(np.random.default_rng(3).standard_normal((4, 64), np.float32), pr.NVFP4)
    storage.save(tmp_path / "q.safetensors", {"w": q})
    found = load_file(tmp_path / "q.safetensors")
    assert found["w.codes"].dtype == torch.float4_e2m1fn_x2
    assert found["w.scale"].dtype == torch.float8_e4m3fn
    ours = torch.from_numpy(storage.pack(q.codes, pr.E2M1)).view(torch.float4_e2m1fn_x2)
    parts = dict(deserialize(torch_bytes({"w.codes": ours})))
    mine = dict(deserialize((tmp_path / "q.safetensors").read_bytes()))
    assert parts["w.codes"] == mine["w.codes"]


# ---- files -----------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def assert_same(found: pr.QuantizedTensor, q: pr.QuantizedTensor) -> None:
    assert (found.fmt, found.scale_format, found.block) == (q.fmt, q.scale_format, q.block)
    assert (found.codes.dtype, found.scale.dtype) == (q.codes.dtype, q.scale.dtype)
    assert found.shape == q.shape and (bits_of(found.codes) == bits_of(q.codes)).all()
    assert found.scale.shape == q.scale.shape and (bits_of(found.scale) == bits_of(q.scale)).all()
    assert found.tensor_scale == q.tensor_scale


@pytest.mark.parametrize("columns", [64, 65])
@pytest.mark.parametrize("name", SPECS)
def test_every_named_spec_comes_back(name, columns):
    x = np.random.default_rng(0).standard_normal((6, columns), np.float32)
    x[1] = np.nan  # its scales are NaN
    x[2] = 0
    q = pr.quantize(x, SPECS[name])
    right = pr.quantize(x, SPECS[name], axis=0)
    storage.save("q.safetensors", {"q": q, "right": right, "swapped": right.mT})
    found = storage.load("q.safetensors")
    assert list(found) == ["q", "right", "swapped"]
    for key, tensor in (("q", q), ("right", right), ("swapped", right.mT)):
        assert_same(found[key], tensor)
        assert_same(storage.load("q.safetensors", key), tensor)


@pytest.mark.parametrize(
    "fmt",
    [*SHORT, pr.E8M13, pr.TF32, pr.FP32, FloatFormat(6, 9), FloatFormat(3, 1, bias=2)],
    ids=str,
)
@pytest.mark.parametrize("scale_format", [pr.FP32, pr.E8M0, UE4M3, UE5M3, pr.BF16, pr.TF32], ids=str)
def test_every_format_in_a_file(fmt, scale_format):
    plain = (np.arange(3 * 5) * 37 % (1 << min(fmt.bits, 31))).astype(fmt.code_dtype).reshape(3, 5)
    scale = pr.encode(np.float32([[0.5, 1], [2, 4], [8, 16]]), scale_format)
    q = pr.QuantizedTensor(plain, scale, fmt=fmt, block=(1, 3), scale_format=scale_format)
    storage.save("q.safetensors", {"q": q})
    assert_same(storage.load("q.safetensors", "q"), q)


@pytest.mark.parametrize(
    ("fmt", "last", "stored", "shape"),
    [
        (pr.E2M1, 6, "F4", [2, 6]),
        (pr.E2M1, 5, "U8", [2, 3]),
        (pr.E2M3, 8, "U8", [2, 6]),
        (pr.E3M2, 5, "U8", [2, 4]),
        (pr.E4M3, 5, "F8_E4M3", [2, 5]),
        (pr.E5M2, 5, "F8_E5M2", [2, 5]),
        (E4M3FNUZ, 5, "F8_E4M3FNUZ", [2, 5]),
        (E5M2FNUZ, 5, "F8_E5M2FNUZ", [2, 5]),
        (E3M4, 5, "U8", [2, 5]),
        (E4M3_IEEE, 5, "U8", [2, 5]),
        (UE4M3, 8, "U8", [2, 7]),
        (pr.BF16, 5, "BF16", [2, 5]),
        (pr.FP16, 5, "F16", [2, 5]),
        (pr.FP32, 5, "F32", [2, 5]),
        (pr.E5M6, 4, "U8", [2, 6]),
        (pr.E8M13, 4, "U32", [2, 4]),
        (INT8, 5, "I8", [2, 5]),
        (UINT8, 5, "U8", [2, 5]),
        (IntFormat(8, fraction_bits=6), 5, "I8", [2, 5]),
        (IntFormat(16), 5, "I16", [2, 5]),
        (INT2, 5, "U8", [2, 2]),
        (UINT1, 9, "U8", [2, 2]),
        (UINT4, 4, "U8", [2, 2]),
    ],
    ids=str,
)
def test_types_in_the_header(fmt, last, stored, shape):
    """The bytes and types of a file, read by the library alone."""
    plain = (np.arange(2 * last) * 5 % (1 << fmt.bits)).astype(fmt.code_dtype).reshape(2, last)
    q = pr.QuantizedTensor(plain, 2.0, fmt=fmt)
    storage.save("q.safetensors", {"a name": q})
    parts = dict(deserialize(Path("q.safetensors").read_bytes()))
    assert set(parts) == {"a name.codes", "a name.scale"}
    codes, scale = parts["a name.codes"], parts["a name.scale"]
    assert (codes["dtype"], codes["shape"]) == (stored, shape)
    wanted = [stream(row.tolist(), fmt.bits) for row in plain]
    if fmt.bits > 16:
        wanted = [row.astype("<u4").tobytes() for row in plain]
    assert bytes(codes["data"]) == b"".join(wanted)
    assert (scale["dtype"], scale["shape"]) == ("F32", [1, 1])
    (said,) = header()["__metadata__"].values()
    assert json.loads(said)["tensors"]["a name"]["stored"] == stored


def header(path: str = "q.safetensors") -> Any:
    raw = Path(path).read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def rewrite(head: dict[str, Any], data: bytes | None = None) -> None:
    """Put another header, or other data, into q.safetensors."""
    raw = Path("q.safetensors").read_bytes()
    if data is None:
        data = raw[8 + int.from_bytes(raw[:8], "little") :]
    text = json.dumps(head).encode()
    Path("q.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def nvfp4() -> pr.QuantizedTensor:
    q = pr.quantize(np.random.default_rng(0).standard_normal((4, 32), np.float32), pr.NVFP4)
    storage.save("q.safetensors", {"w": q})
    return q


def test_empty_things():
    storage.save("q.safetensors", {})
    assert storage.load("q.safetensors") == {}
    for shape in ((0, 32), (4, 0)):
        q = pr.quantize(np.zeros(shape, np.float32), pr.MXFP4)
        storage.save("q.safetensors", {"": q})
        assert_same(storage.load("q.safetensors", ""), q)


def test_names_that_end_alike():
    tensors = {
        name: pr.quantize(np.full((1, 4), i, np.float32), pr.QuantSpec(pr.E4M3, pr.PerTensor()))
        for i, name in enumerate(["a", "a.codes", "a.scale", "a.scale.codes", "ä\n"])
    }
    storage.save("q.safetensors", tensors)
    for name, found in storage.load("q.safetensors").items():
        assert_same(found, tensors[name])


@given(
    st.sampled_from([pr.E2M1, pr.E2M3, pr.E5M6, pr.IntFormat(4), pr.E5M2]),
    st.integers(0, 4),
    st.integers(0, 40),
    st.integers(1, 20),
)
@settings(deadline=None, max_examples=40)
def test_any_shape(fmt, rows, columns, group):
    x = np.random.default_rng(rows).standard_normal((rows, columns), np.float32)
    q = pr.quantize(x, pr.QuantSpec(fmt, pr.PerGroup(group)))
    storage.save("any.safetensors", {"x": q})
    assert_same(storage.load("any.safetensors", "x"), q)


def test_nothing_half_written(nvfp4):
    before = Path("q.safetensors").read_bytes()
    with pytest.raises(TypeError, match="tensors must hold QuantizedTensors, got ndarray as 'x'"):
        storage.save("q.safetensors", {"w": nvfp4, "x": np.ones(3)})  # type: ignore[dict-item]
    os.mkdir("folder")
    with pytest.raises(OSError):
        storage.save("folder", {"w": nvfp4})
    with pytest.raises(OSError, match="no/such/folder"):
        storage.save("no/such/folder/q.safetensors", {"w": nvfp4})
    assert Path("q.safetensors").read_bytes() == before
    assert sorted(os.listdir()) == ["folder", "q.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([1], "mapping of names"),
        ({1: None}, "names that are str, got 1"),
        ({"a": None}, "got NoneType as 'a'"),
    ],
)
def test_what_save_refuses(tensors, message):
    with pytest.raises(TypeError, match=message):
        storage.save("q.safetensors", tensors)
    assert not os.listdir()


def test_truncated_anywhere(nvfp4):
    whole = Path("q.safetensors").read_bytes()
    for size in (0, 7, 8, 50, len(whole) - 40, len(whole) - 1):
        Path("q.safetensors").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"q\.safetensors is (truncated|not a safetensors file)"):
            storage.load("q.safetensors")


def test_files_of_others(nvfp4):
    save_file({"x": np.ones(3)}, "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"was not written by storage\.save"):
        storage.load("other.safetensors")
    with pytest.raises(ValueError, match="has no tensor 'v'; near names: w"):
        storage.load("q.safetensors", "v")
    with pytest.raises(FileNotFoundError):
        storage.load("none.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"fmt": "e2m3"},
            r"codes of e2m3 with shape \(4, 32\) are stored as F4, which must be F6_E2M3 or U8",
        ),
        (
            {"fmt": "e2m3", "stored": "U8"},
            r"'w.codes' must be U8 of shape \(4, 24\), .* F4 of shape \(4, 32\)",
        ),
        ({"fmt": "e4m3"}, "are stored as F4, which must be F8_E4M3"),
        ({"fmt": "int4", "stored": "U8"}, "must be U8"),
        ({"fmt": "e9m9"}, "metadata of tensor 'w'"),
        ({"fmt": 4}, "metadata of tensor 'w'"),
        ({"scale_format": "e8m0"}, "'w.scale' must be F8_E8M0"),
        ({"scale_format": "int8"}, "scale_format must be a floating-point format"),
        ({"shape": [4, 30]}, r"'w.codes' must be F4 of shape \(4, 30\)"),
        ({"shape": [128]}, "block must have 1 positive entries"),
        ({"shape": [4, "32"]}, "shape must be a list of whole numbers"),
        ({"shape": []}, "shape must be a list of whole numbers"),
        ({"block": [1, 32]}, r"'w.scale' must be F8_E4M3 of shape \(4, 1\)"),
        ({"block": [1, 0]}, "block must have 2 positive entries"),
        ({"stored": "U8"}, r"'w.codes' must be U8 of shape \(4, 16\)"),
        ({"stored": None}, "stored the name of a type"),
        ({"tensor_scale": 1}, "tensor_scale must be true or false"),
    ],
)
def test_metadata_that_say_something_else(nvfp4, change, message):
    head = header()
    said = json.loads(head["__metadata__"]["precision"])
    said["tensors"]["w"] |= change
    head["__metadata__"]["precision"] = json.dumps(said)
    rewrite(head)
    with pytest.raises(ValueError, match=message) as caught:
        storage.load("q.safetensors", "w")
    assert "q.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "'version' is missing"),
        ('{"version": 2, "tensors": {}}', "its version is 2, and 1 can be read"),
        ('{"version": 1}', "'tensors' is missing"),
        ('{"version": 1, "tensors": []}', "cannot be read"),
        ('{"version": 1, "tensors": {"w": 3}}', "metadata of tensor 'w'"),
        ('{"version": 1, "tensors": {"w": {}}}', "metadata of tensor 'w': 'fmt' is missing"),
    ],
)
def test_metadata_that_are_none(nvfp4, text, message):
    head = header()
    head["__metadata__"]["precision"] = text
    rewrite(head)
    with pytest.raises(ValueError, match=message):
        storage.load("q.safetensors")


def test_parts_that_are_missing_or_bad(nvfp4):
    head = header()
    head["v.tensor_scale"] = head.pop("w.tensor_scale")
    rewrite(head)
    with pytest.raises(ValueError, match=r"'w.tensor_scale', which the metadata of 'w' need, is missing"):
        storage.load("q.safetensors")
    head["w.tensor_scale"] = head.pop("v.tensor_scale")
    raw = Path("q.safetensors").read_bytes()
    data = bytearray(raw[8 + int.from_bytes(raw[:8], "little") :])
    start, stop = head["w.tensor_scale"]["data_offsets"]
    data[start:stop] = np.float32(-1).tobytes()
    rewrite(head, bytes(data))
    with pytest.raises(
        ValueError, match=r"q.safetensors: tensor 'w': tensor_scale must be finite and positive"
    ):
        storage.load("q.safetensors")


def test_padding_in_a_file_is_looked_at():
    q = pr.QuantizedTensor(np.uint8([[1, 2, 3]]), 1.0, fmt=pr.E2M1)
    storage.save("q.safetensors", {"w": q})
    head = header()
    raw = Path("q.safetensors").read_bytes()
    data = bytearray(raw[8 + int.from_bytes(raw[:8], "little") :])
    data[head["w.codes"]["data_offsets"][1] - 1] |= 0x80
    rewrite(head, bytes(data))
    with pytest.raises(ValueError, match="tensor 'w': packed must fill up each row"):
        storage.load("q.safetensors")


def test_a_library_that_learns_to_write_fp6_would_be_read():
    """F6_E2M3 under its own name, as the format has it."""
    q = pr.quantize(np.random.default_rng(0).standard_normal((4, 32), np.float32), pr.MXFP6_E2M3)
    storage.save("q.safetensors", {"w": q})
    head = header()
    head["w.codes"] |= {"dtype": "F6_E2M3", "shape": [4, 32]}
    text = head["__metadata__"]["precision"].replace('"stored": "U8"', '"stored": "F6_E2M3"')
    head["__metadata__"]["precision"] = text
    rewrite(head)
    assert_same(storage.load("q.safetensors", "w"), q)


def test_format_names_in_the_metadata_parse_back():
    for fmt in SHORT:
        assert parse_format(str(fmt)) == fmt == evaluate(str(fmt), {}, "format")
