"""What can be told of a plug-in without importing it: read from its file with ``ast``.

Its docstring's first line is the summary, its one subclass the thing itself.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.errors import InputError, unknown
from clbench.files import read_file
from clbench.plugins.finding import KINDS, available, find, is_own_data, is_preset, refuse_missing_file
from clbench.plugins.foreign import is_foreign, module_of
from clbench.plugins.hashing import reached_files
from clbench.presets import available_presets, read_preset


@dataclass(frozen=True)
class Parameter:
    """A constructor keyword as the file spells it."""

    name: str
    annotation: str
    default: str


@dataclass(frozen=True)
class Description:
    """What can be told of a plug-in without importing it."""

    name: str
    path: Path
    doc: str
    class_doc: str
    parameters: tuple[Parameter, ...]
    attributes: dict[str, Any]

    @property
    def summary(self) -> str:
        """The docstring's first line."""
        return self.doc.strip().split("\n")[0]

    @property
    def search_spaces(self) -> dict[str, str]:
        """What ``tune`` tries for each argument, as the file spells it; of what stands there in another way nothing."""
        source = self.attributes.get("search_spaces")
        try:
            tree = ast.parse(source, mode="eval").body if isinstance(source, str) else None
        except (SyntaxError, ValueError):  # a text
            return {}
        pairs = zip(tree.keys, tree.values, strict=True) if isinstance(tree, ast.Dict) else ()
        return {str(key.value): ast.unparse(value) for key, value in pairs if isinstance(key, ast.Constant)}


def describe(kind: str, name: str) -> Description:
    """Read a plug-in's docstring, class attributes and constructor keywords without importing it."""
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        told: Description = module.describe(member)
        return told
    path = find(kind, name)
    tree = parse_file(path)
    node = plugin_class(tree, path)
    inherited = [_attributes(base) for base in _bases(node, path)]
    attributes = {key: value for told in [*reversed(inherited), _attributes(node)] for key, value in told.items()}
    class_doc = ast.get_docstring(node) or ""
    doc = ast.get_docstring(tree) or class_doc or "(no docstring)"
    return Description(path.stem, path, doc, class_doc, _constructor_parameters(node), attributes)


def kind_of(name: str, others: Collection[str] = ()) -> str:
    """Whether ``name`` (or the file at that path) is a "scenario", as data are, or a "strategy".

    Args:
        name: what is asked for.
        others: names of models, which the error line offers as well.
    """
    if is_preset("scenario", name):
        return "scenario"
    if name.endswith(".py") or ("/" in name and not is_own_data("scenario", name)):
        return "scenario" if defines(find("plug-in", name), "tasks") else "strategy"
    if is_foreign(name):
        return "strategy"
    names = {kind: available(kind) for kind in KINDS}
    for kind, known in names.items():
        if name in known:
            return kind
    if is_own_data("scenario", name):
        return "scenario"
    refuse_missing_file(name)
    what = "scenario, strategy or model" if others else "scenario or strategy"
    raise unknown(what, name, [*names["scenario"], *available_presets(), *names["strategy"], *others])


def scenario_kind(name: str) -> str:
    """The kind of task of a scenario, a preset or a person's data, as far as can be told without importing it.

    Raises:
        InputError: there is no such scenario.
    """
    if is_preset("scenario", name):
        return read_preset(find("scenario", name)).kind
    if is_own_data("scenario", name):
        return "text"
    return str(describe("scenario", name).attributes.get("kind", "text"))


def defines(path: Path, method: str) -> bool:
    """Whether the plug-in class in ``path`` has a method of that name."""
    return any(isinstance(n, ast.FunctionDef) and n.name == method for n in plugin_class(parse_file(path), path).body)


def _bases(node: ast.ClassDef, path: Path) -> list[ast.ClassDef]:
    """The classes in the plug-in's file, and in those that it reaches, that its class inherits from by name."""
    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
    trees = [parse_file(file) for file in reached_files(path)]
    found = {item.name: item for tree in trees for item in tree.body if isinstance(item, ast.ClassDef)}
    return [found[name] for name in names if name in found]


def _attributes(node: ast.ClassDef) -> dict[str, Any]:
    return {
        target.id: _literal_or_source(statement.value)
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }


def _constructor_parameters(node: ast.ClassDef) -> tuple[Parameter, ...]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            named = [*item.args.args[1:], *item.args.kwonlyargs]
            without: list[ast.expr | None] = [None] * (len(item.args.args) - 1 - len(item.args.defaults))
            defaults = [*without, *item.args.defaults, *item.args.kw_defaults]
            return tuple(
                Parameter(
                    argument.arg,
                    ast.unparse(argument.annotation) if argument.annotation else "",
                    ast.unparse(default) if default is not None else "",
                )
                for argument, default in zip(named, defaults, strict=True)
            )
    return ()


def _literal_or_source(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def plugin_class(tree: ast.Module, path: Path) -> ast.ClassDef:
    """The last public class with a base in the file: the one subclass a plug-in defines."""
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.bases and not n.name.startswith("_")]
    if not classes:
        raise InputError(f"{path} defines no subclass of Strategy or Scenario; a plug-in file defines exactly one")
    return classes[-1]


def parse_file(path: Path) -> ast.Module:
    """The syntax tree of a plug-in's file; InputError where it is not readable Python."""
    try:
        return ast.parse(read_file(path).decode("utf-8"), filename=str(path))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not readable Python: {error}") from None
