"""advice.json for programs, advice.md for people, and the two figures of the final."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clbench.advice.constraints import KEEP_DATA, MAX_OVERHEAD, MAX_STORED, TASK_KNOWN
from clbench.advice.schedule import FINAL
from clbench.advice.scores import Score, ranked
from clbench.advice.verdict import Verdict
from clbench.errors import InputError
from clbench.files import read_file, write_atomic
from clbench.report import plot_curves, plot_tradeoff
from clbench.text import DASH, PLUS_MINUS, TIMES, escape_markdown, size_text

WITHOUT = {
    KEEP_DATA: "Without keeping data",
    TASK_KNOWN: "Without knowing the task",
    MAX_STORED: "By the limit on stored bytes",
    MAX_OVERHEAD: "By the limit on time",
}
LARGE_FORGETTING = 0.05


def write_pages(folder: Path, verdict: Verdict, say: Callable[[str], None]) -> None:
    """Write advice.json, advice.md, curves.png and tradeoff.png into ``folder``."""
    if (before := _recommended_before(folder)) not in (None, verdict.recommended.strategy):
        say(f"{folder / 'advice.json'} recommended {before}; this command's advice takes its place")
    write_atomic(folder / "advice.json", json.dumps(as_json(verdict), indent=1, allow_nan=False) + "\n")
    runs = [run for found in verdict.runs.values() for run in found]
    figures = []
    for name, draw in (("curves.png", plot_curves), ("tradeoff.png", plot_tradeoff)):
        try:
            draw(runs, folder / name)
            figures.append(name)
        except InputError as error:  # such as a single task, which has no forgetting
            say(f"no {name}: {error}")
    write_atomic(folder / "advice.md", page(verdict, figures))


def _recommended_before(folder: Path) -> object:
    """What an earlier advice.json in the folder recommends; None where there is none that can be read."""
    try:
        return json.loads(read_file(folder / "advice.json")).get("recommended")
    except (OSError, ValueError, AttributeError):
        return None


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The keys of advice.json."""
    constraints = verdict.constraints
    return {
        "recommended": verdict.recommended.strategy,
        "indistinguishable": list(verdict.indistinguishable),
        "excluded": dict(verdict.excluded),
        "candidates": [_candidate(each) for each in ranked(verdict.scores, verdict.metric)],
        "references": list(verdict.references),
        "constraints": {
            "keep_data": constraints.keep_data,
            "task_known": constraints.task_known,
            "max_stored": constraints.max_stored,
            "max_overhead": constraints.max_overhead,
            "metric": verdict.metric,
            "prices": {
                name: {"loss": price.loss, "strategy": price.strategy, "stage": price.stage}
                for name, price in verdict.prices.items()
            },
        },
        "forgetting": dict(verdict.forgetting),
        "budget_seconds": verdict.budget,
        "spent_seconds": verdict.spent,
        "alike": None if verdict.alike is None else list(verdict.alike),
        "untried": list(verdict.untried),
        "notes": list(verdict.notes),
        "model": verdict.model,
        "commands": list(verdict.commands),
    }


def _candidate(each: Score) -> dict[str, Any]:
    low, high = each.interval() or (None, None)
    costs = {"stored_bytes": each.stored_bytes, "overhead": each.overhead}
    return {
        "strategy": each.strategy, "mean": each.mean, "low": low, "high": high, "n": len(each.values), **costs,
        "stage": each.stage,
    }  # fmt: skip


def page(verdict: Verdict, figures: list[str]) -> str:
    """advice.md: what to take, how sure that is, what the constraints cost, what is still forgotten."""
    best, metric = verdict.recommended, verdict.metric.replace("_", " ")
    seeds = len(best.values)
    lines = [
        f"# Take `{best.strategy}`",
        "",
        f"Its {metric} on texts that nothing was chosen by is {spread(best)}, over {plural(seeds, 'seed')}.",
        "",
        *_untried(verdict),
        *_certainty(verdict),
        "",
        *(f"- {line}" for line in _consequences(verdict)),
        "",
        "## What was compared at the end",
        "",
        *_final_table(verdict),
        "",
        f"{PLUS_MINUS}: half the 95 % interval over seeds (Student); time: wall time against naive fine-tuning.",
        "`naive` does nothing against forgetting; `joint` and `cumulative` learn with all data at hand.",
        "",
        *(f"![{name.removesuffix('.png')}]({name})" for name in figures),
        "",
        "## What is still forgotten",
        "",
        *_forgetting_lines(verdict),
        "",
        "## What was left out",
        "",
        *(f"- `{name}`: {escape_markdown(reason)}" for name, reason in sorted(verdict.excluded.items())),
        *(f"- {escape_markdown(note)}" for note in verdict.notes),
        "",
        "## Again",
        "",
        "```bash",
        *verdict.commands,
        *([shlex.join(["clbench", "export", str(Path(verdict.model).parent), "-o", "model"])] if verdict.model else []),
        "```",
        "",
        f"The runs took {duration_text(verdict.spent)} of a budget of {duration_text(verdict.budget)}.",
    ]
    return "\n".join(lines) + "\n"


def _untried(verdict: Verdict) -> list[str]:
    """Who reads no further must know how little was compared."""
    if not verdict.untried:
        return []
    allowed = len(verdict.untried) + len([each for each in verdict.scores if each.strategy not in verdict.excluded])
    return [
        f"Of {allowed} allowed strategies {len(verdict.untried)} were not tried: {duration_text(verdict.budget)} were "
        "too short for them. With a larger `--budget` the advice may be another.",
        "",
    ]


def _certainty(verdict: Verdict) -> list[str]:
    seeds = len(verdict.recommended.values)
    final = [each.strategy for each in verdict.scores if each.stage == FINAL.stage]
    if not [name for name in final if name not in verdict.excluded and name != verdict.recommended.strategy]:
        return ["No other strategy that is allowed came to the end."]
    if not verdict.indistinguishable:
        return [f"Every other one below that is allowed was worse, by more than chance, with {plural(seeds, 'seed')}."]
    if verdict.alike is not None:
        others = "every other one below that is allowed was worse by more than chance"
        told = f"{_listed(verdict.alike)} cannot be told from it" if verdict.alike else others
        return [f"On the test texts of this seed {told}.", "What other seeds would say is not known: they had no time."]
    return [
        f"With {plural(seeds, 'seed')} these cannot be told from it: {_listed(verdict.indistinguishable)}.",
        "Choose among them by what they store and cost.",
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _consequences(verdict: Verdict) -> list[str]:
    """What the strategy gains over doing nothing, what it lacks to the ceiling, what each constraint costs."""
    best, finals = verdict.recommended, {each.strategy: each for each in verdict.scores if each.stage == FINAL.stage}
    lines = []
    for name in verdict.references:
        if name in finals and name != best.strategy:
            lines.append(f"`{name}`: {finals[name].mean:.3f}, the recommended one {best.mean - finals[name].mean:+.3f}")
    for name, price in verdict.prices.items():
        told = f"({price.stage}, dev, one seed: `{price.strategy}`)"
        lost = f"you lose {price.loss:.3f}" if price.loss > 0 else "you lose nothing that was seen"
        lines.append(f"{WITHOUT[name]} {lost} {told}")
    if best.stored_bytes is not None:
        lines.append(f"It keeps {size_text(best.stored_bytes)} beside the model.")
    if best.overhead is not None:
        lines.append(f"It takes {best.overhead:.2f} times the time of naive fine-tuning.")
    return lines


def _final_table(verdict: Verdict) -> list[str]:
    finals = ranked([each for each in verdict.scores if each.stage == FINAL.stage], verdict.metric)
    rows = [
        [
            f"`{each.strategy}`" + (" (reference)" if each.strategy in verdict.references else ""),
            spread(each),
            str(len(each.values)),
            DASH if each.stored_bytes is None else size_text(each.stored_bytes),
            DASH if each.overhead is None else f"{each.overhead:.2f}{TIMES}",
        ]
        for each in finals
    ]
    header = ["strategy", verdict.metric.replace("_", " "), "seeds", "stored", "time"]
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _forgetting_lines(verdict: Verdict) -> list[str]:
    lines = []
    for task, drop in verdict.forgetting.items():
        if drop is None:
            lines.append(f"- {escape_markdown(task)}: not measured")
        else:
            mark = ", which is much" if drop > LARGE_FORGETTING else ""
            told = (
                "keeps what it learned" if abs(drop) < 5e-4 else f"{'loses' if drop > 0 else 'gains'} {abs(drop):.3f}"
            )
            lines.append(f"- {escape_markdown(task)}: {told} from right after learning it to the end{mark}")
    return lines


def spread(each: Score) -> str:
    """The mean, with half of its interval where there is one."""
    bounds = each.interval()
    return f"{each.mean:.3f}" + (f" {PLUS_MINUS} {(bounds[1] - bounds[0]) / 2:.3f}" if bounds else "")


def plural(count: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``2 h 5 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
