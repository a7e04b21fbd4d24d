"""What the commands make of presets: list, describe, data pull, check, completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clbench import sources
from clbench.cli import complete_scenario, main
from clbench.commands import data as data_command
from clbench.commands.describe import page
from clbench.errors import InputError
from clbench.presets import available_presets

FILE = """
title: Two data sets,
  one after the other
papers: Nobody 2020
kind: text
note: Short.
hub: owner/one
settings: [class, task]
defaults: {epochs: 2}
per_label: {train: 5}
splits: {train: train, test: validation}
tasks:
  one: {}
  two: {hub: "owner/two:big", revision: stable, columns: {text: [a, b]}}
orders:
  back: [two, one]
"""


def test_the_list_of_all_scenarios_has_ids_orders_and_papers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scenarios"]) == 0
    alone = capsys.readouterr().out
    assert "cifar100" not in alone
    assert "--all" in alone
    assert main(["list", "scenarios", "--all"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(available_presets()) < set(lines)
    assert lines["clinc150"].endswith(
        "Preset (text): clinc/clinc_oos:plus. Larson et al. 2019 (the data); "
        "Zheng et al. 2024, Learn or Recall: 15 tasks of 10 intents."
    )
    assert "Orders: 1, 2, 3, 4, 5, 6, mbpa1, mbpa2, mbpa3, mbpa4." in lines["text_sequences"]
    assert main(["list", "scenarios", "--all", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "hub" not in rows["toy"]
    assert rows["text_sequences"]["orders"]["1"] == ["dbpedia", "amazon", "yahoo", "agnews"]
    assert rows["ontonotes5_ner"]["hub"] == ["tner/ontonotes5"]
    assert rows["cifar100"]["kind"] == "image"
    assert main(["list", "models", "--all"]) == 2
    assert capsys.readouterr().err.startswith("error: --all is for `list scenarios`")


def test_the_page_of_a_preset_in_full(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    assert page(str(tmp_path / "mine.yaml")).splitlines() == [
        "mine (scenario, preset)",
        "",
        "Two data sets, one after the other.",
        "- Nobody 2020",
        "",
        "Short.",
        "",
        "settings, the default first: class, task",
        "kind of task: text",
        "training defaults: epochs=2",
        "at most: 5 of train a label",
        "drawn from train: 10% for dev",
        "",
        "task  data                    columns                    splits",
        "----  ----------------------  -------------------------  -----------------------",
        "one   owner/one               text: text, label: label   train, test: validation",
        "two   owner/two:big (stable)  text: a + b, label: label  train, test: validation",
        "",
        "order=back: two, one",
        "",
        "arguments (--scenario-arg K=V): order, root=FOLDER (OWNER/NAME as on the hub, read instead of it), "
        "train, dev,",
        "test (at most)",
    ]
    assert page("conll2003_ner").startswith("conll2003_ner (scenario, preset)")
    with pytest.raises(InputError, match=r"unknown scenario, strategy or model 'cifar10O'; did you mean 'cifar100'\?"):
        page("cifar10O")
    with pytest.raises(InputError, match=r"^model: only for data .*, which 'cifar100' is not$"):
        page("cifar100", {}, {"model": "tiny"})


def test_what_is_pulled_for_a_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    asked: list[Any] = []
    pulled: list[str] = []
    monkeypatch.setattr(data_command, "hub_splits", lambda hub, revision: asked.append((hub, revision)))
    monkeypatch.setattr(sources, "pull", pulled.extend)
    assert main(["data", "pull", str(tmp_path / "mine.yaml")]) == 0
    assert asked == [("hub:owner/one", None), ("hub:owner/two:big", "stable")]
    assert pulled == ["minilm"]


def test_a_hub_that_is_not_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    given = ["run", "--scenario", "banking77", "--strategy", "naive", "--output-dir", str(tmp_path)]
    assert main(given) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: hub:legacy-datasets/banking77 cannot be loaded with datasets: ")
    assert "root=FOLDER" in line
    assert line.count("\n") == 1


def test_names_of_presets_are_completed() -> None:
    assert complete_scenario("ontonotes") == ["ontonotes5_ner"]
