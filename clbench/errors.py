"""The errors a person sees: one line each, naming the value, what is allowed and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from clbench.text import clean, shorten

LONGEST = 2000  # characters of a line that holds what somebody gave


class ClbenchError(Exception):
    """Base of every error whose message is written for the person at the terminal.

    ``exit_code`` is what the command line returns: 2 for wrong usage or bad input, 1 for a run that failed.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # Names in it may be anyone's: no line breaks, no control characters for the terminal.
        super().__init__(shorten(clean(" ".join(message.splitlines())), LONGEST))

    def __str__(self) -> str:
        return "; and ".join([super().__str__(), *getattr(self, "__notes__", [])])


def in_a_line(error: BaseException) -> str:
    """The class and the words of an error that is not one of ours, whose message may have several lines."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class InputError(ClbenchError):
    """Wrong usage or bad input: nothing was started and nothing was lost."""


class RunError(ClbenchError):
    """A run that started and failed; the tasks it had finished are kept."""

    exit_code = 1


class ProcessDied(RunError):
    """A run whose process ended without a word, which says nothing of the run's settings."""


def unknown(what: str, value: str, allowed: Iterable[str], meant: str | None = None) -> InputError:
    """An error line for a name that is not among ``allowed``, with what was ``meant``, or else the nearest match.

    >>> str(unknown("strategy", "ewcc", ["ewc", "naive"]))
    "unknown strategy 'ewcc'; did you mean 'ewc'? allowed: ewc, naive"
    """
    names = sorted(allowed)
    close = meant or nearest(value, names)
    hint = f" did you mean '{close}'?" if close else ""
    return InputError(f"unknown {what} {value!r};{hint} allowed: {', '.join(names) or 'none'}")


def nearest(value: str, names: Iterable[str]) -> str | None:
    """The name most like ``value``, whatever the case of its letters; None when none is like it."""
    spelled = {name.lower(): name for name in names}
    close = difflib.get_close_matches(value.lower(), spelled, n=1, cutoff=0.5)
    return spelled[close[0]] if close else None
