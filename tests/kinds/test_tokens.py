"""Tokenising once: what comes from the cache is what the tokenizer gives, and nothing else comes from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from clbench.kinds.tokens import FEWEST_CACHED, count_cut, tokenise, whole_lengths


class Words:
    """A fast tokenizer of whole words that counts how often it is asked."""

    is_fast = True

    def __init__(self, words: list[str]) -> None:
        vocabulary = {word: number for number, word in enumerate(["?", *words])}
        self.backend_tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        self.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        self.asked = 0

    def __call__(self, texts: list[str], truncation: bool, max_length: int) -> dict[str, Any]:
        assert truncation
        self.asked += 1
        return {"input_ids": [e.ids[:max_length] for e in self.backend_tokenizer.encode_batch(texts)]}


TEXTS = [f"{'b ' * (number % 5)}a c" for number in range(FEWEST_CACHED)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    return tmp_path / "tokens"


def check(words: Words, texts: list[str], max_length: int, asked: int) -> None:
    """The ids are those of ``words`` (? 0, a 1, b 2) and it has been asked so often."""
    number = words.backend_tokenizer.get_vocab()
    expected = [[number.get(word, 0) for word in text.split()][:max_length] for text in texts]
    ids = tokenise(texts, words, max_length)
    assert [i.tolist() for i in ids] == expected
    assert {i.dtype for i in ids} == {torch.int64}
    assert words.asked == asked


def test_the_second_time_the_ids_come_from_the_disk(cache: Path) -> None:
    words = Words(["a", "b"])
    check(words, TEXTS, 3, asked=1)
    check(words, TEXTS, 3, asked=1)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("cache")
def test_other_texts_lengths_or_words_are_tokenised() -> None:
    words = Words(["a", "b"])
    check(words, TEXTS, 3, asked=1)
    check(words, TEXTS, 2, asked=2)
    check(words, [*TEXTS[1:], "a"], 3, asked=3)
    # The same letters, divided into texts in another way.
    check(words, ["a b", *TEXTS], 3, asked=4)
    check(words, ["a", "b", *TEXTS], 3, asked=5)
    check(Words(["b", "a"]), TEXTS, 3, asked=1)


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content[:-1] + b"!", lambda _: b""])
def test_a_damaged_file_is_made_again(cache: Path, damage: Any) -> None:
    words = Words(["a", "b"])
    check(words, TEXTS, 3, asked=1)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    check(words, TEXTS, 3, asked=2)
    assert file.read_bytes() == whole


def test_few_texts_and_slow_tokenizers_leave_no_file(cache: Path) -> None:
    words = Words(["a", "b"])
    check(words, TEXTS[1:], 3, asked=1)
    words.is_fast = False
    check(words, TEXTS, 3, asked=2)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "file"))
    words = Words(["a", "b"])
    check(words, TEXTS, 3, asked=1)
    check(words, TEXTS, 3, asked=2)


def test_texts_that_are_cut_are_counted_with_the_length_that_would_cut_one_in_twenty() -> None:
    lengths = [5] * 30 + [9] * 7 + [20, 30, 40]  # of 40 two may be cut
    assert count_cut(lengths, 40) == "no text is longer than 40 tokens"
    assert count_cut(lengths, 20) == "2 of 40 texts (5 %) are cut at 20 tokens"
    assert count_cut(lengths, 8) == "10 of 40 texts (25 %) are cut at 8 tokens; --max-length 20 would cut 5 % or fewer"


def test_only_texts_that_may_be_cut_are_read_again() -> None:
    asked: list[list[str]] = []

    def tokenizer(texts: list[str], **how: bool) -> dict[str, Any]:
        assert how == {"truncation": False, "verbose": False}
        asked.append(texts)
        return {"input_ids": [[0] * len(text.split()) for text in texts]}

    texts = ["a b", "a b c d e", "a b c"]
    ids = [torch.zeros(min(3, len(text.split()))) for text in texts]
    assert whole_lengths(texts, ids, tokenizer, 3) == [2, 5, 3]
    assert asked == [texts[1:]]
    assert whole_lengths(texts[:1], ids[:1], tokenizer, 3) == [2]
    assert len(asked) == 1
