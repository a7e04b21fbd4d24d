"""The strategies of a finished run, made again from what its config.json says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clbench.errors import InputError
from clbench.plugins.building import build
from clbench.plugins.expression import parse_expression
from clbench.plugins.finding import find
from clbench.plugins.foreign import is_foreign, module_of
from clbench.plugins.hashing import source_hash
from clbench.strategy import Stack


def rebuild_strategy(expression: str, files: Mapping[str, str], hashes: Mapping[str, str]) -> Stack:
    """The stack that ``expression`` spells.

    Args:
        expression: as a run's config.json has it.
        files: where plug-ins lie that are not built in, as "strategy:NAME".
        hashes: of the plug-ins' code.

    Raises:
        InputError: a plug-in is gone, or its code is another's.
    """
    members = []
    for component in parse_expression(expression):
        key = f"strategy:{component.name}"
        name = files.get(key, component.name)
        found = module_of(name)[0].source_hash() if is_foreign(name) else source_hash(find("strategy", name))
        if hashes.get(key, found) != found:
            raise InputError(
                f"the code of strategy {component.name!r} changed since this model was kept, so that it may answer "
                "otherwise; restore the code, or train and keep the model again"
            )
        members.append((component.name, build("strategy", name, component.arguments, label=Path(name).stem)))
    return Stack(sorted(members, key=lambda member: member[0]))
