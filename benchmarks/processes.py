"""clbench as processes that can be watched and killed, started by a fresh interpreter or forked from a warm one.

A fresh interpreter imports torch and the rest for seconds before a run does anything. ``start_forked`` has the standard
library's fork server import them once; every process is then a fork of it that calls the same ``main``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
POLL_SECONDS = 0.0005
TIMEOUT_SECONDS = 600.0
# What Python's audit events call changes of the file system, and the flags with which a file is opened for writing.
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Process:
    """A started command: its process id, the files that take its output, and how to ask whether it has ended."""

    pid: int
    output: Path
    errors: Path
    poll: Callable[[], int | None]

    def send(self, number: int) -> None:
        """Send the signal ``number`` if the process is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = TIMEOUT_SECONDS) -> int | None:
        """The exit code, negative for a signal; None when ``until`` became true before the process ended.

        Raises:
            TimeoutError: neither happened within ``seconds``.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            code = self.poll()
            if code is not None or until():
                return code
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"process {self.pid} still runs after {seconds:g} s; its last words: {self.stderr()[-500:]}")

    def stdout(self) -> str:
        """What it has written to stdout so far."""
        return self.output.read_text(encoding="utf-8")

    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self.errors.read_text(encoding="utf-8")


Start = Callable[[Sequence[str], Path], Process]


def start_fresh(arguments: Sequence[str], logs: Path) -> Process:
    """``python -m clbench ARGUMENTS`` in a new interpreter with one thread; its output goes to files in ``logs``."""
    output, errors = _log_files(logs)
    with output.open("wb") as out, errors.open("wb") as err:
        command = [sys.executable, "-m", "clbench", *arguments]
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **ONE_THREAD}
        )
    return Process(started.pid, output, errors, started.poll)


def start_forked(arguments: Sequence[str], logs: Path, dies_at: int = 0) -> Process:
    """The same in a fork of a process that has imported what a run needs.

    With ``dies_at`` it kills itself just before it changes a file or folder for that time; logs do not count.
    """
    output, errors = _log_files(logs)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.warm"])
    for name, value in ONE_THREAD.items():  # the fork server takes over the environment that it is started in
        os.environ.setdefault(name, value)
    started = context.Process(target=_call_main, args=(list(arguments), str(output), str(errors), dies_at))
    started.start()
    assert started.pid is not None
    return Process(started.pid, output, errors, lambda: started.exitcode)


def _log_files(logs: Path) -> tuple[Path, Path]:
    logs.mkdir(parents=True, exist_ok=True)
    number = len(list(logs.glob("*.out")))
    output, errors = logs / f"{number}.out", logs / f"{number}.err"
    output.touch()
    errors.touch()
    return output, errors


def _call_main(arguments: list[str], output: str, errors: str, dies_at: int) -> None:
    for path, descriptor in ((output, 1), (errors, 2)):
        file = os.open(path, os.O_WRONLY)
        os.dup2(file, descriptor)
        os.close(file)
    import torch

    from clbench.cli import main

    torch.set_num_threads(1)
    # Semaphores of libraries are then nameless: a killed process leaves none behind.
    multiprocessing.set_start_method("fork", force=True)
    if dies_at:
        sys.addaudithook(_Death(dies_at))
    sys.argv = ["clbench", *arguments]
    sys.exit(main(arguments))


class _Death:
    """An audit hook that ends the process with SIGKILL at the n-th change of the file system."""

    def __init__(self, dies_at: int) -> None:
        self.left = dies_at

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
