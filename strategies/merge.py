"""Merging: each task is learned from the pretrained model, and the tasks' models are merged into the one that answers.

With τ_t = θ_t − θ_0, what task t added to the pretrained weights, the model after T tasks is θ_0 + scale · merge(τ):
"mean" is (1/T) Σ τ_t (Wortsman et al. 2022, "Model soups"; Ilharco et al. 2023, "Editing Models with Task
Arithmetic"); "fisher" is Σ F_t τ_t / Σ F_t, F_t the diagonal Fisher information of task t (Matena & Raffel 2022,
"Merging Models with Fisher-Weighted Averaging", equation 4); "ties" trims each τ_t to its largest values, elects each
weight's sign by their sum and averages those that agree (Yadav et al. 2023, "TIES-Merging"); "slerp" turns the merge so
far towards τ_T by 1/T on a sphere (Shoemake 1985), layer by layer as in Ramé et al. 2024, "WARP".
"""

from typing import Any, Literal

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    Choices,
    Range,
    Weights,
    check_statistics,
    diagonal_fisher,
    generator,
    running_merges,
    to_device,
)


class Merge(Strategy):
    """Sums are kept and no old task's model: one number a weight for mean and slerp, two for fisher, three for ties.

    In the task and the class setting an example is scored among its own task's labels: each task has its own rows of
    the output layer, which stay as they learned. Where tasks share labels, as in the domain setting, the output layer
    starts afresh with each task too, and is merged. `lora_merge` does the same with LoRA modules.

    Args:
        rule: "mean", "ties", "slerp" or "fisher".
        scale: of the merged vector, above 0; 1 is the papers' without a tuning set.
        density: share of a task's vector that TIES keeps, above 0 to 1; the paper's.
        fisher_samples: training examples of a task that its Fisher information is estimated on; ewc's.
        begin: each task from the "pretrained" weights, or from those "merged" so far, of which the vectors then hold
            what they have kept of earlier tasks.

    Nothing here was tuned.
    """

    carries_optimizer = False  # carried moments would move the output rows that it holds
    is_recipe = True
    alone = "merge learns each task from the pretrained model, so there is nothing to protect"
    hook_phases = {"before_task": "restore", "after_task": "move"}
    search_spaces = {"rule": Choices(("mean", "ties", "slerp", "fisher")), "scale": Range(0.3, 3.0, log=True)}

    def __init__(
        self,
        rule: Literal["mean", "ties", "slerp", "fisher"] = "mean",
        scale: float = 1.0,
        density: float = 0.2,
        fisher_samples: int = 200,
        begin: Literal["pretrained", "merged"] = "pretrained",
    ) -> None:
        if scale <= 0 or not 0 < density <= 1 or fisher_samples < 1:
            given = f"{scale=}, {density=}, {fisher_samples=}"
            raise InputError(f"merge: {given}; allowed: scale above 0, density above 0 to 1, fisher_samples 1 or more")
        self.rule, self.scale, self.density = rule, scale, density
        self.fisher_samples, self.begin = fisher_samples, begin

    def setup(self, learner: Learner) -> None:
        """Keep the weights that the tasks start from; they are made again from the seed, not stored."""
        check_statistics(learner)
        learner.local_labels = learner.held_rows = learner.labels.setting != "domain"
        apart = learner.kind.over_labels and not learner.labels.shares_columns
        own = {id(parameter) for parameter in learner.output_layer().parameters()} if apart else set()
        merged = {name: p for name, p in learner.named_parameters() if id(p) not in own}
        self.start = {name: p.detach().to(torch.float32, copy=True) for name, p in merged.items()}
        self.device = learner.device
        self.sums: running_merges.Sums = {}
        self.tasks = 0

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start afresh."""
        if self.begin == "pretrained":
            self._put(learner, self.start)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Add the task to the sums and let the merged weights answer."""
        named = dict(learner.model.named_parameters())
        vector = {name: named[name].detach().float() - start for name, start in self.start.items()}
        self.tasks += 1
        with learner.clock.measure("train"):
            merged = self._merged(learner, task, vector)
        self._put(learner, {name: start + self.scale * merged[name] for name, start in self.start.items()})

    def _merged(self, learner: Learner, task: TaskData, vector: Weights) -> Weights:
        if self.rule == "fisher":
            self.sums = running_merges.add_fisher(self.sums, vector, self._fisher(learner, task))
            return running_merges.fisher_mean(self.sums)
        if self.rule == "ties":
            learned = {name for name, _ in learner.named_parameters()}
            self.sums = running_merges.add_ties(self.sums, vector, self.density, learned)
            return running_merges.ties(self.sums)
        if self.rule == "slerp":
            self.sums = running_merges.add_slerp(self.sums, vector, self.tasks)
            return self.sums["merged"]
        self.sums = running_merges.add_mean(self.sums, vector)
        return running_merges.mean(self.sums, self.tasks)

    def _fisher(self, learner: Learner, task: TaskData) -> Weights:
        """Of the task's model on its own examples, 0 for what did not learn."""
        stream = generator(learner.seed, "fisher", task.position)
        chosen = torch.randperm(len(task.train), generator=stream)[: self.fisher_samples].tolist()
        with learner.clock.measure("fisher"):
            found = diagonal_fisher(learner, [task.train[i] for i in chosen], "sampled", stream)
        return {name: found.get(name, torch.zeros_like(start)) for name, start in self.start.items()}

    @torch.no_grad()
    def _put(self, learner: Learner, weights: Weights) -> None:
        for name, parameter in learner.model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])

    def state_dict(self) -> dict[str, Any]:
        """The sums over the tasks so far, and how many there were."""
        return {"sums": self.sums, "tasks": self.tasks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.sums = {key: to_device(sums, self.device) for key, sums in state["sums"].items()}
        self.tasks = state["tasks"]
