"""Every strategy on the stand-in for a GPU: whether it runs, equals the CPU, and what its host waits for in a step.

``python -m benchmarks.device_double`` writes device-double.json and .md into results/, in a few minutes. ``--before
FILE`` sets another commit's numbers beside these: the .json that the same command wrote there. Nothing is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import describe, heading, table, write_report
from benchmarks.timing import PAIRS
from clbench import plugins
from clbench.conformance import DeviceChecks, Trials, explain, undisturbed

# Beside every strategy with its defaults: what has waits or uploads of its own in other ways to use one.
MORE = ("der(beta=0.5)", "lora_per_task(adaptive_rank=True)", "rwalk(interval=2)", "replay+ewc")
OPTIONS: dict[str, Any] = {"tasks": 2, "epochs": 2}
NOTES = """
`toy` in every setting that a strategy supports, and `digits_seq`, `toy_token` and `toy_generation` where it takes
images, tags and written answers; two tasks of four steps in fp32. Equal: the weights after every step, the
predictions and the metrics are the CPU's to the last bit. Waits and uploads: of the host for the device in a step of
training, the mean over all settings and all steps but each task's first; an upload counts where the host waits for
it. Both tasks count, also where the first has no memory yet: `gem`'s 0.5 is one wait in each step of the second. 0
steps: the strategy trains without steps. The model is `tiny`, a BERT; Bart and T5 look for each text's end in code of
their own and wait three times a step for it, in any strategy.

The stand-in computes with the CPU's kernels on a pretended device. It shows mixed devices, waits and uploads. It does
not show the order of streams, whether a GPU's kernels are deterministic, how much memory a run needs or what happens
at its end, TF32, `--compile`, or a second GPU: of these nothing is claimed here. In fp16 and bf16 nothing is compared,
since a CPU's and a GPU's kernels round otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(given)
    rows = {}
    for expression in options.strategy or [*sorted(plugins.available("strategy")), *MORE]:
        rows[expression] = measure(expression)
        print(expression, rows[expression], file=sys.stderr, flush=True)
    before = json.loads(options.before.read_text()) if options.before else None
    environment = describe("benchmarks.device_double", given, torch.device("cpu"), 1)
    lines = [*heading("A stand-in for a GPU", environment, PAIRS), "", *page(rows, before)]
    data = {"environment": environment, "rows": rows, "before": before}
    write_report(options.output, "device-double", data, lines)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_double", description=__doc__)
    parser.add_argument("--strategy", action="append", help="one of those to measure; may be repeated")
    parser.add_argument("--before", type=Path, help="device-double.json of another commit")
    parser.add_argument("--output", type=Path, default=Path("results"))
    return parser.parse_args(arguments)


def measure(expression: str) -> dict[str, Any]:
    """What ``expression`` did: "ran" and "equal" are "yes" or the reason why not."""
    with undisturbed(), tempfile.TemporaryDirectory() as folder:
        trials = Trials(expression, Path(folder))
        checks = DeviceChecks(trials, **OPTIONS)
        if wrong := trials.load() or checks.runs():
            raise SystemExit(f"{expression} does not run on the CPU: {wrong}")
        places = [f"{scenario} {setting}" for scenario, setting in trials.grounds]
        try:
            checks.device()
        except Exception as error:  # whatever a strategy may do wrong there is what this measures
            return {"places": places, "ran": explain(error, trials.files), "equal": "–"}
        steps = checks.all_steps()
        return {
            "places": places,
            "ran": "yes",
            "equal": checks.equal() or "yes",
            "steps": len(steps),
            "waits": steps.waits(),
            "uploads": steps.uploads(),
        }


def page(rows: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    """The table and what it means; beside each count that of ``before``, where it is given."""
    past = before["rows"] if before else {}
    header = ["strategy", "ran on", "ran", "equal", "steps"]
    header += [f"{what}{when}" for what in ("waits", "uploads") for when in ((" before", "") if before else ("",))]
    body = []
    for name, row in rows.items():
        counts = [
            _count(each, what)
            for what in ("waits", "uploads")
            for each in ([past.get(name, {})] if before else []) + [row]
        ]
        body.append(
            [f"`{name}`", ", ".join(row["places"]), row["ran"], row["equal"], str(row.get("steps", "–")), *counts]
        )
    lines = table(header, body, text_columns=4)
    if before:
        commit = before["environment"]["commit"][:12] + " with changes" * before["environment"]["dirty"]
        lines += ["", f"Before: the same program and the same stand-in at commit {commit}."]
    return [*lines, *NOTES.splitlines()]


def _count(row: dict[str, Any], what: str) -> str:
    return f"{row[what]:.2f}" if what in row else "–"


if __name__ == "__main__":
    sys.exit(main())
