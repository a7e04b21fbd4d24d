"""ContinualLearning: remedies against forgetting in a person's own Trainer, a task after the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from clbench.config import identity
from clbench.data import Example, TaskData
from clbench.errors import InputError, unknown
from clbench.integrations.trainer.arguments import compared, learning_arguments
from clbench.integrations.trainer.asked import task_columns
from clbench.integrations.trainer.beside import own_checkpoint
from clbench.integrations.trainer.causal import plain_forward
from clbench.integrations.trainer.contents import start_hashes
from clbench.integrations.trainer.ended import EndedTask
from clbench.integrations.trainer.ends import load_end, restore_random, save_end
from clbench.integrations.trainer.hooks import TaskHooks
from clbench.integrations.trainer.making import add_task, first_learner, task_config
from clbench.integrations.trainer.outcome import Outcome
from clbench.integrations.trainer.refusals import check_fresh, check_set_up, check_strategies, checked_kind
from clbench.integrations.trainer.rows import read_task, shared_hash
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models import peak_memory, ranks
from clbench.plugins import build_strategies
from clbench.strategy import ALL_SETTINGS, Stack
from clbench.toolkit import evaluate_all

logger = logging.getLogger(__name__)


class ContinualLearning:
    """Strategies in the loop of ``transformers.Trainer``, and the matrix of what is forgotten in it.

    For each task: :meth:`attach` to a new Trainer of the same model, ``trainer.train()``, :meth:`end_task`. At the end
    :meth:`result`.

    Args:
        strategy: an expression as ``clbench run`` takes it, such as "replay+ewc(ewc_lambda=100)".
        output_dir: the results folder.
        setting: "domain": every label may be the answer in every task, as in a Trainer by itself; "task": an
            example's labels are its task's; "class": those of the tasks seen so far.
        name: what the sequence of tasks is called, in place of a scenario.
        seed: of the strategies' random streams; by default the first Trainer's.
        state_dir: a folder for the state at the end of the last task, from which the same script goes on when it is
            started again; None keeps none.

    Raises:
        InputError: a strategy is unknown, or does not work inside a Trainer.
    """

    def __init__(
        self,
        strategy: str,
        output_dir: str = "results",
        *,
        setting: str = "domain",
        name: str = "trainer",
        seed: int | None = None,
        state_dir: str | None = None,
    ) -> None:
        if setting not in ALL_SETTINGS:
            raise unknown("setting", setting, ALL_SETTINGS)
        self.hashes: dict[str, str] = {}
        self.expression, members = build_strategies(strategy, {}, self.hashes, {})
        check_strategies(members, setting)
        self.strategy = Stack(sorted(members, key=lambda member: member[0]))
        if state_dir is not None and not self.strategy.resumable:
            raise InputError(f"{self.expression!r} cannot go on from a state: state_dir = {state_dir!r}; allowed: None")
        self.output_dir, self.setting, self.name, self.seed, self.state_dir = output_dir, setting, name, seed, state_dir
        self.learner: Learner | None = None
        self.tests: list[list[Example]] = []
        self.hooks: TaskHooks | EndedTask | None = None
        self.outcome = Outcome()
        self.turn = 0
        self.ended: dict[str, Any] | None = None

    def attach(self, trainer: Any, task: str, test: Any, labels: Sequence[str | int] | None = None) -> Any:
        """Begin ``task``: let the strategy take part when ``trainer`` trains.

        Args:
            trainer: transformers' Trainer, TRL's SFTTrainer, or one of your own classes, with ``train_dataset``; all of
                the same model.
            task: its name.
            test: a data set like ``train_dataset``, on which the task is measured from its end on.
            labels: those of the task, by column or by their names in the model's config; by default those that occur
                in its data. In the setting "domain" all tasks have all; a model that writes has none.

        Returns:
            The same trainer.

        Raises:
            InputError: the Trainer, its settings, its data or the order of calls do not allow it.
        """
        self._check_whole()
        if self.hooks is not None:
            raise InputError(f"attach(task={task!r}): end task {self.hooks.task.name!r} first, with end_task(trainer)")
        if not task or task in self.outcome.tasks[: self.turn]:
            raise InputError(f"attach(task={task!r}): allowed: a name that no other task has")
        model = None if self.learner is None else self.learner.model
        kind = checked_kind(trainer, model, self.setting, self.strategy.members)
        if isinstance(getattr(vars(trainer).get("train"), "__self__", None), TaskHooks | EndedTask):
            raise InputError(
                f"attach(task={task!r}): the Trainer is attached already; allowed: one ContinualLearning, of which "
                "several strategies are one expression, such as 'replay+ewc'"
            )
        check_fresh(trainer, self.strategy.members, self.state_dir)
        position = self.turn
        train, tested = read_task(trainer, test, position, kind, task)
        columns = task_columns(trainer.model.config, kind, task, self.setting, labels, [*train, *tested])
        data = TaskData(position, task, columns, train, [])
        found = shared_hash([*train, *tested], task)
        self.tests = [*self.tests[:position], tested]
        learner = self._learner_for(trainer, kind, data)
        arguments = learning_arguments(trainer, learner.seed)
        rates = dict(learner.learning_rates)
        learning = {name for name, _ in learner.named_parameters()}
        with plain_forward(learner.model):
            if not position:
                self.strategy.setup(learner)
                if self.state_dir is not None:
                    self.ended = load_end(self.state_dir, self._owner(), learner, self.strategy, self.outcome)
            if position < len(self.outcome.tasks):
                self.outcome.check(learner, data, found, arguments)
                self.hooks = EndedTask(trainer, data)
                return trainer
            self.strategy.before_task(learner, data)
        check_set_up(learner, rates, learning, trainer)
        same = {"data_sha256": found, "arguments": compared(arguments, ranks.count())}
        owner = self._owner(tasks=self.outcome.tasks, task=task, **same)
        config = task_config(learner, trainer, self._said())
        self.hooks = TaskHooks(trainer, learner, self.strategy, data, config, arguments, owner)
        return trainer

    def checkpoint(self, trainer: Any) -> str | None:
        """The Trainer's newest checkpoint of the attached task, for ``train(resume_from_checkpoint=...)``; else None.

        Raises:
            InputError: ``trainer`` has not been attached.
        """
        hooks = self._attached(trainer, "checkpoint()")
        return ranks.of_first(partial(own_checkpoint, trainer, hooks.owner)) if isinstance(hooks, TaskHooks) else None

    def end_task(self, trainer: Any) -> list[float | None]:
        """End the attached task: the strategy keeps what it needs, and all test sets so far are measured.

        Returns:
            The accuracy on each task so far; of a model that writes, the share of answers that are exactly right.

        Raises:
            InputError: ``trainer`` has not been attached, or has not trained.
        """
        hooks, learner = self._attached(trainer, "end_task()"), self.learner
        assert learner is not None
        self._check_whole()
        if not hooks.done:
            raise InputError(f"end_task(): task {hooks.task.name!r} has not been trained; call trainer.train() first")
        if isinstance(hooks, EndedTask):
            self._leave(hooks)
            if self.turn == len(self.outcome.tasks) and self.ended is not None:
                restore_random(self.ended, learner)
            return self.outcome.scores(self.turn - 1)
        hooks.ending = True
        learner.model.train()
        with plain_forward(learner.model):
            with learner.clock.measure("train/strategy"):
                self.strategy.after_steps(learner, hooks.task)
                self.strategy.after_task(learner, hooks.task)
            with learner.clock.measure("eval"):
                evaluations = evaluate_all(learner, self.strategy, self.tests)
        scores = self.outcome.add(hooks, self.tests[-1], evaluations)
        for text in self.outcome.warned() if not ranks.number() else ():
            logger.warning(text)
        if self.state_dir is not None:
            with learner.clock.measure("checkpoint"):
                save_end(self.state_dir, self._owner(), learner, self.strategy, self.outcome)
        self._leave(hooks)
        return scores

    def result(self) -> dict[str, Any]:
        """Write the run's folder under the output folder, as ``clbench run`` would have, for ``clbench compare``.

        Returns:
            The content of result.json; its key "folder" says where it lies.

        Raises:
            InputError: no task has ended, or one has not.
        """
        self._check_whole()
        missing = self.outcome.tasks[self.turn :]
        if self.hooks is not None or self.learner is None or missing:
            name = repr(self.hooks.task.name) if self.hooks else repr(missing[0]) if missing else "any"
            raise InputError(f"result(): end task {name} first, with end_task(trainer)")
        config = task_config(self.learner, None, self._said())
        peak = ranks.largest(peak_memory(self.learner.device))
        return ranks.of_first(partial(self.outcome.write, config, self.hashes, self.learner, self.strategy, peak))

    def _leave(self, hooks: TaskHooks | EndedTask) -> None:
        hooks.detach()
        self.hooks = None
        self.turn += 1

    def _check_whole(self) -> None:
        if isinstance(self.hooks, TaskHooks):
            self.hooks.check_whole()

    def _attached(self, trainer: Any, call: str) -> TaskHooks | EndedTask:
        if self.hooks is None or self.hooks.trainer is not trainer:
            raise InputError(f"{call} was given a Trainer that is not attached; allowed: the one of the last attach()")
        return self.hooks

    def _learner_for(self, trainer: Any, kind: Kind, data: TaskData) -> Learner:
        """The learner with the task; made around the model at the first."""
        if self.learner is None:
            self.seed = trainer.args.seed if self.seed is None else self.seed
            self.learner = first_learner(trainer, kind, self.setting, data.columns, self.seed)
            self.outcome.start = start_hashes(trainer.model)
        elif data.position >= len(self.outcome.tasks):
            add_task(self.learner, data.position, data.columns)
        self.learner.longest_answer = max(self.learner.longest_answer, kind.longest_answer(data.train))
        return self.learner

    def _said(self) -> dict[str, Any]:
        """What the person said of the run, by the names of a run's settings."""
        said = {"scenario": self.name, "strategy": self.expression, "setting": self.setting, "seed": self.seed}
        return {**said, "output_dir": self.output_dir}

    def _owner(self, **more: Any) -> str:
        """The hash of what a state on the disk belongs to."""
        return identity({**self._said(), "plugin_hashes": self.hashes, **more})
