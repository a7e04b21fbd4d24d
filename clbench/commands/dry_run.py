"""What `run --dry-run` does with its plans: all that can be checked without training, and what would be run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from clbench import engine
from clbench.clock import Clock
from clbench.commands.progress import TerminalReporter
from clbench.config import NOT_SCIENCE, WORKED_OUT
from clbench.errors import ClbenchError, RunError, in_a_line
from clbench.plugins import Plan


def print_plans(plans: Sequence[Plan]) -> int:
    """Check what can be checked without training, and say what would be run, with every resolved value.

    What there is to know of the data goes to stderr.
    """
    reporter = TerminalReporter(-1)
    told: set[str] = set()
    for plan in plans:
        for line in plan.notes:
            reporter.note(line)
        engine.tell_notes(plan.tasks, reporter)
    for plan in {plan.config.strategy: plan for plan in reversed(plans)}.values():
        prepared = _prepared(plan)
        for line in prepared.warnings:
            if line not in told:
                told.add(line)
                reporter.warn(line)
        reporter.note(f"{plan.config.strategy}: {_memory(prepared).line()}")
    for plan in plans:
        values = {k: v for k, v in plan.config.model_dump().items() if k not in NOT_SCIENCE and k not in WORKED_OUT}
        print(f"{engine.run_folder(plan.config).path}\n{json.dumps(values, indent=2, default=list)}")
    return 0


def _memory(prepared: engine.Prepared) -> engine.MemoryEstimate:
    examples = [example for task in prepared.tasks for example in task.train]
    return engine.estimate_memory(prepared.learner, prepared.strategy, prepared.config, examples)


def _prepared(plan: Plan) -> engine.Prepared:
    """The run's model, loaded, with its strategy set up.

    Raises:
        InputError, RunError: it cannot be; whatever a plug-in raises is told in a line, as in a run.
    """
    try:
        return engine.prepare(plan, Clock())
    except ClbenchError:
        raise
    except (Exception, SystemExit) as error:
        where = "a run keeps the traceback in its log.jsonl"
        raise RunError(f"{plan.config.strategy}, seed {plan.config.seed}: {in_a_line(error)}; {where}") from error
