"""``export`` and ``predict`` on sentences, prompts and images at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from clbench.scenarios.toy_image import ToyImage
from PIL import Image

from clbench.cli import main
from clbench.results.folder import RunFolder

SIZES = [word for value in ("tasks=2", "train=24", "dev=3", "test=6") for word in ("--scenario-arg", value)]
Made = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """``run(scenario)``: the folder of a run of naive with its model; each is made once."""
    done: dict[str, Path] = {}

    def make(scenario: str) -> Path:
        if scenario not in done:
            output = tmp_path_factory.mktemp("run")
            words = ["run", "--scenario", scenario, "--strategy", "naive", "--epochs", "1", "-q", *SIZES]
            assert main([*words, "--output-dir", str(output), "--save-model"]) == 0
            (done[scenario],) = output.glob("*/naive/*")
        return done[scenario]

    return make


def asked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, Any]]:
    """The lines of ``predict``."""
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert main(["predict", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def stored(folder: Path, task: str) -> list[str]:
    """The predictions of a task's test examples after the last one."""
    columns = RunFolder(folder).read_predictions()
    rows = zip(*(columns[name] for name in ("after_task", "task", "prediction")), strict=True)
    return [prediction for after, name, prediction in rows if (after, name) == (2, task)]


def test_sentences_from_words_and_from_every_kind_of_file(
    run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("toy_token")
    sentences = [["the", "apple", "near", "kitchen"], ["old", "river,", "[stone]"]]
    joined = [" ".join(words) for words in sentences]
    expected = asked(capsys, folder, "--task", "kitchen", *joined)
    assert [list(line) for line in expected] == [["tags", "probability", "task", "task_from"]] * 2
    assert [len(line["tags"]) for line in expected] == [4, 3]
    assert asked(capsys, folder, "--task", "kitchen", *map(json.dumps, sentences)) == expected
    frames = {"tokens": sentences, "words": sentences, "text": joined}
    for column, cells in frames.items():
        frame = pd.DataFrame({"number": [1, 2], column: cells})
        frame.to_json(tmp_path / f"{column}.jsonl", orient="records", lines=True)
        frame.to_parquet(tmp_path / f"{column}.parquet")
        for suffix in ("jsonl", "parquet"):
            file = tmp_path / f"{column}.{suffix}"
            assert asked(capsys, folder, "--task", "kitchen", "--input", file) == expected, file
    (tmp_path / "lines.txt").write_text("\n".join(joined) + "\n")
    assert asked(capsys, folder, "--task", "kitchen", "--input", tmp_path / "lines.txt") == expected
    assert "argument 2 holds no words but ' '" in refused(capsys, folder, "x", " ")
    assert "no sentence was given; allowed: the words of a sentence as an argument, or" in refused(capsys, folder)
    (tmp_path / "bad.jsonl").write_text('{"tokens": [1, 2]}\n')
    line = refused(capsys, folder, "--input", tmp_path / "bad.jsonl")
    assert "row 1 of 'tokens' holds no words but [1, 2]; allowed: words with blanks between, or a JSON list" in line


def test_prompts_from_words_and_from_files(run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("toy_generation")
    prompts = ["kitchen old apple near the river", "the stone, near the kitchen"]
    expected = asked(capsys, folder, *prompts)
    assert [list(line) for line in expected] == [["answer", "probability", "task", "task_from"]] * 2
    assert {(line["task"], line["task_from"]) for line in expected} == {(None, "one model")}
    assert capsys.readouterr().err == ""  # there is nothing to warn of: the model is the same for every task
    pd.DataFrame({"number": [1, 2], "prompt": prompts}).to_csv(tmp_path / "a.csv", index=False)
    assert asked(capsys, folder, "--input", tmp_path / "a.csv") == expected
    assert "argument 1 holds an empty prompt" in refused(capsys, folder, " ")
    assert "unknown task 'garden'" in refused(capsys, folder, "--task", "garden", "x")


def test_image_files_get_the_labels_of_the_run(run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In 16 bits of grey nothing of a test image is lost that could move an answer."""
    folder = run("toy_image")
    tests = {
        task.name: np.asarray(task.test["image"][:]) for task in ToyImage(tasks=2, train=24, dev=3, test=6).tasks()
    }
    for task, images in tests.items():
        paths = []
        for number, image in enumerate(images):
            paths.append(str(tmp_path / f"{task}-{number}.png"))
            Image.fromarray((image[0] * 65535).round().astype("uint16")).save(paths[-1])
        lines = asked(capsys, folder, "--task", task, *paths)
        assert [line["label"] for line in lines] == stored(folder, task)
        pd.DataFrame({"path": paths, "number": 0}).to_csv(tmp_path / "paths.csv", index=False)
        assert asked(capsys, folder, "--task", task, "--input", tmp_path / "paths.csv") == lines
    assert asked(capsys, folder, *paths[:1])[0]["task_from"] == "all labels"


def test_images_that_are_none_are_one_line(run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("toy_image")
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.zeros((8, 8, 4), dtype="uint8"), "RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(np.zeros((8, 8), dtype="float32")).save(tmp_path / "floats.tiff")
    for file, line in (
        ("none.png", "argument 1: no such file"),
        ("text.png", "text.png' cannot be read: cannot identify image file"),
        ("alpha.png", "alpha.png' is partly transparent; allowed: images without an alpha channel"),
        ("floats.tiff", "floats.tiff' has pixels of mode 'F'; allowed: 8 bits, or 16 bits of grey"),
    ):
        assert line in refused(capsys, folder, tmp_path / file)


@pytest.mark.parametrize(("scenario", "column"), [("toy_token", "words"), ("toy_generation", "prompt")])
def test_a_second_text_is_not_left_away_in_silence(
    scenario: str, column: str, run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.DataFrame({column: ["a b"], "text_pair": ["c d"]}).to_csv(tmp_path / "pairs.csv", index=False)
    line = refused(capsys, run(scenario), "--input", tmp_path / "pairs.csv")
    assert "pairs.csv' has a column 'text_pair', and this model reads single" in line


def test_an_image_file_as_input_is_told_where_it_belongs(
    run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((8, 8), dtype="uint8")).save(tmp_path / "a.png")
    line = refused(capsys, run("toy_image"), "--input", tmp_path / "a.png")
    assert (
        "a.png' cannot be read as text (UTF-8); allowed: images, a line each, or a table; image.png as an argument"
        in line
    )
