"""clbench.json: what `clbench predict` must know of a kept model beside what transformers and PEFT keep of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clbench.config import LONGEST_TEXT
from clbench.errors import InputError, unknown
from clbench.files import read_file, write_atomic
from clbench.kinds import Kind, Limits, find_kind

FILE = "clbench.json"
# In a folder: a classifier of transformers'; PEFT's adapter of one; an encoder with a linear layer; for each task a
# folder with one of these; or a strategy with its state and the model that it began with.
Form = Literal["model", "adapter", "linear", "tasks", "strategy"]
BASE, STATE, LINEAR = "base", "state", "linear.safetensors"
ALLOWED = "allowed: the folder of a run that was made with --save-model, its model/, or what `clbench export` wrote"


class Origin(BaseModel):
    """The run that made it."""

    model_config = ConfigDict(frozen=True)

    scenario: str
    strategy: str
    model: str
    setting: Literal["task", "domain", "class"]
    seed: int
    config_sha256: str


class DeployedTask(BaseModel):
    """A task, the columns of its labels, and the folder below that answers for it alone (empty where there is none)."""

    model_config = ConfigDict(frozen=True)

    name: str
    columns: list[int]
    folder: str = ""


class Deployment(BaseModel):
    """What a folder answers, and how its answers are to be read.

    Attributes:
        format: of this file; 1.
        form: what lies beside it.
        why: why no plain model answers, where none does.
        kind: of the tasks.
        run: what made it.
        results: the measure of each task, and the metrics, of that run.
        labels: of each column.
        tasks: those that were learned; all labels of theirs may be answered.
        task: the only one that it answers, where it was cut to one.
        candidates: columns among which an answer is looked for where no task is given.
        routing: by which rule a task is found where none is given; empty where none is looked for.
        pairs: whether it reads pairs of texts.
        max_length: tokens after which a text is cut.
        longest_answer: tokens of a written answer at most.
        shape: of images: channels, height, width.
        padding_side: where the model reads padding.
        precision: the run's, "fp32", "bf16" or "fp16".
        output_layer: its name in the model.
        positions: how many the model has, where that is limited.
        head: for a strategy: names of the parameters that the pretrained model lacked,
        later_columns: of the labels of tasks that were still to come, and
        plugin_files, plugin_hashes: where its code lies, where that is not built in, and what it was.
        base: of an adapter: "base" beside it, a hub id or a folder.
        base_sha256: what that model was when the adapter was made; empty where it lies beside it.
        features: of a linear layer: the "mean" of the last token states.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    clbench: str
    form: Form
    why: str = ""
    kind: str = "text"
    run: Origin
    results: dict[str, Any] = Field(default_factory=dict)
    labels: list[str]
    tasks: list[DeployedTask]
    task: str | None = None
    candidates: list[int]
    routing: str = ""
    pairs: bool = False
    max_length: int = Field(ge=1, le=LONGEST_TEXT)
    longest_answer: int = 0
    shape: list[int] = Field(default_factory=list)
    padding_side: Literal["left", "right"] = "right"
    precision: Literal["fp32", "bf16", "fp16"]
    output_layer: str
    head: list[str] = Field(default_factory=list)
    positions: int | None = None
    later_columns: list[list[int]] = Field(default_factory=list)
    plugin_files: dict[str, str] = Field(default_factory=dict)
    plugin_hashes: dict[str, str] = Field(default_factory=dict)
    base: str = ""
    base_sha256: str = ""
    features: Literal["", "mean"] = ""

    @property
    def asks(self) -> Kind:
        """The kind: how it is asked and answers."""
        return find_kind(self.kind)

    @property
    def limits(self) -> Limits:
        """Of a question and its answer."""
        return Limits(self.max_length, self.positions, self.longest_answer, tuple(self.shape), self.pairs)

    def position(self, name: str) -> int:
        """Where the task ``name`` stands among the tasks.

        Raises:
            InputError: there is none of that name.
        """
        names = [task.name for task in self.tasks]
        if name not in names:
            raise unknown("task", name, names)
        return names.index(name)

    def write(self, folder: Path) -> None:
        """Write the file into ``folder``."""
        write_atomic(folder / FILE, self.model_dump_json(indent=2) + "\n")


def read_deployment(folder: Path) -> Deployment:
    """What ``folder`` says of itself.

    Raises:
        InputError: it holds no kept model, or its file cannot be read.
    """
    path = folder / FILE
    if not os.path.isfile(path):  # not path.is_file(), which raises for a name too long
        raise InputError(f"{str(folder)!r} holds no model ({FILE} is missing); {ALLOWED}")
    try:
        return Deployment.model_validate_json(read_file(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(f"{path}: {place}: {first['msg']}; restore the file or keep the model again") from None
