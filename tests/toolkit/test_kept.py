"""What is kept between evaluations: by content, within a limit, and without a trace in the predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clbench.data import Batch
from clbench.toolkit import frozen_features
from clbench.toolkit.kept import KeptBatches
from tests.helpers import Examples, MakeLearner, RunToy, strategy, task_data


def batch_of(*ids: int) -> Batch:
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.int64)}


def test_batches_are_found_by_content() -> None:
    kept: KeptBatches[tuple[Tensor]] = KeptBatches()
    value = (torch.zeros(3),)
    kept.keep({**batch_of(1, 2), "task_ids": torch.tensor([0])}, value)
    assert kept.find(batch_of(1, 2)) is value  # another object, and other things that the model does not read
    others = [
        batch_of(2, 1),
        batch_of(1, 2, 0),
        {**batch_of(1, 2), "attention_mask": torch.tensor([[1, 0]])},
        {"input_ids": torch.tensor([[1], [2]]), "attention_mask": torch.ones(2, 1, dtype=torch.int64)},
        {"pixel_values": torch.tensor([[1, 2]])},
    ]
    assert [kept.find(other) for other in others] == [None] * 5
    kept.clear()
    assert (kept.find(batch_of(1, 2)), kept.bytes) == (None, 0)


def test_memory_has_a_limit() -> None:
    """Three fp32 numbers are 12 bytes: two values fit into 30, a third does not."""
    kept: KeptBatches[tuple[Tensor]] = KeptBatches(30)
    for number in range(3):
        kept.keep(batch_of(number), (torch.zeros(3),))
    assert [kept.find(batch_of(number)) is not None for number in range(3)] == [True, True, False]
    assert kept.bytes == 24


@pytest.mark.parametrize("name", ["ncm", "slda", "ranpac", "klda"])
def test_frozen_features_of_a_batch_are_computed_once(
    name: str, make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner("class")
    built = strategy(name, learner)
    tests = [learner.collate(make_examples(learner.labels, 5, task, 1)) for task in range(2)]
    passes: list[int] = []
    forward = frozen_features.logits_and_features

    def counted(*given: Any) -> tuple[Tensor, Tensor]:
        passes.append(1)
        return forward(*given)

    monkeypatch.setattr(frozen_features, "logits_and_features", counted)
    for task in range(2):
        built.after_task(learner, task_data(learner, task, make_examples(learner.labels, 12, task)))
        learner.model.eval()
        passes.clear()
        found = [built.predict(learner, batch, None) for batch in tests]
        assert len(passes) == (2 if task == 0 else 0)
        built.kept.clear()
        assert all(torch.equal(built.predict(learner, b, None), f) for b, f in zip(tests, found, strict=True))
        for batch in tests:
            built.predict(learner, batch, None)


@pytest.mark.parametrize("name", ["lora_per_task(router='confidence')", "lora_per_task", "ranpac(width=20)"])
def test_predictions_of_a_run_are_the_same_when_nothing_is_kept(
    name: str, run_toy: RunToy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, _ = run_toy(name, setting="class")
    monkeypatch.setattr(KeptBatches, "find", lambda *_: None)
    fresh, _ = run_toy(name, tmp_path, setting="class")
    assert fresh["predictions_sha256"] == kept["predictions_sha256"]
    assert fresh["accuracy_matrix"] == kept["accuracy_matrix"]
