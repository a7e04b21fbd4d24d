"""README and docs are what a newcomer copies: Python blocks are run, commands are parsed, links lead somewhere."""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

from benchmarks import tickets
from clbench.cli import app, main
from clbench.clock import Clock
from clbench.engine import engine
from clbench.engine.preparation import prepare
from clbench.engine.reporter import Reporter
from clbench.plugins.plan import make_plan
from clbench.report import mistake_records
from clbench.results import Tried, Tuned
from tests.helpers import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
SMALL = {"scenario_args": {"train": 30, "dev": 9, "test": 15}, "epochs": 2}
FENCE = re.compile(r"(?:<!-- file: (\S+) -->\n)?^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
QUICK = ("list", "describe", "data", "metrics")  # they answer at once; the others are parsed, `run` with --dry-run too


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page that are no files."""
    return [body for name, kind, body in FENCE.findall(text(page)) if kind == language and not name]


def write_files(page: str, folder: Path) -> dict[str, Path]:
    """Write what stands on a page under ``<!-- file: NAME -->``."""
    found = {name: folder / name for name, _, _ in FENCE.findall(text(page)) if name}
    for name, _, body in FENCE.findall(text(page)):
        if name:
            found[name].write_text(body, encoding="utf-8")
    return found


def steps(bodies: list[str]) -> list[list[str]]:
    """The words of each command in shell blocks."""
    lines = [line for body in bodies for line in body.replace("\\\n", " ").splitlines()]
    return [shlex.split(step, comments=True) for line in lines for step in line.split("&&")]


def commands(page: str) -> list[list[str]]:
    """The arguments of each clbench command in a page's shell blocks."""
    return [step[step.index("clbench") + 1 :] for step in steps(blocks(page, "bash")) if "clbench" in step[:3]]


OUTPUT = re.compile(r"^```bash\n([^\n]*)\n```\n\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)
"""A command alone in its block, and the block of what it prints."""


def make_tickets(page: str, folder: Path) -> None:
    """Run a page's commands that make a file for its examples."""
    for step in steps(blocks(page, "bash")):
        if "benchmarks/tickets.py" in step:
            tickets.main([str(folder / step[2]), *step[3:]])
        elif step[:1] == ["mkdir"] or step[:2] == ["python3", "-c"]:
            subprocess.run(
                [*([sys.executable] if step[0] == "python3" else step[:1]), *step[1:]], cwd=folder, check=True
            )


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", NAMES)
def test_links_between_pages_and_files_exist(page: str) -> None:
    prose = FENCE.sub("", text(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, part = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if part:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in map(anchor, headings), f"{page}: {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = text("README.md")
    assert [name for name in NAMES[1:] if f"]({name})" not in readme] == []


@pytest.mark.parametrize("page", NAMES)
def test_commands_are_those_of_the_command_line(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All are parsed; those that answer at once, and a --dry-run that needs no download, are run."""
    write_files(page, tmp_path)
    make_tickets(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    group: Any = typer.main.get_command(app)
    for arguments in commands(page):
        with group.make_context("clbench", list(arguments)) as context:
            name, command, rest = group.resolve_command(context, arguments)
            with command.make_context(name, list(rest), parent=context):
                pass
        ours = not {"text_seq", "wordnet_class"} & set(arguments)
        answers = name in QUICK and not {"pull", "runs", "theirs.csv"} & set(arguments)
        if ours and (answers or "--dry-run" in arguments):
            assert main(list(arguments)) == 0, (arguments, capsys.readouterr().err)


def test_your_own_data_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line of `describe`, but of the model's tokens; of the runs, with a small model, what is no number."""
    page = "docs/own_data.md"
    make_tickets(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    alone = [(steps([command])[0][3:], output) for command, output in OUTPUT.findall(text(page))]
    printed = {arguments[0]: (arguments, output) for arguments, output in alone}
    assert set(printed) >= {"describe", "run"}
    arguments, output = printed["describe"]
    assert main([*arguments, "--model", "tiny"]) == 0
    found = capsys.readouterr().out.replace("trains tiny", "trains minilm")
    assert [line for line in found.splitlines() if "tiny" not in line] == [
        line for line in output.splitlines() if "of minilm" not in line
    ]
    arguments, output = printed["run"]
    assert main([*arguments, "--model", "tiny", "--epochs", "1"]) == 0
    # The page's minilm learns, the test's tiny does not.
    learned = re.sub(r"^note: not learned.*\n", "", capsys.readouterr().out, flags=re.MULTILINE)
    assert without_numbers(learned) == without_numbers(output)
    later = [
        words for words in commands(page) if "--save-model" in words or words[0] in ("errors", "export", "predict")
    ]
    assert [words[0] for words in later] == ["run", "errors", "export", "predict"]
    for words in later:
        places = [part for word in words for part in (sorted(glob.glob(word)) if "*" in word else [word])]
        places = [place for place in places if "replay/" not in place or "tiny" in place]
        small = ["--model", "tiny", "--epochs", "1"] if words[0] == "run" else []
        assert main([*places, *small]) == 0, (words, capsys.readouterr().err)
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(answer["task"], answer["task_from"]) for answer in answers] == [("router", "given")] * 2


def without_numbers(printed: str) -> list[list[str]]:
    """The words of each line but numbers, units, names of files, marks of columns, and that there were warnings."""
    quiet = re.sub(r", \d+ warnings?", "", printed)
    names = r"(minilm|tiny)-s0-\w+|comparison-\w+|minilm|tiny"
    plain = re.sub(rf"{names}|-?\d[\d.,]*|[KMG]iB|\bB\b|–|-{{2,}}|\*", " ", quiet)
    return [line.split() for line in plain.splitlines()]


@pytest.mark.parametrize("page", [name for name in NAMES if blocks(name, "python")])
def test_python_blocks_run_one_after_another(page: str, tmp_path: Path) -> None:
    write_files(page, tmp_path)
    (tmp_path / "page.py").write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def shown(page: str) -> list[tuple[str, str]]:
    """The shell blocks and files of a page whose output stands right below, and that output."""
    pattern = r"^```(?:bash|python)\n((?:(?!^```).)*)^```\n\n^```(?:text|json)\n(.*?)^```"
    return re.findall(pattern, text(page), re.DOTALL | re.MULTILINE)


def unmeasured(output: str) -> str:
    """``output`` with every decimal number rounded to one digit: the rest depends on the processor."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", output)


@pytest.mark.slow
def test_the_page_of_the_model_shows_what_its_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "docs/model_out.md"
    files = write_files(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    outputs = dict(shown(page))
    for body in [*blocks(page, "bash"), files["load.py"].read_text(encoding="utf-8")]:
        capsys.readouterr()
        if body.startswith("from"):
            exec(body, {})
        for line in body.splitlines() if "clbench" in body else ():
            words = shlex.split(line, comments=True)[3:]
            places = [sorted(glob.glob(word)) if "*" in word else [word] for word in words]
            assert main([word for place in places for word in place]) == 0, (line, capsys.readouterr().err)
        said = capsys.readouterr().out
        if body in outputs:
            assert unmeasured(said) == unmeasured(outputs.pop(body))
    assert outputs == {}


@pytest.mark.slow
def test_the_commands_of_tuning_run_on_small_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, each with what the one before it wrote."""
    monkeypatch.chdir(tmp_path)
    first, *others = commands("docs/tune.md")
    last = others.pop()
    assert [words[0] for words in (first, *others, last)] == ["tune", "run", "compare", "plot", "tune"]
    small = [*("--epochs", "1", "-q"), *(f"--scenario-arg={size}" for size in ("train=30", "dev=9", "test=15"))]
    more = {"tune": [*small, "--trials", "1", "--seeds", "1"], "run": small}
    for words in (first, *others, last):
        spelled = [word.replace("text_seq", "toy").replace("0-4", "0") for word in words]
        assert main([*spelled, *more.get(words[0], [])]) == 0, (words, capsys.readouterr().err)
    assert (tmp_path / "sensitivity.png").exists()
    assert "naive (tuned)" in capsys.readouterr().out


def test_the_tasks_of_the_array_make_every_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file as Slurm would run it, with a Python that prints its arguments; the last ones then on small data."""
    file = write_files("docs/cluster.md", tmp_path)["runs.sbatch"]
    stand_in = tmp_path / "bin" / "python3"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    parts = []
    for number in range(1, 17):
        given = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "4", "PATH": path, "HOME": str(tmp_path)}
        done = subprocess.run(["bash", str(file)], env=given, capture_output=True, text=True, check=True)
        threads, *words = done.stdout.splitlines()
        assert (threads, words[:3]) == ("4", ["-m", "clbench", "run"])
        parts.append(words[words.index("--part") + 1])
    assert parts == [f"{number}/16" for number in range(1, 17)]
    small = [word.replace("text_seq", "toy") for word in words[2:]]  # the last one's: the 16th of 25 runs, no other
    assert main([*small, "--scenario-arg", "train=12", "--dry-run"]) == 0, capsys.readouterr().err
    (planned,) = re.findall(r"^results/toy/\S+$", capsys.readouterr().out, re.MULTILINE)
    assert planned.startswith("results/toy/ewc/tiny-s0-")
    assert "#SBATCH --array=1-16\n" in file.read_text(encoding="utf-8")


def test_the_docs_name_every_key_of_a_tuned_file() -> None:
    page = text("docs/tune.md")
    assert [each.name for kind in (Tuned, Tried) for each in fields(kind) if f"`{each.name}`" not in page] == []


def test_every_python_block_is_a_file_or_is_run() -> None:
    for page in NAMES:
        for _, language, body in FENCE.findall(text(page)):
            if language == "python":
                compile(body, page, "exec")
    assert blocks("docs/notebook.md", "python")


@pytest.mark.parametrize(("name", "options"), [("tickets.py", {"model": "tiny", "epochs": 1}), ("shifts.py", {})])
def test_scenarios_of_the_docs_run(
    name: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_files("docs/scenario.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    plan = make_plan({"scenario": str(files[name]), "strategy": "naive", "output_dir": "out", **options})
    result = engine.run(plan, Reporter())
    assert result["tasks"] == {"tickets.py": ["app", "web"], "shifts.py": ["early", "late", "night"]}[name]
    assert result["scenario"] == Path(name).stem
    if name == "shifts.py":  # a newcomer sees something learned
        assert result["metrics"]["learning_accuracy"] > 0.9


def test_the_scenario_of_a_table_is_short(tmp_path: Path) -> None:
    source = write_files("docs/scenario.md", tmp_path)["tickets.py"].read_text(encoding="utf-8")
    assert len([line for line in source.splitlines() if line.strip()]) <= 15


@pytest.fixture
def strategies(tmp_path: Path) -> dict[str, Path]:
    return write_files("docs/strategy.md", tmp_path)


@pytest.mark.parametrize("name", ["backstep.py", "my_mas.py"])
def test_strategies_of_the_docs_run_alone_and_stacked(name: str, strategies: dict[str, Path], tmp_path: Path) -> None:
    for expression in (f"{strategies[name]}", f"replay+{strategies[name]}"):
        plan = make_plan({"scenario": "toy", "strategy": expression, "output_dir": str(tmp_path / "out"), **SMALL})
        result = engine.run(plan, Reporter())
        stored = {"backstep.py": 1, "my_mas.py": 2}[name] * 4 * result["cost"]["trainable_parameters"]
        assert result["cost"]["stored_bytes"] >= stored


def test_backstep_goes_the_share_of_the_way(strategies: dict[str, Path]) -> None:
    expression = f"{strategies['backstep.py']}(share=0.25)"
    prepared = prepare(make_plan({"scenario": "toy", "strategy": expression, **SMALL}), Clock())
    learner, task, (_, strategy) = prepared.learner, prepared.tasks[0], prepared.strategy.members[0]
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    strategy.before_task(learner, task)
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(4.0)
    strategy.after_task(learner, task)
    for name, parameter in learner.named_parameters():  # 4 further, a quarter of the way back
        torch.testing.assert_close(parameter.detach(), before[name] + 3.0)


def test_my_mas_has_the_gradient_of_its_formula(strategies: dict[str, Path], tmp_path: Path) -> None:
    plan = make_plan(
        {"scenario": "toy", "strategy": str(strategies["my_mas.py"]), "output_dir": str(tmp_path), **SMALL}
    )
    prepared = prepare(plan, Clock())
    learner, (_, strategy) = prepared.learner, plan.strategy.members[0]
    learner.tasks_seen = 1
    strategy.after_task(learner, prepared.tasks[0])
    importance, anchor_ = strategy.importance, strategy.anchor  # type: ignore[attr-defined]
    parameters = dict(learner.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.01)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    penalty = sum((importance[n] * (p - anchor_[n]).square()).sum() for n, p in parameters.items())
    expected = torch.autograd.grad(penalty, list(parameters.values()))
    strategy.before_step(learner)
    assert sum(float(g.abs().sum()) for g in expected) > 0
    for parameter, gradient in zip(parameters.values(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_metric_of_the_docs_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command as it stands, on the published runs of ewc: the worst task at the end, mean over three seeds."""
    file = write_files("docs/metric.md", tmp_path)["lowest_accuracy.py"]
    runs = ROOT / "results" / "published" / "text_seq" / "ewc"
    assert main(["compare", str(runs), "--metric", str(file), "--sort", "lowest_accuracy", "--format", "json"]) == 0
    cell = json.loads(capsys.readouterr().out)["tables"][0]["rows"][0]["cells"]["lowest_accuracy"]
    results = [json.loads(path.read_text(encoding="utf-8")) for path in runs.glob("*/result.json")]
    worst = [min(result["accuracy_matrix"][-1]) for result in results]
    assert (cell["mean"], cell["count"]) == (pytest.approx(sum(worst) / 3), 3)


def test_errors_of_the_docs_are_what_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (arguments,) = [command for command in commands("docs/numbers.md") if command[0] == "errors"]
    (block,) = [body for body in blocks("docs/numbers.md", "") if body.startswith("== airline")]
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))  # the numbers need no data
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 0
    assert block in capsys.readouterr().out


def test_differences_of_the_docs_are_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (arguments,) = [command for command in commands("docs/numbers.md") if "--baseline" in command]
    (block,) = [body for body in blocks("docs/numbers.md", "") if "difference from" in body]
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 0
    assert block in capsys.readouterr().out


def test_the_docs_name_every_key_of_the_errors() -> None:
    page = text("docs/numbers.md").partition("## What it gets wrong")[2].partition("\n## ")[0]
    told = set(re.findall(r"`(\w+)", "\n".join(line for line in page.splitlines() if line.startswith("|"))))
    records = [cls for cls in vars(mistake_records).values() if isinstance(cls, type)]
    assert told == {field.name for cls in records for field in fields(cls)}
