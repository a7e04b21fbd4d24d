"""The house: which room may import from which, what a door gives, how light the top is."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import clbench
from clbench.doors import door_names
from clbench.models import survive_torchvision

ROOT = Path(clbench.__file__).parent
# From the top to the ground: a file imports from its own row and from rows below. A row is a room or a file.
ROWS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("testing",),
    ("conformance",),
    ("integrations",),
    ("tuning",),
    ("advice",),
    ("parallel",),
    ("engine",),
    ("plugins",),
    ("toolkit",),
    ("models",),
    ("sources",),
    ("report",),
    ("results",),
    ("presets",),
    ("tasks",),
    ("strategy", "scenario", "learner", "config"),
    ("kinds",),
    ("data",),
    ("head",),
    ("errors", "rng", "clock", "files", "text"),
    ("doors",),
)
ORDER = {name: number for number, row in enumerate(ROWS) for name in row}
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"scenarios", "strategies"}
BUILT_IN = ("clbench.strategies.", "clbench.scenarios.")
PUBLIC = {"Strategy", "Scenario", "Task", "TaskData", "Learner", "Kind", "Example", "Batch", "run", "load_runs"}


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module of clbench by its dotted name, the packages' ``__init__`` under the package's name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = ["clbench", *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def door(package: str) -> dict[str, tuple[str, str]]:
    """What the package's ``__init__`` gives lazily."""
    path = MODULES[package]
    return door_names(path.read_text("utf-8")) if path.name == "__init__.py" else {}


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Every ``(module, name)`` of clbench that a file imports: lazily, for type checkers, or at the top."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def home(module: str, name: str) -> str:
    """The module that ``from module import name`` ends in: through doors to where the name stands."""
    while module in MODULES:
        if f"{module}.{name}" in MODULES and name not in door(module):
            return f"{module}.{name}"
        if name not in door(module):
            return module
        origin = door(module)[name]
        if origin[0] == module:  # one of the package's own files
            return f"{module}.{name}"
        module, name = origin
    return module


def edges() -> dict[str, set[str]]:
    """For each module those of clbench that it imports; a door's own list is no import."""
    ours = {}
    for module, path in MODULES.items():
        if path.name == "__init__.py" and door(module):
            ours[module] = set[str]()
        else:
            pairs = [(m, name) for m, name in imported(path) if m.split(".")[0] == "clbench"]
            ours[module] = {home(m, name) for m, name in pairs} - {module}
    return ours


def plug_ins(folder: str) -> list[Path]:
    return sorted((ROOT.parent / folder).glob("*.py"))


def row(module: str) -> int:
    return ORDER[module.split(".")[1]]


def own(module: str) -> bool:
    """Whether a module stands in a row: not the root package, which only opens its door, and not the plug-ins' ones."""
    return module != "clbench" and module.split(".")[1] not in ("scenarios", "strategies")


def test_every_file_and_room_has_a_row() -> None:
    assert {module.split(".")[1] for module in MODULES if own(module)} == set(ORDER)


def test_no_import_goes_up() -> None:
    up = [
        f"{module} imports {target}"
        for module, targets in edges().items()
        for target in targets
        if own(module) and own(target) and row(target) < row(module)
    ]
    assert up == []


def test_no_imports_go_round() -> None:
    graph, done = edges(), set[str]()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in graph.get(module, ()):
                visit(target, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_others_import_from_the_room_not_from_its_files() -> None:
    inside = [
        f"{module} imports from {target}"
        for module, path in MODULES.items()
        if not (path.name == "__init__.py" and module == "clbench")
        for target, _ in imported(path)
        if target.startswith("clbench.") and target.count(".") > 1 and target.split(".")[1] in ROOMS
        if module.split(".")[1:2] != target.split(".")[1:2]
    ]
    assert inside == []


def test_what_is_imported_from_a_room_is_at_its_door() -> None:
    """Type checkers take any name of a module that has a ``__getattr__``."""
    others = [path for folder in ("strategies", "scenarios", "benchmarks") for path in plug_ins(folder)]
    for path in [*MODULES.values(), *others]:
        for module, name in imported(path):
            if name and module in MODULES and door(module):
                there = name in door(module) or f"{module}.{name}" in MODULES or name == "__version__"
                assert there, f"{path}: from {module} import {name}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_door_gives_each_name_that_it_lists(room: str) -> None:
    survive_torchvision()
    package = importlib.import_module(f"clbench.{room}")
    assert package.__doc__
    assert sorted(door(f"clbench.{room}")) == getattr(package, "__all__", [])
    for name in door(f"clbench.{room}"):
        getattr(package, name)
        # A name that is also a file's would become that file as soon as it is imported.
        assert f"clbench.{room}.{name}" not in MODULES or door(f"clbench.{room}")[name][0] == f"clbench.{room}"


def test_plug_ins_import_the_public_names_the_toolkit_and_the_errors() -> None:
    files = [*plug_ins("strategies"), *plug_ins("scenarios")]
    assert len(files) > 40
    for path in files:
        for module, name in imported(path):
            if module.split(".")[0] == "clbench":
                allowed = module in ("clbench.toolkit", "clbench.errors") or module.startswith(BUILT_IN)
                assert allowed or (module == "clbench" and name in PUBLIC), f"{path.name}: from {module} import {name}"


def test_the_top_is_small_and_light() -> None:
    assert len(list(ROOT.glob("*.py"))) <= 16
    assert set(clbench.__all__) == PUBLIC
    heavy = "{'torch', 'transformers', 'datasets', 'pandas', 'pydantic', 'typer', 'numpy'}"
    program = f"import sys, clbench; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_room_is_given_by_another_before_anything_else_has_imported_it() -> None:
    program = "from clbench.toolkit import sources; print(sources.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "clbench.sources"


@pytest.mark.parametrize("room", ["report", "results"])
def test_what_reads_results_knows_nothing_of_torch(room: str) -> None:
    for module, path in MODULES.items():
        if module.startswith(f"clbench.{room}"):
            assert not [m for m, _ in imported(path) if m.split(".")[0] == "torch"], module


def test_the_walk_sees_lazy_and_type_checking_imports(tmp_path: Path) -> None:
    file = tmp_path / "file.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from clbench.a import B\n"
        "def f():\n    import clbench.c\n"
    )
    assert {pair for pair in imported(file) if "clbench" in pair[0]} == {("clbench.a", "B"), ("clbench.c", "")}
