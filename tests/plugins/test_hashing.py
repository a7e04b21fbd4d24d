"""The hash of a plug-in: what changes it, what does not, which files are in it, and that each Python gives the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from clbench.errors import InputError
from clbench.plugins import code_hash, hashing, reached_files, source_hash
from tests.helpers import ROOT, interpreters

MINE = '''"""Mine."""

import beside
from package.inner import depth

from clbench import Strategy
from clbench.strategies.replay import Replay
from clbench.toolkit import diagonal_fisher


class Mine(Replay):
    """What it does."""

    strength = 1.0
    """How hard."""
    anchor = "last"

    def before_step(self, learner):
        """Pull."""
        return diagonal_fisher(learner, [1, 2])
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A strategy's file that uses the toolkit, a built-in strategy, a module beside it and one in a folder."""
    (tmp_path / "beside.py").write_text("import further\n\nWEIGHT = 1\n")
    (tmp_path / "further.py").write_text("def more():\n    return 1\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "inner.py").write_text("from . import sibling\n\ndepth = 2\n")
    (tmp_path / "package" / "sibling.py").write_text("SIZE = 3\n")
    (tmp_path / "stranger.py").write_text("NOT = 'imported'\n")
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Mine."""', '"""Mine, told\nin two lines."""'),
        ('    """What it does."""\n', ""),
        ('"""How hard."""', '"""How hard it pulls."""'),
        ('"""Pull."""', "# Pull."),
        ("learner, [1, 2]", "\n            learner,\n            [1, 2],\n        "),
        ("strength = 1.0", "strength = 1.00  # the weight"),
        ('"last"', "u'last'"),
    ],
)
def test_docstrings_comments_and_format_keep_the_hash(mine: Path, before: str, after: str) -> None:
    hashed = source_hash(mine)
    assert before in MINE
    mine.write_text(MINE.replace(before, after))
    assert source_hash(mine) == hashed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("strength = 1.0", "strength = 1.5"),
        ("[1, 2]", "[2, 1]"),
        ("[1, 2]", "(1, 2)"),
        ("def before_step", "def after_step"),
        ("return diagonal", "diagonal"),
        ("class Mine(Replay)", "class Mine(Strategy)"),
        ("from package.inner import depth", "from package.inner import depth as deep"),
    ],
)
def test_code_changes_the_hash(mine: Path, before: str, after: str) -> None:
    hashed = source_hash(mine)
    assert before in MINE
    mine.write_text(MINE.replace(before, after))
    assert source_hash(mine) != hashed


def test_a_moved_or_renamed_file_keeps_its_hash(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "yours.py"
    other.parent.mkdir()
    for file in ("beside.py", "further.py", "package/__init__.py", "package/inner.py", "package/sibling.py"):
        (other.parent / file).parent.mkdir(exist_ok=True)
        (other.parent / file).write_text((tmp_path / file).read_text())
    other.write_text(MINE)
    assert source_hash(other) == source_hash(mine)


def test_the_files_that_are_reached(mine: Path, tmp_path: Path) -> None:
    """By hand: replay takes its memory from buffer and rehearsal, buffer has selection and packing, fisher passes."""
    own = ["beside.py", "further.py", "package/__init__.py", "package/inner.py", "package/sibling.py"]
    toolkit = ["buffer.py", "rehearsal.py", "selection.py", "fisher.py", "per_example.py", "passes.py", "packing.py"]
    expected = {mine, *(tmp_path / name for name in own), *(ROOT / "clbench" / "toolkit" / name for name in toolkit)}
    assert set(reached_files(mine)) == {*expected, ROOT / "strategies" / "replay.py"}
    assert reached_files(mine)[0] == mine
    assert reached_files(ROOT / "strategies" / "naive.py") == [ROOT / "strategies" / "naive.py"]


@pytest.mark.parametrize("name", ["beside.py", "further.py", "package/inner.py", "package/sibling.py"])
def test_a_module_beside_it_is_in_the_hash(mine: Path, tmp_path: Path, name: str) -> None:
    hashed, content = source_hash(mine), (tmp_path / name).read_text()
    (tmp_path / name).write_text(f'"""About it."""\n{content}# the end\n')
    assert source_hash(mine) == hashed
    (tmp_path / name).write_text(f"{content}MORE = 1\n")
    assert source_hash(mine) != hashed


def test_a_module_beside_it_that_it_does_not_import_is_not(mine: Path, tmp_path: Path) -> None:
    hashed = source_hash(mine)
    (tmp_path / "stranger.py").write_text("MORE = 1\n")
    assert source_hash(mine) == hashed


def edited(monkeypatch: pytest.MonkeyPatch, file: Path, added: str) -> None:
    """From here on ``file`` reads as if ``added`` stood at its end."""
    read = hashing._read
    monkeypatch.setattr(hashing, "_read", lambda path: read(path) + (added if path == file else ""))


REACHED = ["clbench/toolkit/fisher.py", "clbench/toolkit/per_example.py", "clbench/toolkit/selection.py"]


@pytest.mark.parametrize("name", [*REACHED, "strategies/replay.py"])
def test_toolkit_and_built_in_strategies_are_in_the_hash(
    mine: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = source_hash(mine)
    edited(monkeypatch, ROOT / name, "\n# A comment.\n")
    assert source_hash(mine) == hashed
    edited(monkeypatch, ROOT / name, "\nMORE = 1\n")
    assert source_hash(mine) != hashed


def test_a_toolkit_file_that_it_does_not_reach_is_not(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = source_hash(mine)
    edited(monkeypatch, ROOT / "clbench" / "toolkit" / "lora.py", "\nMORE = 1\n")
    assert source_hash(mine) == hashed


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("from clbench.toolkit import add_pull", {"importance"}),
        ("from clbench.toolkit import add_pull as pull, Router", {"importance", "routing"}),
        ("from clbench.toolkit import merging", {"merging"}),
        ("from clbench.toolkit.merging import ties", {"merging"}),
        ("import clbench.toolkit.merging as m", {"merging"}),
        ("from clbench.toolkit import RunConfig", set()),  # stands elsewhere: the version is in every run's hash
        ("from clbench import toolkit", None),
        ("import clbench.toolkit", None),
        ("from clbench.toolkit import *", None),
        ("def late():\n    from clbench.toolkit import merging", {"merging"}),
    ],
)
def test_every_way_to_import_the_toolkit_is_seen(tmp_path: Path, line: str, names: set[str] | None) -> None:
    """None: whatever is used is not told, so that each file counts."""
    path = tmp_path / "mine.py"
    path.write_text(f"{line}\n")
    folder = ROOT / "clbench" / "toolkit"
    found = {file.stem for file in reached_files(path) if file.parent == folder}
    assert found >= ({file.stem for file in folder.glob("[!_]*.py")} if names is None else names)
    if names == set():
        assert found == set()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from clbench.strategies.ncm import NearestClassMean", "ncm"),
        ("from clbench.strategies import ncm", "ncm"),
        ("import clbench.strategies.ncm as n", "ncm"),
    ],
)
def test_every_way_to_import_a_built_in_strategy_is_seen(tmp_path: Path, line: str, name: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{line}\n")
    assert ROOT / "strategies" / f"{name}.py" in reached_files(path)


# What Python 3.12 parses into other pieces, and characters that some version does not know yet.
SPELT = """
A = f"{1}" "" f"two {'three'!r:>{4}} four" "five" f"{6=}"
B = "\\U0001fae8 \\U0001fadf" + "🫨" + f"🫨{1}🫨" + u"plain" + f"it's" '"' f"{2}"
C = (None, ..., 1e400, 1j, b"x", -0.0, True)
def f(x: int = 1, /, *y, z=None, **w) -> None:
    match x:
        case [1, *_] | {"a": 2}:
            return (lambda v: v)(x)
"""
PROGRAM = """
import json, sys
from pathlib import Path
from clbench.plugins.hashing import code_hash, source_hash
hashes = {path: source_hash(Path(path)) for path in sys.argv[2:]}
print(json.dumps([code_hash(sys.argv[1]), hashes]))
"""


@pytest.mark.parametrize("version", [(3, 12), (3, 13), (3, 14)], ids="{0[0]}.{0[1]}".format)
def test_another_python_gives_the_same_hashes(version: tuple[int, int]) -> None:
    if version not in interpreters():
        pytest.skip(f"no Python {version[0]}.{version[1]} here")
    files = [str(file) for folder in ("strategies", "scenarios") for file in sorted((ROOT / folder).glob("*.py"))]
    done = subprocess.run(
        [interpreters()[version], "-c", PROGRAM, SPELT, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    spelt, hashes = json.loads(done.stdout)
    assert spelt == code_hash(SPELT)
    assert hashes == {file: source_hash(Path(file)) for file in files}


def test_what_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import beside\n")
    (tmp_path / "beside.py").write_text("def (:\n")
    with pytest.raises(InputError, match=r"beside\.py is not readable Python"):
        source_hash(tmp_path / "mine.py")
