"""ContinualLearning: remedies against forgetting in a person's own Trainer, a task after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.clock import Clock
from clbench.config import make_config
from clbench.data import Example, LabelSpace, TaskData
from clbench.errors import InputError, unknown
from clbench.integrations.trainer.asked import label_names, task_columns
from clbench.integrations.trainer.hooks import TaskHooks
from clbench.integrations.trainer.outcome import Outcome
from clbench.integrations.trainer.refusals import check_loss, check_set_up, check_strategies, check_trainer
from clbench.integrations.trainer.rows import read_rows
from clbench.learner import Learner
from clbench.plugins import build_strategies
from clbench.strategy import ALL_SETTINGS, Stack, check_own_labels, check_stack
from clbench.toolkit import evaluate_all


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
    ) -> None:
        if setting not in ALL_SETTINGS:
            raise unknown("setting", setting, ALL_SETTINGS)
        self.hashes: dict[str, str] = {}
        self.expression, members = build_strategies(strategy, {}, self.hashes, {})
        check_strategies(members)
        check_stack(members, setting, "text", 1)
        if setting == "domain":
            check_own_labels(members)
        self.strategy = Stack(sorted(members, key=lambda member: member[0]))
        self.output_dir, self.setting, self.name, self.seed = output_dir, setting, name, seed
        self.learner: Learner | None = None
        self.tests: list[list[Example]] = []
        self.hooks: TaskHooks | None = None
        self.outcome = Outcome()

    def attach(self, trainer: Any, task: str, test: Any, labels: Sequence[str | int] | None = None) -> Any:
        """Begin ``task``: let the strategy take part when ``trainer`` trains.

        Args:
            trainer: transformers' Trainer, or one of your own classes, with ``train_dataset``; all of the same model.
            task: its name.
            test: a data set like ``train_dataset``, on which the task is measured from its end on.
            labels: those of the task, by column or by their names in the model's config; by default those that occur
                in its data. In the setting "domain" all tasks have all.

        Returns:
            The same trainer.

        Raises:
            InputError: the Trainer, its settings, its data or the order of calls do not allow it.
        """
        if self.hooks is not None:
            raise InputError(f"attach(task={task!r}): end task {self.hooks.task.name!r} first, with end_task(trainer)")
        if not task or task in self.outcome.tasks:
            raise InputError(f"attach(task={task!r}): allowed: a name that no other task has")
        check_trainer(trainer)
        check_loss(trainer, self.setting, self.strategy.members)
        if self.learner is not None and self.learner.model is not trainer.model:
            raise InputError(f"attach(task={task!r}): the Trainer has another model; allowed: that of the first task")
        position = len(self.outcome.tasks)
        train = read_rows(trainer, trainer.train_dataset, position, f"train_dataset of task {task!r}")
        tested = read_rows(trainer, test, position, f"test of task {task!r}")
        columns = task_columns(trainer.model.config, task, self.setting, labels, [*train, *tested])
        data = TaskData(position, task, columns, train, [])
        learner = self._next_learner(trainer, columns)
        rates = dict(learner.learning_rates)
        learning = {name for name, _ in learner.named_parameters()}
        if not position:
            self.strategy.setup(learner)
        self.strategy.before_task(learner, data)
        check_set_up(learner, rates, learning, trainer)
        self.tests = [*self.tests[:position], tested]
        self.hooks = TaskHooks(trainer, learner, self.strategy, data, self._config(trainer))
        return trainer

    def end_task(self, trainer: Any) -> list[float | None]:
        """End the attached task: the strategy keeps what it needs, and all test sets so far are measured.

        Returns:
            The accuracy on each task so far.

        Raises:
            InputError: ``trainer`` has not been attached, or has not trained.
        """
        hooks, learner = self.hooks, self.learner
        if hooks is None or learner is None or hooks.trainer is not trainer:
            raise InputError(
                "end_task() was given a Trainer that is not attached; allowed: the one of the last attach()"
            )
        if not hooks.done:
            raise InputError(f"end_task(): task {hooks.task.name!r} has not been trained; call trainer.train() first")
        hooks.detach()
        self.hooks = None
        learner.model.train()
        with learner.clock.measure("train/strategy"):
            self.strategy.after_steps(learner, hooks.task)
            self.strategy.after_task(learner, hooks.task)
        with learner.clock.measure("eval"):
            evaluations = evaluate_all(learner, self.strategy, self.tests)
        return self.outcome.add(hooks, self.tests[-1], evaluations)

    def result(self) -> dict[str, Any]:
        """Write the run's folder under the output folder, as ``clbench run`` would have, for ``clbench compare``.

        Returns:
            The content of result.json; its key "folder" says where it lies.

        Raises:
            InputError: no task has ended, or one has not.
        """
        if self.hooks is not None or self.learner is None:
            name = repr(self.hooks.task.name) if self.hooks is not None else "any"
            raise InputError(f"result(): end task {name} first, with end_task(trainer)")
        config = self._config(None)
        return self.outcome.write(config, self.hashes, self.learner, self.strategy)

    def _next_learner(self, trainer: Any, columns: tuple[int, ...]) -> Learner:
        """The learner with one task more; made around the model at the first."""
        if self.learner is None:
            args, tokenizer = trainer.args, trainer.processing_class
            self.seed = args.seed if self.seed is None else self.seed
            padding = getattr(tokenizer, "pad_token_id", None)
            self.learner = Learner(
                trainer.model,
                LabelSpace(self.setting, label_names(trainer.model.config), (columns,)),
                tokenizer=tokenizer,
                seed=self.seed,
                padding_id=padding if padding is not None else trainer.model.config.pad_token_id or 0,
                precision="bf16" if args.bf16 else "fp32",
                lr=args.learning_rate,
                head_lr=args.learning_rate,
                padding_side=getattr(tokenizer, "padding_side", "right"),
                clock=Clock(device=args.device),
            )
        else:
            learner, earlier = self.learner, self.learner.labels.columns[: len(self.outcome.tasks)]
            learner.labels = LabelSpace(self.setting, learner.labels.names, (*earlier, columns))
            learner.tasks = len(learner.labels.columns)
            learner.measures = learner.measures[:1] * learner.tasks
        self.learner.tasks_seen = self.learner.tasks
        return self.learner

    def _config(self, trainer: Any) -> Any:
        """What a strategy reads of a run's settings, as far as a Trainer has them."""
        learner = self.learner
        assert learner is not None
        model = getattr(learner.model.config, "_name_or_path", "") or type(learner.model).__name__
        options: dict[str, Any] = {"scenario": self.name, "strategy": self.expression, "model": str(model)}
        options |= {
            "setting": self.setting,
            "seed": self.seed,
            "output_dir": self.output_dir,
            "device": str(learner.device),
        }
        if trainer is not None:
            args = trainer.args
            options |= {"batch_size": args.per_device_train_batch_size, "weight_decay": float(args.weight_decay)}
            if args.learning_rate > 0:
                options |= {"lr": args.learning_rate, "head_lr": args.learning_rate}
        return make_config(options)
