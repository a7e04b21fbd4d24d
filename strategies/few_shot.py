"""Prototypes: a text belongs to the label whose mean of a few kept examples is nearest in the features that learn.

Snell et al. 2017, "Prototypical Networks for Few-shot Learning": with c_k the mean of f(x) over the label's N support
examples (equation 1), p(k|x) = softmax_k(−‖f(x) − c_k‖²) (equation 2), and the loss of a query is −log p of its label.
The distances are linear in f up to what all labels share: 2 c_kᵀ f − c_kᵀ c_k (equation 8), so that the prototypes are
rows and biases of the output layer. f is what that layer reads; there is nothing else to learn in it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clbench import Batch, Example, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Deployable, ExampleBuffer, Range, generator, stored_outputs, upload

# A buffer that is never full keeps what it is given.
NO_LIMIT = 2**62


class FewShot(Strategy):
    """An episode is a step: the batch's examples are the queries, their prototypes are of other examples of the task.

    ``shots`` examples of each label and task are kept when the task begins; at its end the prototypes of all labels so
    far are taken again from what is kept, by the model as it is then, and the next task's steps leave those of other
    labels as they are. What is stored are these examples and the prototypes. Beside them labels compete as the setting
    has it, which in the class setting is the labels of all tasks so far, where the paper has the episode's.

    Args:
        shots: support examples of each label, N, 1 or more; 5 is the paper's. Not tuned.
        ways: labels of an episode: the batch's own, and others of the task up to so many, 1 or more. A step passes
            shots · ways examples more.
    """

    is_recipe = True
    kinds = ("text", "image")
    decides = ("which weights learn", "which tasks' data a step learns from")
    hook_phases = {"before_task": "close", "after_task": "answer"}
    keeps_examples = True
    search_spaces = {"shots": Range(1, 20)}

    def __init__(self, shots: int = 5, ways: int = 20) -> None:
        if shots < 1 or ways < 1:
            raise InputError(f"few_shot: {shots=}, {ways=}; allowed: 1 or more")
        self.shots, self.ways = shots, ways

    def setup(self, learner: Learner) -> None:
        """Put a layer that answers with prototypes in the output layer's place."""
        self.learner = learner
        learner.keep_features = True  # a compiled model could not pass the support as well
        self.buffer = ExampleBuffer(NO_LIMIT, "reservoir", learner.seed)
        layer = learner.output_layer()
        self.layer = _Prototypes(layer, lambda: self._support_means())
        name = next(name for name, module in learner.model.named_modules() if module is layer)
        parent, _, child = name.rpartition(".")
        setattr(learner.model.get_submodule(parent), child, self.layer)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Keep the task's shots, and begin with their prototypes.

        Raises:
            InputError: another strategy has put something else in the output layer's place.
        """
        if learner.output_layer() is not self.layer:
            raise InputError("few_shot: another strategy replaces the output layer, which the prototypes are; "
                             "allowed: a stack without it")  # fmt: skip
        self.layer.requires_grad_(False)
        self.task = task.name
        self.own: dict[int, list[Example]] = {}
        for example in task.train:
            self.own.setdefault(example["label"], []).append(example)
        for label in sorted(self.own):
            for example in self._drawn(self.own[label], self.shots, "shots", task.name, label):
                self.buffer.put(len(self.buffer), example)
        self._take_prototypes(task.columns)

    def train_batch(self, batch: Batch) -> Batch:
        """Draw the episode: its labels, and of each the support, none of it in the batch where there are others."""
        step, queries = self.learner.step, {id(example) for example in self.learner.new_examples}
        labels = {int(example["label"]) for example in self.learner.new_examples} & self.own.keys()
        others = sorted(self.own.keys() - labels)
        order = torch.randperm(len(others), generator=generator(self.learner.seed, "episode", self.task, step)).tolist()
        labels |= {others[place] for place in order[: max(0, self.ways - len(labels))]}
        self.support, counts = [], []
        for label in sorted(labels):
            apart = [example for example in self.own[label] if id(example) not in queries] or self.own[label]
            drawn = self._drawn(apart, self.shots, "support", self.task, step, label)
            self.support += drawn
            counts.append(len(drawn))
        device = self.learner.device
        rows = torch.repeat_interleave(torch.eye(len(counts)), torch.tensor(counts), dim=1)
        self.means = upload(rows / rows.sum(1, keepdim=True), device)
        self.episode = upload(torch.tensor(sorted(labels)), device)
        self.layer.in_episode = True
        return batch

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """No more episodes."""
        self.layer.in_episode = False

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """The prototypes of all labels so far as the model now sees what is kept of them."""
        with learner.clock.measure("train"):
            self._take_prototypes(sorted({int(example["label"]) for example in self.buffer.examples}))

    def _drawn(self, examples: list[Example], count: int, *stream: str | int) -> list[Example]:
        order = torch.randperm(len(examples), generator=generator(self.learner.seed, *stream))
        return [examples[place] for place in order[:count].tolist()]

    def _support_means(self) -> tuple[Tensor, Tensor]:
        """The episode's labels and prototypes, with their graph."""
        _, features = self.learner.logits_and_features(self.learner.collate(self.support))
        return self.episode, self.means @ features

    def _take_prototypes(self, columns: Any) -> None:
        """Of ``columns``, from all that is kept of them."""
        wanted = set(columns)
        kept = [example for example in self.buffer.examples if example["label"] in wanted]
        if kept:
            features = stored_outputs(self.learner, kept)[1].double()
            labels = torch.tensor([int(example["label"]) for example in kept])
            known = labels.unique()
            means = torch.stack([features[labels == label].mean(0) for label in known])
            self.layer.put(known.to(self.learner.device), means.float().to(self.learner.device))

    def deployable(self, learner: Learner, task_id: int | None) -> Deployable:
        """The model with the prototypes as the rows and biases of its output layer."""
        return Deployable(learner.model, self.layer.kept, "output_layer")

    def state_dict(self) -> dict[str, Any]:
        """The examples kept, and the rows and biases that the prototypes have come to."""
        rows, biases = self.layer.kept
        return {"shots": self.buffer.state_dict(), "rows": rows, "biases": biases}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.buffer.load_state_dict(state["shots"])
        self.layer.rows, self.layer.biases = (
            state[name].to(self.learner.device, copy=True) for name in ("rows", "biases")
        )


class _Prototypes(nn.Linear):
    """2 c_kᵀ f − c_kᵀ c_k for each label k, in fp32; the row of ``layer`` where a label has no prototype yet.

    In training an episode's prototypes are computed in each forward pass, so that they have its graph.
    """

    rows: Tensor
    biases: Tensor

    def __init__(self, layer: nn.Linear, support_means: Callable[[], tuple[Tensor, Tensor]]) -> None:
        # On "meta" no random number is drawn for a weight that is replaced at once.
        super().__init__(layer.in_features, layer.out_features, device="meta")
        zeros = torch.zeros(layer.out_features, device=layer.weight.device)
        self.weight, self.bias = layer.weight, nn.Parameter(zeros) if layer.bias is None else layer.bias
        # Buffers, so that a teacher's copy and a checkpoint have them.
        self.register_buffer("rows", self.weight.detach().float().clone())
        self.register_buffer("biases", self.bias.detach().float().clone())
        self.support_means, self.in_episode, self.inside = support_means, False, False
        self.requires_grad_(False)

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Rows and biases as they are now."""
        return self.rows, self.biases

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            rows, biases = self._episode() if self.training and self.in_episode and not self.inside else self.kept
            return nn.functional.linear(input.float(), rows, biases)

    def _episode(self) -> tuple[Tensor, Tensor]:
        self.inside = True  # the support passes through the model, and so through this layer
        try:
            labels, means = self.support_means()
        finally:
            self.inside = False
        rows, biases = _placed(*self.kept, labels, means)
        self.rows, self.biases = rows.detach(), biases.detach()
        return rows, biases

    def put(self, labels: Tensor, means: Tensor) -> None:
        """Let ``means`` (some labels, features) be the prototypes of ``labels``."""
        self.rows, self.biases = _placed(*self.kept, labels, means)


def _placed(rows: Tensor, biases: Tensor, labels: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """``rows`` and ``biases`` with those of the prototypes ``means`` in the places of ``labels``."""
    return rows.index_copy(0, labels, 2 * means), biases.index_copy(0, labels, -means.square().sum(1))
