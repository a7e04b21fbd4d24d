"""A person's data as a scenario: however the rows are stored they are the same tasks; what is wrong is counted."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from benchmarks.tickets import HEADER, tickets, write_csv
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.files import read_file
from clbench.plugins.plan import Plan, make_plan
from clbench.tasks import data_sources
from clbench.tasks.columns import Table
from clbench.tasks.own_data import OwnData, data_scenario

Frame = pandas.DataFrame
SPLIT_FILES = {"train": "train.csv", "dev": "validation.jsonl", "test": "test.parquet"}
# For rows of texts, such as those of `rows` below.
TASK: dict[str, Any] = {"task": "product"}


def frame(rows: int = 40) -> Frame:
    """Tickets, with a split for each row."""
    made = Frame(tickets(rows), columns=list(HEADER)).astype("object")
    turns = made.groupby(["product", "category"]).cumcount() % 4
    made["split"] = [("train", "test", "dev", "train")[turn] for turn in turns]
    return made


def to_csv(data: Frame, folder: Path, **how: Any) -> Path:
    path = folder / f"tickets.{'tsv' if how.get('sep') == TAB else 'csv'}"
    data.to_csv(path, index=False, **how)
    return path


def to_json(folder: Path, suffix: str, content: Any) -> Path:
    path = folder / f"tickets.{suffix}"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def to_parquet(data: Frame, folder: Path) -> Path:
    data.assign(category=data["category"].astype("category")).to_parquet(folder / "tickets.parquet")
    return folder / "tickets.parquet"


def to_disk(data: Frame, folder: Path) -> Path:
    """Label numbers with their names, as data sets of the hub have them; -1 for none."""
    names = sorted(set(data["category"]) - {""})
    numbers = [names.index(label) if label else -1 for label in data["category"]]
    made = datasets.Dataset.from_pandas(data.assign(category=numbers), preserve_index=False)
    features = datasets.Features({**made.features, "category": datasets.ClassLabel(names=names)})
    made.cast(features).save_to_disk(folder / "tickets")
    return folder / "tickets"


def to_splits_on_disk(data: Frame, folder: Path) -> Path:
    made = {
        name: datasets.Dataset.from_pandas(data[data["split"] == split].drop(columns="split"), preserve_index=False)
        for name, split in (("test", "test"), ("train", "train"), ("validation", "dev"))
    }
    datasets.DatasetDict(made).save_to_disk(folder / "tickets")
    return folder / "tickets"


def to_split_files(data: Frame, folder: Path) -> Path:
    (folder / "tickets").mkdir()
    parts = {split: data[data["split"] == split].drop(columns="split") for split in SPLIT_FILES}
    parts["train"].to_csv(folder / "tickets" / "train.csv", index=False)
    parts["dev"].to_json(folder / "tickets" / "validation.jsonl", orient="records", lines=True)
    parts["test"].to_parquet(folder / "tickets" / "test.parquet")
    return folder / "tickets"


TAB = "\t"
FORMATS: dict[str, Callable[[Frame, Path], Path]] = {
    "CSV": lambda data, folder: to_csv(data, folder),
    "TSV": lambda data, folder: to_csv(data, folder, sep=TAB),
    "JSON Lines": lambda d, f: to_json(f, "jsonl", d.to_json(orient="records", lines=True)),
    "JSON": lambda d, f: to_json(f, "json", d.to_dict(orient="records")),
    "Parquet": to_parquet,
    "save_to_disk": to_disk,
    "a folder with splits": to_split_files,
}
OTHERS: dict[str, Callable[[Frame, Path], Path]] = {
    "semicolons": lambda data, folder: to_csv(data, folder, sep=";"),
    "UTF-16": lambda data, folder: to_csv(data, folder, encoding="utf-16"),
    "a byte order mark": lambda data, folder: to_csv(data, folder, encoding="utf-8-sig"),
    "backslashes before quotes": lambda d, f: to_csv(d, f, doublequote=False, escapechar="\\"),
    "JSON with columns as lists": lambda d, f: to_json(f, "json", d.to_dict(orient="list")),
    "JSON of pandas": lambda d, f: to_json(f, "json", d.to_json()),
    "JSON under one key": lambda d, f: to_json(f, "json", {"data": d.to_dict(orient="records")}),
    "lines in a .json file": lambda d, f: to_json(f, "json", d.to_json(orient="records", lines=True)),
    "splits on the disk": to_splits_on_disk,
}


def plan_of(path: Path | str, output: Path, **options: Any) -> Plan:
    given = {"scenario": str(path), "strategy": "naive", "model": "tiny", "device": "cpu", "output_dir": str(output)}
    return make_plan({**given, "scenario_args": TASK, "epochs": 12, "limit": 16, "lr": 5e-3, **options})


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("csv")
    plan = plan_of(FORMATS["CSV"](frame(), folder), folder)
    return plan, engine.run(plan, Reporter())


@pytest.mark.parametrize("name", [*FORMATS, *OTHERS])
def test_one_set_of_rows_is_one_scenario_however_it_is_stored(
    name: str, expected: tuple[Plan, dict[str, Any]], tmp_path: Path
) -> None:
    plan, result = expected
    again = plan_of({**FORMATS, **OTHERS}[name](frame(), tmp_path), tmp_path / "out")
    assert again.config.data_sha256 == plan.config.data_sha256
    assert again.config.source_sha256 == plan.config.source_sha256
    assert again.config.sha256 == plan.config.sha256
    assert [str(task.notes) for task in again.tasks] == [str(task.notes) for task in plan.tasks]
    assert [line.split(" (line")[0].split(" (row")[0] for line in again.notes if line[0].isdigit()][:2] == [
        "2 rows without a text",
        "1 row without a label",
    ]
    if name in FORMATS:
        assert engine.run(again, Reporter())["accuracy_matrix"] == result["accuracy_matrix"]


def test_the_matrix_of_those_rows_is_one_that_moves(expected: tuple[Plan, dict[str, Any]]) -> None:
    """Otherwise equal matrices would say nothing."""
    plan, result = expected
    assert [task.name for task in plan.tasks] == ["app", "shop", "router"]
    assert len({value for row in result["accuracy_matrix"] for value in row}) > 6


def test_official_splits_are_kept_and_a_missing_dev_is_drawn_and_said(tmp_path: Path) -> None:
    folder = to_split_files(frame(), tmp_path)
    (folder / "validation.jsonl").unlink()
    scenario = scenario_of(folder, **TASK)
    assert "there is no dev split: 15% of train are drawn for it" in scenario.notes()
    rows = scenario.rows()
    for task in scenario.tasks():
        test = {row.text for row in rows[task.name] if row.split == "test"}
        assert set(task.test["text"]) == test
        assert len(task.dev) > 0
        assert not test & {*task.train["text"], *task.dev["text"]}


def scenario_of(path: Path | str, *, setting: str = "", seed: int = 0, **arguments: Any) -> OwnData:
    made = data_scenario(str(path), OwnData(**arguments).wanted)
    return made(setting=setting, seed=seed, **arguments)


def rows(*cells: str) -> list[list[str]]:
    return [cell.split("|") for cell in cells]


def table(folder: Path, *lines: str, name: str = "t.csv", header: str = "task|text|label") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows(header, *lines))
    return path


def plenty(task: str, *labels: str, count: int = 4) -> list[str]:
    return [f"{task}|{label} of {task}, number {number}|{label}" for label in labels for number in range(count)]


GOOD = [*plenty("a", "x", "y"), *plenty("b", "x", "z")]


def problems(scenario: OwnData) -> list[str]:
    return [str(problem) for problem in scenario.problems]


def test_what_is_wrong_is_counted_and_left_out(tmp_path: Path) -> None:
    flawed = [
        *("a||x", "a|  |y", "a|lonely|", "|homeless|x"),  # lines 18 to 21
        *("a|X of  A, number 1|x", "a|x of a, number 1|x"),
        *("a|x of a, number 2|y",),  # so that both go
        *("a|x of a number 3|x",),
    ]
    scenario = scenario_of(table(tmp_path, *GOOD, *flawed))
    assert problems(scenario) == [
        "2 rows without a text (lines 18, 19): left out",
        "1 row without a label (line 20): left out",
        "1 row without a task (line 21): left out",
        "2 rows with the text and label of another (lines 22, 23): left out",
        "2 rows of texts with two labels (lines 4, 24): left out",
        "1 text like another but for punctuation, suspected to repeat it: kept",
    ]
    tasks = scenario.tasks()
    sizes = {task.name: sum(map(len, task.splits.values())) for task in tasks}
    assert sizes == {"a": 8, "b": 8}  # of 16 rows one lost its label's meaning, and one with a lost comma came in
    strict = scenario_of(table(tmp_path, *GOOD, *flawed), on_problem="stop")
    with pytest.raises(InputError, match=r"2 rows without a text \(lines 18, 19\); 1 row .* leave on_problem=stop out"):
        strict.tasks()


def test_a_text_of_test_is_left_out_of_train(tmp_path: Path) -> None:
    header = "task|text|label|split"
    lines = [f"{line}|{split}" for split in ("train", "test") for line in plenty("a", "x", "y") + plenty("b", "z", "w")]
    lines = [line.replace("number", split) for line in lines for split in [line.rpartition("|")[2]]]
    scenario = scenario_of(table(tmp_path, *lines, "a|x of a, test 1|x|train", header=header))
    assert problems(scenario) == ["1 text of train or dev also in dev or test (line 34): left out of train or dev"]
    train = scenario.tasks()[0].train["text"]
    assert "x of a, test 1" not in [*train, *scenario.tasks()[0].dev["text"]]


def test_the_tasks_come_in_the_order_of_train_whatever_file_is_read_first(tmp_path: Path) -> None:
    """`test.csv` is read before `train.csv`; a table may have them in any order."""
    parts = {
        "test": [*plenty("b", "x", "y"), *plenty("a", "x", "y")],
        "train": [line.replace("number", "train") for line in [*plenty("a", "x", "y"), *plenty("b", "x", "y")]],
    }
    for split, lines in parts.items():
        table(tmp_path, *lines, name=f"{split}.csv")
    assert list(scenario_of(tmp_path).rows()) == ["a", "b"]
    lines = [f"{line}|{split}" for split, own in parts.items() for line in own]
    (tmp_path / "together").mkdir()
    together = table(tmp_path / "together", *lines, header="task|text|label|split")
    assert list(scenario_of(together).rows()) == ["a", "b"]


def test_rare_labels_and_tasks_of_one_label_stop_a_run_or_are_dropped(tmp_path: Path) -> None:
    lines = [*GOOD, *plenty("c", "x"), "a|only one|rare", "b|one|few", "b|two|few"]
    path = table(tmp_path, *lines)
    with pytest.raises(InputError) as caught:
        scenario_of(path, setting="task").tasks()
    line = str(caught.value)
    assert "2 labels with fewer than 3 texts, 'rare' of 'a' (1), 'few' of 'b' (2)" in line
    assert "1 task of one label, where every answer is right in setting 'task': 'c'" in line
    assert "say --scenario-arg on_problem=drop to leave them out" in line
    dropped = scenario_of(path, setting="task", on_problem="drop")
    assert problems(dropped)[-2:] == [
        "2 labels with fewer than 3 texts, 'rare' of 'a' (1), 'few' of 'b' (2): left out with 3 rows",
        "1 task of one label, where every answer is right in setting 'task': 'c': left out with 4 rows",
    ]
    assert [(task.name, task.labels) for task in dropped.tasks()] == [("a", ("x", "y")), ("b", ("x", "z"))]


def test_a_name_that_tasks_share_is_two_labels_or_one_by_the_setting(tmp_path: Path) -> None:
    path = table(tmp_path, *GOOD)
    plan = make_plan({"scenario": str(path), "strategy": "naive", "model": "tiny"})
    assert plan.config.setting == "task"  # proposed
    assert [task.shared_labels for task in plan.tasks] == [False, False]
    domain = make_plan({"scenario": str(path), "strategy": "naive", "model": "tiny", "setting": "domain"})
    assert [task.shared_labels for task in domain.tasks] == [True, True]
    with pytest.raises(InputError) as caught:
        make_plan({"scenario": str(path), "strategy": "naive", "model": "tiny", "setting": "class"})
    assert "'x' is a label of 'a' and of 'b'; rename one where they mean different things, or take task" in str(
        caught.value
    )


PROPOSED: dict[str, tuple[list[str], dict[str, Any], tuple[str, ...]]] = {
    "no label shared": ([*plenty("a", "x", "y"), *plenty("b", "z", "w")], {}, ("task", "class")),
    "all labels shared": ([*plenty("a", "x", "y"), *plenty("b", "y", "x")], {}, ("domain", "task")),
    "some shared": (GOOD, {}, ("task", "domain")),
    "new labels": (GOOD, {"by": "label", "labels_per_task": 2}, ("class", "task")),
    "one new label": (GOOD, {"by": "label", "labels_per_task": 1}, ("class",)),
}


@pytest.mark.parametrize("name", PROPOSED)
def test_the_setting_is_proposed_from_the_data(name: str, tmp_path: Path) -> None:
    lines, arguments, settings = PROPOSED[name]
    assert scenario_of(table(tmp_path, *lines), **arguments).settings == settings


def test_labels_are_dealt_out_by_the_seed_or_in_order(tmp_path: Path) -> None:
    path = table(tmp_path, *plenty("a", "v", "w", "x", "y", "z"))
    arguments: dict[str, Any] = {"by": "label", "labels_per_task": 2}
    orders = {tuple(scenario_of(path, seed=seed, **arguments).rows()) for seed in range(6)}
    assert len(orders) > 3
    assert scenario_of(path, seed=1, **arguments).rows() == scenario_of(path, seed=1, **arguments).rows()
    ordered = scenario_of(path, order="z,x,y,w", **arguments)
    assert "label 'v' is left out: order does not name it" in ordered.notes()
    tasks = ordered.tasks()
    assert [(task.name, task.labels) for task in tasks] == [("z/x", ("x", "z")), ("y/w", ("w", "y"))]
    assert all(len(task.train) == 4 for task in tasks)  # of 8, two for dev and two for test


@pytest.mark.parametrize(
    "spell", [str, "2026-01-{:0>2}".format, "2026-01-{:0>2}T07:00:00+02:00".format, "{} January 2026".format]
)
def test_tasks_by_time_are_equal_chunks_in_order(spell: Callable[[int], str], tmp_path: Path) -> None:
    lines = [f"text {day} of {label}|{label}|{spell(day)}" for label in "xy" for day in (9, 3, 12, 5, 7, 1, 11, 2)]
    path = table(tmp_path, *lines, header="text|label|created")
    scenario = scenario_of(path, by="time", tasks=2)
    assert {name: {int(row.text.split()[1]) for row in own} for name, own in scenario.rows().items()} == {
        "time 1": {1, 2, 3, 5},
        "time 2": {7, 9, 11, 12},
    }
    assert scenario.setting == "domain"
    assert f"time 1: {spell(1)} to {spell(5)}" in scenario.notes()


def test_one_file_a_task_in_the_order_of_their_numbers_or_as_asked(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        table(tmp_path, *(line[2:] for line in plenty("a", "x", "y")), name=f"part{number}.csv", header="text|label")
    scenario = scenario_of(tmp_path)
    assert list(scenario.rows()) == ["part1", "part2", "part10"]
    assert "a task is a file, called as the file is" in scenario.notes()
    ordered = scenario_of(tmp_path, order="part10,part1", by="file")
    assert list(ordered.rows()) == ["part10", "part1"]
    assert "task 'part2' is left out: order does not name it" in ordered.notes()


@pytest.mark.parametrize(
    ("cells", "names"),
    [(["1", "01", "2"], ["01", "1", "2"]), (["true", "false"], ["false", "true"]), (["1.0", "1.50"], ["1.0", "1.50"])],
)
def test_numbers_and_truth_values_are_names_as_they_are_written(
    cells: list[str], names: list[str], tmp_path: Path
) -> None:
    path = table(tmp_path, *plenty("a", *cells), *plenty("b", *cells))
    assert [task.labels for task in scenario_of(path).tasks()] == [tuple(names)] * 2


def test_numbers_of_json_are_names_as_they_are_written(tmp_path: Path) -> None:
    cells = [(task, value, number) for task in (1, 2) for value in ("7", "1.50") for number in range(4)]
    lines = [f'{{"task": {t}, "text": "{t} {n} {v}", "label": {v}}}' for t, v, n in cells]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert [(task.name, task.labels) for task in scenario_of(tmp_path / "t.jsonl").tasks()] == [
        ("1", ("1.50", "7")),
        ("2", ("1.50", "7")),
    ]


def test_truth_values_are_the_same_names_in_every_format(tmp_path: Path) -> None:
    made = Frame(
        [{"task": t, "text": f"{t} {n} {v}", "label": v} for t in "ab" for v in (True, False) for n in range(4)]
    )
    made.to_csv(tmp_path / "t.csv", index=False)
    made.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    made.to_parquet(tmp_path / "t.parquet")
    labels = {scenario_of(tmp_path / f"t.{suffix}").tasks()[0].labels for suffix in ("csv", "jsonl", "parquet")}
    assert labels == {("False", "True")}


def test_a_column_of_pairs_stays_one_of_its_own(tmp_path: Path) -> None:
    lines = [f"{line.replace('|', '|a premise|', 1)}" for line in GOOD]
    scenario = scenario_of(table(tmp_path, *lines, header="task|premise|hypothesis|label"))
    assert scenario.rows()["a"][0].content == ("a premise", "x of a, number 0")
    assert scenario.examined.roles.columns["text_pair"] == "hypothesis"
    task = scenario.tasks()[0]
    assert all(split.column_names == ["text", "text_pair", "label"] for split in task.splits.values())
    assert set(task.train["text"]) == {"a premise"}


def test_pairs_are_the_same_where_both_texts_are(tmp_path: Path) -> None:
    """By hand: of six added rows two lack a text, one repeats a pair, two are a pair with two labels."""
    lines = [f"{line.replace('|', '|a premise|', 1)}" for line in GOOD]
    added = [
        "a||lonely|x",
        "a|lonely||x",
        "a|A  premise|X of a, number 0|x",
        "a|one|two|x",
        "a|One|TWO|y",
        "a|two|one|x",
    ]
    scenario = scenario_of(table(tmp_path, *lines, *added, header="task|text|text_pair|label"))
    told = "\n".join(str(problem) for problem in scenario.problems)
    assert "1 row without a text (" in told
    assert "1 row without a text_pair (" in told
    assert "1 row with the text and label of another" in told
    assert "2 rows of texts with two labels" in told
    assert ("two", "one") in {row.content for row in scenario.rows()["a"]}


def test_an_encoding_that_is_none_is_guessed_and_said(tmp_path: Path) -> None:
    lines = [f"{task},café {label} {n},{label}" for task in "ab" for label in "xy" for n in range(4)]
    (tmp_path / "t.csv").write_bytes("\n".join(["task,text,label", *lines]).encode("cp1252"))
    scenario = scenario_of(tmp_path / "t.csv")
    assert (
        "guessed of t.csv: it is not UTF-8: read as Windows-1252, where line 2 says 'a,café x 0,x'" in scenario.notes()
    )
    assert scenario.rows()["a"][0].text == "café x 0"


def test_separators_and_quotes_that_are_none_of_the_suffix_are_said(tmp_path: Path) -> None:
    lines = [f'{task}\t"{label}" of {n} inch\t{label}' for task in "ab" for label in "xy" for n in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["task\ttext\tlabel", *lines]))
    scenario = scenario_of(tmp_path / "t.csv")
    assert scenario.rows()["a"][0].text == '"x" of 0 inch'
    assert [line for line in scenario.notes() if line.startswith("guessed")] == [
        "guessed of t.csv: its cells are separated by tabs",
        "guessed of t.csv: its quotes are characters like others",
    ]


def hub_folder(folder: Path) -> None:
    """A data set as the hub lays it out, with two configurations."""
    for config, task in (("small", "a"), ("large", "b")):
        (folder / "owner" / "tickets" / config).mkdir(parents=True)
        for split in ("train", "test"):
            lines = [line.replace("number", split) for line in [*plenty(task, "x", "y"), *plenty("c", "x", "y")]]
            table(folder / "owner" / "tickets" / config, *lines, name=f"{split}.csv")
    names = "".join(
        f"- config_name: {c}\n  data_files:\n  - split: train\n    path: {c}/train.csv\n"
        f"  - split: test\n    path: {c}/test.csv\n"
        for c in ("small", "large")
    )
    (folder / "owner" / "tickets" / "README.md").write_text(f"---\nconfigs:\n{names}---\n")


def test_a_hub_id_with_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    plan = plan_of("hub:owner/tickets:large", tmp_path, scenario_args={})
    assert (plan.config.scenario, [task.name for task in plan.tasks]) == ("tickets", ["b", "c"])
    assert plan.config.plugin_files == {"scenario:tickets": "hub:owner/tickets:large"}
    assert sorted(plan.tasks[0].test["text"]) == [f"{x} of b, test {n}" for x in "xy" for n in range(4)]
    with pytest.raises(InputError, match=r"^hub:owner/tickets cannot be loaded with datasets: .*small.*large"):
        plan_of("hub:owner/tickets", tmp_path)
    with pytest.raises(InputError, match=r"^hub:owner/nosuch cannot be loaded with datasets: "):
        plan_of("hub:owner/nosuch", tmp_path)


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


BAD: dict[str, tuple[Callable[[Path], Path | str], dict[str, Any], str]] = {
    "a file that is not there": (lambda f: f / "nosuch.csv", {}, "cannot read .*nosuch.csv: No such file"),
    "an unknown format": (
        lambda f: write(f, "x", "t.xlsx"),
        {},
        "unknown format of .*t.xlsx: '.xlsx'; .*allowed: .csv",
    ),
    "an empty file": (lambda f: write(f, ""), {}, "t.csv is empty; allowed: a header and rows"),
    "no rows": (lambda f: write(f, "task,text,label\n"), {}, "t.csv has a header but no rows"),
    "one column": (lambda f: write(f, "text\nhello\n"), {}, "t.csv: its first line has no separator; allowed"),
    "a row too long": (lambda f: write(f, "task,text,label\na,b,c\na,b,c,d\n"), {}, "t.csv, line 3: 4 cells, but"),
    "an open quote": (
        lambda f: write(f, 'task,text,label\na,"b,x\nc,d,x\n'),
        {},
        "line 2 or below: a quote that",
    ),
    "a stray quote": (
        lambda f: write(f, 'task,text,label\na,"b" c,x\n"a","b","x"\n'),
        {},
        "line 2 or below: a quote is out of place",
    ),
    "a column twice": (lambda f: write(f, "text,label,text\na,b,c\n"), {}, "t.csv has 2 columns 'text'; give each"),
    "bytes of no encoding": (
        lambda f: write(f, b"task,text\na,\x81\xe9\n"),
        {},
        "line 2 is no UTF-8; save it as UTF-8",
    ),
    "UTF-16 that breaks off": (lambda f: write(f, b"\xff\xfea\0\n"), {}, "line 1 is no UTF-16; save it as UTF-8"),
    "a NUL": (lambda f: write(f, b"task,text,label\na,\0,c\n"), {}, "t.csv: line 2 holds a NUL character"),
    "JSON that is none": (lambda f: write(f, '{"a": 1}\n{"a"', "t.jsonl"), {}, "t.jsonl, line 2: no JSON"),
    "a line that is no object": (lambda f: write(f, "{}\n[1]\n", "t.jsonl"), {}, "t.jsonl, line 2: a list; allowed"),
    "JSON of a number": (lambda f: write(f, "3", "t.json"), {}, "t.json holds a int; allowed: a list of objects"),
    "lists of two lengths": (lambda f: write(f, '{"a":[1],"b":[]}', "t.json"), {}, "not one of lists of one length"),
    "Parquet that is none": (lambda f: write(f, "PAR1", "t.parquet"), {}, "cannot read t.parquet as Parquet"),
    "a folder without data": (lambda f: f, {}, "holds no data; allowed: files in .csv, .tsv"),
    "no task": (
        lambda f: table(f, "hi|x", header="message|intent"),
        {},
        r"which column is the task\? give --scenario-arg task=COLUMN \(or by=label labels_per_task=N, or by=time "
        r"tasks=N\); its columns: message \('hi'\), intent \('x'\)",
    ),
    "two columns that may be the label": (
        lambda f: table(f, "a|hi|x|y", header="task|text|category|intent"),
        {},
        r"which column is the label\? give --scenario-arg label=COLUMN; its columns: task \('a'\), text",
    ),
    "a missing column": (
        lambda f: table(f, *GOOD),
        {"label": "lable"},
        r"t.csv has no column 'lable' \(label=lable\); did you mean 'label'\? its columns: task \('a'\)",
    ),
    "a column with two roles": (
        lambda f: table(f, *GOOD),
        {"label": "text", "text": "text"},
        "are the same column",
    ),
    "an unknown order": (lambda f: table(f, *GOOD), {"order": "a,bb"}, "unknown task in order: 'bb'; did you mean 'b'"),
    "an order with one twice": (lambda f: table(f, *GOOD), {"order": "a,b,a"}, "order names the task 'a' twice"),
    "an unknown label in order": (
        lambda f: table(f, *GOOD),
        {"by": "label", "labels_per_task": 1, "order": "x,zz"},
        "unknown label in order: 'zz'; did you mean 'z'",
    ),
    "no row left": (
        lambda f: table(f, "a||x", "b|y|"),
        {},
        r"t.csv: no row is left; 1 row without a text \(line 2\); 1 row without a label \(line 3\)",
    ),
    "one task": (
        lambda f: table(f, *plenty("a", "x", "y")),
        {},
        r"gives 1 task\(s\), 'a'; a scenario needs two",
    ),
    "by=label without a number": (
        lambda f: table(f, *GOOD),
        {"by": "label"},
        "labels_per_task=None is not allowed",
    ),
    "a number without by=label": (
        lambda f: table(f, *GOOD),
        {"labels_per_task": 2},
        "labels_per_task=2 is for by=label; give --scenario-arg by=label, or leave labels_per_task out",
    ),
    "by=time without a number": (lambda f: table(f, *GOOD), {"by": "time"}, "tasks=None is not allowed; by=time needs"),
    "by=time without a column": (lambda f: table(f, *GOOD), {"by": "time", "tasks": 2}, r"which column is the time\?"),
    "more tasks than rows": (
        lambda f: table(f, "a|x|1", "b|x|2", header="text|label|time"),
        {"by": "time", "tasks": 3},
        "tasks=3 asks for more tasks than there are rows, 2",
    ),
    "a time that is none": (
        lambda f: table(f, "a|x|2026-01-02", "b|x|soon", header="text|label|time"),
        {"by": "time", "tasks": 2},
        "line 3: the time 'soon' cannot be read",
    ),
    "a time that is two": (
        lambda f: table(f, "a|x|03/04/2026", "b|x|13/04/2026", header="text|label|time"),
        {"by": "time", "tasks": 2},
        "times such as '03/04/2026' can be read in two ways; write them as 2026-01-31",
    ),
    "by=file of one file": (lambda f: table(f, *GOOD), {"by": "file"}, "by=file needs a folder with one file a task"),
    "by and task": (
        lambda f: table(f, *GOOD),
        {"by": "label", "labels_per_task": 2, "task": "task"},
        "task=task and by=label both say what a task is; give one of them",
    ),
    "an order of times": (
        lambda f: table(f, "a|x|1", "b|x|2", header="text|label|time"),
        {"by": "time", "tasks": 2, "order": "time 2,time 1"},
        "order and by=time both say what comes first; leave order out",
    ),
    "names that look alike": (
        lambda f: table(f, *GOOD, *plenty("a", "X")),
        {},
        "1 label spelled almost like another, 'x' and 'X', which must be written alike; .*; mend the data",
    ),
    "an unknown split": (
        lambda f: table(f, *(f"{line}|trian" for line in GOOD), header="task|text|label|split"),
        {},
        "unknown split in t.csv, line 2: 'trian'; did you mean 'train'",
    ),
    "a cell that is a list": (
        lambda f: write(f, '{"task":"a","text":["b"],"label":"c"}\n', "t.jsonl"),
        {},
        "t.jsonl, line 1: text is a list; allowed: a text, a number, true or false",
    ),
    "a lone surrogate": (
        lambda f: write(f, '{"task":"a","text":"\\ud800","label":"c"}\n', "t.jsonl"),
        {},
        "t.jsonl, line 1: text holds a lone surrogate",
    ),
    "no hub id": (lambda _: "hub:a b", {}, "'hub:a b' is no hub id; allowed: hub:OWNER/NAME"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_one_clear_line(name: str, tmp_path: Path) -> None:
    make, arguments, message = BAD[name]
    with pytest.raises(InputError, match=message) as caught:
        make_plan({"scenario": str(make(tmp_path)), "strategy": "naive", "model": "tiny", "scenario_args": arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.csv", "valid.csv"], "has train and valid but nothing called test; allowed: train, dev and test"),
        (["dev.csv", "test.csv"], "has dev and test but nothing called train"),
        (["train.csv", "val.csv", "dev.csv", "test.csv"], "has two tables of one split: dev, test, train, val"),
        (["app.csv", "app.tsv"], "has two files called app; allowed: one file a split or a task"),
    ],
)
def test_folders_whose_files_say_nothing_clear_are_refused(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path, "task,text,label\na,b,c\n" if name.endswith("csv") else "task\ttext\tlabel\na\tb\tc\n", name)
    with pytest.raises(InputError, match=message):
        data_sources.read_source(str(tmp_path))


def test_what_is_no_split_is_left_unread_and_said(tmp_path: Path) -> None:
    folder = to_split_files(frame(), tmp_path)
    shutil.copy(folder / "train.csv", folder / "sample.csv")
    assert any("sample.csv was left unread: " in line for line in scenario_of(folder, **TASK).notes())


def test_a_split_in_parts_is_one(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002.csv", "train-00001-of-00002.csv", "test-00000-of-00001.csv"):
        table(tmp_path, *(line.replace("number", name[:11]) for line in GOOD), name=name)
    assert len(scenario_of(tmp_path).rows()["a"]) == 3 * 8


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, *GOOD)

    def read_slowly(file_path: Path, most: int) -> bytes:
        content = read_file(file_path, most)
        with path.open("a") as file:
            file.write("a,late,x\n")
        return content

    monkeypatch.setattr(data_sources, "read_file", read_slowly)
    with pytest.raises(InputError, match=r"t\.csv changed while it was read; wait until it is written"):
        data_sources.read_source(str(path))


def test_a_folder_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.csv", "two.csv"):
        table(tmp_path, *GOOD, name=name)
    read = data_sources.READERS[".csv"]

    def read_slowly(content: bytes, name: str) -> Any:
        table(tmp_path, *GOOD, name="three.csv")
        return read(content, name)

    monkeypatch.setitem(data_sources.READERS, ".csv", read_slowly)
    with pytest.raises(InputError, match="changed while it was read"):
        data_sources.read_source(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="it is a pipe or a device"):
        data_sources.read_source(str(tmp_path / "pipe.csv"))


def test_a_link_goes_by_its_own_name(tmp_path: Path) -> None:
    """What it leads to may be called by its hash alone, as in the hub's cache."""
    write_csv(tmp_path / "0123abcd", tickets(20))
    (tmp_path / "tickets.csv").symlink_to(tmp_path / "0123abcd")
    plan = plan_of(tmp_path / "tickets.csv", tmp_path / "out", limit=8)
    assert plan.config.scenario == "tickets"
    assert len(plan.tasks) > 1


def test_an_edited_file_is_a_new_run_and_a_run_goes_on_from_its_folder(tmp_path: Path) -> None:
    from clbench.commands.planning import plan_again

    path = tmp_path / "tickets.csv"
    write_csv(path, tickets(20))
    plan = plan_of(path, tmp_path / "out", limit=8)
    engine.run(plan, Reporter())
    folder = engine.run_folder(plan.config).path
    assert plan_again(folder).config.sha256 == plan.config.sha256
    edited = tickets(20)
    edited[0] = (*edited[0][:3], "another text", edited[0][4])
    write_csv(path, edited)
    assert engine.run_folder(plan_of(path, tmp_path / "out", limit=8).config).path != folder
    with pytest.raises(InputError, match="was begun with other contents: its data changed since"):
        plan_again(folder)


def test_plans_of_one_command_read_the_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clbench.commands.planning import plan_runs

    calls: list[Path] = []
    read = data_sources._read_file

    def counted(path: Path) -> Table:
        calls.append(path)
        return read(path)

    monkeypatch.setattr(data_sources, "_read_file", counted)
    options = {"scenario": str(table(tmp_path, *GOOD)), "model": "tiny"}
    assert len(plan_runs(options, ["naive", "replay"], ["0-1"], ["order=b,a"], None)) == 4
    assert len(calls) == 1
