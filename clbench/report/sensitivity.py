"""The figure of a tuning: score on dev against each value that was tried, all trials as points, a row a strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clbench.errors import InputError
from clbench.report.plot_series import GREY, LONGEST_NAME, figure_names
from clbench.report.plot_styles import style_of
from clbench.results import COMPLETE, PRUNED, Tried, Tuned
from clbench.text import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
DECADE, MARGIN = 10, 1.3  # what a logarithmic axis must span to have two ticks, and what it has beyond its ends


def sensitivity_figure(entries: Mapping[str, Tuned]) -> Figure:
    """A row of panels a strategy, a panel a value; full points are whole trials, empty ones were pruned on the way.

    A pruned trial stands at its score when it was left, which is on fewer tasks. The best trial has a ring. What has a
    logarithmic space has a logarithmic axis. InputError for more than MOST_ROWS strategies.
    """
    from matplotlib.figure import Figure

    if len(entries) > MOST_ROWS:
        raise InputError(f"{len(entries)} strategies in one plot; allowed: {MOST_ROWS}")
    across = max(len(entry.spaces) for entry in entries.values())
    figure = Figure(figsize=(2.5 * across + 0.8, 2.1 * len(entries) + 0.9), layout="constrained")
    axes = figure.subplots(len(entries), across, squeeze=False, sharey=True)
    names = figure_names(list(entries), LONGEST_NAME)
    for row, name, (strategy, entry) in zip(axes, names, entries.items(), strict=True):
        for axis in row[len(entry.spaces) :]:
            axis.set_axis_off()
        for axis, value in zip(row, entry.spaces, strict=False):
            _draw_panel(axis, entry, value, style_of(strategy).colour)
        row[0].set_ylabel(name, fontsize=8)
    figure.suptitle(_title(list(entries.values())), fontsize=9)
    figure.supylabel("average accuracy on dev", fontsize=9)
    return figure


def _title(entries: Sequence[Tuned]) -> str:
    first = entries[0]
    place = ", ".join([*first.place.values(), f"first {len(first.tasks)} of {first.of_tasks} tasks"])
    seeds = f"{len(first.seeds)} seed{'s' if len(first.seeds) > 1 else ''} a trial"
    return clean(f"{place}, {seeds}").replace("$", r"\$") + "\nempty: pruned, scored on fewer tasks; ring: the best"


def _draw_panel(axis: Axes, entry: Tuned, value: str, colour: str) -> None:
    from matplotlib.ticker import NullFormatter

    space = entry.spaces[value]
    shown = [trial for trial in entry.tried if trial.score is not None and value in trial.values]
    places = _places(shown, value, space)
    for state, filled in ((COMPLETE, True), (PRUNED, False)):
        own = [(place, trial.score or 0.0) for place, trial in zip(places, shown, strict=True) if trial.state == state]
        axis.scatter(
            [place for place, _ in own], [score for _, score in own], s=22, linewidths=1.0,
            edgecolors=colour, facecolors=colour if filled else "none", zorder=2,
        )  # fmt: skip
    best = [place for place, trial in zip(places, shown, strict=True) if dict(trial.values) == dict(entry.values)]
    axis.scatter(best[:1], [entry.dev_score] * len(best[:1]), s=90, facecolors="none", edgecolors=GREY, zorder=3)
    if "choices" in space:
        choices = figure_names([str(choice) for choice in space["choices"]], LONGEST_NAME)
        axis.set_xticks(range(len(choices)), choices)
        axis.set_xlim(-0.5, len(choices) - 0.5)
    elif space.get("log") and space["high"] >= DECADE * space["low"]:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(space["low"] / MARGIN, space["high"] * MARGIN)
    axis.set_xlabel(clean(value).replace("$", r"\$"), fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _places(trials: Sequence[Tried], value: str, space: Mapping[str, Any]) -> list[float]:
    """Where the trials stand on the axis of a value: its number, or that of the choice."""
    found = [trial.values[value] for trial in trials]
    if "choices" in space:
        return [float(space["choices"].index(each)) for each in found]
    return [float(each) for each in found]
