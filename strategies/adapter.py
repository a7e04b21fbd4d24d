"""Bottleneck adapters after attention and feed-forward in every layer, a set for every task, on the frozen model.

Houlsby et al. 2019, "Parameter-efficient transfer learning for NLP": what a sub-layer's last projection gives, h,
becomes h + W_up φ(W_down h + b_down) + b_up before the skip connection is added. W_up and b_up start at 0, so an
adapter starts as the identity (the paper draws them near 0). The paper learns the layer norms as well; here they stay
as they are. PEFT has no such module.
"""

from contextlib import AbstractContextManager

from torch import Tensor, nn

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import (
    ALL_SETTINGS,
    Choices,
    Range,
    body_layers,
    check_statistics,
    layer_sizes,
    matching,
    no_such_layer,
    seeded_torch,
    temporarily,
)

# Last part of the names of both sub-layers' projections in BERT and its kin, Llama and its kin, OPT and BART,
# DistilBERT, ALBERT, MPNet's attention and T5, ModernBERT, GPT-2, GPT-NeoX, and timm's ViT; transformers' ViT, DeiT and
# Swin are as Llama and OPT. XLNet's attention has no such layer.
PROJECTIONS = (
    "output.dense", "o_proj", "down_proj", "out_proj", "fc2", "out_lin", "lin2", "attention.dense", "ffn_output", "o",
    "wo", "Wo", "c_proj", "dense_4h_to_h", "layer_2", "attn.proj",
)  # fmt: skip
# A bottleneck wider than this many times what it bottles is a slip.
MOST = 16


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

    kinds = ("text", "token", "generation", "image")
    settings = ("task",)
    own_labels = True
    alone = "adapter never overwrites an old task's weights, so there is nothing to protect; adapter(shared=True) does"

    decides = ("which weights learn",)
    hook_phases = {"before_task": "open"}
    search_spaces = {"learning_rate": Range(3e-4, 3e-2, log=True), "bottleneck": Choices((16, 64))}

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
            vars(self).update(settings=ALL_SETTINGS, own_labels=False, alone="")  # of this one, not of the class

    def setup(self, learner: Learner) -> None:
        """Freeze the body and give the model every set of adapters."""
        linear = body_layers(learner)
        layers = [linear[name] for name in matching(linear, self.target_modules or PROJECTIONS)]
        if not layers:
            raise no_such_layer("adapter", f"target_modules = {self.target_modules!r}", linear, learner)
        widths = [layer_sizes(layer)[1] for layer in layers]
        if self.bottleneck > MOST * max(widths):
            raise InputError(f"adapter: bottleneck = {self.bottleneck}; allowed: 1 to {MOST * max(widths)}, "
                             f"{MOST} times the width of the model's layers")  # fmt: skip
        if not self.shared:
            check_statistics(learner)
        learner.learning_rates["body"] = self.learning_rate
        count = 1 if self.shared else learner.tasks
        with seeded_torch(learner.device, learner.seed, "adapters"):
            sets = [nn.ModuleList(_adapter(width, self.bottleneck) for width in widths) for _ in range(count)]
        self.adapters = nn.ModuleList(sets).to(learner.device)
        self.task: int | None = 0
        for number, layer in enumerate(layers):
            # Kept with the layer, so that a copy of the model (a teacher) goes through its own adapters.
            vars(layer)["own_adapters"] = [each[number] for each in self.adapters]  # type: ignore[index]
            layer.register_forward_hook(self._after)
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

    def outside_tasks(self, learner: Learner) -> AbstractContextManager[None]:
        """The pretrained model; adapters that all tasks share are a part of it."""
        return temporarily(self, task=self.task if self.shared else None)

    def _after(self, layer: nn.Module, _: object, output: Tensor) -> Tensor:
        if self.task is None:
            return output
        added: Tensor = vars(layer)["own_adapters"][self.task](output)
        return output + added


def _adapter(width: int, bottleneck: int) -> nn.Sequential:
    up = nn.Linear(bottleneck, width)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(nn.Linear(width, bottleneck), nn.GELU(), up)
