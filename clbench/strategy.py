"""Strategy: the hooks that a remedy against forgetting fills in, and the stack of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clbench.errors import InputError

if TYPE_CHECKING:
    import datasets
    from torch import Tensor, nn

    from clbench.config import RunConfig
    from clbench.data import Batch, TaskData
    from clbench.learner import Learner
    from clbench.scenario import Task

ALL_SETTINGS = ("task", "domain", "class")


# In which order the strategies of a stack act in a hook, whatever order they were written in; within a phase by name.
PHASES: dict[str, tuple[str, ...]] = {
    # "clean" takes wrong rows away before others count them, "augment" changes those that there will be.
    "examples": ("clean", "other", "augment"),
    # "open" says which weights learn, "close" takes some of them back, "restore" puts weights back into the model;
    # "read" sees which learn in the end.
    "before_task": ("open", "close", "restore", "other", "read"),
    # "weigh" says how much each row of the batch counts, once all rows are there.
    "train_batch": ("other", "weigh"),
    # "drop" takes some away; "replace" takes the gradients again elsewhere, before anything reads them.
    "read_gradients": ("drop", "replace", "other"),
    # "project" sees the gradients with every penalty in them, "fix" has the last word.
    "before_step": ("other", "project", "fix"),
    # "restore" puts better weights of the task back before others read where it ended.
    "after_steps": ("restore", "other"),
    # "move" puts the weights that answer into the model, "answer" what they answer by; anchors, teachers, Fishers and
    # memories read both.
    "after_task": ("move", "answer", "other"),
}


@dataclass(frozen=True)
class Deployable:
    """A model that gives a strategy's answers without the strategy.

    Attributes:
        model: transformers' own, or PEFT's wrapper of it with the modules active that answer.
        linear: weights (labels, features) and biases (labels,) of a layer that answers in the output layer's place.
        features: what it reads: the "mean" of the last token states, or what the "output_layer" reads.
    """

    model: nn.Module
    linear: tuple[Tensor, Tensor] | None = None
    features: Literal["mean", "output_layer"] = "output_layer"


@dataclass(frozen=True)
class Range:
    """Numbers that ``tune`` tries for an argument: all from ``low`` to ``high``, whole ones where both are.

    ``log`` spreads them by their logarithm, as befits what may differ by a factor of ten.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low <= self.high < float("inf") or (self.log and self.low <= 0):
            allowed = "two numbers, the smaller first, with log above 0"
            raise InputError(f"{self} is no range; allowed: {allowed}")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: object) -> bool:
        """Whether ``value`` is one of them."""
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class Choices:
    """Values that ``tune`` tries for an argument: numbers, texts, True, False or None."""

    values: tuple[bool | int | float | str | None, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("Choices() names no value; allowed: one or more")

    def holds(self, value: object) -> bool:
        """Whether ``value`` is one of them."""
        return value in self.values


Space = Range | Choices


class Strategy:
    """Base of every strategy; the defaults do nothing, which is naive fine-tuning.

    A subclass gives its hyper-parameters as typed constructor keywords with defaults and fills in the hooks it needs.

    Class attributes:
        settings: the settings it supports.
        kinds: the task kinds it supports, empty for all.
        alone: why it cannot be stacked with another remedy; empty when it can.
        decides: what it decides alone; two strategies of a stack that decide the same are refused.
        hook_phases: in which of a hook's :data:`PHASES` it acts, by the hook's name; left out, in "other".
        accumulates: whether a batch can be learned in parts, for ``accumulation`` above 1.
        counts_steps: whether ``task_steps`` can say how long it trains; not where a loop of its own goes by epochs.
        own_labels: whether each task's rows of the output layer must be its own, as where nothing of an old task may be
            overwritten; refused where tasks share labels.
        keeps_examples: whether it needs a task's texts or images after the task, its dev ones included; `advise` leaves
            it out where data may not be kept.
        is_recipe: whether it is a way to fine-tune and no remedy against forgetting; `advise` races remedies only.
        model_arguments: those of its arguments that name models, whose files are part of what a run is.
        idle_in_first_task: which of the hooks that this class defines and that act inside a task's steps do nothing in
            those of the first task, so that runs of one command may learn it once; a claim that ``check`` looks into.
        search_spaces: what ``tune`` tries for its arguments, by name; those left out stay as they are.
        kept_numbers: how many fp32 numbers of each learning weight it holds inside the steps of a later task, for the
            estimate of ``run --dry-run``; None where it keeps something else, or nothing.
        resumable: whether ``state_dict`` holds all that it needs to go on; otherwise an interrupted run starts again.
    """

    settings: ClassVar[tuple[str, ...]] = ALL_SETTINGS
    kinds: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[str] = ""
    decides: tuple[str, ...] = ()
    hook_phases: ClassVar[Mapping[str, str]] = {}
    model_arguments: ClassVar[tuple[str, ...]] = ()
    idle_in_first_task: ClassVar[tuple[str, ...]] = ()
    search_spaces: ClassVar[Mapping[str, Space]] = {}
    is_recipe: ClassVar[bool] = False
    kept_numbers: ClassVar[int | None] = None
    accumulates: bool = True
    counts_steps: bool = True
    own_labels: bool = False
    keeps_examples: bool = False
    resumable: bool = True

    @property
    def answers(self) -> bool:
        """Whether it has a :meth:`predict` of its own."""
        return type(self).predict is not Strategy.predict

    @property
    def carries_optimizer(self) -> bool:
        """Whether ``optimizer_state`` may be "carried": in the engine's steps, unless it says otherwise.

        A loop of its own does, and one that holds output rows, which moments would move.
        """
        return self.counts_steps

    @property
    def changes_examples(self) -> bool:
        """Whether it has an :meth:`examples` of its own."""
        return type(self).examples is not Strategy.examples

    @property
    def routing(self) -> str:
        """By which rule :meth:`predict` finds the task where none is given; empty where it looks for none.

        A strategy with a rule takes a ``task_id`` in every setting.
        """
        return ""

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """The rows to learn ``task`` from, in place of its training ``rows``, before they are encoded.

        Called for each task before :meth:`setup`, again where a run is resumed: the same seed gives the same rows.
        ``task`` has no test rows here; dev and test stay as they are.
        """
        return rows

    def setup(self, learner: Learner) -> None:
        """Once, before any task; also before a checkpoint's state is loaded."""

    def training_tasks(self, position: int, count: int) -> Sequence[int]:
        """Which tasks' training data step ``position`` (0-based) of ``count`` learns from; none skips it."""
        return (position,)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Before the first step of ``task``."""

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Train on ``task`` in a loop of one's own; the examples learned from, or None to leave it to the engine."""
        return None

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The optimizer's groups of parameters in a task, as its steps begin, the parameters that learn all in one.

        A group has "params", the peak learning rate "lr" and "weight_decay". ``groups`` are the run's own, or what the
        strategy before gave: body, biases and norms, head.
        """
        return groups

    def learning_rate_factor(self, step: int, steps: int) -> float | None:
        """The factor of the peak learning rates at ``step`` (0-based) of a task's ``steps``; None for the run's own."""
        return None

    def train_batch(self, batch: Batch) -> Batch:
        """Before the forward pass: the batch to learn from."""
        return batch

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """A scalar added to the task loss; ``logits`` is (examples, labels of the scenario), fp32, unmasked."""
        return None

    def read_gradients(self, learner: Learner) -> None:
        """Gradients are ready, and no strategy has changed them yet; see :meth:`before_step`."""

    def before_step(self, learner: Learner) -> None:
        """Gradients are ready: unscaled, all-reduced, not yet clipped."""

    def after_step(self, learner: Learner) -> None:
        """The optimizer has stepped."""

    def stop(self, learner: Learner, task: TaskData) -> bool:
        """After each step: whether ``task`` has been learned long enough, so that no further step follows."""
        return False

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """After the last step of ``task``, while the weights are still those that it left."""

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """After the last step of ``task``, before its evaluation."""

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Logits (examples, labels) at evaluation, or None for the model's own.

        ``batch`` has no labels; ``task_id`` is None (and every ``batch["task_ids"]`` 0) where the setting gives none.
        """
        return None

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """Inside, the learner's model is what answers where no task is at hand, as with a text of the world outside.

        ``--ability`` measures it. The default is the model as it stands, and of a strategy that answers for each task
        by :meth:`predict` the model without PEFT's modules; what else such a strategy has for each task it switches
        off here.
        """
        return learner.without_modules() if self.answers else nullcontext()

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable | None:
        """A model that gives by itself what :meth:`predict` gives for ``task_id``; None where there is none.

        Asked when a model is kept, right after ``predict`` answered for the same task; training may go on afterwards,
        so that the learner's model must stay as it is. The default is that model, as ``predict`` left it: right
        where the strategy does nothing but switch modules or load weights. What is returned is not taken on trust: it
        is saved, loaded by transformers and PEFT alone, and compared with ``predict``; where the answers differ the
        strategy is kept with its state instead, for ``clbench predict``.
        """
        return Deployable(learner.model)

    def test_passes(self, evaluations: int) -> int:
        """Forward passes of a test example that is evaluated so many times in a run; the cost is told beforehand."""
        return evaluations

    def state_dict(self) -> dict[str, Any]:
        """All that later steps depend on: nested dicts of tensors and JSON values, nothing else.

        The model's weights are saved beside it, except those that never required a gradient.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""


class Stack(Strategy):
    """Several strategies as one; each hook runs for each of them, phase after phase (:data:`PHASES`).

    Within a phase they act in the order of ``members``; the plan sorts them by name, so that no result depends on the
    order in which a stack was written.
    """

    def __init__(self, members: Sequence[tuple[str, Strategy]]) -> None:
        self.members = tuple(members)
        self.resumable = all(member.resumable for _, member in members)
        self.accumulates = all(member.accumulates for _, member in members)
        self.keeps_examples = any(member.keeps_examples for _, member in members)

    def _acting(self, hook: str) -> list[Strategy]:
        order = PHASES[hook]
        return sorted((m for _, m in self.members), key=lambda m: order.index(m.hook_phases.get(hook, "other")))

    @property
    def answers(self) -> bool:
        """Whether a member does."""
        return any(member.answers for _, member in self.members)

    @property
    def changes_examples(self) -> bool:
        """Whether a member does."""
        return any(member.changes_examples for _, member in self.members)

    @property
    def routing(self) -> str:
        """The first member's that has a rule."""
        return next((member.routing for _, member in self.members if member.routing), "")

    def examples(self, learner: Learner, task: Task, rows: datasets.Dataset) -> datasets.Dataset:
        """Each member in its phase gets what the one before it gave."""
        for member in self._acting("examples"):
            rows = member.examples(learner, task, rows)
        return rows

    def setup(self, learner: Learner) -> None:
        """Set up each member."""
        for _, member in self.members:
            member.setup(learner)

    def training_tasks(self, position: int, count: int) -> Sequence[int]:
        """The first member that departs from the default decides."""
        for _, member in self.members:
            if (tasks := member.training_tasks(position, count)) != (position,):
                return tasks
        return (position,)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Each member in its phase."""
        for member in self._acting("before_task"):
            member.before_task(learner, task)

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """The first member that trains."""
        for _, member in self.members:
            if (seen := member.train(learner, task, config)) is not None:
                return seen
        return None

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each member gets what the one before it gave."""
        for _, member in self.members:
            groups = member.parameter_groups(learner, groups)
        return groups

    def learning_rate_factor(self, step: int, steps: int) -> float | None:
        """The first member's that gives one."""
        for _, member in self.members:
            if (factor := member.learning_rate_factor(step, steps)) is not None:
                return factor
        return None

    def train_batch(self, batch: Batch) -> Batch:
        """Each member sees the batch that the one before it gave."""
        for member in self._acting("train_batch"):
            batch = member.train_batch(batch)
        return batch

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """The sum of the members' losses."""
        given = [member.loss(learner, batch, logits) for _, member in self.members]
        losses = [loss for loss in given if loss is not None]
        return sum(losses[1:], start=losses[0]) if losses else None

    def read_gradients(self, learner: Learner) -> None:
        """Each member in its phase."""
        for member in self._acting("read_gradients"):
            member.read_gradients(learner)

    def before_step(self, learner: Learner) -> None:
        """Each member in its phase."""
        for member in self._acting("before_step"):
            member.before_step(learner)

    def after_step(self, learner: Learner) -> None:
        """Each member in order."""
        for _, member in self.members:
            member.after_step(learner)

    def stop(self, learner: Learner, task: TaskData) -> bool:
        """Whether a member says so; each is asked."""
        answers = [member.stop(learner, task) for _, member in self.members]
        return any(answers)

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Each member in its phase."""
        for member in self._acting("after_steps"):
            member.after_steps(learner, task)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Each member in its phase."""
        for member in self._acting("after_task"):
            member.after_task(learner, task)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The first member that predicts answers."""
        for _, member in self.members:
            if (logits := member.predict(learner, batch, task_id)) is not None:
                return logits
        return None

    @contextmanager
    def outside_tasks(self, learner: Learner) -> Iterator[None]:
        """As all members would have it."""
        with ExitStack() as entered:
            for _, member in self.members:
                entered.enter_context(member.outside_tasks(learner))
            yield

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable | None:
        """The first member's that does not leave it at the default."""
        for _, member in self.members:
            if type(member).deployable is not Strategy.deployable:
                return member.deployable(learner, task_id)
        return super().deployable(learner, task_id)

    def test_passes(self, evaluations: int) -> int:
        """Those of the first member that answers."""
        return next((m.test_passes(evaluations) for _, m in self.members if m.answers), evaluations)

    def state_dict(self) -> dict[str, Any]:
        """Each member's state under its name."""
        return {name: member.state_dict() for name, member in self.members}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore each member."""
        for name, member in self.members:
            member.load_state_dict(state[name])


def check_stack(
    members: Sequence[tuple[str, Strategy]], setting: str, kind: str, accumulation: int, task_steps: int | None = None
) -> None:
    """Refuse, before a model is loaded, what the strategies do not support.

    Raises:
        InputError: a strategy twice, one that cannot be stacked, or one that does not know the setting or task kind,
            cannot accumulate or does not go by ``task_steps``.
    """
    names = [name for name, _ in members]
    for name, member in members:
        if names.count(name) > 1:
            raise InputError(f"strategy {name!r} stands twice in {'+'.join(names)!r}; allowed: each strategy once")
        others = [own for other, own in members if other != name]
        if member.alone and others and not (_takes_recipes(member) and all(own.is_recipe for own in others)):
            raise InputError(f"{name!r} cannot be stacked as in {'+'.join(names)!r}: {member.alone}")
        for other, its in members:
            if other != name and (both := [topic for topic in _decisions(member) if topic in _decisions(its)]):
                raise InputError(f"{name!r} and {other!r} cannot be stacked: each decides {both[0]}")
        if setting not in member.settings:
            raise InputError(
                f"strategy {name!r} does not support setting {setting!r}; allowed: {_list(member.settings)}"
            )
        if member.kinds and kind not in member.kinds:
            raise InputError(f"strategy {name!r} does not support {kind} tasks; allowed: {_list(member.kinds)}")
        if accumulation > 1 and not member.accumulates:
            raise InputError(f"strategy {name!r} cannot learn a batch in parts: {accumulation = }; allowed: 1")
        if task_steps is not None and not member.counts_steps:
            raise InputError(f"strategy {name!r} trains by epochs, not by steps: {task_steps = }; allowed: none")


def _takes_recipes(member: Strategy) -> bool:
    """Whether a way to fine-tune changes what ``member`` does: it trains in the engine's steps, and is not naive."""
    return member.counts_steps and any(callable(value) for value in vars(type(member)).values())


def _decisions(member: Strategy) -> tuple[str, ...]:
    """What it decides; one that is alone and answers has modules for each task, or keeps all weights as they are."""
    own_weights = member.alone and member.answers
    found = [*member.decides, *(["which weights learn"] if own_weights else [])]
    if member.answers:
        found.append("what answers")
    if type(member).training_tasks not in (Strategy.training_tasks, Stack.training_tasks):
        found.append("which tasks' data a step learns from")
    return tuple(found)


def check_optimizer_state(members: Sequence[tuple[str, Strategy]], optimizer_state: str) -> None:
    """Refuse to carry an optimizer's state on in a loop of a strategy's own, and where it would move what is held.

    Raises:
        InputError: one of them does not carry it.
    """
    for name, member in members:
        if optimizer_state == "carried" and not member.carries_optimizer:
            raise InputError(
                f"strategy {name!r} needs each task's optimizer anew: {optimizer_state = }; allowed: fresh"
            )


def check_own_labels(members: Sequence[tuple[str, Strategy]]) -> None:
    """Refuse, where tasks share labels, strategies that need rows of the output layer for each task.

    Raises:
        InputError: names the strategy.
    """
    for name, member in members:
        if member.own_labels:
            raise InputError(
                f"strategy {name!r} needs output rows of each task's own, but these tasks share labels; allowed: "
                "strategies that learn shared rows, or tasks without shared_labels in the setting 'task'"
            )


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
