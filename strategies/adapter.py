"""Bottleneck adapters after attention and feed-forward in every layer, a set for every task, on the frozen model.

Houlsby et al. 2019, "Parameter-efficient transfer learning for NLP": what a sub-layer's last projection gives, h,
becomes h + W_up φ(W_down h + b_down) + b_up before the skip connection is added. W_up and b_up start at 0, so an
adapter starts as the identity (the paper draws them near 0). The paper learns the layer norms as well; here they stay
as they are. PEFT has no such module.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import ALL_SETTINGS, stream_seed

# Last part of the names of both sub-layers' projections in BERT and its kin, Llama and its kin, OPT, and DistilBERT.
PROJECTIONS = ("output.dense", "o_proj", "down_proj", "out_proj", "fc2", "out_lin", "lin2")


class Adapter(Strategy):
    """Per task: two adapters a layer, and the output layer's rows of the task's labels.

    Args:
        bottleneck: units between an adapter's two layers, 1 or more; 64 is the paper's choice where one size serves
            all tasks.
        shared: one set of adapters that all tasks learn in turn, in any setting: fine-tuning with fewer weights, which
            forgets, and which can be stacked with what protects weights or replays.
        target_modules: names of the linear layers that get one; empty for the attention's and feed-forward's last.
        learning_rate: peak learning rate of the adapters; the default is the best of 0.0003, 0.001, 0.003 and 0.01 on
            text_seq's dev texts.
    """

    kinds = ("text",)
    settings = ("task",)
    alone = "adapter never overwrites an old task's weights, so there is nothing to protect; adapter(shared=True) does"

    def __init__(
        self,
        bottleneck: int = 64,
        shared: bool = False,
        target_modules: tuple[str, ...] = (),
        learning_rate: float = 3e-3,
    ) -> None:
        if bottleneck < 1 or learning_rate <= 0:
            raise InputError(f"adapter: {bottleneck=}, {learning_rate=}; allowed: numbers above 0")
        self.bottleneck, self.shared, self.learning_rate = bottleneck, shared, learning_rate
        self.target_modules = target_modules
        if shared:
            vars(self).update(settings=ALL_SETTINGS, alone="")  # of this one, not of the class

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model every set of adapters."""
        linear = {n: m for n, m in learner.model.named_modules() if isinstance(m, nn.Linear) and not learner.is_head(n)}
        wanted = self.target_modules or PROJECTIONS
        layers = [m for n, m in linear.items() if any(n == end or n.endswith(f".{end}") for end in wanted)]
        if not layers:
            known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
            raise InputError(f"adapter: target_modules = {self.target_modules!r} match no layer; allowed: {known}")
        learner.learning_rates["body"] = self.learning_rate
        count = 1 if self.shared else learner.tasks
        with torch.random.fork_rng():
            torch.manual_seed(stream_seed(learner.seed, "adapters"))
            sets = [nn.ModuleList(_adapter(m.out_features, self.bottleneck) for m in layers) for _ in range(count)]
        self.adapters = nn.ModuleList(sets).to(learner.device)
        self.task = 0
        for number, layer in enumerate(layers):
            layer.register_forward_hook(self._after(number))
        learner.model.add_module("adapters", self.adapters)
        learner.freeze_body()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's adapters learn, and no other's."""
        self.task = 0 if self.shared else task.position
        learner.freeze_body()
        self.adapters[self.task].requires_grad_(True)

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own adapters."""
        if self.shared:
            return None
        assert task_id is not None
        self.task = task_id
        return learner.logits(batch)

    def _after(self, number: int) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
            added: Tensor = self.adapters[self.task][number](output)  # type: ignore[index]
            return output + added

        return hook


def _adapter(width: int, bottleneck: int) -> nn.Sequential:
    up = nn.Linear(bottleneck, width)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(nn.Linear(width, bottleneck), nn.GELU(), up)
