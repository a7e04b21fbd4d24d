"""Merging from sums against values worked by hand, and against the merge of all vectors at once."""

from __future__ import annotations

import math

import pytest
import torch

from clbench.toolkit import Weights, merging, running_merges
from clbench.toolkit.running_merges import Sums


def weight(*values: float) -> Weights:
    return {"w": torch.tensor(values)}


def test_the_mean_by_hand() -> None:
    sums = running_merges.add_mean(running_merges.add_mean({}, weight(1.0, -2.0)), weight(3.0, 0.0))
    assert running_merges.mean(sums, 2)["w"].tolist() == [2.0, -1.0]


def test_the_fisher_mean_by_hand() -> None:
    """(1·2 + 3·6) / 4 = 5; what one task alone measured is its own; what none did is the mean."""
    sums = running_merges.add_fisher({}, weight(2.0, 2.0, 2.0), weight(1.0, 0.0, 0.0))
    sums = running_merges.add_fisher(sums, weight(6.0, 6.0, 6.0), weight(3.0, 3.0, 0.0))
    assert running_merges.fisher_mean(sums)["w"].tolist() == pytest.approx([5.0, 6.0, 4.0])


def test_ties_by_hand() -> None:
    """Half of each is kept: (4, 0, −3, 0), (2, 0, 5, 0), (0, −1, 4, 0) with −1 kept as the second of its own.

    The signs of the sums are +, −, +, none: 3, −1, 4.5, 0.
    """
    sums: Sums = {}
    for vector in ((4.0, 0.1, -3.0, 0.2), (2.0, 1.0, 5.0, 0.1), (0.5, -1.0, 4.0, 0.1)):
        sums = running_merges.add_ties(sums, weight(*vector), 0.5, {"w"})
    assert running_merges.ties(sums)["w"].tolist() == pytest.approx([3.0, -1.0, 4.5, 0.0])


def test_ties_keeps_a_share_of_what_learned() -> None:
    """Half of four: 4 and −3; zeros of frozen weights, however many, are not among those that are counted."""
    vector = {"w": torch.tensor([4.0, 0.1, -3.0, 0.2]), "frozen": torch.zeros(96)}
    merged = running_merges.ties(running_merges.add_ties({}, vector, 0.5, {"w"}))
    assert merged["w"].tolist() == [4.0, 0.0, -3.0, 0.0]
    assert not merged["frozen"].any()


@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_ties_from_sums_is_that_of_all_vectors(density: float) -> None:
    stream = torch.Generator().manual_seed(0)
    vectors = [[torch.randn(7, 5, generator=stream), torch.randn(11, generator=stream)] for _ in range(6)]
    sums: Sums = {}
    for one, other in vectors:
        sums = running_merges.add_ties(sums, {"a": one, "b": other}, density, {"a", "b"})
    found = running_merges.ties(sums)
    expected = merging.merged(lambda task, number: vectors[task][number], 6, 2, "ties", density)
    for value, wanted in zip(found.values(), expected, strict=True):
        assert torch.allclose(value, wanted, atol=1e-6)


def test_slerp_by_hand() -> None:
    """At a right angle the halves are times √½; at 60° the middle of two of length 1 has length 1, of their mean √¾."""
    root = math.sqrt(0.5)
    right = running_merges.slerp(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]), 0.5)
    assert right.tolist() == pytest.approx([3 * root, 4 * root])
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.5, math.sqrt(0.75)])
    assert running_merges.slerp(one, other, 0.5).norm().item() == pytest.approx(1.0)
    third = running_merges.slerp(one, other, 1 / 3)
    assert third.tolist() == pytest.approx([math.cos(math.pi / 9), math.sin(math.pi / 9)])
    assert running_merges.slerp(one, other, 1.0).tolist() == pytest.approx(other.tolist())


def test_slerp_on_one_line_is_straight() -> None:
    one = torch.tensor([1.0, 2.0])
    assert running_merges.slerp(one, 3 * one, 0.25).tolist() == pytest.approx([1.5, 3.0])
    assert running_merges.slerp(one, -one, 0.5).tolist() == pytest.approx([0.0, 0.0])
    assert running_merges.slerp(one, torch.zeros(2), 0.5).tolist() == pytest.approx([0.5, 1.0])


def test_slerp_of_several_gives_each_task_its_share() -> None:
    """Three axes: after the third, each of the vectors of length 1 has 1/√3."""
    sums: Sums = {}
    for tasks, axis in enumerate(torch.eye(3), start=1):
        sums = running_merges.add_slerp(sums, {"w": axis}, tasks)
    first, second, third = sums["merged"]["w"].tolist()
    assert first == pytest.approx(second)
    assert (first, third) == pytest.approx((math.cos(math.pi / 6) * math.sqrt(0.5), 0.5))
