"""Short runs of a strategy on a tiny scenario, recorded so that they can be compared to the last bit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clbench import engine, plugins
from clbench.clock import Clock
from clbench.conformance.checks import seed_everything
from clbench.conformance.fingerprints import state_difference
from clbench.conformance.probes import Cut, Cuts, Observed, Trace
from clbench.engine import Reporter
from clbench.errors import InputError
from clbench.kinds import Kind, find_kind
from clbench.plugins import Made, Plan, make_plan, parse_expression
from clbench.scenario import Task
from clbench.strategy import ALL_SETTINGS, Stack, Strategy

TASKS = 3
# Two batches an epoch, the second one smaller, and two epochs: four steps a task. Dropout draws from a random stream.
OPTIONS: dict[str, Any] = {"device": "cpu", "epochs": 2, "batch_size": 5, "dropout": 0.1}
# The first that the strategy can be set up on; what is made for transformers finds no layer in a convolutional network.
MODELS = ("tiny", "vit")
TRAIN, DEV, TEST = 8, 3, 6
SCENARIOS = {"text": "toy", "image": "digits_seq", "token": "toy_token", "generation": "toy_generation"}
# Of a run's cost, what is neither time nor memory.
COUNTS = ("trainable_parameters", "examples_seen")

Ground = tuple[str, str]
"""A scenario and a setting."""


@dataclass
class Record:
    """What a run gave; ``weights`` are fingerprints at places in the order of training."""

    weights: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, list[Any]] = field(default_factory=dict)


class Trials:
    """Runs of the strategy that ``expression`` spells, in ``folder``, which must be empty.

    Attributes:
        files: of the strategies in the expression.
        grounds: the scenarios and settings that they support; set by :meth:`load`.
        strategy: all of them, for what they say of themselves; set by :meth:`load`.

    Raises:
        InputError: the expression cannot be read or names an unknown strategy.
    """

    def __init__(self, expression: str, folder: Path) -> None:
        self.expression, self.folder = expression, folder
        self.files = [plugins.find("strategy", component.name) for component in parse_expression(expression)]
        self.grounds: list[Ground] = []
        self.strategy = Stack([])
        self.numbers = itertools.count()
        self.made: Made = {}
        self.models: dict[str, str] = {}
        self.tasks: dict[tuple[str, str, int], list[Task]] = {}

    def load(self) -> str:
        """Import the strategies, find the grounds that they support and construct them; what is wrong with them."""
        classes = [plugins.load("strategy", str(file)) for file in self.files]
        settings = [setting for setting in ALL_SETTINGS if all(setting in c.settings for c in classes)]
        kinds = [kind for kind in SCENARIOS if all(not c.kinds or kind in c.kinds for c in classes)]
        for kind in kinds:
            allowed = plugins.load("scenario", SCENARIOS[kind]).settings
            fitting = [(SCENARIOS[kind], setting) for setting in settings if setting in allowed]
            # The first kind in every setting, each other one in its first.
            self.grounds += fitting[:1] if self.grounds else fitting
        if not self.grounds:
            declared = "; ".join(f"{c.__name__}: settings {c.settings!r}, kinds {c.kinds!r}" for c in classes)
            kinds_known = ", ".join(SCENARIOS)
            return f"no scenario fits {declared}; allowed: settings task, domain, class; kinds {kinds_known}, or none"
        self.strategy = self.plan().strategy
        return ""

    def plan(self, ground: Ground | None = None, expression: str = "", tasks: int = TASKS, **options: Any) -> Plan:
        """A new plan with new strategies; on the first of the grounds unless another is given."""
        scenario, setting = ground or self.grounds[0]
        folder = str(self.folder / str(next(self.numbers)))
        given = {**OPTIONS, "scenario": scenario, "setting": setting, "output_dir": folder, **options}
        if "model" not in given:
            given["model"] = self._model((scenario, setting))
        plan = make_plan({**given, "strategy": expression or self.expression}, made=self.made)
        key = (scenario, setting, plan.config.seed)
        if key not in self.tasks:
            self.tasks[key] = [_few(task) for task in plan.tasks[:TASKS]]
        return Plan(plan.config, self.tasks[key][:tasks], plan.strategy)

    def _model(self, ground: Ground) -> str:
        """The model of a ground; each scenario has one."""
        scenario = ground[0]
        if scenario not in self.models:
            known = MODELS if scenario == SCENARIOS["image"] else MODELS[:1]
            fitting = (name for name in known if len(known) == 1 or self._fits(name, ground))
            self.models[scenario] = next(fitting, known[0])
        return self.models[scenario]

    def _fits(self, model: str, ground: Ground) -> bool:
        """Whether the strategy can be set up on the model."""
        try:
            engine.prepare(self.plan(ground, model=model), Clock())
        except InputError:
            return False
        return True

    def run(self, plan: Plan, *watches: Strategy, first: Sequence[Strategy] = (), seed: int = 0) -> Record:
        """Run ``plan`` with its strategy between ``first`` and ``watches``.

        Args:
            plan: a new one.
            watches, first: probes.
            seed: of the global random states, the same for every run unless another is given.
        """
        seed_everything(seed)
        record = Record()
        stack = Observed(*first, plan.strategy, Trace(record.weights), *watches)
        return finish(Plan(plan.config, plan.tasks, stack), record)

    def cut_everywhere(self, reference: Record, ground: Ground | None = None, only: str = "", **options: Any) -> str:
        """Cut a run off at every place and let it go on each time; how it departs from the uninterrupted ``reference``.

        Args:
            reference: a run of the same plan.
            ground: its scenario and setting; the first of the grounds unless it is given.
            only: the one place to cut at; empty for all.
            options: its other options.
        """
        record, done = Record(), set[str]()
        folder = str(self.folder / f"resume {'-'.join(ground or ())}")
        options = {"output_dir": folder, "checkpoint_every": 1, **options}
        while True:
            plan = self.plan(ground, **options)
            members = [("strategy", plan.strategy), ("trace", Trace(record.weights)), ("cuts", Cuts(done, only))]
            seed_everything(0)
            try:
                finish(Plan(plan.config, plan.tasks, Stack(members)), record)
                break
            except Cut as cut:
                if found := _departed(record, reference):
                    return f"the weights differ {found}, before the cut {cut}"
        found = difference(reference, record)
        return f"{found} from the uninterrupted run's" if found else ""


def _departed(record: Record, reference: Record) -> str:
    return next((p for p, weights in record.weights.items() if weights != reference.weights.get(p)), "")


def _few(task: Task) -> Task:
    """``task`` with a few examples of each split, taken in turn from each label."""
    sizes = (("train", TRAIN), ("dev", DEV), ("test", TEST))
    kind = find_kind(task.kind)
    return replace(task, **{split: _take(kind, getattr(task, split), size) for split, size in sizes})


def _take(kind: Kind, split: Any, size: int) -> Any:
    labels = kind.strata(split)
    turns = sorted(range(len(labels)), key=lambda row: (labels[:row].count(labels[row]), labels[row]))
    return split.select(sorted(turns[:size]))


def finish(plan: Plan, record: Record) -> Record:
    """Run ``plan`` to its end and put its result into ``record``."""
    record.result = engine.run(plan, Reporter())
    record.predictions = engine.run_folder(plan.config).read_predictions()
    return record


def weights_difference(one: Record, other: Record) -> str:
    """The first place in training where the weights differ; empty when they are equal to the last bit."""
    places = {**one.weights, **other.weights}
    return next((place for place in places if one.weights.get(place) != other.weights.get(place)), "")


def difference(one: Record, other: Record) -> str:
    """The first thing in which two runs differ; empty when they are equal to the last bit."""
    if place := weights_difference(one, other):
        return f"the weights differ {place}"
    first, second = (
        {**record.result, "cost": {name: record.result["cost"][name] for name in COUNTS}, "hardware": []}
        for record in (one, other)
    )
    found = state_difference(first, second, "result")
    return found or state_difference(dict(one.predictions), dict(other.predictions), "predictions")
