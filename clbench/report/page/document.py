"""The page as a whole: one HTML file with its style, its script, its data and the plotting library, once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from clbench.errors import InputError
from clbench.files import write_atomic
from clbench.report.comparison import Comparison
from clbench.report.page.data import Texts, page_data
from clbench.report.page.html import element, paragraphs, text
from clbench.report.page.sections import table_section
from clbench.report.wording import title

# Nothing is fetched, whatever a string in the page may say.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
SCRIPTS = ("tables.js", "plots.js", "tasks.js", "page.js")


def write_page(
    comparison: Comparison,
    path: Path,
    *,
    heading: str,
    notes: Sequence[str] = (),
    texts: Mapping[str, Texts] | None = None,
) -> None:
    """Write the page of a comparison.

    Args:
        comparison: its tables, with or without a baseline.
        path: the file, .html.
        heading: of the page.
        notes: what stands below it.
        texts: of the tasks of the runs whose mistakes are shown, by the run's folder; mistakes of others have none.

    Raises:
        InputError: plotly is not installed, or the file cannot be written.
    """
    content = make_page(comparison, heading, notes, texts or {})
    try:
        write_atomic(path, content)
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be written: {error.strerror}; choose another file with -o") from error


def check_page_path(path: Path) -> None:
    """InputError if no page can be written there, or plotly is not installed."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{str(path)!r} names no page; allowed suffixes: .html, .htm")
    if os.path.isdir(path):
        raise InputError(f"{str(path)!r} is a folder; give a file to write with -o")
    if not os.path.isdir(path.parent):
        raise InputError(f"{str(path)!r}: the folder {str(path.parent)!r} does not exist")
    plotly_path()


def plotly_path() -> Path:
    """Where the plotting library lies that the page holds; InputError where plotly is not installed."""
    from importlib.util import find_spec

    found = find_spec("plotly")  # not imported: only its file is read
    if found is None or found.origin is None:  # or a mere folder of that name
        raise InputError("the page needs plotly, which is not installed; install with: pip install 'clbench[report]'")
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def make_page(comparison: Comparison, heading: str, notes: Sequence[str], texts: Mapping[str, Texts]) -> str:
    """The page's HTML; the same for the same runs."""
    links = [
        element("li", element("a", text(title(table)), href=f"#table-{number}"))
        for number, table in enumerate(comparison.tables)
    ]
    sections = [table_section(table, comparison, number) for number, table in enumerate(comparison.tables)]
    head = element(
        "head",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        element("title", text(heading)),
        f"<style>\n{_part('page.css')}</style>",
    )
    body = element(
        "body",
        element(
            "header",
            element("h1", text(heading)),
            paragraphs(notes),
            element("nav", element("ul", *links), aria_label="tables"),
        ),
        element("main", *sections),
        f'<script type="application/json" id="data">{_json(page_data(comparison, texts))}</script>',
        # Read as text until the first plot comes into view, so that the tables need not wait for it.
        f'<script type="text/plain" id="plotly">{_script(plotly_path().read_text(encoding="utf-8"))}</script>',
        *(f"<script>\n{_script(_part(name))}</script>" for name in SCRIPTS),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _part(name: str) -> str:
    return (files("clbench.report.page") / name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _script(source: str) -> str:
    """A script that cannot end its own element."""
    return source.replace("</script", "<\\/script")
