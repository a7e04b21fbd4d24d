"""`clbench.run`: names, files, classes and objects in, finished runs out; what changed is run anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clbench.scenarios.toy import Toy  # type: ignore[import-untyped, unused-ignore]

import clbench
import clbench.report
from clbench import Learner, Scenario, Strategy, Task
from clbench.errors import InputError, RunError
from tests.helpers import ROOT

SMALL: dict[str, Any] = {
    "model": "tiny",
    "epochs": 1,
    "scenario_args": {"train": 30, "dev": 9, "test": 15},
    "device": "cpu",
    "verbosity": -1,
}


class Shrunk(Strategy):
    """Every weight is multiplied by a factor when a task ends."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def after_task(self, learner: Learner, task: clbench.TaskData) -> None:
        for parameter in learner.model.parameters():
            parameter.data.mul_(self.factor)


class Failing(Strategy):
    """Fails after its first task."""

    def after_task(self, learner: Learner, task: clbench.TaskData) -> None:
        raise ValueError("on purpose")


def run(folder: Path, *strategies: Any, scenario: Any = "toy", **settings: Any) -> clbench.report.Runs:
    return clbench.run(scenario=scenario, strategies=list(strategies), output_dir=str(folder), **{**SMALL, **settings})


def test_each_strategy_is_run_with_each_seed(tmp_path: Path) -> None:
    runs = run(tmp_path, "naive", "replay(memory_size=6)+ewc", seeds=[0, 1])
    identities = [(each.result["strategy"], each.result["seed"]) for each in runs]
    assert identities == [(name, seed) for name in ("naive", "replay(memory_size=6)+ewc") for seed in (0, 1)]
    assert [each.result["tasks"] for each in runs] == [["kitchen", "station", "market"]] * 4
    assert {each.folder.parents[2] for each in runs} == {tmp_path}
    assert [each.folder for each in clbench.load_runs(tmp_path)] == sorted(each.folder for each in runs)


def test_names_files_classes_and_objects_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((ROOT / "strategies" / "naive.py").read_text())
    runs = run(tmp_path / "out", "naive", Shrunk, Shrunk(factor=0.0), file)
    assert [each.result["strategy"] for each in runs] == ["naive", "Shrunk", "Shrunk(factor=0.0)", "mine"]
    naive, kept, zeroed, of_file = (clbench.report.Runs([each]).predictions() for each in runs)
    for column in ("prediction", "confidence"):
        assert list(kept[column]) == list(naive[column])  # a factor of 1
        assert list(of_file[column]) == list(naive[column])
    # Without weights each of the task's three labels has the same probability.
    assert {round(confidence, 6) for confidence in zeroed[zeroed.after_task > 0].confidence} == {0.333333}
    assert runs[2].result["accuracy_matrix"][3] == pytest.approx([1 / 3] * 3)


def test_an_edited_class_is_run_anew_and_the_same_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook: the class has no file, and its cell is run again after an edit."""
    monkeypatch.setattr("clbench.plugins.objects._file_of", lambda _: None)
    (first,) = run(tmp_path, Shrunk)
    (again,) = run(tmp_path, Shrunk)
    assert again.folder == first.folder

    def zero(_: Shrunk, learner: Learner, __: clbench.TaskData) -> None:
        for parameter in learner.model.parameters():
            parameter.data.zero_()

    monkeypatch.setattr(Shrunk, "after_task", zero)
    (edited,) = run(tmp_path, Shrunk)
    assert edited.folder != first.folder
    assert edited.result["accuracy_matrix"][3] == pytest.approx([1 / 3] * 3)
    assert edited.result["predictions_sha256"] != first.result["predictions_sha256"]
    assert edited.config["plugin_hashes"]["strategy:Shrunk"] != first.config["plugin_hashes"]["strategy:Shrunk"]
    assert len(clbench.load_runs(tmp_path)) == 2


class Halves(Scenario):
    """toy's first tasks."""

    settings = ("task", "class")
    kind = "text"

    def __init__(self, *, seed: int = 0, setting: str = "task", tasks_kept: int = 3, train: int = 30) -> None:
        super().__init__(seed=seed, setting=setting)
        self.tasks_kept, self.train = tasks_kept, train

    def tasks(self) -> list[Task]:
        made: list[Task] = Toy(seed=self.seed, setting=self.setting, train=self.train, dev=9, test=15).tasks()
        return made[: self.tasks_kept]


def test_a_scenarios_class_or_object_gives_its_arguments_and_setting(tmp_path: Path) -> None:
    (of_class,) = run(tmp_path, "naive", scenario=Halves, scenario_args={})
    assert (of_class.result["scenario"], of_class.result["setting"]) == ("Halves", "task")
    assert len(of_class.result["tasks"]) == 3
    (of_object,) = run(tmp_path, "naive", scenario=Halves(setting="class", tasks_kept=2, seed=9), scenario_args=None)
    assert (of_object.result["setting"], of_object.result["seed"]) == ("class", 0)
    assert of_object.config["scenario_args"] == {"tasks_kept": 2}
    assert len(of_object.result["tasks"]) == 2
    (asked,) = run(tmp_path, "naive", scenario=Halves(setting="class"), scenario_args={"train": 24}, setting="task")
    assert (asked.result["setting"], asked.config["scenario_args"]) == ("task", {"train": 24})


def test_one_failed_run_does_not_lose_the_others(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"2 of 4 runs failed: Failing, seed 0: ValueError: on purpose; .*seed 1"):
        run(tmp_path, Failing, "naive", seeds=[0, 1])
    assert [(each.result["strategy"], each.result["seed"]) for each in clbench.load_runs(tmp_path)] == [
        ("naive", 0),
        ("naive", 1),
    ]


@pytest.mark.parametrize(
    ("strategies", "settings", "part"),
    [
        ("ewc", {}, r"strategies = 'ewc' is not allowed; allowed: a list"),
        ([], {}, r"strategies = \[\] is not allowed"),
        (["naive", "ewcc"], {}, "'ewcc'; did you mean 'ewc'?"),
        (["naive"], {"epoch": 3}, "'epoch'; did you mean 'epochs'?"),
        (["naive"], {"setting": "tsak"}, "'tsak'"),
        ([Shrunk, type("Shrunk", (Strategy,), {})], {}, "two classes are called 'Shrunk'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    strategies: Any, settings: dict[str, Any], part: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=part):
        clbench.run(scenario="toy", strategies=strategies, output_dir=str(tmp_path / "out"), **{**SMALL, **settings})
    assert not (tmp_path / "out").exists()


def test_a_loaded_model_starts_the_runs_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from tests.models import zoo

    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    folder = zoo.save("Bert", tmp_path / "bert", ["red", "blue", "kitchen"], headless=True)
    small = {**SMALL, "strategies": ["naive"], "scenario": "toy", "max_length": 16, "output_dir": str(tmp_path / "out")}
    (of_folder,) = clbench.run(**{**small, "model": folder})
    loaded = AutoModel.from_pretrained(folder)
    (of_object,) = clbench.run(**{**small, "model": loaded})
    assert of_object.config["model"] != of_folder.config["model"]
    assert of_object.result["predictions_sha256"] == of_folder.result["predictions_sha256"]
    (again,) = clbench.run(**{**small, "model": AutoModel.from_pretrained(folder)})
    assert again.folder == of_object.folder  # the same contents, read back
    with torch.no_grad():
        loaded.embeddings.word_embeddings.weight.mul_(-1)
    (other,) = clbench.run(**{**small, "model": loaded, "tokenizer": AutoTokenizer.from_pretrained(folder)})
    assert other.folder != of_object.folder
    assert len(list((tmp_path / "cache" / "given").iterdir())) == 2

    made = zoo.make("Bert", headless=True)
    with pytest.raises(InputError, match=r"no tokenizer where BertModel came from; give it as tokenizer="):
        clbench.run(**{**small, "model": made})
    with pytest.raises(InputError, match=r"model is a Linear; allowed: a name, a folder, a hub id, or a model that"):
        clbench.run(**{**small, "model": torch.nn.Linear(2, 2)})
    with pytest.raises(InputError, match="tokenizer is for a model that is an object"):
        clbench.run(**{**small, "tokenizer": object()})
