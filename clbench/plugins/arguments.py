"""Checks the keywords that a person gives to a plug-in against its constructor."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Container, Mapping, Sequence
from typing import Any

from clbench.errors import InputError, nearest, unknown

# What fp32, in which weights and penalties are computed, can hold: a larger number is infinity there.
LARGEST = 3.4e38


def check_arguments(
    label: str,
    parameters: Sequence[inspect.Parameter],
    hints: Mapping[str, Any],
    arguments: Mapping[str, Any],
    context: Container[str] = (),
) -> None:
    """Refuse arguments that a constructor does not take, of a wrong type, or missing where they are needed.

    Args:
        label: what error lines call the plug-in.
        parameters: of the constructor, without ``self``.
        hints: its types by name.
        arguments: the user's keywords.
        context: keywords that it is given beside them.

    Raises:
        InputError: one line that names the argument.
    """
    keywords = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    for key, value in arguments.items():
        if key not in keywords:
            raise unknown(f"argument of {label}:", key, keywords)
        if key in hints:
            _check_type(value, hints[key], f"{label}: {key}")
    needed = [p.name for p in parameters if p.name in keywords and p.default is p.empty]
    if missing := [key for key in needed if key not in arguments and key not in context]:
        raise InputError(f"{label} needs a value for {missing[0]!r}; its arguments: {', '.join(keywords)}")


def _check_type(value: Any, hint: Any, where: str) -> None:
    if isinstance(value, int | float) and LARGEST < abs(value) < float("inf"):
        raise InputError(f"{where} = {value!r} is not allowed (beyond fp32); allowed: numbers up to {LARGEST}")
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
        takes_tuple = isinstance(value, list) and typing.get_origin(hint) is tuple
        adapter.validate_python(tuple(value) if takes_tuple else value)
    except ValidationError as error:
        spelled = str(hint).replace("typing.", "") if typing.get_args(hint) else getattr(hint, "__name__", str(hint))
        reason = error.errors()[0]["msg"].lower()
        names = [name for name in typing.get_args(hint) if isinstance(name, str)]
        if hint is bool:
            spelled, names = "True or False", ["True", "False"]
        elif typing.get_origin(hint) is typing.Literal:
            spelled = ", ".join(map(repr, typing.get_args(hint)))
        close = nearest(value, names) if isinstance(value, str) else None
        told = f" did you mean {close!r}?" if close else ""
        raise InputError(f"{where} = {value!r} is not allowed ({reason});{told} allowed: {spelled}") from None
