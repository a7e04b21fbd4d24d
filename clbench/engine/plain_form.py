"""Writes the model that a strategy offers in the plain form that it has."""

from __future__ import annotations

from pathlib import Path

from clbench.engine.model_facts import base_of, names_of
from clbench.engine.preparation import Prepared
from clbench.models import (
    BASE,
    Form,
    Unfit,
    centred,
    check_plain,
    save_adapter,
    save_base,
    save_classifier,
    save_encoder,
)
from clbench.sources import HUB_IDS
from clbench.strategy import Deployable


def save_plain(prepared: Prepared, found: Deployable, folder: Path) -> Form:
    """Write ``found`` in its form, whose name is returned.

    Raises:
        Unfit: it has none.
    """
    model, head, tokenizer = found.model, prepared.loaded.head, prepared.loaded.tokenizer
    names = names_of(prepared)
    if hasattr(model, "peft_config"):
        if found.linear is not None:
            raise Unfit("its linear layer stands on PEFT's modules")
        base = base_of(prepared)
        if base == BASE:
            again = prepared.load_again()
            check_plain(again.model)
            save_base(again.model, folder / BASE, again.head)
        save_adapter(model, folder, names, HUB_IDS.get(base, base), head, prepared.learner.kind.adapter_task)
        return "adapter"
    if found.linear is None:
        save_classifier(model, folder, names, {})
        return "model"
    if found.features == "mean" and tokenizer is not None:  # of an image always what the output layer reads
        save_encoder(model, folder, found.linear)
        return "linear"
    weight, bias = (part.float() for part in centred(*found.linear))
    save_classifier(model, folder, names, {f"{head.output_layer}.weight": weight, f"{head.output_layer}.bias": bias})
    return "model"
