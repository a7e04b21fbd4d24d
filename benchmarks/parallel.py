"""What ``run --jobs`` gains: the same runs at once and one after another, taking turns; the predictions are compared.

python benchmarks/parallel.py                # eight runs of naive on text_seq, on two cores; hours on a slow machine
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

    def __str__(self) -> str:
        place = " on two nodes of Ray's" * self.on_ray
        return f"{self.jobs} at once{place} × {self.threads} thread{'s' * (self.threads > 1)}"


ALONE = Way(1, 1)
WAYS = (Way(2, 1), ALONE, Way(1, 2))
ON_RAY = Way(2, 1, on_ray=True)


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
    """A row a way: seconds, and their ratio to one after another with one thread in the same turn."""
    alone = [each.seconds for each in measured[ALONE]]
    lines = ["| runs | wall, s | of one after another with 1 thread |", "|---|---|---|"]
    for way, found in measured.items():
        seconds = [each.seconds for each in found]
        lines.append(f"| {way} | {spread(seconds).text(1)} | {spread(ratios(seconds, alone)).text()} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="text_seq")
    parser.add_argument("--strategy", default="naive")
    parser.add_argument("--runs", type=int, default=8, help="seeds [8]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every way [3]")
    parser.add_argument("--limit", type=int, help="as of `run`")
    parser.add_argument("--ray", action="store_true", help="also on a cluster of two nodes")
    parser.add_argument("-o", "--output", type=Path, help="also write what was measured, as JSON")
    given = parser.parse_args(arguments)
    most = max(way.jobs * way.threads for way in WAYS)
    if hasattr(os, "sched_setaffinity"):  # all ways have the same cores, on larger machines too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:most])
    command = ["run", "--scenario", given.scenario, "--strategy", given.strategy, "--device", "cpu", "-q"]
    command += ["--seed", f"0-{given.runs - 1}"] + (["--limit", str(given.limit)] if given.limit else [])
    ways = (*WAYS, ON_RAY) if given.ray else WAYS
    measured: dict[Way, list[Measured]] = {way: [] for way in ways}
    for number in range(given.rounds):
        for way in ways:
            with tempfile.TemporaryDirectory() as folder:
                measured[way].append(measure(way, command, Path(folder)))
            print(f"round {number + 1}, {way}: {measured[way][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    same = {each.predictions for way in ways if way.threads == 1 for each in measured[way]}
    hardware = describe_hardware_of_cpu()
    print(f"{given.runs} runs of {given.strategy} on {given.scenario}, {most} cores, {hardware['processor']}\n")
    print(table(measured))
    print(f"\npredictions with 1 thread: {'the same bits' if len(same) == 1 else 'DIFFERENT'} at once and one by one")
    if given.output is not None:
        content = {str(way): [each.seconds for each in found] for way, found in measured.items()}
        given.output.write_text(json.dumps({"command": command, "hardware": hardware, "seconds": content}, indent=1))
    return int(len(same) != 1)


def describe_hardware_of_cpu() -> dict[str, str | int]:
    """The processor and system; threads differ between the ways."""
    import torch

    found = describe_hardware(torch.device("cpu"), "auto")
    return {key: found[key] for key in ("processor", "system")}


if __name__ == "__main__":
    sys.exit(main())
