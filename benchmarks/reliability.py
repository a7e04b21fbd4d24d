"""The reliability proof: kills, random input and many writers, with what came of them in results/reliability.md.

``python -m benchmarks.reliability`` takes about twenty minutes on one core. With ``--kills 5 --deaths 5
--examples 100 --writers 2`` it takes about two. Exit code 1 when anything was lost, differed or raised.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import clbench
from benchmarks import fuzz, writers
from benchmarks.cases import cases
from benchmarks.kills import CHANGE, FRESH_MOMENTS, Moment, Proof, prove
from benchmarks.processes import start_forked, start_fresh
from clbench.files import write_atomic
from clbench.text import escape_markdown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of fresh interpreters at watched moments")
    parser.add_argument("--deaths", type=int, help="SIGKILLs before a random change of a file [two a case]")
    parser.add_argument("--examples", type=int, default=10_000, help="random inputs of each target")
    parser.add_argument("--writers", type=int, default=8, help="processes that write into one folder at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/reliability.md"))
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="clbench-reliability-") as folder:
        place = Path(folder)
        watched = list(prove_kills(place / "kills", options.kills, FRESH_MOMENTS, options.seed))
        deaths = 2 * len(cases()) if options.deaths is None else options.deaths
        sudden = list(prove_kills(place / "deaths", deaths, [CHANGE], options.seed))
        outcome = writers.write_together(place / "writers", range(options.writers), start_fresh)
    targets = {name: try_target(name, target, options.examples) for name, target in fuzz.TARGETS.items()}
    text = "\n".join(
        [
            *heading(given),
            *kill_section("Killed at a watched moment, each time a fresh interpreter", watched),
            *kill_section("Killed before a random change of a file or folder, forked from a warm process", sudden),
            *writer_section(outcome),
            *fuzz_section(targets),
        ]
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.output, text + "\n")
    print(text)
    broken = [proof for proof in [*watched, *sudden] if proof.differences]
    lost = any(outcome.codes) or any(outcome.differences.values()) or outcome.sight.torn
    return 1 if broken or lost or any(isinstance(result, str) for result in targets.values()) else 0


def prove_kills(output: Path, kills: int, moments: Sequence[Moment], seed: int) -> Iterator[Proof]:
    """Proofs for case after case until ``kills`` kills have landed; the moments go round."""
    share, landed = max(2, -(-kills // len(cases()))), 0
    start = start_forked if moments[0] is CHANGE else start_fresh
    # Mixed, so that a few kills do not all fall on the first strategies of the alphabet.
    mixed = random.Random(seed).sample(cases(), len(cases()))
    for number, case in enumerate(cycle(mixed)):
        if landed >= kills:
            return
        chosen = list(islice(cycle(moments), number * share, (number + 1) * share))
        chosen.sort(key=moments.index)  # in the order of a run's life, so that an early kill comes first
        proof = prove(case, output / str(number), chosen[: kills - landed], seed + number, start)
        landed += sum(not kill.too_late for kill in proof.kills)
        print(f"{landed} of {kills} kills: {case}: {proof.differences or 'equal'}", file=sys.stderr, flush=True)
        yield proof


def try_target(name: str, target: fuzz.Target, count: int) -> fuzz.Outcome | str:
    """What a target did with ``count`` examples, or the exception that it let through."""
    print(f"{name}: {count} examples", file=sys.stderr, flush=True)
    try:
        return fuzz.run_target(target, count)
    except Exception as error:
        traceback.print_exc()
        return type(error).__name__


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *[[escape_markdown(cell) for cell in row] for row in rows]]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def heading(given: Sequence[str]) -> list[str]:
    command = " ".join(["python -m benchmarks.reliability", *given])
    return [
        "# Reliability",
        "",
        f"Made by `{command}`",
        f"with clbench {clbench.__version__}, Python {platform.python_version()}, {platform.system()}.",
        "",
        "Every run is compared with one that was left alone: all of result.json but measured times and memory, every",
        "column of predictions.parquet bit for bit, and the names of the files in the run's folder.",
    ]


def kill_section(title: str, proofs: Sequence[Proof]) -> list[str]:
    kills = [kill for proof in proofs for kill in proof.kills if not kill.too_late]
    equal = sum(not proof.differences for proof in proofs)
    where = Counter(kill.landed for kill in kills)
    resumed = sum(kill.resumed for kill in kills)
    rows = [
        [proof.case.scenario, proof.case.strategy, str(sum(not kill.too_late for kill in proof.kills)),
         ", ".join(proof.differences) or "equal"]
        for proof in proofs
    ]  # fmt: skip
    return [
        "",
        f"## {title}",
        "",
        f"{len(kills)} kills of {len(proofs)} runs, {resumed} of them of a process that had itself resumed.",
        f"Started again each time with the same command, {equal} of {len(proofs)} ended equal.",
        "",
        *table(["where the kill found the run", "kills"], [[name, str(n)] for name, n in where.most_common()]),
        "",
        *table(["scenario", "strategy", "kills", "result"], rows),
    ]


def writer_section(outcome: writers.Outcome) -> list[str]:
    count = len(outcome.codes)
    lost = sum(code != 0 for code in outcome.codes) + count - outcome.sight.complete
    different = sum(bool(found) for found in outcome.differences.values())
    return [
        "",
        "## Many writers in one results folder",
        "",
        f"{count} processes at once: {lost} runs lost, {different} different from the same run made alone. A reader "
        f"looked {outcome.sight.looks} times meanwhile and saw {len(outcome.sight.torn)} torn files.",
    ]


def fuzz_section(targets: dict[str, fuzz.Outcome | str]) -> list[str]:
    rows = [
        [name, "–", "–", "–", f"1: {result}"]
        if isinstance(result, str)
        else [name, str(result.examples), str(result.taken), str(result.examples - result.taken), "0"]
        for name, result in targets.items()
    ]
    return [
        "",
        "## Random and damaged input",
        "",
        "Refused means: in one printable line that names the value. Anything else that is raised is a traceback.",
        "",
        *table(["target", "examples", "taken", "refused", "tracebacks"], rows),
    ]


if __name__ == "__main__":
    sys.exit(main())
