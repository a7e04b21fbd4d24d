"""The head of a model: its output layer and what is new beside it. All else, the pretrained part, is the body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from torch import nn


@dataclass(frozen=True)
class Head:
    """Which parts of a model are its head, by the names that they have in the model as it was loaded.

    Strategies wrap models and copy them; there a name is longer, and what stands before it does not matter.

    Attributes:
        output_layer: the linear layer that gives the logits, one row a label; None where a model has no such layer.
        parameters: of the output layer and of what else starts from nothing.
        names: of all parameters and modules of the model, which tell a wrapper's part of a name from the model's.
        bare: those of parameters that lie in no module but the model; nothing tells them from a wrapper's.
    """

    output_layer: str | None
    parameters: frozenset[str]
    names: frozenset[str]
    bare: frozenset[str] = frozenset()

    @cached_property
    def modules(self) -> frozenset[str]:
        """The modules that hold the head's parameters."""
        return frozenset(name.rpartition(".")[0] for name in self.parameters)

    def original(self, name: str) -> str | None:
        """What the parameter or module ``name`` of a wrapper was called in the model itself; None if it was not there.

        >>> make_head(nn.Sequential(nn.Linear(2, 2)), "0").original("base_model.model.0.weight")
        '0.weight'
        """
        parts = name.split(".")
        endings = [".".join(parts[start:]) for start in range(len(parts))]
        found = (ending for ending in endings if ending in self.names and (ending == name or ending not in self.bare))
        return next(found, None)

    def owns(self, name: str) -> bool:
        """Whether the parameter or module ``name``, of the model or a wrapper, belongs to the head."""
        original = self.original(name)
        return original is not None and (original in self.parameters or original in self.modules)

    def find_output_layer(self, model: nn.Module) -> nn.Linear | None:
        """The output layer of ``model``: of the one that was loaded, of a copy or of a wrapper."""
        found = [module for name, module in model.named_modules() if self.original(name) == self.output_layer]
        linear = [module for module in found if isinstance(module, nn.Linear)]
        return linear[-1] if linear else None


def make_head(model: nn.Module, output_layer: str | None, new: Iterable[str] = ()) -> Head:
    """The head that consists of ``output_layer`` and of the parameters ``new``."""
    own = () if output_layer is None else model.get_submodule(output_layer).named_parameters(prefix=output_layer)
    names = [name for named in (model.named_parameters(), model.named_modules()) for name, _ in named]
    bare = frozenset(name for name, _ in model.named_parameters(recurse=False))
    return Head(output_layer, frozenset([*(name for name, _ in own), *new]), frozenset(names), bare)


def guess_head(model: nn.Module, labels: int) -> Head:
    """The last linear layer with an output for each of ``labels`` labels, and nothing beside it."""
    fitting = [name for name, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == labels]
    return make_head(model, fitting[-1] if fitting else None)
