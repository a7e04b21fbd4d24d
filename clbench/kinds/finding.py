"""From a kind's name to the kind."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from clbench.errors import InputError, unknown

if TYPE_CHECKING:
    from clbench.kinds.base import Kind

# Module and class of each built-in kind; importing one takes torch.
BUILT_IN = {"text": "Text", "token": "Token", "generation": "Generation", "image": "Image"}


def available_kinds() -> tuple[str, ...]:
    """The names of the built-in kinds."""
    return tuple(BUILT_IN)


@cache
def _built_in(name: str) -> Kind:
    kind: Kind = getattr(importlib.import_module(f"clbench.kinds.{name}"), BUILT_IN[name])()
    return kind


def find_kind(kind: str | Kind, what: str = "kind") -> Kind:
    """The kind of that name, or the kind itself where one of a person's own is given.

    Raises:
        InputError: there is none; names ``what`` it is the kind of.
    """
    if not isinstance(kind, str):
        from clbench.kinds.base import Kind as Base  # who has an object has torch already

        if not isinstance(kind, Base):
            raise InputError(f"{what} = {kind!r} is not allowed; allowed: {', '.join(BUILT_IN)}, or a Kind of your own")
        return kind
    if kind not in BUILT_IN:
        raise unknown(what, kind, BUILT_IN)
    return _built_in(kind)


def kind_name(kind: str | Kind) -> str:
    """A kind's name."""
    return kind if isinstance(kind, str) else kind.name
