"""The strict CSV reader: what would go wrong in silence names the line where its row begins."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from clbench.errors import InputError
from clbench.tasks.csv_tasks import read_csv_tasks
from clbench.tasks.tables import Row, read_table

COLUMNS = ("task", "text", "label")


def table(folder: Path, content: str | bytes) -> Path:
    path = folder / "tickets.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


GOOD: dict[str, str | bytes] = {
    "plain": "task,text,label\nphone,it rings,well\n",
    "a blank after each comma, and quotes": 'task, text, label\nphone, "it rings", "well"\n',
    "blanks inside the quotes": 'task,text,label\nphone," it rings ",  " well"\n',
    "a byte order mark": b"\xef\xbb\xbftask,text,label\nphone,it rings,well\n",
    "semicolons": "task;text;label\nphone;it rings;well\n",
    "tabs": "task\ttext\tlabel\nphone\tit rings\twell\n",
    "quoted names": '"task","text","label"\n"phone","it rings","well"\n',
    "another order and more columns": "label,id,text,task,\nwell,7,it rings,phone,\n",
    "lines of Windows, and of old Macs": b"task,text,label\r\rphone,it rings,well\r",
    "rows without content": "\n\ntask,text,label\n , ,\nphone,it rings,well\n,,\n\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_however_a_table_is_spelled_its_cells_are_the_same(name: str, tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, GOOD[name]), COLUMNS)
    assert row.cells == ("phone", "it rings", "well")


def test_a_row_knows_the_line_in_which_it_begins(tmp_path: Path) -> None:
    path = table(tmp_path, 'task,text,label\na,"two\nlines, ""quoted""",x\n\nb,one,y\n')
    rows = read_table(path, COLUMNS)
    assert rows == [Row(2, ("a", 'two\nlines, "quoted"', "x")), Row(5, ("b", "one", "y"))]


def test_a_cell_may_be_longer_than_csv_allows_and_its_limit_stays(tmp_path: Path) -> None:
    limit, text = csv.field_size_limit(), "long " * 40_000
    (row,) = read_table(table(tmp_path, f"task,text,label\na,{text},x\n"), COLUMNS)
    assert row.cells[1] == text.strip()
    assert csv.field_size_limit() == limit


BAD: dict[str, tuple[str | bytes, str]] = {
    "an unquoted comma": ("label,task,text\nx,a,fine\nx,a,cut here, or not\n", "line 3: 4 cells, but the header has 3"),
    "after a text of two lines": ('label,task,text\nx,a,"two\nlines"\nx,a,b,c\n', "line 4: 4 cells"),
    "too few cells": ("task,text,label\na,b\n", "line 2: 2 cells, but the header has 3"),
    "the separator of the file": ("task;text;label\na;b;c;d\n", "a cell with a ';' in it needs double quotes"),
    "an open quote at the end": (
        'task,text,label\na,b,x\na,"b,x\na,c,x\n',
        "line 3: a quote that is opened here never",
    ),
    "an open quote before others": ('task,text,label\na,"b,x\na,"c",x\n', "line 2: a quote is out of place"),
    "a quote that is not doubled": ('task,text,label\na,"he said "hi"",x\n', "each of its own written twice"),
    "a blank cell": ("task,text,label\na,b,c\na, \t,c\n", "line 3: text is empty or blank"),
    "a cell of an ideographic space": ("task,text,label\na,b,\u3000\n", "line 2: label is empty or blank"),
    "a NUL": (b"task,text,label\na,b\0,c\n", "line 2 holds a NUL character; save the file as plain UTF-8"),
    "UTF-16": ("task,text,label\na,b,c\n".encode("utf-16"), "it is UTF-16, not utf-8; save it as UTF-8"),
    "Latin 1": (b"task,text,label\na,b,c\na,caf\xe9,c\n", "line 3 is not utf-8; save the file as UTF-8"),
    "another case": ("Task,Text,Label\na,b,c\n", "has no column 'task'; did you mean 'Task'? its columns: Task, Text,"),
    "a name nearly right": ("task,text,lable\na,b,c\n", "has no column 'label'; did you mean 'lable'?"),
    "a name twice": ("task,text,label,text\na,b,c,d\n", "has 2 columns 'text'; its columns: task, text, label, text"),
    "a quote in the header": ('"task"x,text,label\na,b,c\n', "the header of the file has a quote out of place"),
    "labels in two cases": (
        "task,text,label\na,b,well\na,c,Well\n",
        "the labels 'well' (line 2) and 'Well' (line 3) differ in case or blanks only; write them alike",
    ),
    "labels that differ in blanks": (
        "task,text,label\na,b,so so\na,c,so  so\n",
        "'so so' (line 2) and 'so  so' (line 3)",
    ),
    "labels of two tasks": ("task,text,label\na,b,well\nc,d,WELL\n", "'well' (line 2) and 'WELL' (line 3)"),
    "characters of two forms": ("task,text,label\na,b,caf\u00e9\na,c,cafe\u0301\n", "(line 2) and"),
    "tasks in two cases": ("task,text,label\nfax,b,x\nFax,d,x\n", "the tasks 'fax' (line 2) and 'Fax' (line 3)"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_go_wrong_in_silence_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    path = table(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_csv_tasks(path, seed=0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = ("task", "label")
ROWS = "a,one,x\nb,two,y\nb,three,x\na,four,y\n"
SWALLOWED = {
    "the next row": ('a,"he said,x\nb,it ends here",y\n', 6, 7),
    "several rows": ('a,"he said,x\nb,well,y\na,so so,x\nb,it ends here",y\n', 6, 7),
    "a row after an honest line": ('a,"he said\nb,it ends here",y\n', 6, 7),
    "in the last column": ('a,one,"x\nb,two,y"\n', 6, 7),
    "in the first column": ('"a,one,x\nb",two,y\n', None, None),
    "with other quotes": ('"b","said,x\n"a",fine,y\nb,ends",x\n', None, None),
    "before blanks": ('a, "he said, x\nb, it ends here", y\n', 6, 7),
}


@pytest.mark.parametrize("name", SWALLOWED)
def test_a_stray_quote_that_a_later_row_closes_is_told_with_its_line(name: str, tmp_path: Path) -> None:
    rows, begins, taken = SWALLOWED[name]
    with pytest.raises(InputError) as caught:
        read_table(table(tmp_path, f"task,text,label\n{ROWS}{rows}{ROWS}"), COLUMNS, NAMES)
    line = str(caught.value)
    assert "line 6: " in line
    if begins:
        assert f"line {begins}: a quote that is opened here takes in line {taken}, which is a row of its own" in line
        assert "take the quote out, or put the whole cell in double quotes and write the quote twice" in line


HONEST = {
    "lines without a separator": "one\ntwo\nthree",
    "as many separators as a row": "Dear team,\nit rings, it stops, it rings\nred, green, blue",
    "a label's name at the end": "is it on,\nI think, yes, x\nbye",
    "a task's name at the start": "see\na, for example, that one\nb, again, this",
    "quotes of its own": 'she said ""a, b, c""\nand went, or not, perhaps',
    "an empty line": "one\n\ntwo",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_cell_of_several_lines_is_read(name: str, tmp_path: Path) -> None:
    cell = f'"{HONEST[name]}"'
    for header, row in (("task,text,label", f"a,{cell},x"), ("task,label,text", f"a,x,{cell}")):
        others = "".join(
            f"{row}\n" for row in (("a,x,y", "b,y,x") if "text,label" in header else ("a,x,one", "b,y,two"))
        )
        found = read_table(table(tmp_path, f"{header}\n{others}{row}\n{others}"), COLUMNS, NAMES)
        assert [row.cells[1] for row in found][2] == HONEST[name].replace('""', '"')


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="it is a pipe or a device; allowed: a file"):
        read_table(tmp_path / "pipe", COLUMNS)
