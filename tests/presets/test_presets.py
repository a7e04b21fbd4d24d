"""Presets on local folders laid out as the hub is: tasks, orders, labels, tags, splits; and what a bad file is told."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from clbench import plugins
from clbench.cli import main
from clbench.errors import InputError
from clbench.presets import available_presets, read_preset
from clbench.presets.splitting import choose_rows
from clbench.scenario import Task
from clbench.tasks import check_tasks
from tests.presets.folders import labelled, pattern, write_hub

GLUE = {"mnli": 3, "qqp": 2, "rte": 2, "sst2": 2}
SUPERGLUE = {"cb": 3, "wic": 2, "copa": 2, "boolq": 2, "multirc": 2}


def tasks_of(name: str, setting: str = "", seed: int = 0, **arguments: Any) -> list[Task]:
    scenario = plugins.build("scenario", name, arguments, seed=seed, setting=setting)
    return check_tasks(scenario.tasks(), scenario.setting)


def texts(where: str, labels: int, each: int, columns: tuple[str, ...], label: str) -> dict[str, list[Any]]:
    numbers = [(own, number) for own in range(labels) for number in range(each)]
    cells = {column: [f"{where} {column} of {own} {number}" for own, number in numbers] for column in columns}
    return {**cells, label: [own for own, _ in numbers]}


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set of text_sequences, six texts a label to train and three to test."""
    root = tmp_path_factory.mktemp("hub")
    for name, source in read_preset(available_presets()["text_sequences"]).tasks.items():
        count = {**GLUE, **SUPERGLUE, "agnews": 4, "amazon": 5, "yelp": 5, "dbpedia": 14, "yahoo": 10, "imdb": 2}[name]
        columns, label = source.columns["text"], source.columns["label"][0]
        names = [f"{name} {number}" for number in range(count)]
        features = labelled(names, **dict.fromkeys(columns, "text"), **{label: "label"})
        splits = {source.splits["train"]: 6, source.splits["test"]: 3}
        given = {split: texts(f"{name} {split}", count, each, columns, label) for split, each in splits.items()}
        write_hub(root, source.hub, given, None if source.labels else features)
    return root


def test_the_orders_are_the_papers(standard: Path) -> None:
    first = tasks_of("text_sequences", root=str(standard))
    assert [task.name for task in first] == ["dbpedia", "amazon", "yahoo", "agnews"]
    long = tasks_of("text_sequences", root=str(standard), order=4)
    assert " ".join(task.name for task in long) == (
        "mnli cb wic copa qqp boolq rte imdb yelp amazon sst2 dbpedia agnews multirc yahoo"
    )
    assert len({task.name for task in long}) == 15
    with pytest.raises(InputError, match=r"unknown order of preset 'text_sequences': '7'; .*allowed: 1, 2, .*mbpa4$"):
        tasks_of("text_sequences", root=str(standard), order=7)


def test_columns_labels_and_splits_of_texts(standard: Path) -> None:
    tasks = {task.name: task for task in tasks_of("text_sequences", root=str(standard), order=4)}
    yahoo = tasks["yahoo"]
    assert yahoo.test["text"][0] == " || ".join(
        f"yahoo test {column} of 0 0" for column in ("question_title", "question_content", "best_answer")
    )
    assert yahoo.labels[:2] == ("yahoo 0", "yahoo 1")
    assert tasks["amazon"].labels == ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    # Of six texts a label one is drawn for dev; GLUE's validation split is the test.
    assert [len(split) for split in tasks["mnli"].splits.values()] == [15, 3, 9]
    assert tasks["mnli"].test["text"][0].startswith("mnli validation_matched premise of 0 0 || ")
    fewer = tasks_of("text_sequences", root=str(standard), train=6, dev=2, test=3)
    assert [len(split) for split in fewer[3].splits.values()] == [6, 2, 3]  # agnews: four labels
    assert sorted(Counter(fewer[3].train["label"][:]).values()) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("per_label", "most", "counts"),
    [(None, None, {"a": 6, "b": 2}), (3, None, {"a": 3, "b": 2}), (None, 4, {"a": 2, "b": 2}), (1, 1, {"a": 1})],
)
def test_rows_are_chosen_evenly(per_label: int | None, most: int | None, counts: dict[str, int]) -> None:
    answers = ["a", None, "a", "b", "a", "a", "b", "a", "a"]
    strata = [answer or "" for answer in answers]
    chosen = choose_rows(answers, strata, per_label, most, random.Random(2))
    assert chosen == sorted(set(chosen))
    assert Counter(answers[number] for number in chosen) == counts


def test_labels_are_dealt_out_to_tasks(tmp_path: Path) -> None:
    names = ["oos", *(f"intent {number}" for number in range(25))]
    features = labelled(names, text="text", intent="label")
    splits = {split: texts(split, 26, 2, ("text",), "intent") for split in ("train", "validation", "test")}
    write_hub(tmp_path, "clinc/clinc_oos:plus", splits, features)
    write_hub(tmp_path, "clinc/clinc_oos:small", splits, features)
    tasks = tasks_of("clinc150", root=str(tmp_path))
    assert [task.name for task in tasks] == [
        "intent 0 to intent 9",
        "intent 10 to intent 19",
        "intent 20 to intent 24",
    ]
    assert tasks[0].labels == tuple(f"intent {number}" for number in range(10))
    assert "oos" not in {label for task in tasks for label in task.labels}
    assert all([len(split) for split in task.splits.values()] == [2 * len(task.labels)] * 3 for task in tasks)
    drawn = [tasks_of("clinc150", root=str(tmp_path), order="seed", seed=seed) for seed in (0, 0, 1)]
    assert drawn[0][0].labels == drawn[1][0].labels != drawn[2][0].labels
    assert [len(task.labels) for task in tasks_of("clinc150", root=str(tmp_path), labels_per_task=13)] == [13, 12]


def test_a_task_marks_its_own_entities(tmp_path: Path) -> None:
    tags = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
    given = {}
    for split in ("train", "validation", "test"):
        both = {"tokens": [split, "Ann", "Lee", "left", "Rome"], "ner_tags": [0, 1, 2, 0, 5]}
        other = {"tokens": [split, "IBM", "Dutch"], "ner_tags": [0, 3, 7]}
        none = {"tokens": [split, "nothing"], "ner_tags": [0, 0]}
        given[split] = {key: [row[key] for row in (both, other, none)] for key in both}
    kinds = {"tokens": datasets.List(datasets.Value("string"))}
    write_hub(
        tmp_path,
        "eriktks/conll2003",
        given,
        datasets.Features({**kinds, "ner_tags": datasets.List(datasets.ClassLabel(names=tags))}),
    )
    loc, misc, org, per = tasks_of("conll2003_ner", root=str(tmp_path))
    assert [task.name for task in (loc, misc, org, per)] == ["LOC", "MISC", "ORG", "PER"]
    assert loc.labels == ("O", "B-LOC", "I-LOC")
    assert (loc.test["tokens"][:], loc.test["tags"][:]) == ([["test", "Ann", "Lee", "left", "Rome"]], [[0, 0, 0, 0, 1]])
    assert per.train["tags"][:] == [[0, 1, 2, 0, 0]]
    assert (misc.dev["tokens"][:], misc.dev["tags"][:]) == ([["validation", "IBM", "Dutch"]], [[0, 0, 1]])
    two = tasks_of("conll2003_ner", root=str(tmp_path), labels_per_task=2)
    assert two[1].labels == ("O", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert two[1].train["tags"][:] == [[0, 3, 4, 0, 0], [0, 1, 0]]


def test_tags_and_numbers_of_a_persons_own_preset(tmp_path: Path) -> None:
    """Plain tags stay as they are, sentences without an entity too; numbered labels are in the order of numbers."""
    (tmp_path / "tags.yaml").write_text(
        "{title: T, kind: token, labels: [N, V], measure: token_accuracy, tasks: {one: {hub: owner/one}, two: "
        "{hub: owner/two, labels: [O, B-x, I-x], measure: entity_f1}}}"
    )
    for name in ("one", "two"):
        given: dict[str, dict[str, list[Any]]] = {
            split: {"tokens": [[split, "a"], [split, "b"]], "tags": [[0, 0], [0, 1]]} for split in ("train", "test")
        }
        write_hub(tmp_path, f"owner/{name}", given)
    one, two = tasks_of(str(tmp_path / "tags.yaml"), root=str(tmp_path))
    assert (one.labels, one.measure, two.labels) == (("N", "V"), "token_accuracy", ("O", "B-x"))
    assert one.test["tags"][:] == two.test["tags"][:] == [[0, 0], [0, 1]]
    (tmp_path / "numbers.yaml").write_text("{title: T, kind: text, hub: owner/n, labels_per_task: 6}")
    rows = {
        split: {"text": ["", *(f"{split} {n}" for n in range(24))], "label": [0, *range(12), *range(12)]}
        for split in given
    }
    write_hub(tmp_path, "owner/n", rows)
    first, second = tasks_of(str(tmp_path / "numbers.yaml"), root=str(tmp_path))
    assert (first.labels, second.labels) == (("0", "1", "2", "3", "4", "5"), ("6", "7", "8", "9", "10", "11"))
    assert "" not in first.test["text"][:]
    with pytest.raises(InputError, match=r"^train=-1 is not allowed; allowed: 1 or more$"):
        tasks_of(str(tmp_path / "numbers.yaml"), root=str(tmp_path), train=-1)


def test_entities_of_a_persons_own_files(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        rows = [
            {"tokens": [split, "Ann"], "tags": ["O", "B-PATIENT"]},
            {"tokens": [split, "aged", "93"], "tags": ["O", "O", "B-AGE"]},
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"^preset 'i2b2_ner' needs --scenario-arg root=FOLDER, a folder with train"):
        tasks_of("i2b2_ner")
    with pytest.raises(InputError, match=r"^task 'COUNTRY to DATE': train is empty$"):
        tasks_of("i2b2_ner", root=str(tmp_path))
    scenario = plugins.build("scenario", "i2b2_ner", {"root": str(tmp_path)}, seed=0, setting="class")
    tasks = scenario.tasks()
    assert len(tasks) == 8
    assert tasks[0].name == "AGE to CITY"
    assert tasks[0].train["tags"][:] == [[0, 0, 1]]


def test_instructions_in_files(tmp_path: Path) -> None:
    for name in read_preset(available_presets()["trace"]).tasks:
        (tmp_path / name).mkdir()
        for split in ("train", "eval", "test"):
            rows = [{"prompt": f"{split} of {name}?", "answer": "yes"}, {"prompt": f"{split} again", "answer": "no"}]
            (tmp_path / name / f"{split}.json").write_text(json.dumps(rows))
    tasks = tasks_of("trace", root=str(tmp_path))
    assert [task.name for task in tasks][:3] == ["C-STANCE", "FOMC", "MeetingBank"]
    assert [task.measure for task in tasks] == ["", "", "rouge_l", "chrf", "", "", "", "rouge_l"]
    assert tasks[0].dev["prompt"][:] == ["eval of C-STANCE?", "eval again"]
    (tmp_path / "FOMC" / "eval.json").unlink()
    with pytest.raises(InputError, match=r"^there is no file '.*FOMC/eval.json'$"):
        tasks_of("trace", root=str(tmp_path))


def test_images(tmp_path: Path) -> None:
    features = labelled([f"class {number}" for number in range(20)], img="image", fine_label="label")
    numbers = {"train": range(80), "test": range(100, 140)}
    given: dict[str, dict[str, list[Any]]] = {
        split: {"img": [pattern(number) for number in own], "fine_label": [number % 20 for number in own]}
        for split, own in numbers.items()
    }
    given["test"]["img"][0] = given["train"]["img"][0]  # test keeps it
    write_hub(tmp_path, "uoft-cs/cifar100", given, features)
    tasks = tasks_of("cifar100", root=str(tmp_path))
    assert [task.name for task in tasks] == ["class 0 to class 9", "class 10 to class 19"]
    assert [len(split) for split in tasks[0].splits.values()] == [29, 10, 20]
    assert "1 rows left out: repeated" in tasks[0].notes
    image = np.asarray(tasks[0].test[0]["image"], dtype="float32")
    assert np.allclose(image, pattern(0).transpose(2, 0, 1) / 255)


def test_one_split_of_larger_images(tmp_path: Path) -> None:
    kinds = {"image": datasets.Image(), "wnid": datasets.Value("string")}
    given: dict[str, list[Any]] = {
        "image": [pattern(number, 240) for number in range(20)],
        "wnid": [f"n{number % 2}" for number in range(20)],
    }
    write_hub(tmp_path, "axiong/imagenet-r", {"test": given}, datasets.Features(kinds))
    (first, second) = tasks_of("imagenet_r", root=str(tmp_path), labels_per_task=1, setting="class")
    assert [len(split) for split in first.splits.values()] == [7, 1, 2]
    assert np.asarray(second.train[0]["image"]).shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (
            [np.full((8, 8), 40_000, np.uint16)] * 4,
            "mine: an image has pixels of mode 'I;16'; allowed: 8 bits a channel",
        ),
        (["a.png"] * 4, "mine: the image column holds str; allowed: images"),
    ],
)
def test_what_is_no_image_of_8_bits_is_one_line(images: list[Any], line: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("{title: T, kind: image, hub: owner/one, labels_per_task: 1}")
    kind = datasets.Value("string") if isinstance(images[0], str) else datasets.Image()
    features = datasets.Features({"image": kind, "label": datasets.ClassLabel(names=["a", "b"])})
    rows: dict[str, list[Any]] = {"image": images, "label": [0, 1, 0, 1]}
    write_hub(tmp_path, "owner/one", {"train": rows, "test": rows}, features)
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        tasks_of(str(tmp_path / "mine.yaml"), root=str(tmp_path))


PRESET = """
title: Two data sets
kind: text
hub: owner/one
tasks:
  one: {}
  two: {hub: owner/two}
orders:
  back: [two, one]
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("title: Two data sets", "", "preset 'mine.yaml' has no title; allowed: a text"),
        ("kind: text", "kind: texts", "unknown kind in preset 'mine.yaml': 'texts'; did you mean 'text'? allowed: "),
        ("hub: owner/one", "hubb: owner/one", "unknown key in preset 'mine.yaml': 'hubb'; did you mean 'hub'?"),
        ("hub: owner/one", "", "preset 'mine.yaml', task 'one' needs hub (OWNER/NAME) or files, and not both"),
        ("[two, one]", "[two, onee]", "unknown task in order back of preset 'mine.yaml': 'onee'; did you mean 'one'?"),
        ("[two, one]", "[two, two]", "preset 'mine.yaml': order back names a task twice; allowed: once each"),
        ("title", "labels_per_task: 2\ntitle", "preset 'mine.yaml' needs tasks or labels_per_task, and not both"),
        ("title", "settings: [tasks]\ntitle", "unknown setting in preset 'mine.yaml': 'tasks'; did you mean 'task'?"),
        ("title", "most: {train: 0}\ntitle", "preset 'mine.yaml': most: train: 0 is not allowed; allowed: a whole "),
        (
            "title",
            "labels: [no, yes]\ntitle",
            "preset 'mine.yaml', task 'one': labels holds [False, True]; allowed: texts, in quotes",
        ),
        ("title", "columns: {txt: a}\ntitle", "unknown key in preset 'mine.yaml', task 'one': columns: 'txt'; did "),
        ("title", "test: 2.0\ntitle", "preset 'mine.yaml': test: 2.0 is not allowed; allowed: a share above 0 and "),
        (PRESET, "[", "preset '"),
        (PRESET, "- a", "preset 'mine.yaml' holds list; allowed: a mapping"),
    ],
)
def test_a_bad_file_is_one_line(
    old: str, new: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PRESET.replace(old, new, 1))
    assert main(["run", "--scenario", str(file), "--strategy", "naive", "--output-dir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {line}")
    assert told.count("\n") == 1


def test_data_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PRESET)
    rows = {"text": ["a", "b"], "label": ["x", "y"]}
    write_hub(tmp_path, "owner/one", {"train": rows, "test": rows})
    with pytest.raises(InputError, match=r"holds no folder owner/two; allowed: a folder with owner/two as the hub"):
        tasks_of(str(file), root=str(tmp_path))
    write_hub(tmp_path, "owner/two", {split: {"text": ["a"], "labels": ["x"]} for split in ("train", "test")})
    with pytest.raises(InputError, match=r"^mine: train has no column 'label', only text, labels$"):
        tasks_of(str(file), root=str(tmp_path))
    write_hub(tmp_path, "owner/two", {"train": rows, "validation": rows})
    (tmp_path / "owner" / "two" / "data" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"^unknown split of owner/two: 'test'; .*allowed: train, validation$"):
        tasks_of(str(file), root=str(tmp_path))


def test_a_preset_runs_and_resumes_as_any_scenario(
    standard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = [part for split in ("train", "dev", "test") for part in ("--scenario-arg", f"{split}=8")]
    given = ["run", "--scenario", "text_sequences", "--scenario-arg", f"root={standard}", "--strategy", "naive"]
    given += [*limits, "--model", "tiny", "--epochs", "1", "--output-dir", str(tmp_path)]
    assert main([*given, "-q"]) == 0, capsys.readouterr().err
    (run,) = tmp_path.glob("text_sequences/naive/*")
    result = json.loads((run / "result.json").read_text())
    assert result["tasks"] == ["dbpedia", "amazon", "yahoo", "agnews"]
    assert main(["resume", str(run), "-q"]) == 0
    capsys.readouterr()
    assert main(["errors", str(run), "--task", "agnews", "--format", "json"]) == 0
    (agnews,) = json.loads(capsys.readouterr().out)["tasks"]
    assert all(mistake["text"].startswith("agnews test text of ") for mistake in agnews["mistakes"])
