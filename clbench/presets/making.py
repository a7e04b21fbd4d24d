"""From a preset to its tasks: labels dealt out, tags of other entities put out, rows read, splits made."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from clbench.errors import InputError, unknown
from clbench.presets.contents import read_contents, row_dataset
from clbench.presets.preset import Preset, Source
from clbench.presets.reading import SPLITS
from clbench.presets.splitting import Row, choose_rows, load_splits, part_rows
from clbench.scenario import Task
from clbench.tasks import same_text, sequences

if TYPE_CHECKING:
    import datasets

OUTSIDE = "O"
BY_SEED = "seed"
"""The order in which the seed deals the labels out to tasks."""


class Asked(NamedTuple):
    """What a person asks of a preset: see `PresetScenario`."""

    seed: int
    order: str
    root: str
    labels_per_task: int | None
    most: Mapping[str, int | None]


class Labels(NamedTuple):
    """The answers of each split's rows, None for rows without one, and the names of all labels in order."""

    answers: Mapping[str, Sequence[Any]]
    names: tuple[str, ...]


def make_tasks(preset: Preset, asked: Asked) -> list[Task]:
    """The tasks in order.

    Raises:
        InputError: the data cannot be loaded, or are others than the preset says; an unknown order.
    """
    loaded: dict[str, dict[str, datasets.Dataset]] = {}
    tasks = []
    for name in _order(preset, asked):
        source = preset.tasks[name]
        place = f"{source.hub} {source.files} {source.splits} {source.revision}"
        if place not in loaded:
            loaded[place] = load_splits(preset, source, asked.root)
        labels = _labels(preset, source, loaded[place])
        if not preset.labels_per_task:
            own = labels.names if preset.kind != "token" or source.entities else ()  # all tags stay, whatever they are
            tasks.append(_task(preset, source, name, own, loaded[place], labels, asked))
            continue
        for part in _dealt(preset, asked, labels.names):
            named = part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}"
            tasks.append(_task(preset, source, named, part, loaded[place], labels, asked))
    return tasks


def _order(preset: Preset, asked: Asked) -> Sequence[str]:
    names = list(preset.orders) + ([BY_SEED] if preset.labels_per_task else [])
    if asked.order and asked.order not in names:
        raise unknown(f"order of preset {preset.name!r}:", asked.order, names)
    if preset.labels_per_task or not preset.orders:
        return list(preset.tasks)
    return preset.orders[asked.order or names[0]]


def _dealt(preset: Preset, asked: Asked, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The labels of each task."""
    count = preset.labels_per_task if asked.labels_per_task is None else asked.labels_per_task
    if count < 1:
        raise InputError(f"labels_per_task={count} is not allowed; allowed: 1 or more")
    turn = list(names)
    if asked.order == BY_SEED:
        random.Random(f"{asked.seed}/labels").shuffle(turn)
    return [tuple(turn[start : start + count]) for start in range(0, len(turn), count)]


def _labels(preset: Preset, source: Source, splits: Mapping[str, datasets.Dataset]) -> Labels:
    """For generation the answers themselves; for token tasks rows of tags, and the types of entities as names."""
    if preset.kind == "generation":
        return Labels({split: data[source.columns["answer"][0]][:] for split, data in splits.items()}, ())
    column = source.columns["tags" if preset.kind == "token" else "label"][0]
    answers: dict[str, list[Any]] = {}
    known: tuple[str, ...] = source.labels
    for split, data in splits.items():
        feature = data.features[column]
        feature = getattr(feature, "feature", feature)  # of a list, its items'
        known = known or tuple(getattr(feature, "names", None) or ())
        name = _namer(known, f"{preset.name}: {split}: {column}")
        values = data[column][:]
        if preset.kind == "token":
            answers[split] = [tuple(name(tag) or OUTSIDE for tag in row) for row in values]
        else:
            answers[split] = [name(value) for value in values]
    if preset.kind == "token":
        found = {tag.partition("-")[2] for rows in answers.values() for tags in rows for tag in tags} - {""}
        return Labels(answers, source.entities or tuple(sorted(found)))
    names = known or tuple(
        sorted({label for rows in answers.values() for label in rows if label is not None}, key=_turn)
    )
    return Labels(answers, tuple(label for label in names if label not in source.leave_out))


def _turn(label: str) -> tuple[bool, int, str]:
    """Numbers by their value, before names."""
    return not label.isdecimal(), int(label) if label.isdecimal() else 0, label


def _namer(names: Sequence[str], where: str) -> Callable[[Any], str | None]:
    def name(value: Any) -> str | None:
        """The label's name; None where there is no label: test sets without answers have -1."""
        if value is None or (isinstance(value, int) and value < 0):
            return None
        if not names or isinstance(value, str):
            return str(value)
        if not value < len(names):
            raise InputError(f"{where} has the label {value}, and there are {len(names)} names")
        return str(names[value])

    return name


def _task(
    preset: Preset,
    source: Source,
    name: str,
    names: tuple[str, ...],
    splits: Mapping[str, datasets.Dataset],
    labels: Labels,
    asked: Asked,
) -> Task:
    generator = random.Random(f"{asked.seed}/{name}")
    rows: dict[str, list[Row]] = {}
    for split, data in splits.items():
        answers = [_answer(preset.kind, answer, names) for answer in labels.answers[split]]
        strata = answers if preset.kind in ("text", "image") else [""] * len(answers)
        most = preset.most.get(split)
        chosen = choose_rows(answers, strata, preset.per_label.get(split), most, generator)
        contents = read_contents(preset, source, data.select(chosen))
        pairs = zip(contents, (answers[number] for number in chosen), strict=True)
        rows[split] = [(content, answer) for content, answer in pairs if len(content)]
    shares = {"dev": preset.dev, "test": preset.test}
    key = {"token": sequences.same_tokens, "image": lambda image: image.tobytes()}.get(preset.kind, same_text)
    labelled = preset.kind in ("text", "image")
    parts, left_out = part_rows(rows, key, lambda row: row[1] if labelled else "", shares, generator)
    parts = [_limited(part, labelled, asked.most[split], generator) for split, part in zip(SPLITS, parts, strict=True)]
    notes = [f"{left_out} rows left out: repeated"] if left_out else []
    own = [split for split in SPLITS[1:] if split not in splits]
    notes += [f"{split} is drawn from train: the data have none" for split in own]
    if preset.kind == "token":
        marked = tuple(f"{begin}-{entity}" for entity in names for begin in "BI")
        names = (OUTSIDE, *marked) if names else sequences.tag_labels([row for part in parts for row in part])
    train, dev, test = (row_dataset(preset.kind, part, names) for part in parts)
    return Task(name, preset.kind, names, train, dev, test, incomplete=True, notes=tuple(notes), measure=source.measure)


def _limited(rows: Sequence[Row], labelled: bool, most: int | None, generator: random.Random) -> list[Row]:
    """At most so many rows, as many of each label as can be."""
    answers = [answer for _, answer in rows]
    strata = answers if labelled else [""] * len(rows)
    return [rows[number] for number in choose_rows(answers, strata, None, most, generator)]


def _answer(kind: str, answer: Any, names: tuple[str, ...]) -> Any:
    """A row's answer in a task with these labels or entities; None where the row is not the task's."""
    if kind == "generation" or answer is None:
        return answer
    if kind != "token":
        return answer if answer in names else None
    if not names:
        return answer
    kept = tuple(tag if tag.partition("-")[2] in names else OUTSIDE for tag in answer)
    return kept if any(tag != OUTSIDE for tag in kept) else None
