"""oneDNN's linear layers against torch's own: outputs, gradients, what is left to torch, and copies."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.models import linear
from clbench.models.linear import OneDNNLinear, use_onednn
from clbench.rng import generator
from clbench.toolkit.fisher import diagonal_fisher
from tests.helpers import Examples, MakeLearner

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that gains by it."""
    monkeypatch.setattr(linear, "products_are_slow", lambda: True)
    monkeypatch.setattr(linear, "units_are_half", lambda: False)


def pair(bias: bool = True, outputs: int = 7) -> tuple[nn.Linear, nn.Linear]:
    """torch's layer and its copy that multiplies with oneDNN."""
    torch.manual_seed(0)
    own = nn.Linear(12, outputs, bias=bias)
    fast = copy.deepcopy(own)
    use_onednn(fast)
    assert type(fast) is OneDNNLinear
    return own, fast


def gradients(layer: nn.Linear, given: Tensor, weights: Tensor) -> list[Tensor]:
    given = given.clone().requires_grad_()
    (layer(given) * weights).sum().backward()
    return [t.grad for t in (given, *layer.parameters()) if t.grad is not None]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [7, 19])  # fewer and more than the inputs
@pytest.mark.parametrize("shape", [(5,), (1,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("half", [False, True])
def test_output_and_gradients_are_those_of_torch(
    bias: bool, outputs: int, shape: tuple[int, ...], half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "units_are_half", lambda: half)
    own, fast = pair(bias, outputs)
    given, weights = torch.randn(*shape, 12), torch.randn(*shape, outputs)
    torch.testing.assert_close(fast(given), own(given), rtol=1e-5, atol=1e-6)
    expected, found = gradients(own, given, weights), gradients(fast, given, weights)
    assert len(found) == len(expected) == (3 if bias else 2)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_the_output_may_be_changed_in_place() -> None:
    own, fast = pair()
    given, outputs = torch.randn(2, 3, 12), []
    for layer in (own, fast):
        output = layer(given)
        output += 1
        output.square().sum().backward()
        outputs.append(layer.weight.grad)
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)


def test_a_compiler_gets_the_ordinary_layer() -> None:
    """It cannot make a product of ours its own: --compile would end with an assertion inside of it."""
    own, fast = pair()
    called: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        called.extend(node.target for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    given = torch.randn(4, 12)
    torch.testing.assert_close(torch.compile(fast, backend=backend, fullgraph=True)(given), own(given))
    assert called == [nn.functional.linear]


@pytest.mark.parametrize("learns", ["weight", "bias"])
def test_only_what_learns_gets_a_gradient(learns: str) -> None:
    own, fast = pair()
    for layer in (own, fast):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name == learns)
    given, weights = torch.randn(4, 12), torch.randn(4, 7)
    expected, found = gradients(own, given, weights), gradients(fast, given, weights)
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_other_types_and_shapes_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    own, fast = pair()
    monkeypatch.setattr(linear, "_product", lambda *_: pytest.fail("multiplied with oneDNN"))
    given = torch.randn(4, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(given), own(given))
        assert fast(given).dtype == torch.bfloat16
    assert torch.equal(fast(given[0]), own(given[0]))
    assert fast(given[:0]).shape == (0, 7)
    assert torch.equal(fast.double()(given.double()), own.double()(given.double()))


def test_a_copy_has_weights_of_its_own() -> None:
    _, fast = pair()
    teacher = copy.deepcopy(fast)
    before, given = teacher(torch.ones(1, 12)), torch.ones(1, 12)
    with torch.no_grad():
        fast.weight.zero_()
    assert torch.equal(teacher(given), before)
    assert not torch.equal(fast(given), before)


@pytest.mark.parametrize("loop", [True, False])
def test_fisher_information_is_the_same(make_learner: MakeLearner, make_examples: Examples, loop: bool) -> None:
    found = []
    for fast in (False, True):
        learner = make_learner()
        if fast:
            use_onednn(learner.model)
        examples = make_examples(learner.labels, 9)
        found.append(diagonal_fisher(learner, examples, "empirical", generator(0, "fisher"), loop=loop))
    assert any(type(module) is OneDNNLinear for module in learner.model.modules())
    largest = max(float(expected.max()) for expected in found[0].values())
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-4, atol=1e-6 * largest)


def test_only_ordinary_layers_change_and_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(nn.Linear):
        """Somebody's layer."""

    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2), nn.LayerNorm(2))
    monkeypatch.setattr(linear, "products_are_slow", lambda: False)
    use_onednn(model)
    assert [type(module) for module in model] == [nn.Linear, Own, nn.LayerNorm]
    monkeypatch.setattr(linear, "products_are_slow", lambda: True)
    use_onednn(model)
    assert [type(module) for module in model] == [OneDNNLinear, Own, nn.LayerNorm]
