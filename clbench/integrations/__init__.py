"""Strategies of other libraries under their own names, such as ``avalanche.EWC(ewc_lambda=1000)``.

The first part of the name is a key of ``LIBRARIES``; the module behind it has the functions ``build``, ``describe``,
``load`` and ``source_hash``, which do for the rest of the name what those in ``clbench.plugins`` do for a file.
"""

from __future__ import annotations

import importlib
from types import ModuleType

LIBRARIES = {"avalanche": "clbench.integrations.avalanche"}
# What `list strategies` says of a library, and an unknown name's error line offers.
SUMMARIES = {
    "avalanche.NAME": "Strategies of Avalanche, in its own training loop; such as avalanche.EWC(ewc_lambda=1000)."
}


def is_foreign(name: str) -> bool:
    """Whether ``name`` is that of another library's strategy."""
    library, _, member = name.partition(".")
    return library in LIBRARIES and member not in ("", "py") and "/" not in name


def module_of(name: str) -> tuple[ModuleType, str]:
    """The module that knows the library of a foreign name, and the rest of the name."""
    library, _, member = name.partition(".")
    return importlib.import_module(LIBRARIES[library]), member
