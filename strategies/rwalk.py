"""Riemannian walk: weights that moved the loss far for a short way in the model's own metric are held where they were.

Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning", equations 6 to 10. Every ``interval`` steps
s_i += max(0, ΔL_i / (½ F_i Δθ_i² + damping)), ΔL_i = −Σ g_i Δθ_i over those steps, g the gradient of the task loss
alone, Δθ_i the weight's move in them, and F the running Fisher, which then becomes alpha · F_new + (1 − alpha) · F.
At a task's end the score is the mean of the past score and s (of s alone after the first task), and the loss of what
follows gains strength · Σ_i (F_i + score_i) (θ_i − θ*_i)², both brought to 0..1, θ* the weights as the task left them.
"""

from typing import Any

import torch

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    FisherKind,
    PathIntegral,
    Range,
    Weights,
    add_pull,
    copy_weights,
    diagonal_fisher,
    generator,
    to_device,
    unit_range,
    zeros,
)

STATE = ("fisher", "score", "importance", "centre", "walked")


class RWalk(Strategy):
    """F_new is the mean of squared per-example gradients, not the squared gradient of a batch, as everywhere here.

    That F and the score are brought to 0..1 by their least and greatest values is the authors' code's. In a stack, what
    another strategy adds to the loss is taken for task loss; what it adds to the gradients is not.

    Args:
        strength: λ, 0 or more; the default is the best of 1,200, 4,000 and 12,000 on text_seq's dev texts.
        alpha: weight of the newest Fisher in the running one, above 0 to 1; 0.9 is the paper's.
        interval: steps between two updates of the Fisher and the score, 1 or more; not tuned.
        fisher: labels drawn from the model ("sampled"), true ("empirical"), or the expectation over all ("exact").
        fisher_samples: the task's training examples of one F_new, drawn anew each time, 1 or more; not tuned.
        damping: above 0; 0.001 is the authors' code's.
    """

    search_spaces = {"strength": Range(100.0, 100_000.0, log=True)}

    def __init__(
        self,
        strength: float = 4000.0,
        alpha: float = 0.9,
        interval: int = 10,
        fisher: FisherKind = "empirical",
        fisher_samples: int = 32,
        damping: float = 1e-3,
    ) -> None:
        if strength < 0 or not 0 < alpha <= 1 or interval < 1 or fisher_samples < 1 or damping <= 0:
            given = f"{strength=}, {alpha=}, {interval=}, {fisher_samples=}, {damping=}"
            allowed = "strength 0 or more, alpha above 0 to 1, interval and fisher_samples 1 or more, damping above 0"
            raise InputError(f"rwalk: {given}; allowed: {allowed}")
        self.strength, self.alpha, self.interval = strength, alpha, interval
        self.kind, self.fisher_samples, self.damping = fisher, fisher_samples, damping

    def setup(self, learner: Learner) -> None:
        """Nothing is important before the first task has ended."""
        self.device, self.steps = learner.device, 0
        self.fisher, self.score = Weights(), Weights()
        self.importance, self.centre, self.walked = Weights(), Weights(), Weights()
        self.path = PathIntegral()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Start a new walk."""
        self.task, self.steps = task, 0
        self.walked = zeros(learner)
        self.path.begin(learner)
        if any(name not in self.fisher for name in self.walked):
            self.fisher = self._new_fisher(learner) | self.fisher

    def read_gradients(self, learner: Learner) -> None:
        """Keep the task's gradient."""
        self.path.before_step(learner)

    def before_step(self, learner: Learner) -> None:
        """Add the penalty's."""
        add_pull(learner, self.importance, self.centre, 2 * self.strength)

    def after_step(self, learner: Learner) -> None:
        """One step more of the path, and after ``interval`` steps of the walk."""
        self.path.after_step(learner)
        self.steps += 1
        if self.steps % self.interval == 0:
            self._walk(learner)

    def after_steps(self, learner: Learner, task: TaskData) -> None:
        """Turn the walk and the Fisher into importance."""
        if self.steps % self.interval:
            self._walk(learner)
        past = self.score or self.walked
        self.score = {name: (past.get(name, walked) + walked) / 2 for name, walked in self.walked.items()}
        fisher, score = unit_range(self.fisher), unit_range(self.score)
        self.importance = {name: fisher[name] + score[name] for name in score}
        self.walked, self.path = {}, PathIntegral()

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """From now on the penalty pulls to the weights that answer."""
        self.centre |= copy_weights(learner)

    def state_dict(self) -> dict[str, Any]:
        """The Fisher, the score, what they became, and inside a task the walk so far."""
        path = self.path.state_dict()
        return {"steps": self.steps, "path": path, **{name: getattr(self, name) for name in STATE}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all of it."""
        self.steps = state["steps"]
        self.path.load_state_dict(state["path"], self.device)
        for name in STATE:
            setattr(self, name, to_device(state[name], self.device))

    def _walk(self, learner: Learner) -> None:
        now = copy_weights(learner)
        for name, decrease in self.path.decrease.items():
            if name in now:
                way = 0.5 * self.fisher[name] * (now[name] - self.path.start[name]).square() + self.damping
                self.walked[name] += (decrease / way).clamp(min=0.0)
        for name, value in self._new_fisher(learner).items():
            self.fisher[name] = self.fisher.get(name, value).lerp(value, self.alpha)
        self.path.begin(learner)

    def _new_fisher(self, learner: Learner) -> Weights:
        stream = generator(learner.seed, "rwalk", self.task.position, self.steps)
        order = torch.randperm(len(self.task.train), generator=stream)[: self.fisher_samples].tolist()
        return diagonal_fisher(learner, [self.task.train[i] for i in order], self.kind, stream)
