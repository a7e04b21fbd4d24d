"""A memory of past examples with its own random stream, and the rules by which examples get a place in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from clbench.data import Example, label_group
from clbench.errors import InputError
from clbench.rng import generator
from clbench.toolkit.packing import pack, unpack
from clbench.toolkit.selection import deal, herded

Sampling = Literal["reservoir", "ring", "class_balanced", "herding", "greedy_balanced"]


class ExampleBuffer:
    """Keeps a sample of the examples it has seen.

    Args:
        size: a count of examples (at least 1), or below 1 the fraction of each task's examples to keep.
        sampling: "reservoir" (Vitter 1985, algorithm R) keeps each of N seen examples with probability M/N;
            "class_balanced" shares the places equally among the labels and draws uniformly within each;
            "ring" (Chaudhry et al. 2019) shares them among the labels of each task and keeps the newest of each;
            "herding" (Rebuffi et al. 2017, iCaRL) shares them likewise and keeps those whose mean feature comes
            nearest to the label's; "greedy_balanced" is GDumb's sampler (Prabhu et al. 2020, algorithm 1).
        seed: the run's seed.

    An example may carry further tensors (stored logits). Where examples have no single label, as sentences with a tag
    a word, "label" means their task.
    """

    def __init__(self, size: float, sampling: Sampling, seed: int) -> None:
        self.size = size
        self.sampling = sampling
        self.examples: list[Example] = []
        self.seen = 0
        self.seed = seed
        # Class balance's: examples seen of each label.
        self.label_seen: dict[int, int] = {}
        # The reservoir's: places before ``first`` are closed; ``offered`` counts what came since.
        self.first = self.offered = 0
        self.generator = generator(seed, "buffer")

    def __len__(self) -> int:
        return len(self.examples)

    def add(self, examples: Sequence[Example], features: Tensor | None = None) -> None:
        """Offer a finished task's training examples, and for herding their features (examples, features)."""
        share = self.size < 1
        places = self.places(len(examples))
        if self.sampling == "greedy_balanced":
            total = max(1, round(self.size * (self.seen + len(examples)))) if share else places
            self.examples = self._greedy(examples, total)
            if share and len(self.examples) < total:
                self._fill(examples, total)
        elif self.sampling == "class_balanced":
            if share:
                pool = self._uniform(examples)
                self.examples += self._dealt([(label_group(e), e) for e in reversed(pool)], places)
            else:
                self.examples = self._balanced(examples, places)
        elif self.sampling in ("ring", "herding"):
            ranked = list(reversed(examples)) if features is None else herded(examples, features, places)
            pool = ranked if share else [*ranked, *self.examples]
            dealt = self._dealt([((e["task_id"], label_group(e)), e) for e in pool], places)
            self.examples = [*self.examples, *dealt] if share else dealt
        elif share:
            self.examples += self._uniform(examples, places)
        else:
            for place, number in self.enter(len(examples), places).items():
                self.put(place, examples[number])
        self.seen += len(examples)

    def places(self, count: int) -> int:
        """Places for a task of ``count`` examples, or for all tasks where the size is a count."""
        return int(self.size) if self.size >= 1 else max(1, round(self.size * count))

    def enter(self, count: int, places: int) -> dict[int, int]:
        """Reservoir sampling: which of the next ``count`` examples get a place, as place → example's number."""
        entering = {}
        for number in range(count):
            place = self.offered if self.offered < places else self._integer(self.offered + 1)
            if place < places:
                entering[self.first + place] = number
            self.offered += 1
        return entering

    def put(self, place: int, example: Example) -> None:
        """Give ``example`` the ``place``, the next free one or one that is taken."""
        self.examples[place : place + 1] = [example]

    def close(self) -> None:
        """Keep what is there; the reservoir goes on with new places."""
        self.first, self.offered = len(self.examples), 0

    def sample(self, count: int, task_id: int | None = None) -> list[Example]:
        """``count`` different examples (all when there are fewer), drawn uniformly; of one task if it is given."""
        known = self.examples if task_id is None else [e for e in self.examples if e["task_id"] == task_id]
        return self._uniform(known, count)

    def state_dict(self) -> dict[str, Any]:
        """The examples, the counts and the state of the random stream."""
        state: dict[str, Any] = {
            "seed": self.seed,
            "seen": self.seen,
            "first": self.first,
            "offered": self.offered,
            "generator": self.generator.get_state(),
            "examples": pack(self.examples),
            "label_seen": {str(label): count for label, count in self.label_seen.items()},
        }
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.seen, self.first, self.offered = state["seen"], state["first"], state["offered"]
        self.seed = state["seed"]
        self.label_seen = {int(label): count for label, count in state["label_seen"].items()}
        self.generator.set_state(state["generator"])
        self.examples = unpack(state["examples"])

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (1,), generator=self.generator))

    def _uniform(self, examples: Sequence[Example], count: int | None = None) -> list[Example]:
        order = torch.randperm(len(examples), generator=self.generator)[:count]
        return [examples[i] for i in order.tolist()]

    def _dealt(self, pool: Sequence[tuple[Any, Example]], places: int) -> list[Example]:
        """Equal shares; where there are fewer places than groups, lots decide which groups have one."""
        few = places < len({group for group, _ in pool})
        return deal(pool, places, self._lot) if few else deal(pool, places)

    def _lot(self, dealt_to: Any) -> float:
        """A group's lot, always the same one: the groups with the lowest are a uniform sample of all."""
        return float(torch.rand((), dtype=torch.float64, generator=generator(self.seed, "buffer lot", str(dealt_to))))

    def _balanced(self, examples: Sequence[Example], places: int) -> list[Example]:
        """Equal shares of the labels, and within a label each example ever seen with the same probability."""
        old, new = _by_label(self.examples), _by_label(examples)
        seen = {label: self.label_seen.get(label, 0) for label in sorted({*self.label_seen, *new})}
        totals = {label: count + len(new[label]) for label, count in seen.items()}
        everyone: list[tuple[Any, Example]] = [(own, {"group": own}) for own, n in totals.items() for _ in range(n)]
        shares = Counter(marked["group"] for marked in self._dealt(everyone, places))
        kept: list[Example] = []
        for label, total in totals.items():
            # As many of the old ones as a draw from all would take; which, does not matter: they are a uniform sample.
            drawn = torch.randperm(total, generator=self.generator)[: shares[label]].tolist()
            kept += self._uniform(old[label], sum(number < seen[label] for number in drawn))
            kept += [new[label][number - seen[label]] for number in drawn if number >= seen[label]]
        self.label_seen = totals
        return kept

    def _fill(self, examples: Sequence[Example], places: int) -> None:
        """Give the places that equal shares leave free to the task's other examples, the rarest label's first."""
        inside = {id(example) for example in self.examples}
        others = _by_label(self._uniform([example for example in examples if id(example) not in inside]))
        held = Counter(label_group(example) for example in self.examples)
        while len(self.examples) < places and (waiting := [label for label in others if others[label]]):
            rarest = min(waiting, key=lambda label: (held[label], label))
            self.examples.append(others[rarest].pop())
            held[rarest] += 1

    def _greedy(self, examples: Sequence[Example], places: int) -> list[Example]:
        """Each example enters while its label has less than its share; the label with most gives up a random one."""
        kept: dict[int, list[Example]] = defaultdict(list)
        for example in self.examples:
            kept[label_group(example)].append(example)
        for example in examples:
            label = label_group(example)
            if label in kept and len(kept[label]) >= places / len(kept):
                continue
            if sum(map(len, kept.values())) >= places:
                most = max(kept.values(), key=len)
                most.pop(self._integer(len(most)))
            kept[label].append(example)
        return [example for own in kept.values() for example in own]


def _by_label(examples: Sequence[Example]) -> defaultdict[int, list[Example]]:
    groups: defaultdict[int, list[Example]] = defaultdict(list)
    for example in examples:
        groups[label_group(example)].append(example)
    return groups


def check_memory(strategy: str, memory_size: float, replay_batch_size: int) -> None:
    """Refuse a size or a number of replayed examples that cannot be.

    Raises:
        InputError: names ``strategy`` and the value.
    """
    if memory_size <= 0 or (memory_size >= 1 and not float(memory_size).is_integer()):
        raise InputError(
            f"{strategy}: memory_size = {memory_size} is not allowed; allowed: a count, or a fraction below 1"
        )
    if replay_batch_size < 1:
        raise InputError(f"{strategy}: replay_batch_size = {replay_batch_size} is not allowed; allowed: at least 1")
