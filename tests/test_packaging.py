"""The wheel, installed far from the checkout; the pinned versions; the commands of README.md and .ci/run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import clbench
from tests.helpers import ROOT, interpreters, slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SMALL = ("--epochs", "1", "--scenario-arg", "train=30", "--scenario-arg", "dev=9", "--scenario-arg", "test=15")


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The stdout of a command that must succeed, run where nothing of this checkout is in sight."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def new_environment(folder: Path) -> Path:
    """An empty virtual environment in ``folder``; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def lend_packages(python: Path) -> None:
    """Let an environment see our installed packages, after its own; an editable clbench, found by a .pth, stays out."""
    (own,) = python.parents[1].glob("lib/python*/site-packages")
    (own / "lent.pth").write_text("".join(f"{sysconfig.get_path(kind)}\n" for kind in ("purelib", "platlib")))


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel built straight from the checkout, and the one built from the sdist."""
    build = [sys.executable, "-m", "build", "--no-isolation"]
    folders = {name: tmp_path_factory.mktemp(name) for name in ("direct", "sdist")}
    call(*build, "--wheel", "--outdir", folders["direct"], ROOT, cwd=folders["direct"])
    call(*build, "--outdir", folders["sdist"], ROOT, cwd=folders["sdist"])  # the sdist, and from it the wheel
    return {name: next(folder.glob("*.whl")) for name, folder in folders.items()}


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_code_at_its_place_and_nothing_else(wheels: dict[str, Path]) -> None:
    kinds = ("*.py", "report/page/*.js", "report/page/*.css", "presets/*.yaml")
    sources = {path.relative_to(ROOT).as_posix() for kind in kinds for path in (ROOT / "clbench").rglob(kind)}
    for folder in ("scenarios", "strategies"):
        sources |= {f"clbench/{folder}/{path.name}" for path in (ROOT / folder).glob("*.py")}
    assert {"clbench/cli.py", "clbench/strategies/ewc.py", "clbench/scenarios/toy.py"} < sources
    information = f"clbench-{PROJECT['version']}.dist-info"
    found = {name for name in members(wheels["direct"]) if not name.startswith(f"{information}/")}
    assert found == {*sources, "clbench/py.typed"}


def test_the_licence_travels_with_the_wheel(wheels: dict[str, Path]) -> None:
    information = f"clbench-{PROJECT['version']}.dist-info"
    with zipfile.ZipFile(wheels["sdist"]) as archive:
        licence = archive.read(f"{information}/licenses/LICENSE").decode()
        about = archive.read(f"{information}/METADATA").decode()
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licence
    assert "License-Expression: Apache-2.0\n" in about
    assert f"\nVersion: {clbench.__version__}\n" in about


def test_wheel_from_the_sdist_is_the_same(wheels: dict[str, Path]) -> None:
    assert members(wheels["sdist"]) == members(wheels["direct"])


@pytest.fixture(scope="module")
def wheel_environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment where clbench comes from the wheel and all else from ours."""
    folder = tmp_path_factory.mktemp("wheel-environment")
    python = new_environment(folder)
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps"]
    call(sys.executable, *install, wheels["direct"], cwd=folder)
    lend_packages(python)
    return python


@pytest.fixture(params=["wheel", slow("checkout")])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, dict[str, str], Path]]:
    """A Python, its environment variables and the folder that its clbench must come from."""
    if request.param == "wheel":
        python = request.getfixturevalue("wheel_environment")
        yield python, {}, python.parents[1]
    else:
        python = new_environment(tmp_path / "environment")
        lend_packages(python)
        yield python, {"PYTHONPATH": str(ROOT)}, ROOT


@pytest.mark.slow
def test_works_in_a_folder_with_plug_in_folders_of_its_own(
    installed: tuple[Path, dict[str, str], Path], tmp_path: Path
) -> None:
    python, environment, home = installed
    here = tmp_path / "elsewhere"
    for decoy in ("strategies/__init__.py", "strategies/ewc.py", "scenarios/toy.py", "pyproject.toml"):
        (here / decoy).parent.mkdir(parents=True, exist_ok=True)
        (here / decoy).write_text("raise RuntimeError('the decoy was imported')\n")

    def command(*arguments: str) -> str:
        return call(python, "-m", "clbench", *arguments, cwd=here, **environment)

    file = call(python, "-c", "import clbench; print(clbench.__file__)", cwd=here, **environment)
    assert Path(file.strip()).is_relative_to(home)
    listed = [row["name"] for row in json.loads(command("list", "strategies", "--json"))]
    assert listed == sorted(path.stem for path in (ROOT / "strategies").glob("[!_]*.py"))
    assert "ewc_lambda" in command("describe", "ewc")
    assert command("run", "--scenario", "toy", "--strategy", "ewc", *SMALL, "-q").startswith("ewc: toy")
    (result,) = here.glob("results/toy/ewc/*/result.json")
    assert json.loads(result.read_text())["status"] == "complete"


def test_wheel_brings_the_command(wheel_environment: Path, tmp_path: Path) -> None:
    assert "ewc" in call(wheel_environment.with_name("clbench"), "list", "strategies", cwd=tmp_path)


def pins() -> dict[str, Version]:
    """constraints.txt: the version of each package, by its canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements(lines: list[str], extra: str = "") -> list[Requirement]:
    """Those that hold on this machine."""
    parsed = map(Requirement, lines)
    return [each for each in parsed if each.marker is None or each.marker.evaluate({"extra": extra})]


def test_every_package_of_an_installation_is_pinned_and_the_pins_agree() -> None:
    """Walks from pyproject.toml through the requirements of what is installed."""
    extras = PROJECT["optional-dependencies"]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    wanted = [*extras["avalanche"], *extras["report"], *extras["tune"], *extras["dev"]]
    waiting = requirements([*PROJECT["dependencies"], *wanted, *build])
    pinned, seen = pins(), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "clbench" or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        assert name in pinned, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[name], prereleases=True), (
            f"{requirement}: {pinned[name]} is pinned"
        )
        try:
            needed = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue  # an optional one that is not installed here
        for extra in ("", *requirement.extras):
            waiting += requirements(needed, extra)
    assert len(seen) > 50


def test_pins_hold_on_other_machines() -> None:
    """No path, no host, no build for one kind of machine."""
    assert str(pins()["torch"]) == "2.13.0"
    assert all(version.local is None for version in pins().values())


def shell_steps(text: str) -> list[list[str]]:
    """The commands in the fenced shell blocks of a Markdown text, each as its steps between ``&&``."""
    blocks = re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [[" ".join(step.split()) for step in line.removeprefix("$ ").split("&&")] for line in lines]


def test_ci_runs_the_command_that_the_readme_gives_for_the_tests() -> None:
    chains = [steps for steps in shell_steps((ROOT / "README.md").read_text(encoding="utf-8")) if "pytest" in steps[-1]]
    (steps,) = [steps for steps in chains if "-m venv" in steps[0]]
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    ci = text.replace('"$venv"', ".venv").replace('"$python"', "python3").splitlines()
    assert [line for line in ci if line in steps] == steps
    assert ci[-1] == steps[-1]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_main_command_of_the_readme_starts_from_nothing() -> None:
    chains = shell_steps((ROOT / "README.md").read_text(encoding="utf-8"))
    (steps,) = [steps for steps in chains if steps[-1].startswith(".venv/bin/python -m clbench run")]
    assert steps[0] == "python3 -m venv .venv"
    assert steps[1] == ".venv/bin/pip install -c constraints.txt -e ."


def test_an_old_python_is_told_so_in_one_line() -> None:
    """Any below 3.11 that this machine has; pip refuses to install there, so it can only meet a checkout."""
    old = {version: python for version, python in interpreters().items() if version < (3, 11)}
    if not old:
        pytest.skip("no Python below 3.11 here")
    for (major, minor), python in old.items():
        done = subprocess.run(
            [python, "-m", "clbench", "list", "strategies"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        line = f"error: clbench needs Python 3.11 or newer; this is Python {major}.{minor}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_ci_takes_the_first_python_that_is_new_enough(tmp_path: Path) -> None:
    """Stand-ins for the interpreters: each tells its version and notes when a virtual environment is asked of it."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    start = script[script.index("python=\n") : script.index('"$venv"/bin/pip')]

    def chosen(**versions: str) -> tuple[int, str, str]:
        folder = tmp_path / "_".join(f"{name}-{version}" for name, version in versions.items())
        folder.mkdir()
        for name, version in versions.items():
            answer = "exit 0" if tuple(map(int, version.split("."))) >= (3, 11) else "exit 1"
            (folder / name.replace("_", ".")).write_text(
                f'#!/bin/sh\nif [ "$1" = -c ]; then {answer}; fi\necho {name.replace("_", ".")} "$@"\n'
            )
            (folder / name.replace("_", ".")).chmod(0o755)
        done = subprocess.run(
            ["/bin/bash", "-c", f"set -euo pipefail\nvenv=V\n{start}"],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert chosen(python3="3.13", python3_11="3.11") == (0, "python3 -m venv V\n", "")
    assert chosen(python3="3.9", python3_12="3.12", python3_13="3.13") == (0, "python3.12 -m venv V\n", "")
    code, output, error = chosen(python3="3.9")
    assert (code, output) == (2, "")
    assert error.startswith("error: no Python 3.11 or newer")
