"""What ``run --jobs`` gains: the same runs at once and one after another, taking turns; the predictions are compared.

python benchmarks/parallel.py                # eight runs of naive on text_seq, on two cores; hours on a slow machine
python benchmarks/parallel.py --sharing --runs 3 --rounds 1   # eight strategies, with and without what runs share
python benchmarks/parallel.py --scenario toy --runs 2 --rounds 1 --limit 12
python benchmarks/parallel.py --ray          # also on a cluster of Ray's: two nodes of one core each, on this machine
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs from anywhere, as a file

from benchmarks.timing import ratios, spread
from clbench.models import describe_hardware

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Way:
    """So many runs at once, with so many threads each."""

    jobs: int
    threads: int
    on_ray: bool = False
    shares: bool = True

    def __str__(self) -> str:
        place, apart = " on two nodes of Ray's" * self.on_ray, ", nothing shared" * (not self.shares)
        return f"{self.jobs} at once{place} × {self.threads} thread{'s' * (self.threads > 1)}{apart}"


ALONE = Way(1, 1)
WAYS = (ALONE, Way(2, 1), Way(1, 2))
ON_RAY = Way(2, 1, on_ray=True)
APART = Way(1, 2, shares=False)
SHARING = (APART, Way(1, 2), Way(2, 1))
STRATEGIES = ("naive", "replay", "ewc", "distillation", "mas", "replay+ewc", "lora_per_task", "joint")


@dataclass(frozen=True)
class Measured:
    """Wall seconds of the command, and a hash of each run's predictions, by seed."""

    seconds: float
    predictions: tuple[str, ...]


def measure(way: Way, command: Sequence[str], folder: Path) -> Measured:
    """Run the command once into a new folder.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(way.threads), "PYTHONPATH": str(ROOT)}
    with two_nodes() if way.on_ray else nullcontext() as address:
        place = ["--jobs", str(way.jobs)] if address is None else ["--on", "ray", "--address", address]
        place += [] if way.shares else ["--no-sharing"]
        arguments = [sys.executable, "-m", "clbench", *command, *place, "--output-dir", str(folder)]
        start = time.perf_counter()
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{way}: exit code {done.returncode}: {done.stderr[-1000:]}")
    files = sorted(folder.rglob("predictions.parquet"))
    return Measured(seconds, tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files))


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a cluster of two nodes of one core each, which is there before the time counts."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def table(measured: dict[Way, list[Measured]]) -> str:
    """A row a way: seconds, and their ratio to the first way's in the same turn."""
    first = next(iter(measured))
    base = [each.seconds for each in measured[first]]
    lines = [f"| runs | wall, s | of {first} |", "|---|---|---|"]
    for way, found in measured.items():
        seconds = [each.seconds for each in found]
        lines.append(f"| {way} | {spread(seconds).text(1)} | {spread(ratios(seconds, base)).text()} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="text_seq")
    parser.add_argument("--strategy", action="append", help="[naive; with --sharing eight]")
    parser.add_argument("--runs", type=int, default=8, help="seeds [8]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every way [3]")
    parser.add_argument("--limit", type=int, help="as of `run`")
    parser.add_argument("--ray", action="store_true", help="also on a cluster of two nodes")
    parser.add_argument("--sharing", action="store_true", help="beside runs that share nothing, with all threads")
    parser.add_argument("-o", "--output", type=Path, help="also write what was measured, as JSON")
    given = parser.parse_args(arguments)
    ways = (*(SHARING if given.sharing else WAYS), *([ON_RAY] if given.ray else []))
    strategies = given.strategy or (STRATEGIES if given.sharing else ["naive"])
    most = max(way.jobs * way.threads for way in ways)
    if hasattr(os, "sched_setaffinity"):  # all ways have the same cores, on larger machines too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:most])
    command = ["run", "--scenario", given.scenario, "--device", "cpu", "-q"]
    command += [word for name in strategies for word in ("--strategy", name)]
    command += ["--seed", f"0-{given.runs - 1}"] + (["--limit", str(given.limit)] if given.limit else [])
    measured: dict[Way, list[Measured]] = {way: [] for way in ways}
    for number in range(given.rounds):
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                measured[way].append(measure(way, command, Path(folder)))
            print(f"round {number + 1}, {way}: {measured[way][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    same = same_predictions(measured)
    hardware = describe_hardware_of_cpu()
    print(f"{', '.join(strategies)} on {given.scenario}, seeds: {given.runs}, {most} cores, {hardware['processor']}\n")
    print(table(measured))
    print(f"\npredictions of all ways with as many threads: {'the same bits' if same else 'DIFFERENT'}")
    if given.output is not None:
        content = {str(way): [each.seconds for each in found] for way, found in measured.items()}
        given.output.write_text(json.dumps({"command": command, "hardware": hardware, "seconds": content}, indent=1))
    return int(not same)


def same_predictions(measured: dict[Way, list[Measured]]) -> bool:
    """Whether all ways with the same number of threads gave the same bits."""
    found: dict[int, set[tuple[str, ...]]] = {}
    for way, each in measured.items():
        found.setdefault(way.threads, set()).update(one.predictions for one in each)
    return all(len(predictions) == 1 for predictions in found.values())


def describe_hardware_of_cpu() -> dict[str, str | int]:
    """The processor and system; threads differ between the ways."""
    import torch

    found = describe_hardware(torch.device("cpu"), "auto")
    return {key: found[key] for key in ("processor", "system")}


if __name__ == "__main__":
    sys.exit(main())
