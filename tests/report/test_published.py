"""The published tables are what `compare` prints: each command that a page of results/ names, in its folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from clbench.cli import main

RESULTS = Path(__file__).parents[2] / "results"
PAGES = sorted(RESULTS.glob("*.md"))
COMPARE = re.compile(
    r"```bash\n(python -m clbench compare (?:[^\n]*\\\n)*[^\n]*)\n```\n\n(\| strategy .*?)(?=\n\n!|\n\n#|\Z)", re.DOTALL
)
TABLES = [(page, command, table) for page in PAGES for command, table in COMPARE.findall(page.read_text("utf-8"))]


def arguments(command: str) -> list[str]:
    """What the shell would give to clbench, in the current folder."""
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["python", "-m", "clbench"]
    return [name for word in words[3:] for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]


@pytest.mark.parametrize(("page", "command", "table"), TABLES, ids=lambda value: getattr(value, "stem", ""))
def test_a_published_table_is_what_its_command_prints(
    page: Path, command: str, table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = re.search(r"^cd (results/published/\w+)$", page.read_text("utf-8"), re.MULTILINE)
    assert folder
    monkeypatch.chdir(RESULTS.parent / folder[1])
    assert main(arguments(command)) == 0
    printed = capsys.readouterr().out.partition("\n\n")[2]  # without the heading
    assert table.strip() == printed.strip()


def test_there_are_two_tables_of_each_text_scenario_and_of_tuning() -> None:
    pages = [page.stem for page, _, _ in TABLES]
    once = ["image_seq", "instruct_seq", "split_cifar", "token_seq"]
    assert pages == sorted([*once, *["recipes", "text_seq", "wordnet_class"] * 2, *["tuned"] * 4])


def test_every_link_of_the_pages_leads_to_a_file() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))]
    assert len(links) > 10
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []
