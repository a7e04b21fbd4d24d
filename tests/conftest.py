"""What several test modules share: one thread, tiny learners and examples, short runs on the scenario ``toy``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from torch import nn

from clbench.data import Example, LabelSpace
from clbench.learner import Learner
from clbench.models import survive_torchvision
from clbench.results.folder import RunFolder

torch.set_num_threads(1)
survive_torchvision()  # test modules import PEFT, and with it transformers, at their top

VOCABULARY = 30
# Three tasks of nine training texts; with this learning rate the predictions change within one epoch.
TOY: dict[str, Any] = {
    "scenario": "toy",
    "epochs": 1,
    "lr": 5e-3,
    "head_lr": 5e-2,
    "batch_size": 8,
    "dropout": 0.1,
    "scenario_args": {"train": 30, "dev": 9, "test": 15},
    "device": "cpu",
}

Run = tuple[dict[str, Any], RunFolder]


@pytest.fixture(scope="session", autouse=True)
def _nobody_waits_for_the_disk() -> Iterator[None]:
    """Files are written as ever; that they would also outlive a power failure is what no test sees, and takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def tiny_bert(labels: int, dropout: float = 0.0) -> nn.Module:
    """A BERT of about 3000 parameters; weights from torch's global generator."""
    from clbench.models import import_libraries

    import_libraries()
    from transformers import BertConfig, BertForSequenceClassification

    settings = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=labels,
        attn_implementation="eager",
    )
    model: nn.Module = BertForSequenceClassification(settings)
    # Fresh weights are so small that everything is nearly linear and every text nearly the same.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(0.0, 0.4)
    return model


@pytest.fixture
def make_learner() -> Callable[..., Learner]:
    """``make_learner(setting, tasks=2, width=2, model=None, seed=0, dropout=0.0)``: every task reached, fp32, CPU."""

    def make(
        setting: str = "task",
        tasks: int = 2,
        width: int = 2,
        model: nn.Module | None = None,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> Learner:
        shared = setting == "domain"
        columns = tuple(
            tuple(range(width)) if shared else tuple(range(task * width, (task + 1) * width)) for task in range(tasks)
        )
        count = width if shared else width * tasks
        torch.manual_seed(seed)
        labels = LabelSpace(setting, tuple(f"label {column}" for column in range(count)), columns)
        learner = Learner(model if model is not None else tiny_bert(count, dropout), labels, seed=seed)
        learner.tasks_seen = tasks
        return learner

    return make


@pytest.fixture
def make_examples() -> Callable[..., list[Example]]:
    """``make_examples(labels, count, task, seed=0)``: random texts of 3 to 9 tokens whose labels go round."""

    def make(labels: LabelSpace, count: int, task: int = 0, seed: int = 0) -> list[Example]:
        stream = torch.Generator().manual_seed(1000 * seed + task)
        columns = labels.columns[task]
        return [
            {
                "input_ids": torch.randint(
                    4, VOCABULARY, (int(torch.randint(3, 10, (1,), generator=stream)),), generator=stream
                ),
                "label": columns[number % len(columns)],
                "task_id": task,
            }
            for number in range(count)
        ]

    return make


@pytest.fixture
def toy() -> dict[str, Any]:
    """The options of a short run."""
    return dict(TOY)


@pytest.fixture(scope="session")
def run_toy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """``run_toy(strategy, output=None, **options)``: result and folder; runs without an ``output`` are shared."""
    from clbench.engine import engine
    from clbench.engine.reporter import Reporter
    from clbench.plugins.plan import make_plan

    shared = tmp_path_factory.mktemp("runs")
    done: dict[str, Run] = {}

    def run(strategy: str, output: Path | None = None, **options: Any) -> Run:
        chosen = {**TOY, "strategy": strategy, "output_dir": str(output or shared), **options}
        key = json.dumps(chosen, sort_keys=True)
        if output is None and key in done:
            return done[key]
        plan = make_plan(chosen)
        finished = engine.run(plan, Reporter()), engine.run_folder(plan.config)
        if output is None:
            done[key] = finished
        return finished

    return run


@pytest.fixture(scope="session")
def toy_forgetting(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """``toy_forgetting(strategy, **options)``: mean forgetting over seeds 0, 1 and 2 on the whole scenario ``toy``."""
    from clbench.engine import engine
    from clbench.engine.reporter import Reporter
    from clbench.plugins.plan import make_plan

    shared = tmp_path_factory.mktemp("forgetting")

    def mean_forgetting(strategy: str, **options: Any) -> float:
        # A finished run is read back: naive's runs serve every comparison.
        chosen = {"scenario": "toy", "strategy": strategy, "device": "cpu", "output_dir": str(shared), **options}
        results = [engine.run(make_plan({**chosen, "seed": seed}), Reporter()) for seed in range(3)]
        forgotten: list[float] = [result["metrics"]["forgetting"] for result in results]
        return sum(forgotten) / len(forgotten)

    return mean_forgetting


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """``image_folder(name)``: a small model's folder, made once; ``name`` itself where the zoo has none such."""
    from tests.models import image_zoo

    made = {}

    def make(name: str) -> str:
        if name in (*image_zoo.SETTINGS, "timm") and name not in made:
            made[name] = image_zoo.save(name, tmp_path_factory.mktemp(name) / name)
        return made.get(name, name)

    return make
