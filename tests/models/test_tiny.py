"""The model ``tiny``: made without a word on the terminal."""

from __future__ import annotations

from typing import Any

import pytest
import tokenizers.trainers

from clbench.config import make_config
from clbench.models.tiny import tiny_text_model
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
