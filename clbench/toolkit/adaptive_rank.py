"""AdaLoRA: ranks that move to the layers where they matter, through PEFT.

Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning": a layer's output gains
(alpha / rank) · B diag(E) A x. From a higher rank the entries of E with the least importance, over all layers, are set
to 0 until the mean rank is the target; B and A are held near orthogonal by a term of the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from peft import AdaLoraConfig, PeftModel
from peft.tuners.adalora import RankAllocator
from torch import Tensor

from clbench.config import RunConfig
from clbench.data import Batch, TaskData
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.strategy import Strategy

# Of a task's steps: the first, at full rank, and the last, at the target rank. PEFT's example has 10 % and 20 %.
FIRST, LAST = 0.1, 0.2
# The allocation's interval is this share of the steps.
INTERVAL = 0.01
# The ranks start at this multiple of the target, PEFT's 12 to 8 and the paper's budgets.
EXCESS = 1.5


def adaptive_settings(targets: Sequence[str], rank: int, alpha: float) -> AdaLoraConfig:
    """PEFT's configuration of one AdaLoRA module that ends with the mean rank ``rank``.

    Its schedule is not known before the task is: see :meth:`AdaptiveRank.train`. PEFT allows one module only that is
    not "in inference", a flag that has no effect on what follows.
    """
    return AdaLoraConfig(
        target_r=rank,
        init_r=math.ceil(EXCESS * rank),
        lora_alpha=alpha,
        target_modules=list(targets),
        lora_dropout=0.0,
        total_step=1,
        inference_mode=True,
    )


class _Allocator(RankAllocator):  # type: ignore[misc]  # PEFT is not typed
    """PEFT's allocator, with the threshold and the pattern left on the device: no step waits for them."""

    def mask_to_budget(self, model: torch.nn.Module, budget: int) -> dict[str, Tensor]:
        """Set the entries of E with the least importance to 0; which ones are kept, bool (rank, 1) a layer."""
        layers = {n: p for n, p in model.named_parameters() if f"lora_E.{self.adapter_name}" in n}
        scores = {name: self._importance(name) for name in layers}
        lowest = self.init_bgt - budget
        threshold = torch.cat([score.view(-1) for score in scores.values()]).kthvalue(lowest).values
        pattern = {name: ~(score <= threshold) for name, score in scores.items()}
        self.mask_using_rank_pattern(model, pattern)
        return pattern

    @torch.no_grad()
    def mask_using_rank_pattern(self, model: torch.nn.Module, rank_pattern: dict[str, Tensor]) -> None:
        """Set the entries of E that are not kept to 0."""
        for name, parameter in model.named_parameters():
            if name in rank_pattern:
                parameter.masked_fill_(~rank_pattern[name], 0.0)

    def _importance(self, name: str) -> Tensor:
        """Of a layer's triplets (rank, 1): that of E's entry and the means of A's row and B's column."""
        rows = self._element_score(name.replace("lora_E", "lora_A")).mean(1, keepdim=True)
        columns = self._element_score(name.replace("lora_E", "lora_B")).mean(0).view(-1, 1)
        together: Tensor = self._combine_ipt(self._element_score(name), torch.cat([rows, columns], dim=1))
        return together.view(-1, 1)


class AdaptiveRank(Strategy):
    """PEFT's rank allocation for one task's module after the other, as the hooks of a strategy.

    Args:
        model: with a module for each task, from :func:`adaptive_settings`.
        names: of the modules.
    """

    def __init__(self, model: PeftModel, names: Sequence[str]) -> None:
        self.model, self.names = model, names
        self._start(names[0])

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Begin with the task's module."""
        self._start(self.names[task.position])

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Lay out the schedule; training is the engine's.

        Raises:
            InputError: the task has fewer than 2 steps, so that no importance can be measured.
        """
        steps = config.steps(len(task.train))
        if steps < 2:
            raise InputError(f"adaptive_rank = True with {steps} step for task {task.name!r}; allowed: 2 steps or more")
        self.schedule.total_step = steps
        self.schedule.tinit, self.schedule.tfinal = int(FIRST * steps), int(LAST * steps)
        self.schedule.deltaT = max(1, int(INTERVAL * steps))
        return None

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """The paper's regularisation, weight · mean over all A and B of ‖A Aᵀ − I‖ or ‖Bᵀ B − I‖, as PEFT has it."""
        norms = []
        for name, parameter in self._parameters():
            if "lora_E" not in name:
                product = parameter @ parameter.T if "lora_A" in name else parameter.T @ parameter
                norms.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        penalty: Tensor = self.schedule.orth_reg_weight * torch.stack(norms).mean()
        return penalty

    def before_step(self, learner: Learner) -> None:
        """Keep the gradients: PEFT measures importance after the optimizer's step, when they are gone."""
        self.gradients = [parameter.grad for _, parameter in self._parameters()]

    def after_step(self, learner: Learner) -> None:
        """Measure importance and set to 0 what is over the budget."""
        self.step += 1
        parameters = [parameter for _, parameter in self._parameters()]
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            # A step that fp16's scaler skipped has gradients that are no numbers.
            parameter.grad = None if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
        self.model.base_model.update_and_allocate(self.step)
        for parameter in parameters:
            parameter.grad = None
        self.gradients = []

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Note how many entries of E are left in each layer."""
        ranks = [int(parameter.count_nonzero()) for name, parameter in self._parameters() if "lora_E" in name]
        learner.note("ranks", task=task.name, ranks=ranks)

    def state_dict(self) -> dict[str, Any]:
        """The step, the running importance of each weight, and which entries of E are kept."""
        allocator = self.allocator
        importance = {"last": allocator.ipt, "mean": allocator.exp_avg_ipt, "spread": allocator.exp_avg_unc}
        return {"step": self.step, "importance": importance, "pattern": self.schedule.rank_pattern or {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        device = next(self.model.parameters()).device
        self.step = state["step"]
        self.schedule.rank_pattern = {name: kept.to(device) for name, kept in state["pattern"].items()} or None
        last, mean, spread = (
            {name: value.to(device) for name, value in state["importance"][kind].items()}
            for kind in ("last", "mean", "spread")
        )
        self.allocator.ipt, self.allocator.exp_avg_ipt, self.allocator.exp_avg_unc = last, mean, spread

    def _start(self, name: str) -> None:
        tuner = self.model.base_model
        self.schedule: AdaLoraConfig = self.model.peft_config[name]
        self.schedule.rank_pattern = None
        tuner.trainable_adapter_name = name
        tuner.rankallocator = self.allocator = _Allocator(tuner.model, self.schedule, name)
        self.step, self.gradients = 0, list[Tensor | None]()

    def _parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """A, E and B of the module."""
        name = self.model.base_model.trainable_adapter_name
        named = self.model.named_parameters()
        return [(n, p) for n, p in named if n.endswith(f".{name}") and "ranknum" not in n]
