"""What lies in the cache, who else works in it, and what the package clients meet: repaired, or told in one line."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from clbench import sources
from clbench.errors import RunError
from clbench.sources import cache
from tests.sources.test_sources import CORPUS, WEIGHTS, index as index, npm as npm  # fixtures

GIGABYTES_20 = 20 * 10**9


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIGABYTES_20)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.parents[2] / "outside")


@pytest.fixture
def archives(index: Path, tmp_path: Path) -> Path:
    """The cache's folder of archives, with all of the index in it."""
    return Path(shutil.copytree(index, tmp_path / "cache" / "sources"))


OTHER_THINGS = [fifo, sparse, dangling_link]


@pytest.mark.parametrize("lay", OTHER_THINGS)
def test_whatever_lies_in_an_archives_place_is_replaced(lay: Callable[[Path], None], tmp_path: Path) -> None:
    place = tmp_path / "cache" / "sources" / "dull-corpus-1.0.tar.gz"
    place.parent.mkdir(parents=True)
    lay(place)
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert place.is_file()
    assert not place.is_symlink()
    assert not (tmp_path / "outside").exists()


@pytest.mark.usefixtures("archives")
@pytest.mark.parametrize("lay", [*OTHER_THINGS, Path.mkdir])
def test_whatever_lies_in_a_models_folder_is_repaired(lay: Callable[[Path], None]) -> None:
    weights = sources.model_folder("small-model") / "model.safetensors"
    weights.unlink()
    lay(weights)
    assert sources.model_folder("small-model") == weights.parent
    assert weights.read_bytes() == WEIGHTS
    assert [path.name for path in weights.parents[1].iterdir()] == [weights.parent.name]


@pytest.mark.usefixtures("archives")
@pytest.mark.parametrize("lay", [*OTHER_THINGS, Path.touch])
def test_so_is_what_lies_in_its_place(lay: Callable[[Path], None]) -> None:
    folder = sources.model_folder("small-model")
    shutil.rmtree(folder)
    lay(folder)
    assert (sources.model_folder("small-model") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_link_to_the_archive_serves(index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "cache" / "sources" / "dull-corpus-1.0.tar.gz"
    place.parent.mkdir(parents=True)
    place.symlink_to(index / place.name)
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert capsys.readouterr().err == ""


def test_a_folder_in_an_archives_place_is_left_there_and_told(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "sources" / "dull-corpus-1.0.tar.gz"
    (place / "of somebody").mkdir(parents=True)
    with pytest.raises(RunError, match=r"a folder lies at .*dull-corpus-1\.0\.tar\.gz, where the file belongs"):
        sources.fetch("dull")
    assert (place / "of somebody").is_dir()


def test_what_killed_processes_left_goes_with_the_next_fetch_or_unpacking(tmp_path: Path) -> None:
    left = [tmp_path / "cache" / "sources" / ".download-x1", tmp_path / "cache" / "models" / ".unpack-x2"]
    for fetch in (sources.fetch, sources.model_folder):
        for folder in left:
            folder.mkdir(parents=True)
            (folder / "half").touch()
        fetch("small-model")
        assert not [folder for folder in left if folder.exists()]


def test_what_a_living_process_fetches_stays_and_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(sources.read("dull", "corpus.txt")))
    with cache._alone():
        others = tmp_path / "cache" / "sources" / ".download-living"
        others.mkdir(parents=True)
        reader.start()
        end, said = time.monotonic() + 30, ""
        while "waiting for it" not in said and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert said == f"another process works in the cache {tmp_path / 'cache'}; waiting for it\n"
        assert others.is_dir()
    reader.join()
    assert found == [CORPUS]
    assert not others.exists()


@pytest.mark.usefixtures("archives")
def test_who_was_slower_leaves_the_folder_of_who_was_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds on to the folder that it was given: it must not vanish for a moment."""
    fetch, quicker = cache.fetch, list[os.stat_result]()

    def fetch_slowly(name: str) -> Path:
        monkeypatch.setattr(cache, "fetch", fetch)
        quicker.append(os.stat(sources.model_folder(name)))  # another process, from its look to its end
        return fetch(name)

    monkeypatch.setattr(cache, "fetch", fetch_slowly)
    assert os.stat(sources.model_folder("small-model")).st_ino == quicker[0].st_ino


def read_again_and_again(barrier: Barrier, rounds: int, unpacked: str, faults: Any) -> None:
    rename = Path.rename

    def rename_and_rest(self: Path, target: Path) -> Path:  # as a process does that loses its processor there
        moved = rename(self, target)
        time.sleep(0.002)
        return moved

    Path.rename = rename_and_rest  # type: ignore[method-assign, assignment] # in this process, which ends with this
    for _ in range(rounds):
        if barrier.wait() == 0:
            shutil.rmtree(unpacked, ignore_errors=True)
        barrier.wait()
        try:
            folder = sources.model_folder("small-model")
            for _ in range(50):
                assert (folder / "model.safetensors").read_bytes() == WEIGHTS
                assert (folder / "config.json").read_bytes() == b"{}"
        except Exception as error:
            faults.put(f"{type(error).__name__}: {error}")


@pytest.mark.slow
@pytest.mark.usefixtures("archives")
def test_no_reader_of_600_meets_a_folder_that_is_not_there() -> None:
    unpacked = sources.model_folder("small-model")
    context, readers, rounds = multiprocessing.get_context("fork"), 12, 50
    barrier, faults = context.Barrier(readers), context.SimpleQueue()
    arguments = (barrier, rounds, str(unpacked), faults)
    processes = [context.Process(target=read_again_and_again, args=arguments) for _ in range(readers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = []
    while not faults.empty():
        found.append(faults.get())
    assert found == []


@pytest.mark.usefixtures("archives")
def test_a_cache_that_cannot_be_written_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "cache")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert sources.read("dull", "corpus.txt") == CORPUS
    with pytest.raises(RunError) as caught:
        sources.model_folder("small-model")
    line = str(caught.value)
    assert line.startswith("small-model cannot be unpacked into the cache ")
    assert ": Read-only file system; unpack it where that can be written: python -m clbench data pull" in line


# the clients' troubles


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "https://someone:secret@index.invalid/simple")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")


@pytest.mark.usefixtures("no_index")
def test_an_index_that_pip_cannot_reach_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        sources.fetch("dull")
    line = str(caught.value)
    assert "pip cannot download dull-corpus==1.0: the package index cannot be reached (ProxyError(" in line
    assert "Connection refused" in line
    assert "): check the network, and the proxy if there is one; with a network, fetch it beforehand" in line
    assert not [word for word in ("secret", "object at", "No matching distribution") if word in line]
    assert list((tmp_path / "cache" / "sources").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "npm error code ENOTFOUND\nnpm error network request to https://r.invalid/x failed, reason: getaddrinfo "
            "ENOTFOUND r.invalid\nnpm error network This is a problem related to network connectivity.",
            "(getaddrinfo ENOTFOUND r.invalid): check the network",
        ),
        (
            "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error FetchError: request to "
            "http://r.invalid/x failed, reason: connect ECONNREFUSED 127.0.0.1:9\nnpm error   at x",
            "(connect ECONNREFUSED 127.0.0.1:9): check",
        ),
        (
            "npm error code E407\nnpm error 407 Proxy Authentication Required - GET https://r.invalid/x",
            "(407 Proxy Authentication Required - GET https://r.invalid/x): check",
        ),
    ],
)
@pytest.mark.usefixtures("npm")
def test_a_registry_that_npm_cannot_reach_is_said_to_be_so(said: str, reason: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "npm"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit({said!r})\n")
    with pytest.raises(RunError) as caught:
        sources.fetch("node")
    assert f"npm cannot download node-corpus@1.0: the package index cannot be reached {reason}" in str(caught.value)


def limited(most: int, work: Callable[[], object]) -> None:
    """``work`` where no file can grow beyond ``most`` bytes: to a program that is what a full disk is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_while_pip_fetches_leaves_a_cache_that_works(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"pip cannot download small-model==1\.0: .*File too large; with a network"):
        limited(4000, lambda: sources.fetch("small-model"))
    assert list((tmp_path / "cache" / "sources").iterdir()) == []
    assert sources.fetch("small-model").is_file()


@pytest.mark.usefixtures("archives")
def test_a_disk_that_fills_while_a_model_is_unpacked_leaves_a_cache_that_works(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"small-model cannot be unpacked into the cache .*: File too large"):
        limited(4000, lambda: sources.model_folder("small-model"))
    assert list((tmp_path / "cache" / "models").iterdir()) == []
    assert (sources.model_folder("small-model") / "model.safetensors").read_bytes() == WEIGHTS
