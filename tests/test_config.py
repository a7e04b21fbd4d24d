"""RunConfig: the hash covers the science and nothing else, and bad values are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import clbench
from clbench.config import NOT_SCIENCE, RunConfig, canonical_json, make_config, read_config_file
from clbench.errors import InputError
from clbench.plugins.plan import make_plan

BASE = {"scenario": "toy", "strategy": "naive"}
# A value other than the default for every setting.
SCIENCE: dict[str, Any] = {
    "scenario": "text_seq",
    "strategy": "ewc",
    "model": "tiny",
    "setting": "class",
    "seed": 1,
    "epochs": 3,
    "min_steps": 5,
    "lr": 2e-4,
    "head_lr": 2e-3,
    "batch_size": 16,
    "accumulation": 2,
    "auto_batch": True,
    "max_length": 32,
    "warmup": 0.2,
    "weight_decay": 0.0,
    "max_grad_norm": 2.0,
    "schedule": "cosine",
    "optimizer": "sgd",
    "momentum": 0.9,
    "optimizer_state": "carried",
    "task_steps": 7,
    "dropout": 0.1,
    "scenario_args": {"train": 30},
    "limit": 5,
    "first_tasks": 2,
    "tuned": True,
    "eval_split": "dev",
    "evaluate": "seen",
    "evaluate_every": 10,
    "compile": True,
    "gradient_checkpointing": True,
    "frozen_precision": "bf16",
    "keep_head": True,
    "batch_norm": "updated",
    "ability": True,
    "probe": True,
    "precision": "bf16",
    "trust_remote_code": True,
    "allow_pickle": True,
    "plugin_hashes": {"strategy:naive": "0"},
    "source_sha256": "1",
    "data_sha256": "2",
    "model_sha256": "3",
}
OTHER: dict[str, Any] = {
    "plugin_files": {"strategy:mine": "/x/mine.py"},
    "device": "cpu",
    "deterministic": True,
    "output_dir": "elsewhere",
    "overwrite": True,
    "checkpoint_every": 5,
    "keep_checkpoints": True,
    "profile": True,
    "save_model": "each",
    "track": ["tensorboard"],
}


def line_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_setting_is_either_science_or_not() -> None:
    assert set(SCIENCE) | set(OTHER) == set(RunConfig.model_fields)
    assert set(OTHER) == NOT_SCIENCE


@pytest.mark.parametrize("field", SCIENCE)
def test_the_hash_changes_with_the_science(field: str) -> None:
    base = {**BASE, "optimizer": "sgd"} if field == "momentum" else BASE
    changed = make_config({**base, field: SCIENCE[field]})
    assert getattr(changed, field) != getattr(make_config(base), field)
    assert changed.hash8 != make_config(base).hash8


@pytest.mark.parametrize("field", OTHER)
def test_the_hash_does_not_change_with_time_and_place(field: str) -> None:
    changed = make_config({**BASE, field: OTHER[field]})
    assert getattr(changed, field) != getattr(make_config(BASE), field)
    assert changed.hash8 == make_config(BASE).hash8


def test_the_hash_covers_our_version_and_is_eight_hex_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(BASE)
    before = config.hash8
    assert len(before) == 8
    int(before, 16)
    monkeypatch.setattr(clbench, "__version__", "99.0")
    assert config.hash8 != before


def test_equal_values_spelled_differently_have_one_hash() -> None:
    one = make_config({**BASE, "lr": 1, "scenario_args": {"b": (1, 2), "a": 1}})
    other = make_config({**BASE, "lr": 1.0, "scenario_args": {"a": 1, "b": [1, 2]}})
    assert one.hash8 == other.hash8
    # What config.json stores gives the same hash again.
    assert make_config(json.loads(json.dumps(one.model_dump()))).hash8 == one.hash8


@pytest.mark.parametrize("spelled", ["inf", float("inf")])
def test_no_clipping_is_infinite_and_goes_through_json(spelled: Any) -> None:
    config = make_config({**BASE, "max_grad_norm": spelled})
    assert config.max_grad_norm == float("inf")
    stored = json.loads(json.dumps(config.model_dump(), allow_nan=False))
    assert stored["max_grad_norm"] == "inf"
    assert make_config(stored).hash8 == config.hash8 != make_config(BASE).hash8


def test_canonical_json() -> None:
    assert canonical_json({"b": [1, 0.5], "a": (None, True)}) == '{"a":[null,true],"b":[1,0.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'? allowed: ability, "),
        ({"zzz": 3}, "unknown setting 'zzz'; allowed: ability"),
        ({"epochs": 0}, "epochs = 0 is not allowed: input should be greater than or equal to 1"),
        ({"epochs": 1.5}, "epochs = 1.5 is not allowed"),
        ({"epochs": "3"}, "epochs = '3' is not allowed"),
        ({"epochs": True}, "epochs = True is not allowed"),
        ({"lr": 0}, "lr = 0 is not allowed: input should be greater than 0"),
        ({"lr": float("nan")}, "lr = nan is not allowed"),
        ({"lr": float("inf")}, "lr = inf is not allowed: input should be a finite number"),
        ({"seed": -1}, "seed = -1 is not allowed"),
        ({"seed": 2**63}, "seed = 9223372036854775808 is not allowed"),
        ({"dropout": 1.0}, "dropout = 1.0 is not allowed: input should be less than 1"),
        ({"warmup": 1.1}, "warmup = 1.1 is not allowed"),
        ({"batch_size": 0}, "batch_size = 0 is not allowed"),
        ({"max_length": 3}, "max_length = 3 is not allowed"),
        ({"limit": 0}, "limit = 0 is not allowed"),
        ({"max_grad_norm": 0}, "max_grad_norm = 0 is not allowed: input should be greater than 0"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm = nan is not allowed"),
        ({"max_grad_norm": "none"}, "max_grad_norm = 'none' is not allowed: input should be a valid number"),
        ({"momentum": 0.9}, "momentum = 0.9 is not allowed with optimizer 'adamw'; allowed: sgd"),
        ({"schedule": "cos"}, "unknown schedule 'cos'; did you mean 'cosine'? allowed: constant, cosine, linear"),
        ({"task_steps": 0}, "task_steps = 0 is not allowed"),
        ({"setting": "clas"}, "unknown setting 'clas'; did you mean 'class'? allowed: class, domain, task"),
        ({"precision": "fp8"}, "unknown precision 'fp8'; did you mean 'fp32'? allowed: auto, bf16, fp16, fp32"),
        ({"eval_split": "train"}, "unknown eval_split 'train'; allowed: dev, test"),
        ({"save_model": "last"}, "unknown save_model 'last'; allowed: each, final"),
        ({"steps": 9}, "unknown setting 'steps'; did you mean 'task_steps'?"),
        ({"scenario_args": [1]}, "scenario_args = [1] is not allowed"),
        ({"scenario": ""}, "scenario = '' is not allowed"),
    ],
)
def test_bad_values_are_named_in_one_line(options: dict[str, Any], message: str) -> None:
    assert message in line_of(make_config, {**BASE, **options})


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_config(BASE).epochs = 9


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("scenario: toy\nlr: 0.002\nscenario_args: {train: 30}\n", encoding="utf-8")
    assert read_config_file(path) == {"scenario": "toy", "lr": 0.002, "scenario_args": {"train": 30}}
    path.write_text("", encoding="utf-8")
    assert read_config_file(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"epoch: 3", "'epoch'; did you mean 'epochs'?"),
        (b"steps: 3", "'steps'; did you mean 'task_steps'?"),
        (b"a: b: c", "is not YAML"),
        (b"- 1", "holds list; allowed: a mapping of settings"),
        (b"3: 4", "holds dict; allowed: a mapping of settings"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_bad_file_of_settings_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    line = line_of(read_config_file, path)
    assert message in line
    assert str(path) in line


def test_a_missing_file_of_settings_is_named(tmp_path: Path) -> None:
    assert "none.yaml' cannot be read" in line_of(read_config_file, tmp_path / "none.yaml")


def test_the_scenarios_defaults_hold_until_the_user_says_otherwise() -> None:
    default = make_plan(BASE).config
    assert (default.model, default.epochs, default.lr, default.head_lr) == ("tiny", 10, 1e-3, 1e-3)
    given = make_plan({**BASE, "epochs": 2, "lr": 1e-4}).config
    assert (given.model, given.epochs, given.lr, given.head_lr) == ("tiny", 2, 1e-4, 1e-3)
    assert make_plan({**BASE, "lr": 3e-3}).config.head_lr == 1e-3
    assert make_plan({**BASE, "lr": 3e-3, "head_lr": 1.0}).config.head_lr == 1.0
    assert make_plan({**BASE, "lr": None, "limit": None}).config == default


def test_auto_precision_is_resolved_before_the_hash() -> None:
    assert make_plan({**BASE, "device": "cpu"}).config.precision == "fp32"
    assert make_plan({**BASE, "device": "cpu", "precision": "fp32"}).config.hash8 == make_plan(BASE).config.hash8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": None}, "--strategy is missing; `clbench list strategies` shows what there is"),
        ({"scenario": ""}, "--scenario is missing"),
        ({"setting": "domian"}, "unknown setting 'domian'; did you mean 'domain'? allowed: class, domain, task"),
        ({"scenario": "digits_seq", "setting": "domain"}, "setting 'domain' cannot be had with this scenario: its"),
        ({"device": "gpu"}, "unknown device 'gpu';"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there: torch sees"),
        ({"device": "cpu", "precision": "fp16"}, "precision 'fp16' needs a GPU; allowed on a CPU: auto, fp32, bf16"),
        ({"scenario_args": {"tasks": 1}}, "tasks=1 is not allowed; allowed: 2 to 10"),
    ],
)  # fmt: skip
def test_a_plan_that_does_not_fit_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    assert message in line_of(make_plan, {**BASE, **options})
