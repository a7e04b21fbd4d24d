"""The reliability proof: kills, random input and many writers, with what came of them in results/reliability.md.

``python -m benchmarks.reliability`` takes about half an hour on one core. With ``--kills 5 --deaths 5 --sweeps 1
--contents 1 --examples 100 --writers 2`` it takes about two minutes. Exit code 1 when
anything was lost, differed or raised.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks import fuzz, writers
from benchmarks.cases import cases
from benchmarks.contents import CHANGES, prove_contents
from benchmarks.kills import CHANGE, FRESH_MOMENTS, Moment, Proof, prove
from benchmarks.processes import start_forked, start_fresh
from benchmarks.reliability_page import (
    content_section,
    fuzz_section,
    heading,
    kill_section,
    sweep_section,
    writer_section,
)
from benchmarks.sweeps import prove_sweep
from clbench.files import write_atomic


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of fresh interpreters at watched moments")
    parser.add_argument("--deaths", type=int, help="SIGKILLs before a random change of a file [two a case]")
    parser.add_argument("--examples", type=int, default=10_000, help="random inputs of each target")
    parser.add_argument("--writers", type=int, default=8, help="processes that write into one folder at once")
    parser.add_argument("--sweeps", type=int, default=10, help="sweeps that are interrupted by six signals each")
    parser.add_argument("--contents", type=int, default=len(CHANGES), help="changes of contents between kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/reliability.md"))
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(given)
    with tempfile.TemporaryDirectory(prefix="clbench-reliability-") as folder:
        place = Path(folder)
        watched = list(prove_kills(place / "kills", options.kills, FRESH_MOMENTS, options.seed))
        deaths = 2 * len(cases()) if options.deaths is None else options.deaths
        sudden = list(prove_kills(place / "deaths", deaths, [CHANGE], options.seed))
        sweeps = [prove_sweep(place / f"sweep {n}", 6, options.seed + n) for n in range(options.sweeps)]
        chosen = islice(cycle(CHANGES), options.contents)
        contents = [
            prove_contents(place / f"contents {n}", change, options.seed + n) for n, change in enumerate(chosen)
        ]
        outcome = writers.write_together(place / "writers", range(options.writers), start_fresh)
    targets = {name: try_target(name, target, options.examples) for name, target in fuzz.TARGETS.items()}
    text = "\n".join(
        [
            *heading(given),
            *kill_section("Killed at a watched moment, each time a fresh interpreter", watched),
            *kill_section("Killed before a random change of a file or folder, forked from a warm process", sudden),
            *sweep_section(sweeps),
            *content_section(contents),
            *writer_section(outcome),
            *fuzz_section(targets),
        ]
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.output, text + "\n")
    print(text)
    found = [proof.differences for proofs in (watched, sudden, sweeps, contents) for proof in proofs]
    lost = any(outcome.codes) or any(outcome.differences.values()) or outcome.sight.torn
    return 1 if any(found) or lost or any(isinstance(result, str) for result in targets.values()) else 0


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


if __name__ == "__main__":
    sys.exit(main())
