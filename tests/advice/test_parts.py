"""The parts of advice, worked by hand: durations, sizes, the shared-out budget, intervals, who takes part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clbench.advice.candidates import choose_field
from clbench.advice.constraints import (
    Constraints,
    read_duration,
    read_overhead,
    read_size,
    read_yes_no,
)
from clbench.advice.runner import Runner, Size
from clbench.advice.schedule import FINAL, FULL, ladders, make_schedule
from clbench.advice.scores import Score, distinguishable, gap, ranked
from clbench.engine import Reporter, run_one
from clbench.errors import InputError, ProcessDied
from clbench.plugins import Made, Plan, make_plan
from clbench.report import student_interval
from clbench.results import Run
from tests.conftest import TOY


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("0.5h", 1800), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-5m", "0s", "5x", "1e3s", "٣m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="allowed: a duration such as 90s"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("2000", 2000), ("500KB", 500_000), ("10 mb", 10**7), ("1.5GiB", 1610612736), ("0B", 0)]
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "10XB", "-1MB", "MB", "1e9"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="allowed: a size such as 500KB"):
        read_size(text)


def test_other_options() -> None:
    assert [read_yes_no("--keep-data", text) for text in ("yes", "no", None)] == [True, False, None]
    with pytest.raises(InputError, match="--keep-data 'maybe' is not allowed; allowed: yes, no"):
        read_yes_no("--keep-data", "maybe")
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--max-overhead"):
            read_overhead(value)


def test_measured_constraints() -> None:
    constraints = Constraints(max_stored=1000, max_overhead=1.5)
    assert constraints.violated(1000, 1.5) == {}
    assert constraints.violated(None, None) == {}
    assert list(constraints.violated(1001, 1.6)) == ["max_stored", "max_overhead"]
    assert constraints.violated(2000, 1)["max_stored"] == "stores 2.0 KiB; allowed: 1000 B"
    assert constraints.violated(1000.4, 1)["max_stored"] == "stores 1,000 bytes; allowed: 1,000"


def test_students_interval_by_the_table() -> None:
    """t with 2 degrees of freedom is 4.303 at 97.5 %; 1, 2, 3 have standard deviation 1."""
    low, high = student_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert student_interval([1.0]) is None


def scored(name: str, *values: float) -> Score:
    return Score(name, dict(enumerate(values)), None, None, "final")


def test_two_strategies_differ_by_their_paired_differences() -> None:
    """Seeds that are easy for one are easy for the other: differences .10, .11, .09 are from .075 to .125."""
    one, other = scored("one", 0.5, 0.7, 0.9), scored("other", 0.4, 0.59, 0.81)
    assert distinguishable(one, other)
    assert not distinguishable(one, scored("mixed", 0.4, 0.9, 0.8))
    assert not distinguishable(scored("one", 0.9), scored("other", 0.1)), "one seed tells nothing"


def test_the_best_comes_first_whichever_way_the_metric_points() -> None:
    low, high = scored("low", 0.1), scored("high", 0.9)
    assert [each.strategy for each in ranked([low, high], "average_accuracy")] == ["high", "low"]
    assert [each.strategy for each in ranked([high, low], "forgetting")] == ["low", "high"]
    assert gap(high, low, "average_accuracy") == pytest.approx(0.8)
    assert gap(low, high, "forgetting") == pytest.approx(0.8)


def test_ladders_go_from_few_data_to_all() -> None:
    quarter, eighth, sixteenth, least = ladders(600)
    assert [size.limit for size in quarter] == [150, 300, None]
    assert [size.limit for size in eighth] == [75, 300, None]
    assert [size.limit for size in sixteenth] == [38, 300, None]
    assert [size.limit for size in least] == [24, 300, None], "19 would be a 32nd"
    assert [size.split for size in quarter] == ["dev"] * 3
    assert ladders(20)[0] == (FULL,), "small data are not halved"


def test_the_budget_is_shared_out() -> None:
    """Naive takes 10 s on all data with test and a tenth of a second a text of the limit in the race."""

    def seconds(size: Size) -> float:
        return 10.0 if size is FINAL else (size.limit or 600) / 10

    # Three finalists: 10 s * (3 + 1.3 * 3) * 2 seeds = 138 s, of at most 600 s.
    schedule = make_schedule(ladders(600), seconds, 1000.0, references=3, candidates=30, seeds=2)
    assert schedule.finalists == 3
    assert schedule.racing == pytest.approx(862)
    # 30 candidates at 1.3 times naive: 585 s at 150 texts, 293 s at 75; allowed are 517 s.
    assert schedule.stages[0].limit == 75
    # 280 s: 10 s * (3 + 1.3 * 2) * 3 = 168 s is 60 % of it, so two go on, and the race has 112 s. Not even 24 texts,
    # 94 s for all, are within 67 s, but within the race's time.
    schedule = make_schedule(ladders(600), seconds, 280.0, references=3, candidates=30, seeds=3)
    assert (schedule.finalists, schedule.stages[0].limit) == (2, 24)
    assert schedule.racing == pytest.approx(112)
    # 100 s: one finalist would have 60 s; the race takes from them all but what one seed needs, 43 s.
    schedule = make_schedule(ladders(600), seconds, 100.0, references=3, candidates=30, seeds=3)
    assert schedule.finalists == 1
    assert schedule.racing == pytest.approx(57)
    with pytest.raises(InputError, match="needs about 43s more, and 42s are left; give --budget 2m or more"):
        make_schedule(ladders(600), seconds, 42.0, references=3, candidates=30, seeds=3, spent=18.0)


def test_who_takes_part() -> None:
    made: Made = {}
    field = choose_field(TOY, Constraints(keep_data=False), made)
    assert field.references == ("naive", "joint", "slda")
    assert "naive" in field.candidates
    assert "ewc" in field.candidates
    assert "replay" not in field.candidates
    assert "replay" in field.shadows["keep_data"]
    assert "replay+ewc" in field.shadows["keep_data"]
    assert "alarm" in field.shadows["keep_data"], "its memory is a part of it"
    assert "wise" in field.shadows["keep_data"], "it keeps dev texts"
    assert "forbids" in field.excluded["er_ace"]
    assert "reference" in field.excluded["joint"]
    free = choose_field(TOY, Constraints(), made)
    assert not free.shadows
    assert set(field.candidates) | set(field.shadows["keep_data"]) == set(free.candidates)
    named = choose_field(TOY, Constraints(), made, ["merge", "multi_task(weights='size')"])
    assert named.candidates == ("naive", "merge")
    assert "reference" in named.excluded["multi_task(weights='size')"]
    images = choose_field({"scenario": "digits_seq", "device": "cpu"}, Constraints(), {})
    assert "prompt_tuning" not in images.candidates
    assert "does not support image tasks" in images.excluded["prompt_tuning"]


def test_what_is_wrong_with_the_data_is_no_strategys_fault() -> None:
    with pytest.raises(InputError, match="unknown scenario"):
        choose_field({**TOY, "scenario": "nowhere"}, Constraints(), {})


def test_work_counts_examples(tmp_path: Any) -> None:
    """Toy: 3 tasks. Training passes count three times; in the race only tasks that have been learned are answered."""
    options = {**TOY, "epochs": 2, "batch_size": 8, "scenario_args": {"train": 24, "dev": 6, "test": 12}}
    runner = Runner(options, tmp_path, 100.0, Reporter())
    assert runner.work(FINAL) == 3 * (3 * 2 * 24) + 4 * (3 * 12)
    assert runner.work(Size("race", 12, None, "dev")) == 3 * (3 * 2 * 16) + (3 + 2 + 1) * 6


def test_a_strategy_that_finds_no_layer_in_the_model_leaves_the_race(tmp_path: Any) -> None:
    """On images scales may go on a transformer, and this network is none; the others race on."""
    options = {"scenario": "digits_seq", "model": "smallconv", "device": "cpu", "limit": 4, "epochs": 1}
    runner = Runner(options, tmp_path, 100.0, Reporter())
    assert runner.run("ia3", 0, FINAL) is None
    assert "match no layer" in runner.failed["ia3"]
    with pytest.raises(InputError, match="reads texts"):
        Runner({**options, "model": "minilm"}, tmp_path, 100.0, Reporter()).run("naive", 0, FINAL)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_run_whose_process_died_is_made_once_more(deaths: int, tmp_path: Any) -> None:
    """A kill says nothing of the values that were tried; who is killed twice has failed."""
    tried: list[str] = []

    def make(plan: Plan, reporter: Reporter) -> Run:
        tried.append(plan.config.strategy)
        if len(tried) <= deaths:
            raise ProcessDied("its process was ended by SIGKILL; run the same command again to go on")
        return run_one(plan, reporter)

    runner = Runner({**TOY, "epochs": 1}, tmp_path, 100.0, Reporter(), make=make)
    run = runner.run("naive", 0, FINAL)
    assert tried == ["naive", "naive"]
    assert (run is None) == ("naive" in runner.failed) == (deaths == 2)


@pytest.mark.parametrize("name", ["replay", "agem", "gem", "der", "er_ace", "gdumb", "joint", "cumulative", "alarm",
                                  "few_shot", "student", "multi_task"])  # fmt: skip
def test_strategies_that_keep_examples_say_so(name: str) -> None:
    assert make_plan({**TOY, "strategy": name}).strategy.keeps_examples


@pytest.mark.parametrize("thing", ["a pipe", "a folder", "larger than"])
def test_what_else_lies_where_the_seconds_are_kept_is_one_line(thing: str, tmp_path: Path) -> None:
    place = tmp_path / "spent.json"
    if thing == "a pipe":
        os.mkfifo(place)
    elif thing == "a folder":
        place.mkdir()
    else:
        with place.open("wb") as file:
            file.truncate(20 * 10**9)
    with pytest.raises(InputError, match=f"spent.json is damaged: .*{thing}.*take it away"):
        Runner(TOY, tmp_path, 100.0, Reporter())
