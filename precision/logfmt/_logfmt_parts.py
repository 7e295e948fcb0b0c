"""The parts of a LogFMT tensor, and what follows from them without any arithmetic on the elements."""

from __future__ import annotations

from dataclasses import dataclass, field

from precision._support._types import Array
from precision._support.machine._float_environment import methods_in_default_environment
from precision.logfmt import _logfmt_checks, _stored_numbers
from precision.logfmt._logfmt_fields import LogFMTFields


@dataclass(frozen=True, eq=False, repr=False)
@methods_in_default_environment
class LogFMTParts:
    """The fields of a `LogFMTTensor`, unchecked, with the shapes and sizes that follow from them."""

    codes: Array
    metadata: tuple[Array, Array]
    spec: LogFMTFields
    axis: int = field(default=-1, kw_only=True)

    def check(self) -> None:
        """Raise ValueError unless every code and number is one that quantizing gives."""
        _logfmt_checks.check_numbers(self.metadata, self.spec)
        self.check_codes()

    def check_codes(self) -> None:
        """Raise ValueError unless every code of an element that is cast lies below ``2**spec.bits``."""
        _logfmt_checks.check_codes(self.codes, self.metadata, self.spec, self.axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.codes.ndim

    @property
    def min(self) -> Array:
        """Logarithm of each tile's lowest level, to the spec's base; float64, of the metadata's shape."""
        return _stored_numbers.grid_logarithms(self.metadata, self.spec)[0]

    @property
    def step(self) -> Array:
        """Logarithm of the ratio of neighbouring levels, to the spec's base; as `min`, one for each tile."""
        return _stored_numbers.grid_logarithms(self.metadata, self.spec)[1]

    @property
    def cast(self) -> Array:
        """True for each tile that is cast to codes (`Fallback`); bool, of the metadata's shape."""
        return _stored_numbers.cast_tiles(self.metadata, self.spec, self.axis)

    def cast_elements(self) -> Array:
        """Return whether each element's tile is cast to codes: bool, of the codes' shape."""
        return _stored_numbers.cast_elements(self.shape, self.metadata, self.spec, self.axis)

    @property
    def nbytes(self) -> int:
        """Bytes to store or send: those of `pack`."""
        size, spec = self.codes.size, self.spec
        cast = size if spec.fallback is None else int(self.cast_elements().sum())
        numbers = sum(array.nbytes for array in self.metadata)
        return numbers + -(-cast * spec.bits // 8) + 2 * (size - cast)

    @property
    def bits_per_element(self) -> float:
        """Bits stored for each element; metadata, and tiles that are not cast, are counted."""
        if not self.codes.size:
            raise ValueError(f"a tensor of shape {self.shape} holds no element")
        return 8 * self.nbytes / self.codes.size
