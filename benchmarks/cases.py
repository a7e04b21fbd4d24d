"""What is killed, small and quick, and how two runs of it are compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from clbench.plugins import available, load, parse_expression
from clbench.results import RunFolder

STACKS = ("replay+ewc", "replay+distillation", "replay(memory_size=20)+ewc(decay=0.9)")
EVERY_RUN = ("--config", str(Path(__file__).with_name("kills.yaml")))
SIZES = {
    "toy": ("--scenario-arg", "train=48", "--scenario-arg", "dev=12", "--scenario-arg", "test=24"),
    "digits_seq": ("--limit", "48"),
}
# For strategies that add modules to a transformer's layers: the default network for images has none.
IMAGE_TRANSFORMER = ("--model", "vit(16,1)")
# Costs that are measured, not computed: they differ between any two runs.
MEASURED = {"train_seconds", "fisher_seconds", "eval_seconds", "wall_seconds", "peak_memory_bytes"}


@dataclass(frozen=True)
class Case:
    """A scenario and a strategy to kill."""

    scenario: str
    strategy: str

    def arguments(self, output: Path) -> list[str]:
        """Those of ``clbench run``; small sizes, a checkpoint every two steps."""
        named = ("--scenario", self.scenario, "--strategy", self.strategy, "--output-dir", str(output))
        transformer = IMAGE_TRANSFORMER if self.scenario == "digits_seq" and _adds_modules(self.strategy) else ()
        return ["run", *named, *EVERY_RUN, *SIZES[self.scenario], *transformer]


def cases() -> list[Case]:
    """Every built-in strategy and the stacks, on every scenario that it takes."""
    strategies = [*sorted(available("strategy")), *STACKS]
    return [
        Case(scenario, strategy)
        for strategy in strategies
        for scenario in SIZES
        if _takes(strategy, load("scenario", scenario).kind)
    ]


def _takes(expression: str, kind: str) -> bool:
    """Whether every strategy of the expression supports tasks of that kind."""
    kinds = [load("strategy", part.name).kinds for part in parse_expression(expression)]
    return all(not known or kind in known for known in kinds)


def _adds_modules(expression: str) -> bool:
    """Whether a strategy of the expression lets a person name the layers that it adds modules to."""
    classes = [load("strategy", part.name) for part in parse_expression(expression)]
    return any(name.endswith("_modules") for each in classes for name in signature(each).parameters)


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """What two finished runs disagree on: parts of the result, columns of the predictions, files left behind."""
    first, second = _comparable(one), _comparable(other)
    found = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    before, after = one.read_predictions(), other.read_predictions()
    found += [f"predictions: {column}" for column in before if before[column] != after.get(column)]
    found += ["log.jsonl"] if _log(one) != _log(other) else []
    names = [{path.name for path in folder.path.iterdir() if path.name[0] != "."} for folder in (one, other)]
    return found + [f"file: {name}" for name in sorted(names[0] ^ names[1])]


def _log(folder: RunFolder) -> list[dict[str, Any]]:
    """The log's lines without the seconds: each row and each event once, whatever the run went through."""
    lines = [json.loads(line) for line in (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def _comparable(folder: RunFolder) -> dict[str, Any]:
    result = folder.read_result()
    assert result is not None, f"{folder.path} holds no result"
    cost = {f"cost.{name}": value for name, value in result.pop("cost").items() if name not in MEASURED}
    return {**result, **cost}
