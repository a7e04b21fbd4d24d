"""Reads the protocols: ``PAPER/paper.yaml`` is what all rows of a table have in common, ``PAPER/ROW.yaml`` a row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.config import read_mapping
from clbench.errors import InputError, nearest, unknown
from clbench.plugins import canonical, parse_expression

FOLDER = Path(__file__).parent
PAPER = "paper.yaml"
OF_A_PAPER = ("title", "source", "code", "checked", "protocol", "differs", "n", "kind", "options")
OF_A_ROW = ("row", "differs", "strategy", "options", "figures")
OF_A_FIGURE = ("published", "spread", "strategy", "options", "miss")
KINDS = ("sd", "sem", "tolerance")


@dataclass(frozen=True)
class Figure:
    """A figure of a paper's table, and how we run it.

    Attributes:
        name: ``PAPER-ROW-SETTING``.
        paper, row: what the files say of them.
        setting: ``task``, ``domain`` or ``class``.
        published, spread: an average accuracy and its spread, 0 to 1.
        kind: of the spread, ``sd`` of runs, ``sem``, the standard error of their mean, or ``tolerance``, by which the
            source lets a run miss what it states.
        n: runs behind them.
        options: settings of our run, all but the seed and the folder.
        miss: what was tried and found where ours misses the band; empty where there is nothing to say.
    """

    name: str
    paper: Mapping[str, Any]
    row: Mapping[str, Any]
    setting: str
    published: float
    spread: float
    kind: str
    n: int
    options: Mapping[str, Any]
    miss: str = ""

    @property
    def deviation(self) -> float:
        """The standard deviation of the published runs, which a tolerance says nothing of."""
        return self.spread if self.kind == "sd" else self.spread * self.n**0.5

    @property
    def sha256(self) -> str:
        """A hash of what is run, and of what it is held against."""
        said = [dict(self.options), self.published, self.spread, self.kind, self.n]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def read_figures(folder: Path = FOLDER) -> list[Figure]:
    """All figures of all papers in ``folder``, by name.

    Raises:
        InputError: a file cannot be read, or says something that it cannot say.
    """
    return [figure for paper in sorted(folder.glob(f"*/{PAPER}")) for figure in _of_paper(paper)]


def choose(figures: Sequence[Figure], names: Sequence[str]) -> list[Figure]:
    """The figures called ``names``, in their order; a paper's or a row's name stands for all of its figures.

    All where no name is given.

    Raises:
        InputError: one line, for a name that there is not, with the nearest match.
    """
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        parts = figure.name.split("-")
        for length in range(1, len(parts) + 1):
            groups.setdefault("-".join(parts[:length]), []).append(figure)
    for name in names:
        if name not in groups:
            close = nearest(name, groups)
            rows = sorted({figure.name.rpartition("-")[0] for figure in figures})
            raise InputError(
                f"unknown published figure {name!r};{f' did you mean {close!r}?' if close else ''} "
                f"allowed: {', '.join(rows)}, each also with -SETTING, or a paper alone"
            )
    chosen = [figure for name in names for figure in groups[name]] if names else figures
    return list({figure.name: figure for figure in chosen}.values())


def _of_paper(path: Path) -> list[Figure]:
    paper = _read(path, OF_A_PAPER)
    if paper["kind"] not in KINDS:
        raise unknown(f"kind of spread in {str(path)!r}:", str(paper["kind"]), KINDS)
    rows = sorted(file for file in path.parent.glob("*.yaml") if file.name != PAPER)
    return [figure for file in rows for figure in _of_row(paper, file)]


def _of_row(paper: Mapping[str, Any], path: Path) -> list[Figure]:
    row = _read(path, OF_A_ROW, optional=("strategy", "options"))
    made = []
    for setting, values in row["figures"].items():
        _check_keys(values, OF_A_FIGURE, path, optional=("strategy", "options", "miss"))
        strategy = values.get("strategy") or row.get("strategy")
        if not strategy:
            raise InputError(f"{str(path)!r} names no strategy for {setting!r}; allowed: one a row, or one a figure")
        options = {
            **paper["options"],
            **row.get("options", {}),
            **values.get("options", {}),
            "setting": setting,
            "strategy": canonical(parse_expression(strategy)),
        }
        made.append(
            Figure(
                f"{path.parent.name}-{path.stem}-{setting}",
                paper,
                row,
                setting,
                values["published"] / 100,
                values["spread"] / 100,
                paper["kind"],
                paper["n"],
                options,
                values.get("miss", ""),
            )
        )
    return made


def _read(path: Path, keys: Sequence[str], optional: Sequence[str] = ()) -> dict[str, Any]:
    values = read_mapping(path, "protocol", "what is published, and our settings")
    _check_keys(values, keys, path, optional)
    return values


def _check_keys(values: Mapping[str, Any], keys: Sequence[str], path: Path, optional: Sequence[str]) -> None:
    for key in values:
        if key not in keys:
            raise unknown(f"key in {str(path)!r}:", key, keys)
    for key in keys:
        if key not in values and key not in optional:
            raise InputError(f"protocol {str(path)!r} lacks {key!r}; needed: {', '.join(keys)}")
