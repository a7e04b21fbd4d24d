"""Pieces of HTML. Text comes in through ``text`` or an attribute, both escaped, and in no other way."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from clbench.text import clean


def text(value: object) -> str:
    """A string as HTML shows it: nothing in it is markup."""
    return html.escape(clean(str(value)), quote=True)


def text_lines(lines: Iterable[str]) -> str:
    """Strings as HTML shows them, each on a line of its own."""
    return "\n".join(map(text, lines))


def element(name: str, *content: str, **attributes: object) -> str:
    """An element around pieces of HTML.

    Args:
        name: of the element.
        content: HTML, joined.
        attributes: their values, escaped; ``data_value`` stands for ``data-value``, ``class_`` for ``class``.
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{given}>{''.join(content)}</{name}>"


def paragraphs(lines: Sequence[str], class_: str = "note") -> str:
    """A list of lines, each an item; nothing for none."""
    return element("ul", *(element("li", text(line)) for line in lines), class_=class_) if lines else ""


def details(summary: str, *content: str) -> str:
    """A part that opens when its summary, a text, is chosen."""
    return element("details", element("summary", text(summary)), *content)


def data_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[tuple[str, object]]]) -> str:
    """A table that can be sorted by a column and searched.

    Args:
        caption: what it is of.
        header: the columns' names.
        rows: for each cell what is read, and the number that sorts it; None sorts by the text.
    """
    heads = [element("th", element("button", text(name), type="button"), scope="col") for name in header]
    lines = [
        element(
            "tr", element("th", text(cells[0][0]), scope="row"), *(_cell(read, number) for read, number in cells[1:])
        )
        for cells in rows
    ]
    table = element(
        "table",
        element("caption", text(caption)),
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
        class_="data",
    )
    return element("div", table, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cell(read: str, number: object) -> str:
    return element("td", text(read)) if number is None else element("td", text(read), data_value=number)
