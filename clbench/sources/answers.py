"""Prompts with answers in the pinned packages, as many as there are, in the files' order: pairs of both."""

from __future__ import annotations

import json
import re
from itertools import groupby

from clbench.sources.cache import read
from clbench.sources.corpora import Rows
from clbench.sources.token_corpora import addresses


def address_cities() -> Rows:
    """The addresses of usaddress that name one city, with it."""
    rows = []
    for tokens, tags in addresses():
        runs = [[token for token, _ in run] for tag, run in _runs(tokens, tags) if tag == "PlaceName"]
        if len(runs) == 1:
            rows.append((" ".join(tokens), " ".join(runs[0]).strip(" ,.;()")))
    return rows


def facts() -> Rows:
    """The questions of QASC, each after the fact that has its answer, with the answer as the fact spells it.

    A question whose answer does not stand in its fact as whole words is left out; the first of several answers counts.
    """
    rows = []
    for example in json.loads(read("bigbench", "facts.json"))["examples"]:
        fact, question = example["input"].removeprefix("Fact: ").split("\nQuestion: ")
        target = example["target"]
        answer = (target if isinstance(target, str) else target[0]).strip().rstrip(".")
        found = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", fact, re.IGNORECASE)
        if answer and found:
            rows.append((f"Fact: {fact.strip()}\nQuestion: {question.strip()}", found[0]))
    return rows


def emoji_names() -> Rows:
    """The English names of emoji and symbols with their German ones."""
    english, german = (_emoji_names(language) for language in ("en", "de"))
    return [(name, german[character]) for character, name in english.items() if character in german]


def pronunciations() -> Rows:
    """The words of the CMU Pronouncing Dictionary with their phonemes, without stress; the first way to say each."""
    rows = []
    for line in read("cmudict", "cmudict.dict").decode("utf-8").splitlines():
        word, *phonemes = line.partition("#")[0].split()
        if word.isalpha():  # what is said in another way is marked, as in "read(2)"
            rows.append((word, " ".join(phoneme.rstrip("012") for phoneme in phonemes)))
    return rows


def _runs(tokens: tuple[str, ...], tags: tuple[str, ...]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(tag, list(run)) for tag, run in groupby(zip(tokens, tags, strict=True), key=lambda pair: pair[1])]


def _emoji_names(language: str) -> dict[str, str]:
    """The name that is read aloud, by character."""
    annotations = json.loads(read("emoji-names", f"{language}.json"))["annotations"]["annotations"]
    return {character: entry["tts"][0] for character, entry in annotations.items() if "tts" in entry}
