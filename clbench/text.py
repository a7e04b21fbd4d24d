"""Text that is safe to print, and numbers and tables as people read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence

TextOrPair = str | tuple[str, str]
"""A text, or a text and the one that is read after it, as a premise and a hypothesis."""

DASH = "\u2013"  # stands for no value
PLUS_MINUS = "\u00b1"
ELLIPSIS = "\u2026"
TIMES = "\u00d7"
UP, DOWN = "\u2191", "\u2193"
HUGE = 1e15  # beyond, digits say nothing
UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode categories that no terminal should be sent

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # a bare bracket after a line's end would be read as its option
        "]": "{]}",
        PLUS_MINUS: r"$\pm$",
        DASH: "--",
        ELLIPSIS: r"\dots{}",
        TIMES: r"$\times$",
        UP: r"$\uparrow$",
        DOWN: r"$\downarrow$",
        **{character: f"\\{character}" for character in "{}$&#_%"},
    }
)


def clean(text: str) -> str:
    """``text`` with control characters, direction marks, line separators and lone surrogates written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in UNSAFE else character
        for character in text
    )


def spreadsheet_cell(text: str) -> str:
    """``text`` for a cell of a CSV file: an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{clean(text)}" if re.match(r"\s*[=+\-@]|[\t\r\n]", text) else clean(text)


def shorten(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters: what is too much is cut from the middle."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 3
    return f"{text[: limit - 1 - tail]}{ELLIPSIS}{text[len(text) - tail :]}"


def escape_latex(text: str) -> str:
    """``text`` for LaTeX, outside of mathematics."""
    return clean(text).translate(LATEX)


def escape_markdown(text: str) -> str:
    """``text`` for a cell of a Markdown table; an underscore inside a word needs no escape."""
    return re.sub(r"[\\`*<>|\[\]~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", clean(text))


def fixed(value: float, decimals: int) -> str:
    """``value`` with so many decimals, a huge one with its power of ten; never a negative zero."""
    if abs(value) >= HUGE:
        return f"{value:.3e}"
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def byte_unit(size: float) -> tuple[float, str]:
    """The divisor and the name of the binary unit in which ``size`` bytes are between 1 and 1024."""
    divisor, names = 1.0, ["B", "KiB", "MiB", "GiB", "TiB"]
    while size / divisor >= 1023.95 and len(names) > 1:
        divisor *= 1024
        names.pop(0)
    return divisor, names[0]


def size_text(size: float) -> str:
    """``56.7 KiB``; bytes whole."""
    divisor, unit = byte_unit(size)
    return f"{size / divisor:.{0 if unit == 'B' else 1}f} {unit}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table as wide as its content: words to the left, columns of numbers to the right; header lines stack."""
    from rich.cells import cell_len

    stacks = [name.split("\n") for name in header]
    height = max(map(len, stacks))
    head = [
        [stack[i - height + len(stack)] if i >= height - len(stack) else "" for stack in stacks] for i in range(height)
    ]
    widths = [max(cell_len(line[column]) for line in [*head, *rows]) for column in range(len(header))]

    right = [i > 0 and any(re.match(r"[-+]?[\d.]", row[i]) for row in rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        blanks = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
        padded = [
            blank + cell if number else cell + blank for cell, blank, number in zip(cells, blanks, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([*map(line, head), rule, *map(line, rows)])


def same_text(text: str) -> str:
    """``text`` in lower case with runs of white space made one space: equal for texts a reader would call equal.

    >>> same_text(" Hello\\n World ")
    'hello world'
    """
    return " ".join(text.casefold().split())


def same_content(content: TextOrPair) -> Hashable:
    """What :func:`same_text` makes of a text, or of both texts of a pair."""
    return same_text(content) if isinstance(content, str) else tuple(map(same_text, content))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers in names by their value: "grade 2" before "grade 10"."""
    parts = re.findall(r"0*([0-9]+)|([^0-9]+)", name)
    return [(0, len(digits), digits) if digits else (1, 0, text) for digits, text in parts]
