"""Discriminative rates: the nearer a layer is to the input, the slower it learns.

Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (ULMFiT): η^(l−1) = decay · η^l from
the last layer down, where they take 1/2.6; Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?", find 0.95
best, and with 1 that later tasks overwrite what was pretrained. Embeddings come below the first layer.
"""

from typing import Any

from clbench import Learner, Strategy
from clbench.errors import InputError
from clbench.toolkit import Range, check_layers, layer_depths, split_groups


class DiscriminativeRates(Strategy):
    """The last layer of the body has the run's rate, the head its own.

    Args:
        decay: what a layer's rate is multiplied by from one layer to the one below it, above 0 and up to 1; 1 changes
            nothing. The default is Sun et al.'s; not tuned here.
    """

    is_recipe = True
    decides = ("the rates of layers",)
    search_spaces = {"decay": Range(0.5, 1.0)}

    def __init__(self, decay: float = 0.95) -> None:
        if not 0 < decay <= 1:
            raise InputError(f"discriminative_rates: {decay=}; allowed: above 0 and up to 1")
        self.decay = decay

    def setup(self, learner: Learner) -> None:
        """Look whether the model has layers."""
        check_layers("discriminative_rates", learner)

    def parameter_groups(self, learner: Learner, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each layer's rate, in whatever group its weights are."""
        depth = layer_depths(learner)
        last = check_layers("discriminative_rates", learner)

        def slower(name: str, group: dict[str, Any]) -> dict[str, Any]:
            return {**group, "lr": group["lr"] * self.decay ** max(0, last - depth[name])}

        return split_groups(learner, groups, slower)
