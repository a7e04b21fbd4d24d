"""The model ``tiny``: made without a word on the terminal, and with no more positions than memory has."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers.trainers

from clbench.clock import Clock
from clbench.config import make_config
from clbench.engine import prepare
from clbench.models.tiny import MOST_POSITIONS, tiny_text_model
from clbench.plugins import make_plan
from clbench.tasks import task_from_rows


def test_its_tokenizer_is_trained_without_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    trainer = tokenizers.trainers.WordLevelTrainer

    def watched(**options: Any) -> Any:
        made.append(trainer(**options))
        return made[-1]

    monkeypatch.setattr(tokenizers.trainers, "WordLevelTrainer", watched)
    task = task_from_rows("one", [(f"word{i} again", "ab"[i % 2]) for i in range(20)], 0)
    _, tokenizer = tiny_text_model([task], 2, make_config({"scenario": "toy", "strategy": "naive"}))
    assert [each.show_progress for each in made] == [False]
    assert "again" in tokenizer.get_vocab()


@pytest.mark.parametrize("scenario", ["toy", "toy_token"])
def test_texts_are_cut_where_its_positions_end(scenario: str) -> None:
    options = {"scenario": scenario, "strategy": "naive", "model": "tiny", "device": "cpu", "max_length": 10**6}
    prepared = prepare(make_plan({**options, "scenario_args": {"train": 12, "dev": 3, "test": 6}}), Clock())
    settings: Any = prepared.learner.model.config
    assert settings.max_position_embeddings == MOST_POSITIONS
    assert any(f"has {MOST_POSITIONS} positions: texts are cut there" in line for line in prepared.warnings)
