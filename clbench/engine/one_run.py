"""One of several runs: what goes wrong in it is told in one line, and nothing of it stays in memory."""

from __future__ import annotations

import os
import traceback

from clbench.engine.engine import run, run_folder
from clbench.engine.interrupts import Interrupted
from clbench.engine.reporter import Reporter
from clbench.errors import ClbenchError, RunError, in_a_line
from clbench.models import ranks, release_memory
from clbench.plugins import Plan
from clbench.results import Run, RunFolder


def run_one(plan: Plan, reporter: Reporter) -> Run:
    """Run ``plan`` to its end; nothing of it stays in memory.

    Raises:
        InputError, RunError, Interrupted: as the engine; whatever else goes wrong is a RunError, its traceback a line
            of the log.
    """
    folder, config = run_folder(plan.config), plan.config
    # os.path, because Path.exists() raises for a name too long
    read_back = os.path.exists(folder.path / "result.json") and not (config.overwrite or config.save_model)
    try:
        result = run(plan, reporter)
    except Interrupted as stopped:
        if stopped.__cause__ is not None and not isinstance(stopped.__cause__, ClbenchError):
            raise Interrupted(_logged(folder, str(stopped)), stopped.exit_code - 128) from stopped
        raise
    except ClbenchError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may call what ends a program
        raise RunError(_logged(folder, in_a_line(error))) from error
    finally:
        del plan
        if not read_back:  # which takes a third of a second, and what is read back held no model
            release_memory()
    return Run(folder.path, result, ranks.of_first(folder.read_config))


def _logged(folder: RunFolder, reason: str) -> str:
    """``reason``, with where the traceback of the failure is that is being handled: it is written to the run's log."""
    try:
        folder.append_log({"event": "failure", "traceback": traceback.format_exc()})
    except RunError as unwritten:
        return f"{reason}; {unwritten}"
    return f"{reason}; the traceback is in {folder.path / 'log.jsonl'}"
