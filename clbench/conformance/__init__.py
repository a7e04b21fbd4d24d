"""The checks behind ``clbench check`` and ``clbench.testing``, for anyone's strategy or scenario."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.conformance.checks import (
        CheckResult as CheckResult,
        explain as explain,
        run_checks as run_checks,
        undisturbed as undisturbed,
    )
    from clbench.conformance.device_checks import DeviceChecks as DeviceChecks
    from clbench.conformance.double_cuda import as_cuda as as_cuda
    from clbench.conformance.double_watch import Watch as Watch, watch as watch
    from clbench.conformance.scenario_checks import ScenarioChecks as ScenarioChecks
    from clbench.conformance.strategy_checks import StrategyChecks as StrategyChecks
    from clbench.conformance.trials import Trials as Trials

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
