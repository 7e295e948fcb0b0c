"""The result of a check: one `Outcome` for each property, and the `Report` that holds them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from precision._support._suggestions import suggest_names


class CheckFailed(AssertionError):
    """The error that a checked callable lacks a property; its message is the outcome or the report."""


class Verdict(enum.Enum):
    """The verdict on a property: it holds, it fails, or it was not tried because it does not apply.

    Examples
    --------
    >>> from precision.testing._reports import Verdict
    >>> [str(verdict) for verdict in Verdict]
    ['pass', 'FAIL', '-']
    """

    PASSED = "pass"
    FAILED = "FAIL"
    NOT_APPLICABLE = "-"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Outcome:
    """The result of trying one property on a callable.

    Attributes
    ----------
    name : str
        The name of the property, for example ``"tie rule"``.
    verdict : Verdict
        The verdict: whether the property holds, fails, or does not apply.
    cases, failures : int
        The number of results that were compared, and of those that were wrong; 0 if the call failed.
    example, expected, got : str
        The smallest failing input that was found, the result of the declared arithmetic for it, and the
        observed result, with numbers in decimal and hexadecimal.
    cause : str
        A guess: the known mistake that predicts every observed result; empty if none does.
    note : str
        The reason why the property does not apply, or the fault of the call.
    """

    name: str
    verdict: Verdict
    cases: int = field(default=0, kw_only=True)
    failures: int = field(default=0, kw_only=True)
    example: str = field(default="", kw_only=True)
    expected: str = field(default="", kw_only=True)
    got: str = field(default="", kw_only=True)
    cause: str = field(default="", kw_only=True)
    note: str = field(default="", kw_only=True)

    @property
    def failed(self) -> bool:
        """True if the property does not hold."""
        return self.verdict is Verdict.FAILED

    def details(self) -> Iterator[tuple[str, str]]:
        """Yield those parts of a failure that are not empty, each with its heading."""
        for heading, text in (
            ("input", self.example),
            ("expected", self.expected),
            ("got", self.got),
            ("cause", self.cause),
            ("note", self.note),
        ):
            if text:
                yield heading, text

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.verdict}" + (f" ({self.counts()})" if self.cases else "")]
        if self.failed or self.note:
            lines += [f"  {heading:<9} {text}" for heading, text in self.details()]
        return "\n".join(lines)

    def counts(self) -> str:
        """Return as text how many numbers were compared, and how many of them were wrong."""
        return f"{self.failures:,} of {self.cases:,}" if self.failures else f"{self.cases:,}"


@dataclass(frozen=True)
class Report:
    """The outcomes of all properties of a check; as a condition it is true exactly if none failed.

    Attributes
    ----------
    subject, like : str
        The names of the callable that was checked and of what it was checked against.
    outcomes : tuple of Outcome
        The outcome of each property, in the order in which they were tried.

    Examples
    --------
    >>> import ml_dtypes, precision as pr
    >>> from precision.testing import check_quantizer
    >>> report = check_quantizer(lambda x: x.astype(ml_dtypes.float8_e4m3fn), like=pr.E4M3)
    >>> report.ok, report["overflow rule"].cause
    (False, 'does not saturate')
    """

    subject: str
    like: str
    outcomes: tuple[Outcome, ...] = field(kw_only=True)

    @property
    def ok(self) -> bool:
        """True if no property failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes of properties that do not hold."""
        return tuple(outcome for outcome in self.outcomes if outcome.failed)

    @property
    def causes(self) -> tuple[str, ...]:
        """The guesses at what is wrong, each once, the one behind most failed properties first."""
        named = [outcome.cause for outcome in self.failed if outcome.cause]
        return tuple(sorted(dict.fromkeys(named), key=lambda cause: -named.count(cause)))

    def __bool__(self) -> bool:
        return self.ok

    def __getitem__(self, name: str) -> Outcome:
        for outcome in self.outcomes:
            if outcome.name == name:
                return outcome
        names = [outcome.name for outcome in self.outcomes]
        raise KeyError(f"no property {name!r}; {suggest_names(name, names, 'there are')}")

    def headline(self) -> str:
        """Return one line: the callable, what it was checked against, and how many properties failed."""
        tried = sum(outcome.verdict is not Verdict.NOT_APPLICABLE for outcome in self.outcomes)
        count = (
            f"{len(self.failed)} of {tried} properties failed" if self.failed else f"{tried} properties hold"
        )
        return f"{self.subject} like {self.like}: {count}"

    def __str__(self) -> str:
        width = max((len(outcome.name) for outcome in self.outcomes), default=0)
        lines = [self.headline()]
        lines += [f"likely cause: {cause}" for cause in self.causes]
        lines.append("")
        for outcome in self.outcomes:
            tail = outcome.counts() if outcome.cases else ""
            if outcome.verdict is Verdict.NOT_APPLICABLE:
                tail = outcome.note
            lines.append(f"{outcome.name:<{width}}  {outcome.verdict!s:<4}  {tail}".rstrip())
            if outcome.failed:
                lines += [f"    {heading:<9} {text}" for heading, text in outcome.details()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as text, numbers, lists and dictionaries alone, as JSON holds them."""
        outcomes = [{**asdict(outcome), "verdict": outcome.verdict.name.lower()} for outcome in self.outcomes]
        return {
            "subject": self.subject,
            "like": self.like,
            "ok": self.ok,
            "causes": list(self.causes),
            "outcomes": outcomes,
        }

    def raise_if_failed(self) -> None:
        """Raise `CheckFailed`, an AssertionError with the whole report, unless every property holds."""
        if not self.ok:
            raise CheckFailed("\n" + str(self))
