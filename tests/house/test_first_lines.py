"""The first line of every docstring of the package: a sentence that stands alone (CONTRIBUTING)."""

import ast
from pathlib import Path

import pytest

import precision

PACKAGE = Path(precision.__file__).parent
QUESTIONS = {"What", "How", "Whether", "Why", "When", "Where", "Which"}
#: Words that begin no imperative sentence.
NO_VERBS = QUESTIONS | {
    "A",
    "An",
    "The",
    "This",
    "It",
    "As",
    "Of",
    "For",
    "If",
    "In",
    "Every",
    "Each",
    "All",
    "True",
}
NO_NOUNS = QUESTIONS | {"As", "It", "Of", "If", "Return", "Returns", "Yield", "Build", "Make"}


def faults(source):
    """Yield the docstrings whose first line has not the form that CONTRIBUTING asks for."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        if not first:
            continue
        decorators = {ast.unparse(each) for each in getattr(node, "decorator_list", ())}
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        noun = not function or any(name.endswith("property") for name in decorators)
        words = first.replace("`", "").split()
        wrong = words[0] in (NO_NOUNS if noun else NO_VERBS) or words[:2] == ["The", "same"]
        if wrong or not (noun or words[0][:1].isupper()) or not first.endswith((".", ".)")):
            yield first


@pytest.mark.parametrize("room", sorted({path.parts[len(PACKAGE.parts)] for path in PACKAGE.rglob("*.py")}))
def test_first_lines_stand_alone(room):
    paths = [PACKAGE / room] if room.endswith(".py") else sorted((PACKAGE / room).rglob("*.py"))
    found = [
        (str(path.relative_to(PACKAGE)), line) for path in paths for line in faults(path.read_text("utf-8"))
    ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        '"""What a module does."""',
        'def f():\n    """The same for others."""',
        'def f():\n    """A result."""',
        'def f():\n    """``a * b`` of both."""',
        'class C:\n    """How it is done."""\n',
        'class C:\n    @property\n    def p(self):\n        """Whether it holds."""',
        'class C:\n    @functools.cached_property\n    def p(self):\n        """Return the size."""',
        'def f():\n    """Return a sentence without an end"""',
    ],
)
def test_other_first_lines_are_found(source):
    assert len(list(faults(source))) == 1


def test_these_first_lines_are_right():
    source = '"""The size of things."""\ndef f():\n    """Return the size (see g.)"""\n'
    assert list(faults(source + 'class C:\n    """A size."""\n')) == []
