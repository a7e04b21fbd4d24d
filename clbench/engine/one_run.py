"""One of several runs: what goes wrong in it is told in one line, and nothing of it stays in memory."""

from __future__ import annotations

import os
import traceback

from clbench.engine.engine import run, run_folder
from clbench.engine.reporter import Reporter
from clbench.errors import ClbenchError, RunError
from clbench.models import ranks, release_memory
from clbench.plugins import Plan
from clbench.results import Run


def run_one(plan: Plan, reporter: Reporter) -> Run:
    """Run ``plan`` to its end; nothing of it stays in memory.

    Raises:
        InputError, RunError: as the engine; whatever else goes wrong is a RunError, its traceback a line of the log.
    """
    folder, config = run_folder(plan.config), plan.config
    # os.path, because Path.exists() raises for a name too long
    read_back = os.path.exists(folder.path / "result.json") and not (config.overwrite or config.save_model)
    try:
        result = run(plan, reporter)
    except ClbenchError:
        raise
    except (Exception, SystemExit) as error:  # a plug-in may call what ends a program
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        try:
            folder.append_log({"event": "failure", "traceback": traceback.format_exc()})
        except RunError as unwritten:
            raise RunError(f"{reason}; {unwritten}") from error
        raise RunError(f"{reason}; the traceback is in {folder.path / 'log.jsonl'}") from error
    finally:
        del plan
        if not read_back:  # which takes a third of a second, and what is read back held no model
            release_memory()
    return Run(folder.path, result, ranks.of_first(folder.read_config))
