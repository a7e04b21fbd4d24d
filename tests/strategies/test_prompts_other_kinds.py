"""Prompts and prefixes before tagged sentences and before answers that are written token by token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import IGNORE, LabelSpace
from clbench.kinds import find_kind
from clbench.learner import Learner
from clbench.models import import_libraries
from tests.helpers import strategy, task_data

PROMPTS = ("prompt_tuning", "progressive_prompts", "prefix_tuning", "p_tuning_v2")
WORDS, ANSWER = 40, 6
TEXTS = ([5, 9], [7, 3, 11, 6, 30], [8, 21, 4])


def language_model(family: str) -> nn.Module:
    """Weights so large that what is read matters to what is written."""
    import_libraries()
    import transformers

    sizes = {
        "Llama": {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "max_position_embeddings": 64},
        "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    }[family]  # fmt: skip
    name = {"Llama": "LlamaForCausalLM", "GPT2": "GPT2LMHeadModel"}[family]
    special = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    settings: Any = getattr(transformers, f"{family}Config")(vocab_size=WORDS, **special, **sizes)
    model: nn.Module = getattr(transformers, name)(settings)
    stream = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=stream))
    return model.eval()


def make_learner(model: nn.Module, kind: str, labels: int, longest_answer: int = 1) -> Learner:
    columns = ((0,), (1,)) if labels == 2 else ((0, 1), (0, 2))
    space = LabelSpace("task", tuple(f"B-{n}" for n in range(labels)), columns)
    words: Any = SimpleNamespace(eos_token_id=2)
    return Learner(model, space, kind=find_kind(kind), tokenizer=words, longest_answer=longest_answer)


def learned(name: str, learner: Learner) -> Any:
    """The strategy after its second task, in which its vectors moved far."""
    found, task = strategy(name, learner), task_data(learner, 1)
    found.before_task(learner, task)
    with torch.no_grad():
        stream = torch.Generator().manual_seed(5)
        for key, parameter in learner.named_parameters():
            if not learner.is_head(key):
                parameter.add_(torch.randn(parameter.shape, generator=stream))
    found.after_task(learner, task)
    learner.model.eval()
    return found


def read(texts: Any) -> dict[str, Tensor]:
    """Padded on the right, as texts are learned from."""
    longest = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    present = torch.arange(longest) < torch.tensor([[len(text)] for text in texts])
    return {"input_ids": ids, "attention_mask": present.long(), "task_ids": torch.ones(len(ids), dtype=torch.int64),
            "labels": torch.full_like(ids, IGNORE)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "family"),
    [*((name, "Llama") for name in PROMPTS), ("prefix_tuning", "GPT2"), ("p_tuning_v2", "GPT2")],
)
@torch.no_grad()
def test_what_is_written_follows_the_prompt_and_the_text(name: str, family: str) -> None:
    """Against reading the text, one without padding, anew for each token, as in training."""
    learner = make_learner(language_model(family), "generation", 2, ANSWER)
    found = learned(name, learner)

    def one_by_one(text: list[int], asked: bool) -> list[int]:
        tokens: list[int] = []
        while len(tokens) < ANSWER and 2 not in tokens:
            batch = read([[*text, *tokens]])
            logits = found.predict(learner, batch, 1) if asked else learner.logits(batch)
            tokens.append(int(logits[0, -1].argmax()))
        return tokens

    expected = [one_by_one(text, asked=True) for text in TEXTS]
    found.predict(learner, read(TEXTS), 1)
    written, _ = learner.decode(read(TEXTS))
    assert [row[: len(own)].tolist() for row, own in zip(written, expected, strict=True)] == expected
    with found.outside_tasks(learner):
        assert [one_by_one(text, asked=False) for text in TEXTS] != expected


@pytest.mark.parametrize("name", PROMPTS)
@torch.no_grad()
def test_every_word_of_a_sentence_is_answered_in_its_place(name: str) -> None:
    """As alone, whatever padding stands beside it; and otherwise than without the vectors."""
    import_libraries()
    from transformers import BertConfig, BertForTokenClassification

    settings = BertConfig(vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                          intermediate_size=24, max_position_embeddings=16, num_labels=3)  # fmt: skip
    torch.manual_seed(0)
    model = BertForTokenClassification(settings).eval()
    for parameter in model.parameters():
        parameter.mul_(5.0 if parameter.ndim > 1 else 1.0)
    learner = make_learner(model, "token", 3)
    found = learned(name, learner)
    together = found.predict(learner, read(TEXTS), 1)
    assert together.shape == (3, 5, 3)
    for row, text in enumerate(TEXTS):
        alone = found.predict(learner, read([text]), 1)
        torch.testing.assert_close(together[row, : len(text)], alone[0], rtol=1e-4, atol=1e-5)
    with found.outside_tasks(learner):
        plain = learner.logits(read(TEXTS))
    assert not torch.isclose(plain[0, :2], together[0, :2], rtol=1e-4).any()
