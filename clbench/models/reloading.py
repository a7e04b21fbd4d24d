"""Loads a kept model with nothing but transformers and PEFT, and asks it for logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from clbench.data import Batch, LabelSpace
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models.deployment import BASE, LINEAR, Deployment
from clbench.models.identity import model_identity
from clbench.models.libraries import import_libraries
from clbench.models.pretrained import attention_for
from clbench.sources import model_path


class PlainModel:
    """A model, an adapter or an encoder with a linear layer, as its folder gives it.

    Attributes:
        learner: the model in eval mode, as batches are made for it.
        tokenizer: its own.
    """

    def __init__(self, folder: Path, deployment: Deployment, device: torch.device) -> None:
        import_libraries()
        kind = deployment.asks
        self.tokenizer = load_tokenizer(folder)
        try:
            model, self.linear = _load(folder, deployment, device)
        except InputError:
            raise
        except Exception as error:  # whatever the libraries raise for damaged files
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"model {str(folder)!r} cannot be loaded: {reason}; keep or export it again") from error
        columns = tuple(tuple(task.columns) for task in deployment.tasks)
        self.learner = Learner(
            model.to(device).eval(),
            LabelSpace(deployment.run.setting, tuple(deployment.labels), columns),
            kind=kind,
            tokenizer=self.tokenizer,
            longest_answer=deployment.longest_answer,
            padding_id=self.tokenizer.pad_token_id,
            precision=deployment.precision,
            padding_side=deployment.padding_side,
        )

    @torch.inference_mode()
    def logits(self, batch: Batch) -> Tensor:
        """fp32 logits (examples, labels), or (examples, tokens, outputs)."""
        if self.linear is None:
            return self.learner.logits(batch)
        with self.learner.autocast():
            states: Tensor = self.learner.model(**self.learner.inputs(batch))[0]
        present = self.learner.inputs(batch)["attention_mask"].double()[:, :, None]
        weight, bias = (part.to(states.device) for part in self.linear)
        return ((states.double() * present).sum(1) / present.sum(1) @ weight.T + bias).float()


def load_base(folder: Path, auto_class: str, device: torch.device) -> tuple[Any, Any]:
    """The model that a kept strategy began with, and its tokenizer.

    Raises:
        InputError: they are missing or damaged.
    """
    import_libraries()
    tokenizer = load_tokenizer(folder)
    try:
        model = load_whole(folder / BASE, auto_class, device)
    except Exception as error:  # whatever the libraries raise for damaged files
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"model {str(folder / BASE)!r} cannot be loaded: {reason}; keep it again") from error
    return model.to(device), tokenizer


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in ``folder``.

    Raises:
        InputError: there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raise plain Exceptions for damaged files
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the tokenizer in {str(folder)!r} cannot be loaded: {reason}") from error


def _load(folder: Path, deployment: Deployment, device: torch.device) -> tuple[Any, tuple[Tensor, Tensor] | None]:
    if deployment.form == "linear":
        held = load_file(folder / LINEAR)
        return load_whole(folder, "AutoModel", device), (held["weight"], held["bias"])
    if deployment.form == "model":
        return load_whole(folder, deployment.asks.auto_class, device), None
    return load_adapter(folder, deployment, device), None


def load_whole(folder: Path, auto_class: str, device: torch.device) -> Any:
    """The model in ``folder`` as transformers' ``auto_class`` loads it."""
    import transformers

    return getattr(transformers, auto_class).from_pretrained(folder, attn_implementation=attention_for(device))


def load_adapter(folder: Path, deployment: Deployment, device: torch.device) -> Any:
    """The base model with the adapter in ``folder`` on it.

    Raises:
        InputError: the base model cannot be had, or is not the one that the adapter was made for.
    """
    import transformers
    from peft import PeftModel

    if deployment.base != BASE and model_identity(deployment.base) != deployment.base_sha256:
        raise InputError(
            f"{str(folder)!r} is an adapter of {deployment.base!r}, which has changed since; restore that model"
        )
    base = str(folder / BASE) if deployment.base == BASE else model_path(deployment.base)
    settings = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, deployment.asks.auto_class).from_pretrained(
        base,
        config=settings,
        ignore_mismatched_sizes=True,
        attn_implementation=attention_for(device),
        dtype=torch.float32,
    )
    model.config.pad_token_id = settings.pad_token_id
    return PeftModel.from_pretrained(model, folder)
