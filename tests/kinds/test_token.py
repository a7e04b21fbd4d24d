"""Sentences with a tag a word: encoding, loss and Fisher information by hand; what cannot be used."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch
from torch import Tensor, nn

from clbench.data import IGNORE, LabelSpace
from clbench.errors import InputError
from clbench.kinds import Part, find_kind
from clbench.learner import Learner
from clbench.models.tiny import tiny_words
from clbench.scenario import Task
from clbench.strategy import Strategy
from clbench.tasks.checks import check_tasks
from clbench.tasks.labels import label_space
from clbench.toolkit import diagonal_fisher, divergences, evaluate_all

TAGS = ("O", "B-name", "I-name")
KIND = find_kind("token")


def rows(*sentences: tuple[str, list[int]]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"tokens": [words.split() for words, _ in sentences], "tags": [tags for _, tags in sentences]}
    )


def task(name: str, labels: tuple[str, ...] = TAGS, **changed: Any) -> Task:
    splits = {
        split: rows((f"{name} {split} met Ada Byron", [0, 0, 0, 1, 2]), (f"{name} {split} slept", [0, 0, 0]))
        for split in ("train", "dev", "test")
    }
    return Task(name, "token", labels, **{**splits, **changed})


def tokenizer() -> Any:
    """Words and punctuation are tokens of their own: "Byron." is two."""
    return tiny_words([task("one"), task("two")])


def test_a_word_is_answered_at_its_first_token_and_one_cut_off_is_outside() -> None:
    part = Part(rows(("Ada Byron. slept", [1, 2, 0])), TAGS, (5, 6, 7), 3)
    whole = KIND.encode([part], tokenizer(), 10)
    assert whole.notes == ()
    (example,) = whole.examples[0]
    assert example["label"].tolist() == [6, 7, IGNORE, 5]
    assert example["task_id"] == 3
    assert KIND.truth(example) == "B-name I-name O"
    cut = KIND.encode([part], tokenizer(), 2)
    assert cut.notes == ("1 of 1 sentences lose words at 2 tokens, which count as answered O",)
    names = ("",) * 5 + TAGS
    answer, confidence = KIND.read([7, 6], [0.5, 0.9], cut.examples[0][0], names, None)
    assert answer == "I-name B-name O"
    assert confidence == pytest.approx(0.7)
    assert KIND.question(example)["label"].tolist() == [IGNORE] * 4


class Words(nn.Module):
    """Logits of each token from its own vector alone: logistic regression, two positions a text."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(6, 3).requires_grad_(False)
        self.classifier = nn.Linear(3, labels, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(self.vectors(input_ids)))


def learner(setting: str = "task") -> Learner:
    torch.manual_seed(0)
    space = LabelSpace(setting, ("a", "b", "c"), ((0, 1, 2),))
    made = Learner(Words(3), space, kind="token")
    made.tasks_seen = 1
    return made


EXAMPLES = [
    {"input_ids": torch.tensor([1, 2]), "label": torch.tensor([0, 2]), "task_id": 0, "answer": "a c"},
    {"input_ids": torch.tensor([3, 4, 5]), "label": torch.tensor([1, IGNORE, 1]), "task_id": 0, "answer": "b b"},
]


def parts_by_hand(made: Learner) -> list[list[tuple[Tensor, Tensor, int]]]:
    """For each example its answers' inputs, probabilities and labels."""
    found = []
    for example in EXAMPLES:
        inputs = made.model.vectors(example["input_ids"]).double()  # type: ignore[operator]
        chances = (inputs @ made.model.classifier.weight.detach().double().T).softmax(-1)  # type: ignore[union-attr,operator]
        own = zip(inputs, chances, example["label"].tolist(), strict=True)  # type: ignore[attr-defined]
        found.append([each for each in own if each[2] != IGNORE])
    return found


def test_the_loss_is_the_mean_over_the_words_of_each_sentence() -> None:
    made = learner()
    batch = made.collate(EXAMPLES)
    found = made.example_losses(made.logits(batch), batch)
    expected = [sum(-math.log(p[y]) for _, p, y in answers) / len(answers) for answers in parts_by_hand(made)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loop", [False, True])
def test_the_empirical_fisher_squares_the_gradient_of_the_whole_sentence(loop: bool) -> None:
    """(Σ_t (1[y_t = k] − p_tk) x_td)², not Σ_t of squares: a bag of two positions has mixed terms."""
    made = learner()
    expected, by_word = torch.zeros(3, 3).double(), torch.zeros(3, 3).double()
    for answers in parts_by_hand(made):
        each = [torch.outer(nn.functional.one_hot(torch.tensor(y), 3) - p, x) for x, p, y in answers]
        expected += torch.stack(each).sum(0).square() / 2
        by_word += torch.stack(each).square().sum(0) / 2
    found = diagonal_fisher(made, EXAMPLES, "empirical", torch.Generator(), loop=loop)["classifier.weight"].double()
    assert torch.allclose(found, expected, rtol=1e-4)
    assert not torch.allclose(found, by_word, rtol=1e-2)


@pytest.mark.parametrize("loop", [False, True])
def test_the_exact_fisher_is_the_expectation_over_all_answers_of_a_sentence(loop: bool) -> None:
    """By going through all 9 pairs of tags; the closed form is Σ_t p_tk (1 − p_tk) x_td²."""
    made = learner()
    closed, enumerated = torch.zeros(3, 3).double(), torch.zeros(3, 3).double()
    for answers in parts_by_hand(made):
        for x, p, _ in answers:
            closed += torch.outer(p * (1 - p), x.square()) / 2
        for tags in itertools.product(range(3), repeat=len(answers)):
            chance = math.prod(float(p[tag]) for (_, p, _), tag in zip(answers, tags, strict=True))
            each = [
                torch.outer(nn.functional.one_hot(torch.tensor(tag), 3) - p, x)
                for (x, p, _), tag in zip(answers, tags, strict=True)
            ]
            enumerated += chance * torch.stack(each).sum(0).square() / 2
    found = diagonal_fisher(made, EXAMPLES, "exact", torch.Generator(), loop=loop)["classifier.weight"].double()
    assert torch.allclose(enumerated, closed)
    assert torch.allclose(found, closed, rtol=1e-4)


def test_sampled_tags_have_the_exact_expectation_whatever_the_batches() -> None:
    made = learner()
    exact = diagonal_fisher(made, EXAMPLES, "exact", torch.Generator())["classifier.weight"]
    many = EXAMPLES * 3000
    one, other = (
        diagonal_fisher(made, many, "sampled", torch.Generator().manual_seed(1), token_budget=budget)
        for budget in (3000, 1700)
    )
    assert torch.allclose(one["classifier.weight"], exact, rtol=0.1)
    assert torch.allclose(one["classifier.weight"], other["classifier.weight"], rtol=1e-4)


def test_what_is_stored_is_compared_at_the_answers() -> None:
    """The padding of one and the words without an answer of the other count for nothing."""
    made = learner()
    batch = made.collate(EXAMPLES)
    logits = made.logits(batch).detach()
    stored = torch.zeros(2, 2, 3)
    stored[0], stored[1, 0], stored[1, 1] = logits[0, :2] + 1, logits[1, 0] - 2, torch.tensor([1.0, 0.0, 0.0])
    target, student = stored[1, 1].softmax(-1), logits[1, 2].softmax(-1)
    expected = (target * (target / student).log()).sum() / 2
    assert divergences(stored, logits, batch["labels"]).tolist() == pytest.approx([0.0, float(expected)], abs=1e-6)


def test_answers_are_the_same_at_any_batch_size() -> None:
    made = learner()
    large, small = (evaluate_all(made, Strategy(), [EXAMPLES], budget)[0] for budget in (100, 1))
    assert large is not None
    assert small is not None
    assert large.predictions == small.predictions
    assert large.confidences == pytest.approx(small.confidences)
    assert large.labels == ["a c", "b b"]


def test_outside_is_one_label_of_all_tasks_where_none_is_given() -> None:
    other = ("O", "B-city", "I-city")
    tasks = [task("one"), task("two", other)]
    assert check_tasks(tasks, "class")
    assert label_space(tasks, "class").columns == ((0, 1, 2), (0, 3, 4))
    assert label_space(tasks, "task").columns == ((0, 1, 2), (3, 4, 5))


BAD = {
    "task 'one': train has in row 0 2 words and 3 tags; allowed: a tag a word": {"train": rows(("a b", [0, 0, 0]))},
    "task 'one': dev has the label 7, allowed: integers 0..2": {"dev": rows(("a b", [0, 7]))},
    "task 'one': train has no column 'tags', only tokens": {"train": datasets.Dataset.from_dict({"tokens": [["a"]]})},
    "task 'one': 1 sentence(s) occur both in train and in test": {
        "train": rows(("Ada slept", [1, 0])),
        "test": rows(("ada Slept", [0, 0])),
    },
    "unknown measure of task 'one' 'f1'; allowed: entity_f1, token_accuracy": {"measure": "f1"},
    "task 'one' has the tag 'B name'; allowed: names without white space": {"labels": ("O", "B name", "I-name")},
    "task 'one': the tag 'name' is not in BIO; allowed for entity_f1: O, B-TYPE, I-TYPE, or "
    "measure='token_accuracy' for plain tags": {"labels": ("O", "B-name", "name")},
}


@pytest.mark.parametrize("line", BAD)
def test_bad_rows_are_a_line(line: str) -> None:
    with pytest.raises(InputError) as caught:
        check_tasks([task("one", **BAD[line]), task("two")], "task")
    assert str(caught.value) == line
