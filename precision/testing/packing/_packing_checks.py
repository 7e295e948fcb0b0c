"""Checks of packing codes into bytes and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from precision._support._types import Array
from precision._support.machine._float_environment import in_default_environment
from precision.formats._bit_packing import pack_bits, row_bytes
from precision.formats._float_format import FloatFormat
from precision.formats._int_format import IntFormat
from precision.formats._named import FP64, Format, parse_format
from precision.testing._calls import Call, Fault, as_array, expect_shape, label
from precision.testing._properties import Attempt, Property, as_not_applicable, as_passed, run
from precision.testing._reports import Outcome, Report, Verdict

SHOWN = 12
"""Bytes or codes that a failure shows."""


class Packed(NamedTuple):
    """Rows of codes, and the bytes into which they were packed."""

    codes: Array
    came: Array


@dataclass(frozen=True)
class Packing:
    """A packer and an unpacker under test, with the format of their codes."""

    fmt: Format
    unpack: Call
    ragged: bool = True
    integers: bool = True

    # ---- what is given, what comes ------------------------------------------------------------------
    def inputs(self, *, odd: bool) -> Iterator[Array]:
        """Yield rows of codes, counted up and random; they fill whole bytes unless ``odd``."""
        rng, count = np.random.default_rng(0), 1 << self.fmt.bits
        lengths = (1, 3, 5, 7, 33) if odd else (8, 16, 64, 1024)
        for length in lengths:
            if odd and length * self.fmt.bits % 8 == 0:
                continue
            up = np.arange(4 * length) % count
            codes = np.stack([up, rng.integers(0, count, 4 * length)])
            yield codes.reshape(8, length).astype(self.fmt.code_dtype)

    def pack(self, call: Call, codes: Array) -> Array:
        """Return the bytes into which the callable packs codes."""
        array = as_array(call(codes if self.integers else codes.view(self.fmt.dtype)))
        if array.dtype.itemsize != 1:
            raise Fault("wrong dtype", f"packed codes must be bytes (uint8), got {array.dtype}")
        return np.ascontiguousarray(array).view(np.uint8)

    def restore(self, packed: Array, codes: Array) -> Array:
        """Return the codes that the unpacker makes of bytes."""
        arguments = (packed, np.asarray(codes.shape[-1])) if _takes_length(self.unpack.fn) else (packed,)
        array = expect_shape("unpacked codes", as_array(self.unpack(*arguments)), codes.shape)
        if array.dtype.itemsize != codes.dtype.itemsize:
            raise Fault(
                "wrong dtype", f"unpacked codes must be {self.fmt.dtype} or {codes.dtype}, got {array.dtype}"
            )
        bits = np.ascontiguousarray(array).view(codes.dtype)
        if isinstance(self.fmt, IntFormat):  # a signed type fills the byte with copies of the sign
            bits = bits & codes.dtype.type((1 << self.fmt.bits) - 1)
        return bits

    # ---- properties ---------------------------------------------------------------------------------
    def sizes(self, name: str, odd: bool, call: Call) -> Attempt:
        """Check shape and type of the bytes."""
        cases = 0
        for codes in self.inputs(odd=odd):
            shape = (*codes.shape[:-1], row_bytes(codes.shape[-1], self.fmt.bits))
            expect_shape(f"packed codes of shape {codes.shape}", self.pack(call, codes), shape)
            cases += 1
        return as_passed(name, cases)

    def layout(self, name: str, odd: bool, call: Call) -> Attempt:
        """Compare the bytes with a little-endian bit stream."""
        seen, cases, failed = [], 0, None
        for codes in self.inputs(odd=odd):
            came, wanted = self.pack(call, codes), pack_bits(codes, self.fmt.bits)
            seen.append(Packed(codes, came))
            cases += codes.size
            if came.shape != wanted.shape:
                raise Fault(
                    "wrong shape",
                    f"packed codes of shape {codes.shape} must have shape {wanted.shape}, got {came.shape}",
                )
            rows = np.flatnonzero((came != wanted).any(-1))
            if rows.size and failed is None:
                failed = self._smallest(call, codes[rows[0]])
        if failed is None:
            return as_passed(name, cases, seen)
        codes = failed[None]
        return Attempt(
            _failure(name, cases, codes, pack_bits(codes, self.fmt.bits), self.pack(call, codes)), tuple(seen)
        )

    def _smallest(self, call: Call, row: Array) -> Array:
        """Return the shortest part of a row that is packed wrongly, zeros for codes that do not matter."""

        def fails(codes: Array) -> bool:
            try:
                came = self.pack(call, codes[None])
            except Fault:
                return False
            wanted = pack_bits(codes[None], self.fmt.bits)
            return came.shape != wanted.shape or bool((came != wanted).any())

        for length in range(1, len(row)):
            alike = length * self.fmt.bits % 8 == 0 or len(row) * self.fmt.bits % 8
            if alike and fails(row[:length]):
                row = row[:length]
                break
        for i in range(len(row)):
            tried = row.copy()
            tried[i] = 0
            if fails(tried):
                row = tried
        return row

    def roundtrip(self, name: str, odd: bool, call: Call) -> Attempt:
        """Check that codes that were packed come back."""
        cases = 0
        for codes in self.inputs(odd=odd):
            came = self.restore(self.pack(call, codes), codes)
            cases += codes.size
            wrong = np.argwhere(came != codes)
            if len(wrong):
                row = int(wrong[0][0])
                return Attempt(
                    _failure(name, cases, codes[row : row + 1], codes[row : row + 1], came[row : row + 1])
                )
        return as_passed(name, cases)

    def unchanged(self, call: Call) -> Attempt:
        """Check that neither callable writes into its input."""
        codes = next(self.inputs(odd=False))
        packed = self.pack(replace(call, forgiving=False), codes)
        strict = replace(self, unpack=replace(self.unpack, forgiving=False))
        strict.restore(packed, codes)
        return as_passed("input unchanged", codes.size)

    def guess(self, seen: Sequence[Any]) -> Iterator[str]:
        """Yield the known layouts that match all bytes that were seen."""
        packed = [one for one in seen if isinstance(one, Packed)]
        for name, rule in _layouts(self.fmt.bits):
            if packed and all(_is(rule(one.codes), one.came) for one in packed):
                yield name


def _is(wanted: Array | None, came: Array) -> bool:
    return wanted is not None and wanted.shape == came.shape and bool((wanted == came).all())


def _layouts(bits: int) -> Iterator[tuple[str, Callable[[Array], Array | None]]]:
    """Yield other layouts of codes in bytes, each with its words; None where a layout does not apply."""

    def stream(codes: Array, order: int) -> Array:
        """Return the bits of each code, the highest first (order -1) or the lowest first (1)."""
        places = np.arange(bits)[::order]
        return (
            ((codes[..., None].astype(np.int64) >> places) & 1)
            .astype(np.uint8)
            .reshape(*codes.shape[:-1], -1)
        )

    def big(codes: Array) -> Array:
        return np.packbits(stream(codes, -1), axis=-1, bitorder="big")

    def halves(codes: Array) -> Array | None:
        """Return bytes with a row's first half in the low four bits, its second half in the high ones."""
        if bits != 4 or codes.shape[-1] % 2:
            return None
        middle = codes.shape[-1] // 2
        return np.asarray(codes[..., :middle] | (codes[..., middle:] << 4)).astype(np.uint8)

    def across(codes: Array) -> Array | None:
        """Return the bytes of one stream that runs over the ends of rows."""
        whole = pack_bits(np.ascontiguousarray(codes).reshape(1, -1), bits)
        rows = row_bytes(codes.shape[-1], bits)
        return whole.reshape(*codes.shape[:-1], rows) if whole.size == codes.shape[0] * rows else None

    def by_sign(codes: Array) -> Array | None:
        flipped = codes ^ codes.dtype.type(1 << (bits - 1))
        return pack_bits(flipped, bits)

    def swapped(codes: Array) -> Array:
        return pack_bits(codes, bits)[..., ::-1]

    def high_first(codes: Array) -> Array | None:
        """Return bytes with the first code of each pair in the high four bits."""
        if bits != 4:
            return None
        even = np.zeros((*codes.shape[:-1], -(-codes.shape[-1] // 2) * 2), codes.dtype)
        even[..., : codes.shape[-1]] = codes
        return np.asarray((even[..., ::2] << 4) | even[..., 1::2]).astype(np.uint8)

    yield "the first code lies in the high half of a byte", high_first
    yield "bits run from the highest of a byte on", big
    yield "the first half of a row lies in the low bits, the second in the high ones", halves
    yield "offset binary: the sign bit is inverted", by_sign
    yield "rows are not filled up to whole bytes", across
    yield "bytes of a row in reverse order", swapped


def _failure(name: str, cases: int, codes: Array, wanted: Array, came: Array) -> Outcome:
    """Return the failure that shows codes, the expected and the actual bytes or codes."""

    def as_text(array: Array) -> str:
        flat = array.reshape(-1)
        places = 2 * flat.dtype.itemsize
        text = " ".join(f"{int(v):0{places}X}" for v in flat[:SHOWN])
        return f"0x {text}" + (" …" if flat.size > SHOWN else "")

    failures = int((wanted != came).sum()) if wanted.shape == came.shape else wanted.size
    example = f"codes of shape {codes.shape}: {as_text(codes)}"
    return Outcome(
        name, Verdict.FAILED, cases=cases, failures=failures, example=example,
        expected=as_text(wanted), got=as_text(came),
    )  # fmt: skip


def _takes_length(fn: Callable[..., Any]) -> bool:
    """Return whether a callable has a second parameter without a default."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters) >= 2


@in_default_environment
def check_packing(
    pack: Callable[..., Any],
    unpack: Callable[..., Any],
    like: Format | str,
    *,
    ragged: bool = True,
    integers: bool = True,
    convert: Callable[[Any], Any] | None = None,
    time_limit: float | None = None,
) -> Report:
    """Try packing codes into bytes, and back, against `precision.storage.pack`.

    Parameters
    ----------
    pack : callable
        Codes (rows, length) to bytes (rows, ceil(length * bits / 8)).
    unpack : callable
        Bytes back to codes: ``unpack(packed)``, or ``unpack(packed, length)`` where it has a second
        parameter without a default.
    like : FloatFormat, IntFormat or str
        Of the codes; at most 16 bits.
    ragged : bool
        Whether lengths are tried that do not fill whole bytes.
    integers : bool
        Whether codes are given as unsigned integers, one a code, or as ml_dtypes' type.
    convert, time_limit
        As in `check_quantizer`.

    Returns
    -------
    Report
        As of `check_quantizer`; a cause names another order of bits that matches every byte.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    The properties, in order: *result* (shape and type of the bytes), *input unchanged* (neither callable
    writes into its input), *layout* (each row is a little-endian bit stream: the first code lies in the
    lowest bits of the first byte), *round trip* (codes that are packed come back). With ``ragged`` the last
    two again for *odd lengths*, where rows end within a byte: the rest of that byte must be zero.

    Examples
    --------
    >>> import numpy as np, precision as pr
    >>> from precision.testing import check_packing
    >>> def pack(codes):
    ...     return (codes[..., ::2] << 4) | codes[..., 1::2]
    >>> def unpack(packed):
    ...     return np.stack([packed >> 4, packed & 15], -1).reshape(*packed.shape[:-1], -1)
    >>> report = check_packing(pack, unpack, like=pr.E2M1, ragged=False)
    >>> report["round trip"].verdict, report.causes
    (<Verdict.PASSED: 'pass'>, ('the first code lies in the high half of a byte',))
    """
    fmt = parse_format(like) if isinstance(like, str) else like
    if not isinstance(fmt, FloatFormat | IntFormat) or fmt == FP64:
        raise TypeError(f"like must be a format or the text of one, got {like!r}")
    if fmt.bits > 16:
        raise ValueError(f"like must have at most 16 bits, got {fmt}")
    back = Call(unpack, convert=convert, time_limit=time_limit)
    target = Packing(fmt, back, ragged, integers)
    call = Call(pack, convert=convert, time_limit=time_limit)
    properties = packing_properties(target)
    return run(properties, call, subject=f"{label(pack)} and {label(unpack)}", like=str(fmt))


def packing_properties(target: Packing) -> tuple[Property, ...]:
    """Return the properties that `check_packing` tries."""

    def new_property(
        name: str, meaning: str, test: Callable[[Call], Attempt], essential: bool = False
    ) -> Property:
        return Property(name, meaning, test=test, guess=target.guess, essential=essential)

    def odd(name: str, test: Callable[[str, bool, Call], Attempt]) -> Callable[[Call], Attempt]:
        def tried(call: Call) -> Attempt:
            if not target.ragged:
                return as_not_applicable(name, "ragged=False: lengths fill whole bytes")
            if target.fmt.bits % 8 == 0:
                return as_not_applicable(name, f"a code of {target.fmt} fills whole bytes")
            return test(name, True, call)

        return tried

    return (
        new_property(
            "result", "shape and type of the bytes", lambda call: target.sizes("result", False, call), True
        ),
        new_property("input unchanged", "neither writes into its input", target.unchanged),
        new_property(
            "layout",
            "a little-endian bit stream, row by row",
            lambda call: target.layout("layout", False, call),
        ),
        new_property(
            "round trip", "codes come back", lambda call: target.roundtrip("round trip", False, call)
        ),
        new_property(
            "odd lengths: layout",
            "rows end at a whole byte, filled up with zeros",
            odd("odd lengths: layout", target.layout),
        ),
        new_property(
            "odd lengths: round trip", "codes come back", odd("odd lengths: round trip", target.roundtrip)
        ),
    )
