"""Trials with an objective that is a formula: what is tried, pruned, and tried again after an interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import log10
from pathlib import Path
from typing import Any

import pytest

from clbench.config import make_config
from clbench.engine import Reporter
from clbench.errors import InputError, RunError
from clbench.parallel import Slot, Together, Workers
from clbench.results import Tried
from clbench.strategy import Choices, Range, Space
from clbench.tuning.candidates import Candidate
from clbench.tuning.rounds import Effort, Entrant, _hold_rounds
from clbench.tuning.study import RANDOM_TRIALS, Report, count_trials, open_storage, open_study, run_trial, trials_of

SPACES: Mapping[str, Space] = {
    "lr": Range(1e-5, 1e-1, log=True),
    "rank": Range(1, 8),
    "kind": Choices(("a", "b", None)),
}
FIRST = {"lr": 1e-4, "kind": "a"}


def formula(values: Mapping[str, Any], _report: Report) -> float:
    """Best at lr 0.001, rank 4 and kind b: 1."""
    rank, power = int(values["rank"]), log10(values["lr"])
    return 1 - (power + 3) ** 2 / 8 - abs(rank - 4) / 40 - (0.0 if values["kind"] == "b" else 0.1)


def tried(folder: Path, count: int, objective: Callable[..., float] = formula, name: str = "study") -> list[Tried]:
    """The first ``count`` trials, of which those that are there are not tried again."""
    study = open_study(open_storage(folder), name)
    while count_trials(study) < count:
        run_trial(study, SPACES, FIRST, 0, objective)
    return trials_of(study, SPACES, count)


def test_the_first_trial_has_the_usual_values_and_later_ones_come_near_the_best(tmp_path: Path) -> None:
    found = tried(tmp_path, 24)
    assert {name: found[0].values[name] for name in FIRST} == FIRST
    assert found[0].values["rank"] in range(1, 9)  # drawn: no usual value was in the space
    assert found[0].score == pytest.approx(1 - 1 / 8 - abs(found[0].values["rank"] - 4) / 40 - 0.1)
    late = found[RANDOM_TRIALS + 1 :]
    assert sum(trial.values["kind"] == "b" for trial in late) > 2 * len(late) / 3  # a third, if drawn at random
    assert max(trial.score or 0.0 for trial in late) > 0.95


def test_values_are_short_and_what_the_objective_saw(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def objective(values: Mapping[str, Any], report: Report) -> float:
        seen.append(dict(values))
        return formula(values, report)

    found = tried(tmp_path, 7, objective)
    assert [dict(trial.values) for trial in found] == seen
    assert all(float(f"{trial.values['lr']:.3g}") == trial.values["lr"] for trial in found)


def test_an_interrupted_study_tries_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = tried(tmp_path / "whole", 9)
    calls = []

    def killed(values: Mapping[str, Any], report: Report) -> float:
        calls.append(dict(values))
        if len(calls) in (2, 7):
            raise KeyboardInterrupt
        return formula(values, report)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tried(tmp_path / "parts", 9, killed)
    assert tried(tmp_path / "parts", 9, killed) == whole
    assert calls[1] == calls[2]  # the trial that was interrupted, once more
    assert len(calls) == 9 + 2


def test_a_trial_is_pruned_below_the_median_of_whole_ones(tmp_path: Path) -> None:
    reached: list[int] = []

    def objective(_values: Mapping[str, Any], report: Report) -> float:
        number = len(reached)
        reached.append(0)
        for step in (1, 2):
            report(step, 0.1 if number in (3, RANDOM_TRIALS) else 0.5)
            reached[-1] = step
        return 0.5

    found = tried(tmp_path, RANDOM_TRIALS + 2, objective)
    assert [trial.state for trial in found] == ["complete"] * RANDOM_TRIALS + ["pruned", "complete"]
    assert reached == [2] * RANDOM_TRIALS + [0, 2]
    assert found[RANDOM_TRIALS].score == 0.1


def test_a_trial_that_fails_counts_and_has_no_score(tmp_path: Path) -> None:
    def objective(_values: Mapping[str, Any], _report: Report) -> float:
        raise RunError("the loss is nan")

    found = tried(tmp_path, 2, objective)
    assert [(trial.state, trial.score) for trial in found] == [("failed", None)] * 2


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("no data base, but long enough to have a header of one " * 20)
    with pytest.raises(InputError, match=r"optuna\.db cannot be used"):
        open_storage(tmp_path)


def entrants(folder: Path) -> list[Entrant]:
    storage = open_storage(folder)
    configs = [make_config({"scenario": "toy", "strategy": name}) for name in ("naive", "ewc")]
    found = [Candidate(config.strategy, config, {"lr": SPACES["lr"]}) for config in configs]
    return [Entrant(each, open_study(storage, each.study_name(1))) for each in found]


def test_each_strategy_has_as_many_trials_in_turn_whatever_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, order = [0.0], []
    monkeypatch.setattr("clbench.tuning.study.time.monotonic", lambda: now[0])

    def objective(candidate: Candidate) -> Callable[..., float]:
        def score(_values: Mapping[str, Any], _report: Report) -> float:
            now[0] += 10.0
            order.append(candidate.name)
            return 0.0

        return score

    # Two strategies of 10 s: rounds of 20 s, of which three fit into 75 s and not four.
    assert _hold_rounds(entrants(tmp_path), objective, Effort(trials=9, budget=75.0), Reporter()) == 3
    assert order == ["naive", "ewc"] * 3
    assert _hold_rounds(entrants(tmp_path), objective, Effort(trials=9, budget=81.0), Reporter()) == 4
    assert _hold_rounds(entrants(tmp_path), objective, Effort(trials=5), Reporter()) == 5
    assert _hold_rounds(entrants(tmp_path), objective, Effort(trials=2, budget=1.0), Reporter()) == 2
    assert order == ["naive", "ewc"] * 5


def test_trials_of_a_round_go_on_at_once_and_find_what_they_find_alone(tmp_path: Path) -> None:
    """Each waits for the other, so that one after another they would never end."""
    both = threading.Barrier(2, timeout=30)

    def objective(candidate: Candidate) -> Callable[..., float]:
        def score(values: Mapping[str, Any], _report: Report) -> float:
            both.wait()
            return -abs(log10(values["lr"]) + (2 if candidate.name == "ewc" else 4))

        return score

    def held(folder: Path, effort: Effort, together: Together | None = None) -> list[list[Tried]]:
        _hold_rounds(entrants(folder), objective, effort, Reporter(), together)
        return [trials_of(each.study, each.candidate.spaces, 9) for each in entrants(folder)]

    with Together(Workers([Slot("cpu", (0,), 1)] * 2)) as together:
        at_once = held(tmp_path / "at once", Effort(trials=4), together)
    both = threading.Barrier(1)
    assert [len(trials) for trials in at_once] == [4, 4]
    assert at_once == held(tmp_path / "in turn", Effort(trials=4))


def test_the_budget_of_trials_at_once_is_time_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clbench.tuning.rounds.spent_seconds", lambda study: 10.0 * count_trials(study))

    def rounds(folder: Path, together: Together | None) -> int:
        return _hold_rounds(
            entrants(folder), lambda _: lambda *_: 0.0, Effort(trials=9, budget=41.0), Reporter(), together
        )

    with Together(Workers([Slot("cpu", (0,), 1)] * 3)) as together:  # two strategies: two at once, 10 s a round
        assert rounds(tmp_path / "at once", together) == 4
    assert rounds(tmp_path / "in turn", None) == 2
