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

``check_strategy("./mine.py", device="double")``, or ``check ./mine.py --device double``, runs it on a stand-in for a
GPU: the CPU's numbers, a GPU's refusals, and every wait of the host counted. What that cannot show, ``as_cuda`` says.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clbench import plugins
from clbench.conformance import (
    CheckResult,
    DeviceChecks,
    ScenarioChecks,
    StrategyChecks,
    Trials,
    Watch,
    as_cuda,
    run_checks,
    undisturbed,
    watch,
)
from clbench.errors import InputError, unknown

__all__ = ["CheckResult", "Watch", "as_cuda", "check_scenario", "check_strategy", "watch"]

DEVICES = {"cpu": StrategyChecks, "double": DeviceChecks}


def check_strategy(strategy: str | Path, device: str = "cpu") -> list[CheckResult]:
    """Check a strategy, or several stacked.

    Args:
        strategy: a name, the path of a .py file, or an expression of them.
        device: "cpu", or "double" for the checks on a stand-in for a GPU.

    Returns:
        A result a check.

    Raises:
        AssertionError: a check failed; its message has the line of each that did.
        InputError: there is no such strategy or device, or the expression cannot be read.
    """
    return _passed(str(strategy), _strategy_results(str(strategy), device, _tell_nobody))


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


def report(name: str, arguments: Mapping[str, Any] | None = None, device: str | None = None) -> int:
    """Check the plug-in ``name``, print a line a check; 1 if one failed.

    Args:
        name: a name, a file or a strategy expression.
        arguments: of a scenario's constructor.
        device: of a strategy's checks; see :func:`check_strategy`.

    Raises:
        InputError: there is no such plug-in or device; arguments are given for a strategy, whose arguments stand in
            its expression, or a device for a scenario, which uses none.
    """
    is_expression = ("+" in name or "(" in name) and not os.path.isfile(name)
    kind = "strategy" if is_expression else plugins.kind_of(name)
    if kind == "strategy" and arguments:
        raise InputError(f"{name!r} is a strategy and takes no --scenario-arg; write NAME(key=value)")
    if kind == "scenario" and device:
        raise InputError(f"{name!r} is a scenario and takes no --device: its tasks are made on the CPU")
    if kind == "strategy":
        results = _strategy_results(name, device or "cpu", _print)
    else:
        results = _scenario_results(name, arguments or {}, _print)
    return int(any(result.status == "FAILED" for result in results))


def _strategy_results(strategy: str, device: str, tell: Callable[[CheckResult], None]) -> list[CheckResult]:
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    with undisturbed(), tempfile.TemporaryDirectory(prefix="clbench-check-") as folder:
        trials = Trials(strategy, Path(folder))
        return run_checks(DEVICES[device](trials).all(), trials.files, tell)


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
