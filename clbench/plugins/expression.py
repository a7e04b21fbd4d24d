"""Strategy expressions: ``replay(memory_size=0.05)+ewc`` → components. Values are literals and never evaluated."""

from __future__ import annotations

import ast
import json
import keyword
import re
from dataclasses import dataclass, field
from typing import Any

from clbench.errors import InputError

MAX_LENGTH = 2000
# A word of Python's, such as lambda, as a name: no argument is called so, but the line should name one that is.
KEYWORD = re.compile(rf"\b(?:{'|'.join(keyword.kwlist)})(?=\s*=(?!=))")
ESCAPE = "_of_python_"


@dataclass(frozen=True)
class Component:
    """One strategy of an expression: its name (or the path of a .py file) and its keyword arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.arguments:
            return self.name
        return f"{self.name}({', '.join(f'{key}={self.arguments[key]!r}' for key in sorted(self.arguments))})"


def parse_expression(text: str) -> tuple[Component, ...]:
    """Read a strategy expression.

    Args:
        text: ``name``, ``name(key=value, ...)`` or several joined by ``+``; a value is a Python literal
            (``ast.literal_eval``), a name may be the path of a .py file or that of another library's strategy, such as
            ``avalanche.EWC``.

    Raises:
        InputError: one line that names the part that cannot be read.
    """
    if len(text) > MAX_LENGTH:
        raise InputError(f"strategy expression of {len(text)} characters; allowed: at most {MAX_LENGTH}")
    if "\x00" in text or not text.isprintable():
        raise InputError(f"strategy expression {text!r} holds control characters; allowed: printable text")
    return tuple(_parse_component(part, text) for part in _split_at_plus(text))


def canonical(components: tuple[Component, ...]) -> str:
    """The expression in one fixed spelling: arguments sorted by name, values as Python writes them."""
    return "+".join(map(str, components))


def _split_at_plus(text: str) -> list[str]:
    """Split at every ``+`` that stands outside brackets and quotes."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"" and depth:
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "+" and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def _parse_component(part: str, whole: str) -> Component:
    part = part.strip()
    name, bracket, rest = part.partition("(")
    name = name.strip()
    if not name:
        raise InputError(f"empty strategy name in {whole!r}; write NAME, NAME(key=value) or NAME+NAME")
    if not bracket:
        return Component(name)
    if not rest.endswith(")"):
        raise InputError(f"cannot read {part!r}: the bracket is not closed; write NAME(key=value, ...)")
    return Component(name, _parse_arguments(rest[:-1], part))


def _parse_arguments(text: str, part: str) -> dict[str, Any]:
    call = _parsed(text) or _parsed(KEYWORD.sub(rf"{ESCAPE}\g<0>", text))
    if call is None:
        raise InputError(f"cannot read the arguments of {part!r}; write NAME(key=value, ...)")
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "_":
        raise InputError(f"cannot read {part!r}; write NAME(key=value, ...)")
    if call.args:
        raise InputError(f"{part!r} has the value {_spelling(call.args[0])!r} without a name; write key=value")
    arguments: dict[str, Any] = {}
    for argument in call.keywords:
        name = (argument.arg or "").removeprefix(ESCAPE)
        if not name or name in arguments:
            raise InputError(f"{part!r} gives {name or '**'!r} twice or without a name; write key=value once each")
        arguments[name] = literal(_spelling(argument.value), f"{name} in {part!r}")
    return arguments


def _parsed(text: str) -> ast.expr | None:
    """``text`` as the arguments of a call; None where it is none."""
    try:
        return ast.parse(f"_({text}\n)", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _spelling(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "nested too deeply"


def literal(text: str, where: str) -> Any:
    """The Python literal that ``text`` spells and JSON can hold; ``where`` names it in the error line."""
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False, sort_keys=True)  # neither 1e999 nor sets: config.json could not keep them
        return value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(
            f"{where}: {text[:60]!r} is not a literal; allowed: a number, True, False, None, a quoted string, a list"
        ) from None
