"""The built-in tests of earlier abilities: which data they are, fixed and apart from what a run's scenario reads."""

from __future__ import annotations

from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from clbench.config import make_config
from clbench.data import IGNORE
from clbench.engine.abilities import FEWEST_GLOSSES, PROBED, ability_test
from clbench.kinds import find_kind
from clbench.sources import general, token_corpora
from clbench.toolkit import AbilityTest
from tests.models.zoo import tokenizer
from tests.scenarios.packages import need


def made(kind: str, *read: str, positions: int | None = None, **example: Any) -> tuple[AbilityTest, dict[str, Any]]:
    """The test for a scenario that reads these sources, and what its measure is given."""
    config = make_config({"scenario": "toy", "strategy": "naive", "model": "tiny"})
    learner = SimpleNamespace(kind=find_kind(kind), tokenizer=tokenizer(0, 1), positions=positions, device="cpu")
    plan = SimpleNamespace(sources=read, config=config)
    test = ability_test(plan, learner, example)  # type: ignore[arg-type]
    assert isinstance(test.measure, partial)
    return test, test.measure.keywords


def test_prose_is_read_as_it_was_written_and_from_files_that_no_task_reads() -> None:
    need(["brown"])
    texts = general.prose()
    assert texts[0].startswith("As a result, although we still make use of this distinction, there is much confusion")
    assert 'Just what is meant by "spirit" and by "matter"? The terms' in texts[0]
    assert (len(texts), sum(len(text.split()) for text in texts)) == (12, 24257)
    assert not [mark for text in texts for mark in ("``", "''", " ,", " .", "? ?") if mark in text]
    tagged = [tokens for tokens, _ in token_corpora.brown()]
    assert len(tagged) == 1313
    whole = " ".join(texts).lower()
    assert not [tokens for tokens in tagged if len(tokens) > 8 and " ".join(tokens).lower() in whole]
    test, given = made("generation")
    assert (test.name, test.unit, test.higher_is_better) == ("loss per token of prose", "nats", False)
    assert [len(example["input_ids"]) for example in given["examples"]] == [192] * 12
    assert sum(int((example["label"] != IGNORE).sum()) for example in given["examples"]) == 12 * 191
    _, short = made("generation", positions=16)
    assert {len(example["input_ids"]) for example in short["examples"]} == {16}


def test_a_probe_on_glosses_or_where_the_scenario_reads_them_on_reviews() -> None:
    need(["wordnet", "vader-sentiment"])
    counts = Counter(number for _, number in general.glosses())
    for read, name, classes in (((), "glosses", 19), (("wordnet",), "movie reviews", 2)):
        test, given = made("text", *read)
        assert (test.name, test.higher_is_better) == (f"probe accuracy on {name}", True)
        for split in ("train", "test"):
            labels = Counter(example["label"] for example in given[split])
            assert set(labels) == set(range(classes))
            assert sum(labels.values()) == PROBED
            assert max(labels.values()) - min(labels.values()) <= 1
        again = made("text", *read)[1]
        assert all(
            torch.equal(one["input_ids"], other["input_ids"])
            for one, other in zip(given["test"], again["test"], strict=True)
        )
    assert sum(count >= FEWEST_GLOSSES for count in counts.values()) == 19


def test_a_probe_on_animals_or_where_the_scenario_has_them_on_how_they_are_turned() -> None:
    need(["animal-mnist"])
    test, given = made("image", "mnist", pixel_values=torch.zeros(3, 32, 32))
    assert test.name == "probe accuracy on animals"
    assert given["train"][0]["pixel_values"].shape == (3, 32, 32)
    assert Counter(example["label"] for example in given["test"]) == dict.fromkeys(range(10), PROBED // 10)
    seen = {example["pixel_values"].numpy().tobytes() for example in given["train"]}
    assert not [example for example in given["test"] if example["pixel_values"].numpy().tobytes() in seen]
    test, turned = made("image", "animal-mnist", pixel_values=torch.zeros(3, 32, 32))
    assert test.name == "probe accuracy on turned animals"
    for number, example in enumerate(turned["train"]):
        upright = torch.rot90(example["pixel_values"], -example["label"], (1, 2))
        assert example["label"] == number % 4
        assert torch.allclose(upright, given["train"][number]["pixel_values"], atol=1e-6)
