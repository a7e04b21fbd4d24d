"""The interval of a difference over test examples, from the predictions that two rows' runs stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.report.pairs import Pair
from clbench.report.statistics import example_interval
from clbench.results import Answers, Run, read_answers

if TYPE_CHECKING:
    from clbench.report.statistics import Numbers

Ends = dict[Path, Mapping[str, Answers]]
"""What runs answered at the end, by task; kept, since a baseline is read for every row."""


def interval_over_examples(pairs: Sequence[Pair], ends: Ends) -> tuple[float, float]:
    """The 95 % interval of the difference in average accuracy over test examples, for the seeds of these ``pairs``.

    An example is drawn with its answers of every seed, unless seeds have test sets of different sizes, so that examples
    of one are not those of another: then each seed's are drawn by themselves.

    Raises:
        InputError: predictions are missing or broken, or are of different test examples.
    """
    by_seed = [_by_task(pair, ends) for pair in pairs]
    tasks = by_seed[0].keys()
    if any(each.keys() != tasks for each in by_seed):  # the seed draws them: seeds have nothing in common
        return example_interval([[own] for each in by_seed for own in each.values()])
    return example_interval([_samples([each[task] for each in by_seed]) for task in tasks])


def _samples(differences: Sequence[Numbers]) -> list[Numbers]:
    """The differences of one task's examples, one sample a seed: their mean over seeds where these are of one size."""
    if len({len(each) for each in differences}) > 1:
        return list(differences)
    mean: Numbers = sum(differences[1:], start=differences[0]) / len(differences)
    return [mean]


def _by_task(pair: Pair, ends: Ends) -> dict[str, Numbers]:
    """For each task and example 1 where only the row's run was right, -1 where only the baseline's was, else 0."""
    own, other = (_at_the_end(run, ends) for run in pair)
    if any(own[task].labels != other[task].labels for task in own):
        raise InputError(f"{pair[0].folder} and {pair[1].folder} were not judged by the same test examples")
    return {task: _right(own[task]) - _right(other[task]) for task in own}


def _right(answers: Answers) -> Numbers:
    import numpy as np

    right: Numbers = np.equal(answers.labels, answers.predictions).astype(float)
    return right


def _at_the_end(run: Run, ends: Ends) -> Mapping[str, Answers]:
    if run.folder not in ends:
        names = run.result["tasks"]
        answers = read_answers(run, [(len(names), name) for name in names])
        ends[run.folder] = {task: found for (_, task), found in answers.items()}
    return ends[run.folder]
