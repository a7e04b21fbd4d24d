"""Names of models with arguments, such as ``mlp(400,2)``: what each takes, and its one spelling. Imports no torch."""

from __future__ import annotations

import ast
import re

from clbench.errors import InputError, unknown

# Arguments that came later than runs that are kept: at their defaults they stand in no name.
LATER = ("standardise",)
# Of each model that takes any: its arguments in order, each with its default and the smallest and largest value.
ARGUMENTS: dict[str, dict[str, tuple[int, int, int]]] = {
    "mlp": {"width": (400, 1, 100_000), "depth": (2, 1, 1000), "standardise": (0, 0, 1)},
    "efficientnet_lite0": {"size": (64, 8, 1024)},
    "smallconv": {},
    "vit": {"width": (64, 4, 4096), "depth": (2, 1, 100)},
    "tiny": {},
    "minilm": {},
    "smollm2": {},
}


def split_model_name(text: str) -> tuple[str, dict[str, int]]:
    """The model's own name and its arguments, defaults included; ``text`` itself where it is no such model's.

    >>> split_model_name("mlp(400, depth=3)")
    ('mlp', {'width': 400, 'depth': 3, 'standardise': 0})

    Args:
        text: ``NAME`` or ``NAME(VALUE, ARGUMENT=VALUE, ...)``, each value a whole number.

    Raises:
        InputError: one line that names what cannot be read, or is not allowed.
    """
    name, bracket, _ = text.partition("(")
    name = name.strip()
    if name not in ARGUMENTS:
        return text, {}
    known = ARGUMENTS[name]
    given = _given(text, name) if bracket else {}
    for argument, value in given.items():
        if argument not in known:
            raise unknown(f"argument of model {name!r}:", argument, known)
        _, least, most = known[argument]
        if type(value) is not int or not least <= value <= most:
            raise InputError(
                f"model {text!r}: {argument} = {str(value)[:40]}; allowed: a whole number from {least} to {most}"
            )
    return name, {argument: given.get(argument, default) for argument, (default, _, _) in known.items()}  # type: ignore[misc]


def canonical_model(text: str) -> str:
    """``text`` in one spelling, so that a model has one name: ``mlp(400, depth=2)`` is ``mlp(400,2)``.

    The arguments of a model that is usual without them are left out at their defaults, and so are later ones.
    """
    name, values = split_model_name(text)
    defaults = {argument: default for argument, (default, _, _) in ARGUMENTS.get(name, {}).items()}
    if not values or (values == defaults and name != "mlp"):
        return name
    shown = [str(value) for argument, value in values.items() if argument not in LATER or value != defaults[argument]]
    return f"{name}({','.join(shown)})"


def _given(text: str, name: str) -> dict[str, object]:
    """The arguments in the brackets of ``text``, by name."""
    names = list(ARGUMENTS[name])
    if not names:
        raise InputError(f"model {text!r}: {name} takes no arguments; write {name}")
    form = f"write {name}({', '.join(names)}), such as {name}({','.join(str(ARGUMENTS[name][n][0]) for n in names)})"
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not re.fullmatch(r"\w+", ast.unparse(call.func)):
            raise ValueError("no name with brackets")
        values = [ast.literal_eval(value) for value in call.args]
        by_name = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise InputError(f"model {text[:80]!r} cannot be read; {form}") from None
    given = dict(zip(names, values, strict=False))
    if len(values) > len(names) or set(given) & set(by_name) or len(by_name) < len(call.keywords):
        raise InputError(f"model {text[:80]!r} gives a value too many; {form}")
    return {**given, **by_name}
