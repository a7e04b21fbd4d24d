"""Run folders and what they hold: format, accuracy matrix, metrics, environment. Knows nothing of torch."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.results.ability import ability_lost as ability_lost
    from clbench.results.answer_metrics import (
        expected_calibration_error as expected_calibration_error,
        recency_bias as recency_bias,
    )
    from clbench.results.belonging import check_belonging as check_belonging
    from clbench.results.curve import (
        CURVE_METRICS as CURVE_METRICS,
        Stage as Stage,
        curve_metrics as curve_metrics,
        read_curve as read_curve,
    )
    from clbench.results.environment import describe_environment as describe_environment
    from clbench.results.folder import RunFolder as RunFolder
    from clbench.results.hardware import costs_depend_on as costs_depend_on, hardware_of as hardware_of
    from clbench.results.matrix import read_matrix as read_matrix
    from clbench.results.metrics import (
        LOWER_IS_BETTER as LOWER_IS_BETTER,
        METRICS as METRICS,
        Matrix as Matrix,
        compute_metrics as compute_metrics,
        forgetting_matrix as forgetting_matrix,
        intransigence as intransigence,
    )
    from clbench.results.predictions import Answers as Answers, measure_of as measure_of, read_answers as read_answers
    from clbench.results.runs import Run as Run, find_run as find_run, find_runs as find_runs
    from clbench.results.schema import ACCURACY as ACCURACY, COSTS as COSTS
    from clbench.results.shared import shared_folder as shared_folder
    from clbench.results.tracking import read_tracking as read_tracking, write_tracking as write_tracking
    from clbench.results.tuned import (
        COMPLETE as COMPLETE,
        FAILED as FAILED,
        PRUNED as PRUNED,
        Tried as Tried,
        Tuned as Tuned,
        find_tuned as find_tuned,
        read_tuned as read_tuned,
        write_tuned as write_tuned,
    )
    from clbench.results.unwritten import UnwrittenFolder as UnwrittenFolder

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
