"""RunConfig: every setting of one run in one frozen object, with a hash of all that changes the science."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator

import clbench
from clbench.errors import InputError, unknown
from clbench.files import read_yaml

LONGEST_TEXT = 2**20  # tokens; no model reads more
Setting = Literal["task", "domain", "class"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Schedule = Literal["linear", "constant", "cosine"]
# Options of `run` by another name than the setting's.
OPTIONS = {"steps": "task_steps", "scenario_arg": "scenario_args", "scenario-arg": "scenario_args"}
# What is worked out from the other settings, the files and the installed version; nobody sets it.
WORKED_OUT = ("plugin_hashes", "source_sha256", "data_sha256", "model_sha256")
# What a run does with its time and files, not what it finds out.
NOT_SCIENCE = {
    *("device", "deterministic", "output_dir", "overwrite", "checkpoint_every", "keep_checkpoints", "profile"),
    *("plugin_files", "save_model", "track"),
}


# Settings that came later than runs that are kept: at these values the run is the one that it was without them.
LATER = {
    **{"keep_head": False, "batch_norm": "frozen", "first_tasks": None, "tuned": False},
    **{"ability": False, "probe": False, "evaluate_every": None},
    **{"gradient_checkpointing": False, "frozen_precision": "fp32"},
    **{"optimizer": "adamw", "momentum": 0.0, "optimizer_state": "fresh", "schedule": "linear", "task_steps": None},
}


class RunConfig(BaseModel):
    """One run, fully resolved.

    ``lr`` and ``head_lr`` are peak learning rates of the pretrained body and of the output layer, which has everything
    to learn in the few steps of a small task: with a small rate the body bends to it, and forgets more; ``warmup`` is
    the fraction of a task's steps over which they rise from 0, after which they follow ``schedule``, by default falling
    linearly to 0; ``optimizer`` is torch's AdamW, or Adam or SGD (with ``momentum``), where ``weight_decay`` is a part
    of the gradient; its state (moments, momentum) is "fresh" in each task or "carried" on by the parameters' names;
    ``max_grad_norm`` may be infinite, which clips nothing; ``task_steps`` on each task go before ``epochs`` and
    ``min_steps``, in as many passes as they take; ``min_steps`` asks for more epochs over a small task, 0 for none, and
    who gives ``epochs`` on the command line means them: with 75 texts a task models of one task each learn .486 of
    text_seq's dev texts in 6 steps (2 epochs), .584 in 12, .666 in 24, .678 in 36 and .676 in 48 (seed 100); a batch is
    computed in ``accumulation`` parts, with ``auto_batch`` in smaller ones when memory runs out; ``max_length`` is in
    tokens; ``limit`` caps the train and the test examples of each task; ``first_tasks`` leaves out all tasks after so
    many; ``tuned`` says that the values are those of a tuned.yaml; ``eval_split`` is "test" except when
    hyper-parameters are chosen, which is done on "dev"; ``evaluate`` "seen" leaves out tasks that are still to come,
    half of a long sequence's evaluations, and with them forward transfer; ``evaluate_every`` also measures inside a
    task, each so many steps; ``compile`` trains with torch.compile, ``gradient_checkpointing`` computes each layer
    again in the backward pass instead of keeping what it computed; ``frozen_precision`` "bf16" keeps a frozen body's
    weights in 16 bits; ``deterministic`` asks a GPU for the same bits each time, as a CPU gives them. ``keep_head``
    keeps, of an output layer that the model brings, the rows of labels with the same names. ``batch_norm`` says whether
    training moves an image model's statistics of batch normalisation. ``ability`` also measures what the pretrained
    model could do before, ``probe`` what a linear probe of the features gets right. ``trust_remote_code`` runs code
    that a hub model brings, ``allow_pickle`` loads weights that are not safetensors: both only for models you trust.
    ``save_model`` keeps the model in the run's folder: the "final" one, or also what it was after "each" task;
    ``track`` names trackers that are told of the run. The hashes are of the plug-ins' code, of the data that the
    scenario makes with seed 0 and with this seed, and of the model's files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    scenario: str = Field(min_length=1)
    strategy: str = Field(min_length=1)
    model: str = Field("minilm", min_length=1)
    setting: Setting = "task"
    seed: int = Field(0, ge=0, lt=2**63)
    epochs: int = Field(2, ge=1)
    min_steps: int = Field(36, ge=0)
    lr: float = Field(1e-4, gt=0)
    head_lr: float = Field(3e-2, gt=0)
    batch_size: int = Field(32, ge=1)
    accumulation: int = Field(1, ge=1)
    auto_batch: bool = False
    max_length: int = Field(64, ge=4, le=LONGEST_TEXT)
    warmup: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0, allow_inf_nan=True)
    schedule: Schedule = "linear"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(0.0, ge=0, lt=1)
    optimizer_state: Literal["fresh", "carried"] = "fresh"
    task_steps: int | None = Field(None, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    keep_head: bool = False
    batch_norm: Literal["frozen", "updated"] = "frozen"
    ability: bool = False
    probe: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False
    scenario_args: dict[str, Any] = Field(default_factory=dict)
    limit: int | None = Field(None, ge=1)
    first_tasks: int | None = Field(None, ge=1)
    tuned: bool = False
    eval_split: Literal["test", "dev"] = "test"
    evaluate: Literal["all", "seen"] = "all"
    evaluate_every: int | None = Field(None, ge=1)
    compile: bool = False
    gradient_checkpointing: bool = False
    precision: Precision = "auto"
    frozen_precision: Literal["fp32", "bf16"] = "fp32"
    plugin_hashes: dict[str, str] = Field(default_factory=dict)
    source_sha256: str = ""
    data_sha256: str = ""
    model_sha256: str = ""
    plugin_files: dict[str, str] = Field(default_factory=dict)
    device: str = "auto"
    deterministic: bool = False
    output_dir: str = Field("results", min_length=1)
    overwrite: bool = False
    checkpoint_every: int | None = Field(None, ge=1)
    keep_checkpoints: bool = False
    profile: bool = False
    save_model: Literal["", "final", "each"] = ""
    track: list[str] = Field(default_factory=list)

    @field_validator("max_grad_norm", mode="before")
    @classmethod
    def _read_infinite(cls, value: object) -> object:
        return math.inf if value == "inf" else value

    @field_validator("track", mode="before")
    @classmethod
    def _read_one(cls, value: object) -> object:
        """A config file may name one tracker without a list, as it may name one strategy."""
        return [value] if isinstance(value, str) else value

    @field_serializer("max_grad_norm")
    def _write_infinite(self, value: float) -> float | str:
        """JSON has no infinite number."""
        return "inf" if value == math.inf else value

    @property
    def sha256(self) -> str:
        """What tells this run from every other: a hash of all that can change a result, our version included."""
        return identity({**self.model_dump(), "clbench": clbench.__version__})

    @property
    def hash8(self) -> str:
        """The first eight digits of :attr:`sha256`, for the name of the run's folder."""
        return self.sha256[:8]

    def steps_per_epoch(self, examples: int) -> int:
        """Optimizer steps of one pass over so many new examples; the last batch may be smaller."""
        return -(-examples // self.batch_size)

    def epochs_of(self, examples: int) -> int:
        """Passes over a task of so many new examples: ``epochs``, or as many as ``min_steps`` needs."""
        return max(self.epochs, -(-self.min_steps // max(1, self.steps_per_epoch(examples))))

    def steps(self, examples: int) -> int:
        """Optimizer steps on a task of so many new examples."""
        return self.task_steps or self.steps_per_epoch(examples) * self.epochs_of(examples)


def identity(stored: Mapping[str, Any]) -> str:
    """SHA-256 over what can change a result in the values of a config.json: its settings and clbench's version."""
    science = {key: value for key, value in stored.items() if key not in NOT_SCIENCE and key != "hash8"}
    science = {key: value for key, value in science.items() if key not in LATER or value != LATER[key]}
    return hashlib.sha256(canonical_json(science).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON in one fixed spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def make_config(options: dict[str, Any]) -> RunConfig:
    """Validate ``options`` into a RunConfig.

    Raises:
        InputError: one line naming the field, its value and what is allowed.
    """
    for key in options:
        if key not in RunConfig.model_fields:
            raise unknown("setting", key, RunConfig.model_fields, OPTIONS.get(key))
    try:
        config = RunConfig(**options)
        # As config.json will give them back, so that a resumed run sees the same values: lists, and texts for keys.
        arguments = json.loads(json.dumps(config.scenario_args, allow_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        if first["type"] == "literal_error" and isinstance(first["input"], str):
            allowed = [name for name in get_args(RunConfig.model_fields[field].annotation) if name]  # "" leaves it away
            raise unknown(field, first["input"], allowed) from None
        raise InputError(f"{field} = {_short(first['input'])} is not allowed: {first['msg'].lower()}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"scenario_args cannot be kept as JSON: {error}") from None
    if config.momentum and config.optimizer != "sgd":
        raise InputError(
            f"momentum = {config.momentum} is not allowed with optimizer {config.optimizer!r}; allowed: sgd"
        )
    return config.model_copy(update={"scenario_args": arguments})


def _short(value: object) -> str:
    """``repr`` cut to a length that fits a line; an int of thousands of digits has none."""
    spelling = reprlib.Repr()
    spelling.maxstring = spelling.maxlong = spelling.maxother = 60
    try:
        return spelling.repr(value)
    except ValueError:
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"


def read_config_file(path: Path) -> dict[str, Any]:
    """The settings in a YAML (or JSON) file, read safely.

    Raises:
        InputError: the file cannot be read, is not YAML, or is not a mapping of known settings.
    """
    values = read_mapping(path, "config file", "settings")
    allowed = [key for key in RunConfig.model_fields if key not in (*WORKED_OUT, "plugin_files", "tuned")]
    for key in values:
        if key not in allowed:
            raise unknown(f"setting in {str(path)!r}:", key, allowed, OPTIONS.get(key))
    return values


def read_mapping(path: Path, what: str, content: str) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file, read safely; empty for an empty file.

    Args:
        path: the file.
        what, content: what error lines call it, and what stands in it.

    Raises:
        InputError: the file cannot be read, is not YAML, or is no mapping of texts.
    """
    values = read_yaml(path, what)
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{what} {str(path)!r} holds {type(values).__name__}; allowed: a mapping of {content}")
    return values
