"""Which column of a person's data is the task, the text, the label: as given, or where the name says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clbench.errors import InputError, nearest
from clbench.tasks.columns import Table, cell_text
from clbench.text import shorten

# Names that say what a column is; the role's own name comes before the others.
NAMES = {
    "task": ("task", "taskname", "taskid", "domain"),
    "text": ("text", "sentence", "content", "message", "utterance", "review", "comment", "body", "document", "tweet"),
    "label": ("label", "labels", "category", "intent", "class", "target", "sentiment"),
    "text_pair": ("textpair",),
    "split": ("split",),
    "time": ("time", "timestamp", "datetime", "date", "created", "createdat"),
}
PAIRS = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
)
EXAMPLE = 24  # characters of a cell


@dataclass(frozen=True)
class Roles:
    """The column of each role that has one, and how it was found: "given", or "by its name"."""

    columns: Mapping[str, str]
    how: Mapping[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{role} = {column} ({self.how[role]})" for role, column in self.columns.items())


def find_roles(
    tables: Sequence[Table], source: str, given: Mapping[str, str | None], needed: Sequence[str], also: Iterable[str]
) -> Roles:
    """The columns of the roles ``needed``, and of those in ``also`` that have one.

    Args:
        tables: of the data; each must have the columns.
        source: of the tables, for error lines.
        given: a column by role; None where a person says nothing, an empty name where there is none.
        needed, also: roles.

    Raises:
        InputError: a column that is given is missing or given twice, or a needed role is not clear.
    """
    names = list(tables[0].columns)
    columns: dict[str, str] = {}
    how: dict[str, str] = {}
    for role, column in given.items():
        if column:
            _check_there(tables, source, column, f"{role}={column}")
            columns[role], how[role] = column, "given"
    first, second = next((pair for pair in (_pair(p, names) for p in PAIRS) if all(pair)), ("", ""))
    for role in (*needed, *also):
        if given.get(role) is None:
            guess = _by_name(role, [name for name in names if name not in columns.values()])
            if not guess and role == "text" and first:
                guess = first
                if given.get("text_pair") is None:
                    columns["text_pair"], how["text_pair"] = second, "by its name"
            if guess:
                columns[role], how[role] = guess, "by its name"
    for column in columns.values():
        if len(roles := [role for role, own in columns.items() if own == column]) > 1:
            raise InputError(f"{source}: {' and '.join(roles)} are the same column {column!r}; give each its own")
    if missing := [role for role in needed if role not in columns]:
        raise _unclear(tables[0], source, missing)
    for column in columns.values():
        _check_there(tables, source, column, column)
    order = [role for role in NAMES if role in columns]
    return Roles({role: columns[role] for role in order}, {role: how[role] for role in order})


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _by_name(role: str, names: Iterable[str]) -> str:
    """The one column whose name says that it has the role; empty where none or several do."""
    matching = [name for name in names if _plain(name) in NAMES[role]]
    own = [name for name in matching if _plain(name) == NAMES[role][0]]
    return (own or matching)[0] if len(own or matching) == 1 else ""


def _pair(pair: tuple[str, str], names: Iterable[str]) -> tuple[str, str]:
    found = {_plain(name): name for name in names}
    return found.get(pair[0], ""), found.get(pair[1], "")


def _check_there(tables: Sequence[Table], source: str, column: str, asked: str) -> None:
    for table in tables:
        if column not in table.columns:
            close = nearest(column, table.columns)
            hint = f" did you mean {close!r}?" if close else ""
            where = source if len(tables) == 1 else table.name
            raise InputError(f"{where} has no column {column!r} ({asked});{hint} its columns: {examples(table)}")


def _unclear(table: Table, source: str, missing: Sequence[str]) -> InputError:
    options = " ".join(f"--scenario-arg {role}=COLUMN" for role in missing)
    which = "column is" if len(missing) == 1 else "columns are"
    ways = " (or by=label labels_per_task=N, or by=time tasks=N)" if "task" in missing else ""
    return InputError(
        f"{source}: which {which} the {' and the '.join(missing)}? give {options}{ways}; its columns: {examples(table)}"
    )


def examples(table: Table) -> str:
    """The columns with the first cell of each that is not empty."""
    told = []
    for column, cells in table.columns.items():
        texts = (cell_text(cell) for cell in cells[:100])
        shown = next((text for text in texts if text), "")
        told.append(f"{column} ({shorten(' '.join(shown.split()), EXAMPLE)!r})")
    return ", ".join(told)
