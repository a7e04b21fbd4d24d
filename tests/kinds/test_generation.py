"""Prompts with written answers: encoding by hand, greedy decoding against a loop, what cannot be used."""

from typing import Any

import datasets
import pytest
import torch

from clbench.clock import Clock
from clbench.data import IGNORE
from clbench.engine.preparation import Prepared, prepare
from clbench.errors import InputError
from clbench.kinds import Part, find_kind
from clbench.models.tiny import tiny_words
from clbench.plugins import make_plan
from clbench.scenario import Task
from clbench.strategy import Strategy
from clbench.tasks.checks import check_tasks
from clbench.toolkit import diagonal_fisher, evaluate_all

KIND = find_kind("generation")


def rows(*pairs: tuple[str, str]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"prompt": [p for p, _ in pairs], "answer": [a for _, a in pairs]})


def task(name: str, **changed: Any) -> Task:
    splits = {
        split: rows((f"{name} {split} asks :", "red"), (f"{split} wants {name} :", "dark blue"))
        for split in ("train", "dev", "test")
    }
    return Task(name, "generation", (), **{**splits, **changed})


def tokenizer() -> Any:
    made = tiny_words([task("one"), task("two")], ["[PAD]", "[UNK]", "[EOS]"])
    made.eos_token = "[EOS]"
    return made


def test_each_token_of_the_answer_is_asked_for_by_the_one_before_it() -> None:
    words = tokenizer()
    part = Part(rows(("one asks :", "dark blue")), (), (), 1)
    (example,) = KIND.encode([part], words, 10).examples[0]
    one, asks, colon, dark, blue = words.convert_tokens_to_ids(["one", "asks", ":", "dark", "blue"])
    assert example["input_ids"].tolist() == [one, asks, colon, dark, blue, 2]
    assert example["label"].tolist() == [IGNORE, IGNORE, dark, blue, 2, IGNORE]
    question = KIND.question(example)
    assert question["input_ids"].tolist() == [one, asks, colon]
    assert question["answer"] == ""
    assert KIND.longest_answer([example]) == 3
    assert KIND.read([dark, blue, 2], 0.5, example, (), words) == ("dark blue", 0.5)


def test_a_prompt_loses_its_beginning_and_an_answer_its_end() -> None:
    words = tokenizer()
    part = Part(rows(("one asks :", "dark blue"), ("one :", "red")), (), (), 0)
    examples, notes = KIND.encode([part], words, 4)
    colon, dark, blue = words.convert_tokens_to_ids([":", "dark", "blue"])
    assert examples[0][0]["input_ids"].tolist() == [colon, dark, blue, 2]
    assert notes == ("1 of 2 prompts lose their beginning at 4 tokens",)
    examples, notes = KIND.encode([part], words, 3)
    assert examples[0][0]["input_ids"].tolist() == [colon, dark, 2]
    assert notes[1] == "1 of 2 answers lose their end at 3 tokens"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The tiny model after a few steps, so that it writes something."""
    folder = str(tmp_path_factory.mktemp("runs"))
    plan = make_plan({"scenario": "toy_generation", "strategy": "naive", "output_dir": folder, "device": "cpu"})
    prepared = prepare(plan, Clock())
    learner = prepared.learner
    learner.tasks_seen = 3
    optimizer = torch.optim.AdamW(learner.model.parameters(), 3e-3)
    for start in range(0, 480, 16):
        batch = learner.collate([prepared.tasks[0].train[(start + row) % 96] for row in range(16)])
        learner.example_losses(learner.logits(batch), batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    learner.model.eval()
    return prepared


def test_decoding_is_greedy(trained: Prepared) -> None:
    """Against one example at a time, the whole text read again for each token."""
    learner = trained.learner
    tests = trained.tests[0][:12]
    evaluation = evaluate_all(learner, Strategy(), [tests, [], []])[0]
    assert evaluation is not None
    written, sure = [], []
    for example in tests:
        ids = KIND.question(example)["input_ids"][None]
        chances: list[float] = []
        answer: list[int] = []
        while len(answer) < learner.longest_answer and (not answer or answer[-1] != 2):
            with torch.no_grad():
                p = learner.model(ids).logits[0, -1].softmax(-1)
            answer.append(int(p.argmax()))
            chances.append(float(p.max()))
            ids = torch.cat([ids, torch.tensor([[answer[-1]]])], 1)
        written.append(learner.tokenizer.decode(answer, skip_special_tokens=True).strip())
        sure.append(torch.tensor(chances).log().mean().exp().item())
    assert len(set(written)) > 1
    assert evaluation.predictions == written
    assert evaluation.confidences == pytest.approx(sure, rel=1e-4)


def test_answers_are_the_same_at_any_batch_size(trained: Prepared) -> None:
    tests = [test[:20] for test in trained.tests]
    large = evaluate_all(trained.learner, Strategy(), tests, 2000)
    small = evaluate_all(trained.learner, Strategy(), tests, 1)
    for one, other in zip(large, small, strict=True):
        assert one is not None
        assert other is not None
        assert one.predictions == other.predictions
        assert one.score == other.score


def test_exact_fisher_of_a_vocabulary_is_refused(trained: Prepared) -> None:
    with pytest.raises(InputError, match=r"fisher='exact' goes through every answer.*allowed: sampled, empirical"):
        diagonal_fisher(trained.learner, trained.tasks[0].train[:2], "exact", torch.Generator())


BAD = {
    "task 'one': train has no column 'answer', only prompt": {"train": datasets.Dataset.from_dict({"prompt": ["a"]})},
    "task 'one': dev has in row 0 an empty answer; allowed: text": {"dev": rows(("a", " "))},
    "task 'one': dev has a answer that is not a string": {
        "dev": datasets.Dataset.from_dict({"prompt": ["a"], "answer": [1]})
    },
    "task 'one': 1 prompt(s) occur both in dev and in test": {"dev": rows(("Same", "a")), "test": rows(("same ", "b"))},
    "unknown measure of task 'one' 'rouge'; did you mean 'rouge_l'? allowed: chrf, exact_match, rouge_l": {
        "measure": "rouge"
    },
}


@pytest.mark.parametrize("line", BAD)
def test_bad_rows_are_a_line(line: str) -> None:
    with pytest.raises(InputError) as caught:
        check_tasks([task("one", **BAD[line]), task("two")], "task")
    assert str(caught.value) == line
