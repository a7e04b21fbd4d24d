"""Loads a kept model with nothing but transformers and PEFT, and asks it for logits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from clbench.data import Batch, LabelSpace
from clbench.errors import InputError
from clbench.kinds import Kind
from clbench.learner import Learner
from clbench.models.deployment import BASE, LINEAR, Deployment
from clbench.models.identity import model_identity
from clbench.models.image_folders import SETTINGS, load_images, wrap_network
from clbench.models.image_model import ImageModel
from clbench.models.libraries import import_libraries
from clbench.models.model_kinds import IMAGE_CLASS, is_timm, reads_images
from clbench.models.pretrained import attention_for, check_layers
from clbench.models.safe_weights import check_weight_files, read_json
from clbench.models.timm_models import load_timm_body
from clbench.sources import model_path

ADAPTER = "adapter_model.safetensors"  # PEFT would also take a pickle


class PlainModel:
    """A model, an adapter or an encoder with a linear layer, as its folder gives it.

    Attributes:
        learner: the model in eval mode, as batches are made for it.
        tokenizer: its own.
    """

    def __init__(self, folder: Path, deployment: Deployment, device: torch.device) -> None:
        import_libraries()
        kind = deployment.asks
        self.tokenizer = load_tokenizer(folder, kind)
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
            padding_id=padding_id(self.tokenizer),
            precision=deployment.precision,
            padding_side=deployment.padding_side,
        )
        self.learner.pass_budget = images_per_pass(model, deployment, device)

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


def load_base(folder: Path, kind: Kind, device: torch.device) -> tuple[Any, Any]:
    """The model that a kept strategy began with, and its tokenizer.

    Raises:
        InputError: they are missing or damaged.
    """
    import_libraries()
    tokenizer = load_tokenizer(folder, kind)
    try:
        model = load_whole(folder / BASE, kind.auto_class, device)
    except InputError:
        raise
    except Exception as error:  # whatever the libraries raise for damaged files
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"model {str(folder / BASE)!r} cannot be loaded: {reason}; keep it again") from error
    return model.to(device), tokenizer


def load_tokenizer(folder: Path, kind: Kind) -> Any:
    """The tokenizer in ``folder``; None where its model reads images.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if reads_images(kind):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raise plain Exceptions for damaged files
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the tokenizer in {str(folder)!r} cannot be loaded: {reason}") from error


def padding_id(tokenizer: Any) -> int:
    """The token that fills batches up; any where there are no tokens."""
    return 0 if tokenizer is None else int(tokenizer.pad_token_id)


def images_per_pass(model: Any, deployment: Deployment, device: torch.device) -> int:
    """How many images a pass takes; 0 where that is left to their own size, and for texts."""
    return model.preprocessing.images_per_pass(device, deployment.shape) if isinstance(model, ImageModel) else 0


def _load(folder: Path, deployment: Deployment, device: torch.device) -> tuple[Any, tuple[Tensor, Tensor] | None]:
    if deployment.form == "linear":
        held = load_file(folder / LINEAR)
        return load_whole(folder, "AutoModel", device), (held["weight"], held["bias"])
    if deployment.form == "model":
        return load_whole(folder, deployment.asks.auto_class, device), None
    adapted = load_adapter(folder, deployment, device)
    if not reads_images(deployment.asks):
        return adapted, None
    return wrap_network(adapted, folder, read_json(str(folder), SETTINGS)), None


def load_whole(folder: Path, auto_class: str, device: torch.device) -> Any:
    """The model in ``folder`` as transformers' ``auto_class`` loads it; images are resized and normalised first.

    Raises:
        ValueError: what lies there is none that was kept: other weights than safetensors, layers without end.
    """
    import transformers

    check_weight_files(str(folder), allow_pickle=False)
    check_layers(read_json(str(folder), SETTINGS))
    if auto_class == IMAGE_CLASS:
        return load_images(folder, device)
    return getattr(transformers, auto_class).from_pretrained(
        folder, attn_implementation=attention_for(device), use_safetensors=True
    )


def load_adapter(folder: Path, deployment: Deployment, device: torch.device) -> Any:
    """The base model with the adapter in ``folder`` on it; one of images without its preprocessing.

    Raises:
        InputError: the base model cannot be had, or is not the one that the adapter was made for.
    """
    from peft import PeftModel

    if deployment.base != BASE and model_identity(deployment.base) != deployment.base_sha256:
        raise InputError(
            f"{str(folder)!r} is an adapter of {deployment.base!r}, which has changed since; restore that model"
        )
    if not os.path.isfile(folder / ADAPTER):
        raise InputError(f"{str(folder)!r} has no {ADAPTER}; keep or export it again")
    base = str(folder / BASE) if deployment.base == BASE else model_path(deployment.base)
    if is_timm(settings := read_json(str(folder), SETTINGS)):
        model = load_timm_body(base, settings)
    else:
        model = _load_for_adapter(base, folder, deployment.asks.auto_class, device)
    return PeftModel.from_pretrained(model, folder)


def _load_for_adapter(base: str, folder: Path, auto_class: str, device: torch.device) -> Any:
    import transformers

    settings = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, auto_class).from_pretrained(
        base,
        config=settings,
        ignore_mismatched_sizes=True,
        attn_implementation=attention_for(device),
        dtype=torch.float32,
    )
    if auto_class != IMAGE_CLASS:
        model.config.pad_token_id = settings.pad_token_id
    return model
