"""A strategy's trials in Optuna's storage: what is tried next depends on the trials so far, never on interruptions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.doors import is_installed
from clbench.errors import InputError, RunError
from clbench.results import COMPLETE, FAILED, PRUNED, Tried
from clbench.rng import stream_seed
from clbench.strategy import Choices, Range, Space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage

# Drawn at random before the sampler has something to go by; and complete before any is pruned.
RANDOM_TRIALS = 5
DIGITS = 3  # of a value: more would be noise
SECONDS = "seconds"
SECONDS_FOR_A_WRITE = 60


class Pruned(Exception):
    """A trial is worse than most were at this point."""


Report = Callable[[int, float], None]
"""Takes a step and the score there; raises Pruned."""
Objective = Callable[[Mapping[str, Any], Report], float]
"""The score of values, the higher the better; RunError where they cannot be used."""


def open_storage(folder: Path) -> BaseStorage:
    """Optuna's storage in ``folder``, made where there is none; `optuna-dashboard` shows it.

    Raises:
        InputError: Optuna is not installed, or the file cannot be used.
    """
    if not is_installed("optuna"):
        raise InputError("tuning needs optuna; install it with: pip install 'clbench[tune]'")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "optuna.db"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Strategies whose trials go on at once wait for each other's writes.
        waiting = {"connect_args": {"timeout": SECONDS_FOR_A_WRITE}}
        return optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs=waiting)
    except OSError as error:
        raise InputError(f"{str(folder)!r} cannot be a folder: {error.strerror}") from error
    except Exception as error:  # whatever SQLAlchemy and its drivers raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be used: {reason}; take it away to begin anew") from error


def open_study(storage: BaseStorage, name: str) -> Study:
    """The study of that name, with the trials that it has."""
    import optuna

    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def run_trial(
    study: Study, spaces: Mapping[str, Space], first: Mapping[str, Any], seed: int, objective: Objective
) -> None:
    """One more trial, or the rest of one that was interrupted.

    Args:
        study: what was tried.
        spaces: of each value.
        first: values of the first trial; those that it lacks are drawn.
        seed: from which, with the number of the trial, its draws follow.
        objective: gives the score.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a step that is reported once more after an interruption
        if not study.get_trials(deepcopy=False) and first:
            study.enqueue_trial(dict(first))
        number = count_trials(study)
        study.sampler = optuna.samplers.TPESampler(
            seed=stream_seed(seed, "tuning", number) % 2**32, n_startup_trials=RANDOM_TRIALS
        )
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_min_trials=RANDOM_TRIALS)
        trial = _interrupted(study) or study.ask()
        values = {name: _suggest(trial, name, space) for name, space in spaces.items()}
        started = time.monotonic()

        def report(step: int, score: float) -> None:
            trial.report(score, step)
            if trial.should_prune():
                raise Pruned

        states = optuna.trial.TrialState
        score, state = None, states.COMPLETE
        try:
            score = objective(values, report)
        except Pruned:
            state = states.PRUNED
        except RunError:
            state = states.FAIL
        trial.set_user_attr(SECONDS, time.monotonic() - started)
        study.tell(trial, score, state=state)


def count_trials(study: Study) -> int:
    """How many trials have ended."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def spent_seconds(study: Study) -> float:
    """What its trials have taken."""
    return fsum(trial.user_attrs.get(SECONDS, 0.0) for trial in study.get_trials(deepcopy=False))


def trials_of(study: Study, spaces: Mapping[str, Space], count: int) -> list[Tried]:
    """The first ``count`` trials that have ended."""
    ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    names = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}
    return [
        Tried(
            {name: _rounded(trial.params[name], space) for name, space in spaces.items()},
            names[trial.state.name],
            trial.value,
        )
        for trial in ended[:count]
    ]


def _interrupted(study: Study) -> Trial | None:
    """The trial that a process which ended had begun."""
    import optuna

    running = [t for t in study.get_trials(deepcopy=False) if t.state == optuna.trial.TrialState.RUNNING]
    return optuna.Trial(study, running[0]._trial_id) if running else None


def _suggest(trial: Trial, name: str, space: Space) -> Any:
    if isinstance(space, Choices):
        return trial.suggest_categorical(name, space.values)
    if space.whole:
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    return _rounded(trial.suggest_float(name, space.low, space.high, log=space.log), space)


def _rounded(value: Any, space: Space) -> Any:
    """To DIGITS, within the space."""
    if not isinstance(space, Range) or space.whole:
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), float(space.low)), float(space.high))
