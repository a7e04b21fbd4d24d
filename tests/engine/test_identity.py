"""What a run is told from others by: new contents under an old name are a new run, edited files are not believed."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import clbench
from clbench import load_runs
from clbench.config import LATER, NOT_SCIENCE, RunConfig, canonical_json, make_config
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.models.loading import load_model
from clbench.plugins.plan import Plan, make_plan
from clbench.results.runs import find_runs
from tests.conftest import TOY
from tests.helpers import ROOT, RunToy

SCENARIO = '''
"""Rows of a CSV file."""

from clbench import Scenario, Task
from clbench.toolkit import read_csv_tasks
from labels_of_mine import spell


class Tickets(Scenario):
    defaults = {"model": "tiny"}

    def __init__(self, *, seed: int = 0, setting: str = "task", path: str = "tickets.csv") -> None:
        super().__init__(seed=seed, setting=setting)
        self.path = path

    def tasks(self) -> list[Task]:
        spell("x")
        return read_csv_tasks(self.path, seed=self.seed)
'''
HELPER = "def spell(label):\n    return label\n"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    (tmp_path / "tickets.py").write_text(SCENARIO)
    (tmp_path / "labels_of_mine.py").write_text(HELPER)
    write_tickets(tmp_path / "tickets.csv")
    return tmp_path


def write_tickets(path: Path, changed: str = "", tasks: tuple[str, ...] = ("first", "second")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "text", "label"])
        for task in tasks:
            for number in range(24):
                mark = changed if (task, number) == ("second", 3) else ""
                writer.writerow([task, f"{task} ticket {number} {mark}", "ab"[number % 2]])


def plan_of(folder: Path, **options: Any) -> Plan:
    given = {"scenario": str(folder / "tickets.py"), "strategy": "naive", "epochs": 1, "device": "cpu"}
    arguments = {"path": str(folder / "tickets.csv")}
    return make_plan({**given, "scenario_args": arguments, "output_dir": str(folder / "out"), **options})


@pytest.mark.parametrize("change", ["a text", "a task", "a module beside the scenario", "the code of the scenario"])
def test_new_contents_of_a_name_are_a_new_run(change: str, tickets: Path) -> None:
    before = plan_of(tickets).config
    if change == "a text":
        write_tickets(tickets / "tickets.csv", changed="edited")
    elif change == "a task":
        write_tickets(tickets / "tickets.csv", tasks=("first", "second", "third"))
    elif change == "a module beside the scenario":
        (tickets / "labels_of_mine.py").write_text(HELPER.replace("return label", "return label.upper()"))
    else:
        (tickets / "tickets.py").write_text(SCENARIO.replace("seed=self.seed)", "seed=self.seed, test=0.3)"))
    after = plan_of(tickets).config
    assert engine.run_folder(after).path != engine.run_folder(before).path
    assert {**after.model_dump(), "seed": 1} != {**before.model_dump(), "seed": 1}


@pytest.mark.parametrize("change", ["a comment", "another folder", "the time of the file"])
def test_what_is_no_new_content_is_the_same_run(change: str, tickets: Path, tmp_path: Path) -> None:
    before = plan_of(tickets, scenario_args={"path": str(tickets / "tickets.csv")}).config
    if change == "a comment":
        (tickets / "tickets.py").write_text(SCENARIO.replace("    def tasks", "    # of the CSV\n    def tasks"))
    elif change == "the time of the file":
        write_tickets(tickets / "tickets.csv")
    else:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        for name in ("tickets.py", "labels_of_mine.py"):
            shutil.copy(tickets / name, elsewhere / name)
        arguments = {"path": str(tickets / "tickets.csv")}
        after = plan_of(elsewhere, scenario_args=arguments, output_dir=str(tickets / "out")).config
        assert after.sha256 == before.sha256
        return
    assert plan_of(tickets).config.sha256 == before.sha256


def test_a_relative_path_from_another_folder_is_another_file(
    tickets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write_tickets(tmp_path / name / "t.csv", changed=name)
        monkeypatch.chdir(tmp_path / name)
        found.append(plan_of(tickets, scenario_args={"path": "t.csv"}).config.sha256)
    assert found[0] != found[1]


def test_two_contents_of_one_name_never_share_a_row(tickets: Path) -> None:
    """Seed 0 of the old file and seed 1 of the new; before, they were one row with a ± that meant nothing."""
    engine.run(plan_of(tickets, seed=0), Reporter())
    write_tickets(tickets / "tickets.csv", changed="edited")
    engine.run(plan_of(tickets, seed=1), Reporter())
    table = load_runs(tickets / "out").compare()
    assert list(table["seeds"]) == [1, 1]
    assert any(note.startswith("source_sha256 differs") for note in table.attrs["notes"])
    # The seeds of one file do, although each draws its own texts.
    engine.run(plan_of(tickets, seed=0), Reporter())
    assert sorted(load_runs(tickets / "out").compare()["seeds"]) == [1, 2]


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_changed_model_is_another_model(file: str, tmp_path: Path) -> None:
    options = {**TOY, "strategy": "naive", "output_dir": str(tmp_path)}
    plan = make_plan(options)
    loaded = load_model(plan.config, plan.tasks, 9, torch.device("cpu"))
    model, tokenizer = loaded.model, loaded.tokenizer
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    options |= {"model": str(folder), "max_length": 16}
    before = make_plan(options).config
    path = folder / file
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    after = make_plan(options).config
    assert after.model_sha256 != before.model_sha256
    assert engine.run_folder(after).path != engine.run_folder(before).path


def colliding(config: RunConfig) -> tuple[int, int]:
    """Two seeds with which ``config`` has hashes of the same first eight digits."""
    science = {key: value for key, value in config.model_dump().items() if key not in {*NOT_SCIENCE, *LATER}}
    text = canonical_json({**science, "clbench": clbench.__version__, "seed": 4242424242})
    start, end = (part.encode() for part in text.split("4242424242"))
    prefix = hashlib.sha256(start)
    seen: dict[str, int] = {}
    for number in range(1_000_000_000, 1_001_000_000):
        digest = prefix.copy()
        digest.update(str(number).encode() + end)
        short = digest.hexdigest()[:8]
        if short in seen:
            return seen[short], number
        seen[short] = number
    raise AssertionError("no two of a million collide")


def test_two_configurations_of_one_hash8_have_folders_of_their_own(tmp_path: Path) -> None:
    config = make_config({"scenario": "toy", "strategy": "naive", "output_dir": str(tmp_path)})
    one, other = (config.model_copy(update={"seed": seed}) for seed in colliding(config))
    assert one.hash8 == other.hash8
    place = engine.run_folder(other)
    # The seed is in a folder's name as well: of two learning rates, say, the names would be the same.
    place.write_config({**one.model_dump(), "clbench": clbench.__version__, "hash8": one.hash8})
    assert place.holds_another(other.sha256)
    assert not place.holds_another(one.sha256)
    assert engine.run_folder(other).path.name == f"minilm-s{other.seed}-{other.sha256[:16]}"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_edited_or_copied_file_is_told(run_toy: RunToy, tmp_path: Path) -> None:
    """An edited config.json, and seed 0's result in seed 1's folder, by `compare` and by the same command again."""
    folders = [run_toy("naive", output=tmp_path, seed=seed)[1] for seed in (0, 1)]
    original = (folders[1].path / "config.json").read_text()
    edit(folders[1].path / "config.json", epochs=7)
    _, skipped = find_runs([tmp_path])
    assert len(skipped) == 1
    assert "config.json: was edited" in skipped[0]
    with pytest.raises(InputError, match=r"config\.json: was edited"):
        run_toy("naive", output=tmp_path, seed=1)
    (folders[1].path / "config.json").write_text(original)
    for name in ("result.json", "predictions.parquet"):
        shutil.copy(folders[0].path / name, folders[1].path / name)
    _, skipped = find_runs([tmp_path])
    assert "result.json: is another run's: seed is 0, in config.json 1" in skipped[0]
    edit(folders[1].path / "result.json", seed=1)
    _, skipped = find_runs([tmp_path])
    assert "result.json: is another run's" in skipped[0]
    # Seed 0's whole folder in the place of seed 1's: its files belong together, but not there.
    for name in ("result.json", "config.json"):
        shutil.copy(folders[0].path / name, folders[1].path / name)
    with pytest.raises(InputError, match=r"config\.json: is another run's"):
        run_toy("naive", output=tmp_path, seed=1)


def test_published_runs_from_before_the_data_were_in_the_hash_are_still_read() -> None:
    runs, skipped = find_runs([ROOT / "results" / "published" / "text_seq"])
    assert len(runs) > 60
    assert skipped == []
