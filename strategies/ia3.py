"""Learned scales of keys, values and feed-forward activations, a set for every task, on the frozen pretrained model.

Liu et al. 2022, "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning": in each
layer softmax(Q (l_k ⊙ K)ᵀ / √d) (l_v ⊙ V) and (l_ff ⊙ γ(x W_1)) W_2. PEFT does it; its own choice of layers for BERT
also scales what the attention's output layer reads, which the paper does not, so the layers are named here.
"""

import warnings

from peft import IA3Config, PeftModel
from torch import Tensor

from clbench import Batch, Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, body_layers, check_statistics, matching, no_such_layer, seeded_torch

# Last part of the names, as BERT and its kin, Llama and its kin, OPT and BART, DistilBERT, DeBERTa, MPNet and T5 have
# them; transformers' ViT, DeiT and Swin are as Llama and OPT. GPT-2, ModernBERT and timm's ViT compute queries, keys
# and values in one layer: there the queries are scaled, too.
KEY_VALUE = (
    "key", "value", "k_proj", "v_proj", "k_lin", "v_lin", "key_proj", "value_proj", "k", "v", "c_attn", "Wqkv",
    "qkv",
)  # fmt: skip
FEED_FORWARD = ("output.dense", "down_proj", "fc2", "lin2", "ffn_output", "wo", "mlp.c_proj", "mlp.Wo")


class IA3(Strategy):
    """Per task: scales, 1 at the start, and the output layer's rows of the task's labels.

    Args:
        key_value_modules: names of the linear layers whose output is scaled; empty for the keys and values.
        feed_forward_modules: names of those whose input is scaled; empty for the feed-forward blocks' second layers.
        learning_rate: peak learning rate of the scales; the default is the best of 0.03, 0.1 and 0.3 on text_seq's
            dev texts.
    """

    kinds = ("text", "token", "generation", "image")
    settings = ("task",)
    own_labels = True
    alone = "ia3 never overwrites an old task's scales, so there is nothing to protect"
    search_spaces = {"learning_rate": Range(0.01, 1.0, log=True)}

    def __init__(
        self,
        key_value_modules: tuple[str, ...] = (),
        feed_forward_modules: tuple[str, ...] = (),
        learning_rate: float = 0.1,
    ) -> None:
        if learning_rate <= 0:
            raise InputError(f"ia3: {learning_rate=}; allowed: a number above 0")
        self.key_value_modules, self.feed_forward_modules = key_value_modules, feed_forward_modules
        self.learning_rate = learning_rate

    def setup(self, learner: Learner) -> None:
        """Wrap the model and make every task's scales."""
        linear = body_layers(learner)
        plain = [name for name in linear if "attention" not in name]
        outputs = matching(linear, self.key_value_modules or KEY_VALUE)
        inputs = matching(linear if self.feed_forward_modules else plain, self.feed_forward_modules or FEED_FORWARD)
        if not outputs or not inputs:
            given = f"{self.key_value_modules=}, {self.feed_forward_modules=}".replace("self.", "")
            raise no_such_layer("ia3", given, linear, learner)
        check_statistics(learner)
        learner.learning_rates["body"] = self.learning_rate
        settings = IA3Config(target_modules=[*outputs, *inputs], feedforward_modules=inputs)
        # PEFT draws numbers before it sets the scales to 1, and finds out by itself which way a layer's weights lie.
        with seeded_torch(learner.device, learner.seed, "ia3"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out is set")
            self.model = PeftModel(learner.model, settings, adapter_name=_name(0))
            for task in range(1, learner.tasks):
                self.model.add_adapter(_name(task), settings)
        learner.model = self.model
        learner.freeze_body()

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """Let this task's scales learn, and no other."""
        self._use(task.position)
        for name, parameter in learner.model.named_parameters():
            parameter.requires_grad_(name.endswith(f".{_name(task.position)}") or learner.is_head(name))

    def predict(self, learner: Learner, batch: Batch, task_id: int | None) -> Tensor | None:
        """Answer with the task's own scales."""
        assert task_id is not None
        self._use(task_id)
        return learner.logits(batch)

    def _use(self, task: int) -> None:
        if self.model.active_adapter != _name(task):
            self.model.set_adapter(_name(task))


def _name(task: int) -> str:
    return f"task{task}"
