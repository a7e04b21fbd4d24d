"""Advice: which strategy to take for given data under given constraints, found by racing them."""

from typing import TYPE_CHECKING

from clbench.doors import open_door

if TYPE_CHECKING:
    from clbench.advice.advise import give_advice as give_advice
    from clbench.advice.constraints import (
        Constraints as Constraints,
        read_duration as read_duration,
        read_overhead as read_overhead,
        read_size as read_size,
        read_yes_no as read_yes_no,
    )
    from clbench.advice.runner import RUNS as RUNS, Runner as Runner, Size as Size

__all__, __getattr__, __dir__ = open_door(__name__, __file__)
