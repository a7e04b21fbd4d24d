"""A kind of a person's own, regression, in the file of their scenario; strategies learn it as they do any other."""

import json
from pathlib import Path

import pytest

from clbench.cli import main

SCENARIO = '''
"""Numbers to read from a text: how many words of it are red, where each task has its own colour."""

import datasets
import torch
from sklearn.metrics import r2_score
from torch import nn

from clbench import Kind, Scenario, Task
from clbench.kinds import Encoded, tokenise


class Regression(Kind):
    """A number for each text; squared error, and R2 as the measure."""

    name = "regression"
    columns = ("text", "label")
    measures = ("r2",)
    over_labels = False

    def strata(self, data):
        return [0] * len(data)

    def encode(self, parts, tokenizer, max_length):
        examples = []
        for part in parts:
            ids = tokenise(part.data["text"][:], tokenizer, max_length)
            pairs = zip(ids, part.data["label"][:], strict=True)
            examples.append([{"input_ids": i, "label": n, "task_id": part.position} for i, n in pairs])
        return Encoded(examples)

    def losses(self, logits, labels):
        return (logits[:, 0] - labels).square()

    def fisher_losses(self, logits, labels, whose, draws):
        wanted = labels if whose == "empirical" else logits[:, 0].detach() + torch.erfinv(2 * draws - 1) * 2**0.5
        yield (logits[:, 0] - wanted).square() / 2

    def answer(self, logits, allowed, batch, decode):
        return logits[:, 0], torch.ones_like(logits[:, 0])

    def score(self, measure, truths, answers):
        return max(0.0, float(r2_score(truths, answers)))


class Colours(Scenario):
    kind = Regression()
    settings = ("domain",)
    defaults = {"model": "tiny", "epochs": 30, "lr": 1e-3, "head_lr": 1e-2, "batch_size": 16, "max_length": 8}

    def tasks(self):
        return [self._task(colour, place) for colour, place in (("red", "here"), ("blue", "there"))]

    def _task(self, colour, place):
        words = ["red", "blue"]
        rows = [[place, *(words[(number >> bit) % 2] for bit in range(6))] for number in range(64)]
        splits = []
        for start in range(3):
            own = rows[start::3]
            counts = [row.count(colour) / 6 for row in own]
            splits.append(datasets.Dataset.from_dict({"text": [" ".join(r) for r in own], "label": counts}))
        return Task(place, self.kind, ("value",), *splits)
'''


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "colours.py").write_text(SCENARIO)
    return str(tmp_path / "colours.py")


def test_a_kind_of_ones_own_runs_with_what_asks_the_kind(scenario: str, tmp_path: Path) -> None:
    strategies = ["naive", "replay(memory_size=0.5)", "ewc"]
    given = [part for name in strategies for part in ("--strategy", name)]
    assert main(["run", "--scenario", scenario, *given, "--output-dir", str(tmp_path), "--device", "cpu", "-q"]) == 0
    results = {}
    for file in tmp_path.glob("*/*/*/result.json"):
        result = json.loads(file.read_text())
        assert result["measure"] == "r2"
        results[result["strategy"]] = result["accuracy_matrix"]
    assert len(results) == len(strategies)
    # Learned, and then unlearned: the second task counts the other colour. Examples of the first keep some of it.
    naive, replay, ewc = (results[name] for name in strategies)
    assert naive[1][0] > 0.7
    assert naive[2][0] < 0.1 < replay[2][0]
    assert ewc[2][1] != naive[2][1]


def test_it_is_refused_where_logits_are_over_labels(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["run", "--scenario", scenario, "--strategy", "er_ace", "--output-dir", str(tmp_path)]
    assert main(given) == 2
    assert capsys.readouterr().err.strip() == (
        "error: strategy 'er_ace' does not support regression tasks; allowed: text, image"
    )
