"""Studies: questions about numbers, each with the cells, the table and the figure that answer it."""

from precision._support._moved_names import raise_for_studies as __getattr__  # noqa: F401 -- Python asks for it
from precision.studies._array_sources import Arrays, Source, read_sources
from precision.studies._experiment import Study
from precision.studies._matrix_files import Matrices
from precision.studies._registry import STUDIES, study

__all__ = ["STUDIES", "Arrays", "Matrices", "Source", "Study", "read_sources", "study"]
