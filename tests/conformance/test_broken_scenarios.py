"""Every check of a scenario can fail: for each there is one that is broken so that this check fails and no other."""

import textwrap
from pathlib import Path

import pytest

from clbench.cli import main
from clbench.conformance.checks import CheckResult
from clbench.conformance.scenario_checks import ScenarioChecks
from clbench.testing import check_scenario

HEAD = '''
"""Broken on purpose."""
import inspect
import random

import numpy as np

from clbench import Scenario, Task
from clbench.tasks import image_dataset, text_dataset

LABELS = ("yes", "no")


def split(draw, *words):
    return text_dataset([(" ".join(map(str, (*words, i, draw.random()))), LABELS[i % 2]) for i in range(8)], LABELS)


def task(name, draw):
    return Task(name, "text", LABELS, *(split(draw, name, part) for part in ("train", "dev", "test")))


def images(name, size, seed):
    draw = np.random.default_rng(seed)
    parts = (image_dataset(draw.random((8, 1, size, size), dtype="float32"), [0, 1] * 4) for _ in range(3))
    return Task(name, "image", LABELS, *parts)


class Broken(Scenario):
'''

BROKEN_SCENARIOS = {
    "constructor": (
        "loads",
        "ValueError: no good (broken.py, line 29)",
        "def __init__(self, *, seed, setting):\n    raise ValueError('no good')\ndef tasks(self): ...",
    ),
    "unknown setting": ("loads", "settings = ('tasks',)", "settings = ('tasks',)\ndef tasks(self): ..."),
    "tasks raises": (
        "leakage",
        "ZeroDivisionError: division by zero (broken.py, line 28)",
        "def tasks(self): return 1 / 0",
    ),
    "test is train": (
        "leakage",
        "8 text(s) occur both in train and in test of task 'b', setting 'task'",
        """
        def tasks(self):
            a, b = (task(name, random.Random(self.seed)) for name in "ab")
            return [a, Task("b", "text", LABELS, b.train, b.dev, b.train)]
        """,
    ),
    "labels out of range": (
        "tasks",
        "train has the label 1, allowed: integers 0..0, setting 'task'",
        """
        def tasks(self):
            a, b = (task(name, random.Random(self.seed)) for name in "ab")
            return [a, Task("b", "text", ("yes",), b.train, b.dev, b.test)]
        """,
    ),
    "a setting that does not fit": (
        "tasks",
        "setting 'class' needs labels that no two tasks share",
        """
        settings = ("task", "class")
        def tasks(self):
            return [task(name, random.Random(self.seed)) for name in "ab"]
        """,
    ),
    "two lines in a name": (
        "names",
        r"'b\nc' is no name",
        """
        def tasks(self):
            return [task(name, random.Random(self.seed)) for name in ("a", "b\\nc")]
        """,
    ),
    "counts its calls": (
        "same arguments",
        "the data of 'a', 'b' changed when tasks() was called again",
        """
        calls = 0
        def tasks(self):
            self.calls += 1
            return [task(name, random.Random(f"{self.seed}/{self.calls}")) for name in "ab"]
        """,
    ),
    "Python's global stream": (
        "hidden randomness",
        "the data of 'b' changed under other global random states, setting 'task'",
        """
        def tasks(self):
            return [task("a", random.Random(self.seed)), task("b", random)]
        """,
    ),
    "cannot be learned": (
        "run",
        "RunError: after a the model's answers are no numbers",
        """
        defaults = {"lr": 1e30, "head_lr": 1e30}
        def tasks(self):
            return [task(name, random.Random(f"{self.seed}")) for name in "ab"]
        """,
    ),
    "looks at the strategy": (
        "strategy",
        "the data of 'b' changed with replay instead of naive",
        """
        def tasks(self):
            configs = [frame.frame.f_locals.get("config") for frame in inspect.stack()]
            extra = any(getattr(config, "strategy", "") == "replay" for config in configs)
            return [task("a", random.Random(self.seed)), task("b", random.Random(self.seed + 10 * extra))]
        """,
    ),
}


def write(tmp_path: Path, body: str) -> str:
    path = tmp_path / "broken.py"
    path.write_text(HEAD.lstrip() + textwrap.indent(textwrap.dedent(body), "    ") + "\n")
    return str(path)


@pytest.mark.parametrize("name", BROKEN_SCENARIOS)
def test_a_broken_scenario_fails_its_check_and_no_other(name: str, tmp_path: Path) -> None:
    check, reason, body = BROKEN_SCENARIOS[name]
    with pytest.raises(AssertionError) as failure:
        check_scenario(write(tmp_path, body))
    (failed,) = str(failure.value).splitlines()[1:]
    assert failed.split("  ")[0] == check
    assert reason in failed


WARNINGS = [
    (
        "other seed",
        "seeds 0 and 1 give the same data for a, b",
        "def tasks(self): return [task(name, random.Random(name)) for name in 'ab']",
    ),
    (
        "shared examples",
        "8 test text(s) of task 'a' occur in train or dev of 'b'",
        """
        def tasks(self):
            a, b = (task(name, random.Random(self.seed)) for name in "ab")
            return [a, Task("b", "text", LABELS, a.test, b.dev, b.test)]
        """,
    ),
]


@pytest.mark.parametrize(("check", "reason", "body"), WARNINGS)
def test_what_may_be_on_purpose_is_a_warning(check: str, reason: str, body: str, tmp_path: Path) -> None:
    results = check_scenario(write(tmp_path, body))
    (warning,) = [result for result in results if result.status != "ok"]
    assert (warning.name, warning.status) == (check, "warning")
    assert reason in warning.reason


def test_every_check_is_broken_by_something(tmp_path: Path) -> None:
    broken = {check for check, _, _ in BROKEN_SCENARIOS.values()} | {check for check, _, _ in WARNINGS}
    assert broken == {check.name for check in ScenarioChecks("toy", {}, tmp_path).all()}


def test_the_command_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", write(tmp_path, BROKEN_SCENARIOS["two lines in a name"][2])]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert str(CheckResult("loads", "ok")) in lines
    assert any(line.startswith("names ") and " FAILED: " in line for line in lines)
