"""Training on one task: a step at a time, with the strategy's hooks in their places."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from clbench.config import RunConfig
from clbench.data import Batch, Example, TaskData, length, training_batches
from clbench.errors import RunError
from clbench.learner import Learner
from clbench.models import exhaustion_told, halve_until_it_fits, ranks
from clbench.rng import generator, stream_seed
from clbench.strategy import Strategy
from clbench.toolkit.recipe import learning_rate_factor, make_optimizer, parameter_groups

LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


class Training:
    """The steps of one task and all that they depend on, so that it can stop and go on anywhere.

    Attributes:
        step: steps done of ``steps``.
        seen: examples the model has learned from, replayed ones included.
        micro_batch_size: new examples of one forward and backward pass; a step adds the gradients of several.
    """

    def __init__(
        self, config: RunConfig, strategy: Strategy, learner: Learner, task: TaskData, examples: Sequence[Example]
    ) -> None:
        self.config, self.strategy, self.learner, self.task, self.examples = config, strategy, learner, task, examples
        self.lengths = [length(example) for example in examples]
        self.steps_per_epoch = config.steps_per_epoch(len(examples))
        self.steps = config.steps(len(examples))
        self.step = self.seen = 0
        self.micro_batch_size = -(-config.batch_size // config.accumulation)
        self.gradients_unscaled = False
        self.batches: list[list[int]] = []
        self.next: tuple[list[Example], Batch] | None = None
        self.losses: list[Tensor] = []
        self.overflows: list[Tensor] = []
        groups = parameter_groups(learner.named_parameters(), learner.learning_rates, config.weight_decay, learner.head)
        groups = strategy.parameter_groups(learner, groups)
        with _without_settings_in_the_environment():
            self.accelerator = _accelerator(config, learner)
            optimizer = make_optimizer(config, groups)
            self.optimizer = self.accelerator.prepare(optimizer)
        if self.accelerator.scaler:
            # The fused step leaves the weights alone where the scaler found an overflow, and tells nobody else.
            optimizer.register_step_pre_hook(lambda given, *_: self.overflows.append(given.found_inf.clone()))
        learner.parameter_groups = self.optimizer.param_groups
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        ranks.take_from_first([parameter for _, parameter in learner.named_parameters()])
        # In each process other rows: each has masks of its own.
        others = [ranks.number()] if ranks.number() else []
        torch.manual_seed(stream_seed(config.seed, "dropout", task.name, *others))
        learner.model.train()

    def run_step(self) -> None:
        """One optimizer step on the next batch of new examples.

        Raises:
            RunError: the device's memory is exhausted: ``auto_batch`` is off, the micro-batch cannot be halved, or it
                happened where smaller ones do not help.
        """
        timed = self.learner.clock.part
        self.learner.step, self.learner.steps = self.step, self.steps
        # Drawn once, so that neither accumulation nor a retry changes what the step learns from.
        with timed("train/data"):
            self.learner.new_examples, batch = self.next or self.collated(self.step)
            self.next = None
        with timed("train/strategy"):
            batch = self.strategy.train_batch(batch)
        device, place, size = self.learner.device, f"in task {self.task.name!r}", self.micro_batch_size
        take = partial(self._take_gradients, batch)
        try:
            if self.config.auto_batch:
                with exhaustion_told(device, f"{place} with batches of 1", "try a smaller model or --max-length"):
                    loss = halve_until_it_fits(take, size)
            else:
                remedy = f"try --batch-size {max(1, self.config.batch_size // 2)} or --auto-batch"
                with exhaustion_told(device, f"{place} with batches of {size}", remedy):
                    loss = take(size)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise RunError(f"--compile does not work here: {str(error).split(chr(10))[0]}") from error
        # Once the weights have begun to move nothing can be tried again.
        place += f" where step {self.step + 1} moves the weights"
        with exhaustion_told(device, place, "try a smaller model, or a strategy that keeps less"):
            self._move_weights()
        self.losses.append(loss)
        self.seen += len(batch["labels"])
        self.step += 1

    def _take_gradients(self, batch: Batch, micro_batch_size: int) -> Tensor:
        """Let the gradients be those of ``batch``, as the strategy wants them; its loss."""
        strategy, learner, timed = self.strategy, self.learner, self.learner.clock.part
        if micro_batch_size < self.micro_batch_size:
            self._forget_gradients()
        self.micro_batch_size = micro_batch_size
        learner.gradients_again = partial(self._gradients_again, batch)
        total = self._pass(batch)
        if self.next is None and self.step + 1 < self.steps:
            with timed("train/data"):  # while a GPU computes, and before any hook waits for it
                self.next = self.collated(self.step + 1)
        self.accelerator.unscale_gradients(self.optimizer)
        self.gradients_unscaled = True
        with timed("train/strategy"):
            strategy.read_gradients(learner)
            strategy.before_step(learner)
        learner.gradients_again = None
        return total

    def _pass(self, batch: Batch) -> Tensor:
        """Let the gradients be those of ``batch``, taken part after part; the loss of this process's parts."""
        config, strategy, learner, timed = self.config, self.strategy, self.learner, self.learner.clock.part
        count = len(batch["labels"])
        parts = -(-config.batch_size // self.micro_batch_size)
        total = torch.zeros((), device=learner.device)
        for numbers in ranks.my_rows(count).chunk(parts):
            if not len(numbers):  # fewer rows than processes: this one adds nothing to the others' gradients
                break
            part = {key: value[numbers[0] : numbers[-1] + 1] for key, value in batch.items()}
            with timed("train/forward"):
                logits = learner.logits(part)
                loss = learner.example_losses(logits, part).mean()
            with timed("train/strategy"):
                extra = strategy.loss(learner, part, logits)
                loss = (loss if extra is None else loss + extra) * (len(numbers) / count)
            with timed("train/backward"):
                self.accelerator.backward(loss)
            total += loss.detach()
        # Of all that is stepped: a strategy's groups may have parameters that are none of the model's.
        ranks.sum_gradients(parameter for group in self.optimizer.param_groups for parameter in group["params"])
        return total

    def _gradients_again(self, batch: Batch) -> None:
        self.optimizer.zero_grad()
        self._pass(batch)

    def _forget_gradients(self) -> None:
        """Begin the step again after an attempt that failed."""
        self.optimizer.zero_grad()
        if self.gradients_unscaled and (scaler := self.accelerator.scaler):
            # It refuses to unscale twice; given its own scale it forgets the attempt, which counts for nothing.
            scaler.update(scaler.get_scale())
        self.gradients_unscaled = False

    def _move_weights(self) -> None:
        config, strategy, learner, timed = self.config, self.strategy, self.learner, self.learner.clock.part
        factor = strategy.learning_rate_factor(self.step, self.steps)
        if factor is None:
            factor = learning_rate_factor(self.step, self.steps, config.warmup, config.schedule)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        with timed("train/optimizer"):
            if config.max_grad_norm < math.inf:
                torch.nn.utils.clip_grad_norm_([p for _, p in learner.named_parameters()], config.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.gradients_unscaled = False
        with timed("train/strategy"):
            strategy.after_step(learner)

    def run_all_steps(self) -> None:
        """Every step of the task, for a strategy that trains by itself.

        Raises:
            RunError: a loss or a weight is not a number, or as :meth:`run_step`.
        """
        for step in range(1, self.steps + 1):
            self.run_step()
            if step % self.steps_per_epoch == 0:
                self.take_loss()  # raises when it is no number
        self.check_weights()

    def take_loss(self) -> float:
        """The mean loss since the last call.

        Raises:
            RunError: a loss was not a number; names the task, step and batch.
        """
        values = ranks.sum_over_processes(torch.stack(self.losses).float()).cpu()
        if self.overflows:
            self.learner.skipped_steps += int(torch.stack(self.overflows).sum())
            self.overflows = []
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if bad:
            wrong = self.step - len(self.losses) + bad[0]
            epoch, batch = wrong // self.steps_per_epoch + 1, wrong % self.steps_per_epoch + 1
            raise RunError(
                f"the loss is {values[bad[0]].item()} in task {self.task.name!r} at step {wrong + 1} (epoch {epoch}, "
                f"batch {batch} of {self.steps_per_epoch}); finished tasks are kept; try a smaller --lr or --head-lr"
            )
        self.losses = []
        return float(values.mean())

    def check_weights(self) -> None:
        """Find weights that the last steps spoilt before they are saved; a loss shows them only one step later.

        Raises:
            RunError: a weight is not a number; names the task and step.
        """
        if not self.learner.weights_are_finite():
            raise RunError(
                f"a weight is not a finite number in task {self.task.name!r} after step {self.step} of {self.steps}; "
                "finished tasks are kept; try a smaller --lr or --head-lr"
            )

    def state_dict(self) -> dict[str, Any]:
        """Position, optimizer, gradient scaler and the random streams of torch."""
        state = self.optimizer.optimizer.state_dict()["state"]
        streams = ranks.gathered(_torch_streams(self.learner.device))
        return {
            "step": self.step,
            "seen": self.seen,
            "micro_batch_size": self.micro_batch_size,
            "optimizer": {str(number): value for number, value in state.items()},
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            **streams[0],
            **({"other_processes": streams[1:]} if streams[1:] else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self.step, self.seen, self.micro_batch_size = state["step"], state["seen"], state["micro_batch_size"]
        whole = self.optimizer.optimizer.state_dict()
        whole["state"] = {int(number): value for number, value in state["optimizer"].items()}
        self._load_optimizer(whole)
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        streams = [state, *state.get("other_processes", ())]
        if ranks.number() < len(streams):  # else the run was begun by fewer processes
            own = streams[ranks.number()]
            torch.set_rng_state(own["torch_rng"])
            if own["cuda_rng"] is not None:
                torch.cuda.set_rng_state(own["cuda_rng"], self.learner.device)

    def optimizer_state(self) -> dict[str, dict[str, Any]]:
        """What the optimizer keeps of each parameter that learns, by the parameter's name: for the next task."""
        state = self.optimizer.optimizer.state
        return {name: state[parameter] for name, parameter in self.learner.named_parameters() if parameter in state}

    def carry_on(self, kept: Mapping[str, dict[str, Any]]) -> None:
        """Begin with what :meth:`optimizer_state` gave at an earlier task's end; parameters without any begin anew."""
        numbers = {id(p): n for n, p in enumerate(p for group in self.optimizer.param_groups for p in group["params"])}
        named = {numbers[id(p)]: name for name, p in self.learner.named_parameters() if id(p) in numbers}
        whole = self.optimizer.optimizer.state_dict()
        whole["state"] = {number: kept[name] for number, name in sorted(named.items()) if name in kept}
        self._load_optimizer(whole)

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        self.optimizer.optimizer.load_state_dict(state)
        self.learner.parameter_groups = self.optimizer.param_groups  # new ones

    def collated(self, step: int) -> tuple[list[Example], Batch]:
        """The new examples of ``step`` and their batch; each epoch's order is a random stream of its own."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if position == 0 or not self.batches:
            order = generator(self.config.seed, "data order", self.task.name, epoch)
            self.batches = training_batches(self.lengths, self.config.batch_size, order)
        examples = [self.examples[i] for i in self.batches[position]]
        return examples, self.learner.collate(examples)


def _torch_streams(device: torch.device) -> dict[str, Tensor | None]:
    """The states of torch's own random streams, from which dropout is drawn."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"torch_rng": torch.get_rng_state(), "cuda_rng": cuda}


def _accelerator(config: RunConfig, learner: Learner) -> Accelerator:
    # accelerate keeps its precision in a global; every task starts from a clean one.
    AcceleratorState._reset_state(reset_partial_state=True)
    # The learner casts by itself, also outside training; accelerate scales fp16 gradients.
    precision = "fp16" if config.precision == "fp16" else "no"
    return Accelerator(cpu=learner.device.type == "cpu", mixed_precision=precision, device_placement=False)


@contextmanager
def _without_settings_in_the_environment() -> Iterator[None]:
    """Inside, accelerate finds no settings among the environment variables: a run's are in its config.

    It does not see a launcher either: gradients are summed here, before any hook and before any scaler looks at them.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(("ACCELERATE_", *LAUNCHER))}
    try:
        yield
    finally:
        os.environ.update(hidden)
