"""One way to fine-tune a model of a given shape: what a training step is expected to take, and what it took."""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clbench.config import RunConfig, make_config
from clbench.data import Example, LabelSpace, TaskData
from clbench.engine import MemoryEstimate, estimate_memory
from clbench.errors import ClbenchError
from clbench.head import guess_head
from clbench.learner import Learner
from clbench.models import (
    import_libraries,
    recompute_activations,
    release_memory,
    reset_peak_memory,
    store_in_bf16,
    use_onednn,
)
from clbench.plugins import build
from clbench.strategy import Stack
from clbench.toolkit import Training

CPU = torch.device("cpu")
TASKS, LABELS = 2, 2
STEPS = 3


@dataclass(frozen=True)
class Shape:
    """A transformer's sizes.

    Attributes:
        name: of the shape.
        kind: of transformers' configurations, "Llama" or "Bert".
        batch, length: texts a step, and their tokens.
        attention: which of transformers' attentions.
    """

    name: str
    kind: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    words: int
    batch: int
    length: int
    attention: str = "eager"


@dataclass(frozen=True)
class Case:
    """A shape, a strategy and how it is trained."""

    shape: Shape
    strategy: str
    precision: str = "fp32"
    checkpointing: bool = False
    frozen_precision: str = "fp32"


LLAMA = Shape("small Llama", "Llama", 384, 4, 6, 1024, 8000, 4, 128)
BERT = Shape("small BERT", "Bert", 384, 4, 6, 1536, 8000, 4, 128)
# The public config.json of Llama-7B.
LLAMA_7B = Shape("Llama-7B", "Llama", 4096, 32, 32, 11008, 32000, 8, 512, "sdpa")
MICRO = Shape("warm-up", "Llama", 32, 1, 2, 64, 50, 2, 8)


def ways(shape: Shape) -> list[Case]:
    """The ways to fine-tune that are looked at."""
    held = Case(shape, "lora_sequential+ewc")
    plain = [Case(shape, "naive"), Case(shape, "ewc"), Case(shape, "lora_sequential"), held]
    half = replace(held, precision="bf16", checkpointing=True)
    again = [replace(each, checkpointing=True) for each in (plain[0], held)]
    return [*plain, *again, half, replace(half, frozen_precision="bf16")]


SMALL = [*ways(LLAMA), *ways(BERT)]
LARGE = ways(LLAMA_7B)


def predict(case: Case) -> MemoryEstimate:
    """What a training step is expected to take; nothing of the model is allocated."""
    import_libraries()
    with torch.device("meta"):
        learner, strategy, config = _made(case)
        strategy.setup(learner)
    return estimate_memory(learner, strategy, config, _examples(case.shape, 0))


def measure(case: Case) -> dict[str, int]:
    """What this process took above what it had before the model: in the steps of the second task, and in all.

    Memory is what the kernel says is resident: its peak is set back before, and read after.
    """
    import_libraries()
    shape = replace(MICRO, kind=case.shape.kind)
    _learn(replace(case, shape=shape))  # code and workspaces that come with a first step are no part of the model
    release_memory()
    before = _resident("VmRSS")
    return {name: peak - before for name, peak in _learn(case).items()}


def _learn(case: Case) -> dict[str, int]:
    """Peaks of resident memory while the two tasks of ``case`` are learned, ``STEPS`` steps each."""
    reset_peak_memory(CPU)
    learner, strategy, config = _made(case)
    strategy.setup(learner)
    peaks = [0]
    for position in range(TASKS):
        examples = _examples(case.shape, position)
        task = TaskData(position, f"task {position}", learner.labels.columns[position], examples, [])
        learner.tasks_seen = position + 1
        strategy.before_task(learner, task)
        release_memory()
        peaks.append(_resident("VmHWM"))
        reset_peak_memory(CPU)
        training = Training(config, strategy, learner, task, examples)
        training.run_all_steps()
        steps = _resident("VmHWM")
        del training
        strategy.after_steps(learner, task)
        strategy.after_task(learner, task)
    return {"steps": steps, "all": max(*peaks, steps, _resident("VmHWM"))}


def _made(case: Case) -> tuple[Learner, Stack, RunConfig]:
    """The model with random weights, the strategy before its setup, and the run's settings."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    shape = case.shape
    settings = AutoConfig.for_model(
        shape.kind.lower(),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.words,
        num_labels=TASKS * LABELS,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(settings, attn_implementation=shape.attention)
    if case.checkpointing:
        recompute_activations(model, shape.name)
    if case.frozen_precision == "bf16":
        store_in_bf16(model, guess_head(model, TASKS * LABELS), case.precision)
    use_onednn(model)
    names = tuple(f"label {number}" for number in range(TASKS * LABELS))
    columns = tuple(tuple(range(task * LABELS, (task + 1) * LABELS)) for task in range(TASKS))
    learner = Learner(model, LabelSpace("task", names, columns), precision=case.precision)
    members = [(name, build("strategy", name, {})) for name in case.strategy.split("+")]
    values: dict[str, Any] = {"scenario": "x", "strategy": case.strategy, "batch_size": shape.batch}
    return learner, Stack(members), make_config({**values, "task_steps": STEPS, "precision": case.precision})


def _examples(shape: Shape, task: int) -> list[Example]:
    """A batch of texts of equal lengths."""
    stream = torch.Generator().manual_seed(task)
    return [
        {
            "input_ids": torch.randint(1, shape.words, (shape.length,), generator=stream),
            "label": task * LABELS + number % LABELS,
            "task_id": task,
        }
        for number in range(shape.batch)
    ]


def _resident(field: str) -> int:
    """Bytes of this process's memory: "VmRSS" now, "VmHWM" at most."""
    gc.collect()
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise ClbenchError("this system does not say what a process has resident; Linux does")
    return int(found[1]) * 1024
