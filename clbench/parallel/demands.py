"""What a run asks of a cluster: cores, a share of a GPU, and what else its nodes are said to have."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from clbench.errors import InputError


@dataclass(frozen=True)
class Demand:
    """What a run has for itself while it goes on, in Ray's units.

    Attributes:
        cpus: cores; the run has as many threads, one at least.
        gpus: GPUs, or a part of one.
        memory: bytes of the host's memory; 0 asks for none in particular.
        others: resources of other names that a cluster's nodes have.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """How many a run has."""
        return max(1, int(self.cpus))

    def wanted(self) -> dict[str, float]:
        """All of it under Ray's names, without what is 0."""
        every = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory, **self.others}
        return {name: value for name, value in every.items() if value}


def read_demand(resources: Sequence[str], device: str, jobs_per_gpu: int | None) -> Demand:
    """What ``--resources K=V`` and ``--jobs-per-gpu N`` say, and where they say nothing what ``device`` needs.

    Without ``CPU`` a run has as many cores as OMP_NUM_THREADS, or one; on "cuda" a GPU, or 1/N of one.

    Raises:
        InputError: it cannot be read, is no number of 0 or more, or is said twice.
    """
    given: dict[str, float] = {}
    for text in resources:
        name, equals, value = text.partition("=")
        number = _number(value)
        if not (equals and name and number is not None):
            raise InputError(f"--resources {text!r} cannot be read; write K=V, such as CPU=4, GPU=0.5 or big_memory=1")
        if name in given:
            raise InputError(f"--resources {name} is given twice; allowed: once")
        given[name] = number
    if jobs_per_gpu is not None:
        if jobs_per_gpu < 1:
            raise InputError(f"--jobs-per-gpu {jobs_per_gpu} is not allowed; allowed: 1 or more")
        if "GPU" in given:
            raise InputError("--jobs-per-gpu cannot be given with --resources GPU; leave one of them away")
    needs_gpu = device.startswith("cuda") or jobs_per_gpu is not None
    gpus = given.pop("GPU", 1 / (jobs_per_gpu or 1) if needs_gpu else 0.0)
    if gpus > 1 and gpus != int(gpus):
        raise InputError(f"--resources GPU={gpus:g} is not allowed; allowed: 0 to 1, or a whole number")
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = float(asked) if asked.isdecimal() and int(asked) else 1.0
    return Demand(given.pop("CPU", threads), gpus, given.pop("memory", 0.0), given)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def describe_cluster(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> str:
    """How many runs of ``demand`` go on at once on ``nodes``, and with what, in a line.

    Raises:
        InputError: no node has enough for one.
    """
    room = check_demand(demand, nodes)
    wanted = ", ".join(f"{name}={value:g}" for name, value in demand.wanted().items())
    threads = f"{demand.threads} thread{'s' * (demand.threads > 1)} a run"
    return f"up to {room} at once on {len(nodes)} node{'s' * (len(nodes) > 1)} of Ray's: {wanted} each, {threads}"


def check_demand(demand: Demand, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many runs of ``demand`` the cluster has room for at once.

    Args:
        demand: of one run.
        nodes: what each node has, by name.

    Raises:
        InputError: no node has enough for one.
    """
    wanted = demand.wanted()
    room = 0
    for node in nodes:
        places = [node.get(name, 0.0) / value for name, value in wanted.items()]
        room += int(min(places)) if places else 1
    if not room:
        asked = ", ".join(f"{name}={value:g}" for name, value in wanted.items())
        most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in wanted}
        there = ", ".join(f"{name}={value:g}" for name, value in most.items())
        raise InputError(f"no node of the cluster has {asked} for a run; the most that one has: {there}")
    return room
