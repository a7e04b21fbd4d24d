"""Conformance: whether a strategy or a scenario, yours or a built-in one, does what clbench relies on.

In a test of your own::

    from clbench.testing import check_scenario, check_strategy


    def test_my_strategy():
        check_strategy("./mine.py")


    def test_my_strategy_with_replay():
        check_strategy("./mine.py(strength=2)+replay")


    def test_my_scenario():
        check_scenario("./tickets.py", {"path": "tickets.csv"})

or at the terminal ``python -m clbench check ./mine.py``. All runs are tiny, on the CPU and in a temporary folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clbench import plugins
from clbench.conformance import CheckResult, ScenarioChecks, StrategyChecks, Trials, run_checks, undisturbed
from clbench.errors import InputError

__all__ = ["CheckResult", "check_scenario", "check_strategy"]


def check_strategy(strategy: str | Path) -> list[CheckResult]:
    """Check a strategy, or several stacked.

    Args:
        strategy: a name, the path of a .py file, or an expression of them.

    Returns:
        A result a check.

    Raises:
        AssertionError: a check failed; its message has the line of each that did.
        InputError: there is no such strategy, or the expression cannot be read.
    """
    return _passed(str(strategy), _strategy_results(str(strategy), _tell_nobody))


def check_scenario(scenario: str | Path, arguments: Mapping[str, Any] | None = None) -> list[CheckResult]:
    """Check a scenario in each of its settings.

    Args:
        scenario: a name or the path of a .py file.
        arguments: keywords for its constructor, as ``--scenario-arg`` gives them.

    Returns:
        A result a check.

    Raises:
        AssertionError: a check failed; its message has the line of each that did.
        InputError: there is no such scenario, or it does not know one of the arguments.
    """
    return _passed(str(scenario), _scenario_results(str(scenario), arguments or {}, _tell_nobody))


def report(name: str, arguments: Mapping[str, Any] | None = None) -> int:
    """Check the plug-in ``name``, print a line a check; 1 if one failed.

    Args:
        name: a name, a file or a strategy expression.
        arguments: of a scenario's constructor.

    Raises:
        InputError: there is no such plug-in, or arguments are given for a strategy, whose arguments stand in its
            expression.
    """
    is_expression = ("+" in name or "(" in name) and not os.path.isfile(name)
    kind = "strategy" if is_expression else plugins.kind_of(name)
    if kind == "strategy" and arguments:
        raise InputError(f"{name!r} is a strategy and takes no --scenario-arg; write NAME(key=value)")
    results = (
        _strategy_results(name, _print) if kind == "strategy" else _scenario_results(name, arguments or {}, _print)
    )
    return int(any(result.status == "FAILED" for result in results))


def _strategy_results(strategy: str, tell: Callable[[CheckResult], None]) -> list[CheckResult]:
    with undisturbed(), tempfile.TemporaryDirectory(prefix="clbench-check-") as folder:
        trials = Trials(strategy, Path(folder))
        return run_checks(StrategyChecks(trials).all(), trials.files, tell)


def _scenario_results(
    scenario: str, arguments: Mapping[str, Any], tell: Callable[[CheckResult], None]
) -> list[CheckResult]:
    with undisturbed(), tempfile.TemporaryDirectory(prefix="clbench-check-") as folder:
        checks = ScenarioChecks(scenario, arguments, Path(folder))
        return run_checks(checks.all(), [checks.file], tell)


def _passed(name: str, results: list[CheckResult]) -> list[CheckResult]:
    failed = [str(result) for result in results if result.status == "FAILED"]
    if failed:
        raise AssertionError("\n".join([f"{name} fails {len(failed)} of {len(results)} checks:", *failed]))
    return results


def _print(result: CheckResult) -> None:
    print(result, flush=True)


def _tell_nobody(_: CheckResult) -> None:
    pass
