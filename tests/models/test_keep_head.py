"""A model that was fine-tuned before: rows of its output layer are kept by name, or made anew, and which is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clbench import plugins
from clbench.config import LATER, identity, make_config
from clbench.errors import InputError
from clbench.models.loading import load_model
from clbench.models.pretrained import LoadedModel
from clbench.scenario import Task
from tests.models import zoo

# Of toy's nine labels three, in another order, one as `clbench export` spells labels of equal names.
KNOWN = ("market blue", "kitchen/kitchen red", "station green", "no label of ours")
COLUMNS = {0: 8, 1: 0, 2: 4}  # row in the old layer → column in the new


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    made: list[Task] = plugins.build("scenario", "toy", {"train": 3, "dev": 3, "test": 3}).tasks()
    assert [made[c // 3].labels[c % 3] for c in COLUMNS.values()] == ["market blue", "kitchen red", "station green"]
    return made


def load(tasks: list[Task], model: Path | str, **options: Any) -> LoadedModel:
    config = make_config({"scenario": "toy", "strategy": "naive", "model": str(model), **options})
    return load_model(config, tasks, 9, torch.device("cpu"))


def layer(loaded: LoadedModel) -> torch.nn.Linear:
    found = loaded.head.find_output_layer(loaded.model)
    assert found is not None
    return found


@pytest.mark.parametrize("shape", ["Bert", "GPT2"])  # with a bias and without
def test_rows_of_labels_with_the_same_names_are_kept(shape: str, tasks: list[Task], tmp_path: Path) -> None:
    folder = zoo.save(shape, tmp_path / shape, labels=4, id2label=dict(enumerate(KNOWN)))
    old = zoo.make(shape, labels=4)  # the same seed, so the same weights
    fresh, kept = load(tasks, folder), load(tasks, folder, keep_head=True)
    (old_layer,) = [m for m in old.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 4]
    for name, parameter in layer(kept).named_parameters():
        for row in range(9):
            source = next((r for r, column in COLUMNS.items() if column == row), None)
            before = layer(fresh).get_parameter(name)[row] if source is None else old_layer.get_parameter(name)[source]
            assert torch.equal(parameter[row], before)
    assert kept.notes == (
        f"the output layer keeps the rows of 3 labels of {folder} (market blue, kitchen red, station green); "
        "the others are new",
    ) or set(kept.notes[0].partition("(")[2].partition(")")[0].split(", ")) == {
        "market blue", "kitchen red", "station green",
    }  # fmt: skip
    assert fresh.notes[0].endswith("is made anew; --keep-head keeps the rows of 3 labels with the same names")
    assert "no label of ours" in fresh.notes[0]


def test_what_has_no_rows_to_keep_is_refused(tasks: list[Task], tmp_path: Path) -> None:
    headless = zoo.save("Bert", tmp_path / "headless", headless=True)
    assert load(tasks, headless).notes == ()
    with pytest.raises(InputError, match="brings no output layer; leave the option away"):
        load(tasks, headless, keep_head=True)
    others = zoo.save("Bert", tmp_path / "others", labels=2, id2label={0: "yes", 1: "no"})
    with pytest.raises(InputError, match=r"no label has a row in .*others', which knows yes, no; labels: kitchen red"):
        load(tasks, others, keep_head=True)
    with pytest.raises(InputError, match="'tiny' is made on the spot"):
        load(tasks, "tiny", keep_head=True)


def test_runs_made_before_the_option_keep_their_hash() -> None:
    config = make_config({"scenario": "toy", "strategy": "naive"})
    before = {key: value for key, value in config.model_dump().items() if key not in LATER}
    assert identity(before) == identity(config.model_dump())
    assert identity({**before, "keep_head": True}) != identity(before)
