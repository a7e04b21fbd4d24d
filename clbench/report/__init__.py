"""What people read: comparison of runs, tables, plots."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.report.comparison import Comparison as Comparison, compare as compare
    from clbench.report.differences import EXAMPLE_METRIC as EXAMPLE_METRIC
    from clbench.report.figures import figures_table as figures_table
    from clbench.report.frames import Runs as Runs, load_runs as load_runs
    from clbench.report.mistakes import find_errors as find_errors, with_texts as with_texts
    from clbench.report.mistakes_text import render_errors as render_errors
    from clbench.report.page.choices import (
        compare_for_page as compare_for_page,
        shown_runs as shown_runs,
        with_the_same_data as with_the_same_data,
    )
    from clbench.report.page.document import check_page_path as check_page_path, write_page as write_page
    from clbench.report.plots import (
        plot_ability as plot_ability,
        plot_confusion as plot_confusion,
        plot_curves as plot_curves,
        plot_matrix as plot_matrix,
        plot_sensitivity as plot_sensitivity,
        plot_stability as plot_stability,
        plot_tradeoff as plot_tradeoff,
    )
    from clbench.report.rendering import FORMATS as FORMATS, render as render
    from clbench.report.statistics import student_interval as student_interval
    from clbench.report.tables import (
        metrics_table as metrics_table,
        result_line as result_line,
        result_summary as result_summary,
    )

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
