"""Which of Avalanche's strategies clbench can run, and with which arguments."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from importlib import metadata
from typing import Any

from clbench.doors import is_installed
from clbench.errors import InputError, nearest
from clbench.plugins import Parameter

PACKAGE = "avalanche-lib"
# What clbench gives to every strategy, and where a person sets it instead.
SUPPLIED = {
    "model": "--model",
    "optimizer": "--lr and --optimizer, as in every run",
    "criterion": "cross-entropy among the candidate labels",
    "train_mb_size": "--batch-size",
    "train_epochs": "--epochs",
    "eval_mb_size": "clbench's evaluator",
    "device": "--device",
    "plugins": "clbench's learning rate schedule and clipping",
    "evaluator": "clbench's evaluator",
    "eval_every": "clbench's evaluator",
    "peval_mode": "clbench's evaluator",
    "reset_optimizer": "--optimizer-state, as in every run",
}
OWN_MODEL = "it brings a model of its own"
REFUSED = {
    **dict.fromkeys(("AR1", "ICaRL", "LearningToPrompt", "StreamingLDA"), OWN_MODEL),
    **dict.fromkeys(("AETraining", "ExpertGateStrategy", "GenerativeReplay", "VAETraining"), "it trains autoencoders"),
    **dict.fromkeys(("ER_AML", "FeatureReplay", "LFL"), "it needs a model with a feature extractor of Avalanche's"),
    **dict.fromkeys(("CWRStar", "PNNStrategy", "PackNet", "SCR"), "it needs a model built for it"),
    "BiC": "it corrects answers at evaluation, which is clbench's own",
    "CoPE": "it needs a loss of its own",
    "GSS_greedy": "it keeps its memory as fractions, which token ids are not",
    "JointTraining": "it wants all tasks at once; clbench's own 'joint' does the same, as does avalanche.Cumulative",
}
# Packages that Avalanche imports for one strategy and does not ask for.
NEEDED_PACKAGE = {"GEM": "quadprog"}


def avalanche_version() -> str:
    """The installed version.

    Raises:
        InputError: Avalanche is not installed.
    """
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise InputError("Avalanche is not installed; to install it: pip install 'clbench[avalanche]'") from None


def import_avalanche(module: str) -> Any:
    """Import ``avalanche.MODULE``, also where torchvision was built for another torch.

    Raises:
        InputError: Avalanche is not installed, or cannot be imported.
    """
    from clbench.models import survive_torchvision

    version = avalanche_version()
    survive_torchvision()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are not used here
            return importlib.import_module(f"avalanche.{module}")
    except (ImportError, RuntimeError) as error:
        raise InputError(f"Avalanche {version} cannot be imported: {error}; install clbench[avalanche] anew") from error


def strategies() -> dict[str, type[Any]]:
    """Avalanche's supervised training strategies, by name, without those that clbench cannot run."""
    training, templates = import_avalanche("training"), import_avalanche("training.templates")
    bases = (templates.SupervisedTemplate, templates.SupervisedMetaLearningTemplate)
    found = {name: value for name, value in vars(training).items() if inspect.isclass(value)}
    return {name: cls for name, cls in found.items() if issubclass(cls, bases) and name not in REFUSED}


def find_strategy(name: str) -> type[Any]:
    """The class of that name.

    Raises:
        InputError: there is none, clbench cannot run it, or a package that it needs is missing.
    """
    known = strategies()
    if name in REFUSED:
        raise InputError(f"avalanche.{name} cannot be run here: {REFUSED[name]}; allowed: {', '.join(sorted(known))}")
    if name not in known:
        near = nearest(name, known)
        hint = f" did you mean 'avalanche.{near}'?" if near else ""
        raise InputError(f"unknown strategy of Avalanche {name!r};{hint} allowed: {', '.join(sorted(known))}")
    package = NEEDED_PACKAGE.get(name)
    if package and not is_installed(package):
        raise InputError(f"avalanche.{name} needs the package {package!r}, which is missing; pip install {package}")
    return known[name]


def own_parameters(cls: type[Any]) -> list[inspect.Parameter]:
    """The constructor's keywords that are the user's to set."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [p for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in SUPPLIED]


def described_parameters(cls: type[Any]) -> tuple[Parameter, ...]:
    """Name, type and default of each of those keywords."""
    return tuple(
        Parameter(
            p.name,
            "" if p.annotation is p.empty else inspect.formatannotation(p.annotation).replace("typing.", ""),
            "" if p.default is p.empty else repr(p.default),
        )
        for p in own_parameters(cls)
    )


def documentation(cls: type[Any]) -> str:
    """The class's docstring and what it says of the user's keywords."""
    told = re.findall(r":param (\w+):\s*(.*?)(?=\n\s*:|\Z)", inspect.getdoc(cls.__init__) or "", re.DOTALL)
    own = {p.name for p in own_parameters(cls)}
    lines = [f"{name}: {' '.join(text.split())}" for name, text in told if name in own]
    return "\n\n".join(part for part in (inspect.getdoc(cls) or "", "\n".join(lines)) if part)
