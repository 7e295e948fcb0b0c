"""Rotations against the explicit matrix in integers and rationals, and every promise of the docstring."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import precision as pr
from precision.formats._text_language import evaluate
from precision.quantization import TRANSFORMER_ENGINE_SIGNS

SIZES = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def sylvester(size: int) -> np.ndarray:
    """The matrix of +1 and -1, doubled from [[1]]."""
    matrix = np.ones((1, 1), np.int64)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def root(size: int, dtype: type) -> Fraction:
    """1/sqrt(size), rounded to nearest in that type, found in integers."""
    places = {np.float32: 24, np.float64: 53}[dtype]
    shift = places + (size.bit_length() - 1) // 2
    # the floor of 2**(shift + 1) / sqrt(size) has one bit more than is kept
    scaled = math.isqrt((1 << (2 * shift + 2)) // size)
    over = max(0, scaled.bit_length() - places)
    low = scaled >> over
    up = Fraction(2 * low + 1, 2) ** 2 * size < Fraction(1 << (2 * (shift + 1 - over)))
    return Fraction(low + up, 1 << (shift + 1 - over))


def in_steps(block: list[np.floating], size: int, signs: tuple[int, ...]) -> list[np.floating]:
    """The docstring's arithmetic, one scalar addition after another."""
    kind = type(block[0])
    values = [kind(x * kind(s)) for x, s in zip(block, signs, strict=True)]
    for step in range(size.bit_length() - 1):
        stride = 1 << step
        following = list(values)
        for i in range(size):
            if not i & stride:
                following[i] = kind(values[i] + values[i + stride])
                following[i + stride] = kind(values[i] - values[i + stride])
        values = following
    factor = kind(float(root(size, kind)))
    return [kind(value * factor) for value in values]


@pytest.mark.parametrize("size", SIZES)
def test_integers_are_exact(size):
    """Whole numbers add without rounding, so only the last factor rounds."""
    x = np.random.default_rng(size).integers(-1000, 1000, (3, 2 * size))
    h = pr.Hadamard(size, seed=size)
    signs = np.array(h.sign_vector)
    sums = (x.reshape(3, 2, size) * signs) @ sylvester(size)
    for dtype in (np.float32, np.float64):
        factor = dtype(float(root(size, dtype)))
        assert Fraction(float(factor)) == root(size, dtype)
        wanted = (sums.astype(dtype) * factor).reshape(3, 2 * size)
        found = h(x.astype(dtype))
        assert found.dtype == dtype and found.shape == x.shape
        assert (found == wanted).all()
        assert math.isclose(float(factor), size**-0.5, rel_tol=2.0**-24)


@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_inverse_of_integers_is_exact(size):
    x = np.random.default_rng(0).integers(-100, 100, (2, size)).astype(np.float32)
    h = pr.Hadamard(size, seed=5)
    assert (h.inverse(h(x)) == x).all() and (h(h.inverse(x)) == x).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 16, 32, 128])
def test_every_addition_is_the_one_described(size, dtype):
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((4, size)) * np.exp2(rng.integers(-20, 20, (4, size)))).astype(dtype)
    h = pr.Hadamard(size, seed=9)
    found = h(x)
    for row, block in zip(found, x, strict=True):
        assert row.tolist() == [float(v) for v in in_steps(list(block), size, h.sign_vector)]
    back = h.inverse(x)
    plain = pr.Hadamard(size)(x)
    assert (back == plain * np.array(h.sign_vector)).all()


@pytest.mark.parametrize("size", SIZES[:7])
def test_rows_are_orthonormal(size):
    h = pr.Hadamard(size, seed=3)
    matrix = h(np.eye(size), axis=0)
    assert np.allclose(matrix @ matrix.T, np.eye(size), atol=1e-14)
    assert np.allclose(h.inverse(np.eye(size), axis=0), matrix.T, atol=1e-15)
    assert np.allclose(np.abs(matrix), size**-0.5)
    exact = sylvester(size) * np.array(h.sign_vector)
    assert (np.sign(matrix) == exact).all()


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_any_shape_and_axis(data):
    size = data.draw(st.sampled_from([2, 4, 16]))
    shape = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] *= size
    x = np.random.default_rng(0).integers(-50, 50, shape).astype(np.float32)
    signs = tuple(data.draw(st.lists(st.sampled_from([1, -1]), min_size=size, max_size=size)))
    h = pr.Hadamard(size, signs=signs)
    kept = x.copy()
    found = h(x, axis=axis)
    assert found.shape == x.shape and (x == kept).all()
    moved = np.moveaxis(x.astype(np.float64), axis, -1)
    blocks = moved.reshape(*moved.shape[:-1], moved.shape[-1] // size, size) * np.array(signs)
    exact = np.moveaxis((blocks @ sylvester(size)).reshape(moved.shape), -1, axis)
    assert np.allclose(found, exact / math.sqrt(size), rtol=1e-6, atol=1e-5)
    assert np.allclose(h.inverse(found, axis), x, atol=1e-4)
    assert pr.Hadamard.parse(str(h)) == h


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=16, max_size=16))
@settings(deadline=None)
def test_bits_do_not_depend_on_the_array_around(values):
    h = pr.Hadamard(16, signs=TRANSFORMER_ENGINE_SIGNS)
    x = np.array(values, np.float32)
    alone = h(x)
    many = np.stack([np.ones(16, np.float32), x, x, np.zeros(16, np.float32)])
    assert (h(many)[1].view(np.uint32) == alone.view(np.uint32)).all()
    assert (h(many.T, axis=0)[:, 2].view(np.uint32) == alone.view(np.uint32)).all()
    assert (h(many.reshape(1, 64))[0, 16:32].view(np.uint32) == alone.view(np.uint32)).all()


def test_threads_and_pieces_change_nothing():
    x = np.random.default_rng(0).standard_normal((300, 1024), np.float32)
    h = pr.Hadamard(32, seed=2)
    before = pr.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            pr.set_num_threads(threads)
            found.append(h(x))
    finally:
        pr.set_num_threads(before)
    each = np.concatenate([h(x[:, i : i + 32]) for i in range(0, 1024, 32)], axis=1)
    for one in found:
        assert (one.view(np.uint32) == each.view(np.uint32)).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_narrow_types_are_computed_in_float32(dtype):
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(dtype)
    h = pr.Hadamard(64, seed=1)
    for call in (h, h.inverse):
        found = call(x)
        assert found.dtype == np.float32 and (found == call(x.astype(np.float32))).all()
    assert (h(x.astype(">f4")) == h(x)).all()


def test_specials_go_through_without_a_warning():
    x = np.ones((4, 4), np.float32)
    x[0, 1], x[1, 2], x[2] = np.nan, np.inf, np.finfo(np.float32).max
    with np.errstate(all="raise"):
        found = pr.Hadamard(4)(x)
    assert np.isnan(found[0]).all() and np.isinf(found[1]).all() and np.isinf(found[2, 0])
    assert (found[3] == [2, 0, 0, 0]).all()


def test_signs():
    assert len(TRANSFORMER_ENGINE_SIGNS) == 16 and sum(TRANSFORMER_ENGINE_SIGNS) == -4
    assert pr.Hadamard(4).sign_vector == (1,) * 4 == pr.Hadamard(4, signs=(1,) * 4).sign_vector
    assert pr.Hadamard(4) == pr.Hadamard(4, signs=(1,) * 4)
    assert pr.Hadamard(4, signs=(1, -1, 1, 1)).sign_vector == (1, -1, 1, 1)
    for size in (16, 128):
        for seed in (0, 7, 2**64 - 1):
            words = np.random.Philox(key=seed).random_raw(2)
            bits = [int(words[i // 64]) >> (i % 64) & 1 for i in range(size)]
            assert pr.Hadamard(size, seed=seed).sign_vector == tuple(1 - 2 * bit for bit in bits)
    drawn = {pr.Hadamard(128, seed=seed).sign_vector for seed in range(20)}
    assert len(drawn) == 20 and abs(np.mean(list(drawn))) < 0.1
    # written down once: the stream is NumPy's promise
    assert pr.Hadamard(8, seed=1).sign_vector == (-1, -1, -1, -1, -1, 1, -1, -1)


@pytest.mark.parametrize(
    ("h", "text"),
    [
        (pr.Hadamard(16), "Hadamard(16)"),
        (pr.Hadamard(32, seed=0), "Hadamard(32, seed=0)"),
        (pr.Hadamard(2, signs=(1, -1)), "Hadamard(2, signs=(1, -1))"),
        (pr.Hadamard(16, signs=TRANSFORMER_ENGINE_SIGNS), f"Hadamard(16, signs={TRANSFORMER_ENGINE_SIGNS})"),
    ],
)
def test_text(h, text):
    assert str(h) == text
    assert pr.Hadamard.parse(text) == h == evaluate(text, {"Hadamard": pr.Hadamard}, "rotation")
    assert hash(pr.Hadamard.parse(text)) == hash(h)
    with pytest.raises(dataclasses.FrozenInstanceError):
        h.size = 4


@pytest.mark.parametrize("spec", [pr.NVFP4, pr.MXFP4, pr.QuantSpec(pr.E4M3, pr.PerGroup(128))], ids=str)
def test_products_of_rotated_operands(spec):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((32, 256), np.float32), rng.standard_normal((256, 16), np.float32)
    a[:, ::50] *= 30  # outliers
    h = pr.Hadamard(16, signs=TRANSFORMER_ENGINE_SIGNS)
    exact = a.astype(np.float64) @ b
    rotated = h(a).astype(np.float64) @ h(b, axis=-2)
    assert np.abs(rotated - exact).max() < 1e-6 * np.abs(exact).max() * 4

    def error(left: np.ndarray, right: np.ndarray) -> float:
        qa, qb = pr.quantize(left, spec), pr.quantize(right, spec, axis=-2)
        product = qa.dequantize(np.float64) @ qb.dequantize(np.float64)
        return float(np.linalg.norm(product - exact) / np.linalg.norm(exact))

    assert error(h(a), h(b, axis=-2)) < 0.3  # the same product, up to quantization


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pr.Hadamard(16.0), TypeError, "size must be an int, got 16.0"),
        (lambda: pr.Hadamard(True), TypeError, "size must be an int, got True"),
        (lambda: pr.Hadamard(1), ValueError, "size must lie in 2..1024, got 1"),
        (lambda: pr.Hadamard(2048), ValueError, "size must lie in 2..1024, got 2048"),
        (lambda: pr.Hadamard(24), ValueError, "size must be a power of two, got 24"),
        (lambda: pr.Hadamard(2, signs=[1, 1]), TypeError, r"signs must be a tuple of ints, got \[1, 1\]"),
        (lambda: pr.Hadamard(2, signs=(1.0, 1)), TypeError, "signs must be a tuple of ints"),
        (lambda: pr.Hadamard(2, signs=(True, 1)), TypeError, "signs must be a tuple of ints"),
        (lambda: pr.Hadamard(2, signs=(1, 0)), ValueError, r"2 entries of 1 or -1, got \(1, 0\)"),
        (lambda: pr.Hadamard(2, signs=(1, 1, 1)), ValueError, "signs must be 2 entries"),
        (lambda: pr.Hadamard(2, signs=()), ValueError, "signs must be 2 entries"),
        (lambda: pr.Hadamard(2, signs=(1, 1), seed=3), ValueError, "exclude each other"),
        (lambda: pr.Hadamard(2, seed=-1), ValueError, "seed must lie in"),
        (lambda: pr.Hadamard(2, seed=1.5), TypeError, "seed must be an int, got 1.5"),
        (lambda: pr.Hadamard(2)(np.int32([1, 2])), TypeError, "x must be of a floating-point type.*int32"),
        (lambda: pr.Hadamard(2).inverse(np.int32([1, 2])), TypeError, "y must be of a floating-point type"),
        (lambda: pr.Hadamard(2)(["a", "b"]), TypeError, "x must be of a floating-point type"),
        (lambda: pr.Hadamard(2)(1.0), ValueError, "x must have at least one axis"),
        (lambda: pr.Hadamard(4)(np.ones((4, 6))), ValueError,
         r"multiple of size 4, got 6 on axis -1 of x with shape \(4, 6\)"),
        (lambda: pr.Hadamard(4).inverse(np.ones((6, 4)), 0), ValueError, "got 6 on axis 0 of y"),
        (lambda: pr.Hadamard(4)(np.ones((4, 6)), axis=2), ValueError, r"axis must lie in -2..1"),
        (lambda: pr.Hadamard(4)(np.ones((4, 6)), axis=1.0), TypeError, "axis must be an int, got 1.0"),
        (lambda: pr.Hadamard.parse("Hadamar(4)"), ValueError, "near names: HADAMARD"),
        (lambda: pr.Hadamard.parse("Hadamard(3)"), ValueError, "power of two, got 3"),
        (lambda: pr.Hadamard.parse("4"), ValueError, "must say a Hadamard"),
        (lambda: pr.Hadamard.parse(4), TypeError, "text must be a str, got 4"),
    ],
)  # fmt: skip
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
