"""One task in a Trainer's loop: a strategy's hooks in the places that they have in clbench's own."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clbench.config import RunConfig
from clbench.data import TaskData
from clbench.errors import InputError, RunError
from clbench.integrations.trainer.beside import load_beside, save_beside
from clbench.integrations.trainer.causal import plain_forward
from clbench.integrations.trainer.ended import put_back, replace
from clbench.integrations.trainer.losses import StepLosses
from clbench.learner import Learner
from clbench.models import ranks, survive_torchvision
from clbench.strategy import Stack

KEPT = "what state_dir has of ended tasks is kept; try a smaller learning_rate"

survive_torchvision()  # which transformers imports
from transformers import TrainerCallback  # noqa: E402


class TaskHooks(TrainerCallback):  # type: ignore[misc]  # transformers has no types for it
    """Wraps the loss, the batches and the clipping of ``trainer`` and listens to its steps, until :meth:`detach`.

    The clipping is wrapped since gradients are all there before it, and transformers tells nobody in between: what a
    strategy adds to them is clipped with them, as in clbench's own loop.

    Args:
        trainer: transformers'.
        learner, strategy, task, config: what the hooks are given.
        arguments: what the Trainer learns with.
        owner: the hash of all that a state beside a checkpoint must belong to.

    Attributes:
        done: whether the Trainer has trained.
        ending: whether the task's end has begun.
        seen: examples learned from, replayed ones included.
        losses: of each step, with what the strategy added.
    """

    def __init__(
        self,
        trainer: Any,
        learner: Learner,
        strategy: Stack,
        task: TaskData,
        config: RunConfig,
        arguments: dict[str, Any],
        owner: str,
    ) -> None:
        self.trainer, self.learner, self.strategy, self.task, self.config = trainer, learner, strategy, task, config
        self.arguments, self.owner = arguments, owner
        self.resumed: dict[str, Any] | None = None
        self.done = self.started = self.acted = self.ending = False
        self.seen = 0
        self.losses: list[Tensor] = []
        self.timing = ExitStack()
        self.step = StepLosses(trainer, learner, strategy, task.position)
        self.trainers_train = trainer.train
        own = {"compute_loss": self.compute_loss, "get_batch_samples": self.step.read, "train": self.train}
        self.kept = replace(trainer, {**own, "loss_is_scaled_for_ga": True})
        trainer.add_callback(self)

    def detach(self) -> None:
        """Leave the Trainer as it was."""
        put_back(self.trainer, self.kept)
        self.trainer.remove_callback(self)
        if self.started:
            del self.trainer.accelerator.clip_grad_norm_

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **keywords: Any) -> Any:
        """The Trainer's own, where a checkpoint to go on from has the strategy's state beside it."""
        self.check_whole()
        if self.done:
            raise InputError(f"train() was called twice in task {self.task.name!r}; allowed: once a task")
        if not resume_from_checkpoint:
            return self.trainers_train(None, *args, **keywords)
        loaded = ranks.of_first(partial(load_beside, self.trainer, resume_from_checkpoint, self.owner))
        folder, self.resumed = loaded
        return self.trainers_train(folder, *args, **keywords)

    def check_whole(self) -> None:
        """Refuse to go on after ``train()`` was interrupted: model and strategy are in the middle of the task.

        Raises:
            InputError: says how to go on.
        """
        if self.started and (self.ending or not self.done):
            call = "end_task()" if self.ending else "train()"
            raise InputError(
                f"{call} of task {self.task.name!r} was broken off after {len(self.losses)} steps; allowed: the "
                "script again from its beginning, with the model and ContinualLearning(...); state_dir lets it go on"
            )

    def check_numbers(self) -> None:
        """Find a loss or a weight that is no number; waits for the device.

        Raises:
            RunError: there is one; names the task and step.
        """
        # An epoch without a batch has none, which the Trainer tells of.
        values = torch.stack(self.losses) if self.losses else torch.zeros(0)
        if bad := (~values.isfinite()).nonzero().flatten().tolist():
            raise RunError(
                f"the loss is {values[bad[0]].item()} in task {self.task.name!r} at step {bad[0] + 1}; {KEPT}"
            )
        if not self.learner.weights_are_finite():
            raise RunError(
                f"a weight is no finite number in task {self.task.name!r} after step {len(self.losses)}; {KEPT}"
            )

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **keywords: Any) -> Any:
        """The loss of a training batch as the strategy would have it; anything else is the Trainer's own."""
        if not self.started or self.done or not model.training:
            return self.step.trainers_loss(model, inputs, *args, **keywords)
        return self.step.take(inputs)

    def _clip(self, *args: Any, **keywords: Any) -> Any:
        self._act_on_gradients()
        return self.trainers_clipping(*args, **keywords)

    def _act_on_gradients(self) -> None:
        """Once a step, before the first that asks for it."""
        if not self.acted:
            self.acted = True
            self.step.check_taken()
            self.step.share_gradients()
            self.learner.gradients_again = self.step.gradients_again
            with self.learner.clock.part("train/strategy"):
                self.strategy.read_gradients(self.learner)
                self.strategy.before_step(self.learner)
            self.learner.gradients_again = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The optimizer is made, and how many steps there will be is known."""
        groups = self.trainer.optimizer.param_groups
        stepped = {id(parameter) for group in groups for parameter in group["params"]}
        for name, parameter in self.learner.named_parameters():
            if id(parameter) not in stepped:
                raise InputError(f"the Trainer's optimizer lacks the parameter {name!r}, which learns")
        self.learner.parameter_groups = groups
        if self.resumed is not None:
            with plain_forward(self.learner.model):
                self.strategy.load_state_dict(self.resumed["strategy"])
            self.seen, self.losses = self.resumed["seen"], list(self.resumed["losses"].to(self.learner.device))
            self.learner.clock.resume(self.resumed["seconds"])
        config = self.config.model_copy(update={"task_steps": state.max_steps})
        if self.strategy.train(self.learner, self.task, config) is not None:
            raise RunError(f"the strategy trained task {self.task.name!r} by itself")
        self.started = True
        self.trainers_clipping = self.trainer.accelerator.clip_grad_norm_
        self.trainer.accelerator.clip_grad_norm_ = self._clip
        self.timing.enter_context(self.learner.clock.measure("train"))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where nothing has been clipped, now."""
        self._act_on_gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The optimizer has stepped."""
        self.acted = False
        self.losses.append(ranks.sum_over_processes(self.step.total))
        self.seen += len(self.step.batch["labels"])
        self.strategy.after_step(self.learner)
        if self.strategy.stop(self.learner, self.task):
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where nothing is saved in between, the numbers are looked at once an epoch."""
        self.check_numbers()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The Trainer has saved a checkpoint: the strategy's state goes beside it, if that is all that it needs."""
        self.check_numbers()
        if not self.strategy.resumable:
            return
        clock = self.learner.clock
        with clock.measure("checkpoint"):
            content = {
                "strategy": self.strategy.state_dict(),
                "seen": self.seen,
                "losses": torch.stack(self.losses),
                "seconds": clock.read(),
            }
            ranks.of_first(partial(save_beside, self.trainer, state.global_step, content, self.owner))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last step is done."""
        self.timing.close()
        self.check_numbers()
        self.done = True
