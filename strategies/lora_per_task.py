"""A LoRA module of its own for every task on the frozen pretrained model: nothing is overwritten.

Hu et al. 2021, "LoRA"; the modules are PEFT's. The task's module answers where the task id is given; where it is not,
every learned module answers and the most confident one (highest softmax probability) is taken.
"""

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn

from clbench.data import Batch, TaskData
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.rng import stream_seed
from clbench.strategy import Strategy


class LoraPerTask(Strategy):
    """Per task: LoRA modules on the body's linear layers, and the output layer's rows of the task's labels.

    Args:
        rank: of each module.
        alpha: a module's output is scaled by alpha / rank.
        target_modules: names of the linear layers that get one, as PEFT matches them; empty for all in the body.
        learning_rate: peak learning rate of the modules; on text_seq's dev texts 0.003 gave .727, 0.001 only .643.
    """

    kinds = ("text",)
    settings = ("task", "class")
    alone = "lora_per_task never overwrites an old task's weights, so there is nothing to protect"

    def __init__(
        self, rank: int = 8, alpha: float = 16.0, target_modules: tuple[str, ...] = (), learning_rate: float = 3e-3
    ) -> None:
        if rank < 1 or alpha <= 0 or learning_rate <= 0:
            raise InputError(f"lora_per_task: {rank=}, {alpha=}, {learning_rate=}; allowed: numbers above 0")
        self.rank, self.alpha, self.target_modules, self.learning_rate = rank, alpha, target_modules, learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model and make every task's module, so that the structure is the same from the first step on."""
        linear = [n for n, m in learner.model.named_modules() if isinstance(m, nn.Linear) and not learner.is_head(n)]
        targets = [n for n in linear if any(n == t or n.endswith(f".{t}") for t in self.target_modules or linear)]
        if not targets:
            known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
            raise InputError(
                f"lora_per_task: target_modules = {self.target_modules!r} match no layer; allowed: {known}"
            )
        learner.local_labels = True
        learner.learning_rates["body"] = self.learning_rate
        settings = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets, lora_dropout=0.0)
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(learner.seed, "lora"))
            self.model = PeftModel(learner.model, settings, adapter_name=_name(0))
            for task in range(1, learner.tasks):
                self.model.add_adapter(_name(task), settings)
        learner.model = self.model
        self._activate(learner, 0)

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's module learn, and no other."""
        self._activate(learner, task.position)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """The given task's module, or the most confident of the learned ones."""
        if task_id is not None:
            self._use(task_id)
            return learner.logits(batch)
        answers = [self._log_probabilities(learner, batch, task) for task in range(learner.tasks_seen)]
        stacked = torch.stack(answers)  # (tasks, examples, labels)
        best = stacked.amax(-1).argmax(0)
        return stacked[best, torch.arange(len(best), device=best.device)]

    def _log_probabilities(self, learner: Learner, batch: Batch, task: int) -> Tensor:
        self._use(task)
        return learner.mask(learner.logits(batch), torch.full_like(batch["task_ids"], task)).log_softmax(-1)

    def _use(self, task: int) -> None:
        if self.model.active_adapter != _name(task):
            self.model.set_adapter(_name(task))

    def _activate(self, learner: Learner, task: int) -> None:
        self._use(task)
        for name, parameter in learner.model.named_parameters():
            parameter.requires_grad_(f".{_name(task)}." in name or learner.is_head(name))


def _name(task: int) -> str:
    return f"task{task}"
