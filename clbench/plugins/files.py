"""Finds scenarios and strategies: built-in files, entry points, and a user's own .py file by path.

A file is a plug-in: its stem is the name, its docstring's first line the summary, its one subclass the thing itself.
What ``list`` and ``describe`` show is read with ``ast``; nothing is imported before it runs. A dotted name whose first
part is another library is that library's strategy (``clbench.integrations``).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from clbench.errors import ClbenchError, InputError, unknown
from clbench.plugins.arguments import check_arguments
from clbench.plugins.foreign import foreign_summaries, is_foreign, module_of
from clbench.plugins.hashing import reached_files, source_hash

KINDS = {"scenario": "clbench.scenarios", "strategy": "clbench.strategies"}


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


def available(kind: str) -> dict[str, Path]:
    """Names and files of every installed plug-in of ``kind`` ("scenario" or "strategy")."""
    package = importlib.import_module(KINDS[kind])
    found: dict[str, Path] = {}
    for folder in package.__path__:
        for path in sorted(Path(folder).glob("*.py")):
            if not path.stem.startswith("_"):
                found.setdefault(path.stem, path)
    for point in entry_points(group=KINDS[kind]):
        spec = importlib.util.find_spec(point.module)
        if spec is not None and spec.origin is not None:
            found.setdefault(point.name, Path(spec.origin))
    return found


def find(kind: str, name: str) -> Path:
    """The file of a plug-in given by name or by path.

    Raises:
        InputError: unknown name (with the nearest match), or a path that is not a .py file.
    """
    if name.endswith(".py") or "/" in name or "\\" in name:
        path = Path(name).expanduser()
        if path.suffix != ".py":
            raise InputError(f"{kind} file {name!r} is not a .py file; allowed: a name or the path of a .py file")
        if not os.path.isfile(path):  # not path.is_file(), which raises for a name too long
            raise InputError(f"{kind} file {name!r} does not exist; allowed: a name or the path of a .py file")
        return path.resolve()
    if kind == "strategy" and is_foreign(name):
        return Path(inspect.getfile(module_of(name)[0].build))
    names = available(kind)
    if name not in names:
        raise unknown(kind, name, [*names, *(foreign_summaries() if kind == "strategy" else ())])
    return names[name]


def describe(kind: str, name: str) -> Description:
    """Read a plug-in's docstring, class attributes and constructor keywords without importing it."""
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        told: Description = module.describe(member)
        return told
    path = find(kind, name)
    tree = _parse(path)
    node = _plugin_class(tree, path)
    inherited = [_attributes(base) for base in _bases(node, path)]
    attributes = {key: value for told in [*reversed(inherited), _attributes(node)] for key, value in told.items()}
    class_doc = ast.get_docstring(node) or ""
    doc = ast.get_docstring(tree) or class_doc or "(no docstring)"
    return Description(path.stem, path, doc, class_doc, _constructor_parameters(node), attributes)


def _bases(node: ast.ClassDef, path: Path) -> list[ast.ClassDef]:
    """The classes in the plug-in's file, and in those that it reaches, that its class inherits from by name."""
    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
    trees = [_parse(file) for file in reached_files(path)]
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


def defines(path: Path, method: str) -> bool:
    """Whether the plug-in class in ``path`` has a method of that name."""
    return any(isinstance(n, ast.FunctionDef) and n.name == method for n in _plugin_class(_parse(path), path).body)


def kind_of(name: str, others: Collection[str] = ()) -> str:
    """Whether ``name`` (or the file at that path) is a "scenario" or a "strategy".

    Args:
        name: what is asked for.
        others: names of models, which the error line offers as well.
    """
    if name.endswith(".py") or "/" in name:
        return "scenario" if defines(find("plug-in", name), "tasks") else "strategy"
    if is_foreign(name):
        return "strategy"
    names = {kind: available(kind) for kind in KINDS}
    for kind, known in names.items():
        if name in known:
            return kind
    what = "scenario, strategy or model" if others else "scenario or strategy"
    raise unknown(what, name, [*names["scenario"], *names["strategy"], *others])


def load(kind: str, name: str) -> type[Any]:
    """Import the plug-in's file and return its class."""
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        return typing.cast(type[Any], module.load(member))
    path = find(kind, name)
    class_name = _plugin_class(_parse(path), path).name
    return typing.cast(type[Any], getattr(_import_file(kind, path), class_name))


def load_function(name: str) -> Callable[..., Any]:
    """Import a .py file and return its function that is called like the file; for metrics.

    Raises:
        InputError: no such file, it cannot be imported, or has no such function.
    """
    path = find("metric", name)
    found = getattr(_import_module(f"clbench_user_{source_hash(path)[:12]}_{path.stem}", path), path.stem, None)
    if not inspect.isfunction(found):
        raise InputError(f"{path} defines no function {path.stem}(matrix); a metric's file has one of its own name")
    return found


def build(kind: str, name: str, arguments: dict[str, Any], *, label: str = "", **context: Any) -> Any:
    """Import a plug-in and construct it with ``arguments``, checked by name and type.

    Args:
        kind: "scenario" or "strategy".
        name: its name or path.
        arguments: the user's keywords.
        label: what error lines call it, ``name`` by default.
        context: keywords the engine gives (a scenario's ``seed`` and ``setting``); the user's win.

    Raises:
        InputError: an unknown keyword or a value of the wrong type, in one line.
    """
    if kind == "strategy" and is_foreign(name):
        module, member = module_of(name)
        return module.build(member, arguments)
    return construct(load(kind, name), label or name, arguments, **context)


def construct(cls: type[Any], label: str, arguments: dict[str, Any], **context: Any) -> Any:
    """A plug-in of the class ``cls``; otherwise as :func:`build`."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    keywords = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    check_arguments(label, parameters, _type_hints(cls, label), arguments, context)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if (unasked := [key for key in context if key not in keywords]) and not takes_any:
        raise InputError(f"{label}: its constructor must take {unasked[0]!r}; it takes: {', '.join(keywords)}")
    try:
        return cls(**{**context, **arguments})
    except ClbenchError:
        raise
    except Exception as error:
        raise InputError(f"{label} cannot be made: {type(error).__name__}: {error}") from error


def _type_hints(cls: type[Any], label: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls.__init__)
    except Exception as error:  # whatever evaluating somebody's annotations raises
        raise InputError(f"{label}: its annotations cannot be read: {type(error).__name__}: {error}") from error


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is not readable Python: {error}") from None


def _plugin_class(tree: ast.Module, path: Path) -> ast.ClassDef:
    """The last public class with a base in the file: the one subclass a plug-in defines."""
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.bases and not n.name.startswith("_")]
    if not classes:
        raise InputError(f"{path} defines no subclass of Strategy or Scenario; a plug-in file defines exactly one")
    return classes[-1]


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


def _import_file(kind: str, path: Path) -> ModuleType:
    package = importlib.import_module(KINDS[kind])
    built_in = path.parent in {Path(folder).resolve() for folder in package.__path__}
    name = f"{KINDS[kind]}.{path.stem}" if built_in else f"clbench_user_{source_hash(path)[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    # Not earlier: what only lists plug-ins needs no torch.
    from clbench.models import survive_torchvision

    survive_torchvision()  # plug-ins may import what imports torchvision
    return importlib.import_module(name) if built_in else _import_module(name, path)


def _import_module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # for the modules beside it; last, so that they hide no library
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
