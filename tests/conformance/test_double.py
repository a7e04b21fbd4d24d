"""The stand-in for a GPU: its numbers are the CPU's, it refuses what a GPU refuses, it counts what a host waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clbench.config import make_config
from clbench.conformance import as_cuda, watch
from clbench.conformance.double_backend import check_torch
from clbench.data import Batch, Example, pad_left, upload
from clbench.errors import InputError
from clbench.learner import Learner
from clbench.models import import_libraries
from clbench.rng import generator
from clbench.strategy import Strategy
from clbench.toolkit import Training, diagonal_fisher
from tests.helpers import Examples, MakeLearner, task_data
from tests.models import zoo


@pytest.fixture
def here() -> Iterator[torch.device]:
    with as_cuda():
        yield torch.device("cuda")


MISTAKES: dict[str, Callable[[Tensor, nn.Linear], Any]] = {
    "host beside device": lambda x, _: x + torch.ones(3, 4),
    "host input of a layer on the device": lambda _, layer: layer(torch.ones(2, 4)),
    "device input of a layer on the host": lambda x, _: nn.Linear(4, 2)(x),
    "cat of both": lambda x, _: torch.cat([x, torch.ones(1, 4)]),
    "stack of both": lambda x, _: torch.stack([x, torch.ones(3, 4)]),
    "host tensor indexed by the device's": lambda x, _: torch.ones(5)[x.argmax(1)],
    "host labels of a loss": lambda x, _: nn.functional.cross_entropy(x, torch.zeros(3, dtype=torch.int64)),
    "host generator": lambda x, _: torch.randn(2, device=x.device, generator=generator(0)),
    "numpy": lambda x, _: x.numpy(),
    "in place from the host": lambda x, _: x.add_(torch.ones(3, 4)),
    "fused in place from the host": lambda x, _: torch._foreach_add_([x], [torch.ones(3, 4)]),
    "data of the host": lambda _, layer: setattr(layer.weight, "data", torch.ones(2, 4)),
    "host one-hot": lambda x, _: x @ nn.functional.one_hot(torch.arange(4)).float(),
    "a hook of a backward pass": lambda x, _: _hooked(x),
}


def _hooked(x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    leaf.register_hook(lambda gradient: gradient + torch.ones(3, 4))
    leaf.square().sum().backward()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_gpu_refuses_is_refused(here: torch.device, mistake: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        MISTAKES[mistake](torch.arange(12.0, device=here).view(3, 4), nn.Linear(4, 2).to(here))


def test_what_a_gpu_takes_is_taken(here: torch.device) -> None:
    x = torch.ones(3, 4, device=here)
    assert (x * torch.tensor(2.0) + 1).sum().item() == 36
    assert x.masked_fill(x > 0, 5.0).mean().item() == 5
    assert (x.device.type, x.is_cuda) == ("cuda", True)


# What it does, and the kinds of waits and of uploads that are counted.
COUNTED: dict[str, tuple[Callable[[Tensor], Any], list[str], list[str]]] = {
    "item": (lambda x: x.sum().item(), ["item"], []),
    "bool": (lambda x: bool((x > 0).all()), ["item"], []),
    "tolist": (lambda x: x.tolist(), ["item"], []),
    "cpu": (lambda x: x.cpu(), ["copied to host"], []),
    "nonzero": (lambda x: x.nonzero(), ["nonzero"], []),
    "unique": (lambda x: x.unique(), ["unique"], []),
    "boolean index": (lambda x: x[x > 0], ["boolean index"], []),
    "list index": (lambda x: x[[0, 2]], [], ["upload, blocking"]),
    "tensor of a list": (lambda x: torch.tensor([1.0], device=x.device), [], ["upload, blocking"]),
    "to": (lambda x: torch.ones(2).to(x.device), [], ["upload, blocking"]),
    "to from pageable memory": (lambda x: torch.ones(2).to(x.device, non_blocking=True), [], ["upload, pageable"]),
    "upload": (lambda x: upload(torch.ones(2), x.device), [], []),
    "made there": (lambda x: torch.ones(2, device=x.device), [], []),
    "device index": (lambda x: x[torch.arange(2, device=x.device)], [], []),
    "synchronize": (lambda _: torch.cuda.synchronize(), ["synchronize"], []),
}


@pytest.mark.parametrize("name", COUNTED)
def test_waits_are_counted_with_their_line(here: torch.device, name: str) -> None:
    act, waits, uploads = COUNTED[name]
    x = torch.arange(12.0, device=here).view(3, 4)
    with watch() as seen:
        act(x)
    assert [kind for kind, *_ in seen.waits] == waits
    assert [kind for kind, *_ in seen.blocking] == uploads
    assert all("conformance/test_double.py" in place for *_, place in [*seen.waits, *seen.blocking])


def test_what_has_a_kernel_is_computed_in_one(here: torch.device) -> None:
    """Where torch makes it of other operations, for a device that it does not know, it rounds otherwise."""
    values, gradient = torch.linspace(-3, 3, 99), torch.linspace(1, 2, 99)

    def slope(device: torch.device | str) -> Tensor:
        x = values.to(device).requires_grad_()
        return torch.autograd.grad(nn.functional.silu(x), x, gradient.to(device))[0].cpu()

    assert torch.equal(slope(here), slope("cpu"))


def test_products_in_inference_mode_are_the_cpus(here: torch.device) -> None:
    """torch chooses among its products by whether a weight learns, a view of it as well."""
    layer, states = nn.Linear(64, 33, bias=False), torch.rand(18, 6, 64)

    def scores(device: torch.device | str) -> Tensor:
        layer.to(device)
        inputs = states.to(device)
        with torch.inference_mode():
            found: Tensor = layer((inputs * 1)[:, -1:])
            return found.cpu()

    assert torch.equal(scores("cpu"), scores(here))


def test_outside_nothing_has_changed() -> None:
    with as_cuda():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    x = torch.ones(2, requires_grad=True)
    x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]
    with pytest.raises((RuntimeError, AssertionError)):
        torch.ones(2, device="cuda")


@pytest.mark.parametrize("version", ["2.12.1", "2.14.0+cpu", "3.13.0"])
def test_another_torch_is_told(version: str) -> None:
    with pytest.raises(InputError, match=rf"private parts of torch 2.13 and torch {version.replace('+', '.')} is"):
        check_torch(version)
    check_torch("2.13.1+cu130")


def test_autocast_and_the_gradient_scaler_are_the_devices(here: torch.device) -> None:
    layer = nn.Linear(4, 2).to(here)
    with torch.autocast("cuda", torch.float16):
        assert layer(torch.ones(3, 4, device=here)).dtype == torch.float16
        assert torch.ones(3, 4, device=here).softmax(-1).dtype == torch.float32


@pytest.mark.parametrize("kind", ["empirical", "sampled"])
def test_fisher_is_the_cpus_and_does_not_wait_for_embeddings(
    make_learner: MakeLearner, make_examples: Examples, kind: Any
) -> None:
    learner = make_learner()
    examples = [*make_examples(learner.labels, 5), *make_examples(learner.labels, 4, task=1)]
    there = diagonal_fisher(learner, examples, kind, generator(0))
    with as_cuda():
        learner.model.to("cuda")
        with watch() as seen:
            fisher = diagonal_fisher(learner, examples, kind, generator(0))
        assert all(torch.equal(fisher[name].cpu(), there[name]) for name in there)
    learner.model.to("cpu")
    assert not seen.waits


# Architectures whose own code looks for each text's end: transformers waits for it, forward and backward.
LOOKING = {"Bart": 3, "T5": 3}
WITHOUT_SDPA = ("DebertaV2", "MPNet", "XLNet")
WAYS = [("eager", name) for name in zoo.SETTINGS]
WAYS += [("sdpa", name) for name in zoo.SETTINGS if name not in WITHOUT_SDPA]


@pytest.mark.parametrize(("attention", "name"), WAYS)
def test_no_architecture_waits_for_its_mask_and_all_give_the_cpus_logits(attention: str, name: str) -> None:
    """On the stand-in sdpa is what it is made of, on the CPU one kernel: there they differ by rounding."""
    import_libraries()
    model = zoo.make(name, attn_implementation=attention).eval()
    end, stream = model.config.eos_token_id, torch.Generator().manual_seed(0)
    words = torch.randint(5, 60, (9,), generator=stream)
    for lengths in ((9, 9, 9), (9, 5, 2)):  # without padding, where transformers leaves the mask out, and with it
        texts = [torch.tensor([3, *(words[:n] + i).tolist(), end]) for i, n in enumerate(lengths)]
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=model.config.pad_token_id)
        mask = (torch.arange(ids.shape[1]) < torch.tensor([n + 2 for n in lengths])[:, None]).long()
        inputs = {"input_ids": ids, "attention_mask": mask}
        inputs = pad_left(inputs) if name == "XLNet" else inputs
        there = model(**inputs).logits.detach()
        with as_cuda():
            model.to("cuda")
            given = {key: value.to("cuda") for key, value in inputs.items()}
            with watch() as seen:
                logits = model(**given).logits
                logits.sum().backward()
            assert attention == "sdpa" or torch.equal(logits.detach().cpu(), there)
            torch.testing.assert_close(logits.detach().cpu(), there)
            assert seen.waits.total() == LOOKING.get(name, 0), seen.waits
            model.zero_grad()
            model.to("cpu")


def test_the_next_batch_is_there_before_a_hook_can_wait(
    make_learner: MakeLearner, make_examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepared after the step's backward pass, in the order in which it would be drawn without."""
    learner = make_learner()
    examples = make_examples(learner.labels, 5)
    collated: list[int] = []
    seen: list[int] = []

    class Looking(Strategy):
        def before_step(self, learner: Learner) -> None:
            seen.append(len(collated))

    collate = learner.collate

    def counted(given: Sequence[Example]) -> Batch:
        collated.append(len(given))
        return collate(given)

    monkeypatch.setattr(learner, "collate", counted)
    config = make_config(
        {"scenario": "toy", "strategy": "naive", "batch_size": 2, "epochs": 2, "min_steps": 0, "precision": "fp32"}
    )
    training = Training(config, Looking(), learner, task_data(learner, 0, examples), examples)
    while training.step < training.steps:
        training.run_step()
        assert len(learner.new_examples) == collated[training.step - 1]
    assert seen == [2, 3, 4, 5, 6, 6]
    assert training.seen == sum(collated) == 10
