"""One task in a Trainer's loop: a strategy's hooks in the places that they have in clbench's own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from clbench.config import RunConfig
from clbench.data import Batch, TaskData
from clbench.errors import InputError, RunError
from clbench.integrations.trainer.refusals import own_loss
from clbench.integrations.trainer.rows import examples_of
from clbench.learner import Learner
from clbench.models import survive_torchvision
from clbench.strategy import Strategy

survive_torchvision()  # which transformers imports
from transformers import TrainerCallback  # noqa: E402


class TaskHooks(TrainerCallback):  # type: ignore[misc]  # transformers has no types for it
    """Wraps the loss and the clipping of ``trainer`` and listens to its steps, until :meth:`detach`.

    The clipping is wrapped since gradients are all there before it, and transformers tells nobody in between: what a
    strategy adds to them is clipped with them, as in clbench's own loop.

    Attributes:
        done: whether the Trainer has trained.
        seen: examples learned from, replayed ones included.
        losses: of each step, with what the strategy added.
    """

    def __init__(self, trainer: Any, learner: Learner, strategy: Strategy, task: TaskData, config: RunConfig) -> None:
        self.trainer, self.learner, self.strategy, self.task, self.config = trainer, learner, strategy, task, config
        self.done = self.started = self.acted = False
        self.seen = 0
        self.losses: list[Tensor] = []
        self.timing = ExitStack()
        self.keeps_loss = bool(own_loss(trainer))
        self.trainers_loss = trainer.compute_loss
        trainer.compute_loss = self.compute_loss
        trainer.add_callback(self)

    def detach(self) -> None:
        """Leave the Trainer as it was."""
        del self.trainer.compute_loss
        self.trainer.remove_callback(self)
        if self.started:
            del self.trainer.accelerator.clip_grad_norm_

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **keywords: Any) -> Any:
        """The loss of a training batch as the strategy would have it; anything else is the Trainer's own."""
        if not self.started or self.done or not model.training:
            return self.trainers_loss(model, inputs, *args, **keywords)
        learner, state = self.learner, self.trainer.state
        learner.step, learner.steps = state.global_step, state.max_steps
        learner.new_examples = examples_of(inputs, self.task.position)
        with learner.clock.part("train/strategy"):
            self.batch = self.strategy.train_batch(learner.collate(learner.new_examples))
        loss = self._loss(self.batch)
        self.losses.append(loss.detach())
        self.seen += len(self.batch["labels"])
        return loss

    def _loss(self, batch: Batch) -> Tensor:
        learner = self.learner
        if self.keeps_loss:
            inputs = {**learner.inputs(batch), "labels": batch["labels"]}
            count = torch.tensor(len(batch["labels"]), device=learner.device)
            loss, output = self.trainers_loss(learner.model, inputs, return_outputs=True, num_items_in_batch=count)
            logits = output["logits"].float()
        else:
            logits = learner.logits(batch)
            loss = learner.example_losses(logits, batch).mean()
        extra = self.strategy.loss(learner, batch, logits)
        total: Tensor = loss if extra is None else loss + extra
        return total

    def _take_gradients_again(self) -> None:
        self.trainer.optimizer.zero_grad()
        self.trainer.accelerator.backward(self._loss(self.batch))

    def _clip(self, *args: Any, **keywords: Any) -> Any:
        self._act_on_gradients()
        return self.trainers_clipping(*args, **keywords)

    def _act_on_gradients(self) -> None:
        """Once a step, before the first that asks for it."""
        if not self.acted:
            self.acted = True
            self.learner.gradients_again = self._take_gradients_again
            with self.learner.clock.part("train/strategy"):
                self.strategy.read_gradients(self.learner)
                self.strategy.before_step(self.learner)
            self.learner.gradients_again = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The optimizer is made, and how many steps there will be is known."""
        if self.started:
            raise InputError(f"train() was called twice in task {self.task.name!r}; allowed: once a task")
        if state.global_step:
            raise InputError(
                "train(resume_from_checkpoint=...) does not work with ContinualLearning yet; leave it away"
            )
        groups = self.trainer.optimizer.param_groups
        stepped = {id(parameter) for group in groups for parameter in group["params"]}
        for name, parameter in self.learner.named_parameters():
            if id(parameter) not in stepped:
                raise InputError(f"the Trainer's optimizer lacks the parameter {name!r}, which learns")
        self.learner.parameter_groups = groups
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
        self.strategy.after_step(self.learner)
        if self.strategy.stop(self.learner, self.task):
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The last step is done."""
        self.timing.close()
        self.done = True
