"""Comparison tables: means, deviations and overheads by hand, what may share a row, and every format read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import InputError
from clbench.report.comparison import compare
from clbench.report.rendering import render
from clbench.report.rows import Cell, TableRow
from clbench.report.tables import matrix_table, metrics_table, result_line, result_summary
from clbench.results.metrics import compute_metrics
from clbench.results.runs import Run
from clbench.results.schema import COSTS
from clbench.text import natural

CONFIG = {"epochs": 2, "lr": 1e-4, "limit": None, "device": "cpu", "output_dir": "a", "scenario_args": {"order": 1}}


def make_run(strategy: str = "naive", seed: int = 0, last: float = 0.5, **changes: Any) -> Run:
    """Two tasks; ends with accuracy ``last`` on the first: average accuracy (last + .9) / 2, forgetting .8 - last."""
    matrix: list[list[float | None]] = [[0.1, 0.2], [0.8, 0.3], [last, 0.9]]
    cost = dict.fromkeys(COSTS, 1.0) | {"wall_seconds": changes.pop("wall", 10.0), "stored_bytes": 3 * 2**20}
    config = CONFIG | {"seed": seed, "strategy": strategy, "hash8": changes.pop("hash8", f"hash{seed}")}
    config |= changes.pop("config", {})
    result = {
        "scenario": "toy",
        "setting": "task",
        "strategy": strategy,
        "model": "tiny",
        "seed": seed,
        "tasks": ["first", "second"],
        "limited": False,
        "accuracy_matrix": matrix,
        "metrics": compute_metrics(matrix),
        "cost": cost,
    }
    return Run(Path(f"results/toy/{strategy}/tiny-s{seed}-{config['hash8']}"), result | changes, config)


def rows_of(runs: list[Run], metrics: list[str] | None = None) -> dict[str, TableRow]:
    (table,) = compare(runs, metrics).tables
    rows = {row.label: row for row in table.rows}
    assert len(rows) == len(table.rows)
    return rows


def assert_cell(cell: Cell, mean: float | None, std: float | None, count: int) -> None:
    assert [cell.mean, cell.std] == [pytest.approx(mean), pytest.approx(std)]
    assert cell.count == count


def test_mean_and_sample_standard_deviation_by_hand() -> None:
    row = rows_of([make_run(seed=0, last=0.5), make_run(seed=1, last=0.7), make_run(seed=2, last=0.3)])["naive"]
    assert row.seeds == [0, 1, 2]
    assert_cell(row.cells["average_accuracy"], 0.7, 0.1, 3)
    assert_cell(row.cells["forgetting"], 0.3, 0.2, 3)
    assert row.cells["worst_retention"].mean == pytest.approx(0.5 / 0.8)


def test_one_seed_has_no_deviation() -> None:
    row = rows_of([make_run()])["naive"]
    assert_cell(row.cells["average_accuracy"], 0.7, None, 1)
    assert "\u00b1" not in render(compare([make_run()]))


def test_overhead_is_against_naive_of_the_same_seed() -> None:
    runs = [make_run(seed=0, wall=10.0), make_run(seed=1, wall=20.0)]
    runs += [make_run("ewc", seed=seed, wall=wall) for seed, wall in [(0, 15.0), (1, 22.0), (2, 99.0)]]
    comparison = compare(runs)
    naive, ewc = comparison.tables[0].rows
    assert_cell(naive.cells["overhead"], 1.0, 0.0, 2)
    assert_cell(ewc.cells["overhead"], 1.3, 0.2828427124746, 2)
    assert any("overhead of ewc: known for 2 of 3 runs" in note for note in comparison.tables[0].notes)


@pytest.mark.parametrize(
    "other",
    [
        {"config": {"epochs": 4}},
        {"config": {"device": "cuda:0"}},
        {"seed": 1},
        {"setting": "class"},
        {"model": "minilm"},
    ],
)
def test_no_overhead_against_a_naive_run_of_another_kind(other: dict[str, Any]) -> None:
    comparison = compare([make_run(**other), make_run("ewc")])
    ewc = next(row for table in comparison.tables for row in table.rows if row.strategy == "ewc")
    assert ewc.cells["overhead"].mean is None


GPU = {"device": "NVIDIA H100", "processor": "AMD EPYC", "threads": 8}
TWO_THREADS, ONE_THREAD = ({"device": "cpu", "processor": "AMD EPYC", "threads": threads} for threads in (2, 1))


def test_kernels_that_a_variable_chose_are_other_hardware() -> None:
    naive, ewc = (make_run(name, config={"device": "cpu"}, hardware=[ONE_THREAD]) for name in ("naive", "ewc"))
    assert rows_of([naive, ewc], ["overhead"])["ewc"].cells["overhead"].mean is not None
    other = make_run("ewc", config={"device": "cpu"}, hardware=[{**ONE_THREAD, "kernels": "MKL_CBWR=AVX2"}])
    assert rows_of([naive, other], ["overhead"])["ewc"].cells["overhead"].mean is None
    told = "AMD EPYC, threads: 1 (naive); AMD EPYC, threads: 1, MKL_CBWR=AVX2 (ewc)"
    assert any(note.endswith(told) for note in compare([naive, other]).tables[0].notes)


@pytest.mark.parametrize("other", [[TWO_THREADS], [ONE_THREAD, GPU]])
def test_costs_compare_with_their_like_whatever_was_asked_for(other: list[dict[str, Any]]) -> None:
    """Before, naive on a CPU and ewc on a GPU, both by "auto", gave an overhead."""
    auto = {"device": "auto"}
    naive = [make_run(seed=seed, wall=10.0 * (seed + 1), config=auto, hardware=[GPU]) for seed in (0, 1)]
    ewc = make_run("ewc", wall=30.0, config=auto, hardware=other)
    columns = ["average_accuracy", "overhead", "wall_seconds", "stored_bytes"]
    rows = rows_of([*naive, ewc], columns)
    assert rows["ewc"].cells["overhead"].mean is None
    assert rows["ewc"].cells["average_accuracy"].mean == pytest.approx(0.7)  # it is shared, and the note says so
    here = "AMD EPYC, threads: 2" if other == [TWO_THREADS] else "AMD EPYC, threads: 1 then NVIDIA H100"
    told = (
        f"hardware differs, so seconds, memory and overheads compare within one kind only: NVIDIA H100 (naive); {here}"
    )
    assert f"{told} (ewc)" in compare([*naive, ewc], columns).tables[0].notes
    same = make_run("ewc", wall=30.0, config={"device": "cuda:1"}, hardware=[{**GPU, "threads": 2}])
    assert rows_of([*naive, same])["ewc"].cells["overhead"].mean == pytest.approx(3.0)
    assert_cell(rows_of([*naive, same], columns)["naive"].cells["wall_seconds"], 15.0, 50**0.5, 2)
    mixed = rows_of([naive[0], make_run(seed=1, config=auto, hardware=other)], columns)["naive"]
    assert mixed.cells["wall_seconds"].mean is None
    assert mixed.cells["stored_bytes"].mean == 3 * 2**20


def test_devices_of_one_kind_and_other_paths_are_comparable() -> None:
    other = {"device": "cuda:1", "output_dir": "b"}
    rows = rows_of([make_run(config={"device": "cuda:0"}), make_run("ewc", wall=30.0, config=other)])
    assert rows["ewc"].cells["overhead"].mean == pytest.approx(3.0)


def test_scenario_setting_and_model_make_tables() -> None:
    runs = [
        make_run(),
        make_run(scenario="other"),
        make_run(setting="class"),
        make_run(model="minilm"),
        make_run(seed=1),
    ]
    tables = compare(runs).tables
    assert [(table.scenario, table.setting, table.model) for table in tables] == [
        ("toy", "task", "tiny"),
        ("other", "task", "tiny"),
        ("toy", "class", "tiny"),
        ("toy", "task", "minilm"),
    ]
    assert [table.rows[0].seeds for table in tables] == [[0, 1], [0], [0], [0]]


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        ({"config": {"epochs": 4}}, ["ewc [epochs=2]", "ewc [epochs=4]"]),
        ({"config": {"scenario_args": {"order": 2}}}, ["ewc [scenario_args.order=1]", "ewc [scenario_args.order=2]"]),
        ({"config": {"scenario_args": {}}}, ["ewc [scenario_args.order=1]", "ewc [no scenario_args.order]"]),
        ({"config": {"precision": None}}, ["ewc [no precision]", "ewc [precision=null]"]),
        ({"config": {"limit": 5}, "limited": True}, ["ewc [limit=null]", "ewc [limit=5] (limited)"]),
        ({"config": {"plugin_hashes": {"x": "b"}}}, ["ewc [no plugin_hashes.x]", "ewc [plugin_hashes.x=b]"]),
        ({"tasks": ["a", "b", "c"]}, ['ewc [tasks=["first", "second"]]', 'ewc [tasks=["a", "b", "c"]]']),
        ({"config": {"device": "cuda", "output_dir": "b"}}, ["ewc"]),
    ],
)  # fmt: skip
def test_other_settings_are_named_and_not_mixed(change: dict[str, Any], labels: list[str]) -> None:
    rows = rows_of([make_run("ewc"), make_run("ewc", seed=1, last=0.7, **change)])
    assert list(rows) == sorted(labels, key=lambda label: ("(limited)" in label, natural(label)))
    assert sum(len(row.runs) for row in rows.values()) == 2


def test_tasks_that_the_seed_draws_share_a_row() -> None:
    turned = ["second", "first"]
    runs = [make_run(), make_run("ewc"), make_run("ewc", seed=1, last=0.7, tasks=turned)]
    (table,) = compare(runs).tables
    assert [(row.label, row.seeds) for row in table.rows] == [("naive", [0]), ("ewc", [0, 1])]
    assert_cell(table.rows[1].cells["average_accuracy"], 0.75, 0.005**0.5, 2)
    note = "the tasks or their order differ between seeds, so that a ± holds that difference too"
    assert note in table.notes
    assert note not in compare([make_run(), make_run(seed=1)]).tables[0].notes
    # One seed with two sequences: it was not the seed that drew them.
    (table,) = compare([*runs, make_run("si", tasks=turned)]).tables
    assert [row.label for row in table.rows] == [
        "naive", 'ewc [tasks=["first", "second"]]', 'ewc [tasks=["second", "first"]]', "si",
    ]  # fmt: skip
    assert any(note.startswith("tasks differs: ") for note in table.notes)


@pytest.mark.parametrize("change", [{"scenario_args": {"order": 2}}, {"plugin_hashes": {"scenario:toy": "b"}}])
def test_tasks_that_another_scenario_made_are_not_the_seeds(change: dict[str, Any]) -> None:
    (table,) = compare([make_run(), make_run("ewc", seed=1, tasks=["second", "first"], config=change)]).tables
    assert any(note.startswith("tasks differs: ") for note in table.notes)


def test_two_codes_of_a_scenario_whose_seeds_draw_alike_have_a_row_each() -> None:
    turned = ["second", "first"]
    newer = {"plugin_hashes": {"scenario:toy": "b"}}
    old = [make_run("ewc"), make_run("ewc", seed=1, tasks=turned)]
    new = [make_run("si", config=newer), make_run("si", seed=1, tasks=turned, config=newer)]
    (table,) = compare([*old, *new]).tables
    assert [(row.label, row.seeds) for row in table.rows] == [("ewc", [0, 1]), ("si", [0, 1])]
    (table,) = compare([*old, new[1]]).tables  # whose one seed does not show that it draws
    assert len(table.rows) == 3


def test_settings_that_differ_between_strategies_are_noted() -> None:
    runs = [make_run(), make_run("ewc", config={"epochs": 4, "plugin_hashes": {"strategy:ewc": "b"}}), make_run("si")]
    notes = compare(runs).tables[0].notes
    assert "epochs differs: 2 (naive, si); 4 (ewc)" in notes
    assert not any("plugin_hashes" in note for note in notes)  # a strategy alone has its source
    assert "no overhead without naive of the same seed, settings and hardware: ewc" in notes


def test_two_runs_of_one_seed_are_named_and_not_mixed() -> None:
    runs = [make_run("ewc", seed=0, hash8="aaaa"), make_run("ewc", seed=0, hash8="bbbb", last=0.7)]
    table = compare(runs).tables[0]
    assert [row.label for row in table.rows] == ["ewc [seed=0, hash8=aaaa]", "ewc [seed=0, hash8=bbbb]"]
    assert [row.cells["average_accuracy"].mean for row in table.rows] == pytest.approx([0.7, 0.8])
    assert any("repeat seeds" in note for note in table.notes)


def test_the_best_is_marked_in_the_right_direction_with_ties() -> None:
    rows = rows_of(
        [make_run("a", last=0.5), make_run("b", last=0.7), make_run("c", last=0.7002), make_run("d", last=0.9)]
    )
    assert [row.cells["forgetting"].best for row in rows.values()] == [False, False, False, True]
    rows = rows_of([make_run("a", last=0.5), make_run("b", last=0.7), make_run("c", last=0.7002)])
    assert [row.cells["forgetting"].best for row in rows.values()] == [False, True, True]  # equal as printed
    assert [row.cells["average_accuracy"].best for row in rows.values()] == [False, True, True]
    assert [row.cells["stored_bytes"].best for row in rows.values()] == [False, False, False]
    assert not rows_of([make_run()])["naive"].cells["forgetting"].best  # nothing to be better than


def test_what_cannot_be_told_from_the_best_is_marked_too() -> None:
    # Average accuracies: .80 ± .02 (best), .77 ± .04 (reaches it), .77 ± .01 (does not), .785 (one seed; within .02).
    lasts = {"a": (0.66, 0.70, 0.74), "b": (0.56, 0.64, 0.72), "c": (0.62, 0.64, 0.66), "d": (0.67,)}
    runs = [make_run(name, seed, last) for name, values in lasts.items() for seed, last in enumerate(values)]
    rows = rows_of(runs)
    assert [round(row.cells["average_accuracy"].mean or 0, 9) for row in rows.values()] == [0.8, 0.77, 0.77, 0.785]
    assert [row.cells["average_accuracy"].best for row in rows.values()] == [True, True, False, True]
    assert [row.cells["forgetting"].best for row in rows.values()] == [True, True, False, True]
    assert "*: best of its column, or within one standard deviation of it" in render(compare(runs))
    assert "*: best of its column\n" in f"{render(compare([make_run('a'), make_run('b', last=0.6)]))}\n"


def test_runs_on_dev_have_a_table_of_their_own() -> None:
    dev: dict[str, Any] = {"config": {"eval_split": "dev"}}
    runs = [make_run(config={"eval_split": "test"}), make_run("ewc", last=0.9, **dev), make_run("si", last=0.6, **dev)]
    tables = compare([*runs, make_run("replay")]).tables  # an old run, without the key, was on test
    assert [(table.split, [row.label for row in table.rows]) for table in tables] == [
        ("test", ["naive", "replay"]), ("dev", ["ewc", "si"]),
    ]  # fmt: skip
    assert not any("eval_split" in note for table in tables for note in table.notes)
    text = render(compare(runs))
    assert "toy, task setting, tiny\n" in text
    assert "toy, task setting, tiny, on dev: not for comparison with test\n" in text
    assert [row["eval_split"] for row in csv.DictReader(io.StringIO(render(compare(runs), "csv")))] == [
        "test", "dev", "dev",
    ]  # fmt: skip
    assert [table["eval_split"] for table in json.loads(render(compare(runs), "json"))["tables"]] == ["test", "dev"]


def test_huge_numbers_neither_stop_nor_flood_a_table() -> None:
    runs = [make_run(seed=0, wall=1e-300), make_run("ewc", seed=0, wall=1e18), make_run("ewc", seed=1, wall=1.0)]
    for run in runs:
        run.result["metrics"]["worst_retention"] = 0.0 if run.result["seed"] else 1.7e308
    rows = rows_of(runs)
    assert rows["ewc"].cells["overhead"].mean is None  # a run of no time is no measure
    assert_cell(rows["ewc"].cells["worst_retention"], 0.85e308, 1.7e308 / 2**0.5, 2)
    assert_cell(rows_of(runs, ["wall_seconds"])["ewc"].cells["wall_seconds"], 5e17, 0.5**0.5 * 1e18, 2)
    for format in ("table", "markdown", "latex", "csv", "json"):
        assert max(map(len, render(compare(runs), format).splitlines())) < 1000
    assert "1.700e+308" in render(compare(runs))


@pytest.mark.slow
def test_many_differing_settings_have_a_size_and_rows_stay_apart() -> None:
    keys = {f"key{i}": 0 for i in range(4000)}
    runs = [make_run("ewc", last=0.5 + 0.01 * i, config=keys | {f"key{j}": i for j in range(4000)}) for i in range(20)]
    runs += [make_run("si", config={f"{'k' * 5000}{i}": i for i in range(2)}), make_run("si")]
    rows = rows_of(runs)  # it looks that labels differ
    assert len(rows) == 22
    label = next(label for label in rows if "key7=3," in label)
    assert "key7=3, 3992 more, settings " in label
    for format in ("table", "markdown", "latex", "csv", "json"):
        assert len(render(compare(runs), format)) < 200_000
    notes = compare(runs).tables[0].notes
    assert "3980 other settings differ, too: see the runs' config.json" in notes


def test_limited_runs_do_not_beat_whole_ones() -> None:
    runs = [
        make_run("a", last=0.5),
        make_run("b", last=0.6),
        make_run("c", last=0.9, limited=True, config={"limit": 5}),
    ]
    rows = rows_of(runs)
    assert [label for label, row in rows.items() if row.cells["average_accuracy"].best] == ["b"]
    assert "c (limited)" in rows
    assert any(note.startswith("limited") for note in compare(runs).tables[0].notes)


def test_rows_are_sorted_by_a_column_the_best_first() -> None:
    unknown = make_run("d", wall=None)
    unknown.result["metrics"]["average_accuracy"] = unknown.result["metrics"]["forgetting"] = None
    runs = [
        make_run("a", last=0.5, wall=3.0),
        make_run("b", last=0.7, wall=9.0),
        make_run("c", last=0.6, wall=2.0),
        unknown,
    ]
    runs += [make_run("e", last=0.9, wall=1.0, limited=True, config={"limit": 5})]

    def sorted_by(column: str | None) -> str:
        (table,) = compare(runs, ["average_accuracy", "forgetting", "wall_seconds"], column).tables
        return "".join(row.strategy for row in table.rows)

    assert sorted_by(None) == "abcde"
    assert sorted_by("average_accuracy") == sorted_by("forgetting") == "bcade"
    assert sorted_by("wall_seconds") == "cabde"
    with pytest.raises(InputError, match=r"unknown column to sort by 'forgeting'; did you mean 'forgetting'\?"):
        compare(runs, ["forgetting"], "forgeting")


def test_a_value_missing_in_one_run_leaves_the_cell_empty() -> None:
    lacking = make_run(seed=1)
    lacking.result["metrics"]["forward_transfer"] = None
    comparison = compare([make_run(seed=0), lacking])
    assert_cell(comparison.tables[0].rows[0].cells["forward_transfer"], None, None, 1)
    assert "forward_transfer of naive: known for 1 of 2 runs; no mean" in comparison.tables[0].notes
    assert "\u2013" in render(compare([lacking], ["forward_transfer"]))


def test_chosen_columns_and_unknown_ones() -> None:
    run = make_run(metrics_f1={"forgetting": 0.25})
    comparison = compare([run], ["examples_seen", "f1_forgetting", "examples_seen"])
    assert comparison.columns == ("examples_seen", "f1_forgetting")
    assert comparison.tables[0].rows[0].cells["f1_forgetting"].mean == 0.25
    with pytest.raises(InputError, match=r"unknown metric 'forgeting'; did you mean 'forgetting'\?"):
        compare([run], ["forgeting"])
    with pytest.raises(InputError, match=r"unknown format 'latx'; did you mean 'latex'\?"):
        render(comparison, "latx")
    with pytest.raises(InputError, match="no finished run"):
        compare([])


PAIR = [make_run("naive", 0, 0.5), make_run("naive", 1, 0.7), make_run("ewc(x=1)", 0, 0.8, wall=12.0)]


def test_plain_text() -> None:
    lines = render(compare(PAIR, ["average_accuracy", "forgetting", "overhead", "stored_bytes"])).splitlines()
    assert lines[0] == "toy, task setting, tiny"
    naive = next(line for line in lines if line.startswith("naive"))
    ewc = next(line for line in lines if line.startswith("ewc"))
    assert " ".join(naive.split()) == "naive 2 0.750 \u00b1 0.071 0.200 \u00b1 0.141 1.00 \u00b1 0.00 3.0 MiB"
    assert ewc.split() == ["ewc(x=1)", "1", "0.850*", "0.000*", "1.20", "3.0", "MiB"]
    assert "\x1b" not in "".join(lines)
    assert "note: seeds differ: 0, 1 (naive); 0 (ewc(x=1))" in lines


def narrow(runs: list[Run], width: int, metrics: list[str] | None = None, sort: str | None = None) -> list[str]:
    lines = render(compare(runs, metrics, sort), width=width).splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_a_table_fits_the_terminal_and_says_what_it_left_out() -> None:
    lines = narrow([*PAIR, make_run("lora_per_task(router='prototype', rank=8)")], 80)
    assert [line.split()[0] for line in lines if "0.750" in line] == ["naive"]
    assert next(line.split()[-1] for line in lines if line.startswith("ewc(x=1)")) == "1.20"  # overhead
    cut = lines.index(next(line for line in lines if line.startswith("lora")))
    assert lines[cut].split("  ")[0] + lines[cut + 1][2:] == "lora_per_task(router='prototype', rank=8)"
    rest = " ".join(" ".join(lines).partition("left out for want of room: ")[2].split())
    assert rest == (
        "learning accuracy \u2191, backward transfer \u2191, forward transfer \u2191, worst retention \u2191, stored, "
        "trainable parameters; --wide shows all"
    )
    assert "left out" not in render(compare(PAIR), width=300)
    assert render(compare(PAIR)) == render(compare(PAIR), width=300)
    for format in ("markdown", "csv", "latex", "json"):
        assert render(compare(PAIR), format, width=40) == render(compare(PAIR), format)


def test_columns_of_ones_own_keep_their_order_and_the_one_that_sorts_stays() -> None:
    names = ["worst_retention", "average_accuracy", "forgetting", "wall_seconds", "learning_accuracy"]
    first = " ".join(" ".join(narrow(PAIR, 50, names)).split())
    assert "worst average retention accuracy" in first
    assert first.endswith(
        "left out for want of room: forgetting \u2193, wall (s), learning accuracy \u2191; --wide shows all"
    )
    by_learning = " ".join(" ".join(narrow(PAIR, 50, names, "learning_accuracy")).split())
    assert "worst learning retention accuracy" in by_learning


def test_a_long_name_widens_the_table_and_breaks_no_number() -> None:
    text = render(compare([make_run("x" * 300), make_run("y")], ["average_accuracy"]))
    assert any(line.split() == ["x" * 300, "1", "0.700*"] for line in text.splitlines())


def test_markdown_reads_back_and_escapes() -> None:
    text = render(
        compare([make_run("a|b*c"), make_run("replay(memory_size=1)", last=0.6)], ["average_accuracy"]), "markdown"
    )
    lines = text.splitlines()
    assert lines[0] == "### toy, task setting, tiny"
    assert lines[2] == "| strategy | seeds | average accuracy \u2191 |"
    assert lines[4] == r"| a\|b\*c | 1 | 0.700 |"
    assert lines[5] == "| replay(memory_size=1) | 1 | **0.750** |"


def test_latex_escapes_and_marks() -> None:
    runs = [make_run(r"a_b&c%d$e#f{g}h~i^j\k", seed=seed, last=last) for seed, last in [(0, 0.5), (1, 0.7)]]
    text = render(compare([*runs, make_run("b", last=0.1)], ["average_accuracy", "forward_transfer"]), "latex")
    expected = (
        r"a\_b\&c\%d\$e\#f\{g\}h\textasciitilde{}i\textasciicircum{}j\textbackslash{}k & 2 & "
        r"\textbf{0.750 $\pm$ 0.071} & \textbf{0.100 $\pm$ 0.000} \\"
    )
    assert expected in text.splitlines()
    assert r"average accuracy $\uparrow$" in text
    assert text.isascii()
    assert text.count("{") == text.count("}")


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(render(compare(PAIR), "csv"))))
    assert [row["strategy"] for row in rows] == ["naive", "ewc(x=1)"]
    assert rows[0]["seeds"] == "0 1"
    assert rows[0]["limited"] == "false"
    assert float(rows[0]["average_accuracy_mean"]) == pytest.approx(0.75, abs=1e-12)
    assert float(rows[0]["average_accuracy_std"]) == pytest.approx(0.02**0.5 / 2, abs=1e-12)
    assert float(rows[0]["stored_bytes_mean"]) == 3 * 2**20
    assert rows[1]["average_accuracy_std"] == ""
    assert float(rows[1]["overhead_mean"]) == pytest.approx(1.2)


def test_json_reads_back() -> None:
    document = json.loads(render(compare(PAIR), "json"))
    naive, ewc = document["tables"][0]["rows"]
    assert naive["seeds"] == [0, 1]
    assert naive["runs"][1].endswith("tiny-s1-hash1")
    assert naive["cells"]["average_accuracy"]["mean"] == pytest.approx(0.75)
    assert ewc["cells"]["forgetting"] == {"mean": 0.0, "std": None, "count": 1, "best": True}
    assert document["columns"][0] == "average_accuracy"


@pytest.mark.parametrize("format", ["table", "markdown", "latex", "csv", "json"])
def test_control_characters_reach_no_terminal(format: str) -> None:
    text = render(compare([make_run("a\x1b[31m\nb\u202e\u2028\ud800")]), format)
    assert not any(bad in text for bad in ["\x1b", "\u202e", "\u2028", "\ud800"])


def test_wide_characters_are_aligned() -> None:
    lines = render(compare([make_run("\u65e5\u672c" * 3), make_run("abcd")], ["average_accuracy"])).splitlines()
    first, second = (next(line for line in lines if line.startswith(name)) for name in ("\u65e5", "abcd"))
    assert first.index("1") + 6 == second.index("1")  # six characters that take two columns each


def test_matrix_table() -> None:
    result = make_run().result | {"accuracy_matrix": [[None, 0.2], [0.8, 0.3], [0.5, 0.9]]}
    lines = [line.split() for line in matrix_table(result).splitlines()]
    assert lines[0] == ["accuracy", "first", "second"]
    assert lines[2:] == [
        ["before", "\u2013", "0.200"],
        ["after", "first", "0.800", "0.300"],
        ["after", "second", "0.500", "0.900"],
    ]


def test_metrics_table() -> None:
    text = metrics_table(compute_metrics([[0.1], [0.9]]))
    assert ["forgetting", "\u2193", "\u2013"] in [line.split() for line in text.splitlines()]
    assert ["average", "accuracy", "\u2191", "0.900"] in [line.split() for line in text.splitlines()]


def test_a_run_in_a_line() -> None:
    result = make_run(limited=True, forgetting_warnings=["a", "b"], learning_warnings=["c"]).result
    assert result_line(result) == (
        "naive, seed 0: average accuracy 0.700, forgetting 0.300, 10.0 s, 3 warnings, limited to part of the data"
    )
    result = make_run("a\nb", wall=None).result
    result["metrics"]["forgetting"] = None
    assert result_line(result) == r"a\nb, seed 0: average accuracy 0.700, forgetting \u2013".replace(
        r"\u2013", "\u2013"
    )


def test_summary() -> None:
    result = make_run(limited=True, forgetting_warnings=["first is being forgotten"]).result
    result["cost"] |= {"peak_memory_bytes": None, "trainable_parameters": 1234567, "stored_bytes": 1536}
    text = result_summary(result)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "naive: toy, task setting, tiny, seed 0, limited to part of the data"
    assert "forgetting \u2193 0.300" in lines
    assert "backward transfer \u2191 -0.300" in lines
    assert "wall (s) 10.0" in lines
    assert "peak memory \u2013" in lines
    assert "stored 1.5 KiB" in lines
    assert "trainable parameters 1,234,567" in lines
    assert "warning: first is being forgotten" in lines
    assert matrix_table(result) in text


def lowest(matrix: Any) -> float | None:
    """The worst task at the end."""
    cells = [cell for cell in matrix[-1] if cell is not None]
    return min(cells) if len(cells) == len(matrix[-1]) else None


def test_a_function_of_the_matrix_is_a_metric() -> None:
    runs = [make_run(seed=0, last=0.5), make_run(seed=1, last=0.7), make_run("ewc", accuracy_matrix=[[None, 0.2]] * 3)]
    rows = {row.label: row for row in compare(runs, [lowest, "forgetting"], sort="lowest").tables[0].rows}
    assert list(rows) == ["naive", "ewc"]
    assert_cell(rows["naive"].cells["lowest"], 0.6, 0.02**0.5, 2)
    assert_cell(rows["ewc"].cells["lowest"], None, None, 0)
    assert "lowest" not in runs[0].result["metrics"]  # the runs stay as they are
    assert "0.600" in render(compare(runs, [lowest]))


def test_a_metric_that_fails_or_hides_another_is_named() -> None:
    def forgetting(matrix: Any) -> float:
        return float(matrix[0][0])

    def broken(matrix: Any) -> float:
        return float(matrix["x"])

    def endless(matrix: Any) -> Any:
        return matrix[1][0] * 1e308 * 10

    with pytest.raises(InputError, match="metric 'forgetting' is clbench's own"):
        compare([make_run()], [forgetting])
    with pytest.raises(InputError, match=r"metric 'broken' of results/toy.*TypeError"):
        compare([make_run()], [broken])
    with pytest.raises(InputError, match=r"metric 'endless' of results/toy.* is inf"):
        compare([make_run()], [endless])
    with pytest.raises(InputError, match="unknown metric 'lowest'"):
        compare([make_run()], ["lowest"])
