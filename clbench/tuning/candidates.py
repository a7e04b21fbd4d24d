"""What is tuned: strategies with the values that are tried for each, checked before anything is tried."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clbench.advice import Runner, Size
from clbench.config import RunConfig, canonical_json
from clbench.errors import InputError
from clbench.plugins import Plan, make_plan
from clbench.tuning.spaces import Spaces, as_mapping, check_search, ends, spaces_of, with_values

USUAL_TASKS = 3
FIRST_SEED = 100  # not those that runs usually have, whose results the choice must not know
DEV = Size("tuning", None, None, "dev")


@dataclass(frozen=True)
class Candidate:
    """A strategy that is tuned: how it was written, its run without tuning, and what is tried for each value."""

    expression: str
    config: RunConfig
    spaces: Spaces

    @property
    def name(self) -> str:
        """Its canonical expression."""
        return self.config.strategy

    def study_name(self, seeds: int) -> str:
        """The strategy and a hash of all that a score depends on; more trials of the same go on with it."""
        spaces = {name: as_mapping(space) for name, space in self.spaces.items()}
        digest = hashlib.sha256(canonical_json([self.config.sha256, seeds, spaces]).encode()).hexdigest()
        return f"{self.config.scenario} {self.name} {digest[:8]}"


def find_candidates(runner: Runner, strategies: Sequence[str], search: Spaces) -> list[Candidate]:
    """The strategies, each once, after making a plan of all ends of their spaces.

    Raises:
        InputError: a strategy or a space cannot be used.
    """
    check_search(search, strategies)
    found = [_check(runner, expression, search) for expression in strategies]
    return list({candidate.name: candidate for candidate in found}.values())


def _check(runner: Runner, expression: str, search: Spaces) -> Candidate:
    def planned(text: str, settings: Mapping[str, Any]) -> RunConfig:
        options = {**runner.options, **DEV.options(), "strategy": text, "seed": FIRST_SEED, **settings}
        return make_plan(options, made=runner.made).config

    config = planned(expression, {})
    spaces = spaces_of(config, expression, search)
    for values in ends(spaces):
        planned(*with_values(expression, values))
    return Candidate(expression, config, spaces)


def count_tasks(plan: Plan, asked: int | None) -> int:
    """How many tasks are used.

    Raises:
        InputError: all would be, or one has no dev examples.
    """
    most = len(plan.tasks) - 1
    if most < 1:
        raise InputError("the scenario has one task; tuning needs one more, which it does not see")
    if asked is not None and asked > most:
        raise InputError(
            f"--tasks {asked} is not allowed: the scenario has {len(plan.tasks)}; allowed: 1 to {most}, for tuning "
            "must not see all"
        )
    count = asked or min(USUAL_TASKS, most)
    if lacking := [task.name for task in plan.tasks[:count] if not len(task.dev)]:
        raise InputError(f"task {lacking[0]!r} has no dev examples, on which values are chosen")
    return count
