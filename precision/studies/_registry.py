"""The built-in studies by name, one in each module, which is imported when its study is first used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from precision._support._collected_modules import find_entries
from precision._support._suggestions import did_you_mean
from precision.studies._experiment import Study

#: A study's module is named as the study, with an underscore before it.
_MODULES = find_entries("precision.studies.built_in")


class Studies(Mapping[str, Study]):
    """A read-only mapping from the name of each built-in study to the study."""

    def __getitem__(self, name: str) -> Study:
        found: Study = importlib.import_module(_MODULES[name]).STUDY
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


#: The built-in studies by name.
STUDIES = Studies()


def study(name: str) -> Study:
    """Return the built-in study of a name.

    Parameters
    ----------
    name : str
        A key of `STUDIES`, as "promotion".

    Raises
    ------
    TypeError
        If ``name`` is not a string.
    ValueError
        If no study has that name; the message lists the names, and suggests a near one.

    Examples
    --------
    >>> from precision.studies import study
    >>> sorted(study("accumulation").grid)
    ['accumulator', 'k', 'offset', 'width']
    >>> study("promotoin")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: study must be one of accumulation, ...; got 'promotoin' (did you mean 'promotion'?)
    """
    if not isinstance(name, str):
        raise TypeError(f"study must be a str, got {name!r}")
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES)
        raise ValueError(f"study must be one of {', '.join(STUDIES)}; got {name!r}{hint}")
    return STUDIES[name]
