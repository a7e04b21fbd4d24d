"""Many processes in one results folder lose and tear nothing, and one run is never worked on by two of them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmarks.cases import Case
from benchmarks.kills import run_to_end
from benchmarks.processes import start_forked, start_fresh
from benchmarks.writers import Sight, look, write_together

CASE = Case("toy", "naive")
WRITERS = 3  # more than a small machine has cores; eight interpreters with -m slow


@pytest.mark.slow
def test_writers_lose_and_tear_nothing(tmp_path: Path) -> None:
    outcome = write_together(tmp_path, range(WRITERS))
    assert outcome.codes == [0] * WRITERS
    assert outcome.differences == {seed: [] for seed in range(WRITERS)}
    assert outcome.sight.torn == []
    assert outcome.sight.looks > WRITERS
    assert outcome.sight.complete == WRITERS


def test_the_reader_names_a_torn_result(tmp_path: Path) -> None:
    result = run_to_end(CASE, tmp_path).path / "result.json"
    result.write_bytes(result.read_bytes()[:-20])
    sight = Sight()
    look(tmp_path, sight)
    assert [str(result) in line for line in sight.torn] == [True]


def test_a_run_that_is_being_made_is_refused_to_a_second_process(tmp_path: Path) -> None:
    arguments = CASE.arguments(tmp_path)
    first = start_forked(arguments, tmp_path / "logs")
    assert first.wait(lambda: any(tmp_path.glob("*/*/*/.holder"))) is None
    first.send(signal.SIGSTOP)
    second = start_forked(arguments, tmp_path / "logs")
    try:
        assert second.wait() == 2
    finally:
        first.send(signal.SIGCONT)
    assert len(second.stderr().splitlines()) == 1
    assert f"process {first.pid} on " in second.stderr()
    assert second.stdout() == ""
    assert first.wait() == 0


@pytest.mark.slow
def test_eight_interpreters_lose_and_tear_nothing(tmp_path: Path) -> None:
    outcome = write_together(tmp_path, range(8), start_fresh)
    assert (outcome.codes, outcome.sight.torn) == ([0] * 8, [])
    assert outcome.differences == {seed: [] for seed in range(8)}
