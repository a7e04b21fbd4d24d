"""The test of what a model could do before: losses by hand, masks, and what is switched off while it is taken."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from clbench.config import make_config
from clbench.data import IGNORE, LabelSpace
from clbench.learner import Learner
from clbench.models import load_masked
from clbench.models.loading import load_model
from clbench.plugins import build
from clbench.toolkit import (
    AbilityTest,
    feature_accuracy,
    masked_loss,
    masked_tokens,
    measure_ability,
    next_tokens,
    token_loss,
)
from clbench.toolkit.frozen_features import collect_features
from clbench.toolkit.linear_probe import Examples, probe_accuracy
from tests.helpers import Examples as MakeExamples, MakeLearner, strategy, task_data
from tests.models.zoo import LAYERS, POSITIONS, VOCABULARY, save, tokenizer

TEXTS = ["word5 word6 word7 word8 word9", "word9 word5", "word7 word7 word12 word30 word31 word32 word6"]


def tiny_llama(make_learner: MakeLearner) -> Learner:
    settings = LlamaConfig(vocab_size=VOCABULARY, **LAYERS, num_key_value_heads=1, max_position_embeddings=POSITIONS)
    model = LlamaForCausalLM(settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return make_learner(model=model)


def test_the_loss_per_token_is_the_one_by_hand_at_any_batch_size(make_learner: MakeLearner) -> None:
    learner = tiny_llama(make_learner)
    examples = next_tokens(TEXTS, tokenizer(0, 1), 6)  # the longest text is cut, with its special tokens
    total, count = 0.0, 0
    for example in examples:
        ids = example["input_ids"]
        with torch.no_grad():
            chances = learner.model(input_ids=ids[None]).logits[0].softmax(-1)
        for place in range(len(ids) - 1):
            total -= float(chances[place, ids[place + 1]].log())
            count += 1
    assert [len(example["input_ids"]) for example in examples] == [6, 4, 6]
    assert count == 13
    for tokens in (1, 12, 1000):
        learner.pass_budget = tokens
        assert token_loss(learner, examples) == pytest.approx(total / count, abs=1e-6)


def test_the_probe_reads_the_mean_token_states(make_learner: MakeLearner, make_examples: MakeExamples) -> None:
    learner = make_learner()
    body: Any = learner.body
    splits = [make_examples(learner.labels, count, seed=seed) for seed, count in enumerate((16, 9))]
    read = []
    for examples in splits:
        with torch.no_grad():
            states = [body.eval()(input_ids=example["input_ids"][None])[0][0].mean(0) for example in examples]
        read.append(Examples(torch.stack(states).double(), torch.tensor([example["label"] for example in examples])))
    accuracy = feature_accuracy(learner, *splits)
    assert accuracy == probe_accuracy(*read)
    assert 0 < accuracy < 1


def moved(learner: Learner) -> None:
    """Let everything that may learn, but not the head, have learned something."""
    stream = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            if not learner.is_head(name):
                parameter.add_(torch.randn(parameter.shape, generator=stream))


def state_sum(learner: Learner, examples: list[Any]) -> float:
    return float(collect_features(learner, examples, "mean")[0].sum())


@pytest.mark.parametrize(
    "name",
    ["adapter", "ia3", "independent", "lora_per_task", "p_tuning_v2", "prefix_tuning", "progressive_prompts",
     "prompt_tuning"],
)  # fmt: skip
def test_nothing_is_lost_where_a_tasks_own_is_switched_off(
    name: str, make_learner: MakeLearner, make_examples: MakeExamples
) -> None:
    learner = make_learner()
    learner.tasks_seen = 2
    examples = make_examples(learner.labels, 5)
    test = AbilityTest("sum of states", "units", False, partial(state_sum, examples=examples))
    before = test.measure(learner)
    built = strategy(name, learner)
    assert measure_ability(test, learner, built) == before
    built.before_task(learner, task_data(learner, 1))
    moved(learner)
    built.after_task(learner, task_data(learner, 1, examples[:2], examples[:2]))
    assert measure_ability(test, learner, built) == before  # exactly
    batch = learner.collate(examples)
    built.predict(learner, batch, 1)
    answered = test.measure(learner)
    assert answered != before  # what the task answers with
    assert measure_ability(test, learner, built) == before
    assert test.measure(learner) == answered  # it is on again


@pytest.mark.parametrize("name", ["naive", "lora_sequential", "adapter(shared=True)", "lora_merge"])
def test_what_all_tasks_share_is_part_of_the_model(
    name: str, make_learner: MakeLearner, make_examples: MakeExamples
) -> None:
    learner = make_learner()
    examples = make_examples(learner.labels, 5)
    test = AbilityTest("sum of states", "units", False, partial(state_sum, examples=examples))
    before = test.measure(learner)
    built = strategy("adapter", learner, shared=True) if "shared" in name else strategy(name, learner)
    built.before_task(learner, task_data(learner, 0))
    moved(learner)
    built.after_task(learner, task_data(learner, 0, examples[:2], examples[:2]))
    assert measure_ability(test, learner, built) != before


def test_a_masked_language_models_own_head_reads_the_current_body(tmp_path: Path) -> None:
    words = tokenizer(0, 1, ["[MASK]"])
    words.mask_token = "[MASK]"
    torch.manual_seed(0)
    whole = BertForMaskedLM(BertConfig(vocab_size=VOCABULARY, **LAYERS, max_position_embeddings=POSITIONS)).eval()
    whole.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    tasks = build("scenario", "toy", {"train": 3, "dev": 3, "test": 3}).tasks()
    config = make_config({"scenario": "toy", "strategy": "naive", "model": str(tmp_path)})
    loaded = load_model(config, tasks, 9, torch.device("cpu"))
    masked = load_masked(config, torch.device("cpu"))
    assert masked is not None
    learner = Learner(loaded.model.eval(), LabelSpace("task", ("label",) * 9, ((0,),)), head=loaded.head)
    examples = masked_tokens([" ".join(TEXTS * 3)], words, 10, 3)
    assert [len(example["input_ids"]) for example in examples] == [10, 10, 10]
    hidden = [example["label"] != IGNORE for example in examples]
    assert 0 < sum(int(each.sum()) for each in hidden) < 15
    total = 0.0
    for example, places in zip(examples, hidden, strict=True):
        assert (example["input_ids"][places] == words.mask_token_id).all()
        assert not (places[0] | places[-1])  # special tokens
        logits = whole(input_ids=example["input_ids"][None]).logits[0].detach().log_softmax(-1)
        total -= sum(float(logits[place, example["label"][place].item()]) for place in places.nonzero().flatten())
    expected = total / sum(int(each.sum()) for each in hidden)
    assert masked_loss(learner, examples, masked) == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        body: Any = learner.body
        body.get_input_embeddings().weight.mul_(3)
    assert masked_loss(learner, examples, masked) != pytest.approx(expected, abs=1e-3)


def test_a_checkpoint_without_such_a_head_has_none(tmp_path: Path) -> None:
    for name in ("Bert", "Bart"):
        folder = save(name, tmp_path / name)
        config = make_config({"scenario": "toy", "strategy": "naive", "model": str(folder)})
        assert load_masked(config, torch.device("cpu")) is None
