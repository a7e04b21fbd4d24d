"""Adapters, prompts, prefixes and scales against their formulas; what learns, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Batch
from clbench.engine import engine
from clbench.engine.reporter import Reporter
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.plugins.plan import Plan, make_plan
from clbench.strategy import Stack
from clbench.toolkit.soft_prompts import prefix_encoder, prefix_of
from tests.helpers import Examples, MakeLearner, Weights, slow, strategy, task_data

ISOLATED = ("adapter", "ia3", "p_tuning_v2", "prefix_tuning", "progressive_prompts", "prompt_tuning")


def shake(module: nn.Module, seed: int = 5, size: float = 0.5) -> None:
    """Move every weight of ``module``."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=stream))


def bert(learner: Learner) -> Any:
    return learner.model.bert


def batch_of(learner: Learner, make_examples: Examples, count: int = 5) -> Batch:
    """Texts of several lengths, so that there is padding; plus one as long as the position table."""
    longest = {"input_ids": torch.arange(4, 20), "label": 0, "task_id": 0}
    batch = learner.collate([*make_examples(learner.labels, count), longest])
    assert batch["attention_mask"].min() == 0
    assert batch["input_ids"].shape[1] == 16
    return batch


def tiny_llama(labels: int, heads: int = 4, key_value_heads: int = 2) -> nn.Module:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    settings = LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=key_value_heads, max_position_embeddings=32, num_labels=labels, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    model: nn.Module = LlamaForSequenceClassification(settings)
    shake(model, size=0.3)
    return model.eval()


# --- adapters


def test_an_adapter_starts_as_the_identity(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(tasks=3)
    batch = batch_of(learner, make_examples)
    learner.model.eval()
    before = learner.logits(batch)
    adapter = strategy("adapter", learner, bottleneck=3)
    for task in range(3):
        assert torch.equal(adapter.predict(learner, batch, task), before)


def test_an_adapter_by_hand(make_learner: MakeLearner) -> None:
    """h + W_up gelu(W_down h + b_down) + b_up after both projections of each layer, h the projection's output."""
    learner = make_learner()
    adapter = strategy("adapter", learner, bottleneck=3)
    assert [len(adapters) for adapters in adapter.adapters] == [4, 4]
    shake(adapter.adapters)
    adapter.before_task(learner, task_data(learner, 1))
    layers = [
        layer
        for block in bert(learner).encoder.layer
        for layer in (block.attention.output.dense, block.output.dense)
    ]  # fmt: skip
    for number, layer in enumerate(layers):
        x = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(number))
        h = x @ layer.weight.T + layer.bias
        down, _, up = adapter.adapters[1][number]
        z = h @ down.weight.T + down.bias
        expected = h + (0.5 * z * (1 + torch.erf(z / 2**0.5))) @ up.weight.T + up.bias
        assert (expected - h).abs().max() > 0.1
        assert torch.allclose(layer(x), expected, atol=1e-5)


def test_an_adapter_finds_a_decoders_projections(make_learner: MakeLearner) -> None:
    learner = make_learner(model=tiny_llama(4))
    adapter = strategy("adapter", learner, bottleneck=2)
    assert [len(adapters) for adapters in adapter.adapters] == [4, 4]
    shake(adapter.adapters[1])
    batch = learner.collate([{"input_ids": torch.tensor([5, 6, 7]), "label": 0, "task_id": 0}])
    assert not torch.allclose(adapter.predict(learner, batch, 0), adapter.predict(learner, batch, 1))


def test_a_shared_adapter_is_one_set_for_all_tasks(make_learner: MakeLearner) -> None:
    learner = make_learner("class", tasks=3)
    adapter = strategy("adapter", learner, shared=True)
    assert len(adapter.adapters) == 1
    for position in range(3):
        adapter.before_task(learner, task_data(learner, position))
        learning = {name for name, _ in learner.named_parameters()}
        assert {name.split(".")[0] for name in learning} == {"adapters", "classifier"}
        assert len(learning) == 4 * 4 + 2
    assert adapter.predict(learner, {}, None) is None


def test_a_shared_adapter_goes_with_every_setting_and_with_others() -> None:
    for setting in ("task", "domain", "class"):
        make_plan({"scenario": "toy", "strategy": "adapter(shared=True)+ewc", "setting": setting})
    with pytest.raises(InputError, match="does not support setting 'class'; allowed: task"):
        make_plan({"scenario": "toy", "strategy": "adapter", "setting": "class"})


# --- scales


def test_ia3_equals_scaled_weights(make_learner: MakeLearner, make_examples: Examples) -> None:
    """(l ⊙ (W x + b)) is a layer with scaled rows, W (l ⊙ x) + b one with scaled columns; 1 at the start."""
    learner, reference = make_learner(seed=3), make_learner(seed=3)
    batch = batch_of(learner, make_examples)
    reference.model.eval()
    untouched = reference.logits(batch)
    ia3 = strategy("ia3", learner)
    learner.model.eval()
    assert torch.allclose(ia3.predict(learner, batch, 1), untouched, atol=1e-6)
    scales = {n: p for n, p in learner.model.named_parameters() if n.endswith(".ia3_l.task1")}
    assert sorted(n.split(".layer.")[1].removesuffix(".ia3_l.task1") for n in scales) == [
        f"{layer}.{name}" for layer in "01" for name in ("attention.self.key", "attention.self.value", "output.dense")
    ]  # fmt: skip
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, scale in scales.items():
            scale.copy_(torch.rand(scale.shape, generator=stream) * 3)
            layer = reference.model.get_submodule(name.split("base_model.model.")[1].removesuffix(".ia3_l.task1"))
            assert isinstance(layer, nn.Linear)
            if name.split(".layer.")[1].startswith(("0.output", "1.output")):
                layer.weight.mul_(scale.view(1, 12))
            else:
                layer.weight.mul_(scale.view(8, 1))
                layer.bias.mul_(scale.view(8))
    expected = reference.logits(batch)
    assert (expected - untouched).abs().max() > 0.1
    assert torch.allclose(ia3.predict(learner, batch, 1), expected, atol=1e-5)
    assert torch.allclose(ia3.predict(learner, batch, 0), untouched, atol=1e-6)


def test_ia3_finds_a_decoders_layers(make_learner: MakeLearner) -> None:
    learner = make_learner(model=tiny_llama(4))
    strategy("ia3", learner)
    scales = [(n, p.numel()) for n, p in learner.model.named_parameters() if n.endswith(".task0")]
    # Two heads of keys and of values, each 2 wide, and 12 feed-forward units, in two layers.
    assert sorted(size for _, size in scales) == [4, 4, 4, 4, 12, 12]


# --- prompts in front of the text


def encode(learner: Learner, hidden: Tensor, mask: Tensor) -> Tensor:
    """The tiny BERT's layers without any mask code of transformers'."""
    blocked = torch.zeros(mask.shape).masked_fill(mask == 0, float("-inf"))[:, None, None]
    for layer in bert(learner).encoder.layer:
        hidden = layer(hidden, blocked)
    return hidden


def with_prompt_by_hand(learner: Learner, batch: Batch, prompt: Tensor) -> Tensor:
    """Logits from the first text token's output when ``prompt`` stands before the embedded text."""
    model: Any = learner.model
    ids, mask = batch["input_ids"], batch["attention_mask"]
    table = model.bert.embeddings
    embedded = table.word_embeddings.weight[ids] + table.position_embeddings.weight[: ids.shape[1]]
    embedded = table.LayerNorm(embedded + table.token_type_embeddings.weight[0])
    hidden = torch.cat([prompt.expand(len(ids), -1, -1), embedded], dim=1)
    hidden = encode(learner, hidden, torch.cat([torch.ones(len(ids), len(prompt)), mask], dim=1))
    first = hidden[:, len(prompt)]
    pooled = torch.tanh(first @ model.bert.pooler.dense.weight.T + model.bert.pooler.dense.bias)
    logits: Tensor = pooled @ model.classifier.weight.T + model.classifier.bias
    return logits


def test_a_prompt_equals_its_vectors_before_the_embedded_text(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(tasks=2)
    batch = batch_of(learner, make_examples)
    learner.model.eval()
    without = learner.logits(batch)
    prompts = strategy("prompt_tuning", learner, prompt_length=30)
    shake(prompts.prompts)
    with torch.no_grad():
        for task in range(2):
            expected = with_prompt_by_hand(learner, batch, prompts.prompts[task])
            assert (expected - without).abs().max() > 0.1
            assert torch.allclose(prompts.predict(learner, batch, task), expected, atol=1e-5)
    logits, features = learner.logits_and_features(batch)
    assert torch.allclose(learner.output_layer()(features), logits, atol=1e-6)


def test_a_prompt_starts_as_words_of_the_vocabulary(make_learner: MakeLearner) -> None:
    learner = make_learner(dropout=0.5)
    prompts = strategy("prompt_tuning", learner, prompt_length=6)
    table = bert(learner).embeddings
    words = table.word_embeddings.weight + table.position_embeddings.weight[0] + table.token_type_embeddings.weight[0]
    words = table.LayerNorm(words)
    for prompt in prompts.prompts:
        assert (prompt[:, None] - words).abs().amax(-1).amin(1).max() < 1e-5
    assert not torch.equal(prompts.prompts[0], prompts.prompts[1])
    again = strategy("prompt_tuning", make_learner(dropout=0.5), prompt_length=6)
    assert torch.equal(again.prompts[1], prompts.prompts[1])


def test_a_decoder_reads_the_prompt_first_and_answers_with_the_texts_last_token(make_learner: MakeLearner) -> None:
    learner = make_learner(model=tiny_llama(4))
    model: Any = learner.model
    prompts = strategy("prompt_tuning", learner, prompt_length=3)
    shake(prompts.prompts)
    texts = [[4, 5, 6, 7, 8], [9, 10], [11, 12, 13]]
    batch = learner.collate([{"input_ids": torch.tensor(ids), "label": 0, "task_id": 0} for ids in texts])
    with torch.no_grad():
        found = prompts.predict(learner, batch, 1)
        _, features = learner.logits_and_features(batch)
        plain: Any = tiny_llama(4)
        plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("prompts")})
        for row, ids in enumerate(texts):
            embedded = torch.cat([prompts.prompts[1], model.model.embed_tokens.weight[ids]])[None]
            last = plain.model(inputs_embeds=embedded).last_hidden_state[0, -1]
            assert torch.allclose(found[row], model.score.weight @ last, atol=1e-5)
            assert torch.allclose(features[row], last, atol=1e-5)


# --- keys and values


def with_prefix_by_hand(learner: Learner, batch: Batch, prefix: Tensor) -> Tensor:
    """The tiny BERT with softmax([Q K_prefixᵀ, Q Kᵀ] / √d) [V_prefix; V] as its attention; prefix (tokens, 2·2·8)."""
    model: Any = learner.model
    hidden = model.bert.embeddings(batch["input_ids"])
    for number, layer in enumerate(model.bert.encoder.layer):
        own, attended = layer.attention.self, []
        q, k, v = (
            x.weight.detach() @ hidden.mT + x.bias[:, None] for x in (own.query, own.key, own.value)
        )  # (examples, 8, tokens)
        start = number * 16
        k = torch.cat([prefix[:, start : start + 8].T.expand(len(k), -1, -1), k], dim=2)
        v = torch.cat([prefix[:, start + 8 : start + 16].T.expand(len(v), -1, -1), v], dim=2)
        hide = torch.cat([torch.ones(len(k), len(prefix)), batch["attention_mask"]], dim=1)[:, None] == 0
        for head in (slice(0, 4), slice(4, 8)):
            scores = (q[:, head].mT @ k[:, head] / 2).masked_fill(hide, float("-inf"))
            attended.append(scores.softmax(-1) @ v[:, head].mT)
        hidden = layer.feed_forward_chunk(layer.attention.output(torch.cat(attended, -1), hidden))
    logits: Tensor = model.classifier(model.bert.pooler(hidden))
    return logits


def test_p_tuning_v2_equals_extra_keys_and_values(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner(tasks=2)
    batch = batch_of(learner, make_examples)
    learner.model.eval()
    without = learner.logits(batch)
    prompts = strategy("p_tuning_v2", learner, prompt_length=7)
    with torch.no_grad():
        for task in range(2):
            prefix = prompts.prompts[task].embedding.weight
            assert prefix.shape == (7, 2 * 2 * 8)
            expected = with_prefix_by_hand(learner, batch, prefix)
            assert (expected - without).abs().max() > 0.1
            assert torch.allclose(prompts.predict(learner, batch, task), expected, atol=1e-5)


def test_prefix_tuning_learns_through_the_perceptron_and_keeps_its_output(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(tasks=2)
    batch = batch_of(learner, make_examples)
    learner.model.eval()
    without = learner.logits(batch)
    tuning = strategy("prefix_tuning", learner, prefix_length=3, hidden_size=5)
    assert torch.allclose(tuning.predict(learner, batch, 0), without, atol=1e-6)
    tuning.before_task(learner, task_data(learner, 0))
    shake(tuning.encoder)
    with torch.no_grad():
        first, _, last = tuning.encoder.transform
        rows = torch.tanh(tuning.encoder.embedding.weight @ first.weight.T + first.bias) @ last.weight.T + last.bias
        expected = with_prefix_by_hand(learner, batch, rows)
        assert (expected - without).abs().max() > 0.1
        assert torch.allclose(learner.logits(batch), expected, atol=1e-5)
        tuning.after_task(learner, task_data(learner, 0))
        tuning.before_task(learner, task_data(learner, 1))
        # Every task begins with weights of its own stream, not with those of the task before.
        start = prefix_encoder(learner, 3, 5, "prefix", 1)
        assert torch.equal(prefix_of(tuning.encoder), prefix_of(start))
        shake(tuning.encoder)
        assert torch.allclose(tuning.predict(learner, batch, 0), expected, atol=1e-5)
        assert torch.allclose(tuning.predict(learner, batch, 1), without, atol=1e-6)
    assert {name: value.shape for name, value in tuning.state_dict()["learned"].items()} == {"0": (3, 32)}


def test_one_gradient_moves_a_whole_prefix_but_single_numbers_of_p_tuning_v2(make_learner: MakeLearner) -> None:
    """The gradient of the first row's first number: itself alone against everything that the perceptron shares."""
    learner, other = make_learner(), make_learner()
    deep, projected = strategy("p_tuning_v2", learner, prompt_length=3).prompts[0], strategy("prefix_tuning", other)
    deep.requires_grad_(True)
    prefix_of(deep)[0, 0].backward()
    gradient = deep.embedding.weight.grad
    assert gradient[0, 0] == 1
    assert gradient.count_nonzero() == 1
    projected.encoder.requires_grad_(True)
    start = prefix_of(projected.encoder).detach()
    prefix_of(projected.encoder)[0, 0].backward()
    with torch.no_grad():
        for parameter in projected.encoder.parameters():
            parameter.sub_(parameter.grad)
    moved = prefix_of(projected.encoder) - start
    assert (moved[:, 0] != 0).all()
    assert moved[0].count_nonzero() > 1


def test_a_decoders_prefix_moves_no_positions(make_learner: MakeLearner) -> None:
    """Equal to transformers' own cache given the same keys and values, with the positions of a text alone."""
    from transformers import DynamicCache

    learner = make_learner(model=tiny_llama(4))
    model: Any = learner.model
    prompts = strategy("p_tuning_v2", learner, prompt_length=3)
    texts = [[4, 5, 6, 7, 8], [9, 10], [11, 12, 13]]
    batch = learner.collate([{"input_ids": torch.tensor(ids), "label": 0, "task_id": 0} for ids in texts])
    rows = prompts.prompts[1].embedding.weight.detach()
    with torch.no_grad():
        found = prompts.predict(learner, batch, 1)
        plain: Any = tiny_llama(4)
        plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("prompts")})
        for row, ids in enumerate(texts):
            cache = DynamicCache()
            for layer in range(2):
                key, value = (
                    rows[:, 8 * layer + 4 * part : 8 * layer + 4 * part + 4].view(3, 2, 2).transpose(0, 1)[None]
                    for part in (0, 1)
                )
                cache.update(key, value, layer)
            output = plain(
                input_ids=torch.tensor([ids]), past_key_values=cache, position_ids=torch.arange(len(ids))[None]
            )
            assert torch.allclose(found[row], output.logits[0], atol=1e-5)


@pytest.mark.parametrize("name", ["adapter", "p_tuning_v2", "prompt_tuning"])
def test_mixed_precision_gives_nearly_the_same(name: str, make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner()
    built = strategy(name, learner)
    batch = batch_of(learner, make_examples)
    full = built.predict(learner, batch, 1).detach()
    learner.precision = "bf16"
    half = built.predict(learner, batch, 1)
    assert not torch.equal(full, half)
    assert torch.allclose(full, half, atol=0.1 * float(full.abs().max()))


# --- progressive prompts


def test_progressive_prompts_read_the_earlier_prompts_and_do_not_move_them(
    make_learner: MakeLearner, make_examples: Examples
) -> None:
    learner = make_learner(tasks=3)
    batch = batch_of(learner, make_examples)
    progressive = strategy("progressive_prompts", learner, prompt_length=4)
    prompts = progressive.prompts
    shake(prompts)
    progressive.before_task(learner, task_data(learner, 1))
    logits = learner.logits(batch)
    with torch.no_grad():
        expected = with_prompt_by_hand(learner, batch, torch.cat([prompts[1], prompts[0]]))
    assert torch.allclose(logits, expected, atol=1e-5)
    logits.square().sum().backward()
    assert prompts[1].grad.abs().sum() > 0
    assert prompts[0].grad is None
    assert prompts[2].grad is None
    with torch.no_grad():
        first = progressive.predict(learner, batch, 0)
        assert torch.allclose(first, with_prompt_by_hand(learner, batch, prompts[0]), atol=1e-5)
        prompts[1].add_(1.0)
        assert torch.equal(progressive.predict(learner, batch, 0), first)
        assert not torch.allclose(progressive.predict(learner, batch, 1), expected, atol=1e-2)
        before = progressive.predict(learner, batch, 2)
        prompts[0].add_(torch.linspace(-1, 1, 8))
        assert not torch.allclose(progressive.predict(learner, batch, 2), before, atol=1e-2)


def test_a_decoder_reads_the_newest_prompt_first(make_learner: MakeLearner) -> None:
    learner = make_learner(tasks=3, model=tiny_llama(6))
    model: Any = learner.model
    progressive = strategy("progressive_prompts", learner, prompt_length=2)
    shake(progressive.prompts)
    batch = learner.collate([{"input_ids": torch.tensor([5, 6, 7]), "label": 0, "task_id": 0}])
    with torch.no_grad():
        found = progressive.predict(learner, batch, 2)
        plain: Any = tiny_llama(6)
        plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("prompts")})
        newest_first = [progressive.prompts[2], progressive.prompts[1], progressive.prompts[0]]
        embedded = torch.cat([*newest_first, model.model.embed_tokens.weight[[5, 6, 7]]])[None]
        last = plain.model(inputs_embeds=embedded).last_hidden_state[0, -1]
        assert torch.allclose(found[0], model.score.weight @ last, atol=1e-5)


# --- runs


# On the tiny model: 64 wide, 2 layers, 128 feed-forward units; the output layer has 9 labels.
HEAD = 9 * 64 + 9
RUNS = {
    "adapter(bottleneck=8, learning_rate=0.01)": ("adapters.{}.", 4 * (2 * 8 * 64 + 8 + 64)),
    "ia3(learning_rate=0.1)": (".ia3_l.task{}", 2 * (64 + 64 + 128)),
    "p_tuning_v2(prompt_length=5, learning_rate=0.1)": ("prompts.{}.", 5 * 2 * 2 * 64),
    "progressive_prompts(prompt_length=5, learning_rate=0.1)": ("prompts.{}", 5 * 64),
    "prompt_tuning(prompt_length=5, learning_rate=0.1)": ("prompts.{}", 5 * 64),
    "prefix_tuning(prefix_length=5, hidden_size=16, learning_rate=0.01)": (
        "prefix.",
        5 * 64 + 64 * 16 + 16 + 16 * 256 + 256,
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_learns_what_stays_and_that_nothing_is_forgotten(name: str, tmp_path: Path) -> None:
    options = {
        "scenario": "toy",
        "epochs": 4,
        "lr": 2e-3,
        "head_lr": 2e-2,
        "batch_size": 8,
        "device": "cpu",
        "output_dir": str(tmp_path),
    }
    plan = make_plan({**options, "strategy": name, "scenario_args": {"train": 60, "dev": 9, "test": 30}})
    watch = Weights()
    result = engine.run(Plan(plan.config, plan.tasks, Stack([*plan.strategy.members, ("watch", watch)])), Reporter())
    matrix, metrics = result["accuracy_matrix"], result["metrics"]
    assert metrics["forgetting"] == 0.0
    assert metrics["backward_transfer"] == 0.0
    answers = engine.run_folder(plan.config).read_predictions()
    for task, title in enumerate(result["tasks"]):
        assert len({matrix[row][task] for row in range(task + 1, 4)}) == 1
        rows = zip(answers["after_task"], answers["task"], answers["confidence"], strict=True)
        confidences: dict[int, list[float]] = {}
        for after, of, confidence in rows:
            if of == title:
                confidences.setdefault(after, []).append(confidence)
        assert confidences[task] != confidences[task + 1]
        assert all(confidences[after] == confidences[task + 1] for after in range(task + 1, 4))
    pattern, size = RUNS[name]
    own = [{n for n in watch.start if pattern.format(task) in n} for task in range(3)]
    head = {n for n in watch.start if "classifier." in n}
    body = set(watch.start) - head - set().union(*own)
    assert len(body) > 30
    for task in range(3):
        before, after = watch.after[task - 1] if task else watch.start, watch.after[task]
        assert sum(before[n].numel() for n in own[task]) == size
        assert all(torch.equal(before[n], after[n]) for n in body)
        assert all(not torch.equal(before[n], after[n]) for n in own[task])
        for other in {0, 1, 2} - {task}:
            assert name.startswith("prefix") or all(torch.equal(before[n], after[n]) for n in own[other])
        labels = torch.zeros(9, dtype=torch.bool)
        labels[3 * task : 3 * task + 3] = True
        assert all(torch.equal(before[n][~labels], after[n][~labels]) for n in head)
        assert all(not torch.equal(before[n][labels], after[n][labels]) for n in head)
    assert result["cost"]["trainable_parameters"] == size + HEAD
    # What is kept: every task's module; prefix_tuning's perceptron once and a prefix a task.
    kept = size + 3 * 5 * 256 if name.startswith("prefix") else 3 * size
    assert result["cost"]["stored_bytes"] == 4 * kept


@pytest.mark.parametrize("name", [slow("adapter"), slow("prompt_tuning")])
def test_nothing_is_forgotten_where_naive_forgets(name: str, toy_forgetting: Callable[..., float]) -> None:
    sizes = {"train": 60, "dev": 9, "test": 30}
    options: dict[str, Any] = {"epochs": 4, "lr": 5e-3, "head_lr": 5e-2, "batch_size": 8, "scenario_args": sizes}
    assert toy_forgetting(name, **options) == 0.0
    assert toy_forgetting("naive", **options) > 0.1


RATES = {
    "adapter": 0.02, "ia3": 0.05, "p_tuning_v2": 0.1, "prefix_tuning": 0.01, "progressive_prompts": 0.1,
    "prompt_tuning": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_the_loss_falls_when_only_the_module_learns(
    name: str, make_learner: MakeLearner, make_examples: Examples
) -> None:
    """On toy's random, nearly linear model a frozen body passes little of a text on; this one passes enough."""
    learner = make_learner()
    built = strategy(name, learner)
    batch = learner.collate(make_examples(learner.labels, 4))
    built.before_task(learner, task_data(learner, 0))
    module = [p for n, p in learner.named_parameters() if not learner.is_head(n)]
    optimizer = torch.optim.Adam(module, lr=RATES[name])
    losses = []
    for _ in range(60):
        loss = learner.example_losses(learner.logits(batch), batch).mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0], losses[::10]


# --- what is refused


@pytest.mark.parametrize("name", ISOLATED)
@pytest.mark.parametrize("options", [{"setting": "class"}, {"setting": "domain"}, {"scenario": "digits_seq"}])
def test_settings_and_kinds_that_are_not_supported(name: str, options: dict[str, Any]) -> None:
    if "scenario" in options and name in ("adapter", "ia3"):
        pytest.skip("it takes images")
    with pytest.raises(
        InputError, match=rf"strategy '{name}' does not support .*; allowed: (task|text|text, token, generation)$"
    ):
        make_plan({"scenario": "toy", "strategy": name, **options})


@pytest.mark.parametrize("name", ISOLATED)
def test_a_stack_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' cannot be stacked as in 'ewc.{name}': {name} never overwrites"):
        make_plan({"scenario": "toy", "strategy": f"ewc+{name}"})


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("adapter", {"bottleneck": 0}, "adapter: bottleneck=0, learning_rate=0.003; allowed: numbers above 0"),
        ("prompt_tuning", {"prompt_length": 0}, "prompt_tuning: prompt_length=0, "),
        ("progressive_prompts", {"learning_rate": 0.0}, "progressive_prompts: prompt_length=10, learning_rate=0.0; "),
        ("p_tuning_v2", {"prompt_length": -1}, "p_tuning_v2: prompt_length=-1, "),
        ("prefix_tuning", {"hidden_size": 0}, "prefix_tuning: prefix_length=10, hidden_size=0, "),
        ("ia3", {"learning_rate": -1.0}, "ia3: learning_rate=-1.0; allowed: a number above 0"),
    ],
)
def test_arguments_that_cannot_be(name: str, arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, **arguments)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("adapter", {"target_modules": ("nosuch",)}, "adapter: target_modules = ('nosuch',) match no layer; "),
        ("ia3", {"key_value_modules": ("nosuch",)}, "ia3: key_value_modules=('nosuch',), feed_forward_modules=() "),
        ("ia3", {"feed_forward_modules": ("x",)}, "ia3: key_value_modules=(), feed_forward_modules=('x',) match no "),
    ],
)
def test_layers_that_the_model_does_not_have(
    name: str, arguments: dict[str, Any], line: str, make_learner: MakeLearner
) -> None:
    with pytest.raises(InputError) as caught:
        strategy(name, make_learner(), **arguments)
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("allowed: dense, key, query, value")


@pytest.mark.parametrize("name", ["prompt_tuning", "progressive_prompts", "p_tuning_v2", "prefix_tuning"])
def test_models_that_take_no_prompts(name: str, make_learner: MakeLearner) -> None:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    from clbench.models.tiny import SmallConvNet

    models: list[nn.Module] = [SmallConvNet(1, 8, 8, 4)]
    if name.startswith("pro"):
        settings = GPT2Config(vocab_size=30, n_positions=16, n_embd=8, n_layer=1, n_head=2, num_labels=4)
        models.append(GPT2ForSequenceClassification(settings))
    for model in models:
        with pytest.raises(
            InputError, match=f"^{type(model).__name__} takes no learned prompts .*; allowed: "
        ) as caught:
            strategy(name, make_learner(model=model))
        assert "\n" not in str(caught.value)
