"""SEQ*: the encoder learns in the first task only, old labels' rows never move again, and the head is a cosine.

Zheng et al. 2024, "Learn or Recall? Revisiting Incremental Learning with Pre-trained Language Models" (ACL). Of its
recipe: (1) warm-up: encoder and head learn in the first task, then the encoder is frozen; (2) the output rows of old
labels are frozen while new ones are learned; (3) logits are scale · cos(features, row) without bias, the paper's choice
for class-incremental learning without old data; head="linear" is its choice elsewhere. Not as in the paper: the warm-up
is the whole first task, where the authors warm up for some epochs and then train the head alone on the same task; the
cosine has a scale, where theirs has none; and their optional (4), labels still to come compete already, is left out.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from clbench import Learner, Strategy, TaskData
from clbench.errors import InputError
from clbench.toolkit import Range, hold_other_rows


class _CosineLinear(nn.Linear):
    """Logits (examples, labels): scale times the cosine between features and each row of ``layer``'s weight."""

    def __init__(self, layer: nn.Linear, scale: float) -> None:
        # On "meta" no random number is drawn for a weight that is replaced at once.
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias, self.scale = layer.weight, layer.bias, scale
        if self.bias is not None:
            nn.init.zeros_(self.bias)
            self.bias.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        rows = self.scale * nn.functional.normalize(self.weight, dim=-1)
        return nn.functional.linear(nn.functional.normalize(input, dim=-1), rows, self.bias)


class SeqStar(Strategy):
    """In the task setting nothing is forgotten after the first task: nothing that answers an old task moves.

    In the domain setting all labels are old after the first task, so nothing more could be learned: refused.

    Args:
        head: "cosine" or "linear" (the model's own).
        scale: of the cosine, above 0; not tuned.
    """

    carries_optimizer = False  # carried moments would move the output rows that it holds
    kinds = ("text", "image", "token")
    settings = ("task", "class")
    own_labels = True

    hook_phases = {"before_task": "close", "before_step": "fix"}
    search_spaces = {"scale": Range(4.0, 64.0, log=True)}

    def __init__(self, head: Literal["cosine", "linear"] = "cosine", scale: float = 16.0) -> None:
        if scale <= 0:
            raise InputError(f"seq_star: {scale=}; allowed: above 0")
        self.head, self.scale = head, scale

    def setup(self, learner: Learner) -> None:
        """Put the cosine in the output layer's place.

        Raises:
            InputError: another strategy has frozen the output layer.
        """
        if not any(parameter.requires_grad for parameter in learner.output_layer().parameters()):
            raise InputError("seq_star: after the first task the output layer alone learns, and another strategy has "
                             "frozen it; allowed: a stack without that one")  # fmt: skip
        self.old: Tensor | None = None
        learner.held_rows = True
        if self.head == "cosine":
            layer = learner.output_layer()
            name = next(name for name, module in learner.model.named_modules() if module is layer)
            parent, _, child = name.rpartition(".")
            setattr(learner.model.get_submodule(parent), child, _CosineLinear(layer, self.scale))

    def before_task(self, learner: Learner, task: TaskData) -> None:
        """After the first task let only the output layer learn, and of it only the new labels' rows."""
        if isinstance(layer := learner.output_layer(), _CosineLinear) and layer.bias is not None:
            layer.bias.requires_grad_(False)  # whatever else says which weights learn
        old = {column for columns in learner.labels.columns[: task.position] for column in columns}
        rows = [column in old for column in range(len(learner.labels.names))]
        self.old = torch.tensor(rows, device=learner.device) if old else None
        if task.position > 0:
            learning = [p for p in learner.output_layer().parameters() if p.requires_grad]
            learner.model.requires_grad_(False)
            for parameter in learning:
                parameter.requires_grad_(True)

    def before_step(self, learner: Learner) -> None:
        """Old rows get no gradient; with a new optimizer in each task and no decay of the head they do not move."""
        hold_other_rows(learner, self.old)
