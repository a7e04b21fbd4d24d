"""The page of the reliability proof: what was tried and what came of it, in Markdown."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence

import clbench
from benchmarks import fuzz, writers
from benchmarks.contents import ContentProof
from benchmarks.kills import Proof
from benchmarks.sweeps import SweepProof
from clbench.text import escape_markdown


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


def sweep_section(proofs: Sequence[SweepProof]) -> list[str]:
    landed, late = sum(proof.signals for proof in proofs), sum(proof.too_late for proof in proofs)
    wrong = [difference for proof in proofs for difference in proof.differences]
    return [
        "",
        "## Sweeps of which one run always fails, interrupted by SIGTERM and SIGINT",
        "",
        f"{len(proofs)} sweeps of 6 runs, two of them failing, stopped by {landed} signals ({late} came too late) and "
        f"started again: {sum(proof.runs for proof in proofs)} runs ended, {len(wrong)} differences from sweeps left "
        "alone.",
        *[f"- {difference}" for difference in wrong],
    ]


def content_section(proofs: Sequence[ContentProof]) -> list[str]:
    rows = [[proof.change, proof.order, ", ".join(proof.differences) or "equal"] for proof in proofs]
    return [
        "",
        "## Contents that change between a kill and the next start",
        "",
        "Each process is killed before a random change of a file; then the contents are those of the next one named. "
        "At the end each content's run must equal one of that content that was left alone.",
        "",
        *table(["what differs", "contents in order", "result"], rows),
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
