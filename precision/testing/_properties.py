"""Properties that can be tried on a callable, and the loop that tries many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from precision._support.machine._float_environment import in_default_environment
from precision.testing._calls import Call, Fault
from precision.testing._reports import CheckFailed, Outcome, Report, Verdict

#: Known mistakes that predict all that was observed, the likeliest first: names, or one name ("" for none).
Guess = Callable[[Sequence[Any]], str | Iterable[str]]


class Attempt(NamedTuple):
    """An outcome, with the observations from which the property's `Guess` finds a cause."""

    outcome: Outcome
    observed: tuple[Any, ...] = ()


def _no_guess(observed: Sequence[Any]) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Property:
    """A claim that holds for every right implementation, with the inputs that test it.

    Attributes
    ----------
    name : str
        The name in reports, which ``str`` returns, so that pytest's ``ids=str`` shows it.
    meaning : str
        The claim, in one line.
    """

    name: str
    meaning: str
    test: Callable[[Call], Attempt] = field(kw_only=True, repr=False)  #: may raise `Fault`
    guess: Guess = field(default=_no_guess, kw_only=True, repr=False)
    essential: bool = field(default=False, kw_only=True)  #: nothing else is tried where it fails
    alone: bool = field(default=False, kw_only=True)  #: guessed from what it observed itself

    def __str__(self) -> str:
        return self.name

    @in_default_environment
    def outcome(
        self,
        fn: Callable[..., Any],
        *,
        convert: Callable[[Any], Any] | None = None,
        time_limit: float | None = None,
    ) -> Outcome:
        """Try the property on ``fn``, and return the outcome; the keywords are those of `check_quantizer`."""
        tried = self.attempt(Call(fn, convert=convert, time_limit=time_limit))
        return with_cause(tried, self.guess)

    @in_default_environment
    def check(
        self,
        fn: Callable[..., Any],
        *,
        convert: Callable[[Any], Any] | None = None,
        time_limit: float | None = None,
    ) -> Outcome:
        """Try the property on ``fn``; return the outcome, or raise `CheckFailed`, an AssertionError."""
        found = self.outcome(fn, convert=convert, time_limit=time_limit)
        if found.failed:
            raise CheckFailed("\n" + str(found))
        return found

    @in_default_environment
    def attempt(self, call: Call) -> Attempt:
        """Try the property on a call; a `Fault` of the callable becomes a failure with the fault's name."""
        try:
            return self.test(call)
        except Fault as fault:
            failed = Outcome(self.name, Verdict.FAILED, got=str(fault), cause=fault.kind)
            return Attempt(failed, (fault,))


def as_not_applicable(name: str, why: str) -> Attempt:
    """Return the outcome of a property that does not apply, with the reason."""
    return Attempt(Outcome(name, Verdict.NOT_APPLICABLE, note=why))


def as_passed(name: str, cases: int, observed: Sequence[Any] = ()) -> Attempt:
    """Return the outcome of a property that holds, with the number of cases tried."""
    return Attempt(Outcome(name, Verdict.PASSED, cases=cases), tuple(observed))


def guesses(guess: Guess, observed: Sequence[Any]) -> Iterable[str]:
    """Return the causes that a guess names for some observations, faults left out."""
    found = guess([one for one in observed if not isinstance(one, Fault)])
    return (name for name in ((found,) if isinstance(found, str) else found) if name)


def with_cause(tried: Attempt, guess: Guess) -> Outcome:
    """Return the outcome; a failed one gets the first name of the guess as its cause."""
    outcome = tried.outcome
    if not outcome.failed or outcome.cause:
        return outcome
    return replace(outcome, cause=next(iter(guesses(guess, tried.observed)), ""))


def run(properties: Sequence[Property], call: Call, *, subject: str, like: str) -> Report:
    """Try every property, and guess at causes: one for all that was observed, or else as few as will do.

    A callable that hung is not called again, and one that fails an essential property (it raises, or
    returns something of the wrong shape or type) is asked for nothing else.
    """
    attempts: list[tuple[Property, Attempt]] = []
    stopped = ""
    for prop in properties:
        if stopped:
            attempts.append((prop, as_not_applicable(prop.name, f"not tried: {stopped}")))
            continue
        tried = prop.attempt(call)
        attempts.append((prop, tried))
        hung = any(isinstance(one, Fault) and one.kind == "hangs" for one in tried.observed)
        if tried.outcome.failed and (prop.essential or hung):
            stopped = f"the callable {tried.outcome.cause or 'fails'}" if hung else f"{prop.name} failed"
    return Report(subject, like, outcomes=_explained(attempts))


def _explained(attempts: Sequence[tuple[Property, Attempt]]) -> tuple[Outcome, ...]:
    """Return the outcomes with causes: one for all failures, or as few as explain them."""
    open_ones = {
        i: prop
        for i, (prop, tried) in enumerate(attempts)
        if tried.outcome.failed and not tried.outcome.cause
    }
    causes: dict[int, str] = {}
    everything = [one for _, tried in attempts for one in tried.observed]
    for guess in dict.fromkeys(prop.guess for prop in open_ones.values() if not prop.alone):
        cause = next(iter(guesses(guess, everything)), "")
        if cause:
            causes |= {i: cause for i, own in open_ones.items() if own.guess == guess and not own.alone}
    names = {
        i: tuple(dict.fromkeys(guesses(prop.guess, attempts[i][1].observed)))
        for i, prop in open_ones.items()
        if i not in causes
    }
    while any(names.values()):
        counted = Counter(causes.values())
        counted.update(name for some in names.values() for name in some)
        possible = {name for some in names.values() for name in some}
        first = {name: min(some.index(name) for some in names.values() if name in some) for name in possible}
        best = min(possible, key=lambda name: (-counted[name], first[name]))
        causes |= {i: best for i, some in names.items() if best in some}
        names = {i: some for i, some in names.items() if best not in some}
    return tuple(
        replace(tried.outcome, cause=causes[i]) if i in causes else tried.outcome
        for i, (_, tried) in enumerate(attempts)
    )
