"""Dark experience replay: remembered examples must give the logits that they gave when they entered the memory.

Buzzega et al. 2020, "Dark Experience for General Continual Learning" (algorithms 1 and 2):
L = L_ce(new batch) + alpha · E_(x',z') [ ‖z' − h(x')‖² / k ] + beta · E_(x'',y'') [ L_ce(h(x''), y'') ], each mean
over ``replay_batch_size`` examples of its own from a reservoir that every batch is offered to, with the logits z that
its step's forward pass gave; alpha alone is DER, beta above 0 DER++. k is the number of logits that are matched (the
paper's code takes this mean where its text has a sum): those of the tasks that had begun when the example entered.
Labels that came later had an untrained logit then, which is stored as −inf and not matched.
"""

from typing import Any

import torch
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    ExampleBuffer,
    Range,
    check_memory,
    hold_other_rows,
    join,
    other_rows,
    remember,
    sum_over_processes,
)


class DER(Strategy):
    """DER, and DER++ with ``beta`` above 0; every epoch's batches are offered, so an example may be kept twice.

    In the class setting alpha alone does not help: nothing tells old examples that they are none of the new labels.

    Args:
        memory_size: examples kept: a count, or below 1 a fraction of each task's training examples, a reservoir a task.
        replay_batch_size: remembered examples of each of the two terms, added to each batch.
        alpha: weight of the logits' distance, 0 or more; the default is the best of 0.3, 1 and 3 on text_seq's
            dev texts; the paper has 0.1 to 1.
        beta: weight of the remembered labels' cross-entropy, 0 or more; the paper's DER++ has 0.5 to 1.
    """

    decides = ("what each row's loss is",)
    hook_phases = {"train_batch": "weigh", "before_step": "fix"}
    kinds = ("text", "image")
    keeps_examples = True
    search_spaces = {"alpha": Range(0.1, 10.0, log=True), "beta": Range(0.0, 1.0)}

    def __init__(
        self, memory_size: float = 0.05, replay_batch_size: int = 16, alpha: float = 1.0, beta: float = 0.0
    ) -> None:
        check_memory("der", memory_size, replay_batch_size)
        if alpha < 0 or beta < 0:
            raise InputError(f"der: {alpha=}, {beta=}; allowed: numbers of 0 or more")
        self.memory_size, self.replay_batch_size, self.alpha, self.beta = memory_size, replay_batch_size, alpha, beta

    def setup(self, learner: Learner) -> None:
        """An empty memory."""
        self.learner = learner
        self.buffer = ExampleBuffer(self.memory_size, "reservoir", learner.seed)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Which labels exist, and how many places the task's examples share."""
        self.places = self.buffer.places(len(task.train))
        self.others = other_rows(learner, task)
        names, columns = learner.labels.names, learner.labels.columns
        begun = {column for each in columns[: learner.tasks_seen] for column in each}
        self.unknown = torch.tensor([column not in begun for column in range(len(names))], device=learner.device)

    def train_batch(self, batch: Batch) -> Batch:
        """Add the remembered examples of both terms, and what each row weighs beside its 1 in the engine's mean."""
        device, count = self.learner.device, len(batch["labels"])
        self.new = self.learner.new_examples
        # Row 0 takes what is not asked for: rows of other strategies and the remembered.
        self.logits = torch.zeros(count + 1, len(self.unknown), device=device)
        self.noted = torch.zeros(count + 1, dtype=torch.bool, device=device)
        batch = {**batch, "der_row": torch.arange(1, count + 1, device=device)}
        dark, labelled = (self.buffer.sample(self.replay_batch_size) if w else [] for w in (self.alpha, self.beta))
        if not (taken := [*dark, *labelled]):
            return batch
        total = count + len(taken)
        remembered = self.learner.collate(taken)
        remembered["der_logits"] = torch.stack([example["logits"] for example in taken])
        distance, excess = self.alpha * total / max(1, len(dark)), self.beta * total / max(1, len(labelled)) - 1
        remembered["der_distance"] = _parts(device, (len(dark), distance), (len(labelled), 0.0))
        remembered["der_excess"] = _parts(device, (len(dark), -1.0), (len(labelled), excess))
        batch["der_excess"] = torch.full((count,), total / count - 1, device=device)
        return join(batch, remembered, self.learner.padding_id)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """Note the new examples' logits; what turns the engine's mean of cross-entropies into L."""
        # Those of the first pass alone: sam takes another, with other weights.
        rows = batch["der_row"]
        self.logits[rows] = torch.where(self.noted[rows].unsqueeze(1), self.logits[rows], logits.detach())
        self.noted[rows] = True
        if "der_logits" not in batch:
            return None
        known = batch["der_logits"].isfinite()
        differences = (logits - batch["der_logits"].masked_fill(~known, 0.0)).masked_fill(~known, 0.0)
        distances = differences.square().sum(-1) / known.sum(-1)
        # The same operations as the engine's, so that an excess of −1 cancels to the last bit.
        excess = batch["der_excess"] * learner.example_losses(logits, batch)
        return (excess + batch["der_distance"] * distances).mean()

    def before_step(self, learner: Learner) -> None:
        """Leave the output rows of other tasks as they are where the task id is given."""
        hold_other_rows(learner, self.others)

    def after_step(self, learner: Learner) -> None:
        """Offer the step's new examples to the memory, with the logits that the step started from."""
        logits = sum_over_processes(self.logits[1 : 1 + len(self.new)])  # where several share the rows out
        logits = logits.masked_fill(self.unknown, float("-inf"))
        remember(self.buffer, self.places, self.new, logits=logits)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """With a fraction as size each task keeps its own places."""
        if self.memory_size < 1:
            self.buffer.close()

    def state_dict(self) -> dict[str, Any]:
        """The memory with its logits, counts and random stream."""
        return self.buffer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory; its logits lie on the device."""
        self.buffer.load_state_dict(state)
        for example in self.buffer.examples:
            example["logits"] = example["logits"].to(self.learner.device)


def _parts(device: torch.device, *parts: tuple[int, float]) -> Tensor:
    """A tensor of ``count`` times ``value`` for each of ``parts``; made on the device, so that nothing is uploaded."""
    return torch.cat([torch.full((count,), value, device=device) for count, value in parts])
