"""`clbench report`: what the page holds, that nothing in it is fetched or taken for markup, and how it behaves."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clbench import load_runs
from clbench.cli import main
from clbench.report import compare_for_page
from clbench.report.page.data import page_data
from clbench.report.page.document import make_page
from tests.helpers import ROOT
from tests.report.simulated import write_answers

pytest.importorskip("plotly")
HOSTILE = '</script><script>alert("task")</script><img src=x onerror=alert(1)>'
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Checks that elements nest, and keeps what a browser would fetch, run or show."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data


def write_hostile(results: Path) -> None:
    """Three seeds of two strategies on two tasks, of which one is named as no task should be."""
    for seed in range(3):
        for strategy, right in (("naive", 3), ("replay", 2)):
            answers = {HOSTILE: np.arange(30) % right > 0, "plain": np.arange(20 + seed) % 5 > 0}
            changes = {"forgetting_warnings": [f"{HOSTILE} is being forgotten"], "labels": "<b>yes</b>"}
            write_answers(results, strategy, seed, answers, **changes)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_hostile(folder / "results")
    assert main(["report", str(folder / "results"), "-o", str(folder / "report.html"), "--no-texts"]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(page_file: Path) -> Page:
    return Page(page_file.read_text(encoding="utf-8"))


def test_the_page_nests_and_fetches_nothing(page: Page) -> None:
    assert page.open == []
    for tag, attributes in page.seen:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
    policy = next(own["content"] or "" for tag, own in page.seen if "http-equiv" in own)
    assert policy.startswith("default-src 'none';")
    assert len(page.scripts) == 6  # the data, the library, and four of its own


def test_a_name_is_text_wherever_it_stands(page: Page) -> None:
    assert HOSTILE in page.text
    assert not [tag for tag, _ in page.seen if tag in ("img", "b")]
    (table,) = json.loads(page.scripts[0])
    assert table["tasks"][0] == HOSTILE
    assert "<" not in page.scripts[0]
    assert "<b>yes</b>" in table["names"]


def test_the_page_holds_what_was_run_compared_and_answered(page: Page, page_file: Path) -> None:
    """naive has 20 of 30 right and replay 15; the other task alike."""
    (table,) = json.loads(page.scripts[0])
    naive, replay = table["rows"]
    assert (naive["label"], naive["seeds"]) == ("naive", [0, 1, 2])
    assert naive["matrix"][-1] == [0.6667, round((16 / 20 + 16 / 21 + 17 / 22) / 3, 4)]
    told = replay["shown"]["errors"][HOSTILE]
    assert (told["examples"], told["wrong"], told["whole"]) == (30, 15, True)
    label, other = table["names"].index("<b>yes</b>"), table["names"].index("other")
    assert (told["labels"], told["answers"]) == ([label], [label, other])
    assert told["cells"] == [[0, 0, 15], [0, 1, 15]]
    assert [mistake[:3] for mistake in told["mistakes"]] == [[0, label, other], [2, label, other], [4, label, other]]
    assert "difference from naive" in page.text
    assert "95 % over seeds: " in page.text
    assert "-0.083 to -0.083" in page.text
    assert "epochs: 2" in page.text
    assert page_file.stat().st_size < 5.2e6


def test_texts_of_mistakes_are_told_once_and_cut(tmp_path: Path) -> None:
    write_hostile(tmp_path)
    runs = load_runs(tmp_path)
    comparison = compare_for_page(runs)
    long = ["<i>text</i> " * 50] * 30
    (table,) = page_data(comparison, {str(run.folder): {"plain": long} for run in runs})
    assert set(table["texts"]) == {"plain"}
    texts = table["texts"]["plain"]
    assert sorted(texts) == [0, 5, 10]
    assert max(map(len, texts.values())) == 200
    content = make_page(comparison, "heading <&", [HOSTILE], {str(runs[0].folder): {"plain": long}})
    assert "<title>heading &lt;&amp;</title>" in content
    assert "\\u003ci>text" in content
    assert content == make_page(comparison, "heading <&", [HOSTILE], {str(runs[0].folder): {"plain": long}})


def test_of_many_labels_the_most_frequent_confusions_are_told(tmp_path: Path) -> None:
    """Fifty labels: each example is answered with the next label, but for those of the first."""
    write_answers(tmp_path, "naive", 0, {"only": np.arange(100) % 2 > 0})
    runs = load_runs(tmp_path)
    from clbench.report.mistakes import find_errors
    from clbench.report.page.data import _task

    (task,) = find_errors(runs[0]).tasks
    labels = [f"label {i}" for i in range(50)]
    counts = [[(i + 1) * (j == (i + 1) % 50) for j in range(50)] for i in range(50)]
    from dataclasses import replace

    confusion = replace(task.confusion, labels=labels, answers=labels, answer_tasks=["only"] * 50, counts=counts)
    names: dict[str, int] = {}
    told = _task(replace(task, confusion=confusion), names)
    assert told["whole"] is False
    assert len(told["cells"]) == 40
    i, j, count = told["cells"][0]
    assert (i, list(names)[told["answers"][j]], count) == (49, "label 0", 50)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("report.pdf", "names no page; allowed suffixes: .html, .htm"),
        ("gone/report.html", "does not exist"),
        ("folder.html", "is a folder"),
    ],
)
def test_where_no_page_can_be_written_there_is_one_line(
    output: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    assert main(["report", str(ROOT / "results"), "-o", str(tmp_path / output)]) == 2
    assert message in capsys.readouterr().err


def test_without_plotly_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "plotly" else found(name, *more))
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "report.html")]) == 2
    assert "pip install 'clbench[report]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_published_runs_fit_six_megabytes(tmp_path: Path) -> None:
    """More than 120 of them."""
    assert main(["report", str(ROOT / "results" / "published"), "-o", str(tmp_path / "report.html"), "--no-texts"]) == 0
    assert len(load_runs(ROOT / "results" / "published")) > 120
    assert (tmp_path / "report.html").stat().st_size <= 6e6


def chromium() -> str | None:
    """The Chromium of CLBENCH_CHROMIUM or of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CLBENCH_CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture
def opened(page_file: Path) -> Iterator[Any]:
    """The page in a headless Chromium, at 400 pixels, in the dark; what it logs and asks for is in its attributes."""
    place = chromium()
    if place is None or util.find_spec("playwright") is None:
        pytest.skip("no Chromium; give one with CLBENCH_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        options = ["--no-sandbox", "--single-process", "--no-zygote", "--disable-gpu"]
        browser = play.chromium.launch(executable_path=place, args=options)
        view = browser.new_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
        logged: list[str] = []
        view.on("console", lambda message: logged.append(message.text))
        view.on("pageerror", lambda error: logged.append(str(error)))
        view.on("dialog", lambda dialog: logged.append(f"dialog {dialog.message}"))
        asked: list[str] = []
        view.on("request", lambda request: asked.append(request.url))
        view.goto(page_file.as_uri())
        yield view
        assert logged == []
        assert asked == [page_file.as_uri()]
        browser.close()


def test_the_page_in_a_browser(opened: Any) -> None:
    """Sorting, searching, hiding a strategy, choosing a metric, a task's page: no console error and no request."""
    from playwright.sync_api import expect

    assert opened.evaluate("document.documentElement.scrollWidth") <= 400
    table = opened.locator("table.data").first

    def first() -> str:
        return str(table.locator("tbody tr:not([hidden]) th").first.inner_text())

    button = table.locator("thead button", has_text="average accuracy").first
    assert first() == "naive"
    button.focus()
    opened.keyboard.press("Enter")  # by keyboard, rising: the worse first
    assert first() == "replay"
    assert table.locator("th[aria-sort=ascending]").count() == 1
    button.click()
    assert first() == "naive"

    curves = opened.locator(".plot[data-kind=curves]")
    curves.scroll_into_view_if_needed()
    expect(opened.locator(".plot[data-kind=curves] .scatterlayer .trace")).to_have_count(2)
    opened.locator("details.strategies summary").click()
    opened.locator("details.strategies label", has_text="replay").click()
    expect(opened.locator(".plot[data-kind=curves] .scatterlayer .trace")).to_have_count(1)
    curves.locator("select").select_option("1")
    cost = opened.locator(".plot[data-kind=cost]")
    cost.scroll_into_view_if_needed()
    cost.locator("select").first.select_option(index=1)
    expect(opened.locator(".plot[data-kind=cost] .scatterlayer .trace")).to_have_count(1)

    opened.locator(".plot[data-kind=tasks] details summary").first.click()
    confusion = opened.locator("table.confusion").first
    assert confusion.locator("td.right").inner_text() == "20"
    assert opened.locator(".plot[data-kind=tasks] li").first.inner_text().startswith("<b>yes</b>, answered with other")
    dark = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.locator("#theme").click()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    runs = opened.locator("table.data", has_text="folder").last
    field = opened.get_by_label("search Runs")
    field.fill("replay 2")
    shown = [row for row in runs.locator("tbody tr:not([hidden])").all_inner_texts() if "replay" in row]
    assert len(shown) == len(runs.locator("tbody tr:not([hidden])").all_inner_texts()) >= 1
    assert re.search(r"\d of 6 rows", opened.locator("span[role=status]").last.inner_text())
