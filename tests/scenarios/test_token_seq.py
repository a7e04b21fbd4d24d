"""The scenario of tagged tokens and what its corpora hold."""

import importlib
from collections import Counter
from typing import Any

import pytest

from clbench import plugins
from clbench.errors import InputError
from clbench.scenario import Task
from clbench.sources import token_corpora
from clbench.tasks import sequences
from tests.scenarios.packages import need

token_seq: Any = importlib.import_module("clbench.scenarios.token_seq")


@pytest.fixture(scope="module")
def packages() -> None:
    need(token_seq.TokenSequence.sources)


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    need(token_seq.TokenSequence.sources)
    made: list[Task] = token_seq.TokenSequence().tasks()
    return made


def sentences(task: Task) -> list[tuple[str, ...]]:
    return [sequences.same_tokens(row["tokens"]) for data in task.splits.values() for row in data]


@pytest.mark.usefixtures("packages")
def test_the_packages_hold_what_was_counted_in_them() -> None:
    counts = {}
    for read in (token_corpora.addresses, token_corpora.person_names, token_corpora.company_names):
        rows = read()
        assert all(tokens and len(tokens) == len(tags) for tokens, tags in rows)
        assert not [token for tokens, _ in rows for token in tokens if not token or " " in token]
        distinct = {sequences.same_tokens(tokens) for tokens, _ in rows}
        counts[read.__name__] = (len(rows), len(distinct), len({tag for _, tags in rows for tag in tags}))
    expected = {"addresses": (1513, 1487, 29), "person_names": (2898, 2114, 12), "company_names": (1383, 766, 11)}
    assert counts == expected
    tweets = token_corpora.tweets()
    assert (len(tweets), sum(len(tokens) for tokens, _ in tweets)) == (2394, 46469)
    assert len({sequences.same_tokens(tokens) for tokens, _ in tweets}) == 2295


@pytest.mark.usefixtures("packages")
def test_first_sentences_as_a_person_reads_them_in_the_files() -> None:
    tokens, tags = token_corpora.addresses()[1]
    assert (" ".join(tokens), " ".join(tags)) == (
        "3600 West 5th Ave",
        "AddressNumber StreetNamePreDirectional StreetName StreetNamePostType",
    )
    assert token_corpora.company_names()[1] == (
        ("dtd", "investments", "llc"),
        ("CorporationName", "CorporationName", "CorporationLegalType"),
    )
    assert token_corpora.person_names()[0] == (("Drake", "Rice"), ("GivenName", "Surname"))
    tokens, tags = token_corpora.tweets()[0]
    assert tokens[14:19] == ("Empire", "State", "Building", "=", "ESB")
    assert tags[14:19] == ("B-facility", "I-facility", "I-facility", "O", "B-facility")
    tokens, tags = token_corpora.brown()[0]
    assert " ".join(tokens[:6] + tokens[-1:]) == "The Fulton County Grand Jury said ."
    assert " ".join(tags[:6] + tags[-1:]) == "DET PROPN NOUN ADJ NOUN VERB PUNCT"


def test_a_tag_of_the_brown_corpus_by_hand() -> None:
    tags = {"np$-tl": "PROPN", "nn-tl-hl": "NOUN", "fw-in": "ADP", "md*": "AUX", "pps+bez": "PRON", "*": "PART"}
    assert {tag: token_corpora.part_of_speech(tag) for tag in tags} == tags
    assert [token_corpora.part_of_speech(tag) for tag in ("uh", "nil", "--", "pp$$")] == ["", "", "PUNCT", "PRON"]


def test_tags_in_spans_without_rare_ones_by_hand() -> None:
    rows = [(("a", "b", "c"), ("x", "x", "y")), (("d", "e"), ("y", "z"))]
    folded = sequences.fold_rare_tags(rows, 2)
    assert [tags for _, tags in folded] == [("x", "x", "y"), ("y", "O")]
    spans = [(tokens, sequences.bio_tags(tags)) for tokens, tags in folded]
    assert [tags for _, tags in spans] == [("B-x", "I-x", "B-y"), ("B-y", "O")]
    assert sequences.tag_labels(spans) == ("O", "B-x", "I-x", "B-y")
    assert sequences.tag_labels([(("a", "b"), ("VERB", "NOUN"))]) == ("NOUN", "VERB")


def test_sizes_and_tags_of_the_five_tasks(tasks: list[Task]) -> None:
    assert [task.name for task in tasks] == ["addresses", "persons", "companies", "tweets", "speech"]
    kinds = [len({label.partition("-")[2] for label in task.labels if label != "O"}) for task in tasks[:4]]
    assert kinds == [23, 12, 10, 10]
    assert set(tasks[4].labels) == set(token_corpora.PARTS_OF_SPEECH)
    for task in tasks:
        train = 466 if task.name == "companies" else 600
        assert [len(data) for data in task.splits.values()] == [train, 100, 200]
        assert bool(task.notes) == (task.name == "companies")
        assert task.measure == ("token_accuracy" if task.name == "speech" else "")
    names = Counter(label for task in tasks for label in task.labels if label != "O")
    assert max(names.values()) == 1  # so that the setting class can tell them apart


def test_no_sentence_twice_and_legal_tags(tasks: list[Task]) -> None:
    for task in tasks:
        assert len(set(sentences(task))) == sum(len(data) for data in task.splits.values())
        for row in task.train:
            before = "O"
            for tag in (task.labels[index] for index in row["tags"]):
                assert not tag.startswith("I-") or before[2:] == tag[2:]
                before = tag


def test_the_seed_decides_the_sentences(tasks: list[Task], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(token_seq.CORPORA, "speech")  # which takes seconds to read
    again, other = (token_seq.TokenSequence(seed=seed, setting="class", train=50).tasks() for seed in (0, 1))
    for first, second, third in zip(tasks[:4], again, other, strict=True):
        assert first.test[:] == second.test[:] != third.test[:]
        assert len(second.train) == 50


def test_too_few_sentences_and_bad_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [((f"word{n}", "x"), ("B-a", "O")) for n in range(5)] + [(("WORD0", "X"), ("O", "O"))]
    monkeypatch.setattr(token_seq, "CORPORA", {"few": lambda: rows})
    (task,) = token_seq.TokenSequence(dev=1, test=2).tasks()
    assert [len(data) for data in task.splits.values()] == [2, 1, 2]
    assert task.notes == ("2 to train on, not 600: there are no more",)
    with pytest.raises(InputError, match="dev=3 and test=2 leave none of the 5 few to train on"):
        token_seq.TokenSequence(dev=3, test=2).tasks()
    with pytest.raises(InputError, match="test=0 is not allowed; allowed: 1 or more"):
        token_seq.TokenSequence(test=0)
    with pytest.raises(InputError, match="its tasks have different tags"):
        token_seq.TokenSequence(setting="domain")


def test_it_is_described_without_importing_it() -> None:
    description = plugins.describe("scenario", "token_seq")
    assert 20 < len(description.summary) <= 110
    assert "Rights:" in description.doc
