"""The checks of a scenario: what its tasks are, and what they may not depend on."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from clbench import engine, plugins
from clbench.clock import Clock
from clbench.conformance.checks import Check, seed_everything
from clbench.engine import Reporter, prepare
from clbench.errors import InputError
from clbench.files import LONGEST_NAME, safe_name
from clbench.kinds import available_kinds, find_kind
from clbench.plugins import Plan, make_plan
from clbench.scenario import Scenario, Task
from clbench.strategy import ALL_SETTINGS
from clbench.tasks import check_tasks, data_hash

OPTIONS: dict[str, Any] = {"model": "tiny", "device": "cpu", "epochs": 1, "batch_size": 8, "limit": 8}
SPLITS = ("train", "dev", "test")
# Built, asked for tasks and set up beforehand, to see whether that matters to the scenario.
NEIGHBOUR, OTHER_STRATEGY = "toy", "replay"


class ScenarioChecks:
    """The checks of a scenario; each method gives the reason of a failure, empty when there is none.

    Args:
        name: its name or the path of its file.
        arguments: keywords of its constructor.
        folder: an empty folder for the runs.
    """

    def __init__(self, name: str, arguments: Mapping[str, Any], folder: Path) -> None:
        self.name, self.arguments, self.folder = name, dict(arguments), folder
        self.file = plugins.find("scenario", name)
        self.numbers = itertools.count()

    def all(self) -> list[Check]:
        """Every check, after those without which its failure would have another cause."""
        usable = ("loads", "leakage", "tasks")
        return [
            Check("loads", self.loads, usage=True),
            Check("leakage", self.leakage, ("loads",)),
            Check("shared examples", self.shared_examples, ("loads", "leakage"), severity="warning"),
            Check("tasks", self.tasks, ("loads", "leakage")),
            Check("names", self.names, usable),
            Check("same arguments", self.same_arguments, usable),
            Check("hidden randomness", self.hidden_randomness, (*usable, "same arguments")),
            Check("other seed", self.other_seed, (*usable, "same arguments"), severity="warning"),
            Check("run", self.run, usable),
            Check("strategy", self.strategy, (*usable, "run", "same arguments", "hidden randomness")),
        ]

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """Those that the scenario says it allows."""
        return tuple(plugins.load("scenario", self.name, self.arguments).settings)

    @cached_property
    def made(self) -> dict[str, list[Task]]:
        """The tasks in each setting."""
        made = {}
        for setting in self.settings:
            seed_everything(0)
            made[setting] = list(self.build(setting).tasks())
        return made

    @cached_property
    def hashes(self) -> dict[str, dict[str, str]]:
        """The hashes of those tasks."""
        return {setting: _hashes(tasks) for setting, tasks in self.made.items()}

    def build(self, setting: str, seed: int = 0) -> Scenario:
        """A new scenario."""
        scenario = plugins.build("scenario", self.name, self.arguments, seed=seed, setting=setting)
        assert isinstance(scenario, Scenario)
        return scenario

    def loads(self) -> str:
        """The file imports, and the scenario can be built in each of its settings."""
        if not self.settings or set(self.settings) - set(ALL_SETTINGS):
            return f"settings = {self.settings!r}; allowed: one or more of {', '.join(ALL_SETTINGS)}"
        for setting in self.settings:
            self.build(setting)
        return ""

    def leakage(self) -> str:
        """No example is in two splits of a task."""
        for setting, tasks in self.made.items():
            for task in filter(_readable, tasks):
                for one, other in itertools.combinations(SPLITS, 2):
                    if shared := len(_contents(task, one) & _contents(task, other)):
                        where = f"both in {one} and in {other} of task {task.name!r}"
                        return f"{shared} {task.kind}(s) occur {where}, setting {setting!r}"
        return ""

    def shared_examples(self) -> str:
        """No test example is what another task trains on; there may be a reason for it.

        Where tasks share labels a run leaves such examples out of train and dev, and says so.
        """
        tasks = [task for task in self.made[self.settings[0]] if _readable(task)]
        for one, other in itertools.permutations(tasks, 2):
            if shared := len(_contents(one, "test") & (_contents(other, "train") | _contents(other, "dev"))):
                return f"{shared} test {one.kind}(s) of task {one.name!r} occur in train or dev of {other.name!r}"
        return ""

    def tasks(self) -> str:
        """A run can use the tasks, in each setting."""
        for setting, tasks in self.made.items():
            try:
                check_tasks(tasks, setting)
            except InputError as error:
                return f"{error}, setting {setting!r}"
        return ""

    def names(self) -> str:
        """The scenario's name is a folder's; the tasks' and labels' names are one printable line."""
        if safe_name(self.file.stem) != self.file.stem and not plugins.is_own_data("scenario", self.name):
            return f"the scenario's name {self.file.stem!r} is no name for a folder"
        for tasks in self.made.values():
            for name in (name for task in tasks for name in (task.name, *task.labels)):
                if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME:
                    return f"{name!r} is no name for a task or label; allowed: 1 to {LONGEST_NAME} printable characters"
        return ""

    def same_arguments(self) -> str:
        """Asked twice, and built twice, the scenario gives the same tasks."""
        setting = self.settings[0]
        expected = self.hashes[setting]
        seed_everything(0)
        scenario = self.build(setting)
        if found := _changed(expected, _hashes(scenario.tasks())):
            return f"{found} when the scenario was built again with the same arguments"
        seed_everything(0)
        found = _changed(expected, _hashes(scenario.tasks()))
        return f"{found} when tasks() was called again" if found else ""

    def hidden_randomness(self) -> str:
        """Neither the global random states nor what was built before matter."""
        for setting, expected in self.hashes.items():
            seed_everything(1)
            plugins.build("scenario", NEIGHBOUR, {}, seed=5, setting="task").tasks()
            if found := _changed(expected, _hashes(self.build(setting).tasks())):
                return f"{found} under other global random states, setting {setting!r}"
        return ""

    def other_seed(self) -> str:
        """Another seed draws other examples, unless the tasks are fixed on purpose."""
        expected, other = self.hashes[self.settings[0]], _hashes(self.build(self.settings[0], seed=1).tasks())
        same = [name for name in expected if expected[name] == other.get(name)]
        return f"seeds 0 and 1 give the same data for {', '.join(same)}: is it fixed on purpose?" if same else ""

    def run(self) -> str:
        """A short naive run completes."""
        engine.run(self.plan("naive"), Reporter())
        return ""

    def strategy(self) -> str:
        """The data are the same for another strategy."""
        naive, other = (prepare(self.plan(name), Clock()).data_sha256 for name in ("naive", OTHER_STRATEGY))
        found = _changed(naive, other)
        return f"{found} with {OTHER_STRATEGY} instead of naive" if found else ""

    def plan(self, strategy: str) -> Plan:
        """A run of few examples."""
        seed_everything(0)
        folder = str(self.folder / str(next(self.numbers)))
        given = {**OPTIONS, "scenario": self.name, "scenario_args": self.arguments, "output_dir": folder}
        return make_plan({**given, "strategy": strategy})


def _readable(task: Any) -> bool:
    """Whether its examples can be compared; what is wrong with others, check_tasks says."""
    kind = getattr(task, "kind", "")
    if isinstance(kind, str) and kind not in available_kinds():
        return False
    columns = find_kind(kind).columns
    return all(column in getattr(task, split).column_names for split in SPLITS for column in columns)


def _contents(task: Task, split: str) -> set[Hashable]:
    """What makes the examples of a split the same, such as their words or their pixels."""
    return set(find_kind(task.kind).contents(getattr(task, split)))


def _hashes(tasks: Sequence[Task]) -> dict[str, str]:
    return {task.name: data_hash(task) for task in tasks}


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The tasks whose data differ, as a clause; empty when none does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f"the data of {', '.join(map(repr, names))} changed" if names else ""
