"""A memory of past examples with its own random stream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from clbench.data import Example
from clbench.rng import generator


class ExampleBuffer:
    """Keeps a uniform or class-balanced sample of the examples it has seen.

    Args:
        size: a count of examples (at least 1), or below 1 the fraction of the seen examples to keep.
        balance: share the places equally among the labels instead of keeping every example with the same probability.
        seed: the run's seed.

    With a count M, ``uniform`` is reservoir sampling (Vitter 1985, algorithm R): each of N seen examples is kept
    with probability M/N. With a fraction f each task gives f of its examples, drawn uniformly, so that M/N = f. An
    example may carry further tensors (stored logits), of the same shape in every example.
    """

    def __init__(self, size: float, balance: bool, seed: int) -> None:
        self.size = size
        self.balance = balance
        self.examples: list[Example] = []
        self.seen = 0
        self.generator = generator(seed, "buffer")

    def __len__(self) -> int:
        return len(self.examples)

    def add(self, examples: Sequence[Example]) -> None:
        """Offer a finished task's training examples to the memory."""
        if self.size < 1:
            places = max(1, round(self.size * len(examples)))
            self.examples += self._balanced(examples, places) if self.balance else self._uniform(examples, places)
        elif self.balance:
            self.examples = self._balanced([*self.examples, *examples], int(self.size))
        else:
            for number, example in enumerate(examples, start=self.seen):
                if number < self.size:
                    self.examples.append(example)
                elif (place := self._integer(number + 1)) < self.size:
                    self.examples[place] = example
        self.seen += len(examples)

    def sample(self, count: int) -> list[Example]:
        """``count`` different examples (all when there are fewer), drawn uniformly."""
        return self._uniform(self.examples, count)

    def state_dict(self) -> dict[str, Any]:
        """The examples, the count seen and the state of the random stream."""
        state: dict[str, Any] = {
            "seen": self.seen,
            "generator": self.generator.get_state(),
            "count": len(self.examples),
        }
        if self.examples:
            key = "input_ids" if "input_ids" in self.examples[0] else "pixel_values"
            inputs = [example[key] for example in self.examples]
            state["key"] = key
            state["inputs"] = torch.cat(inputs) if key == "input_ids" else torch.stack(inputs)
            state["lengths"] = torch.tensor([len(i) for i in inputs])
            state["labels"] = torch.tensor([example["label"] for example in self.examples])
            state["task_ids"] = torch.tensor([example["task_id"] for example in self.examples])
            extra = [name for name in self.examples[0] if name not in (key, "label", "task_id")]
            state["extra"] = {name: torch.stack([example[name] for example in self.examples]) for name in extra}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.seen = state["seen"]
        self.generator.set_state(state["generator"])
        self.examples = []
        if state["count"]:
            ragged = state["key"] == "input_ids"
            inputs = state["inputs"].split(state["lengths"].tolist()) if ragged else state["inputs"].unbind()
            columns = zip(inputs, state["labels"].tolist(), state["task_ids"].tolist(), strict=True)
            self.examples = [{state["key"]: i.clone(), "label": label, "task_id": task} for i, label, task in columns]
            for name, values in state["extra"].items():
                for example, value in zip(self.examples, values, strict=True):
                    example[name] = value.clone()

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))

    def _uniform(self, examples: Sequence[Example], count: int) -> list[Example]:
        order = torch.randperm(len(examples), generator=self.generator)[:count]
        return [examples[i] for i in order.tolist()]

    def _balanced(self, examples: Sequence[Example], places: int) -> list[Example]:
        """Deal the places out one at a time, label after label, until they or the examples are used up."""
        by_label: dict[int, list[Example]] = defaultdict(list)
        for example in self._uniform(examples, len(examples)):
            by_label[example["label"]].append(example)
        kept: list[Example] = []
        while len(kept) < min(places, len(examples)):
            for label in sorted(by_label):
                if by_label[label] and len(kept) < places:
                    kept.append(by_label[label].pop())
        return kept
