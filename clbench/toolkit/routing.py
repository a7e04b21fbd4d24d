"""Which of several tasks' modules answers when no task id is given.

Modules are trained apart, each among its own task's labels, so that what they say cannot be compared as it stands: it
depends on how many labels a module has and how sure it is of anything. "confidence" and "entropy" therefore compare
with what the module says of its own task's dev texts. A module of one label says the same of every text; whether a text
is of such a task is seen by its pretrained features, as "prototype" sees it for all tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clbench.data import Batch, Example, TaskData
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.toolkit.frozen_features import logits_and_features
from clbench.toolkit.kept import KeptBatches
from clbench.toolkit.lora import answering, module_name
from clbench.toolkit.passes import in_passes


class Said(NamedTuple):
    """What is known of a batch of texts.

    Attributes:
        answers: each module's log-probabilities of its own labels, side by side (examples, labels).
        evidence: how sure each module is, against what is usual for it (examples, tasks); −inf where it is not asked.
        features: pretrained features where they are needed (examples, features), else (examples, 0).
        asked: which modules have been asked (tasks,), on the CPU.
    """

    answers: Tensor
    evidence: Tensor
    features: Tensor
    asked: Tensor


class Router:
    """Chooses among the modules of the learned tasks by one rule, and knows the examples it is measured on.

    A learned module never changes: what it said of a batch is kept, and the next evaluation asks the new ones only.

    Args:
        rule: "oracle", "confidence", "entropy" or "prototype".

    Attributes:
        means: of each learned task, the mean features of its labels (labels, features), where they are needed.
        usual: of each learned task, the mean of what its module's answers to its dev examples are compared by.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.means: list[Tensor] = []
        self.usual: list[float] = []
        self.dev: list[Example] = []
        self.kept: KeptBatches[Said] = KeptBatches()

    def check(self, strategy: str, setting: str) -> None:
        """Refuse the oracle where it is not told the task.

        Raises:
            InputError: names the setting and the rules that it allows.
        """
        if self.rule == "oracle" and setting != "task":
            reason = f"needs the task id, which setting {setting!r} does not give"
            raise InputError(f"{strategy}: router = 'oracle' {reason}; allowed: confidence, entropy, prototype")

    @torch.inference_mode()
    def answer(self, learner: Learner, layers: Sequence[Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-probabilities (examples, labels) by the chosen modules, and whose they are: the task (examples,).

        Args:
            learner: its model in eval mode, at least one task learned.
            layers: the model's LoRA layers.
            batch: its task ids and labels are not looked at.
        """
        if (said := self.kept.find(batch)) is None:
            said = self._nothing_said(learner, layers, batch)
            self.kept.keep(batch, said)
        one_label = torch.tensor([len(columns) == 1 for columns in learner.labels.columns], device=learner.device)
        if self.rule == "prototype":
            chosen = nearest_class_mean(said.features, self.means)
        else:
            self._ask(learner, layers, batch, said, [n for n in range(len(self.usual)) if not one_label[n]])
            chosen = said.evidence.argmax(1)
            if self.means:
                nearest = nearest_class_mean(said.features, self.means)
                chosen = torch.where(one_label[nearest], nearest, chosen)
        self._ask(learner, layers, batch, said, chosen.unique().tolist())
        return learner.mask(said.answers, chosen), chosen

    def _nothing_said(self, learner: Learner, layers: Sequence[Any], batch: Batch) -> Said:
        count, unknown = len(batch["task_ids"]), float("-inf")
        features = torch.empty(count, 0, device=learner.device)
        if self._needs_means(learner):
            features = pretrained_features(learner, layers, batch)
        return Said(
            torch.full((count, len(learner.labels.names)), unknown, device=learner.device),
            torch.full((count, learner.tasks), unknown, device=learner.device),
            features,
            torch.zeros(learner.tasks, dtype=torch.bool),
        )

    def _ask(self, learner: Learner, layers: Sequence[Any], batch: Batch, said: Said, tasks: Sequence[int]) -> None:
        """Let those of the modules ``tasks`` answer that have not yet."""
        for task in tasks:
            if not said.asked[task]:
                own = own_log_probabilities(learner, layers, batch, task)
                said.answers[:, list(learner.labels.columns[task])] = own
                if self.rule != "prototype" and own.shape[1] > 1:
                    said.evidence[:, task] = self._sureness(own) - self.usual[task]
                said.asked[task] = True

    def _sureness(self, log_probabilities: Tensor) -> Tensor:
        return (log_odds if self.rule == "confidence" else negative_log_entropy)(log_probabilities)

    def _needs_means(self, learner: Learner) -> bool:
        return self.rule == "prototype" or any(len(columns) == 1 for columns in learner.labels.columns)

    def learn(self, learner: Learner, layers: Sequence[Any], task: TaskData) -> float:
        """Take what the rule needs from a task that has been learned; the accuracy on the learned tasks' dev examples.

        The model is left in training mode or not, as it was.
        """
        self.dev += task.dev
        if len(learner.head.modules) > 1:  # beside the output layer, new layers that every task goes on learning
            self.kept.clear()
        training = learner.model.training
        learner.model.eval()
        with torch.no_grad(), learner.clock.measure("routing"):
            if self._needs_means(learner):
                self.means.append(class_means(learner, layers, task))
            self.usual.append(self._usual(learner, layers, task))
            # Task by task: the batches are the same each time, and what was said of them is kept.
            own = [[e for e in self.dev if e["task_id"] == position] for position in range(len(self.usual))]
            right = [in_passes(learner, examples, partial(self._right, learner, layers, examples)) for examples in own]
        learner.model.train(training)
        return float(torch.stack(right).sum()) / len(self.dev)

    def _right(
        self, learner: Learner, layers: Sequence[Any], examples: Sequence[Example], batches: Iterable[list[int]]
    ) -> Tensor:
        """How many of the examples go to their own task's module."""
        right = [torch.zeros((), dtype=torch.long, device=learner.device)]
        for numbers in batches:
            batch = learner.collate([examples[i] for i in numbers])
            right.append((self.answer(learner, layers, batch)[1] == batch["task_ids"]).sum())
        return torch.stack(right).sum()

    def _usual(self, learner: Learner, layers: Sequence[Any], task: TaskData) -> float:
        if self.rule == "prototype" or len(task.columns) == 1:
            return 0.0

        def own(batches: Iterable[list[int]]) -> Tensor:
            collated = (learner.collate([task.dev[i] for i in numbers]) for numbers in batches)
            return torch.cat([own_log_probabilities(learner, layers, batch, task.position) for batch in collated])

        return float(self._sureness(in_passes(learner, task.dev, own)).mean())

    def state_dict(self) -> dict[str, Any]:
        """What has been learned; the dev examples as JSON, for they only measure and are no memory of the method."""
        tokens = [example["input_ids"].tolist() for example in self.dev]
        tasks = [example["task_id"] for example in self.dev]
        types = [example["token_type_ids"].tolist() for example in self.dev if "token_type_ids" in example]
        of_pairs = {"types": types} if types else {}
        return {"means": self.means, "usual": self.usual, "tokens": tokens, "tasks": tasks, **of_pairs}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore it."""
        self.means = [means.to(device) for means in state["means"]]
        self.usual = list(state["usual"])
        self.dev = [
            {"input_ids": torch.tensor(tokens, dtype=torch.int64), "label": 0, "task_id": task}
            for tokens, task in zip(state["tokens"], state["tasks"], strict=True)
        ]
        for example, types in zip(self.dev, state.get("types", ()), strict=False):
            example["token_type_ids"] = torch.tensor(types, dtype=torch.int64)
        self.kept.clear()


def log_odds(log_probabilities: Tensor) -> Tensor:
    """The log-odds (examples,) of the most probable label against the others.

    Args:
        log_probabilities: of two labels or more (examples, labels).
    """
    highest, best = log_probabilities.max(-1)
    return highest - log_probabilities.scatter(1, best[:, None], float("-inf")).logsumexp(-1)


def negative_log_entropy(log_probabilities: Tensor) -> Tensor:
    """−ln of the entropy (examples,); as a share of the highest entropy it would be more by a constant.

    Args:
        log_probabilities: of two labels or more (examples, labels).
    """
    entropy: Tensor = torch.special.entr(log_probabilities.exp()).sum(-1)
    return -entropy.clamp(min=torch.finfo(entropy.dtype).tiny).log()


def nearest_class_mean(features: Tensor, means: Sequence[Tensor]) -> Tensor:
    """The task (examples,) of the class whose mean is nearest, by Euclidean distance.

    Args:
        features: (examples, features).
        means: of each task's classes (classes, features).
    """
    counts = torch.tensor([len(own) for own in means], device=features.device)
    owner = torch.arange(len(means), device=features.device).repeat_interleave(counts)
    distances: Tensor = torch.cdist(features, torch.cat(list(means)), compute_mode="donot_use_mm_for_euclid_dist")
    return owner[distances.argmin(1)]


def pretrained_features(learner: Learner, layers: Sequence[Any], batch: Batch) -> Tensor:
    """The mean of each text's last token states (examples, features), were there no modules."""
    with answering(layers):
        return logits_and_features(learner, batch, "mean")[1].float()


def class_means(learner: Learner, layers: Sequence[Any], task: TaskData) -> Tensor:
    """The mean pretrained features (labels, features) of each of the task's labels that has training examples."""
    columns = torch.tensor(task.columns, device=learner.device)

    def means(batches: Iterable[list[int]]) -> Tensor:
        sums, counts = torch.zeros(1, device=learner.device), torch.zeros(1, device=learner.device)
        for numbers in batches:
            batch = learner.collate([task.train[i] for i in numbers])
            member = (batch["labels"] == columns[:, None]).float()
            sums = sums + member @ pretrained_features(learner, layers, batch)
            counts = counts + member.sum(1, keepdim=True)
        return (sums / counts)[counts[:, 0] > 0]  # a label may have no example

    return in_passes(learner, task.train, means)


def own_log_probabilities(learner: Learner, layers: Sequence[Any], batch: Batch, task: int) -> Tensor:
    """The log-probabilities (examples, labels of the task) that the task's module gives its own labels."""
    with answering(layers, module_name(task, learner.tasks)):
        return learner.logits(batch)[:, list(learner.labels.columns[task])].log_softmax(-1)
