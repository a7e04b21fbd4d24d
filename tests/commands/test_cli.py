"""The command line refuses bad input in one line; its light commands answer without torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clbench as clbench_package
from clbench.cli import main

RUN = ["run", "--model", "tiny"]
TOY = [*RUN, "--scenario", "toy"]
NAIVE = [*TOY, "--strategy", "naive"]
TICKETS = [*RUN, "--scenario", "tickets.py", "--strategy", "naive", "--scenario-arg"]

SCENARIO = '''"""A scenario of a user."""
from clbench import Scenario, Task
from clbench.tasks import read_csv_tasks, text_dataset

LABELS = ("no", "yes")

class Mine(Scenario):
    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "tickets.csv") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self) -> list[Task]:
        return BODY
'''
TASK = """[Task(name, "text", LABELS, *(
            text_dataset([(f"{name} {split} {label}", label) for label in labels], LABELS)
            for split, labels in (("train", LABELS), ("dev", LABELS), ("test", TEST)))) for name in NAMES]"""
STRATEGY = '''"""A strategy of a user."""
from clbench import Strategy

class Mine(Strategy):
    def __init__(self, a: HINT = 1) -> None:
        BODY
'''
FILES: dict[str, str | bytes] = {
    "tickets.py": SCENARIO.replace("BODY", "read_csv_tasks(self.path, seed=self.seed)"),
    "one.py": SCENARIO.replace("BODY", TASK.replace("TEST", "LABELS").replace("NAMES", '["app"]')),
    "unlabelled.py": SCENARIO.replace("BODY", TASK.replace("TEST", "LABELS[:1]").replace("NAMES", '["app", "web"]')),
    "syntax.py": "def (:\n",
    "raises.py": SCENARIO + 'raise RuntimeError("two\\nlines")\n',
    "exits.py": SCENARIO + "raise SystemExit(5)\n",
    "boom.py": STRATEGY.replace("HINT", "int").replace("BODY", "raise KeyError('bang')"),
    "hints.py": STRATEGY.replace("HINT", '"Nope"').replace("BODY", "pass"),
    "nothing.py": '"""No class."""\n',
    "empty.csv": "",
    "header.csv": "task,text,label\n",
    "body.csv": "task,body,label\na,b,c\n",
    "gap.csv": "task,text,label\na,,c\n",
    "latin.csv": b"task,text,label\na,caf\xe9,c\n",
    "letters.csv": "a,b\nc,d\n",
    "ragged.csv": "0.5,0.5\n0.2\n",
    "three.csv": "0.5\n0.5\n0.5\n",
    "high.csv": "101\n",
    "binary.csv": b"\x00\xff\x01",
    "blank.json": "{}",
    "key.yaml": "epoch: 3\n",
    "not.yaml": "a: [1\nb: }",
    "list.yaml": "- epochs\n",
    "type.yaml": "epochs: many\n",
    "arguments.yaml": "scenario_args: 3\n",
    "bytes.yaml": b"\xff\xfe\x00",
    "in_the_way": "a file\n",
    "other/config.json": "{}",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's flawed files, and the working directory."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that ``arguments`` are refused with."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 2, captured
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err.removeprefix("error: ").rstrip("\n")


# What is given, and what the line must say: the value, what is allowed, and the nearest match where there is one.
UNKNOWN = [
    (["rnu"], ["'rnu'", "Did you mean 'run'"]),
    ([*NAIVE, "--epoch", "3"], ["--epoch", "--epochs"]),
    ([*NAIVE, "surplus"], ["surplus"]),
    ([*RUN, "--scenario", "toi", "--strategy", "naive"], ["'toi'; did you mean 'toy'?", "text_seq"]),
    ([*TOY, "--strategy", "ewcc"], ["'ewcc'; did you mean 'ewc'?", "replay"]),
    ([*TOY, "--strategy", "replay+ewcc"], ["'ewcc'; did you mean 'ewc'?"]),
    ([*TOY, "--strategy", "ewc(ewc_lamda=1)"], ["'ewc_lamda'; did you mean 'ewc_lambda'?"]),
    ([*NAIVE, "--scenario-arg", "trian=30"], ["'trian'; did you mean 'train'?"]),
    ([*NAIVE, "--setting", "taks"], ["'taks'", "did you mean 'task'? allowed: class, domain, task"]),
    ([*NAIVE, "--precision", "fp61"], ["'fp61'", "did you mean 'fp16'? allowed: auto, bf16, fp16, fp32"]),
    ([*NAIVE, "--device", "gpu"], ["'gpu'; did you mean 'cpu'?", "cuda"]),
    ([*NAIVE, "--device", "cuda:99"], ["'cuda:99'", "allowed: auto, cpu"]),
    ([*NAIVE, "--config", "key.yaml"], ["key.yaml", "'epoch'; did you mean 'epochs'?"]),
    (["list", "strategis"], ["'strategis'; did you mean 'strategies'?", "runs"]),
    (["describe", "ewcc"], ["'ewcc'; did you mean 'ewc'?", "toy"]),
    (["data", "pul"], ["'pul'; did you mean 'pull'?", "list"]),
    (["data", "list", "minilm", "minilmm"], ["'minilmm'; did you mean 'minilm'?"]),
    (["data", "pull", "text_sec"], ["'text_sec'; did you mean 'text_seq'?"]),
    (["metrics", "letters.csv", "--format", "jsn"], ["'jsn'; did you mean 'json'?", "table"]),
    (["plot", "curvs", ".", "-o", "x.png"], ["'curvs'; did you mean 'curves'?", "tradeoff"]),
]
MISSING = [
    (["run", "--strategy", "naive"], ["--scenario"]),
    (TOY, ["--strategy"]),
    (["run", "--scenario"], ["--scenario", "requires an argument"]),
    (["resume"], ["RUN"]),
    (["plot", "curves"], ["--output"]),
    (["metrics"], ["FILE"]),
    (["errors"], ["RUN"]),
]
WRONG = [
    ([*NAIVE, "--epochs", "abc"], ["--epochs", "integer"]),
    ([*NAIVE, "--seed", "x"], ["--seed", "0-4"]),
    ([*NAIVE, "--lr", "fast"], ["--lr", "number"]),
    ([*NAIVE, "--lr", "nan"], ["lr = nan", "finite"]),
    ([*NAIVE, "--lr", "-1"], ["lr = -1.0", "greater than 0"]),
    ([*NAIVE, "--epochs", "0"], ["epochs = 0", "1"]),
    ([*NAIVE, "--steps", "9", "--epochs", "2"], ["--steps and --epochs cannot be given together"]),
    (["run", "--scenario", "toy", "--strategy", "gdumb", "--steps", "9"], ["'gdumb' trains by epochs, not by steps"]),
    ([*TOY, "--strategy", "gdumb", "--optimizer-state", "carried"], ["'carried'; allowed: fresh"]),
    ([*NAIVE, "--max-grad-norm", "-1"], ["max_grad_norm = -1.0 is not allowed"]),
    ([*NAIVE, "--seed", "-1"], ["seed = -1", "0"]),
    ([*NAIVE, "--limit", "-1"], ["limit = -1", "1"]),
    ([*NAIVE, "--batch-size", "0"], ["batch_size = 0", "1"]),
    ([*NAIVE, "--max-length", "1"], ["max_length = 1", "4"]),
    ([*NAIVE, "--checkpoint-every", "0"], ["checkpoint_every = 0", "1"]),
    ([*NAIVE, "--scenario-arg", "train=-5"], ["train=-5", "3 or more"]),
    ([*NAIVE, "--scenario-arg", "train=many"], ["train = 'many'", "int"]),
    ([*NAIVE, "--scenario-arg", "train"], ["'train'", "K=V"]),
    ([*NAIVE, "--scenario-arg", "=5"], ["'=5'", "K=V"]),
    ([*TOY, "--strategy", "replay(memory_size='x')"], ["memory_size = 'x'", "float"]),
    ([*TOY, "--strategy", "replay(memory_size=-1)"], ["memory_size = -1", "a fraction below 1"]),
    ([*TOY, "--strategy", "ewc("], ["'ewc('", "not closed"]),
    ([*TOY, "--strategy", "ewc(3)"], ["'3'", "key=value"]),
    ([*TOY, "--strategy", "ewc(ewc_lambda=print())"], ["'print()'", "not a literal"]),
    ([*TOY, "--strategy", "ewc+ewc"], ["'ewc'", "twice"]),
]
PATHS = [
    ([*RUN, "--scenario", "./gone.py", "--strategy", "naive"], ["'./gone.py'", "does not exist"]),
    ([*TOY, "--strategy", "./gone.py"], ["'./gone.py'", "does not exist"]),
    ([*RUN, "--scenario", "syntax.py", "--strategy", "naive"], ["syntax.py", "invalid syntax"]),
    ([*RUN, "--scenario", "raises.py", "--strategy", "naive"], ["raises.py", "RuntimeError: two lines"]),
    ([*RUN, "--scenario", "exits.py", "--strategy", "naive"], ["exits.py", "SystemExit: 5"]),
    ([*RUN, "--scenario", "nothing.py", "--strategy", "naive"], ["nothing.py", "no subclass"]),
    ([*RUN, "--scenario", "one.py", "--strategy", "naive"], ["at least two tasks, got 1"]),
    ([*RUN, "--scenario", "unlabelled.py", "--strategy", "naive"], ["'app'", "test has no example", "'yes'"]),
    ([*TICKETS, "path=gone.csv"], ["gone.csv", "No such file"]),
    ([*TICKETS, "path=other"], ["other", "it is a folder"]),
    ([*TICKETS, "path=empty.csv"], ["empty.csv", "'task'"]),
    ([*TICKETS, "path=header.csv"], ["header.csv", "no rows"]),
    ([*TICKETS, "path=body.csv"], ["body.csv", "'text'", "task, body, label"]),
    ([*TICKETS, "path=gap.csv"], ["gap.csv, line 2", "must not be empty"]),
    ([*TICKETS, "path=latin.csv"], ["latin.csv", "utf-8"]),
    ([*NAIVE, "--model", "./gone"], ["'./gone'", "does not exist", "minilm, smollm2, "]),
    ([*NAIVE, "--model", "./other/"], ["'./other/'", "cannot be loaded"]),
    ([*NAIVE, "--config", "gone.yaml"], ["'gone.yaml'", "cannot be read"]),
    ([*NAIVE, "--config", "not.yaml"], ["'not.yaml'", "not YAML"]),
    ([*NAIVE, "--config", "list.yaml"], ["'list.yaml'", "list", "mapping"]),
    ([*NAIVE, "--config", "type.yaml"], ["epochs = 'many'", "integer"]),
    ([*NAIVE, "--config", "arguments.yaml", "--scenario-arg", "train=30"], ["scenario_args = 3", "dictionary"]),
    ([*NAIVE, "--config", "bytes.yaml"], ["'bytes.yaml'", "utf-8"]),
    ([*NAIVE, "--output-dir", "in_the_way"], ["in_the_way", "--output-dir"]),
    ([*NAIVE, "--output-dir", "/proc/clbench"], ["/proc/clbench", "--output-dir"]),
    (["resume", "gone"], ["'gone'", "no config.json"]),
    (["resume", "in_the_way"], ["'in_the_way'", "no config.json"]),
    (["compare", "gone"], ["'gone'"]),
    (["compare", "letters.csv"], ["'letters.csv'", "result.json"]),
    (["compare", "other"], ["no finished run"]),
    (["list", "runs", "gone"], ["'gone'"]),
    (["plot", "curves", "gone", "-o", "x.png"], ["'gone'"]),
    (["plot", "confusion", "other", "-o", "x.png"], ["no finished run in other"]),
    (["plot", "matrix", "other", "-o", "x.png", "--task", "a"], ["--task", "`plot confusion`"]),
    (["errors", "gone"], ["'gone'"]),
    (["errors", "other"], ["no finished run in other", "a run's folder"]),
    (["errors", "letters.csv"], ["'letters.csv'", "result.json"]),
    (["describe", "./gone.py"], ["'./gone.py'", "does not exist"]),
    (["metrics", "gone.csv"], ["gone.csv", "No such file"]),
    (["metrics", "other"], ["other", "folder"]),
    (["metrics", "empty.csv"], ["empty.csv", "empty", "T columns"]),
    (["metrics", "letters.csv"], ["letters.csv, line 1, cell 1", "'a'"]),
    (["metrics", "ragged.csv"], ["ragged.csv, line 2"]),
    (["metrics", "three.csv"], ["3 rows and 1 columns"]),
    (["metrics", "high.csv"], ["'101'", "0 to 100"]),
    (["metrics", "binary.csv"], ["binary.csv"]),
    (["metrics", "blank.json"], ["blank.json", "accuracy_matrix"]),
]
LONG = "/tmp/" + "x" * 5000
LONG_OR_ODD: list[tuple[list[str], list[str]]] = [
    *(
        (arguments, ["/xxx"])
        for arguments in (["resume", LONG], ["check", LONG], ["metrics", LONG], ["compare", LONG], ["errors", LONG])
    ),
    ([*NAIVE, "--output-dir", LONG], ["/xxx"]),
    (["advise", "toy", "--model", "tiny", "--budget", "5m", "-o", LONG], ["/xxx"]),
    ([*NAIVE, "--config", LONG], ["/xxx"]),
    ([*NAIVE, "--tuned", LONG], ["/xxx"]),
    ([*RUN, "--scenario", f"{LONG}.csv", "--strategy", "naive"], ["/xxx"]),
    ([*RUN, "--scenario", f"{LONG}.yaml", "--strategy", "naive"], ["/xxx"]),
    (["describe", f"{LONG}.csv"], ["/xxx"]),
    (["advise", f"{LONG}.csv"], ["/xxx"]),
    (["report", LONG], ["/xxx"]),
    (["predict", LONG, "a"], ["/xxx"]),
    (["export", LONG, "-o", "new"], ["/xxx"]),
    (["plot", "sensitivity", f"{LONG}.yaml", "-o", "a.png"], ["/xxx"]),
    (["plot", "confusion", LONG, "-o", "a.png"], ["/xxx"]),
    ([*TOY, "--strategy", f"/{'x' * 1000}.py"], ["/xxx"]),
    ([*NAIVE, "--model", LONG], ["/xxx"]),
    ([*NAIVE, "--device", "cuda:99999999999999999999"], ["cuda:9999"]),
    ([*NAIVE, "--device", "cuda:\u0663"], ["cuda:\u0663"]),
    ([*NAIVE, "--scenario-arg", f"train={'-' * 50000}5"], ["train"]),
    ([*TOY, "--strategy", "ewc(lambda=5)"], ["'lambda'", "did you mean 'ewc_lambda'"]),
    ([*TOY, "--strategy", "boom.py"], ["boom", "KeyError: 'bang'"]),
    ([*TOY, "--strategy", "hints.py"], ["hints", "NameError", "Nope"]),
    (TOY, ["`clbench list strategies`"]),
]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [pytest.param(*case, id=" ".join(case[0])[:99]) for case in (*UNKNOWN, *MISSING, *WRONG, *PATHS, *LONG_OR_ODD)],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_one_line(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(arguments, capsys)
    assert len(line) < 2100
    for part in parts:
        assert part in line


def clbench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clbench", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_process_exits_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = clbench("list", "scenari", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: unknown list 'scenari'; did you mean 'scenarios'? allowed: models, runs, scenarios, strategies"
    ]


def test_light_commands_import_neither_torch_nor_anything_slow(folder: Path) -> None:
    (folder / "matrix.csv").write_text("0.9,\n0.8,0.7\n")
    commands = [
        *(
            ["--help"],
            ["run", "--help"],
            ["errors", "--help"],
            ["describe", "ewc"],
            ["describe", "toy"],
            ["list", "runs", "."],
        ),
        *(["list", "strategies"], ["list", "scenarios", "--json"], ["list", "models"], ["data", "list"]),
        *(["metrics", "matrix.csv"], ["metrics", "matrix.csv", "--format", "json"], ["compare", "."]),
    ]
    script = (
        "import json, sys\nfrom clbench.cli import main\n"
        "heavy = {'torch', 'transformers', 'datasets', 'matplotlib', 'pandas', 'sklearn', 'pyarrow'}\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    main(command)\n"
        "    assert not heavy & {*sys.modules}, (command, heavy & {*sys.modules})\n"
        "print('done', len(sys.argv))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("done 2\n"), done.stderr
    assert (
        done.stderr
        == "error: no finished run to compare; start one with: clbench run --scenario NAME --strategy EXPR\n"
    )


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr()
    assert main(["--help"]) == 0
    assert bare == capsys.readouterr()
    assert bare.err == ""
    for command in ("run", "resume", "compare", "plot", "errors", "list", "describe", "metrics", "check", "data"):
        assert f"\n  {command} " in bare.out


def test_version_ends_before_a_command_starts(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--version", "list", "models"]):
        assert main(arguments) == 0
        assert capsys.readouterr() == (f"clbench {clbench_package.__version__}\n", "")


def test_completion_of_the_shell_knows_the_commands(tmp_path: Path) -> None:
    environment = {**os.environ, "_CLBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "clbench de", "COMP_CWORD": "1"}
    command = [sys.executable, "-c", "from clbench.cli import main; main()"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["describe"], done.stderr


def test_help_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for option in (
        "--scenario",
        "--strategy",
        "--model",
        "--setting",
        "--seed",
        "--epochs",
        "--lr",
        "--head-lr",
        "--batch-size",
    ):
        assert option in captured.out
    for option in ("--max-length", "--scenario-arg", "--limit", "--device", "--precision", "--config", "--output-dir"):
        assert option in captured.out
    assert "keep the last checkpoint, the whole state at the end, for a look at it" in " ".join(captured.out.split())
    for option in ("--overwrite", "--checkpoint-every", "--keep-checkpoints", "--dry-run", "-q", "-v"):
        assert option in captured.out


@pytest.mark.parametrize(("what", "names"), [("strategies", ["ewc", "naive"]), ("scenarios", ["text_seq", "toy"])])
def test_list_gives_names_and_summaries(what: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what, "--json"]) == 0
    rows = {row["name"]: row["summary"] for row in json.loads(capsys.readouterr().out)}
    assert main(["list", what]) == 0
    table = capsys.readouterr().out
    for name in names:
        assert rows[name].endswith((".", "?"))
        assert f"{name} " in table
        assert rows[name] in table


@pytest.mark.usefixtures("folder")
def test_describe_gives_the_arguments_of_a_name_and_of_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "replay"]) == 0
    assert re.search(r"^memory_size +float +0", capsys.readouterr().out, re.MULTILINE)
    assert main(["describe", "./tickets.py"]) == 0
    output = capsys.readouterr().out
    assert "A scenario of a user." in output
    assert "'tickets.csv'" in output


def test_metrics_of_a_published_matrix_in_percentages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Worked by hand: the last row's mean, the diagonal's, the mean of the row means 0.9, 0.875 and 2.3/3,
    # (0.95 - 0.6 + 0.8 - 0.75) / 2, the same as shares, (0.6 - 0.9 + 0.75 - 0.8) / 2, and 0.6 / 0.9.
    (tmp_path / "paper.csv").write_text("90,,\n95,80,\n60,75,95\n")
    assert main(["metrics", str(tmp_path / "paper.csv"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "average_accuracy": pytest.approx(2.3 / 3),
        "learning_accuracy": pytest.approx(2.65 / 3),
        "average_incremental_accuracy": pytest.approx((0.9 + 0.875 + 2.3 / 3) / 3),
        "forgetting": pytest.approx(0.2),
        "relative_forgetting": pytest.approx((0.35 / 0.95 + 0.05 / 0.8) / 2),
        "backward_transfer": pytest.approx(-0.175),
        "forward_transfer": None,
        "worst_retention": pytest.approx(2 / 3),
    }
    assert main(["metrics", str(tmp_path / "paper.csv")]) == 0
    assert "read as percentages" in capsys.readouterr().out


def test_metrics_of_fractions_with_a_row_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.csv").write_text("0.4,0.5\n0.9,0.7\n0.8,0.6\n")
    assert main(["metrics", str(tmp_path / "two.csv"), "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["forward_transfer"] == pytest.approx(0.7 - 0.5)
    assert values["average_accuracy"] == pytest.approx(0.7)
    assert values["forgetting"] == pytest.approx(0.1)
