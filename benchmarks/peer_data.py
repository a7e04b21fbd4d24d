"""What the peers are given: clbench's tasks as tokenised examples, the model, and what makes them train the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sequences import TaskSequence
from clbench.config import RunConfig
from clbench.data import Example, length, pass_budget, sorted_batches, training_batches
from clbench.head import guess_head
from clbench.kinds import Part, find_kind
from clbench.models import choose_device, load_model
from clbench.plugins import make_plan
from clbench.rng import generator, seeded_torch
from clbench.sources import model_path
from clbench.tasks import label_space
from clbench.toolkit import parameter_groups

HUGGING_FACE_DROPOUT = 0.1  # of BERT configurations, the pretrained model's too


@dataclass(frozen=True)
class Loaded:
    """Tasks, model and settings; ``columns`` are each task's labels in the one output layer."""

    sequence: TaskSequence
    config: RunConfig
    device: torch.device
    names: list[str]
    columns: tuple[tuple[int, ...], ...]
    model: nn.Module
    tokenizer: Any
    train: list[list[Example]]
    tests: list[list[Example]]

    @property
    def same(self) -> bool:
        """Whether the peer is to compute what clbench computes."""
        return self.sequence.row == "same"

    @property
    def fused(self) -> bool | None:
        """The argument of AdamW."""
        return True if self.same and not self.sequence.plain_adamw else None


def load(sequence: TaskSequence) -> Loaded:
    """Make the tasks, tokenise, load the model."""
    plan = make_plan(sequence.options())
    config, tasks = plan.config, plan.tasks
    device, labels = choose_device(config.device), label_space(tasks, config.setting)
    if sequence.row == "same" or config.model == "tiny":
        dropout = config.dropout if sequence.row == "same" else HUGGING_FACE_DROPOUT
        given = config.model_copy(update={"dropout": dropout})
        made = load_model(given, tasks, len(labels.names), device)
        model, tokenizer = made.model, made.tokenizer
    else:
        model, tokenizer = _documented_model(config, len(labels.names), device)

    def encoded(split: str) -> list[list[Example]]:
        parts = [
            Part(getattr(task, split), task.labels, labels.columns[position], position)
            for position, task in enumerate(tasks)
        ]
        return find_kind("text").encode(parts, tokenizer, config.max_length).examples

    names = [task.name for task in tasks]
    return Loaded(sequence, config, device, names, labels.columns, model, tokenizer, encoded("train"), encoded("test"))


def _documented_model(config: RunConfig, labels: int, device: torch.device) -> tuple[nn.Module, Any]:
    """The model as its own documentation loads it: dropout and attention as they come."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = model_path(config.model)
    with seeded_torch(device, config.seed, "model"):
        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=labels)
    return model.to(device), AutoTokenizer.from_pretrained(path)


class EpochBatches:
    """A batch sampler that gives, one epoch after the other, the batches in which clbench's training takes a task."""

    def __init__(self, config: RunConfig, name: str, examples: Sequence[Example]) -> None:
        self.config, self.name = config, name
        self.lengths = [length(example) for example in examples]
        self.epoch = 0

    def __len__(self) -> int:
        return self.config.steps_per_epoch(len(self.lengths))

    def __iter__(self) -> Iterator[list[int]]:
        order = generator(self.config.seed, "data order", self.name, self.epoch)
        self.epoch += 1
        return iter(training_batches(self.lengths, self.config.batch_size, order))


def test_batches(examples: Sequence[Example], device: torch.device) -> list[list[int]]:
    """A test set in batches as clbench forms them; it takes all test sets as one stream, the peers one by one."""
    return list(sorted_batches(examples, pass_budget(examples, device)))


def adamw(model: nn.Module, loaded: Loaded, fused: bool | None) -> torch.optim.AdamW:
    """AdamW with clbench's learning rates and decay: none for biases, norms and the output layer."""
    config, labels = loaded.config, max(column for columns in loaded.columns for column in columns) + 1
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    rates = {"body": config.lr, "head": config.head_lr}
    head = guess_head(loaded.model, labels)
    return torch.optim.AdamW(parameter_groups(named, rates, config.weight_decay, head), fused=fused)


@dataclass
class Answers:
    """One output layer over all tasks' labels: hides the logits of other tasks' labels, and counts the texts.

    ``trained`` texts were learned from, ``evaluated`` ones answered; a forward pass for Fisher, in eval mode and with
    gradients, is neither.
    """

    allowed: Tensor
    trained: int = 0
    evaluated: int = 0

    def mask(self, logits: Tensor, task_ids: Tensor, training: bool) -> Tensor:
        """``logits`` (texts, labels), −inf where a label is not of the text's task."""
        if training:
            self.trained += len(logits)
        elif not torch.is_grad_enabled():
            self.evaluated += len(logits)
        return logits.masked_fill(~self.allowed[task_ids], float("-inf"))


def answers(loaded: Loaded) -> Answers:
    """The mask of a scenario in setting "task"."""
    allowed = torch.zeros(len(loaded.columns), sum(map(len, loaded.columns)), dtype=torch.bool)
    for position, columns in enumerate(loaded.columns):
        allowed[position, list(columns)] = True
    return Answers(allowed.to(loaded.device))
