"""From a plan to what the engine needs: the model, tokenised examples, the strategy set up. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import datasets
import torch

from clbench.clock import Clock
from clbench.config import RunConfig
from clbench.data import Example, TaskData
from clbench.engine.abilities import ability_test
from clbench.engine.sharing import Fingerprint, fingerprint
from clbench.errors import InputError
from clbench.kinds import Part, find_kind
from clbench.learner import Learner
from clbench.models import LoadedModel, check_stored, choose_device, load_model, use_onednn
from clbench.plugins import Plan
from clbench.scenario import Task
from clbench.strategy import Stack, Strategy
from clbench.tasks import data_hash, label_space, limit_task
from clbench.toolkit import AbilityTest


@dataclass(frozen=True)
class Prepared:
    """What stays the same from the first task to the last.

    ``tests`` are the examples that a task is evaluated on: its test split, or dev with ``eval_split``.
    ``loaded`` is the model as it came, which the strategy may have changed since; ``load_again`` gives it anew, in
    fp32.
    ``pairs`` says whether two texts are read together.
    ``ability`` is the test of what the model could do before, where that is measured.
    ``shared`` is the folder of what runs share, None where nothing is, or where the strategy changed the
    model or the examples, or answers in the model's place; ``as_it_came`` is the model's fingerprint before its setup.
    ``model_bytes`` is the size before the strategy added to it, ``data_sha256`` a hash of each task's data.
    """

    config: RunConfig
    strategy: Stack
    learner: Learner
    tasks: list[TaskData]
    tests: list[list[Example]]
    model_bytes: int
    data_sha256: dict[str, str]
    warnings: list[str]
    loaded: LoadedModel
    load_again: Callable[[], LoadedModel]
    ability: AbilityTest | None = None
    shared: Path | None = None
    as_it_came: Fingerprint | None = None
    pairs: bool = False


def prepare(plan: Plan, clock: Clock) -> Prepared:
    """Load the model, tokenise, and set the strategy up.

    Raises:
        InputError: the model cannot be used.
    """
    config = plan.config
    tasks = [limit_task(task, config.limit, config.seed) for task in plan.tasks]
    kind = find_kind(tasks[0].kind)
    labels = label_space(tasks, config.setting)
    loaded = load_model(config, tasks, len(labels.names), choose_device(config.device))
    model, tokenizer, longest = loaded.model, loaded.tokenizer, loaded.longest_text(config.max_length)
    use_onednn(model)
    learner = Learner(
        model,
        labels,
        kind=kind,
        measures=[task.measure or kind.measures[0] for task in tasks],
        tokenizer=tokenizer,
        seed=config.seed,
        padding_id=0 if tokenizer is None else tokenizer.pad_token_id,
        precision=config.precision,
        lr=config.lr,
        head_lr=config.head_lr,
        clock=clock,
        head=loaded.head,
        padding_side=loaded.padding_side,
        longest_text=longest,
        positions=loaded.positions,
    )
    learner.pass_budget = loaded.images_per_pass

    learned = [_rows_to_learn(plan.strategy, learner, task) for task in tasks]
    parts = [
        Part(rows, task.labels, labels.columns[position], position)
        for position, task in enumerate(tasks)
        for rows in (learned[position], task.dev, getattr(task, config.eval_split))
    ]
    examples, cuts = kind.encode(parts, tokenizer, longest)
    if tokenizer is not None:
        loaded.check_tokens([example["input_ids"] for own in examples for example in own])
    data = [
        TaskData(position, task.name, labels.columns[position], *examples[3 * position : 3 * position + 2])
        for position, task in enumerate(tasks)
    ]
    tests = examples[2::3]
    learner.longest_answer = kind.longest_answer([example for task in data for example in task.train])
    model_bytes = parameter_bytes(model)
    ability = ability_test(plan, learner, data[0].train[0]) if config.ability else None
    # Answers that are written are as long as those that are learned from.
    shared = None if plan.strategy.answers or plan.strategy.changes_examples else plan.shared
    as_it_came = fingerprint(learner) if shared is not None else None
    plan.strategy.setup(learner)
    if as_it_came is not None and fingerprint(learner).answers() != as_it_came.answers():
        shared = None
    check_stored(learner.named_parameters(), config.strategy)
    _check_recipes(plan.strategy, learner)
    if config.compile:
        learner.compiled = torch.compile(learner.model, dynamic=True)
    hashes = {task.name: data_hash(task) for task in tasks}
    warnings = [*loaded.warnings(config.max_length), *cuts]
    if plan.notes:  # a scenario that tells of its data
        warnings += kind.count_cuts(parts, examples, tokenizer, longest)
    pairs = "text_pair" in tasks[0].train.column_names
    whole = config.model_copy(update={"frozen_precision": "fp32"})
    load_again = partial(load_model, whole, tasks, len(labels.names), torch.device("cpu"))
    return Prepared(
        config, plan.strategy, learner, data, tests, model_bytes, hashes, warnings, loaded, load_again, ability,
        pairs=pairs, shared=shared, as_it_came=as_it_came,
    )  # fmt: skip


def _check_recipes(strategy: Strategy, learner: Learner) -> None:
    """Refuse what changes how a model is fine-tuned where nothing of the model learns, so that it would do nothing."""
    if isinstance(strategy, Stack) and not dict(learner.named_parameters()):
        for name, member in strategy.members:
            if member.is_recipe and not member.changes_examples and len(strategy.members) > 1:
                names = "+".join(name for name, _ in strategy.members)
                raise InputError(f"{name!r} has no effect in {names!r}: nothing of the model learns; leave it away")


def _rows_to_learn(strategy: Strategy, learner: Learner, task: Task) -> datasets.Dataset:
    """The training rows of ``task`` as ``strategy`` would have them.

    Raises:
        InputError: it leaves none, or adds or leaves out a column.
    """
    if not strategy.changes_examples:
        return task.train
    with learner.clock.measure("train/strategy"):
        rows = strategy.examples(learner, replace(task, test=task.test.select([])), task.train)
    if not len(rows) or set(rows.column_names) != set(task.train.column_names):
        raise InputError(
            f"the strategy makes {len(rows)} rows of task {task.name!r}, with {', '.join(rows.column_names)}; "
            f"allowed: 1 or more, with {', '.join(task.train.column_names)}"
        )
    return rows


def parameter_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters of ``model``."""
    return sum(p.numel() * p.element_size() for p in model.parameters())
