"""One program's run over a whole sequence of tasks, measured in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import COMMAND_LINE

PROGRAMS = {
    "clbench": "benchmarks.clbench_sequence",
    "avalanche": "benchmarks.avalanche_sequence",
    "trainer": "benchmarks.trainer_sequence",
}
ROWS = ("documented", "same")
TEXT_SEQ = ("newsgroups", "movie", "reuters", "airline", "author")
FISHER_SHARE = 3  # EWC's default measures Fisher on 200 of 600 training texts; smaller tasks keep the share
EWC_LAMBDA = 3000.0  # clbench's default
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class TaskSequence:
    """What is measured.

    ``program`` is a key of PROGRAMS, ``strategy`` "naive" or "ewc". With ``row`` "documented" each program is run as
    its own documentation has it; with "same" all compute in fp32 on the same batches with the same AdamW.
    ``train`` and ``test`` are texts a task; ``epochs`` and ``batch_size`` are the scenario's when None.
    ``plain_adamw`` leaves the peers' AdamW in row "same" as their documentation constructs it, which is the same
    arithmetic, not fused in Avalanche.
    """

    program: str
    strategy: str
    row: str
    scenario: str = "text_seq"
    model: str = "minilm"
    tasks: int = 5
    train: int = 96
    test: int = 48
    epochs: int | None = None
    batch_size: int | None = None
    seed: int = 0
    device: str = "cpu"
    plain_adamw: bool = False

    @property
    def fisher_samples(self) -> int:
        """Training texts of a task on which clbench and the Trainer's subclass measure Fisher."""
        return max(1, self.train // FISHER_SHARE)

    def options(self) -> dict[str, Any]:
        """Those of clbench's RunConfig; the peers take their sizes, rates and data from the same ones."""
        if self.scenario == "text_seq":
            tasks: dict[str, Any] = {"order": ",".join(TEXT_SEQ[: self.tasks])}
        else:
            tasks = {"tasks": self.tasks}
        ewc = f"ewc(ewc_lambda={EWC_LAMBDA}, fisher_samples={self.fisher_samples})"
        return {
            "scenario": self.scenario,
            "strategy": ewc if self.strategy == "ewc" else self.strategy,
            "model": self.model,
            "epochs": self.epochs,
            "min_steps": 0,  # the peers know epochs only
            "batch_size": self.batch_size,
            "seed": self.seed,
            "device": self.device,
            "precision": "auto" if self.row == "documented" else "fp32",
            "scenario_args": {**tasks, "train": self.train, "test": self.test},
        }


@dataclass
class Outcome:
    """What a run took and did.

    ``load_seconds`` are for making the tasks, tokenising and loading the model, ``sequence_seconds`` for all that
    follows. ``train_seconds`` and ``fisher_seconds`` are one number a task, ``eval_seconds`` and the rows of
    ``accuracy`` one more: the first is before training. The peak of memory counts from before loading.
    """

    load_seconds: float
    sequence_seconds: float
    train_seconds: list[float]
    fisher_seconds: list[float]
    eval_seconds: list[float]
    optimizer_steps: int
    texts_trained: int
    texts_evaluated: int
    accuracy: list[list[float]]
    peak_memory_bytes: int
    precision: str
    threads: int = field(default=0)


def run(sequence: TaskSequence) -> Outcome:
    """Run it in this process."""
    import torch

    module = importlib.import_module(PROGRAMS[sequence.program])
    with steps_counted() as steps:
        outcome: Outcome = module.run(sequence)
    outcome.optimizer_steps, outcome.threads = len(steps), torch.get_num_threads()
    return outcome


@contextmanager
def steps_counted() -> Iterator[list[None]]:
    """One more element for each optimizer step inside the block, whoever makes it."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    steps: list[None] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(None))
    try:
        yield steps
    finally:
        hook.remove()


def measure(sequence: TaskSequence, threads: int) -> Outcome:
    """Run it in a process of its own with ``threads`` threads.

    Raises:
        RuntimeError: the process failed; holds its last words.
    """
    own = COMMAND_LINE if sequence.program == "clbench" else {}
    given = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", **own}
    environment = {"CUDA_VISIBLE_DEVICES": "0", **os.environ, **given}
    with tempfile.TemporaryDirectory(prefix="clbench-speed-") as folder:
        output = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", "benchmarks.sequences", json.dumps(asdict(sequence)), str(output)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{sequence}: exit code {done.returncode}: {done.stderr[-2000:]}")
        return Outcome(**json.loads(output.read_text(encoding="utf-8")))


def main(arguments: list[str]) -> int:
    given, output = arguments
    outcome = run(TaskSequence(**json.loads(given)))
    Path(output).write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
