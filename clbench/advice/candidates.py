"""Which strategies race, which only tell what a constraint costs, and which cannot be had, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clbench.advice.constraints import KEEP_DATA, Constraints
from clbench.errors import InputError
from clbench.plugins import Made, available, make_plan

# The floor, the ceiling and the cheapest, which always run; without joint, cumulative stands for it.
FLOOR, CEILINGS, CHEAPEST = "naive", ("joint", "cumulative"), "slda"
STACKS = ("replay+ewc", "replay+distillation")
# One of each family comes first, so that a small budget has seen them all.
FIRST = ("ranpac", "replay+ewc", "lora_per_task", "distillation", "er_ace", "si", "adapter", "ewc", "independent")


@dataclass(frozen=True)
class Field:
    """Who takes part.

    Attributes:
        references: naive, joint or cumulative, and a frozen prototype, as far as the setting allows them.
        candidates: strategies in the order in which they come when the budget is short.
        shadows: strategies that one constraint forbids, by that constraint: they tell what it costs.
        excluded: a reason for every strategy that cannot be recommended.
    """

    references: tuple[str, ...]
    candidates: tuple[str, ...]
    shadows: Mapping[str, tuple[str, ...]]
    excluded: Mapping[str, str]


def choose_field(options: Mapping[str, Any], constraints: Constraints, made: Made) -> Field:
    """Every built-in strategy and a few stacks, sorted by what the data, the setting and the constraints allow.

    Args:
        options: of a run, without the strategy.
        constraints: those known before anything has run.
        made: keeps the tasks.

    Raises:
        InputError: the data or the options are wrong.
    """
    make_plan({**options, "strategy": FLOOR}, made=made)  # what is wrong with the rest is no strategy's fault
    names = [name for name in (*available("strategy"), *STACKS) if name not in (FLOOR, "joint")]
    order = [*(name for name in FIRST if name in names), *sorted(set(names) - set(FIRST))]
    candidates, kept, excluded = [], [], {"joint": "learns all tasks at once, which is no sequence; a reference"}
    runnable = set()
    for name in ("joint", *order):
        try:
            plan = make_plan({**options, "strategy": name}, made=made)
        except InputError as error:
            excluded[name] = str(error)
            continue
        runnable.add(name)
        if name == "joint":
            continue
        if plan.strategy.keeps_examples and not constraints.keep_data:
            excluded[name] = "keeps examples of past tasks, which --keep-data no forbids"
            kept.append(name)
        else:
            candidates.append(name)
    ceiling = [name for name in CEILINGS if name in runnable][:1]
    references = [FLOOR, *ceiling, *([CHEAPEST] if CHEAPEST in runnable else [])]
    return Field(tuple(references), (FLOOR, *candidates), {KEEP_DATA: tuple(kept)} if kept else {}, excluded)
