"""A peer's run over a sequence of tasks: each part of it timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from benchmarks.peer_data import Answers, Loaded, load
from benchmarks.sequences import Outcome, TaskSequence
from clbench.clock import Clock
from clbench.models import choose_device, peak_memory, reset_peak_memory


class Peer(Protocol):
    """Another library with a model and the tasks; ``answers`` counts the texts."""

    answers: Answers

    def train(self, position: int) -> None:
        """Learn a task; EWC's Fisher is timed on the clock as "fisher <position>"."""

    def evaluate(self) -> list[float]:
        """The accuracy on every task's test set."""


def run_peer(sequence: TaskSequence, start: Callable[[Loaded, Clock], Peer]) -> Outcome:
    """Run ``sequence`` with the peer that ``start`` gives; that it converts the data to its own kind is loading."""
    device = choose_device(sequence.device)
    clock = Clock(device=device)
    reset_peak_memory(device)
    with clock.measure("load"):
        loaded = load(sequence)
        peer = start(loaded, clock)
    positions = range(len(loaded.names))
    began = time.perf_counter()
    with clock.measure("eval 0"):
        accuracy = [peer.evaluate()]
    for position in positions:
        with clock.measure(f"train {position}"):
            peer.train(position)
        with clock.measure(f"eval {position + 1}"):
            accuracy.append(peer.evaluate())
    whole, seconds = time.perf_counter() - began, clock.seconds
    return Outcome(
        load_seconds=seconds["load"],
        sequence_seconds=whole,
        train_seconds=[seconds[f"train {position}"] for position in positions],
        fisher_seconds=[seconds.get(f"fisher {position}", 0.0) for position in positions],
        eval_seconds=[seconds[f"eval {row}"] for row in range(len(loaded.names) + 1)],
        optimizer_steps=0,
        texts_trained=peer.answers.trained,
        texts_evaluated=peer.answers.evaluated,
        accuracy=accuracy,
        peak_memory_bytes=peak_memory(device),
        precision="fp32",
    )
