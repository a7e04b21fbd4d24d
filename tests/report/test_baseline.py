"""`compare --baseline`: by hand, and on simulated runs whose true difference is known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clbench import load_runs
from clbench.cli import main
from clbench.errors import InputError
from clbench.report import compare, render
from clbench.report.statistics import Difference
from clbench.results import Run
from tests.report.simulated import simulate, write_answers
from tests.report.test_tables import make_run

KEYS = ["difference", "low", "high", "p", "p_holm", "n", "example_low", "example_high"]


def differences(runs: Any, baseline: str = "naive", metric: str = "average_accuracy") -> dict[str, Any]:
    (table,) = compare(runs, [metric], baseline=baseline).tables
    return {row.label: row.cells[metric].difference for row in table.rows}


def notes(runs: Any, baseline: str = "naive", metrics: tuple[str, ...] = ("average_accuracy",)) -> list[str]:
    (table,) = compare(runs, metrics, baseline=baseline).tables
    return list(table.notes)


# Average accuracies of naive .6, .65, .7 and of ewc .61, .67, .73: differences .01, .02, .03. Seed 7 has no partner.
THREE = [make_run("naive", seed, last) for seed, last in [(0, 0.3), (1, 0.4), (2, 0.5)]]
THREE += [make_run("ewc", seed, last) for seed, last in [(2, 0.56), (0, 0.32), (1, 0.44), (7, 0.9)]]


def test_three_differences_by_hand() -> None:
    told = differences(THREE)
    assert told["naive"] is None
    ewc = told["ewc"]
    # s = .01 and t of 2 degrees of freedom 4.3027: half the interval is .0248414.
    assert ewc.difference == pytest.approx(0.02)
    assert [ewc.low, ewc.high] == pytest.approx([0.02 - 0.0248414, 0.02 + 0.0248414], abs=1e-6)
    assert (ewc.n, ewc.p, ewc.p_holm) == (3, None, None)
    forgetting = differences(THREE, metric="forgetting")["ewc"]
    assert forgetting.difference == pytest.approx(-0.04)
    lines = notes(THREE)
    assert "paired by seed are 3 of 4 and 3 runs, the others are left out of differences: ewc" in lines
    assert "3 paired seeds: no p below 0.250 can come of it, so none is given; 6 seeds would do" in lines


def test_seven_seeds_carry_a_p_and_its_correction_over_two_rows() -> None:
    runs = [make_run("naive", seed, 0.4) for seed in range(7)]
    runs += [make_run("better", seed, 0.5 + 0.01 * seed) for seed in range(7)]
    runs += [make_run("alike", seed, 0.4 + 0.02 * (-1) ** seed) for seed in range(7)]
    told = differences(runs)
    better, alike = told["better"], told["alike"]
    assert (better.p, better.p_holm) == (2 / 128, 4 / 128)  # only all signs alike is as far off
    # One more up than down: as far off are all sums but 0, which seven odd numbers cannot have.
    assert (alike.p, alike.p_holm) == (1.0, 1.0)
    six = [run for run in runs if run.result["seed"] < 6]
    better = differences(six)["better"]
    assert (better.p, better.p_holm) == (2 / 64, None)
    told_notes = notes(six)
    assert (
        "6 paired seeds: no p corrected over 2 rows can be 0.05 or less, so none is given; 7 seeds would do"
        in told_notes
    )


def test_rows_that_the_best_cannot_be_told_from_are_marked() -> None:
    """By pairs, not by standard deviations: seeds differ by .1, ewc from si by .01 on each, and near by ±.01."""
    lasts = {"si": (0.5, 0.6, 0.7), "ewc": (0.48, 0.58, 0.68), "near": (0.49, 0.6, 0.69)}
    runs = [make_run(name, seed, last) for name, values in lasts.items() for seed, last in enumerate(values)]
    runs += [make_run("one", 0, 0.4)]

    def marked(baseline: str | None) -> list[str]:
        (table,) = compare(runs, ["average_accuracy"], baseline=baseline).tables
        return sorted(row.label for row in table.rows if row.cells["average_accuracy"].best)

    assert marked(None) == ["ewc", "near", "si"]
    assert marked("si") == ["near", "si"]
    text = render(compare(runs, ["average_accuracy"], baseline="si"))
    assert "*: best of its column with two or more seeds, or not to be told from it: the 95 % interval of their" in text
    assert "?: fewer than two seeds shared with that best" in text
    assert next(line.split()[2:] for line in text.splitlines() if line.startswith("one ")) == ["0.650?"]
    for format, cell in (("markdown", "| one | 1 | 0.650? |"), ("latex", "one & 1 & 0.650? ")):
        assert cell in render(compare(runs, ["average_accuracy"], baseline="si"), format)
    runs += [make_run("lucky", 0, 0.9)]  # its only seed is better than all
    assert marked("si") == ["near", "si"]
    assert marked(None) == ["lucky"]


def test_a_planted_effect_is_found_and_none_where_there_is_none(tmp_path: Path) -> None:
    """Eight seeds, three tasks of 300 examples: planted is .04 better, null as good as naive."""
    simulate(tmp_path, {"planted": 0.04, "null": 0.0}, seeds=8)
    told = differences(load_runs(tmp_path))
    planted, null = told["planted"], told["null"]
    assert 0 < planted.low <= 0.04 <= planted.high
    assert 0 < planted.example_low <= 0.04 <= planted.example_high
    assert planted.p_holm <= 0.05
    assert null.low <= 0 <= null.high
    assert null.p > 0.05
    (table,) = compare(load_runs(tmp_path), ["average_accuracy"], baseline="naive").tables
    assert [row.label for row in table.rows if row.cells["average_accuracy"].best] == ["planted"]


def test_the_interval_over_examples_pairs_the_answers(tmp_path: Path) -> None:
    """Two strategies that answer alike but for one example in ten: unpaired, it would be far wider."""
    right = np.arange(300) % 2 == 0
    for seed in (0, 1):
        write_answers(tmp_path, "naive", seed, {"only": right})
        write_answers(tmp_path, "ewc", seed, {"only": right | (np.arange(300) % 10 == 1)})
    told = differences(load_runs(tmp_path))["ewc"]
    assert told.difference == pytest.approx(0.1)
    # The share of 300 that a binomial with .1 has: its standard deviation is √(.1 · .9 / 300) = .0173.
    assert [told.example_low, told.example_high] == pytest.approx([0.1 - 0.034, 0.1 + 0.034], abs=0.004)
    assert [told.low, told.high] == pytest.approx([0.1, 0.1])


def test_test_sets_of_different_sizes_and_other_tasks_each_seed_are_drawn_by_themselves(tmp_path: Path) -> None:
    for seed, (task, size) in enumerate([("a", 40), ("a", 60)]):
        half = np.arange(size) % 2 == 0
        write_answers(tmp_path, "naive", seed, {task: half, "b": half})
        write_answers(tmp_path, "ewc", seed, {task: half, "b": np.ones(size, bool)})
    told = differences(load_runs(tmp_path))["ewc"]
    # b alone differs, by .5 ± √(.25/40) and .5 ± √(.25/60), which weigh a quarter each.
    spread = 1.96 * (0.25 / 40 + 0.25 / 60) ** 0.5 / 4
    assert (told.example_high - told.example_low) / 2 == pytest.approx(spread, rel=0.1)
    for seed, names in enumerate([("a", "b"), ("c", "b")]):
        for strategy in ("naive", "ewc"):
            right = {name: np.arange(30) % 3 > (strategy == "naive") for name in names}
            write_answers(tmp_path / "drawn", strategy, seed, right)
    told = differences(load_runs(tmp_path / "drawn"))["ewc"]
    assert told.difference == pytest.approx(1 / 3)
    assert 0.15 < told.example_low < 1 / 3


def test_where_there_is_no_interval_over_examples_a_note_says_why(tmp_path: Path) -> None:
    right = {"only": np.arange(30) % 3 > 0}
    write_answers(tmp_path, "naive", 0, right)
    write_answers(tmp_path, "other", 0, right, labels="no")
    told = differences(load_runs(tmp_path))["other"]
    assert told == Difference(difference=0.0, n=1)
    assert any("were not judged by the same test examples" in note for note in notes(load_runs(tmp_path)))
    folder = write_answers(tmp_path, "gone", 0, right)
    result = json.loads((folder / "result.json").read_text())
    del result["predictions_sha256"]
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "predictions.parquet").unlink()
    assert differences(load_runs(tmp_path))["gone"] == Difference(difference=0.0, n=1)
    assert any("no interval over test examples" in note and "gone" in note for note in notes(load_runs(tmp_path)))


def test_another_measure_has_a_table_of_its_own_and_no_interval_over_examples(tmp_path: Path) -> None:
    right = {"only": np.arange(30) % 3 > 0}
    for strategy in ("naive", "ewc"):
        write_answers(tmp_path, strategy, 0, right)
        write_answers(tmp_path / "f1", strategy, 1, right, measure="entity_f1")
    comparison = compare(load_runs(tmp_path, tmp_path / "f1"), ["average_accuracy"], baseline="naive")
    assert [(table.measure, len(table.rows)) for table in comparison.tables] == [("accuracy", 2), ("entity_f1", 2)]
    intervals = [row.cells["average_accuracy"].difference for table in comparison.tables for row in table.rows]
    assert [each and each.example_low for each in intervals] == [0.0, None, None, None]
    text = render(comparison)
    assert "sim, task setting, tiny\n" in text
    assert "sim, task setting, tiny, measured as entity_f1\n" in text
    assert "the interval over test examples is of accuracy, not of entity_f1" in text
    assert [table["measure"] for table in json.loads(render(comparison, "json"))["tables"]] == ["accuracy", "entity_f1"]


def naive_rows(*more: Run) -> list[Run]:
    """naive with two sets of settings, and ewc with one of them and a third."""
    runs = [make_run("naive", last=0.35), make_run("naive", last=0.6, config={"epochs": 4})]
    return [*runs, make_run("ewc", last=0.7), make_run("ewc", last=0.7, config={"epochs": 8}), *more]


def test_a_baseline_with_several_rows_is_the_one_with_the_same_settings() -> None:
    told = differences(naive_rows())
    assert told["naive [epochs=2]"] is told["naive [epochs=4]"] is told["ewc [epochs=8]"] is None
    assert told["ewc [epochs=2]"] == Difference(pytest.approx(0.175), n=1)  # type: ignore[arg-type]
    assert "no difference: several rows are naive, none with the settings of: ewc [epochs=8]" in notes(naive_rows())
    told = differences(naive_rows(), "naive [epochs=4]")
    assert [label for label, each in told.items() if each is None] == ["naive [epochs=4]"]
    assert told["ewc [epochs=8]"] == Difference(pytest.approx(0.05), n=1)  # type: ignore[arg-type]
    limited = make_run("si", last=0.9, limited=True, config={"limit": 5})
    assert differences([make_run(), limited])["si (limited)"] is None
    assert "no difference: limited and whole runs do not compare: si (limited)" in notes([make_run(), limited])


def test_a_baseline_that_is_nowhere_is_refused_and_one_that_is_not_in_a_table_said() -> None:
    with pytest.raises(InputError, match=r"unknown baseline 'naiv'; did you mean 'naive'\? allowed: ewc, naive"):
        compare(THREE, baseline="naiv")
    comparison = compare([*THREE, make_run("ewc", setting="class")], baseline="naive")
    assert "no difference: naive is none of the rows" in comparison.tables[1].notes
    assert "difference from" not in render(comparison).split("class setting")[1]


def test_other_tasks_are_no_pair() -> None:
    told = differences([make_run(), make_run("ewc", tasks=["first", "other"]), make_run("ewc", 1, tasks=["a", "b"])])
    assert [each for each in told.values() if each is not None and each.n] == []


def test_every_format_has_the_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    simulate(tmp_path, {"planted": 0.04}, seeds=6, examples=30)
    told = differences(load_runs(tmp_path))["planted"]
    arguments = ["compare", str(tmp_path), "--baseline", "naive", "--metric", "average_accuracy", "--format"]
    printed = {}
    for format in ("json", "csv", "table", "markdown", "latex"):
        assert main([*arguments, format]) == 0
        printed[format] = capsys.readouterr().out
    document = json.loads(printed["json"])
    naive, planted = (row["cells"]["average_accuracy"] for row in document["tables"][0]["rows"])
    assert document["baseline"] == "naive"
    assert list(planted)[4:] == list(naive)[4:] == ["untold", *KEYS]
    assert [planted[key] for key in KEYS] == [getattr(told, key) for key in KEYS]
    assert [naive[key] for key in KEYS] == [None] * 5 + [0] + [None] * 2
    row = list(csv.DictReader(io.StringIO(printed["csv"])))[1]
    assert [float(row[f"average_accuracy_{key}"]) for key in KEYS] == [getattr(told, key) for key in KEYS]
    frame = load_runs(tmp_path).compare(["average_accuracy"], baseline="naive")
    assert [frame[f"average_accuracy_{key}"][1] for key in KEYS] == [getattr(told, key) for key in KEYS]
    interval = f"{told.low:+.3f} to {told.high:+.3f}"
    for format in ("table", "markdown", "latex"):
        assert interval in printed[format]
        assert f"{told.p:.4f}" in printed[format]
        text = printed[format].replace(r"\%", "%")
        assert text.count("95 % over seeds: ") == text.count("95 % over examples: ") == 1
    assert "**average accuracy ↑: difference from naive**" in printed["markdown"]
    assert printed["latex"].count(r"\begin{tabular}") == 2
    assert main(["compare", str(tmp_path), "--format", "json"]) == 0
    assert "difference_" not in capsys.readouterr().out


def test_costs_have_no_difference_and_by_default_average_accuracy_is_shown() -> None:
    comparison = compare(THREE, baseline="naive")
    text = render(comparison)
    assert text.count("difference from naive") == 1
    (table,) = comparison.tables
    assert table.rows[1].cells["forgetting"].difference is not None  # computed, for JSON
    assert table.rows[0].cells["overhead"].difference is None
    lines = render(comparison, width=60).splitlines()
    assert max(map(len, lines)) <= 60
