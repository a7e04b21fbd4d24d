"""What a speed benchmark writes: NAME-<device>.json with every measurement, NAME-<device>.md with the tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import PAIRS
from clbench.files import write_atomic
from clbench.models import describe_hardware
from clbench.results import describe_environment

OTHER_PACKAGES = ("avalanche-lib", "torchvision")


def describe(program: str, arguments: Sequence[str], device: torch.device, threads: int) -> dict[str, Any]:
    """The command, commit, versions and hardware of a benchmark; ``threads`` are those of a measurement."""
    found = describe_environment({}, "", describe_hardware(device, ""))
    versions = dict(found["versions"])
    for name in OTHER_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    hardware = {key: value for key, value in found["hardware"].items() if key != "precision"}
    return {
        "command": " ".join(["python -m", program, *arguments]),
        "commit": found["commit"],
        "dirty": found["dirty"],
        "versions": versions,
        "hardware": {**hardware, "threads": threads},
    }


def heading(title: str, environment: dict[str, Any], pairs: int) -> list[str]:
    """The first lines of a report: what made it, on what."""
    hardware, commit = environment["hardware"], (environment["commit"] or "unknown")[:12]
    device = "" if hardware["device"] == "cpu" else f"{hardware['device']}; "
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    lines = [
        f"# {title}",
        "",
        f"Made by `{environment['command']}`",
        f"at commit {commit}{' with changes' if environment['dirty'] else ''} on {device}{hardware['processor']}, "
        f"OMP_NUM_THREADS={hardware['threads']}, {hardware['system']}; {versions}.",
    ]
    if pairs < PAIRS:
        lines += ["", f"**A trial: {pairs} of at least {PAIRS} turns. No result.**"]
    return lines


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> list[str]:
    """The lines of a Markdown table; the first ``text_columns`` columns hold text, the others numbers."""
    rule = [":---" if column < text_columns else "---:" for column in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def write_report(output: Path, name: str, data: dict[str, Any], lines: Sequence[str]) -> None:
    """Write both files into ``output`` and print the tables."""
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / f"{name}.json", json.dumps(data, indent=2, allow_nan=False) + "\n")
    text = "\n".join(lines)
    write_atomic(output / f"{name}.md", text + "\n")
    print(text)


def mebibytes(count: float) -> str:
    """Bytes as MiB."""
    return f"{count / 2**20:.0f} MiB"
