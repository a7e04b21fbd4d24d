"""A command as one of several processes that torchrun or accelerate launch started: they meet, and one speaks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from clbench.errors import ClbenchError, InputError
from clbench.models import ranks


class Parted(ClbenchError):
    """An error of some of the processes, of which each has said its word; nothing more is done together."""

    def __init__(self, error: ClbenchError, words: Mapping[int, str]) -> None:
        super().__init__(str(error))
        self.exit_code, self.words = error.exit_code, words


@contextmanager
def met(jobs: str | None = None, jobs_per_gpu: int | None = None, on: str | None = None) -> Iterator[None]:
    """Inside, the processes of a launcher train together, and all but the first are silent; alone, nothing is done.

    An error is told once: by the first process where all have it, else by the one that has it.

    Raises:
        InputError: they do not find each other, or several runs at once are asked for as well.
        SystemExit: what went wrong has been told.
    """
    if not ranks.launched():
        yield
        return
    ranks.join()
    try:
        with ExitStack() as entered:
            if not ranks.is_first():
                nowhere = entered.enter_context(Path(os.devnull).open("w"))
                entered.enter_context(redirect_stdout(nowhere))
                entered.enter_context(redirect_stderr(nowhere))
            _refuse_others(jobs, jobs_per_gpu, on)
            yield
    except ClbenchError as error:
        speaks, told = _to_tell(error)
        if speaks:
            print(f"error: {told}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    finally:
        ranks.leave()


def stay_together(failure: int, error: ClbenchError) -> None:
    """Go on where all processes failed alike in one of several runs.

    Args:
        failure: how many failures went before.
        error: this process's.

    Raises:
        Parted: others did not fail, or did because a process was lost.
    """
    if ranks.count() > 1:
        words = _words_of(f"failure {failure}", error)
        if [*words.values()] != ["failed"] * ranks.count():
            raise Parted(error, words) from error


def _refuse_others(jobs: str | None, jobs_per_gpu: int | None, on: str | None) -> None:
    for option, given in (("--jobs", jobs), ("--jobs-per-gpu", jobs_per_gpu), ("--on", on)):
        if given not in (None, "1"):
            raise InputError(f"{option} {given} is for runs of one process each; leave it away under a launcher")


def _words_of(occasion: str, error: ClbenchError) -> Mapping[int, str]:
    """As :func:`ranks.words_of`; the launcher, which ends all when one has ended, waits so long."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        return ranks.words_of(occasion, error)
    finally:
        signal.signal(signal.SIGTERM, before)


def _to_tell(error: ClbenchError) -> tuple[bool, str]:
    """Whether this process tells what happened, and the words."""
    words = error.words if isinstance(error, Parted) else _words_of("end", error)
    failed = [process for process, word in words.items() if word == "failed"]
    if len(failed) == ranks.count():
        return ranks.is_first(), str(error)
    teller = min(failed or words, default=ranks.number())
    return teller == ranks.number(), f"process {teller} of {ranks.count()} (from 0): {error}" if failed else str(error)
