"""``clbench predict``: a kept model answers texts, a JSON line each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clbench.commands.export import model_folder
from clbench.engine import KeptModel
from clbench.errors import InputError, nearest
from clbench.files import write_atomic
from clbench.models import choose_device
from clbench.text import TextOrPair

# What a column of texts may be called; a table of one column needs no name.
TEXT_COLUMNS = ("text", "sentence", "content", "message")
PAIR = "text_pair"


def answer(
    model: Path, texts: Sequence[str], *, task: str | None, input: Path | None, output: Path | None, device: str
) -> None:
    """Print, or write to ``output``, the answers to ``texts`` or to those in the file ``input``.

    Raises:
        InputError: there is no model, no text, or no such task, or a file cannot be read or written.
    """
    folder = model_folder(model)
    if texts and input is not None:
        raise InputError("texts and --input FILE were given; allowed: one of the two")
    asked: list[TextOrPair] = list(texts) if input is None else read_texts(input)
    if not asked:
        raise InputError("no text was given; allowed: TEXT ..., or --input FILE with a text a line or a table")
    if output is not None and not os.path.isdir(output.parent):
        raise InputError(f"--output {str(output)!r} cannot be written: there is no folder {str(output.parent)!r}")
    if output is not None and os.path.lexists(output):
        raise InputError(f"--output {str(output)!r} is there already; allowed: the name of a new file")
    kept = KeptModel(folder, choose_device(device))
    lines = [json.dumps(asdict(found), ensure_ascii=False) for found in kept.answer(asked, task)]
    content = "\n".join(lines) + "\n"
    if output is None:
        sys.stdout.write(content)
    else:
        try:
            write_atomic(output, content)
        except OSError as error:
            raise InputError(f"--output {str(output)!r} cannot be written: {error.strerror}") from error
    if kept.deployment.run.setting == "task" and kept.deployment.task is None and task is None:
        names = ", ".join(each.name for each in kept.deployment.tasks)
        print(
            f"note: the run knew each text's task; how often it is right without was not measured: --task {names}",
            file=sys.stderr,
        )


def read_texts(path: Path) -> list[TextOrPair]:
    """The texts in a file: a line each, or a column of a .csv, .tsv, .jsonl, .json or .parquet.

    A table with a column text_pair gives pairs.

    Raises:
        InputError: it cannot be read, or it is not clear which column has the texts.
    """
    readers = {".csv": "read_csv", ".tsv": "read_csv", ".jsonl": "read_json", ".json": "read_json"}
    readers[".parquet"] = "read_parquet"
    kind = path.suffix.lower()
    if not os.path.isfile(path):
        raise InputError(f"--input {str(path)!r} is no file; allowed: texts, a line each, or {', '.join(readers)}")
    try:
        if kind not in readers:
            return list(path.read_text(encoding="utf-8-sig").splitlines())
        import pandas

        options: dict[str, object] = {}
        if kind in (".csv", ".tsv"):  # what stands in a cell, also where it is empty or looks like a number
            options = {"dtype": str, "keep_default_na": False, "sep": "\t" if kind == ".tsv" else ","}
        elif kind != ".parquet":
            options = {"dtype": False, "lines": kind == ".jsonl"}
        table = getattr(pandas, readers[kind])(path, **options)
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors are of these
        raise InputError(f"--input {str(path)!r} cannot be read: {' '.join(str(error).split())[:300]}") from error
    names = [str(name) for name in table.columns]
    column = next((name for name in TEXT_COLUMNS if name in names), names[0] if len(names) == 1 else None)
    if column is None:
        close = next((name for wanted in TEXT_COLUMNS if (name := nearest(wanted, names))), None)
        hint = f" rename {close!r} to 'text'?" if close else ""
        raise InputError(f"--input {str(path)!r} has no column 'text';{hint} its columns: {', '.join(names) or 'none'}")
    texts = _cells(table, column, path)
    return list(zip(texts, _cells(table, PAIR, path), strict=True)) if PAIR in names else list(texts)


def _cells(table: Any, column: str, path: Path) -> list[str]:
    """The texts in a column of a pandas table."""
    texts: list[str] = table[column].tolist()
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise InputError(f"--input {str(path)!r}: row {number} of {column!r} holds no text but {text!r}")
    return texts
