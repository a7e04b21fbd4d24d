"""``--save-model``, ``export`` and ``predict`` at the command line; a stand-in of the hub takes what is pushed."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clbench.cli import main
from clbench.results.folder import RunFolder
from clbench.tasks import read_columns

RUN = [
    "run", "--scenario", "toy", "--strategy", "naive", "--epochs", "1", "--lr", "0.005", "--head-lr", "0.05", "-q",
    *(word for value in ("tasks=2", "train=24", "dev=3", "test=6") for word in ("--scenario-arg", value)),
]  # fmt: skip


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without its model."""
    output = tmp_path_factory.mktemp("bare")
    assert main([*RUN, "--output-dir", str(output)]) == 0
    (path,) = output.glob("toy/naive/*")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its model."""
    output = tmp_path_factory.mktemp("run")
    assert main([*RUN, "--output-dir", str(output), "--save-model"]) == 0
    (path,) = output.glob("toy/naive/*")
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "clbench.json"])
def test_a_file_as_large_as_a_disk_is_not_read(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / name
    with place.open("wb") as file:
        file.truncate(20 * 10**9)
    command = (
        ["predict", str(tmp_path), "text"] if name == "clbench.json" else ["predict", str(run), "--input", str(place)]
    )
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(place) in line
    assert "it is larger than" in line


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text\nhello, well\n", "line 2: 2 cells, but the header has 1; a cell with a ',' in it needs double quotes"),
        ("text,b\nhello, well,3\n", "line 2: 3 cells, but the header has 2"),
        ("text,b\nhello\n", "line 2: 1 cells, but the header has 2"),
        ('b,text\n1,"two\nlines"\n2,"hello\n', "line 4: a quote is out of place"),
        ("text,text\na,b\n", "2 columns are called 'text'"),
    ],
)
def test_a_cell_that_would_move_is_refused_with_its_line(
    content: str, told: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert main(["predict", str(run), "--input", str(tmp_path / "a.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_cells_are_read_as_they_stand_whatever_separates_them() -> None:
    for separator in (",", ";", "\t", "|"):
        content = f'\ufeffid{separator} text\n1{separator} "a, b"\n\n2{separator}"c ""d"";\t|"\n3{separator}""\n'
        columns = read_columns(content.encode(), ",", ["text"])
        assert columns == {"id": ["1", "2", "3"], "text": ["a, b", 'c "d";\t|', ""]}
    assert read_columns(b",text\n0,a\n", ",", ["text"]) == {"column 1": ["0"], "text": ["a"]}


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers = 1000000000, allowed are at most 10000"),
        ("config.json", {"transformers_weights": "harm.bin"}, "names harm.bin, which is not safetensors"),
        ("clbench.json", {"max_length": 10**30}, "max_length: "),
        ("pytorch_model.bin", None, "no file named model.safetensors"),
    ],
)
def test_a_changed_model_folder_is_one_line(
    file: str, change: dict[str, Any] | None, told: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(run / "model", folder)
    if change is None:
        (folder / "model.safetensors").rename(folder / file)  # a pickle would lie there
    else:
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    assert main(["predict", str(folder), "text"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_predict_reads_texts_from_words_and_from_every_kind_of_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["the apple near kitchen", 'a "quoted", river\nof two lines', "1"]
    frame = pd.DataFrame({"number": [1, 2, 3], "text": texts})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("\n".join(texts[::2]) + "\n")
    assert main(["predict", str(run), "--task", "kitchen", *texts]) == 0
    expected = answers(capsys.readouterr().out)
    assert [(a["task"], a["task_from"]) for a in expected] == [("kitchen", "given")] * 3
    assert [set(a) for a in expected] == [{"label", "probability", "task", "task_from"}] * 3
    for suffix in ("csv", "tsv", "jsonl", "json", "parquet"):
        output = tmp_path / f"answers-{suffix}.jsonl"
        given = ["--input", str(tmp_path / f"a.{suffix}"), "-o", str(output)]
        assert main(["predict", str(run), "--task", "kitchen", *given]) == 0
        assert answers(output.read_text()) == expected, suffix
    capsys.readouterr()
    assert main(["predict", str(run), "--task", "kitchen", "--input", str(tmp_path / "a.txt")]) == 0
    assert answers(capsys.readouterr().out) == expected[::2]


def test_predict_without_the_task_says_what_was_not_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "the apple near kitchen"]) == 0
    said = capsys.readouterr()
    (answer,) = answers(said.out)
    assert answer["task_from"] == "all labels"
    assert answer["label"].startswith(answer["task"])
    assert said.err == (
        "note: the run knew each text's task; how often it is right without was not measured: --task kitchen, station\n"
    )


def test_what_export_wrote_answers_as_the_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", str(run), "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    for place in (run, run / "model", out):
        assert main(["predict", str(place), "--task", "station", "old river"]) == 0
    one, two, three = answers(capsys.readouterr().out)
    assert one == two == three


def test_a_run_without_its_model_gets_it_by_the_command_that_is_said(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = RunFolder(bare).read_result()
    for command in (["export", str(bare), "-o", str(tmp_path / "out")], ["predict", str(bare), "a text"]):
        assert main(command) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        _, _, command = line.partition("python -m clbench ")  # type: ignore[assignment]
        assert command == f"resume {bare} --save-model\n"  # type: ignore[comparison-overlap]
    assert main(["resume", str(bare), "--save-model", "-q"]) == 0
    assert main(["export", str(bare), "-o", str(tmp_path / "out")]) == 0
    after = RunFolder(bare).read_result()
    assert before is not None
    assert after is not None
    assert after["predictions_sha256"] == before["predictions_sha256"]


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_bad_input_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.csv").write_text("sentance,label\nx,y\n")
    (tmp_path / "bad.parquet").write_text("no parquet")
    (tmp_path / "latin.txt").write_bytes("Käse".encode("latin-1"))
    (tmp_path / "numbers.jsonl").write_text('{"text": 3}\n')
    (tmp_path / "there").mkdir()
    model, out = str(run), str(tmp_path / "out")
    cases = {
        "unknown task 'statio'; did you mean 'station'?": ["predict", model, "--task", "statio", "x"],
        "holds no model (clbench.json is missing)": ["predict", str(tmp_path), "x"],
        "no such folder": ["predict", str(tmp_path / "nothing"), "x"],
        "no text was given": ["predict", model],
        "there' is a folder; allowed: one model, and then texts": ["predict", model, str(tmp_path / "there"), "x"],
        "texts and --input FILE were given": ["predict", model, "x", "--input", str(tmp_path / "two.csv")],
        "is no file": ["predict", model, "--input", str(tmp_path / "none.csv")],
        "rename 'sentance' to 'text'?": ["predict", model, "--input", str(tmp_path / "two.csv")],
        "bad.parquet' cannot be read": ["predict", model, "--input", str(tmp_path / "bad.parquet")],
        "latin.txt' cannot be read": ["predict", model, "--input", str(tmp_path / "latin.txt")],
        "row 1 of 'text' holds no text but 3": ["predict", model, "--input", str(tmp_path / "numbers.jsonl")],
        "no-folder/a.jsonl' cannot be written": [
            "predict",
            model,
            "x",
            "--output",
            str(tmp_path / "no-folder/a.jsonl"),
        ],
        "two.csv' is there already": ["predict", model, "x", "--output", str(tmp_path / "two.csv")],
        "unknown device 'gpu'": ["predict", model, "x", "--device", "gpu"],
        "exists already": ["export", model, "-o", str(tmp_path / "there")],
        "unknown task 'x'": ["export", model, "-o", out, "--task", "x"],
        "it has no adapter; leave --merge away": ["export", model, "-o", out, "--merge"],
        "--push 'model' is no repository's name": ["export", model, "-o", out, "--push", "model"],
        "unknown save_model 'eech'": [*RUN, "--save-model=eech"],
    }
    for line, arguments in cases.items():
        assert line in fails(arguments, capsys)
    assert not Path(out).exists()


def test_a_damaged_model_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (
        ("clbench.json", '{"format": 2}'),
        ("clbench.json", "{"),
        ("model.safetensors", "short"),
        ("config.json", "{"),
        ("tokenizer.json", "{"),
    ):
        out = tmp_path / "out"
        assert main(["export", str(run), "-o", str(out)]) == 0
        (out / name).write_text(content)
        assert str(out) in fails(["predict", str(out), "x"], capsys)
        out.rename(tmp_path / f"was {len(list(tmp_path.iterdir()))}")


class Hub(BaseHTTPRequestHandler):
    """What the hub answers to whoever makes a repository and commits files to it; all of them small."""

    requests: list[tuple[str, Any]]

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "/commit/" in self.path:
            content: Any = [json.loads(line) for line in body.splitlines()]
        else:
            content = json.loads(body or "{}")
        self.requests.append((self.path, content))
        address = f"http://{self.headers['Host']}/me/model"
        if self.path.endswith("/preupload/main"):
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in content["files"]]
            self._answer({"files": files})
        else:
            commit = {"commitUrl": f"{address}/commit/0", "commitOid": "0", "success": True}
            self._answer({"url": address, "id": "me/model", "name": "me/model", **commit})

    def _answer(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """What a stand-in of the hub was asked; the library talks to it alone."""
    from huggingface_hub import constants

    handler = type("Own", (Hub,), {"requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    try:
        yield handler.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


def test_push_uploads_what_export_wrote_to_a_private_repository(
    run: Path, tmp_path: Path, hub: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(run), "-o", str(out)]) == 0
    assert hub == []  # nothing unasked
    assert main(["export", str(out), "-o", str(tmp_path / "again"), "--push", "me/model"]) == 0
    assert "/me/model" in capsys.readouterr().out.splitlines()[-1]
    made = next(content for path, content in hub if path == "/api/repos/create")
    assert made["visibility"] == "private"
    commit = next(content for path, content in hub if path == "/api/models/me/model/commit/main")
    sent = {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in commit if row["key"] == "file"}
    assert sent == {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_hub_that_cannot_be_reached_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = fails(["export", str(run), "-o", str(tmp_path / "out"), "--push", "me/model"], capsys)
    assert "'me/model' cannot be pushed: " in line
    assert f"the model is in {str(tmp_path / 'out')!r}" in line
