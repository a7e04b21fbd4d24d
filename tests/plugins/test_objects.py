"""Plug-ins given as objects: their arguments, and in a notebook the hash of all that their class is made of."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clbench.errors import InputError
from clbench.plugins.objects import class_hash, component_of
from clbench.strategy import Strategy

CELLS = '''
from clbench import Strategy
import beside

SCALE, MARKS = 2.0, {"a": 1}

def halve(value):
    return value / SCALE

class Base(Strategy):
    def weight(self):
        return beside.WEIGHT

class Mine(Base):
    """What it does."""

    settings = ("task",)

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    @property
    def half(self):
        return [halve(value) for value in (self.strength,)]

    @staticmethod
    def twice(value, by=MARKS):
        return 2 * value
'''

Notebook = Callable[[str], type[Any]]


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    """``notebook(cells)``: the class ``Mine`` of a module without a file, as in a notebook."""
    (tmp_path / "beside.py").write_text("WEIGHT = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "notebook_of_a_test", ModuleType("notebook_of_a_test"))

    def run(cells: str) -> type[Any]:
        place = f"<cell {hash(cells)}>"
        linecache.cache[place] = (len(cells), None, cells.splitlines(keepends=True), place)
        scope: dict[str, Any] = {"__name__": "notebook_of_a_test"}
        exec(compile(cells, place, "exec"), scope)
        made: type[Any] = scope["Mine"]
        return made

    yield run
    sys.modules.pop("beside", None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""What it does."""', '"""What it does, in other words."""'),
        ("return 2 * value", "return (2 *\n            value)  # doubled"),
        ("SCALE, MARKS", "UNUSED = 3\nSCALE, MARKS"),
    ],
)
def test_the_hash_of_a_notebooks_class_stays(notebook: Notebook, before: str, after: str) -> None:
    assert before in CELLS
    assert class_hash(notebook(CELLS.replace(before, after))) == class_hash(notebook(CELLS))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("self.strength = strength", "self.strength = 2 * strength", id="method"),
        pytest.param('("task",)', '("task", "class")', id="attribute"),
        pytest.param("return 2 * value", "return 3 * value", id="static method"),
        pytest.param("[halve(value)", "[halve(value) + 1", id="property"),
        pytest.param("return value / SCALE", "return value * SCALE", id="function that it calls"),
        pytest.param("SCALE, MARKS = 2.0", "SCALE, MARKS = 4.0", id="value that this function reads"),
        pytest.param('{"a": 1}', '{"a": 2}', id="default"),
        pytest.param("return beside.WEIGHT", "return -beside.WEIGHT", id="base class"),
        pytest.param("class Mine(Base)", "class Mine(Strategy)", id="other base class"),
    ],
)
def test_the_hash_of_a_notebooks_class_changes(notebook: Notebook, before: str, after: str) -> None:
    assert before in CELLS
    assert class_hash(notebook(CELLS.replace(before, after))) != class_hash(notebook(CELLS))


def test_the_hash_of_a_notebooks_class_covers_the_files_beside_it(notebook: Notebook, tmp_path: Path) -> None:
    mine = notebook(CELLS)
    before = class_hash(mine)
    (tmp_path / "beside.py").write_text("WEIGHT = 1  # the same\n")
    assert class_hash(mine) == before
    (tmp_path / "beside.py").write_text("WEIGHT = 5\n")
    assert class_hash(mine) != before


def test_a_class_whose_source_nobody_knows_is_refused(notebook: Notebook) -> None:
    mine = notebook(CELLS)
    linecache.cache.clear()
    with pytest.raises(InputError, match=r"the source of .* is not known to Python; keep it in a \.py file"):
        class_hash(mine)


def test_two_classes_of_one_file_have_hashes_of_their_own() -> None:
    assert class_hash(Kept) != class_hash(Lost)
    assert class_hash(Kept) == class_hash(Kept)


class Kept(Strategy):
    def __init__(self, strength: float = 1.0, names: tuple[str, ...] = (), *, seed: int = 0) -> None:
        self.strength, self.names = strength, names


class Lost(Strategy):
    def __init__(self, strength: float = 1.0) -> None:
        self.half = strength / 2


def test_an_objects_arguments_are_those_that_differ_from_the_defaults() -> None:
    component, cls = component_of(Kept(strength=2.0, names=("a",)))
    assert (component.name, component.arguments, cls) == ("Kept", {"strength": 2.0, "names": ("a",)}, Kept)
    assert component_of(Kept(seed=3))[0].arguments == {}
    assert component_of(Kept) == (component_of(Kept())[0], Kept)


def test_an_argument_that_is_kept_nowhere_or_is_no_literal_is_refused() -> None:
    with pytest.raises(InputError, match=r"Lost does not keep its argument 'strength'"):
        component_of(Lost())
    with pytest.raises(InputError, match="strength of the object Kept"):
        component_of(Kept(strength=object()))  # type: ignore[arg-type]
