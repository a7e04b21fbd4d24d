"""The figure of what is left, after each task, of what the model could do before."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from clbench.errors import InputError
from clbench.report.plot_series import Series, collect, figure_names, figure_title, mean_and_spread, refuse_too_many
from clbench.report.plot_styles import series_styles
from clbench.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def ability_figure(runs: Sequence[Run]) -> Figure:
    """The ability before training and after each task, one line a strategy.

    Lines are means over seeds, bars ± one sample standard deviation. Runs without an ability are left out. InputError
    where none has one, or where they have different ones.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    measured = [run for run in runs if run.result.get("ability")]
    if not measured:
        raise InputError("no run has measured an ability; start one with: clbench run --ability ...")
    kinds = {(run.result["ability"]["name"], run.result["ability"]["unit"]) for run in measured}
    if len(kinds) > 1:
        names = ", ".join(sorted(name for name, _ in kinds))
        raise InputError(f"runs of {len(kinds)} abilities in one plot: {names}; give the folders of one")
    series = collect(measured)
    refuse_too_many(series)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for each, style in zip(series, series_styles([each.row.strategy for each in series]), strict=True):
        means, spreads = _values(each)
        places = [row for row, mean in enumerate(means) if not isnan(mean)]
        axis.errorbar(
            places,
            [means[row] for row in places],
            None if all(map(isnan, spreads)) else [spreads[row] for row in places],
            color=style.colour,
            linestyle=style.dashes,
            marker=style.marker,
            markersize=4,
            linewidth=1.3,
            label=each.name,
        )
    ((name, unit),) = kinds
    better = "higher" if measured[0].result["ability"]["higher_is_better"] else "lower"
    axis.set_xlabel("tasks learned", fontsize=9)
    axis.set_ylabel(figure_names([f"{name} ({unit}; {better} is better)"], 90)[0], fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=7.5, frameon=False)
    figure.suptitle(figure_title(series), fontsize=9)
    return figure


def _values(series: Series) -> tuple[list[float], list[float]]:
    """Mean and deviation over seeds in each row, nan where a run lacks the value."""
    rows = zip(*(run.result["ability"]["values"] for run in series.row.runs), strict=True)
    pairs = [mean_and_spread(list(values)) for values in rows]
    return [mean for mean, _ in pairs], [spread for _, spread in pairs]
