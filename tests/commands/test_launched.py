"""`torchrun -m clbench run`: two processes train one model, and what comes of it is what one process gives."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchmarks.data_parallel import DROPOUT, OPTIONS, Difference, difference, launch, measure, results, run_arguments
from clbench import engine
from clbench.cli import main
from clbench.errors import InputError
from clbench.models import ranks
from clbench.plugins import make_plan
from clbench.results import RunFolder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes and signals as on Linux")
# Of all families: a memory with a penalty and a teacher; stored outputs; a projection with modules, and a recipe that
# decides by the dev loss and takes gradients twice; frozen features; a loop of its own.
FAMILIES = (
    "distillation+ewc+replay",
    "der",
    "agem+early_stopping+lora_incremental+sam",
    "ncm",
    "gdumb(epochs=1)",
)


def forked(folder: Path, arguments: list[str]) -> tuple[int, str, str]:
    """As :func:`launch`, in processes that have the libraries already: exit code, stdout and stderr.

    The launcher's variables are all that it says to them.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = []
    for number in range(2):
        if not (process := os.fork()):
            _become(folder, {**given, "RANK": str(number), "LOCAL_RANK": str(number)}, arguments)
        processes.append(process)
    codes = []
    until = time.monotonic() + 300
    for process in processes:
        while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() < until:
            time.sleep(0.01)
        if not ended[0]:
            os.kill(process, signal.SIGKILL)
            ended = os.waitpid(process, 0)
        codes.append(os.waitstatus_to_exitcode(ended[1]))
    out, err = ((folder / name).read_text() for name in ("out.txt", "err.txt"))
    return max(codes, key=abs), out, err


def _become(folder: Path, variables: dict[str, str], arguments: list[str]) -> NoReturn:
    """Be one of the processes, until its end."""
    code = 1
    try:
        os.environ.update(variables)
        os.chdir(folder)
        sys.stdout, sys.stderr = ((folder / name).open("a", buffering=1) for name in ("out.txt", "err.txt"))
        code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def check_the_same(found: Difference) -> None:
    """The same matrix, answers and counts, and answers that are as sure."""
    assert (found.answers, found.seen) == (0, 0)
    assert found.cell == pytest.approx(0, abs=1e-4)
    assert found.confidence == pytest.approx(0, abs=1e-4)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("pair")
    code, out, err = forked(folder, [*run_arguments(folder, *FAMILIES), "--output-dir", "two"])
    assert code == 0, err
    return folder, out


@pytest.mark.parametrize("strategy", FAMILIES)
def test_two_processes_give_what_one_gives(strategy: str, pair: tuple[Path, str], tmp_path: Path) -> None:
    plan = make_plan({**OPTIONS, "strategy": strategy, "output_dir": str(tmp_path)})
    engine.run(plan, engine.Reporter())
    ((place, one),) = results(tmp_path).items()
    # In the same place: processes are no part of the hash.
    check_the_same(difference(one, results(pair[0] / "two")[place]))


def test_one_of_two_processes_writes_and_speaks(pair: tuple[Path, str]) -> None:
    folder, out = pair
    assert len(results(folder / "two")) == len(FAMILIES)
    assert len(re.findall("seed 0: average accuracy", out)) == len(FAMILIES)
    (environment,) = folder.glob("two/toy/der/*/environment.json")
    assert json.loads(environment.read_text())["hardware"]["device"] == "2 x cpu"
    for log in folder.glob("two/toy/*/*/log.jsonl"):
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        assert events.count("row") == 3
    assert list(folder.rglob(".holder")) == []


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def told(err: str) -> list[str]:
    """What clbench says, and not the launcher."""
    return [line for line in err.splitlines() if line.startswith(("error: ", "interrupted"))]


FAILS = '''"""Fails in one of the processes, or in all, or is killed, or takes its time."""
import os, signal, time
from clbench import Strategy
from clbench.errors import RunError

class Fails(Strategy):
    def __init__(self, process: int = 1, how: str = "fails") -> None:
        self.process, self.how = process, how

    def before_step(self, learner):
        if self.how == "waits":
            time.sleep(0.2)
        elif learner.step == 2 and self.process in (-1, int(os.environ["RANK"])):
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RunError("out of luck")
'''


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    (tmp_path / "fails.py").write_text(FAILS)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("process=1", "error: process 1 of 2 (from 0): out of luck"),
        ("process=0", "error: process 0 of 2 (from 0): out of luck"),
        ("process=-1", "error: fails.*, seed 0: out of luck"),
    ],
)
def test_an_error_ends_all_with_one_line(how: str, line: str, failing: Path) -> None:
    process = launch(failing, run_arguments(failing, f"./fails.py({how})"))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert len(told(err)) == 1, err
    assert re.fullmatch(line, told(err)[0])
    assert 'File "/' not in err.split("torch/distributed")[0]
    assert list(failing.rglob("result.json")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_the_others(number: int, failing: Path) -> None:
    """The launcher tells of it and ends them, mostly before they can."""
    process = launch(failing, run_arguments(failing, f"./fails.py(process={number},how='killed')"))
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "Signal 9 (SIGKILL)" in err
    assert [line for line in told(err) if "ended or does not answer" not in line] == []
    assert len(told(err)) < 2


@pytest.mark.slow
def test_a_run_that_fails_in_all_processes_does_not_stop_the_next(failing: Path) -> None:
    arguments = run_arguments(failing, "./fails.py(process=-1)", "naive")
    process = launch(failing, arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert told(err) == ["error: fails(process=-1), seed 0: out of luck"]
    assert re.search("^naive, seed 0: average accuracy", out, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to", ["launcher", "second"])
def test_a_signal_saves_the_state_and_the_run_goes_on(number: signal.Signals, to: str, failing: Path) -> None:
    """Also in one process, and to the same end as without a stop."""
    arguments = [*run_arguments(failing, "replay+./fails.py(how='waits')"), "--output-dir", "stopped"]
    process = launch(failing, arguments)
    wait_for(lambda: list(failing.rglob("checkpoint")), process)
    children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    ranks_of = {
        int(re.search(rb"\0RANK=(\d)", Path(f"/proc/{child}/environ").read_bytes())[1]): child  # type: ignore[index]
        for child in children
    }
    os.kill(process.pid if to == "launcher" else ranks_of[1], number)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    (line,) = told(err)
    assert re.fullmatch(r"error: stopped; go on with: python -m clbench resume \S+", line)
    assert list(failing.rglob("result.json")) == []
    again = launch(failing, arguments)
    _, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    whole = launch(failing, [*arguments[:-1], "whole"])
    _, err = whole.communicate(timeout=300)
    assert whole.returncode == 0, err
    ((_, stopped),) = results(failing / "stopped").items()
    ((_, never),) = results(failing / "whole").items()
    files = [RunFolder(run.folder).read_predictions() for run in (stopped, never)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--jobs", "2"], "--jobs 2 is for runs of one process each"),
        (["--auto-batch"], "--auto-batch would halve a step"),
        (["--batch-norm", "updated"], "batch_norm = 'updated'"),
        (["--strategy", "avalanche.Naive"], "cannot learn a batch in parts"),
        (["--lr", "-1"], "lr = -1.0 is not allowed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(more: list[str], words: str, tmp_path: Path) -> None:
    process = launch(tmp_path, [*run_arguments(tmp_path, "naive"), *more])
    _, err = process.communicate(timeout=300)
    assert len(told(err)) == 1, err
    assert words in told(err)[0]
    assert "exitcode  : 2" in err


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_all_strategies_give_in_two_processes_what_they_give_in_one(setting: str, tmp_path: Path) -> None:
    found = measure(setting, tmp_path)
    assert len(found) > 45
    for name, apart in found.items():
        assert apart.seen == 0, name
        if name == "few_shot":  # of the prototypes after one epoch two may be as near: the last digit decides
            assert apart.answers <= 1
            assert apart.confidence == pytest.approx(0, abs=1e-4)
        elif name not in DROPOUT:
            check_the_same(apart)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auto_batch": True}, "--auto-batch"),
        ({"batch_norm": "updated"}, "statistics of its own part"),
        ({"strategy": "whole.py"}, "'whole.py' cannot learn a batch in parts, one for each of 2 processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_training(
    options: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole.py").write_text(
        '"""Needs a batch whole."""\nfrom clbench import Strategy\n\nclass Whole(Strategy):\n    accumulates = False\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ranks, "count", lambda: 2)
    given = {**OPTIONS, "strategy": "naive", **options}
    given["strategy"] = f"./{given['strategy']}" if given["strategy"].endswith(".py") else given["strategy"]
    with pytest.raises(InputError, match=re.escape(words.replace(".py", ""))):
        make_plan(given)


def test_the_rows_of_a_batch_are_dealt_to_all_processes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 3)
    parts: dict[int, list[list[int]]] = {}
    for number in range(3):
        monkeypatch.setattr(ranks, "number", lambda number=number: number)
        parts[number] = [ranks.my_rows(rows).tolist() for rows in (1, 2, 7)]
    assert parts == {0: [[0], [0], [0, 1, 2]], 1: [[], [1], [3, 4]], 2: [[], [], [5, 6]]}
