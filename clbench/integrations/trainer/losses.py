"""The losses of an optimizer step, whose batch is learned in parts: by each process, and as gradients accumulate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from clbench.data import IGNORE, Batch, Example
from clbench.errors import InputError, RunError
from clbench.integrations.trainer.causal import own_tokens
from clbench.integrations.trainer.refusals import own_loss
from clbench.integrations.trainer.rows import examples_of
from clbench.learner import Learner
from clbench.models import ranks
from clbench.strategy import Stack, Strategy


class StepLosses:
    """Reads the batches of a step together, lets the strategy change the batch once, and learns it in equal parts.

    A part's loss counts by its share of the rows, so that the gradients of all parts add up to those of one big batch;
    a loss of the Trainer's own counts as the Trainer would have it, which is told how many answers the whole step has.
    Where several processes train, the batch is that of all, the same in each, and each learns its part of the rows.

    Attributes:
        own: what makes the Trainer's loss another one; empty where nothing does.
        raw: the batches of the step in progress, as they were read.
        compared: whether those of the first step were learned as they were read.
        batch: of the step in progress, the strategy's rows in it.
        total: the step's loss, as far as its parts were taken.
    """

    def __init__(self, trainer: Any, learner: Learner, strategy: Stack, position: int) -> None:
        self.trainer, self.learner, self.strategy, self.position = trainer, learner, strategy, position
        self.own = own_loss(trainer)
        self.trainers_loss, self.trainers_batches = trainer.compute_loss, trainer.get_batch_samples
        flag = getattr(trainer, "loss_is_scaled_for_ga", None)
        # As the Trainer decides it, which is not asked any more: what it gets here is scaled.
        by_itself = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
        self.scaled = by_itself if flag is None else flag
        # SFTTrainer's loss comes without scores.
        self.adds = any(type(member).loss is not Strategy.loss for _, member in strategy.members)
        # Of several processes' gradients the Trainer would take the mean.
        self.averaged = by_itself and trainer.args.average_tokens_across_devices
        self.batches: list[Any] = []
        self.raw: list[Any] = []
        self.compared = False
        self.parts: list[tuple[Batch, float]] = []
        self.waiting: list[tuple[Batch, float]] = []
        self.total = torch.zeros(())

    def read(self, *args: Any, **keywords: Any) -> Any:
        """In place of ``get_batch_samples``: the same, noted for the step that begins."""
        batches, count = self.trainers_batches(*args, **keywords)
        self.batches = list(batches)
        return batches, count

    def take(self, inputs: Any) -> Tensor:
        """The loss of the step's next part, with its graph; of several processes the mean is that of the step.

        Args:
            inputs: the batch as the Trainer would learn it, which must be the one that was read.

        Raises:
            InputError: it was changed since; looked at in the first step.
            RunError: the step has no further part.
        """
        if self.batches:
            self._begin()
        if not self.waiting:
            raise RunError(f"{type(self.trainer).__name__} takes more losses in a step than it has batches")
        if not self.compared:
            self._compare(inputs)
        loss = self._loss(*self.waiting.pop(0))
        self.total = self.total + loss.detach()
        return loss * ranks.count()

    def check_taken(self) -> None:
        """Refuse a step that was not made of the losses that the strategy has changed.

        Raises:
            InputError: a batch's loss was not asked for.
        """
        if self.batches or self.waiting:
            raise InputError(
                f"{type(self.trainer).__name__}.training_step does not ask compute_loss for the loss of each batch, so "
                "that no strategy can take part; allowed: one that calls it, or transformers' own"
            )

    def gradients_again(self) -> None:
        """The step's gradients anew, in place of those that are there."""
        self.trainer.optimizer.zero_grad()
        for part, share in self.parts:
            self.trainer.accelerator.backward(self._loss(part, share) * ranks.count())
        self.share_gradients()

    def share_gradients(self) -> None:
        """Let the gradients be the mean of all processes'; DistributedDataParallel, which is not called, does not."""
        if ranks.count() > 1:
            parameters = [parameter for _, parameter in self.learner.named_parameters()]
            ranks.sum_gradients(parameters)
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad /= ranks.count()

    def _begin(self) -> None:
        learner, state = self.learner, self.trainer.state
        learner.step, learner.steps = state.global_step, state.max_steps
        learner.new_examples = self._examples()
        with learner.clock.part("train/strategy"):
            self.batch = self.strategy.train_batch(learner.collate(learner.new_examples))
        count = len(self.batch["labels"])
        self.parts = []
        for own in ranks.my_rows(count).tensor_split(len(self.batches)):
            # Where there are fewer rows than parts, one that counts for nothing: all processes do the same.
            start, end = (int(own[0]), int(own[-1]) + 1) if len(own) else (0, 1)
            part = {key: value[start:end] for key, value in self.batch.items()}
            self.parts.append((part, len(own) / count))
        self.raw, self.compared = list(self.batches), learner.step > 0
        self.waiting, self.batches = list(self.parts), []
        self.total = torch.zeros((), device=learner.device)
        labels = self.batch["labels"]
        # What transformers counts: rows, or tokens that are learned.
        self.answers = (labels != IGNORE).sum()

    def _compare(self, inputs: Any) -> None:
        """Refuse a batch that the Trainer has changed after it was read: what is learned is what was read."""
        read = self.raw.pop(0)
        for name in ("input_ids", "labels"):
            if not torch.equal(torch.as_tensor(read[name]).cpu(), torch.as_tensor(inputs.get(name, ())).cpu()):
                raise InputError(
                    f"{type(self.trainer).__name__} changes {name!r} of a batch after its data loader, which no "
                    "strategy sees; allowed: to change them in the data collator"
                )

    def _examples(self) -> list[Example]:
        """The step's new examples: of the first batch that of each process, then of the second."""
        own = [examples_of(batch, self.position, self.learner.kind) for batch in self.batches]
        found = [[e for process in each for e in process] for each in zip(*ranks.gathered(own), strict=True)]
        filled_up = self._filled_up(len(found[-1]))
        found[-1] = found[-1][: len(found[-1]) - filled_up]
        return [example for batch in found for example in batch]

    def _filled_up(self, rows: int) -> int:
        """How many of the last batch's ``rows`` accelerate took from the epoch's first, to give all processes as many.

        It knows that itself, but not any more when an epoch goes on from a checkpoint.
        """
        args = self.trainer.args
        ends = self.trainer.accelerator.gradient_state.end_of_dataloader and not args.dataloader_drop_last
        if ranks.count() == 1 or not ends or rows != args.train_batch_size * ranks.count():
            return 0
        return -len(self.trainer.train_dataset) % rows

    def _loss(self, part: Batch, share: float) -> Tensor:
        learner = self.learner
        if learner.kind.writes:
            loss = self._trainers_loss(part, own_tokens(part["labels"]), share)[0]
            logits = learner.logits(part) if self.adds else None
        elif self.own:
            loss, logits = self._own_loss(part, share)
        else:
            logits = learner.logits(part)
            loss = learner.example_losses(logits, part).mean() * share
        extra = None if logits is None else self.strategy.loss(learner, part, logits)
        total: Tensor = loss if extra is None else loss + extra * share
        return total

    def _own_loss(self, part: Batch, share: float) -> tuple[Tensor, Tensor | None]:
        """A part's loss of the Trainer's own, and its logits (rows, labels) where a strategy adds to it.

        Raises:
            InputError: a strategy does, and the Trainer gives no logits.
        """
        loss, output = self._trainers_loss(part, part["labels"], share, return_outputs=self.adds)
        if not self.adds:
            return loss, None
        logits = output.get("logits") if isinstance(output, Mapping) else None
        if not isinstance(logits, Tensor):
            found = type(output).__name__ if logits is None else f"{type(logits).__name__} as logits"
            raise InputError(
                f"{self.own} with return_outputs=True gives {found}, and the strategy adds to the loss "
                "by the logits; allowed: (loss, outputs) with outputs['logits'], as the model's own"
            )
        return loss, logits.float()

    def _trainers_loss(
        self, part: Batch, labels: Tensor, share: float, return_outputs: bool = False
    ) -> tuple[Tensor, Any]:
        """The Trainer's loss of a part, and its outputs where they are asked for and it gives them; else None."""
        inputs = {**self.learner.inputs(part), "labels": labels}
        count = self.answers.to(labels.device)
        found = self.trainers_loss(self.learner.model, inputs, return_outputs=return_outputs, num_items_in_batch=count)
        loss, output = found if isinstance(found, tuple) else (found, None)
        factor = share if not self.scaled else (share > 0) / (ranks.count() if self.averaged else 1)
        return loss * factor, output
