"""docs/model_shapes.md is what the tests find: a ✓ is a run whose answers do not depend on the batch, a – a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from clbench.data import Example
from clbench.engine import engine
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Strategy
from clbench.toolkit import Evaluation, evaluate_all
from tests.helpers import ROOT, strategy
from tests.models import zoo
from tests.models.test_architectures import HEADS, REFUSED, check_a_run, learner_of, load, words

PAGE = (ROOT / "docs" / "model_shapes.md").read_text(encoding="utf-8")
MAIN = ("naive", "ewc", "replay", "lora_per_task", "slda")
OTHERS = ("adapter", "ia3", "prompt_tuning", "prefix_tuning", "p_tuning_v2", "progressive_prompts")


def page_table() -> dict[tuple[str, str], str]:
    """Each cell of the page's table by architecture and strategy."""
    header, _, *rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    return {(row[0], name): cell for row in rows for name, cell in zip(header[2:], row[2:], strict=True)}


def page_lines() -> dict[str, set[str]]:
    """The lines of refusal by the heading that they stand under."""
    blocks = re.findall(r"^### ([^\n]+)\n\n```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    return {title: set(body.splitlines()) for title, body in blocks}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    parent = tmp_path_factory.mktemp("shapes")
    return cache(lambda name: zoo.save(name, parent / name, list(words()), headless=True))


def test_the_table_has_every_shape_and_what_is_refused() -> None:
    expected = {(m, n): "–" if (m, n) in REFUSED else "✓" for m in HEADS for n in (*MAIN, *OTHERS)}
    assert page_table() == expected


def test_the_lines_of_refusal_are_the_pages(folders: Callable[[str], Path]) -> None:
    """Found before anything is trained: where the strategy is set up, or where the folder is read."""
    found: dict[str, set[str]] = {}
    for model, name in (case for case in REFUSED if case[1] in (*MAIN, *OTHERS)):
        learner = learner_of(load(folders(model)))
        with pytest.raises(InputError) as caught:
            strategy(name, learner)
        assert REFUSED[model, name] in str(caught.value)
        assert "allowed: " in str(caught.value)
        found.setdefault(model, set()).add(str(caught.value))
    assert found == {title: lines for title, lines in page_lines().items() if title in HEADS}


def encoder_alone(folder: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.T5EncoderModel(config).save_pretrained(folder)


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


SPOILED: dict[str, tuple[str, Callable[[Path], None]]] = {
    "The encoder of T5 alone": ("T5", encoder_alone),
    "No tokenizer": ("Bert", without_tokenizer),
    "Weights that are pickled": ("Bert", pickled),
}


def test_the_lines_for_folders_are_the_pages(tmp_path: Path) -> None:
    found = {}
    for title, (model, spoil) in SPOILED.items():
        folder = zoo.save(model, tmp_path / title, list(words()), headless=True)
        spoil(folder)
        with pytest.raises(InputError) as caught:
            load(folder)
        found[title] = {str(caught.value).replace(str(folder), "FOLDER")}
    assert found == {title: lines for title, lines in page_lines().items() if title not in HEADS}


def evaluate_alone_too(
    learner: Learner, strategy: Strategy, tests: Sequence[Sequence[Example]], token_budget: int = 0
) -> list[Evaluation | None]:
    """As the engine evaluates, and each text in a pass of its own, which must answer the same."""
    together = evaluate_all(learner, strategy, tests, token_budget)
    for one, other in zip(evaluate_all(learner, strategy, tests, 1), together, strict=True):
        assert (one is None) is (other is None)
        if one and other:
            assert one.predictions == other.predictions
            torch.testing.assert_close(torch.tensor(one.confidences), torch.tensor(other.confidences))
    return together


def check_a_shape(model: str, name: str, folder: Path, output: Path, patch: Any) -> None:
    patch.setattr(engine, "evaluate_all", evaluate_alone_too)
    check_a_run(name, model, folder, output)


@pytest.mark.parametrize(("model", "name"), [(m, MAIN[number % len(MAIN)]) for number, m in enumerate(HEADS)])
def test_each_shape_with_one_strategy(
    model: str, name: str, folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_a_shape(model, name, folders(model), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "name"), page_table())
def test_every_cell_of_the_table(
    model: str, name: str, folders: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_a_shape(model, name, folders(model), tmp_path, monkeypatch)
