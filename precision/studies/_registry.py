"""The registry of the built-in studies by name, which imports a study's module when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from precision._support._suggestions import did_you_mean
from precision.studies._experiment import Study

_MODULES = {
    "accumulation": "precision.studies.built_in._accumulator_width",
    "promotion": "precision.studies.built_in._promotion_interval",
    "group_size": "precision.studies.built_in._group_size",
    "formats": "precision.studies.built_in._which_bits",
    "logfmt": "precision.studies.built_in._logfmt_width",
    "scale_rules": "precision.studies.built_in._microscaling_scale_rules",
    "stochastic_bits": "precision.studies.built_in._stochastic_rounding",
    "unit_scaling": "precision.studies.built_in._scaling_in_the_unit",
    "gemm": "precision.studies.built_in._matrix_product",
    "quantize": "precision.studies.built_in._spec_fidelity",
    "all_to_all": "precision.studies.built_in._all_to_all",
}


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
