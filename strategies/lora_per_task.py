"""A LoRA module of its own for every task on the frozen pretrained model: nothing is overwritten.

Hu et al. 2021, "LoRA"; the modules are PEFT's. The task's module answers where the task id is given; where it is not,
every learned module answers and a router takes one answer. ``quantization="4bit"`` is QLoRA (Dettmers et al. 2023),
``adaptive_rank`` AdaLoRA (Zhang et al. 2023).
"""

from typing import Any, Literal

from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.toolkit import AdaptiveRank, Choices, Range, Router, RunConfig, adaptive_settings, lora


class LoraPerTask(Strategy):
    """Per task: LoRA modules on the body's layers, and the output layer's rows of the task's labels.

    They go on its linear layers, or on its convolutions where it has none.

    Args:
        rank: of each module.
        alpha: a module's output is scaled by alpha / rank.
        target_modules: names of the layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the modules; the default is the best of 0.001, 0.003 and 0.01 on text_seq's
            dev texts.
        quantization: "4bit" stores the body's linear layers in NormalFloat4; needs a GPU and bitsandbytes.
        adaptive_rank: ``rank`` is the mean over the layers at a task's end, from 1.5 times as much; not tuned. It wants
            a higher learning_rate: on toy 0.003 learned nothing, 0.03 as much as without it.
        router: where no id is given, the task of the nearest class mean of the pretrained features ("prototype"), or
            the module that is surest, compared with how sure it is in the mean of its own task's dev texts: by the
            log-odds of its best label ("confidence") or −ln of its entropy ("entropy"). A module of one label is never
            unsure, so its task is found by class means there, too. On dev of wordnet_class (120 texts a class, seed
            100) these gave .678, .315 and .312, the last two without the comparison .236. "oracle" needs the id. How
            often the router is right on the learned tasks' dev texts is noted as "routing".
    """

    kinds = ("text", "token", "generation", "image")
    settings = ("task", "class")
    own_labels = True
    alone = "lora_per_task never overwrites an old task's weights, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(3e-4, 3e-2, log=True), "rank": Choices((4, 8, 16))}

    def __init__(
        self,
        rank: int = 8,
        alpha: float = 16.0,
        target_modules: tuple[str, ...] = (),
        learning_rate: float = 3e-3,
        quantization: Literal["4bit"] | None = None,
        adaptive_rank: bool = False,
        router: Literal["oracle", "confidence", "entropy", "prototype"] = "prototype",
    ) -> None:
        lora.check_arguments("lora_per_task", rank=rank, alpha=alpha, learning_rate=learning_rate)
        lora.check_quantization("lora_per_task", quantization)
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate
        self.quantization, self.adaptive_rank, self.router = quantization, adaptive_rank, Router(router)

    @property
    def routing(self) -> str:
        """The router's rule; the oracle is none."""
        return "" if self.router.rule == "oracle" else self.router.rule

    def setup(self, learner: Learner) -> None:
        """Wrap the model and make every task's module, so that the structure is the same from the first step on."""
        self.router.check("lora_per_task", learner.labels.setting)
        self.routed = learner.labels.setting != "task"
        lora.check_quantization("lora_per_task", self.quantization, learner.device)
        targets = lora.target_layers("lora_per_task", learner, self.target_modules, self.rank)
        if self.adaptive_rank:
            lora.check_linear("lora_per_task: adaptive_rank", learner, targets)
        if self.quantization:
            lora.quantize_4bit(learner.model, targets, learner.precision)
        make = adaptive_settings if self.adaptive_rank else lora.lora_settings
        self.model, self.names = lora.add_task_modules(
            learner, lambda: make(targets, self.rank, self.alpha), self.learning_rate
        )
        self.layers = list(lora.lora_layers(self.model).values())
        self.ranks = AdaptiveRank(self.model, self.names) if self.adaptive_rank else Strategy()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's module learn, and no other."""
        lora.use_module(self.model, self.names[task.position])
        lora.learn_only(learner, self.names[task.position])
        self.ranks.before_task(learner, task)

    def train(self, learner: Learner, task: TaskData, config: RunConfig) -> int | None:
        """Training is the engine's; AdaLoRA looks how many steps it will take."""
        return self.ranks.train(learner, task, config)

    def loss(self, learner: Learner, batch: Batch, logits: Tensor) -> Tensor | None:
        """AdaLoRA's regularisation."""
        return self.ranks.loss(learner, batch, logits)

    def before_step(self, learner: Learner) -> None:
        """AdaLoRA keeps the gradients."""
        self.ranks.before_step(learner)

    def after_step(self, learner: Learner) -> None:
        """AdaLoRA moves the ranks."""
        self.ranks.after_step(learner)

    def after_task(self, learner: Learner, task: TaskData) -> None:
        """Note the ranks, and how often the router finds the learned tasks' modules."""
        self.ranks.after_task(learner, task)
        if self.routed:
            accuracy = self.router.learn(learner, self.layers, task)
            learner.note("routing", task=task.name, router=self.router.rule, accuracy=accuracy)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The given task's module, or the one that the router chooses."""
        if task_id is None:
            # Before the first task is learned there is nothing to choose from.
            return self.router.answer(learner, self.layers, batch)[0] if self.router.usual else None
        lora.use_module(self.model, self.names[task_id])
        return learner.logits(batch)

    def test_passes(self, evaluations: int) -> int:
        """Without a task id one through each module at most, and one through the pretrained model."""
        return len(self.names) + 1 if evaluations and self.routed else evaluations

    def state_dict(self) -> dict[str, Any]:
        """What the router has learned, and where AdaLoRA is."""
        return {"router": self.router.state_dict(), "ranks": self.ranks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self.router.load_state_dict(state["router"], next(self.model.parameters()).device)
        self.ranks.load_state_dict(state["ranks"])
