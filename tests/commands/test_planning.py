"""What is planned before anything starts: lists and ranges, wrong types, what --dry-run finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.cli import main
from clbench.commands.planning import plan_runs
from clbench.config import make_config
from clbench.errors import InputError
from clbench.plugins.plan import make_plan

TOY = {"scenario": "toy", "device": "cpu"}


def planned(seeds: list[str], file: Path | None = None, strategies: list[str] | None = None) -> list[tuple[str, int]]:
    plans = plan_runs(TOY, strategies or [], seeds, ["train=12", "dev=3", "test=6"], file)
    return [(plan.config.strategy, plan.config.seed) for plan in plans]


def test_seeds_as_numbers_lists_and_ranges() -> None:
    assert planned(["0-2"], strategies=["naive"]) == [("naive", 0), ("naive", 1), ("naive", 2)]
    assert [seed for _, seed in planned(["3", "0,2", "2-4"], strategies=["naive"])] == [3, 0, 2, 4]


@pytest.mark.parametrize("seed", ["4-2", "a", "1-", "-1", "0-10000", "0,,1", "1.5", "٣", "9" * 30])
def test_what_spells_no_seed_is_one_line(seed: str) -> None:
    with pytest.raises(InputError, match=r"--seed = .* is not allowed; allowed: a number, 0-4 or 0,2,5"):
        planned([seed], strategies=["naive"])


def test_lists_in_a_config_file_mean_what_several_options_mean(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("strategy: [naive, ewc]\nseed: [0, '2-3']\n")
    assert planned([], file) == [(name, seed) for name in ("naive", "ewc") for seed in (0, 2, 3)]
    assert planned(["1"], file, ["replay"]) == [("replay", 1)]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("strategy: {a: 1}", "strategy = {'a': 1} is not a name"),
        ("strategy: [naive, 3]", "strategy = 3 is not a name"),
        ("strategy: naive\nseed: {a: 1}", "seed"),
        ("strategy: naive\nseed: [[1]]", "seed"),
        ("strategy: naive\nplugin_files: {}", "plugin_files"),
        ("strategy: naive\ndata_sha256: abc", "data_sha256"),
        ("strategy: naive\nscenario_args: [1]", "scenario_args"),
        ("strategy: []", r"strategy = \[\] in .* is not allowed; allowed: one or more"),
        ("strategy: naive\nseed: []", r"seed = \[\] in .* is not allowed; allowed: one or more"),
        ("strategy: naive\ntuned: true", "unknown setting in .* 'tuned'"),  # only --tuned says so
        ("strategy: naive\ntrack: {tensorboard: 1}", "track"),
    ],
)
def test_wrong_types_in_a_config_file_are_one_line(content: str, part: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=part) as caught:
        plan_runs(TOY, [], [], [], file)
    assert "\n" not in str(caught.value)


def test_dry_run_finds_what_the_strategy_says_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    toy = ["run", "--scenario", "toy", "--device", "cpu", "--dry-run", "--strategy"]
    assert main([*toy, "lora_per_task(target_modules=('nosuch',))"]) == 2
    assert "nosuch" in capsys.readouterr().err
    assert main([*toy, "naive"]) == 0
    assert '"strategy": "naive"' in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_a_plug_in_raises_is_one_line_in_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.py").write_text(
        '"""S."""\nfrom clbench import Strategy\nclass S(Strategy):\n'
        "    def setup(self, learner):\n        raise KeyError('two\\nlines')\n"
    )
    assert main(["run", "--scenario", "toy", "--device", "cpu", "--dry-run", "--strategy", str(tmp_path / "s.py")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: s, seed 0: KeyError: ")


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        ("'text'", "raise KeyError('two\\nlines')", r"s: tasks() raised KeyError: 'two\nlines' (s.py, line 6)"),
        ("'text'", "raise SystemExit(5)", "s: tasks() raised SystemExit: 5 (s.py, line 6)"),
        ("'text'", "return self.tasks()", "s: tasks() raised RecursionError: "),
        ("'text'", "return None", "tasks() gives a NoneType; allowed: a list of tasks"),
        ("'text'", "return [Task('a', 'text', ('x',), [], [], [])] * 2", "task names must be unique"),
        ("5", "return []", "kind = 5 is not allowed; allowed: text, token, generation, image, or a Kind of your own"),
    ],
)
def test_what_a_scenario_raises_or_gives_is_one_line(
    kind: str, body: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.py").write_text(
        f'"""S."""\nfrom clbench import Scenario, Task\nclass S(Scenario):\n    kind = {kind}\n'
        f"    def tasks(self):\n        {body}\n"
    )
    assert main(["run", "--scenario", str(tmp_path / "s.py"), "--strategy", "naive", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_models_folder_is_no_run_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert main(["resume", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no run (its config.json is another's)" in line


def test_one_tracker_needs_no_list(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("strategy: naive\ntrack: tensorboard\n")
    (plan,) = plan_runs(TOY, [], [], [], file)
    assert plan.config.track == ["tensorboard"]


def test_dry_run_reads_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("task,text,label\na,hello,x\n")
    (tmp_path / "s.py").write_text(
        '"""S."""\nfrom clbench import Scenario\nfrom clbench.toolkit import read_csv_tasks\n'
        "class S(Scenario):\n"
        "    def __init__(self, *, seed=0, setting='task', path=''):\n"
        "        super().__init__(seed=seed, setting=setting)\n        self.path = path\n"
        "    def tasks(self):\n        return read_csv_tasks(self.path, seed=self.seed)\n"
    )
    scenario = ["--scenario", str(tmp_path / "s.py"), "--scenario-arg", f"path={tmp_path / 't.csv'}"]
    assert main(["run", *scenario, "--strategy", "naive", "--model", "tiny", "--dry-run"]) == 2
    assert "distinct text" in capsys.readouterr().err


def test_arguments_of_a_scenario_are_not_for_strategies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "ewc", "--scenario-arg", "a=1"]) == 2
    assert "takes no --scenario-arg" in capsys.readouterr().err


def test_a_small_task_gets_enough_steps_unless_the_epochs_are_given() -> None:
    """75 texts are 3 batches of 32: 12 epochs make the 36 steps that are asked for; 600 texts need no more than 2."""
    config = make_config({**TOY, "strategy": "naive", "min_steps": 36})
    assert (config.epochs_of(75), config.steps(75)) == (12, 36)
    assert (config.epochs_of(600), config.steps(600)) == (2, 38)
    given: dict[str, Any] = {**TOY, "strategy": "naive", "scenario_args": {"train": 12, "dev": 3, "test": 6}}
    assert make_plan({**given, "epochs": 3}).config.min_steps == 0


def test_a_number_of_steps_and_what_it_would_leave_without_effect_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    for name in ("epochs", "min_steps"):
        file.write_text(f"strategy: naive\ntask_steps: 5\n{name}: 3\n")
        with pytest.raises(InputError, match=f"task_steps = 5 and {name} = 3 cannot be given together"):
            plan_runs(TOY, [], [], [], file)


def test_an_option_for_a_tasks_length_goes_before_the_files_other_one(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("strategy: naive\ntask_steps: 5\n")
    config = plan_runs({**TOY, "epochs": 3}, [], [], [], file)[0].config
    assert config.steps(6 * config.batch_size) == 18
    file.write_text("strategy: naive\nepochs: 3\n")
    assert plan_runs({**TOY, "task_steps": 5}, [], [], [], file)[0].config.steps(6 * config.batch_size) == 5
