"""LoRA modules on the layers of a model's body, made, switched and frozen through PEFT.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": a layer's output gains (alpha / rank) · B A x,
A of shape (rank, inputs), random at first, B of shape (outputs, rank), 0 at first. Of a convolution, A is one of rank
channels with the same window, B one of 1 × 1.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn

from clbench.doors import is_installed
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import told_as_fp32
from clbench.rng import seeded_torch
from clbench.toolkit.layers import LINEAR, layer_sizes, matching, module_layers, no_such_layer
from clbench.toolkit.shared_statistics import check_statistics

# Ways of PEFT's to begin a module with parts of the weight that it is for.
FROM_WEIGHTS = ("pissa", "olora")
COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_arguments(strategy: str, **numbers: float) -> None:
    """Refuse what is not above 0.

    Raises:
        InputError: names the strategy and all the numbers.
    """
    if any(value <= 0 for value in numbers.values()):
        given = ", ".join(f"{name}={value}" for name, value in numbers.items())
        raise InputError(f"{strategy}: {given}; allowed: numbers above 0")


def module_name(task: int, tasks: int) -> str:
    """The module of task ``task`` of ``tasks``; no name is the beginning of another, as PEFT's AdaLoRA needs it."""
    return f"task{task:0{len(str(tasks - 1))}}"


def target_layers(strategy: str, learner: Learner, wanted: Sequence[str], rank: int = 1) -> list[str]:
    """The layers of the body that get a module: those named by ``wanted``, or all when it is empty.

    Args:
        strategy: whose argument ``target_modules`` this is, for the error line.
        learner: of a model that is not wrapped yet.
        wanted: whole names or their last parts, as PEFT matches them.
        rank: of the modules.

    Raises:
        InputError: no layer has such a name, or none is as large as the rank.
    """
    layers = module_layers(learner)
    targets = matching(layers, wanted or list(layers))
    if not targets:
        raise no_such_layer(strategy, f"target_modules = {wanted!r}", layers, learner)
    # B A of a higher rank than the weight's own has more numbers than the weight and says no more.
    highest = max(min(layer_sizes(layers[name])) for name in targets)
    if rank > highest:
        raise InputError(f"{strategy}: {rank=}; allowed: 1 to {highest}, the highest that a weight of this model has")
    return targets


def check_linear(given: str, learner: Learner, targets: Sequence[str]) -> None:
    """Refuse what PEFT has for linear layers only where ``targets`` are convolutions.

    Args:
        given: the argument, for the error line.
        learner: of a model that is not wrapped yet.
        targets: names of layers, from :func:`target_layers`.

    Raises:
        InputError: names the argument and the first convolution.
    """
    others = [name for name in targets if not isinstance(learner.model.get_submodule(name), LINEAR)]
    if others:
        raise InputError(f"{given} is for linear layers, and {others[0]} is a convolution; allowed: leave it out")


def lora_settings(targets: Sequence[str], rank: int, alpha: float) -> LoraConfig:
    """PEFT's configuration of one LoRA module on the layers ``targets``."""
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), lora_dropout=0.0)


def add_modules(learner: Learner, names: Sequence[str], make_settings: Callable[[], PeftConfig]) -> PeftModel:
    """Wrap the learner's model and give it the modules ``names``, drawn one after the other from the stream "lora".

    They are all made in ``setup``, so that the structure is the same from the first step on.
    """
    settings = make_settings()
    from_weights = isinstance(settings, LoraConfig) and settings.init_lora_weights in FROM_WEIGHTS
    types = nullcontext() if from_weights else told_as_fp32(learner.model)
    with seeded_torch(learner.device, learner.seed, "lora"), types, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set")  # PEFT finds out by itself which way weights lie
        model = PeftModel(learner.model, settings, adapter_name=names[0])
        for name in names[1:]:
            model.add_adapter(name, make_settings())
    learner.model = model
    return model


def add_task_modules(
    learner: Learner, make_settings: Callable[[], PeftConfig], learning_rate: float
) -> tuple[PeftModel, list[str]]:
    """Give the model a module for each task, of which the first may learn; the wrapped model and the modules' names.

    Training scores an example among its own task's labels where the tasks' rows of the output layer are their own; in
    the domain setting, where they are not, among those of all tasks seen, which are the same where all tasks have them.

    Args:
        learner: of a model that is not wrapped yet.
        make_settings: PEFT's configuration of a module, a new one each time.
        learning_rate: peak learning rate of the modules.

    Raises:
        InputError: the tasks share statistics that training moves.
    """
    check_statistics(learner)
    names = [module_name(task, learner.tasks) for task in range(learner.tasks)]
    model = add_modules(learner, names, make_settings)
    learner.local_labels = learner.held_rows = learner.labels.setting != "domain"
    learner.learning_rates["body"] = learning_rate
    learn_only(learner, names[0])
    return model, names


def use_module(model: PeftModel, name: str) -> None:
    """Let the module ``name`` answer alone."""
    if model.active_adapter != name:
        model.set_adapter(name)


@contextmanager
def answering(layers: Sequence[Any], *names: str) -> Iterator[None]:
    """Inside, the modules ``names`` answer alone, or the pretrained model without any; what learns stays as it is.

    :func:`use_module` goes through every module of every layer, which is slow where T modules answer in turn.

    Args:
        layers: PEFT's LoRA layers, from :func:`lora_layers`.
        names: of modules.
    """
    before = [layer.active_adapters for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = list(names)
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def learn_on_top(learner: Learner, model: PeftModel, names: Sequence[str]) -> None:
    """Let the modules ``names`` answer together, their outputs added, and only the last of them learn."""
    model.base_model.set_adapter(list(names))
    learn_only(learner, names[-1])


def learn_only(learner: Learner, name: str) -> None:
    """Let the module ``name`` and the output layer learn, and nothing else."""
    for parameter_name, parameter in learner.model.named_parameters():
        # PEFT's: ...lora_A.NAME.weight; a module of the model may have the same name, as BART's embeddings "shared".
        own = any(kind.startswith("lora_") and part == name for kind, part in pairwise(parameter_name.split(".")))
        parameter.requires_grad_(own or learner.is_head(parameter_name))


def lora_layers(model: nn.Module) -> dict[str, Any]:
    """PEFT's LoRA layers by name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def check_quantization(strategy: str, quantization: str | None, device: torch.device | None = None) -> None:
    """Refuse 4 bits where they cannot be had: without bitsandbytes or without a GPU.

    Args:
        strategy: for the error line.
        quantization: None or "4bit".
        device: the run's, None while it is not known.

    Raises:
        InputError: what is missing.
    """
    if quantization is None:
        return
    missing = [] if is_installed("bitsandbytes") else ["bitsandbytes is not installed"]
    if not torch.cuda.is_available():
        missing.append("no CUDA GPU is here")
    elif device is not None and device.type != "cuda":
        missing.append(f"the run is on {device}")
    if missing:
        reason = " and ".join(missing)
        raise InputError(f"{strategy}: quantization = {quantization!r} cannot be had, {reason}; allowed here: None")


def quantize_4bit(model: nn.Module, targets: Sequence[str], precision: str) -> None:
    """Store the weights of the linear layers ``targets`` in 4 bits, in place, on the device where they are.

    Dettmers et al. 2023, "QLoRA": NormalFloat4 blocks whose scales are quantized too; only LoRA modules on them learn.

    Args:
        model: not wrapped yet.
        targets: names of linear layers.
        precision: of the run, "fp32", "bf16" or "fp16": the weights are brought back to it for a multiplication.

    Raises:
        InputError: a layer is of another kind, as GPT-2's are.
    """
    linear_4bit = importlib.import_module("bitsandbytes.nn").Linear4bit
    for name in targets:
        old = model.get_submodule(name)
        if not isinstance(old, nn.Linear):
            kind = type(old).__name__
            raise InputError(
                f"quantization = '4bit' is for torch's linear layers and {name} is a {kind}; allowed: None"
            )
        new = linear_4bit(
            old.in_features,
            old.out_features,
            bias=old.bias is not None,
            compute_dtype=COMPUTE[precision],
            compress_statistics=True,
            quant_type="nf4",
        )
        new.load_state_dict(old.state_dict())
        model.set_submodule(name, new.to(old.weight.device))  # moving it quantizes it
    model.is_loaded_in_4bit = True  # type: ignore[assignment] # PEFT asks for it to choose its layers
