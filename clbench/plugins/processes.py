"""What a run that several processes train cannot have."""

from __future__ import annotations

from collections.abc import Sequence

from clbench.config import RunConfig
from clbench.errors import InputError
from clbench.models import ranks
from clbench.strategy import Strategy


def check_processes(members: Sequence[tuple[str, Strategy]], config: RunConfig) -> None:
    """Refuse, where a launcher started several processes, what would not be the run of one.

    Raises:
        InputError: names it and the reason.
    """
    if ranks.count() == 1:
        return
    check_parts(members)
    if config.auto_batch:
        raise InputError(
            "--auto-batch would halve a step that others have taken; give accumulation in --config instead"
        )
    if config.batch_norm == "updated":
        raise InputError("batch_norm = 'updated': each process would have statistics of its own part; allowed: frozen")
    if ":" in config.device and not config.device.endswith(f":{ranks.on_this_machine()}"):
        raise InputError(f"device {config.device!r} is one for all processes; allowed: auto, cpu, cuda (one GPU each)")


def check_parts(members: Sequence[tuple[str, Strategy]]) -> None:
    """Refuse, where several processes train, strategies that do not learn a batch in parts.

    Raises:
        InputError: names the strategy.
    """
    for name, member in members:
        if ranks.count() > 1 and not member.accumulates:
            raise InputError(
                f"strategy {name!r} cannot learn a batch in parts, one for each of {ranks.count()} processes; "
                "start it without a launcher"
            )
