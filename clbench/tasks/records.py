"""Reads JSON, JSON Lines and Parquet, and data sets of the library ``datasets``, into tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError
from clbench.tasks.columns import Table
from clbench.tasks.delimited import decode

if TYPE_CHECKING:
    import datasets

ALLOWED_JSON = "allowed: a list of objects, an object of lists, or an object a line"


def read_json_lines(content: bytes, name: str) -> Table:
    """The objects of a JSON Lines file, a line each.

    Raises:
        InputError: a line is no JSON object, or there is none.
    """
    text, encoding, guesses = decode(content, name)
    objects, places = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            objects.append(_loads(line, f"{name}, line {number}"))
            places.append(number)
    return _from_objects(objects, name, places, "line", f"JSON Lines, {encoding}", guesses)


def read_json(content: bytes, name: str) -> Table:
    """A JSON file: a list of objects, or an object of columns that are lists; an object a line is read, too.

    Raises:
        InputError: it is neither, or there is no row.
    """
    text, encoding, guesses = decode(content, name)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and _is_object(lines[0]) and _is_object(lines[1]):
        return read_json_lines(content, name)
    value = _loads(text, name)
    if isinstance(value, dict) and len(value) == 1 and _are_objects(next(iter(value.values()))):
        value = next(iter(value.values()))  # {"data": [...]}
    if isinstance(value, dict) and value and all(isinstance(cells, dict) for cells in value.values()):
        value = {column: list(cells.values()) for column, cells in value.items()}  # pandas' {"text": {"0": ...}}
    facts = f"JSON, {encoding}"
    if isinstance(value, dict):
        lengths = {column: len(cells) for column, cells in value.items() if isinstance(cells, list)}
        if len(lengths) < len(value) or len(set(lengths.values())) > 1 or not lengths:
            raise InputError(f"{name} is an object, but not one of lists of one length; {ALLOWED_JSON}")
        rows = next(iter(lengths.values()))
        return _checked(Table(name, value, range(1, rows + 1), "row", facts, tuple(guesses)))
    if not isinstance(value, list):
        raise InputError(f"{name} holds a {type(value).__name__}; {ALLOWED_JSON}")
    return _from_objects(value, name, range(1, len(value) + 1), "row", facts, guesses)


def read_parquet(content: bytes, name: str) -> Table:
    """A Parquet file; label numbers become names where ``datasets`` wrote the names into it.

    Raises:
        InputError: it is damaged, holds what no table of texts holds, or has no row.
    """
    import datasets
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        for place, field in enumerate(table.schema):
            if pyarrow.types.is_dictionary(field.type):  # a category of pandas
                table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        return from_dataset(datasets.Dataset(table), name, "Parquet")
    except (pyarrow.ArrowException, OSError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"cannot read {name} as Parquet: {' '.join(str(error).split())[:200]}") from error


def from_dataset(data: datasets.Dataset, name: str, facts: str) -> Table:
    """The columns of a data set that hold values; numbers of class labels as their names.

    Raises:
        InputError: it has no row.
    """
    import datasets

    usable = [
        column
        for column, feature in data.features.items()
        if not isinstance(feature, datasets.Image | datasets.Audio | datasets.Video) and column != "__index_level_0__"
    ]
    columns: dict[str, Sequence[Any]] = data.select_columns(usable).with_format(None)[:] if usable else {}
    for column in usable:
        if isinstance(feature := data.features[column], datasets.ClassLabel):
            columns[column] = [_class_name(feature, number) for number in columns[column]]
    return _checked(Table(name, columns, range(1, len(data) + 1), "row", facts))


def _class_name(feature: datasets.ClassLabel, number: int | None) -> str | None:
    """None where there is no label: test sets without answers have -1."""
    return None if number is None or number < 0 else str(feature.int2str(number))


def _loads(text: str, where: str) -> Any:
    try:
        # Floats stay as they are written, and what JSON does not know (NaN) is a missing cell.
        return json.loads(text, parse_float=str, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error}); {ALLOWED_JSON}") from error


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _are_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _from_objects(
    objects: Sequence[Any], name: str, places: Sequence[int], unit: str, facts: str, guesses: Sequence[str]
) -> Table:
    for place, item in zip(places, objects, strict=True):
        if not isinstance(item, dict):
            raise InputError(f"{name}, {unit} {place}: a {type(item).__name__}; {ALLOWED_JSON}")
    names = dict.fromkeys(column for item in objects for column in item)
    columns = {column: [item.get(column) for item in objects] for column in names}
    return _checked(Table(name, columns, places, unit, facts, tuple(guesses)))


def _checked(table: Table) -> Table:
    if not table.columns or not len(table.places):
        raise InputError(f"{table.name} has no rows")
    return table
