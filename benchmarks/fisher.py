"""The diagonal Fisher against one ordinary forward and backward pass of the same texts, and against a loop over texts.

``python -m benchmarks.fisher`` writes fisher-<device>.json and .md into results/, in about five minutes on a 2-core
CPU. The texts are training texts of text_seq's first task. Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.report import describe, heading, table, write_report
from benchmarks.timing import PAIRS, described, interleave, prepare_process, ratios, spread, start_as_command_line
from clbench.clock import Clock
from clbench.data import TOKEN_BUDGET, Example, length, sorted_batches
from clbench.engine import Prepared, prepare
from clbench.learner import Learner
from clbench.plugins import make_plan
from clbench.rng import generator
from clbench.toolkit import FisherKind, diagonal_fisher

PRECISIONS = ("fp32", "bf16")
ONE_TEXT = 1  # a token budget that no two texts share
KINDS: tuple[FisherKind, ...] = ("sampled", "empirical")
NOTES = """
Fisher is `diagonal_fisher` with labels sampled from the model. The ordinary pass is a forward and backward pass of the
same texts in the same batches (at most {budget} tokens with padding), in eval mode, at the same precision, with the
weights' gradients of the mean loss. The loop takes one text at a time, with the same labels. All take turns; numbers
are median (minimum–maximum) of {pairs} turns, ratios of calls in one turn. Difference: the largest over all weights'
tensors of max |F − F_loop| / max |F_loop|, at the same precision; in bf16 a sampled label can fall differently in
another batch, true labels cannot."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    device = prepare_process(options.device, options.threads)
    options.token_budget = options.token_budget or TOKEN_BUDGET[device.type]
    prepared = load(options, device)
    learner, examples = prepared.learner, prepared.tasks[0].train[: options.texts]
    found = {}
    for learner.precision in options.precision or PRECISIONS:
        seconds = time_turns(learner, examples, options.pairs, options.token_budget)
        differences = {kind: difference(learner, examples, kind, options.token_budget) for kind in KINDS}
        found[learner.precision] = summary(seconds, differences)
    environment = describe("benchmarks.fisher", given, device, options.threads)
    settings = {"scenario": options.scenario, "model": options.model, "texts": len(examples),
                "tokens": sum(map(length, examples)), "token_budget": options.token_budget}  # fmt: skip
    notes = NOTES.format(budget=options.token_budget, pairs=options.pairs).splitlines()
    lines = [
        *heading("Fisher", environment, options.pairs),
        "",
        f"`{options.model}`, {len(examples)} texts of {settings['tokens']} tokens in `{prepared.tasks[0].name}`.",
        "",
        *result_table(found),
        *notes,
    ]
    write_report(options.output, f"fisher-{device.type}", {**environment, "settings": settings, "found": found}, lines)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fisher", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns; fewer than 5 are a trial")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: both")
    parser.add_argument("--scenario", default="text_seq")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--token-budget", type=int, default=0, help="tokens of one pass [the device's]")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def load(options: argparse.Namespace, device: torch.device) -> Prepared:
    """The scenario's tasks and the model as a run has them before training."""
    settings = {"scenario": options.scenario, "strategy": "ewc", "model": options.model, "device": str(device)}
    return prepare(make_plan(settings), Clock())


def time_turns(learner: Learner, examples: Sequence[Example], turns: int, budget: int) -> dict[str, list[float]]:
    """Seconds of the Fisher, of an ordinary pass and of the loop."""
    calls = {
        "fisher": lambda: fisher(learner, examples, "sampled", budget),
        "pass": lambda: ordinary_pass(learner, examples, budget),
        "loop": lambda: loop(learner, examples, "sampled"),
    }
    return interleave(calls, turns, learner.device)


def fisher(learner: Learner, examples: Sequence[Example], kind: FisherKind, budget: int) -> dict[str, Tensor]:
    """What is measured; the labels' random stream is the same in each call."""
    return diagonal_fisher(learner, examples, kind, generator(0, "fisher"), token_budget=budget)


def loop(learner: Learner, examples: Sequence[Example], kind: FisherKind) -> dict[str, Tensor]:
    """The same from one forward and backward pass a text."""
    return diagonal_fisher(learner, examples, kind, generator(0, "fisher"), loop=True, token_budget=ONE_TEXT)


def ordinary_pass(learner: Learner, examples: Sequence[Example], budget: int) -> None:
    """Forward and backward over all ``examples``, in the Fisher's batches."""
    learner.model.eval()
    for numbers in sorted_batches(examples, budget):
        batch = learner.collate([examples[number] for number in numbers])
        learner.example_losses(learner.logits(batch), batch).mean().backward()
        learner.model.zero_grad()


def difference(learner: Learner, examples: Sequence[Example], kind: FisherKind, budget: int) -> float:
    """How far the Fisher is from the loop's, relative to each tensor's largest element; the largest over tensors."""
    expected, found = loop(learner, examples, kind), fisher(learner, examples, kind, budget)
    largest = max(float(value.max()) for value in expected.values())
    # A tensor of rounding errors alone has no scale of its own.
    return max(
        float((found[name] - value).abs().max()) / max(float(value.max()), 1e-6 * largest)
        for name, value in expected.items()
    )


def summary(seconds: dict[str, list[float]], differences: dict[FisherKind, float]) -> dict[str, Any]:
    """Ratios and their spread for one precision."""
    return {
        "seconds": {name: described(values) for name, values in seconds.items()},
        "fisher_to_pass": described(ratios(seconds["fisher"], seconds["pass"])),
        "loop_to_pass": described(ratios(seconds["loop"], seconds["pass"])),
        "loop_to_fisher": described(ratios(seconds["loop"], seconds["fisher"])),
        "largest_difference": differences,
    }


def result_table(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a precision."""
    header = ["precision", "ordinary pass (s)", "Fisher (s)", "loop (s)", "Fisher / pass", "loop / pass",
              "loop / Fisher", "difference, sampled", "difference, true labels"]  # fmt: skip
    rows = []
    for precision, one in found.items():
        times = [spread(one["seconds"][name]["values"]).text() for name in ("pass", "fisher", "loop")]
        texts = [spread(one[name]["values"]).text() for name in ("fisher_to_pass", "loop_to_pass", "loop_to_fisher")]
        rows.append([precision, *times, *texts, *(f"{one['largest_difference'][kind]:.1e}" for kind in KINDS)])
    return table(header, rows)


if __name__ == "__main__":
    start_as_command_line("benchmarks.fisher")
    sys.exit(main())
