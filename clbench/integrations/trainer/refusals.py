"""What does not work inside a Trainer, told in one line before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clbench.errors import InputError
from clbench.integrations.trainer.causal import base_model, is_causal
from clbench.integrations.trainer.processes import check_processes, sharing
from clbench.kinds import Kind, find_kind
from clbench.learner import Learner
from clbench.models import ranks
from clbench.plugins import available
from clbench.strategy import Strategy, check_own_labels, check_stack

# Built-in strategies whose weights in a Trainer are the engine's: tests/integrations/test_trainer.py.
PROVEN = (
    *("agem", "der", "distillation", "ema", "encoder_only", "er_ace", "ewc", "feature_distillation", "freeze", "gem"),
    *("gradual_unfreezing", "l1", "l2_anchor", "label_smoothing", "mas", "naive", "replay", "rwalk", "sam", "seq_star"),
    "si",
)
# Hooks for which a Trainer's loop has no place, and what they do.
NO_PLACE = {
    "train": "trains in a loop of its own",
    "predict": "answers in the model's place",
    "examples": "changes the examples before they are encoded",
    "training_tasks": "learns from other tasks' data",
    "parameter_groups": "makes the optimizer's groups, which are the Trainer's",
    "learning_rate_factor": "sets the schedule, which is the Trainer's",
}
# It only reads there how many steps there will be.
READS_STEPS = ("replay",)


# What to do about a setting that does not work.
REMEDIES = {
    "n_gpu": ": let CUDA_VISIBLE_DEVICES name one GPU",
    "world_size": ": processes that torchrun or accelerate launch starts, a device each",
    "dispatch_batches": ": each process reads the batches by itself",
    "split_batches": ": the batch size is that of one process",
    "even_batches": ": else a process waits for others that have no batch left",
    "fp16": ": bf16=True, or neither",
    "packing": ": a row an example, for memories keep examples",
    "padding_free": ": a row an example, for memories keep examples",
}
# Those that know of all steps until a task's end.
COUNT_STEPS = ("ema", "rwalk", "si")
# Those that add to whatever the task's loss is; the others take a cross-entropy away from it, or compute it themselves.
WITH_ANY_LOSS = (
    *("distillation", "ema", "encoder_only", "ewc", "freeze", "gradual_unfreezing", "l1", "l2_anchor", "mas", "naive"),
    *("replay", "rwalk", "si"),
)


def check_strategies(members: Sequence[tuple[str, Strategy]], setting: str) -> None:
    """Refuse strategies that a Trainer's loop has no place for, and built-in ones that no test has proven there.

    Raises:
        InputError: names the strategy, and those that are allowed, or why they do not go together in the setting.
    """
    for name, strategy in members:
        allowed = f"allowed: {', '.join(PROVEN)}, or one of your own that fills in none of {', '.join(NO_PLACE)}"
        for hook, doing in NO_PLACE.items():
            if getattr(type(strategy), hook) is not getattr(Strategy, hook) and not (
                hook == "train" and name in READS_STEPS
            ):
                raise InputError(f"{name!r} cannot work inside a Trainer, for it {doing}; {allowed}")
        if name in available("strategy") and name not in PROVEN:
            raise InputError(f"{name!r} is not proven to work inside a Trainer; {allowed}")
    writes = any(member.kinds and "text" not in member.kinds for _, member in members)
    check_stack(members, setting, "generation" if writes else "text", 1)
    if setting == "domain":
        check_own_labels(members)


def checked_kind(trainer: Any, model: Any, setting: str, members: Sequence[tuple[str, Strategy]]) -> Kind:
    """What the Trainer's model answers, where the Trainer, its loss and its model are such as strategies work in.

    Args:
        trainer: transformers'.
        model: the one of the tasks before, None for the first.
        setting: of the sequence.
        members: the strategies by name.

    Raises:
        InputError: names what is not.
    """
    check_trainer(trainer)
    if model is not None and model is not trainer.model:
        raise InputError(
            "the Trainer has another model than the task before; allowed: the same, with PEFT's modules around it from "
            "the start"
        )
    check_loss(trainer, setting, members)
    check_processes(trainer, members)
    kind = find_kind("generation" if is_causal(trainer.model) else "text")
    check_stack(members, setting, kind.name, trainer.args.gradient_accumulation_steps)
    return kind


def check_trainer(trainer: Any) -> None:
    """Refuse settings under which the hooks would not do what they do in clbench's own loop.

    Raises:
        InputError: names the setting, its value and what is allowed.
    """
    import transformers

    if not isinstance(trainer, transformers.Trainer):
        raise InputError(f"attach() was given {type(trainer).__name__}; allowed: a transformers.Trainer")
    args = trainer.args
    for name, (found, allowed) in settings(trainer).items():
        if found != allowed:
            remedy = REMEDIES.get(name, "")
            raise InputError(f"{name} = {found!r} does not work with ContinualLearning; allowed: {allowed!r}{remedy}")
    if args.gradient_accumulation_steps > 1 and not hasattr(trainer, "loss_is_scaled_for_ga"):
        raise InputError(
            f"gradient_accumulation_steps = {args.gradient_accumulation_steps} needs a newer transformers than "
            f"{transformers.__version__}; allowed: 1, or transformers 5.23"
        )
    if is_causal(trainer.model):
        if getattr(trainer.processing_class, "eos_token_id", None) is None:
            raise InputError(
                "the Trainer has no tokenizer with a token that ends an answer; allowed: processing_class=..."
            )
        return
    config = getattr(trainer.model, "config", None)
    labels = getattr(config, "num_labels", 0)
    problem = getattr(config, "problem_type", None)
    if labels < 2 or problem not in (None, "single_label_classification"):
        name = type(trainer.model).__name__
        raise InputError(
            f"{name} has num_labels = {labels}, problem_type = {problem!r}; allowed: a model for sequence "
            "classification with 2 labels or more, one of them an example, or a causal language model"
        )


def settings(trainer: Any) -> dict[str, tuple[Any, Any]]:
    """Settings as they are, and as they must be."""
    args = trainer.args
    return {
        "n_gpu": (max(1, args.n_gpu), 1),
        "world_size": (args.world_size, ranks.count()),
        "fp16": (args.fp16, False),
        "torch_compile": (args.torch_compile, False),
        "auto_find_batch_size": (args.auto_find_batch_size, False),
        "use_liger_kernel": (getattr(args, "use_liger_kernel", False), False),
        "deepspeed": (args.deepspeed, None),
        "fsdp": (bool(args.fsdp), False),
        "model_init": (trainer.model_init, None),
        **sharing(trainer),
        "packing": (getattr(args, "packing", False), False),
        "padding_free": (getattr(args, "padding_free", False), False),
        "hf_device_map": (len({*getattr(base_model(trainer.model), "hf_device_map", {}).values()}) > 1, False),
    }


def own_loss(trainer: Any) -> str:
    """What makes the Trainer's loss another one than the model's cross-entropy; empty where nothing does."""
    import transformers

    if "compute_loss" in vars(trainer):
        return "the Trainer object's own compute_loss"
    if type(trainer).compute_loss is not transformers.Trainer.compute_loss:
        return f"{type(trainer).__name__}.compute_loss"
    if trainer.compute_loss_func is not None:
        return "compute_loss_func"
    if trainer.label_smoother is not None:
        return "label_smoothing_factor"
    if is_causal(trainer.model):
        return "a loss over the vocabulary"
    model = base_model(trainer.model)
    for name, made_by in (("forward", type(model).forward), ("loss_function", getattr(model, "_loss_function", None))):
        if made_by is not None and getattr(made_by, "__module__", "").partition(".")[0] != "transformers":
            return f"{type(model).__name__}.{name}"
    return ""


def check_loss(trainer: Any, setting: str, members: Sequence[tuple[str, Strategy]]) -> None:
    """Refuse a loss of the Trainer's own where the setting or a strategy means the cross-entropy.

    Raises:
        InputError: names the loss, and what is allowed.
    """
    if not (loss := own_loss(trainer)):
        return
    if setting != "domain" and is_causal(trainer.model):
        raise InputError(f"setting {setting!r} limits labels, and a model that writes has none; allowed: domain")
    if setting != "domain":
        raise InputError(f"{loss} scores all labels, which setting {setting!r} does not; allowed: domain")
    for name, _ in members:
        if name in PROVEN and name not in WITH_ANY_LOSS:
            allowed = ", ".join(WITH_ANY_LOSS)
            raise InputError(f"{name!r} means the model's cross-entropy, not {loss}; allowed with it: {allowed}")


def check_fresh(trainer: Any, members: Sequence[tuple[str, Strategy]], state_dir: str | None) -> None:
    """Refuse what a task's end would not be that of its steps, or not the one that is kept.

    Raises:
        InputError: names it.
    """
    if state_dir is not None and trainer.optimizer is not None and trainer.optimizer.state:
        raise InputError(
            f"the Trainer's optimizer has learned already, and state_dir = {state_dir!r} does not keep its state; "
            "allowed: an optimizer for each task, or state_dir=None"
        )
    counting = [name for name, _ in members if name in COUNT_STEPS]
    if trainer.args.load_best_model_at_end and counting:
        raise InputError(
            f"load_best_model_at_end = True undoes steps that {counting[0]!r} has counted; allowed: False, or a "
            f"strategy but {', '.join(COUNT_STEPS)}"
        )


def check_set_up(learner: Learner, rates: dict[str, float], learning: set[str], trainer: Any) -> None:
    """Refuse a strategy that has just set what the Trainer alone sets.

    Args:
        learner: after the strategy's ``setup`` and ``before_task``.
        rates, learning: its learning rates and the names of the parameters that learned, before.
        trainer: whose optimizer may be made already.
    """
    if learner.learning_rates != rates:
        raise InputError("the strategy sets learning rates, which are the Trainer's")
    if own_loss(trainer) and learner.keep_features:
        raise InputError(f"the strategy reads the model's features, which {own_loss(trainer)} does not give")
    if trainer.optimizer is not None and {name for name, _ in learner.named_parameters()} != learning:
        raise InputError("the strategy changes which weights learn, but the Trainer's optimizer is made already; "
                         "allowed: leave optimizers=... away")  # fmt: skip
