"""Which strategies race, which only tell what a constraint costs, and which cannot be had, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from clbench.advice.constraints import KEEP_DATA, Constraints
from clbench.errors import InputError
from clbench.plugins import Made, available, describe, make_plan
from clbench.strategy import Stack

# The floor, the ceiling and the cheapest, which always run; without joint, cumulative stands for it.
FLOOR, CEILINGS, CHEAPEST = "naive", ("joint", "cumulative"), "slda"
# What learns from all tasks' data at its one and only step; multi_task only where somebody asks for it.
AT_ONCE, WHY_NOT = ("joint", "multi_task"), "learns all tasks at once, which is no sequence; a reference"
# Where time is short, the families take turns, in each the cheapest first: by the published time on text_seq.
FAMILIES = (
    ("slda", "ncm", "ranpac", "klda"),
    ("l2_anchor", "ewc", "si", "feature_distillation", "rwalk", "distillation", "mas"),
    ("prefix_tuning", "p_tuning_v2", "adapter", "ia3", "prompt_tuning", "progressive_prompts"),
    ("lora_sequential", "lora_merge", "lora_per_task", "lora_incremental", "o_lora"),
    ("replay", "alarm", "replay+ewc", "der", "er_ace", "replay+distillation", "agem", "gdumb", "gem"),
    ("frozen", "seq_star", "independent", "cumulative"),
    ("ema", "wise"),
)


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


def choose_field(
    options: Mapping[str, Any], constraints: Constraints, made: Made, strategies: Sequence[str] = ()
) -> Field:
    """Every built-in strategy and a few stacks, sorted by what the data, the setting and the constraints allow.

    Args:
        options: of a run, without the strategy.
        constraints: those known before anything has run.
        made: keeps the tasks.
        strategies: expressions to race instead, in this order.

    Raises:
        InputError: the data or the options are wrong.
    """
    make_plan({**options, "strategy": FLOOR}, made=made)  # what is wrong with the rest is no strategy's fault
    for name in strategies:  # what somebody asks for by name must be there
        make_plan({**options, "strategy": name}, made=made)
    found = {name: _stack_or_reason(options, name, made) for name in (*CEILINGS, CHEAPEST, *(strategies or in_turns()))}
    candidates, kept, excluded = [FLOOR], [], {"joint": WHY_NOT}
    for name in dict.fromkeys(strategies or in_turns()):
        stack = found[name]
        if isinstance(stack, str):
            excluded[name] = stack
        elif name.partition("(")[0] in AT_ONCE:
            excluded[name] = WHY_NOT
        elif stack.keeps_examples and not constraints.keep_data:
            excluded[name] = "keeps examples of past tasks, which --keep-data no forbids"
            kept.append(name)
        else:
            candidates.append(name)
    runnable = [name for name in (*CEILINGS, CHEAPEST) if not isinstance(found[name], str)]
    ceiling = [name for name in runnable if name in CEILINGS][:1]
    references = [FLOOR, *ceiling, *(name for name in runnable if name == CHEAPEST)]
    shadows = {KEEP_DATA: tuple(kept)} if kept else {}
    return Field(tuple(references), tuple(dict.fromkeys(candidates)), shadows, excluded)


def in_turns() -> list[str]:
    """All that could race: the first of each family, then the second of each, and so on; without naive and joint.

    Ways to fine-tune are no remedies: they race where they are asked for.
    """
    turns = [name for turn in zip_longest(*FAMILIES) for name in turn if name is not None]
    others = [name for name in available("strategy") if name not in (*turns, FLOOR, "joint")]
    return [*turns, *(name for name in others if not describe("strategy", name).attributes.get("is_recipe"))]


def _stack_or_reason(options: Mapping[str, Any], name: str, made: Made) -> Stack | str:
    """The strategy, or why it cannot be had with these data and this setting."""
    try:
        return make_plan({**options, "strategy": name}, made=made).strategy
    except InputError as error:
        return str(error)
