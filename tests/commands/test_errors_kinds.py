"""What commands make of runs whose answers are tags, texts, or of images: values by hand, and runs of the toys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clbench.cli import main
from tests.commands.test_errors import Rows, answer as answer, write_run

TAGS: dict[tuple[int, str], Rows] = {
    (1, "names"): [("B-x O", "B-x O", 0.9), ("O B-x I-x", "O B-x I-x", 0.8)],
    (2, "names"): [("B-x O", "B-x B-x", 0.9), ("O B-x I-x", "O B-x O", 0.7)],
    (2, "words"): [("A N", "A N", 0.6)],
}
WRITTEN: dict[tuple[int, str], Rows] = {
    (1, "facts"): [("a b c", "a b c", 0.9), ("red", "blue", 0.8), ("x y", "x z", 0.95), ("k", "", 0.3)],
    (2, "facts"): [("a b c", "a b c", 0.9), ("red", "blue", 0.8), ("x y", "x z", 0.95), ("k", "k ", 0.3)],
    (2, "words"): [("yes", "yes", 0.6)],
}


def test_tags_are_told_by_words(tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", TAGS, ["names", "words"], "task", ["entity_f1", "token_accuracy"])
    names, words = answer(run)["tasks"]
    # One entity of three that are given is one of the two: 2 · 1/3 · 1/2 / (1/3 + 1/2).
    assert (names["measure"], names["accuracy"]) == ("entity_f1", pytest.approx(0.4))
    assert (names["examples"], names["wrong"]) == (5, 2)
    assert {own["label"]: (own["examples"], own["precision"], own["recall"]) for own in names["labels"]} == {
        "B-x": (2, pytest.approx(2 / 3), 1.0),
        "I-x": (1, 0.0, 0.0),
        "O": (2, 0.5, 0.5),
    }
    assert names["confusion"]["counts"] == [[2, 0, 0], [0, 0, 1], [1, 0, 1]]
    assert [(own["label"], own["lost"], own["went"][0]["label"]) for own in names["lost"]] == [
        ("I-x", 1, "O"),
        ("O", 1, "B-x"),
    ]
    assert [(m["index"], m["word"], m["label"], m["answer"]) for m in names["mistakes"]] == [
        (0, 1, "O", "B-x"),
        (1, 2, "I-x", "O"),
    ]
    assert (words["measure"], words["examples"], words["wrong"]) == ("token_accuracy", 2, 0)
    assert main(["errors", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "== names: 2 of 5 words wrong" in shown
    assert "0.900 example 0, word 1: O, answered B-x" in shown


def test_of_written_answers_the_worst_are_told(
    tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", WRITTEN, ["facts", "words"], "task", ["rouge_l", "exact_match"])
    (facts,) = answer(run, "--after", 1, "--task", "facts")["tasks"]
    assert [(m["index"], m["label"], m["answer"]) for m in facts["mistakes"]] == [
        (1, "red", "blue"),
        (3, "k", ""),
        (2, "x y", "x z"),
    ]
    (facts, words) = answer(run)["tasks"]
    # Blanks around an answer are none of its letters; of "x y" half is right.
    assert (facts["accuracy"], facts["wrong"], facts["labels"], facts["lost"]) == (pytest.approx(2.5 / 4), 2, [], None)
    assert (words["wrong"], words["mistakes"]) == (0, [])
    assert main(["errors", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "example 1: 'red', answered 'blue'" in shown
    assert "score" in shown
    assert main(["plot", "confusion", str(run), "-o", str(tmp_path / "c.png")]) == 2
    assert capsys.readouterr().err.startswith("error: 'facts' has written answers, which have no confusions; allowed: ")


def test_numbers_that_do_not_belong_to_the_answers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", TAGS, ["names", "words"], "task", ["token_accuracy", "token_accuracy"])
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "measure": "entity_f1"}))
    assert main(["errors", str(run)]) == 2
    assert "for 'names' after 2 tasks result.json says entity_f1 0.6" in capsys.readouterr().err
    plain = write_run(tmp_path / "plain", {(1, "words"): [("A", "A", 0.5)]}, ["words"], "task", ["token_accuracy"])
    stored = json.loads((plain / "result.json").read_text())
    (plain / "result.json").write_text(json.dumps({**stored, "measure": "entity_f1"}))
    assert main(["errors", str(plain)]) == 2
    assert "entity_f1 cannot judge its answers to 'words'" in capsys.readouterr().err
    (run / "result.json").write_text(json.dumps({**result, "measure": "r2"}))
    assert main(["errors", str(run)]) == 2
    told = capsys.readouterr().err
    assert "mistakes are told of labels, tags and written answers, and 'r2' measures others; allowed: runs " in told
    assert told.count("\n") == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A short run of each toy whose kind is not text."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = [part for size in ("tasks=2", "train=12", "dev=6", "test=9") for part in ("--scenario-arg", size)]
    found = {}
    for kind in ("token", "generation", "image"):
        given = ["run", "--scenario", f"toy_{kind}", "--strategy", "naive", *sizes, "--epochs", "1", "-q"]
        assert main([*given, "--device", "cpu", "--output-dir", str(folder)]) == 0
        (found[kind],) = folder.glob(f"toy_{kind}/naive/*")
    return found


def test_the_texts_of_each_kind(runs: dict[str, Path], answer: Callable[..., Any]) -> None:
    marked = answer(runs["token"])["tasks"][0]["mistakes"][0]
    words = marked["text"].split()
    assert len(words) == 11
    assert [place for place, word in enumerate(words) if word.startswith("[")] == [marked["word"]]
    asked = answer(runs["generation"])["tasks"][0]
    assert all(mistake["text"].split()[0] == asked["task"] for mistake in asked["mistakes"])
    assert answer(runs["image"])["notes"] == [
        "no texts: the examples are images; their numbers are places in the split"
    ]


@pytest.mark.parametrize("kind", ["token", "generation", "image"])
def test_a_model_that_was_not_kept_is_one_line(
    kind: str, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(runs[kind])
    for command in (["predict", run, "some text"], ["export", run, "-o", str(tmp_path / "out")]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert told.endswith(f"python -m clbench resume {run} --save-model\n")
        assert told.count("\n") == 1


def test_confusions_are_drawn_of_tags_and_images(runs: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("token", "image"):
        assert main(["plot", "confusion", str(runs[kind]), "-o", str(tmp_path / f"{kind}.png")]) == 0
        assert (tmp_path / f"{kind}.png").stat().st_size > 5000


@pytest.mark.parametrize("kind", ["token", "generation", "image"])
def test_describe_tells_the_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", f"toy_{kind}"]) == 0
    assert f"kind of task: {kind}" in capsys.readouterr().out
