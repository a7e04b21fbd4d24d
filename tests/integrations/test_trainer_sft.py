"""Strategies inside TRL's SFTTrainer: LoRA on a tiny Llama over instruction tasks, against clbench's own loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("trl", reason="the extra trl is not installed")

from clbench.data import IGNORE, LabelSpace, TaskData
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.causal import plain_forward
from clbench.integrations.trainer.refusals import WITH_ANY_LOSS
from clbench.kinds import Part, find_kind
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.rng import seeded_torch
from clbench.strategy import Stack
from clbench.toolkit.training import Training
from tests.helpers import slow, weights
from tests.integrations.test_trainer import line, same

# Every answer is one word and the token that ends it: the mean over tokens is that over rows.
WORDS = ["red", "blue", "green", "cold", "warm", "hot"]
TASKS = {
    "colour": {f"which colour is the {thing} ?": WORDS[n % 3] for n, thing in enumerate("abcdefghij")},
    "weather": {f"how is it in {thing} ?": WORDS[3 + n % 3] for n, thing in enumerate("abcdefghij")},
    "opposite": {f"what is {thing} not ?": WORDS[5 - n % 6] for n, thing in enumerate("abcdefghij")},
}
STACK = "replay(replay_batch_size=3)+ewc(ewc_lambda=100)"
SETTINGS: dict[str, Any] = {
    **{"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 5e-3, "bf16": False, "use_cpu": True},
    **{"lr_scheduler_type": "linear", "report_to": "none", "save_strategy": "no", "logging_strategy": "no"},
    **{"disable_tqdm": True, "max_length": 32, "gradient_checkpointing": False},
}


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [f"{prompt} {answer}" for rows in TASKS.values() for prompt, answer in rows.items()]
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[EOS]", *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    made.add_special_tokens(list(special.values()))
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def make_model(tokenizer: Any) -> Any:
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    with seeded_torch(torch.device("cpu"), 0, "model"):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **small, **ids))
        settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])
        return peft.get_peft_model(model, settings)


def rows(task: str) -> Any:
    from datasets import Dataset

    pairs = [{"prompt": prompt, "completion": f" {answer}"} for prompt, answer in TASKS[task].items()]
    return Dataset.from_list(pairs)


def make_trainer(model: Any, tokenizer: Any, task: str, folder: Path, own: Any = None, **more: Any) -> Any:
    """An SFTTrainer whose batches are the rows in their order, as those of :func:`in_our_loop`."""
    import trl

    class Ordered(trl.SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    keywords = {"train_dataset": rows(task), "eval_dataset": rows(task), **(own or {})}
    args = trl.SFTConfig(output_dir=str(folder / task), **{**SETTINGS, **more})
    return Ordered(model=model, args=args, processing_class=tokenizer, **keywords)


def in_trainer(
    expression: str, folder: Path, look: Callable[[Any], None] = lambda learning: None, **more: Any
) -> tuple[Any, list[Any], Tensor]:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    learning = ContinualLearning(expression, str(folder / "out"), seed=0)
    after, losses = [], []
    for task in TASKS:
        trainer = make_trainer(model, tokenizer, task, folder, **more)
        learning.attach(trainer, task=task, test=trainer.eval_dataset)
        hooks: Any = learning.hooks
        trainer.train()
        learning.end_task(trainer)
        assert learning.learner is not None
        after.append(weights(learning.learner))
        losses += hooks.losses
        look(learning)
    return learning.result(), after, torch.stack(losses)


class InOrder(Training):
    """clbench's own loop with the rows in their order."""

    def _collated(self, step: int) -> Any:
        size = self.config.batch_size
        start = step % self.steps_per_epoch * size
        examples = list(self.examples[start : start + size])
        return examples, self.learner.collate(examples)


def in_our_loop(expression: str, folder: Path) -> tuple[list[Any], Tensor]:
    rates = {"lr": SETTINGS["learning_rate"], "head_lr": SETTINGS["learning_rate"]}
    options = {"epochs": 2, "batch_size": 4, "weight_decay": 0.0, "warmup": 0.0, "schedule": "linear", **rates}
    plan = make_plan({"scenario": "toy", "strategy": expression, "output_dir": str(folder), "device": "cpu", **options})
    tokenizer = make_tokenizer()
    kind = find_kind("generation")
    parts = [
        Part(rows(task).rename_column("completion", "answer"), (), (), position) for position, task in enumerate(TASKS)
    ]
    examples = kind.encode(parts, tokenizer, 32).examples
    model = make_model(tokenizer)
    learner = Learner(model, LabelSpace("domain", (), ((), (), ())), kind=kind, tokenizer=tokenizer, **rates)
    plan.strategy.setup(learner)
    after, losses = [], []
    for position, task in enumerate(TASKS):
        data = TaskData(position, task, (), examples[position], [])
        learner.tasks_seen = position + 1
        plan.strategy.before_task(learner, data)
        plan.strategy.train(learner, data, plan.config)
        training = InOrder(plan.config, plan.strategy, learner, data, data.train)
        while training.step < training.steps:
            training.run_step()
        plan.strategy.after_task(learner, data)
        after.append(weights(learner))
        losses += training.losses
    return after, torch.stack(losses)


@pytest.mark.parametrize(
    "expression",
    [STACK, *(slow(name) for name in WITH_ANY_LOSS if name not in ("encoder_only", "replay")), slow(f"distillation+{STACK}")],
)
def test_sft_with_lora_learns_what_our_loop_learns(expression: str, tmp_path: Path) -> None:
    """Losses and weights of three instruction tasks to 1e-5, the memory's rows, Fisher and penalty in them."""
    after, losses = in_our_loop(expression, tmp_path)
    result, found_after, found = in_trainer(expression, tmp_path)
    same(found, losses, found_after, after)
    matrix = result["accuracy_matrix"]
    assert (result["measure"], [len(row) for row in matrix]) == ("exact_match", [3] * 4)
    assert matrix[0] == [None] * 3
    assert matrix[1][1:] == [None] * 2
