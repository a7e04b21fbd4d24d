"""The model of a run: what is kept, that it answers as the run did, and that nothing is ever half there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clbench.engine import KeptModel, Reporter, engine, model_out
from clbench.errors import RunError
from clbench.models import read_deployment
from clbench.models.exporting import export_model
from clbench.plugins.plan import Plan, make_plan
from clbench.results.folder import RunFolder
from tests.models import zoo

TINY: dict[str, Any] = {
    "scenario": "toy", "epochs": 2, "lr": 5e-3, "head_lr": 5e-2, "batch_size": 8, "device": "cpu",
    "scenario_args": {"tasks": 2, "train": 24, "dev": 3, "test": 12}, "save_model": "final",
}  # fmt: skip
CPU = torch.device("cpu")
Kept = tuple[Plan, RunFolder]


class Said(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    warn = say


def run(strategy: str, output: Path, report: Reporter | None = None, **options: Any) -> Kept:
    plan = make_plan({**TINY, "strategy": strategy, "output_dir": str(output), **options})
    engine.run(plan, report or Reporter())
    return plan, engine.run_folder(plan.config)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Kept]:
    """``kept(strategy, setting)``: a finished run with its model; each is made once."""
    output, done = tmp_path_factory.mktemp("kept"), dict[tuple[str, str], Kept]()

    def make(strategy: str, setting: str) -> Kept:
        if (key := (strategy, setting)) not in done:
            done[key] = run(strategy, output, setting=setting)
        return done[key]

    return make


def by_the_card(folder: Path, texts: list[str]) -> Tensor:
    """The logits by the code that stands in the folder's model card."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    scope: dict[str, Any] = {"folder": str(folder), "texts": texts}
    with torch.inference_mode():
        exec(code, scope)
    logits: Tensor = scope["logits"]
    return logits


def last_row(folder: RunFolder, task: str) -> list[tuple[str, float]]:
    """Prediction and confidence of a task's test texts at the end."""
    columns = folder.read_predictions()
    rows = zip(*(columns[name] for name in ("after_task", "task", "prediction", "confidence")), strict=True)
    return [(prediction, sure) for after, name, prediction, sure in rows if (after, name) == (2, task)]


FORMS = [
    ("naive", "task", "model"), ("lora_merge", "class", "model"), ("o_lora", "class", "adapter"),
    ("slda", "class", "linear"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "setting", "form"), FORMS)
def test_plain_code_gives_the_answers_of_the_run(
    strategy: str, setting: str, form: str, kept: Callable[[str, str], Kept]
) -> None:
    plan, folder = kept(strategy, setting)
    model = KeptModel(folder.model, CPU)
    assert model.deployment.form == form
    for position, task in enumerate(plan.tasks):
        texts = task.test["text"][:]
        logits = by_the_card(folder.model, texts).float()
        columns = model.deployment.tasks[position].columns if setting == "task" else model.deployment.candidates
        sure, best = logits[:, columns].softmax(-1).max(-1)
        expected = last_row(folder, task.name)
        assert [model.deployment.labels[columns[i]] for i in best] == [prediction for prediction, _ in expected]
        torch.testing.assert_close(sure, torch.tensor([s for _, s in expected]), atol=1e-5, rtol=1e-5)


def test_a_folder_that_no_class_of_transformers_answers_from_says_so(kept: Callable[[str, str], Kept]) -> None:
    """Loaded as a classifier it would have a random layer; the card's own lines are run above."""
    from transformers import AutoModelForSequenceClassification

    _, folder = kept("slda", "class")
    _, told = AutoModelForSequenceClassification.from_pretrained(folder.model, output_loading_info=True)
    assert "classifier.weight" in told["missing_keys"]
    card = (folder.model / "README.md").read_text()
    assert "Do not load this folder with `AutoModelForSequenceClassification` or `pipeline`" in card
    plain = kept("naive", "task")[1]
    assert "Do not load" not in (plain.model / "README.md").read_text()


def test_the_config_names_the_labels(kept: Callable[[str, str], Kept]) -> None:
    plan, folder = kept("naive", "task")
    names = [label for task in plan.tasks for label in task.labels]
    settings = json.loads((folder.model / "config.json").read_text())
    assert settings["id2label"] == {str(number): name for number, name in enumerate(names)}
    assert settings["label2id"] == {name: number for number, name in enumerate(names)}


def test_the_card_has_the_runs_numbers(kept: Callable[[str, str], Kept]) -> None:
    _, folder = kept("naive", "task")
    result, card = folder.read_result(), (folder.model / "README.md").read_text()
    assert result is not None
    for name, value in zip(result["tasks"], result["accuracy_matrix"][-1], strict=True):
        assert f"| {name} | {value:.3f} |" in card
    assert f"| average accuracy | {result['metrics']['average_accuracy']:.3f} |" in card


@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_of_one_task_alone(merge: bool, kept: Callable[[str, str], Kept], tmp_path: Path) -> None:
    """Cut to a task's labels the logits compete as they are, also with the adapter merged into the weights."""
    plan, folder = kept("lora_per_task", "task")
    assert read_deployment(folder.model).form == "tasks"
    task = plan.tasks[1]
    export_model(folder.model, tmp_path / "out", task.name, merge=merge)
    assert (tmp_path / "out" / "adapter_config.json").exists() != merge
    sure, best = by_the_card(tmp_path / "out", task.test["text"][:]).softmax(-1).max(-1)
    expected = last_row(folder, task.name)
    assert [task.labels[i] for i in best] == [prediction for prediction, _ in expected]
    torch.testing.assert_close(sure, torch.tensor([s for _, s in expected]), atol=1e-5, rtol=1e-5)
    answers = KeptModel(tmp_path / "out", CPU).answer(task.test["text"][:])
    assert [(a.label, a.task, a.task_from) for a in answers] == [(p, task.name, "given") for p, _ in expected]


@pytest.mark.parametrize(("strategy", "setting"), [("naive", "task"), ("slda", "class")])
def test_other_forms_cut_to_a_task(
    strategy: str, setting: str, kept: Callable[[str, str], Kept], tmp_path: Path
) -> None:
    plan, folder = kept(strategy, setting)
    task = plan.tasks[1]
    export_model(folder.model, tmp_path / "out", task.name)
    texts, whole = task.test["text"][:], KeptModel(folder.model, CPU)
    logits = by_the_card(tmp_path / "out", texts)
    assert logits.shape == (12, 3)
    torch.testing.assert_close(logits, by_the_card(folder.model, texts)[:, 3:], atol=1e-6, rtol=1e-6)
    assert KeptModel(tmp_path / "out", CPU).answer(texts) == whole.answer(texts, task.name)


def test_the_router_finds_the_task_and_each_module_is_kept(kept: Callable[[str, str], Kept], tmp_path: Path) -> None:
    plan, folder = kept("lora_per_task", "class")
    model = KeptModel(folder.model, CPU)
    assert (model.deployment.form, model.deployment.routing) == ("strategy", "prototype")
    text = plan.tasks[1].test["text"][:]
    found = model.answer(text)
    assert [a.label for a in found] == [prediction for prediction, _ in last_row(folder, plan.tasks[1].name)]
    assert {a.task_from for a in found} == {"router prototype"}
    assert all(a.label.startswith(str(a.task)) for a in found)
    export_model(folder.model, tmp_path / "out", plan.tasks[1].name)
    alone, told = KeptModel(tmp_path / "out", CPU), model.answer(text, plan.tasks[1].name)
    assert alone.deployment.form == "adapter"
    assert [a.label for a in alone.answer(text)] == [a.label for a in told]
    assert {a.task_from for a in told} == {"given"}


def test_without_a_task_all_labels_compete(kept: Callable[[str, str], Kept]) -> None:
    """In the task setting each task's own model scores its own labels."""
    plan, folder = kept("lora_per_task", "task")
    model, text = KeptModel(folder.model, CPU), plan.tasks[0].test["text"][0]
    ids = model.tokenizer(text)["input_ids"]
    batch = model.learner.collate([{"input_ids": torch.tensor(ids), "label": 0, "task_id": 0}])
    logits = torch.cat([model.logits(batch, task)[:, [3 * task, 3 * task + 1, 3 * task + 2]] for task in (0, 1)], 1)
    (answer,) = model.answer([text])
    assert answer.probability == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    assert answer.label == model.deployment.labels[int(logits.argmax())]
    assert answer.task_from == "all labels"


def test_what_cannot_be_plain_says_so_in_a_line(tmp_path: Path) -> None:
    report = Said()
    _, folder = run("ranpac(width=8)", tmp_path, report)
    (line,) = [line for line in report.lines if line.startswith("model: ")]
    assert line == f"model: {folder.model} (no plain model gives the answers of ranpac(width=8))"
    assert read_deployment(folder.model).why in (folder.model / "README.md").read_text().replace("No plain", "no plain")


def test_keeping_is_no_part_of_the_run_and_can_be_asked_for_later(tmp_path: Path) -> None:
    plain, folder = run("naive", tmp_path, save_model="")
    before = folder.read_result()
    assert before is not None
    assert not folder.model.exists()
    report = Said()
    plan, again = run("naive", tmp_path, report, save_model="each")
    assert (plan.config.hash8, again.path) == (plain.config.hash8, folder.path)
    assert any("finished without its model: training again, with the same numbers" in line for line in report.lines)
    after = folder.read_result()
    assert after is not None
    assert after["predictions_sha256"] == before["predictions_sha256"]
    # After each task: what answers there is what was measured there.
    assert sorted(path.name for path in folder.models.iterdir()) == ["1-kitchen", "2-station"]
    first = KeptModel(folder.models / "1-kitchen", CPU)
    columns = folder.read_predictions()
    rows = zip(*(columns[name] for name in ("after_task", "task", "prediction")), strict=True)
    wanted = [prediction for number, name, prediction in rows if (number, name) == (1, "kitchen")]
    assert [a.label for a in first.answer(plan.tasks[0].test["text"][:], "kitchen")] == wanted
    assert [task.name for task in first.deployment.tasks] == ["kitchen"]
    # Now it is there: nothing is trained.
    run("naive", tmp_path, quiet := Said(), save_model="each")
    assert quiet.lines == [f"finished before, read from {folder.path}"]
    run("naive", tmp_path, save_model="", overwrite=True)
    assert not folder.model.exists()
    assert not folder.models.exists()


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("place", ["keep_tokenizer", "replace_folder"])
def test_killed_while_the_model_is_written_nothing_half_is_there(
    place: str, kept: Callable[[str, str], Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(model_out, place, kill)
        with pytest.raises(Killed):
            run("naive", tmp_path)
    (path,) = tmp_path.glob("toy/naive/*")
    folder = RunFolder(path)
    assert not folder.model.exists()
    assert folder.read_result() is None
    run("naive", tmp_path)  # goes on from the checkpoint of the first task
    assert [p.name for p in path.iterdir() if p.name.startswith("model")] == ["model"]
    _, whole = kept("naive", "task")
    one, other = (load_file(f.model / "model.safetensors") for f in (folder, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_training_again_for_the_model_goes_on_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = run("naive", tmp_path, save_model="")
    before = folder.read_result()
    with monkeypatch.context() as patched:
        patched.setattr(model_out, "replace_folder", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run("naive", tmp_path)
    assert folder.read_result() == before  # it stays until there is a new one
    assert folder.checkpoint.exists()
    run("naive", tmp_path, report := Said())
    assert any(f"resuming {folder.path} after 1 of 2 tasks" in line for line in report.lines)
    assert folder.model.exists()


def test_what_cannot_be_kept_is_said_and_not_tried_again(tmp_path: Path) -> None:
    """A strategy that answers by what its state does not say; the run's numbers are there all the same."""
    file = tmp_path / "forgetful.py"
    file.write_text(
        '"""Answers otherwise once a task has begun."""\nfrom clbench import Strategy\n\n\n'
        "class Forgetful(Strategy):\n    begun = False\n\n"
        "    def before_task(self, learner, task):\n        self.begun = True\n\n"
        "    def predict(self, learner, batch, task_id):\n"
        "        return 2 * learner.logits(batch) if self.begun else None\n"
    )
    for _ in range(2):
        _, folder = run(str(file), tmp_path / "out", report := Said())
        (line,) = [line for line in report.lines if line.startswith("no model is kept")]
        assert line == (
            "no model is kept: what transformers loads gives other answers than the strategy, and forgetful answers "
            "otherwise once its state is loaded"
        )
        assert folder.read_result() is not None
        assert not folder.model.exists()
    assert report.lines[-1] == f"finished before, read from {folder.path}"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_is_one_line(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Iterator[None]:
        raise error

    monkeypatch.setattr(model_out, "keep_tokenizer", full)
    with pytest.raises(RunError, match="No space left on device"):
        run("naive", tmp_path)


# Padding on the left, token types that the tokenizer would add, the end of a text inside one, no bias in the head.
@pytest.mark.parametrize("shape", ["XLNet", "Llama", "T5", "GPT2"])
def test_plain_code_on_other_architectures(shape: str, tmp_path: Path) -> None:
    words = make_plan({**TINY, "strategy": "naive", "output_dir": "x"}).tasks[0].train["text"][:]
    folder = zoo.save(shape, tmp_path / shape, sorted({word for text in words for word in text.split()})[:50])
    plan, done = run("naive", tmp_path / "out", model=str(folder), max_length=8, precision="fp32")
    texts = plan.tasks[0].test["text"][:]
    model = KeptModel(done.model, CPU)
    assert model.deployment.form == "model"
    sure, best = by_the_card(done.model, texts)[:, :3].softmax(-1).max(-1)
    expected = last_row(done, plan.tasks[0].name)
    assert [plan.tasks[0].labels[i] for i in best] == [prediction for prediction, _ in expected]
    torch.testing.assert_close(sure, torch.tensor([s for _, s in expected]), atol=1e-4, rtol=1e-4)
