"""Runs whose data, model or code change between a kill and the next start: other contents are another run."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import EVERY_RUN, differences
from benchmarks.processes import start_forked
from clbench.models import import_libraries
from clbench.results import RunFolder

SCENARIO = '''"""Tickets of two products."""

from clbench import Scenario
from clbench.toolkit import read_csv_tasks
from words import spell


class Tickets(Scenario):
    defaults = {"max_length": 12}

    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self):
        spell("a label")
        return read_csv_tasks(self.path, seed=self.seed)
'''
STRATEGY = '''"""Pulls the weights a little towards zero."""

from clbench import Strategy


class Pull(Strategy):
    def before_step(self, learner):
        for _, parameter in learner.named_parameters():
            parameter.grad.add_(parameter.detach(), alpha=0.01)
'''


@dataclass(frozen=True)
class ContentProof:
    """What was changed, in which order the contents came, and what differs from runs of each content made alone."""

    change: str
    order: str
    differences: list[str]


def prove_contents(output: Path, change: str, seed: int) -> ContentProof:
    """Kill a run, change what it reads, run again, put it back and run again; compare with runs left alone."""
    chance = random.Random(f"{seed}/{change}")
    place = output / "files"

    def write(name: str) -> None:
        _write(place)
        if name == "second":
            CHANGES[change](place)

    alone = {}
    for name in ("first", "second"):
        write(name)
        alone[name] = _run(output, name, place)
    order = ["first", "second", *chance.choices(("first", "second"), k=2)]
    found = []
    for name in order:
        write(name)
        process = start_forked(_arguments(output / "mixed", place), output / "logs", chance.randrange(1, 60))
        if process.wait() not in (0, -9):
            found.append(f"{name}: exit code {process.poll()}: {process.stderr()[-200:]}")
    for name in alone:
        write(name)
        found += [f"{name}: {what}" for what in differences(alone[name], _run(output, "mixed", place, alone[name]))]
    if alone["first"].path.name == alone["second"].path.name:
        found.append("both contents have one name")
    return ContentProof(change, ", ".join(order), found)


def _run(output: Path, folder: str, place: Path, like: RunFolder | None = None) -> RunFolder:
    """Run to the end; the run's folder, which must have the name of ``like``'s."""
    process = start_forked(_arguments(output / folder, place), output / "logs")
    if (code := process.wait()) != 0:
        raise AssertionError(f"exit code {code}: {process.stderr()}")
    paths = [path.parent for path in (output / folder).glob("*/*/*/result.json")]
    chosen = [path for path in paths if like is None or path.name == like.path.name]
    if len(chosen) != 1:
        raise AssertionError(f"{[path.name for path in paths]}: none is {like and like.path.name}")
    return RunFolder(chosen[0])


def _arguments(output: Path, place: Path) -> list[str]:
    scenario = ("--scenario", str(place / "tickets.py"), "--scenario-arg", f"path={place / 'tickets.csv'}")
    named = ("--strategy", str(place / "pull.py"), "--model", str(place / "model"), "--output-dir", str(output))
    return ["run", *scenario, *named, *EVERY_RUN]


def _write(place: Path) -> None:
    """The first content of every file."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "tickets.py").write_text(SCENARIO)
    (place / "words.py").write_text("def spell(label):\n    return label\n")
    (place / "pull.py").write_text(STRATEGY)
    rows = [
        (task, f"{task} {label} apple {number}", label)
        for task in ("router", "station")
        for label in ("one", "two")
        for number in range(16)
    ]
    with (place / "tickets.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("task", "text", "label"), *rows])
    _write_model(place / "model", 1)


def _write_model(folder: Path, seed: int) -> None:
    import_libraries()
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    settings = BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    torch.manual_seed(seed)
    BertModel(settings).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "apple", "router", "station", "one", "two", *"0123456789"]
    (folder / "words.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    (folder / "words.txt").unlink()


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    if old not in text:
        raise AssertionError(f"{path} has no {old!r}")
    path.write_text(text.replace(old, new, 1), "utf-8")


CHANGES: dict[str, Callable[[Path], None]] = {
    "a text": lambda place: _replace(place / "tickets.csv", "station two apple 7", "station two router 7"),
    "a label": lambda place: _replace(place / "tickets.csv", "apple 3,one", "apple 3,two"),
    "a row less": lambda place: _replace(place / "tickets.csv", "router,router one apple 5,one\n", ""),
    "the scenario": lambda place: _replace(place / "tickets.py", 'spell("a label")', 'spell("another")'),
    "a module beside it": lambda place: _replace(place / "words.py", "return label", "return label[::-1]"),
    "the strategy": lambda place: _replace(place / "pull.py", "0.01", "0.02"),
    "the model's weights": lambda place: _write_model(place / "model", 2),
    "the tokenizer": lambda place: _replace(place / "model" / "tokenizer.json", '"apple"', '"pear"'),
}
