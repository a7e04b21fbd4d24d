"""What the conformance checks share: one result a check, one line an error, and runs that disturb nothing."""

from __future__ import annotations

import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from clbench.engine import Interrupted
from clbench.errors import InputError

LONGEST_REASON = 300
NOT_RESUMABLE = "resumable is False, so an interrupted run starts again"
NAME_WIDTH = 18


@dataclass(frozen=True)
class CheckResult:
    """What one check found; ``reason`` is one line, empty when the status is "ok"."""

    name: str
    status: Literal["ok", "FAILED", "warning", "skipped"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name:<{NAME_WIDTH}} {self.status}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: what the line begins with.
        find: gives the reason of the failure, empty when there is nothing to report; an exception is a failure too.
        needs: names of checks without which a failure would have another cause.
        severity: the status when there is something to report.
        usage: an InputError that does not come from the checked file is the caller's and is raised.
    """

    name: str
    find: Callable[[], str]
    needs: tuple[str, ...] = ()
    severity: Literal["FAILED", "warning"] = "FAILED"
    usage: bool = False


class NotApplicable(Exception):
    """A check has nothing to say of this plug-in; the message says why, and the check counts as skipped."""


def run_checks(
    checks: Sequence[Check], files: Sequence[Path], tell: Callable[[CheckResult], None]
) -> list[CheckResult]:
    """Run ``checks`` in order; one whose needs were not met is skipped.

    Args:
        checks: those to run.
        files: the checked plug-ins; errors are reported with a line number in one of them.
        tell: called with each result as soon as there is one.
    """
    results: list[CheckResult] = []
    for check in checks:
        unmet = [result.name for result in results if result.status != "ok" and result.name in check.needs]
        if unmet:
            result = CheckResult(check.name, "skipped", f"needs {', '.join(map(repr, unmet))}")
        else:
            result = _result(check, files)
        results.append(result)
        tell(result)
    return results


def _result(check: Check, files: Sequence[Path]) -> CheckResult:
    try:
        reason = check.find()
    except Interrupted as interrupted:
        # The run's own message offers to resume it, which nobody wants here.
        raise Interrupted(f"interrupted in the check {check.name!r}", interrupted.exit_code - 128) from None
    except NotApplicable as why:
        return CheckResult(check.name, "skipped", str(why))
    except Exception as error:
        if check.usage and isinstance(error, InputError) and not error.__cause__ and not _lines(error, files):
            raise
        return CheckResult(check.name, "FAILED", explain(error, files))
    return CheckResult(check.name, check.severity if reason else "ok", reason)


def explain(error: BaseException, files: Sequence[Path]) -> str:
    """``error`` in one line: type, message, and the line in one of ``files`` that it came from."""
    if isinstance(error, InputError) and error.__cause__ is not None:
        error = error.__cause__
    message = " ".join(str(error).split())[:LONGEST_REASON]
    places = _lines(error, files) or _called(message, files)
    if not places:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{Path(frame.filename).name}, line {frame.lineno}" for frame in frames]
    return f"{type(error).__name__}: {message}" + (f" ({places[-1]})" if places else "")


def _lines(error: BaseException, files: Sequence[Path]) -> list[str]:
    """The places in ``files`` that ``error`` passed through, the innermost last."""
    if isinstance(error, SyntaxError) and Path(error.filename or "") in files:
        return [f"{Path(error.filename or '').name}, line {error.lineno}"]
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(f.filename).name}, line {f.lineno}" for f in frames if Path(f.filename).resolve() in files]


def _called(message: str, files: Sequence[Path]) -> list[str]:
    """Where the method stands that could not be called: "Mine.loss() takes 3 positional arguments but 4 were given"."""
    if found := re.match(r"\w+\.(\w+)\(\) (takes|missing|got)", message):
        for file in files:
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                if re.match(rf"\s+def {found[1]}\(", line):
                    return [f"{file.name}, line {number}"]
    return []


def seed_everything(seed: int) -> None:
    """Set the global random states of Python, NumPy and torch, which no plug-in may depend on."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, torch uses one thread and libraries announce no changes; random states and threads are put back."""
    states, threads = (random.getstate(), np.random.get_state(), torch.get_rng_state()), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
