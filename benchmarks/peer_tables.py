"""The tables of the comparison with the peers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from benchmarks.report import mebibytes, table
from benchmarks.sequences import EWC_LAMBDA, Outcome, TaskSequence
from benchmarks.timing import described, ratios, spread

TITLES = {"documented": "as documented", "same": "same"}
PROGRAM_TITLES = {"clbench": "clbench", "avalanche": "Avalanche", "trainer": "Trainer"}
NOTES = """
## What was run

`{scenario}`, {tasks} tasks of {train} training and {test} test texts, model `{model}`, seed {seed}: {trained} texts
learned from and {evaluated} answered by each program, which is checked, as is the number of steps. Each evaluates every
test set before training and after each task. Wall time is of learning, Fisher and evaluation; making the tasks,
tokenising and loading the model are left out of it and are in the column "with loading"; imports are in neither.
Every run is a process of its own, the programs take turns, a ratio is of two runs of one turn; numbers are median
(minimum–maximum). Peak memory is of the process, from before loading; on a GPU of its tensors. Accuracies, of the first
turn, are there to show that nobody leaves work out.

- **as documented**: clbench with its defaults (here {precision}). Avalanche: `Naive` with `train` and `eval` on
  task-labelled experiences, fp32, every text padded to one length as its default collation needs, default evaluator,
  `torch.optim.AdamW(lr)`. Trainer: one `Trainer` a task, `TrainingArguments` as they are but for batch size, epochs and
  learning rate (fp32, fused AdamW, a checkpoint at the end of a task), `DataCollatorWithPadding`. Both peers take the
  model as `from_pretrained` gives it (dropout 0.1); clbench sets dropout to 0.
- **same**: all in fp32 with the model as clbench loads it (dropout 0), clbench's training batches (examples, order,
  padding), its learning rate in each step, decay, clipping and AdamW ({adamw}). All evaluate in batches sorted by
  length within one token budget, clbench over all test sets as one stream, the peers one after the other. clbench alone
  still writes its checkpoint after each task, and has huge pages, which its command line asks for. Without EWC all
  three learn the same weights, up to rounding.
- **ewc**: clbench's and the Trainer's Fisher is the mean squared gradient of {samples} single texts of a task. The
  Trainer's comes from one backward pass a text and its penalty stands in `compute_loss`, one sum for each past task, as
  tutorials have it. Avalanche's is its own `EWCPlugin` (mode `separate`): squares of the gradient of a batch's mean
  over all training texts of a task, which is not the Fisher (too small, and dependent on the batch size), so that the
  same λ = {strength} holds the weights less."""
Found = Mapping[TaskSequence, Sequence[Outcome]]


def comparisons(found: Found) -> list[dict[str, Any]]:
    """clbench against each peer in each row and strategy: the ratios of wall time in each turn, and their spread."""
    rows = []
    for (row, strategy), programs in _groups(found).items():
        ours = programs["clbench"]
        for peer, theirs in programs.items():
            if peer != "clbench":
                rows.append(
                    {
                        "row": row,
                        "strategy": strategy,
                        "peer": peer,
                        "ratio": described(ratios(_walls(ours), _walls(theirs))),
                        "ratio_with_loading": described(ratios(_walls(ours, True), _walls(theirs, True))),
                        "clbench_seconds": described(_walls(ours)),
                        "peer_seconds": described(_walls(theirs)),
                    }
                )
    return rows


def tables(rows: Sequence[Mapping[str, Any]], found: Found) -> list[str]:
    """The lines of all tables."""
    return ["", "## Wall time", "", *_ratio_table(rows), *_program_table(found), *_growth_table(found)]


def _ratio_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ["how", "strategy", "peer", "clbench (s)", "peer (s)", "clbench / peer", "with loading"]
    cells = []
    for row in rows:
        texts = [
            spread(row[key]["values"]).text(digits)
            for key, digits in (("clbench_seconds", 1), ("peer_seconds", 1), ("ratio", 2), ("ratio_with_loading", 2))
        ]
        cells.append([TITLES[row["row"]], row["strategy"], PROGRAM_TITLES[row["peer"]], *texts])
    return table(header, cells, 3)


def _program_table(found: Found) -> list[str]:
    header = ["how", "strategy", "program", "learning (texts/s)", "evaluation (texts/s)", "learning (s)", "Fisher (s)",
              "evaluation (s)", "other (s)", "peak memory", "steps", "accuracy at the end"]  # fmt: skip
    cells = []
    for (row, strategy), programs in _groups(found).items():
        for program, outcomes in programs.items():
            learning = [sum(outcome.train_seconds) for outcome in outcomes]
            fisher = [sum(outcome.fisher_seconds) for outcome in outcomes]
            evaluation = [sum(outcome.eval_seconds) for outcome in outcomes]
            other = [
                outcome.sequence_seconds - sum(parts)
                for outcome, *parts in zip(outcomes, learning, fisher, evaluation, strict=True)
            ]
            trained = [outcome.texts_trained for outcome in outcomes]
            evaluated = [outcome.texts_evaluated for outcome in outcomes]
            cells.append(
                [
                    TITLES[row],
                    strategy,
                    PROGRAM_TITLES[program],
                    f"{median(ratios(trained, learning)):.0f}",
                    f"{median(ratios(evaluated, evaluation)):.0f}",
                    *(f"{median(seconds):.1f}" for seconds in (learning, fisher, evaluation, other)),
                    mebibytes(median(outcome.peak_memory_bytes for outcome in outcomes)),
                    str(outcomes[0].optimizer_steps),
                    f"{fmean(outcomes[0].accuracy[-1]):.3f}",
                ]
            )
    return ["", "## Parts", "", "Medians.", "", *table(header, cells, 3)]


def _growth_table(found: Found) -> list[str]:
    tasks = next(iter(found)).tasks
    header = ["how", "program", *(f"task {number}" for number in range(1, tasks + 1))]
    cells = [
        [TITLES[row], PROGRAM_TITLES[program],
         *(f"{median(outcome.train_seconds[task] for outcome in outcomes):.1f}" for task in range(tasks))]
        for (row, strategy), programs in _groups(found).items()
        if strategy == "ewc"
        for program, outcomes in programs.items()
    ]  # fmt: skip
    lines = ["", "## EWC's growth", "", "Seconds of learning each task, without Fisher and evaluation; medians.", ""]
    return [*lines, *table(header, cells, 2)] if cells else []


def notes(sequence: TaskSequence, outcome: Outcome) -> list[str]:
    """What a reader must know to judge the tables."""
    default = "as Avalanche's documentation constructs it, not fused, and fused in the other two"
    values = {
        **asdict(sequence),
        "precision": outcome.precision,
        "trained": outcome.texts_trained,
        "evaluated": outcome.texts_evaluated,
        "adamw": default if sequence.plain_adamw else "fused in all",
        "samples": sequence.fisher_samples,
        "strength": f"{EWC_LAMBDA:.0f}",
    }
    return NOTES.format(**values).splitlines()


def _groups(found: Found) -> dict[tuple[str, str], dict[str, Sequence[Outcome]]]:
    groups: dict[tuple[str, str], dict[str, Sequence[Outcome]]] = {}
    for sequence, outcomes in found.items():
        groups.setdefault((sequence.row, sequence.strategy), {})[sequence.program] = outcomes
    return groups


def _walls(outcomes: Sequence[Outcome], loading: bool = False) -> list[float]:
    return [outcome.sequence_seconds + (outcome.load_seconds if loading else 0.0) for outcome in outcomes]
