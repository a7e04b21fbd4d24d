"""One LoRA module on the frozen pretrained model, trained on task after task.

Hu et al. 2021, "LoRA": a layer's output gains (alpha / rank) · B A x and only A, B and the output layer learn. Nothing
protects an old task: this is the baseline of the other LoRA strategies as naive is of all. A low rank alone does not
make it forget less in theory; Biderman et al. 2024, "LoRA Learns Less and Forgets Less", found that it often does.

With init="pissa" (Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation") W = U S Vᵀ is
split: the module is its part of the r largest singular values, (alpha / rank) B A = U_r S_r V_rᵀ, and the frozen weight
is the rest; "olora" (Büyükakyüz 2024) takes the first r columns of Q and rows of R of W = Q R. The model begins as it
was.
"""

from typing import Any, Literal

from peft import LoraConfig

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    Choices,
    Range,
    add_modules,
    check_arguments,
    check_linear,
    learn_only,
    lora_settings,
    target_layers,
)

MODULE = "shared"


class LoraSequential(Strategy):
    """The output layer learns as in naive: in the class setting the rows of all labels seen so far.

    Stacked with replay or a penalty, that acts on the module and the output layer only.

    Args:
        rank: of the module, 1 or more; not tuned.
        alpha: the module's output is scaled by alpha / rank, above 0; not tuned.
        target_modules: names of the layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the module, above 0; the default is the best of 0.0003, 0.001 and 0.003 on
            text_seq's dev texts.
        init: how the module begins, by PEFT: "lora" as in its paper, "gaussian" (A normal), "orthogonal" (A and B are
            not 0, B A is; an even rank), "pissa" or "olora". The rate was chosen with "lora".
    """

    kinds = ("text", "token", "generation", "image")

    decides = ("which weights learn",)
    hook_phases = {"before_task": "open"}
    search_spaces = {"learning_rate": Range(1e-4, 1e-2, log=True), "rank": Choices((4, 8, 16))}

    def __init__(
        self,
        rank: int = 8,
        alpha: float = 16.0,
        target_modules: tuple[str, ...] = (),
        learning_rate: float = 1e-3,
        init: Literal["lora", "gaussian", "orthogonal", "pissa", "olora"] = "lora",
    ) -> None:
        check_arguments("lora_sequential", rank=rank, alpha=alpha, learning_rate=learning_rate)
        if init == "orthogonal" and rank % 2:
            raise InputError(f"lora_sequential: {rank=}, {init=}; allowed: an even rank")
        self.init: Any = True if init == "lora" else init  # PEFT's names
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model; its module is there from the first step on."""
        targets = target_layers("lora_sequential", learner, self.target_modules, self.rank)
        if self.init in ("orthogonal", "pissa", "olora"):
            check_linear(f"lora_sequential: init={self.init!r}", learner, targets)
        add_modules(learner, [MODULE], lambda: self._settings(targets))
        learner.learning_rates["body"] = self.learning_rate
        learn_only(learner, MODULE)

    def _settings(self, targets: list[str]) -> LoraConfig:
        settings = lora_settings(targets, self.rank, self.alpha)
        settings.init_lora_weights = self.init
        return settings

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """The pretrained weights stay frozen."""
        learn_only(learner, MODULE)
