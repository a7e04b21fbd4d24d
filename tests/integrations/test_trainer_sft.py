"""Strategies inside TRL's SFTTrainer: LoRA on a tiny Llama over instruction tasks, against clbench's own loop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

pytest.importorskip("trl", reason="the extra trl is not installed")

from clbench import plugins
from clbench.data import IGNORE, LabelSpace, TaskData
from clbench.integrations.trainer import ContinualLearning
from clbench.integrations.trainer.causal import check_prompts
from clbench.integrations.trainer.refusals import WITH_ANY_LOSS
from clbench.kinds import Part, find_kind
from clbench.learner import Learner
from clbench.plugins.plan import make_plan
from clbench.rng import seeded_torch
from clbench.toolkit.training import Training
from tests.helpers import ROOT, slow, weights
from tests.integrations.test_trainer import in_our_loop, line, same
from tests.integrations.test_trainer_resume import Kill, Killed, equal
from tests.test_docs import write_files

# Every answer is one word and the token that ends it: the mean over tokens is that over rows.
WORDS = ["red", "blue", "green", "cold", "warm", "hot"]
TASKS = {
    "colour": {f"which colour is the {thing} ?": WORDS[n % 3] for n, thing in enumerate("abcdefghij")},
    "weather": {f"how is it in {thing} ?": WORDS[3 + n % 3] for n, thing in enumerate("abcdefghij")},
    "opposite": {f"what is {thing} not ?": WORDS[5 - n % 6] for n, thing in enumerate("abcdefghij")},
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
STACK = "replay(replay_batch_size=3)+ewc(ewc_lambda=100)"
SETTINGS: dict[str, Any] = {
    **{"num_train_epochs": 1, "per_device_train_batch_size": 4, "learning_rate": 5e-3, "bf16": False, "use_cpu": True},
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
    pairs = [{"prompt": prompt, "completion": f" {answer}"} for prompt, answer in TASKS[task].items()]
    return Dataset.from_list(pairs)


def make_trainer(model: Any, tokenizer: Any, task: str, folder: Path, data: Any = None, **more: Any) -> Any:
    """An SFTTrainer whose batches are the rows in their order, as those of :func:`by_ourselves`."""
    import trl

    class Ordered(trl.SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    data = rows(task) if data is None else data
    args = trl.SFTConfig(output_dir=str(folder / task), **{**SETTINGS, **more})
    both = {"train_dataset": data, "eval_dataset": rows(task)}
    return Ordered(model=model, args=args, processing_class=tokenizer, **both)


def in_trainer(expression: str, folder: Path, **more: Any) -> tuple[Any, list[Any], Tensor]:
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
    return learning.result(), after, torch.stack(losses)


class InOrder(Training):
    """clbench's own loop with the rows in their order."""

    def collated(self, step: int) -> Any:
        size = self.config.batch_size
        start = step % self.steps_per_epoch * size
        examples = list(self.examples[start : start + size])
        return examples, self.learner.collate(examples)


def by_ourselves(expression: str, folder: Path) -> tuple[list[Any], Tensor]:
    rates = {"lr": SETTINGS["learning_rate"], "head_lr": SETTINGS["learning_rate"]}
    options = {"epochs": 1, "batch_size": 4, "weight_decay": 0.0, "warmup": 0.0, "schedule": "linear", **rates}
    plan = make_plan({"scenario": "toy", "strategy": expression, "output_dir": str(folder), "device": "cpu", **options})
    tokenizer = make_tokenizer()
    kind = find_kind("generation")
    parts = [
        Part(rows(task).rename_column("completion", "answer"), (), (), position) for position, task in enumerate(TASKS)
    ]
    examples = kind.encode(parts, tokenizer, 32).examples
    model = make_model(tokenizer)
    learner = Learner(model, LabelSpace("domain", (), ((), (), ())), kind=kind, tokenizer=tokenizer, **rates)
    tasks = [TaskData(position, task, (), examples[position], []) for position, task in enumerate(TASKS)]
    return in_our_loop(plan, learner, tasks, InOrder)


@pytest.mark.parametrize(
    "expression",
    [
        STACK,
        *(slow(name) for name in WITH_ANY_LOSS if name not in ("encoder_only", "replay")),
        slow(f"distillation+{STACK}"),
    ],
)
def test_sft_with_lora_learns_what_our_loop_learns(expression: str, tmp_path: Path) -> None:
    """Losses and weights of three instruction tasks to 1e-5, the memory's rows, Fisher and penalty in them."""
    after, losses = by_ourselves(expression, tmp_path)
    result, found_after, found = in_trainer(expression, tmp_path)
    same(found, losses, found_after, after)
    matrix = result["accuracy_matrix"]
    assert (result["measure"], [len(row) for row in matrix]) == ("exact_match", [3] * 4)
    assert matrix[0] == [None] * 3
    assert matrix[1][1:] == [None] * 2


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"gradient_accumulation_steps": 2}, {"gradient_checkpointing": True}])
def test_parts_and_checkpointed_activations_change_nothing(more: dict[str, Any], tmp_path: Path) -> None:
    """Against whole batches of 4 and activations that are kept, which is what our loop is compared with."""
    plain = {"optim": "sgd", "learning_rate": 1.0}
    result, after, losses = in_trainer(STACK, tmp_path / "one", **plain)
    size = {"per_device_train_batch_size": 4 // more.get("gradient_accumulation_steps", 1)}
    found, found_after, found_losses = in_trainer(STACK, tmp_path / "other", **plain, **size, **more)
    same(found_losses, losses, found_after, after)
    assert found["accuracy_matrix"] == result["accuracy_matrix"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{}, {"bf16": True, "gradient_accumulation_steps": 2}, {"loss_type": "dft"}, {"completion_only_loss": True}],
)
def test_naive_learns_what_sft_trainer_learns_alone(more: dict[str, Any], tmp_path: Path) -> None:
    """To the bit, and TRL's own figures are logged; the last of plain texts, of which every token is learned."""
    tokenizer, ends = make_tokenizer(), []
    texts = [{"text": f"{prompt} {answer}"} for prompt, answer in TASKS["colour"].items()]
    data = Dataset.from_list(texts) if "completion_only_loss" in more else None
    for attached in (False, True):
        model = make_model(tokenizer)
        trainer = make_trainer(model, tokenizer, "colour", tmp_path, data, logging_strategy="epoch", **more)
        if attached:
            ContinualLearning("naive", str(tmp_path)).attach(trainer, task="colour", test=trainer.eval_dataset)
        trainer.train()
        told = ("loss", "mean_token_accuracy", "entropy", "num_tokens", "grad_norm")
        log = [[entry[key] for key in told] for entry in trainer.state.log_history[:-1]]
        ends.append((log, {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}))
    assert ends[0][0] == ends[1][0]
    assert len(ends[0][0]) == SETTINGS["num_train_epochs"]
    for name, value in ends[0][1].items():
        assert torch.equal(ends[1][1][name], value)


@pytest.mark.slow
def test_a_script_with_lora_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """In the second task after its first checkpoint: adapters, answers and losses are those of a script left alone."""

    def script(folder: Path, kill: bool) -> Any:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        learning = ContinualLearning(STACK, str(folder / "out"), seed=0, state_dir=str(folder / "state"))
        for number, task in enumerate(TASKS):
            trainer = make_trainer(model, tokenizer, task, folder, save_strategy="epoch", num_train_epochs=2)
            if kill and number == 1:
                trainer.add_callback(Kill(4))
            learning.attach(trainer, task=task, test=trainer.eval_dataset)
            trainer.train(resume_from_checkpoint=learning.checkpoint(trainer))
            losses = getattr(learning.hooks, "losses", None)
            learning.end_task(trainer)
        return learning.result()["predictions_sha256"], losses, dict(model.state_dict())

    expected = script(tmp_path / "whole", False)
    with pytest.raises(Killed):
        script(tmp_path / "killed", True)
    assert equal(list(script(tmp_path / "killed", False)), list(expected))


def test_what_sft_trainer_does_that_memories_cannot_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    learning = ContinualLearning("naive", str(tmp_path))
    packed = make_trainer(model, tokenizer, "colour", tmp_path, packing=True, packing_strategy="wrapped")
    assert "packing = True does not work" in line(lambda: learning.attach(packed, "colour", packed.eval_dataset))
    trainer = make_trainer(model, tokenizer, "colour", tmp_path)
    test = trainer.eval_dataset
    assert "test of task 'colour' is not tokenised; allowed" in line(
        lambda: learning.attach(trainer, "colour", rows("colour"))
    )
    assert "setting 'task' limits labels" in line(
        lambda: ContinualLearning("naive", setting="task").attach(trainer, "colour", test)
    )
    assert "'der' means the model's cross-entropy, not Ordered.compute_loss" in line(
        lambda: ContinualLearning("der").attach(trainer, "colour", test)
    )
    assert "labels=[0] of task 'colour'" in line(lambda: learning.attach(trainer, "colour", test, labels=[0]))
    for labels, said in (
        ([5, IGNORE, IGNORE], "row 0 is learned from its first token on"),
        ([IGNORE, IGNORE, IGNORE], "row 0 has no token that is learned"),
        ([IGNORE, 5, IGNORE, 6, IGNORE], "row 0 has several answers"),
        ([IGNORE, 5, IGNORE, IGNORE], "row 0 has several answers or goes on after one"),
    ):
        assert said in line(lambda given=labels: check_prompts([{"label": torch.tensor(given)}], "test"))
    check_prompts([{"label": torch.tensor([IGNORE, 5, 2, IGNORE])}], "test")


@pytest.mark.slow
def test_the_script_of_the_page_runs_and_is_finished_when_it_is_started_again(tmp_path: Path) -> None:
    """As it stands, with a small model in the place of its own and small files."""
    tokenizer = make_tokenizer()
    make_model(tokenizer).get_base_model().save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    for name, task in zip(("colours", "weather", "opposites"), TASKS, strict=True):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            rows(task).to_json(str(tmp_path / name / f"{split}.jsonl"))
    script = write_files("docs/trainer.md", tmp_path)["sft.py"]
    script.write_text(script.read_text(encoding="utf-8").replace("Qwen/Qwen2.5-0.5B", "small"), encoding="utf-8")
    said = []
    for _ in range(2):
        python = [sys.executable, script.name]
        done = subprocess.run(python, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append([text for text in done.stdout.splitlines() if "train_runtime" not in text])
    assert said[0] == said[1]
    assert [text.split()[0] for text in said[0][:3]] == ["colours", "weather", "opposites"]
    assert "'forgetting'" in said[0][3]


def test_the_page_says_which_strategies_work_with_sft_trainer() -> None:
    page = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")
    sentence = page.partition("strategies below these work there:")[2].partition(";")[0]
    kinds = {name: plugins.load("strategy", name).kinds for name in WITH_ANY_LOSS}
    assert set(re.findall(r"`(\w+)`", sentence)) == {
        name for name, own in kinds.items() if not own or "generation" in own
    }
