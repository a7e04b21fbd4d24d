"""What rehearsal strategies share: which remembered examples a step replays, and what a model says of examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from clbench.data import BUCKET_BATCHES, IGNORE, Batch, Example, TaskData, concatenate, length, padded
from clbench.learner import Learner
from clbench.models import halve_until_it_fits, ranks
from clbench.toolkit.buffer import ExampleBuffer
from clbench.toolkit.passes import in_passes


class ReplayWindow:
    """Draws remembered examples for several steps ahead and gives each step those that pad its batch least.

    Each step's share is drawn uniformly and without repetition before any length is looked at, and all that was drawn
    is replayed before the window ends: how often an example is replayed does not depend on its length, only in which
    of the window's steps it is. A window ends with the task at the latest.

    Args:
        buffer: the memory; call :meth:`restart` when it has changed.
        count: remembered examples a step.
    """

    def __init__(self, buffer: ExampleBuffer, count: int) -> None:
        self.buffer, self.count = buffer, count
        self.task_steps = 0
        self.restart()

    def restart(self) -> None:
        """Forget what was drawn: a task begins, or the memory has changed."""
        self.step = self.steps_left = 0
        self.drawn: list[int] = []

    def take(self, width: int) -> list[Example]:
        """The examples for the next step, whose new batch is ``width`` tokens wide; fewer when the memory is small."""
        if not self.steps_left:
            self.steps_left = max(1, min(BUCKET_BATCHES, self.task_steps - self.step))
            numbers = [self._draw() for _ in range(self.steps_left)]
            self.drawn = [number for step in numbers for number in step]
        taken = self._fitting(width)
        for number in taken:
            self.drawn.remove(number)
        self.step += 1
        self.steps_left -= 1
        return [self.buffer.examples[number] for number in taken]

    def _draw(self) -> list[int]:
        order = torch.randperm(len(self.buffer), generator=self.buffer.generator)
        return order[: self.count].tolist()

    def _fitting(self, width: int) -> list[int]:
        """Different examples: those that every step left must take, then the longest that fit, then the shortest."""
        times = Counter(self.drawn)
        size = len(self.drawn) // self.steps_left
        forced = [number for number, count in times.items() if count == self.steps_left]
        others = [number for number, count in times.items() if count < self.steps_left]
        lengths = {number: length(self.buffer.examples[number]) for number in times}
        # Equal lengths stay in the order in which they were drawn, so that a step's share is mixed.
        others.sort(key=lambda number: (lengths[number] > width, abs(width - lengths[number])))
        return (forced + others)[:size]

    def state_dict(self) -> dict[str, Any]:
        """Where in a window and in the task it is; the memory is saved beside it."""
        return {"step": self.step, "steps_left": self.steps_left, "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.step, self.steps_left, self.drawn = state["step"], state["steps_left"], list(state["drawn"])


def join(batch: Batch, remembered: Batch, padding_id: int) -> Batch:
    """``batch`` and then ``remembered``; its key "remembered" (examples,) says which rows came from a memory.

    A key that one of them lacks is 0 in its rows, so that strategies may each mark the rows that are theirs.
    """
    batch = {"remembered": torch.zeros_like(batch["task_ids"], dtype=torch.bool), **batch}
    remembered = {**remembered, "remembered": torch.ones_like(remembered["task_ids"], dtype=torch.bool)}
    for one, other in ((batch, remembered), (remembered, batch)):
        for key in other.keys() - one.keys():
            one[key] = other[key].new_zeros(len(one["labels"]), *other[key].shape[1:])
    return concatenate(batch, remembered, padding_id)


def other_rows(learner: Learner, task: TaskData) -> Tensor | None:
    """Which rows of the output layer are not of ``task``'s labels: bool (labels,); None where the id is not given.

    Where it is given, no other task's row competes with this task's labels, so that nothing new is learned from moving
    one: a memory of few texts only spoils it (:func:`hold_rows`).
    """
    if learner.labels.setting != "task" or not learner.kind.over_labels:
        return None
    rows = torch.ones(len(learner.labels.names), dtype=torch.bool)
    rows[list(task.columns)] = False
    return rows.to(learner.device)


def hold_rows(
    learner: Learner, rows: Tensor | None, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> None:
    """Set the gradients of the output layer's ``rows`` to 0, in place, so that a step leaves these rows as they are.

    Args:
        learner: the model.
        rows: which, bool (labels,); None holds none.
        parameters, gradients: those that learn, and a gradient for each.
    """
    if rows is None:
        return
    of_head = {id(parameter) for parameter in learner.output_layer().parameters()}
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if id(parameter) in of_head and gradient is not None:
            gradient.masked_fill_(rows.view(-1, *[1] * (gradient.ndim - 1)), 0.0)


def hold_other_rows(learner: Learner, rows: Tensor | None) -> None:
    """As :func:`hold_rows`, for the gradients of the step in progress."""
    parameters = [parameter for _, parameter in learner.named_parameters()]
    hold_rows(learner, rows, parameters, [parameter.grad for parameter in parameters])


def remember(buffer: ExampleBuffer, places: int, new: Sequence[Example], **stored: Tensor) -> None:
    """Offer a step's new examples to the reservoir ``buffer``.

    Args:
        buffer: the memory.
        places: those that the examples share.
        new: the examples.
        stored: further tensors (examples, ...) to keep beside them; they stay on their device, so that no step waits.
    """
    for place, number in buffer.enter(len(new), places).items():
        kept = {name: values[number].clone() for name, values in stored.items()}
        buffer.put(place, {**new[number], **kept})


def stored_outputs(learner: Learner, examples: Sequence[Example]) -> tuple[list[Tensor], Tensor]:
    """Logits of ``examples`` as of :func:`stored_logits`, and features (examples, features); on the CPU.

    Features are what the output layer reads, the mean over the answers where an example has several.
    """
    features: list[Tensor] = [torch.empty(0)] * len(examples)

    def read(batch: Batch, numbers: Sequence[int]) -> Tensor:
        logits, found = learner.logits_and_features(batch)
        if found.ndim == 3:
            answered = (batch["labels"] != IGNORE)[..., None]
            found = (found * answered).sum(1) / answered.sum(1).clamp(min=1)
        for number, feature in zip(numbers, found.cpu(), strict=True):
            features[number] = feature
        return logits

    return _stored(learner, examples, read), torch.stack(features)


def stored_logits(learner: Learner, examples: Sequence[Example]) -> list[Tensor]:
    """Logits (labels,) of each example, or (answers, labels) where it has several; the model in eval mode, on the CPU.

    Where a label does not exist yet its logit is −inf, so that the stored logits remember their label space.
    """
    return _stored(learner, examples, lambda batch, _: learner.logits(batch))


@torch.no_grad()
def _stored(
    learner: Learner, examples: Sequence[Example], read: Callable[[Batch, Sequence[int]], Tensor]
) -> list[Tensor]:
    was_training = learner.model.training
    learner.model.eval()
    logits: list[Tensor] = [torch.empty(0)] * len(examples)

    def store(batches: Iterable[list[int]]) -> None:
        for numbers in batches:
            batch = learner.collate([examples[i] for i in numbers])
            known = learner.mask(read(batch, numbers), batch["task_ids"]).cpu()
            for number, row in zip(numbers, known, strict=True):
                label = examples[number]["label"]
                logits[number] = row[: len(label)][label != IGNORE] if isinstance(label, Tensor) else row

    in_passes(learner, examples, store)
    learner.model.train(was_training)
    return logits


def stacked(stored: Sequence[Tensor]) -> Tensor:
    """What was stored of each example as one tensor; zeros where an example has fewer answers than another."""
    return torch.stack(list(stored)) if stored[0].ndim == 1 else padded(stored, 0.0)


def at_answers(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """Of ``logits`` (examples, tokens, outputs) those of the first ``most`` answers (examples, most, outputs).

    Where an example has fewer, what follows is of other tokens.
    """
    places = (labels == IGNORE).int().argsort(dim=1, stable=True)[:, :most]
    return logits.gather(1, places[..., None].expand(-1, -1, logits.shape[-1]))


def divergences(stored: Tensor, logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """KL(softmax(stored) ‖ softmax(logits)) of each example (examples,), over the labels that were stored.

    Args:
        stored: (examples, labels), −inf where a label did not exist; a row of zeros alone stands for nothing stored.
            Or (examples, answers, labels): the mean over an example's answers.
        logits: (examples, labels), or (examples, tokens, labels).
        labels: of the batch; they tell which tokens have an answer.
    """
    if stored.ndim == 3:
        assert labels is not None
        logits = at_answers(logits, labels, stored.shape[1])
    known = stored.isfinite()
    target = stored.log_softmax(-1)
    student = logits.masked_fill(~known, float("-inf")).log_softmax(-1)
    # 0 · ∞ where a label did not exist; the mask before the product keeps it out of the gradient as well.
    terms = target.exp() * (target.masked_fill(~known, 0.0) - student.masked_fill(~known, 0.0))
    held = stored.ne(0).any(-1)
    found = terms.sum(-1) * held
    return found if stored.ndim == 2 else found.sum(1) / held.sum(1).clamp(min=1)


def memory_gradient(learner: Learner, batch: Batch, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of the task loss's mean over ``batch``, a tensor a parameter; what they have in ``grad`` stays.

    No scaler sees it, so it is never in fp16. Where memory runs out it is computed in parts.
    """
    count = len(batch["labels"])

    def mean_gradient(rows: int) -> list[Tensor]:
        sums: list[Tensor | None] = [None] * len(parameters)
        for numbers in ranks.my_rows(count).split(rows):
            if not len(numbers):  # fewer rows than processes
                break
            part = {key: value[numbers[0] : numbers[-1] + 1] for key, value in batch.items()}
            loss = learner.example_losses(learner.logits(part, learner.model), part).mean()
            share = len(part["labels"]) / count
            given = torch.autograd.grad(loss * share, parameters, allow_unused=True)
            sums = [new if old is None or new is None else old + new for old, new in zip(sums, given, strict=True)]
        return [
            torch.zeros_like(parameter) if total is None else total
            for parameter, total in zip(parameters, sums, strict=True)
        ]

    with learner.unscaled():
        found = halve_until_it_fits(mean_gradient, count)
    ranks.sum_in_place(found)
    return found
