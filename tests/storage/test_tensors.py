"""Arrays from files: the bytes that were written, one tensor at a time, and every way to break a file."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import precision as pr
from precision import storage
from precision.storage import PACKED, read_header, read_metadata, read_tensor
from precision.storage._array_files import DTYPES


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path: str, entries: dict[str, Any], data: bytes) -> None:
    """A file by hand, header and data as they are given."""
    text = json.dumps(entries).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.fixture
def model() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    tensors = {
        "layer.0.query.weight": rng.standard_normal((24, 160), np.float32),
        "layer.0.key.weight": rng.standard_normal((24, 160), np.float32).astype(ml_dtypes.bfloat16),
        "layer.0.bias": np.zeros(24, np.float32),
        "none": np.zeros((3, 0), np.float16),
        "one": np.array(2.5),
    }
    save_file(tensors, "model.safetensors", metadata={"format": "np"})
    return tensors


def test_tensors_come_back_bit_for_bit(model):
    for name, expected in model.items():
        found = read_tensor("model.safetensors", name)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
        assert found.flags.writeable and found.flags.aligned
    entries = read_header("model.safetensors")
    assert set(entries) == set(model) and entries["layer.0.bias"].shape == (24,)
    raw = Path("model.safetensors").read_bytes()
    for name, entry in entries.items():
        assert raw[entry.start : entry.stop] == model[name].tobytes()
    assert read_metadata("model.safetensors") == {"format": "np"}


@pytest.mark.parametrize("name", DTYPES)
def test_every_type(name):
    values = np.arange(6).reshape(2, 3).astype(DTYPES[name])
    write("one.safetensors", {"w": {"dtype": name, "shape": [2, 3], "data_offsets": [0, values.nbytes]}},
          values.tobytes())  # fmt: skip
    found = read_tensor("one.safetensors")  # the only tensor needs no name
    assert found.dtype == values.dtype and found.tobytes() == values.tobytes()
    assert read_metadata("one.safetensors") == {}


@pytest.mark.parametrize(
    ("name", "shape", "packed_shape"),
    [
        ("F4", (3, 8), (3, 4)),
        ("F4", (2, 3), (3,)),
        ("F4", (2, 0), (2, 0)),
        ("F6_E2M3", (2, 2, 4), (2, 2, 3)),
        ("F6_E3M2", (4, 2), (6,)),
        ("F6_E3M2", (8,), (6,)),
    ],
)
def test_packed_types(name, shape, packed_shape):
    fmt, count = PACKED[name], int(np.prod(shape))
    codes = (np.arange(count) * 5 % (1 << fmt.bits)).astype(np.uint8)
    whole = sum(int(code) << (i * fmt.bits) for i, code in enumerate(codes))
    data = whole.to_bytes(count * fmt.bits // 8, "little")
    # Another tensor before and behind it.
    around = {"dtype": "U8", "shape": [3]}
    entries = {
        "z": around | {"data_offsets": [0, 3]},
        "w": {"dtype": name, "shape": shape, "data_offsets": [3, 3 + len(data)]},
        "a": around | {"data_offsets": [3 + len(data), 6 + len(data)]},
    }
    write("p.safetensors", entries, b"abc" + data + b"def")
    packed = read_tensor("p.safetensors", "w")
    assert packed.dtype == np.uint8 and packed.shape == packed_shape and packed.tobytes() == data
    assert read_header("p.safetensors")["w"].shape == shape
    found = read_tensor("p.safetensors", "w", unpacked=True)
    assert found.dtype == fmt.dtype and found.shape == shape
    assert (found.view(np.uint8).reshape(-1) == codes).all()
    if len(packed_shape) == len(shape):
        assert (storage.unpack(packed, fmt, shape[-1]).view(np.uint8) == found.view(np.uint8)).all()
    assert read_tensor("p.safetensors", "a").tobytes() == b"def"
    assert read_tensor("p.safetensors", "z", unpacked=True).tobytes() == b"abc"


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_any_tensors_in_any_order(data):
    kinds = st.sampled_from(["F32", "BF16", "F8_E8M0", "I64", "U8", "F4"])
    names = data.draw(st.lists(st.text(max_size=4), min_size=1, max_size=6, unique=True))
    names = [name for name in names if name != "__metadata__"]
    entries, body, wanted = {}, b"", {}
    for i, name in enumerate(names):
        kind = data.draw(kinds)
        shape = data.draw(st.lists(st.integers(0, 3), max_size=2))
        if kind == "F4":
            shape = [*shape, 2]
        bits = 4 if kind == "F4" else 8 * np.dtype(DTYPES[kind]).itemsize
        piece = bytes([i + 1]) * (int(np.prod(shape)) * bits // 8)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(piece)]}
        body, wanted[name] = body + piece, piece
    order = data.draw(st.permutations(names))
    write("any.safetensors", {name: entries[name] for name in order}, body)
    for name in names:
        assert read_tensor("any.safetensors", name).tobytes() == wanted[name]


def test_one_tensor_of_a_large_file_is_read_alone():
    """A GiB, most of which lies on no disk."""
    large = 1 << 30
    entries = {
        "large": {"dtype": "F32", "shape": [1 << 18, 1 << 10], "data_offsets": [0, large]},
        "small": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [large, large + 4]},
    }
    write("large.safetensors", entries, b"")
    with open("large.safetensors", "r+b") as file:
        file.seek(large, 2)
        file.write(b"\x38\x40\x48\x50")
    tracemalloc.start()
    try:
        found = read_tensor("large.safetensors", "small")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.astype(np.float32).tolist() == [[1, 2], [4, 8]]
    assert peak < 1 << 24


# ---- broken and foreign files ----------------------------------------------------------------------------
def test_truncated_files(model):
    whole = Path("model.safetensors").read_bytes()
    for size, message in ((len(whole) - 1, "is truncated: tensor '"),
                          (60, "is truncated: its header ends at byte"),
                          (5, "is not a safetensors file"), (0, "is not a safetensors file")):  # fmt: skip
        Path("cut.safetensors").write_bytes(whole[:size])
        for read in (read_header, read_metadata, read_tensor):
            with pytest.raises(ValueError, match=r"^cut\.safetensors " + message):
                read("cut.safetensors")
    Path("cut.safetensors").write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match=r"not a valid safetensors file: .*not fully covered"):
        read_header("cut.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[1, 2]", "invalid JSON in header"),
        (b"{not json", "invalid JSON in header"),
        (b"\xff\xfe", "UTF-8"),
        (b"", "invalid JSON in header"),
        (b'{"w": {"dtype": "F32"}}', "missing field `shape`"),
        (b'{"w": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', "-2"),
        (b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}', "invalid offset for tensor `w`"),
        (
            b'{"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}',
            "tensor 'w' of shape (3,) and type F32 needs 12 bytes and has 8",
        ),
        (
            b'{"w": {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]}}',
            "tensor 'w' of shape (2,) and type F64 needs 16 bytes and has 8",
        ),
        (
            b'{"w": {"dtype": "F6_E3M2", "shape": [8], "data_offsets": [0, 8]}}',
            "tensor 'w' of shape (8,) and type F6_E3M2 needs 6 bytes and has 8",
        ),
        (
            b'{"w": {"dtype": "Q7", "shape": [2], "data_offsets": [0, 8]}}',
            "unknown variant `Q7`, expected one",
        ),
        (b'{"w": {"dtype": "F4", "shape": [15], "data_offsets": [0, 8]}}', "byte boundary"),
    ],
)
def test_malformed_headers(header, message):
    Path("bad.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"^bad\.safetensors") as caught:
        read_tensor("bad.safetensors")
    assert message in str(caught.value)


def test_other_files(model):
    Path("text.safetensors").write_text("this is no header, and no tensors follow it")
    with pytest.raises(ValueError, match=r"^text\.safetensors is not a safetensors file$"):
        read_tensor("text.safetensors")
    Path("text.npy").write_text("nothing")
    with pytest.raises(ValueError, match=r"text\.npy is not a readable \.npy file"):
        read_tensor("text.npy")
    np.savez("several.npz", a=np.ones(2), b=np.ones(2))
    Path("several.npz").rename("several.npy")
    with pytest.raises(ValueError, match="an archive of several arrays"):
        read_tensor("several.npy")
    with pytest.raises(ValueError, match=r"read from \.npy and \.safetensors files"):
        read_tensor("model.bin")
    with pytest.raises(FileNotFoundError):
        read_tensor("none.safetensors")
    Path("folder.safetensors").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_tensor("folder.safetensors")
    np.save("a.npy", np.arange(3))
    assert read_tensor("a.npy").tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="one array without a name: leave 'x' out"):
        read_tensor("a.npy", "x")


def test_names(model):
    with pytest.raises(ValueError, match="holds 5 tensors: name one of them") as caught:
        read_tensor("model.safetensors")
    assert "layer.0.query.weight" in str(caught.value) and "layer.0.bias" not in str(caught.value)
    with pytest.raises(ValueError, match=r"has no tensor 'layer\.0\.kee\.weight'; near names: layer\.0\.key"):
        read_tensor("model.safetensors", "layer.0.kee.weight")
    save_file({}, "empty.safetensors")
    with pytest.raises(ValueError, match="near names: none"):
        read_tensor("empty.safetensors", "w")
    with pytest.raises(ValueError, match="holds 0 tensors"):
        read_tensor("empty.safetensors")


def test_a_missing_library_is_explained(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: read_tensor("model.safetensors", "one"), lambda: storage.save("x.safetensors", {})):
        with pytest.raises(ImportError, match=r"pip install 'precision-emu\[files\]'"):
            call()
    np.save("a.npy", np.ones(2))
    assert read_tensor("a.npy").tolist() == [1, 1]


def test_types_of_the_library_that_are_not_known_here(model, monkeypatch):
    monkeypatch.delitem(DTYPES, "BF16")
    with pytest.raises(
        ValueError, match=r"tensor 'layer\.0\.key\.weight' has type BF16, which is not among F6"
    ):
        read_tensor("model.safetensors", "one")


def test_packed_types_are_the_formats_they_name():
    assert {name: str(fmt) for name, fmt in PACKED.items()} == {
        "F4": "e2m1",
        "F6_E2M3": "e2m3",
        "F6_E3M2": "e3m2",
    }
    assert [fmt.max for fmt in PACKED.values()] == [6.0, 7.5, 28.0] and PACKED["F4"] == pr.E2M1
