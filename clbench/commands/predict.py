"""``clbench predict``: a kept model answers texts, sentences, prompts or images, a JSON line each."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.commands.export import model_folder
from clbench.engine import KeptModel
from clbench.errors import InputError, nearest
from clbench.files import LARGEST_TABLE, read_file, write_atomic
from clbench.kinds import Kind
from clbench.models import choose_device, read_deployment
from clbench.tasks import read_columns
from clbench.text import clean

SEPARATORS = {".csv": ",", ".tsv": "\t"}
READERS = {".jsonl": "read_json", ".json": "read_json", ".parquet": "read_parquet"}
PAIR = "text_pair"


def answer(
    model: Path, texts: Sequence[str], *, task: str | None, input: Path | None, output: Path | None, device: str
) -> None:
    """Print, or write to ``output``, the answers to ``texts`` (or what the kind asks in their place) or to ``input``.

    Raises:
        InputError: there is no model, no text, or no such task, or a file cannot be read or written.
    """
    folder = model_folder(model)
    kind = read_deployment(folder).asks
    if texts and input is not None:
        raise InputError(f"{kind.noun}s and --input FILE were given; allowed: one of the two")
    for text in texts:
        if os.path.isdir(text):
            raise InputError(f"{text!r} is a folder; allowed: one model, and then {kind.noun}s")
    if input is None:
        given = [(text, f"argument {number}") for number, text in enumerate(texts, 1)]
    else:
        given = read_cells(input, kind)
    if not given:
        one = f"{kind.asked_example} as an argument"
        raise InputError(f"no {kind.noun} was given; allowed: {one}, or --input FILE with a line each or a table")
    if output is not None and not os.path.isdir(output.parent):
        raise InputError(f"--output {str(output)!r} cannot be written: there is no folder {str(output.parent)!r}")
    if output is not None and os.path.lexists(output):
        raise InputError(f"--output {str(output)!r} is there already; allowed: the name of a new file")
    kept = KeptModel(folder, choose_device(device))
    asked = [kind.read_input(cell, where, kept.deployment.limits) for cell, where in given]
    answers = kept.answer(asked, task)
    lines = [json.dumps(found.line(kind.answered_as), ensure_ascii=False) for found in answers]
    content = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        try:
            write_atomic(output, content)
        except OSError as error:
            raise InputError(f"--output {str(output)!r} cannot be written: {error.strerror}") from error
    if kind.over_labels and kept.deployment.run.setting == "task" and kept.deployment.task is None and task is None:
        names = ", ".join(each.name for each in kept.deployment.tasks)
        told = f"the run knew each {kind.noun}'s task; how often it is right without was not measured"
        print(clean(f"note: {told}: --task {names}"), file=sys.stderr)


def read_cells(path: Path, kind: Kind) -> list[tuple[Any, str]]:
    """What is asked in a file and where it stands there: a line each, or a column of a table.

    A table with a column text_pair gives pairs.

    Raises:
        InputError: it cannot be read, or it is not clear which column is meant.
    """
    suffix = path.suffix.lower()
    if not os.path.isfile(path):
        known = ", ".join((*SEPARATORS, *READERS))
        raise InputError(f"--input {str(path)!r} is no file; allowed: {kind.noun}s, a line each, or {known}")
    try:
        content = read_file(path, LARGEST_TABLE)
        if suffix in SEPARATORS:  # not with pandas, which moves the cells of a long row without a word
            wanted = (*kind.asked_in, kind.asked_beside)
            columns: dict[str, list[Any]] = dict(read_columns(content, SEPARATORS[suffix], wanted))
        elif suffix in READERS:
            import pandas

            options = {} if suffix == ".parquet" else {"dtype": False, "lines": suffix == ".jsonl"}
            table = getattr(pandas, READERS[suffix])(io.BytesIO(content), **options)
            columns = {str(name): table[name].tolist() for name in table.columns}
        else:
            lines = content.decode("utf-8-sig").splitlines()
            return [(line, f"--input {str(path)!r}: line {number}") for number, line in enumerate(lines, 1)]
    except InputError as error:
        raise InputError(f"--input {str(path)!r}: {error}") from error
    except UnicodeDecodeError as error:
        allowed = f"{kind.noun}s, a line each, or a table; {kind.asked_example} as an argument, without --input"
        raise InputError(f"--input {str(path)!r} cannot be read as text (UTF-8); allowed: {allowed}") from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors are of these
        raise InputError(f"--input {str(path)!r} cannot be read: {' '.join(str(error).split())[:300]}") from error
    names = list(columns)
    if PAIR in names and kind.asked_beside != PAIR:
        raise InputError(f"--input {str(path)!r} has a column {PAIR!r}, and this model reads single {kind.noun}s")
    column = _column(path, names, kind.asked_in)
    cells = columns[column]
    if kind.asked_beside and kind.asked_beside in names:
        column = f"{column}, {kind.asked_beside}"
        cells = list(zip(cells, columns[kind.asked_beside], strict=True))
    return [(cell, f"--input {str(path)!r}: row {number} of {column!r}") for number, cell in enumerate(cells, 1)]


def _column(path: Path, names: list[str], wanted: Sequence[str]) -> str:
    """The first of ``names`` that is ``wanted``; a table of one column needs no name."""
    column = next((name for name in wanted if name in names), names[0] if len(names) == 1 else None)
    if column is None:
        close = next((found for name in wanted if (found := nearest(name, names))), None)
        hint = f" rename {close!r} to {wanted[0]!r}?" if close else ""
        known = ", ".join(names) or "none"
        raise InputError(f"--input {str(path)!r} has no column {wanted[0]!r};{hint} its columns: {known}")
    return column
