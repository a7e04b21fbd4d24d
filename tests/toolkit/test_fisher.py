"""The diagonal Fisher against a loop over examples, a closed form and hand values; the hooks leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.data import Example
from clbench.learner import Learner
from clbench.models import import_libraries
from clbench.models.tiny import SmallConvNet
from clbench.rng import generator
from clbench.toolkit import per_example
from clbench.toolkit.fisher import FisherKind, diagonal_fisher
from clbench.toolkit.per_example import squares_collected, supported
from tests.helpers import Examples, MakeLearner, slow

KINDS: tuple[FisherKind, ...] = ("sampled", "empirical", "exact")
LABELS = 4


def spread(model: nn.Module) -> nn.Module:
    """Weights large enough that examples differ, from a fixed stream."""
    stream = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=stream))
    return model


def transformer(name: str, **settings: Any) -> nn.Module:
    """A tiny model of transformers' family ``name`` with an output layer of LABELS columns."""
    import_libraries()
    import transformers

    sizes = {
        "vocab_size": 30,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 20,
        "num_labels": LABELS,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**(sizes | settings))
    model: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config)
    return spread(model)


def lora_bert() -> nn.Module:
    from peft import LoraConfig, PeftModel

    settings = LoraConfig(r=2, target_modules=["query", "dense"], lora_dropout=0.0)
    model: nn.Module = PeftModel(transformer("Bert"), settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or "classifier" in name)
    return spread(model)


class Tied(nn.Module):
    """Token embeddings that are also the weights of a linear layer, as in models whose output layer is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.back = nn.Linear(6, 30, bias=False)
        self.back.weight = self.embedding.weight
        self.classifier = nn.Linear(30, LABELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = (self.embedding(input_ids) * attention_mask[..., None]).sum(1).tanh()
        return SimpleNamespace(logits=self.classifier(self.back(hidden).tanh()))


class Unknown(nn.Module):
    """A learning parameter that lies in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.scale = nn.Parameter(torch.ones(6))
        self.classifier = nn.Linear(6, LABELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        hidden = (self.embedding(input_ids) * attention_mask[..., None]).sum(1)
        return SimpleNamespace(logits=self.classifier((hidden * self.scale).tanh()))


HOOKED: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: transformer("Bert"),
    "roberta": lambda: transformer("Roberta"),
    "lora": lora_bert,
    "llama": lambda: transformer("Llama"),
    "qwen2": lambda: transformer("Qwen2", num_key_value_heads=1),
    "convnet": lambda: spread(SmallConvNet(1, 4, 4, LABELS)),
    "gpt2": lambda: transformer("GPT2", n_positions=20, bos_token_id=0, eos_token_id=0),
}
# Layers used twice in a forward pass (ALBERT; DeBERTa's shared projections), weights used outside of their layer
# (DeBERTa's positions), a layer whose input has no row for each example (MPNet's position bias), and tied weights.
LOOPED: dict[str, Callable[[], nn.Module]] = {
    "tied": lambda: spread(Tied()),
    "unknown": lambda: spread(Unknown()),
    "albert": lambda: transformer("Albert", embedding_size=6),
    "mpnet": lambda: transformer("MPNet", pad_token_id=1),
    "deberta": lambda: transformer(
        "DebertaV2",
        relative_attention=True,
        position_buckets=4,
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
    ),
}
# Whose like is quicker: llama, albert and tied.
LARGER = ("qwen2", "deberta", "mpnet")


def picture_examples(count: int) -> list[Example]:
    stream = torch.Generator().manual_seed(0)
    return [
        {
            "pixel_values": torch.rand(1, 4, 4, generator=stream),
            "label": number % 2 + 2 * (number % 4 // 2),
            "task_id": number % 4 // 2,
        }
        for number in range(count)
    ]


def mixed(make_examples: Examples, learner: Learner, model: str, count: int = 9) -> list[Example]:
    if model == "convnet":
        return picture_examples(count)
    examples = make_examples(learner.labels, count - count // 2) + make_examples(learner.labels, count // 2, task=1)
    # A padding token inside a text: its embedding gets no gradient by torch's rule, though it is attended to.
    examples[0]["input_ids"][1] = 0
    return examples


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-5) -> None:
    assert list(found) == list(expected)
    largest = max(float(value.max()) for value in expected.values())
    assert largest > 0
    for name, value in expected.items():
        # The bias of a key shifts all scores alike: its gradient is 0 but for rounding.
        error = float((found[name] - value).abs().max())
        assert error <= relative * float(value.max()) + 1e-11 * largest, (name, error, float(value.max()))


def fisher(learner: Learner, examples: list[Example], kind: FisherKind, **options: Any) -> dict[str, Tensor]:
    return diagonal_fisher(learner, examples, kind, generator(0, "fisher"), **options)


@pytest.mark.parametrize("model", [slow(name) if name in LARGER else name for name in (*HOOKED, *LOOPED)])
def test_equals_the_loop_over_examples(make_learner: MakeLearner, make_examples: Examples, model: str) -> None:
    learner = make_learner("task", model={**HOOKED, **LOOPED}[model]())
    examples = mixed(make_examples, learner, model)
    for kind in KINDS:
        one_by_one = fisher(learner, examples, kind, loop=True)
        for budget in (1, 40, 2048):
            # Padding, which single examples have none of, rounds other.
            assert_same(fisher(learner, examples, kind, token_budget=budget), one_by_one, 2e-6 if budget == 1 else 1e-4)


@pytest.mark.parametrize("model", HOOKED)
def test_common_models_need_no_loop(make_learner: MakeLearner, make_examples: Examples, model: str) -> None:
    learner = make_learner("task", model=HOOKED[model]())
    assert supported(learner.model)
    examples = mixed(make_examples, learner, model)
    passes: list[int] = []
    learner.model.register_forward_hook(lambda *_: passes.append(1))
    fisher(learner, examples, "sampled")
    # One pass for all examples, and perhaps one or two to find out whether the hooks fit.
    assert len(passes) <= 3


@pytest.mark.parametrize("model", ["tied", "unknown"])
def test_unknown_and_tied_weights_take_an_example_a_pass(
    make_learner: MakeLearner, make_examples: Examples, model: str
) -> None:
    """A backward pass of one example's loss goes through all of its forward pass: in batches, squares of work."""
    assert not supported(LOOPED[model]())
    learner = make_learner("task", model=LOOPED[model]())
    examples = mixed(make_examples, learner, model)
    passes: list[int] = []
    learner.model.register_forward_hook(lambda _, __, output: passes.append(len(output.logits)))
    fisher(learner, examples, "sampled")
    assert passes == [1] * len(examples)


def test_a_frozen_tie_does_no_harm() -> None:
    model = Tied()
    model.embedding.weight.requires_grad_(False)
    assert supported(model)


@pytest.mark.parametrize("setting", ["task", "domain", "class"])
def test_equals_gradients_taken_by_hand(make_learner: MakeLearner, make_examples: Examples, setting: str) -> None:
    """Mean over examples and labels of p(y) (∂ log p(y) / ∂θ)², with nothing of clbench but the logits."""
    learner = make_learner(setting, width=3)
    examples = make_examples(learner.labels, 4, task=1)
    if setting == "class":
        learner.tasks_seen = 2
    columns = {"task": [3, 4, 5], "domain": [0, 1, 2], "class": list(range(6))}[setting]
    learner.model.eval()
    named = dict(learner.model.named_parameters())
    expected = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    true = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    for example in examples:
        ids = example["input_ids"][None]
        logits = learner.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, columns]
        scores = logits.log_softmax(-1)
        for place, column in enumerate(columns):
            gradients = torch.autograd.grad(scores[place], list(named.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    expected[name] += scores[place].detach().exp() * gradient**2 / len(examples)
                    true[name] += (column == example["label"]) * gradient**2 / len(examples)
    assert_same(fisher(learner, examples, "exact"), expected)
    assert_same(fisher(learner, examples, "empirical"), true)


class Logistic(nn.Module):
    """Multinomial logistic regression on the pixels."""

    def __init__(self, labels: int = LABELS) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, labels)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(pixel_values.flatten(1)))


def logistic(make_learner: MakeLearner, count: int, **options: Any) -> tuple[Learner, list[Example], Tensor, Tensor]:
    """A learner, its examples, the inputs with a 1 for the bias, and p(y|x) over the columns of task 1."""
    learner = make_learner("task", model=spread(Logistic(options.get("labels", LABELS))), **options.get("learner", {}))
    columns = list(learner.labels.columns[1])
    stream = torch.Generator().manual_seed(1)
    inputs = torch.rand(count, 1, 2, 2, generator=stream)
    examples = [
        {"pixel_values": image, "label": columns[number % len(columns)], "task_id": 1}
        for number, image in enumerate(inputs)
    ]
    flat = torch.cat([inputs.flatten(1), torch.ones(count, 1)], 1).double()
    weight, bias = (learner.model.get_parameter(f"classifier.{name}") for name in ("weight", "bias"))
    weights = torch.cat([weight, bias[:, None]], 1).double()
    return learner, examples, flat, (flat @ weights.detach()[columns].T).softmax(-1)


def joined(found: dict[str, Tensor]) -> Tensor:
    return torch.cat([found["classifier.weight"], found["classifier.bias"][:, None]], 1).double()


@pytest.mark.parametrize("loop", [False, True])
def test_equals_the_closed_form_of_logistic_regression(make_learner: MakeLearner, loop: bool) -> None:
    """∂ log p(y) / ∂W_kd = (1[y = k] − p_k) x_d, whose square has the expectation p_k (1 − p_k) x_d²."""
    learner, examples, inputs, probabilities = logistic(make_learner, 20)
    exact = joined(fisher(learner, examples, "exact", loop=loop))
    expected = (probabilities * (1 - probabilities)).T @ inputs**2 / 20
    assert torch.allclose(exact[2:], expected, rtol=1e-5)
    assert torch.equal(exact[:2], torch.zeros(2, 5).double())
    truth = nn.functional.one_hot(torch.tensor([example["label"] - 2 for example in examples]), 2).double()
    empirical = joined(fisher(learner, examples, "empirical", loop=loop))
    assert torch.allclose(empirical[2:], ((truth - probabilities) ** 2).T @ inputs**2 / 20, rtol=1e-5)


def test_sampled_labels_have_the_exact_expectation(make_learner: MakeLearner) -> None:
    """With labels drawn from the model, the mean over many draws tends to the exact Fisher at the known rate."""
    learner, examples, inputs, probabilities = logistic(make_learner, 8, labels=6, learner={"width": 3})
    repeats = 2000
    sampled = joined(fisher(learner, examples * repeats, "sampled", token_budget=4000))[3:]
    expected = (probabilities * (1 - probabilities)).T @ inputs**2 / 8
    # Variance of (1[y = k] − p)²: it is (1−p)² with probability p and p² otherwise, so p (1−p) (1−2p)².
    variance = probabilities * (1 - probabilities) * (1 - 2 * probabilities) ** 2
    deviation = ((variance.T @ inputs**4 / 8) / (8 * repeats)).sqrt()
    assert ((sampled - expected).abs() < 5 * deviation + 1e-6).all()


def test_the_draws_belong_to_examples_not_to_batches(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("task")
    examples = make_examples(learner.labels, 12)
    first, again = fisher(learner, examples, "sampled"), fisher(learner, examples, "sampled", token_budget=1)
    assert_same(again, first, 1e-4)
    other = diagonal_fisher(learner, examples, "sampled", generator(1, "fisher"))
    assert not torch.allclose(other["classifier.weight"], first["classifier.weight"], rtol=1e-3)


def test_it_is_a_mean_over_examples_not_a_squared_mean(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("task")
    one = make_examples(learner.labels, 1)
    for kind in ("empirical", "exact"):
        assert_same(fisher(learner, one * 8, kind), fisher(learner, one, kind))
    # Two examples of opposite labels: the gradients nearly cancel in a batch's mean, the squares do not.
    both = [one[0], {**one[0], "label": 1 - one[0]["label"]}]
    parts = [fisher(learner, [example], "empirical") for example in both]
    mean = {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}
    assert_same(fisher(learner, both, "empirical"), mean)


def test_small_blocks_give_the_same(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner("task", model=HOOKED["bert"]())
    examples = mixed(make_examples, learner, "bert")
    whole = fisher(learner, examples, "sampled")
    for size in (1, 200):
        monkeypatch.setattr(per_example, "BLOCK_ELEMENTS", {"cpu": size})
        assert_same(fisher(learner, examples, "sampled"), whole)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_dropout_is_off_and_the_mode_comes_back(
    make_learner: MakeLearner, make_examples: Examples, training: bool, loop: bool
) -> None:
    learner, plain = make_learner("task", dropout=0.5), make_learner("task", dropout=0.0)
    examples = make_examples(learner.labels, 6)
    learner.model.train(training)
    state = torch.get_rng_state()
    found = fisher(learner, examples, "sampled", loop=loop)
    assert all(module.training is training for module in learner.model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(found, fisher(plain, examples, "sampled", loop=loop))


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_only_learning_parameters_and_nothing_left_behind(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("task")
    learner.freeze_body()
    learner.model.get_parameter("bert.pooler.dense.bias").requires_grad_(True)
    learns = {name: p.requires_grad for name, p in learner.model.named_parameters()}
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    found = fisher(learner, make_examples(learner.labels, 5), "sampled")
    assert list(found) == [name for name, learning in learns.items() if learning]
    assert {name: p.requires_grad for name, p in learner.model.named_parameters()} == learns
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    assert hooks_of(learner.model) == 0
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in found.values())
    learner.model.get_parameter("bert.pooler.dense.bias").requires_grad_(False)
    assert_same(
        fisher(learner, make_examples(learner.labels, 5), "sampled"),
        {name: found[name] for name in ("classifier.weight", "classifier.bias")},
    )


def test_gradients_that_were_there_stay(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("task")
    examples = make_examples(learner.labels, 5)
    batch = learner.collate(examples)
    learner.example_losses(learner.logits(batch), batch).mean().backward()
    before = {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}
    assert before
    fisher(learner, examples, "exact")
    for name, parameter in learner.model.named_parameters():
        assert (parameter.grad is not None) == (name in before)
        assert parameter.grad is None or torch.equal(parameter.grad, before[name])


def test_an_error_inside_leaves_nothing_behind(make_learner: MakeLearner) -> None:
    learner = make_learner("task")
    learner.model.get_parameter("classifier.bias").requires_grad_(False)
    sums = {p: torch.zeros_like(p) for _, p in learner.named_parameters()}
    within: list[int] = []

    def fail() -> None:
        with squares_collected(learner.model, sums, 3):
            within.append(sum(parameter.requires_grad for parameter in learner.model.parameters()))
            within.append(hooks_of(learner.model))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert within[0] == 0
    assert within[1] > 10
    assert [name for name, p in learner.model.named_parameters() if not p.requires_grad] == ["classifier.bias"]
    assert hooks_of(learner.model) == 0


def test_an_error_in_the_model_brings_the_mode_back(make_learner: MakeLearner, make_examples: Examples) -> None:
    learner = make_learner("task")
    learner.model.train()
    examples = make_examples(learner.labels, 3)
    examples[1]["input_ids"] = torch.tensor([99])  # beyond the vocabulary
    with pytest.raises(IndexError):
        fisher(learner, examples, "sampled")
    assert learner.model.training
    assert hooks_of(learner.model) == 0
    assert all(parameter.requires_grad for parameter in learner.model.parameters())


def test_a_norm_over_two_dimensions_is_summed_rightly(make_learner: MakeLearner) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm((4, 4))
            self.classifier = nn.Linear(16, LABELS)

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.classifier(self.norm(pixel_values[:, 0]).flatten(1)))

    learner = make_learner("task", model=spread(Net()))
    examples = picture_examples(6)
    assert_same(fisher(learner, examples, "empirical"), fisher(learner, examples, "empirical", loop=True))


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"padding": 1},
        {"dilation": 2},
        {"groups": 2},
        {"groups": 2, "stride": 2, "padding": 1, "bias": False},
        {"bias": False},
        {"padding": "same", "kernel_size": 3},
    ],
)
def test_convolutions(make_learner: MakeLearner, options: dict[str, Any]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 2, 1)
            self.second = nn.Conv2d(2, 4, **{"kernel_size": 2, **options})
            self.classifier = nn.LazyLinear(LABELS)

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            return SimpleNamespace(
                logits=self.classifier(self.second(self.first(pixel_values).tanh()).tanh().flatten(1))
            )

    model = Net()
    model(torch.zeros(1, 1, 4, 4))
    learner = make_learner("task", model=spread(model))
    examples = picture_examples(6)
    assert_same(fisher(learner, examples, "empirical"), fisher(learner, examples, "empirical", loop=True))


def test_inverted_bottlenecks_need_no_loop(make_learner: MakeLearner) -> None:
    """A filter for each channel, and batch normalisation with the statistics that it came with."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expand, self.norm = nn.Conv2d(1, 6, 1, bias=False), nn.BatchNorm2d(6)
            self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
            self.classifier = nn.Linear(6, LABELS)

        def forward(self, pixel_values: Tensor) -> SimpleNamespace:
            filtered = self.depthwise(self.norm(self.expand(pixel_values)).tanh()).tanh()
            return SimpleNamespace(logits=self.classifier(filtered.mean((2, 3))))

    model = spread(Net())
    buffers = dict(model.named_buffers())
    buffers["norm.running_mean"].uniform_(-1, 1)
    buffers["norm.running_var"].uniform_(0.5, 2)
    assert not supported(model.train())
    assert supported(model.eval())
    learner = make_learner("task", model=model)
    examples = picture_examples(6)
    found = fisher(learner, examples, "empirical")
    assert_same(found, fisher(learner, examples, "empirical", loop=True))
    assert all(float(found[f"{layer}.weight"].sum()) > 0 for layer in ("expand", "norm", "depthwise"))
