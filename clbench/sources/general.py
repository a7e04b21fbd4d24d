"""Data that no built-in task is made of in this form, to measure what a model could do before its tasks."""

from __future__ import annotations

import re

from clbench.sources.cache import read
from clbench.sources.corpora import Rows

# The first file of each genre of the Brown corpus but news, editorials and reviews, which scenarios read.
PROSE = tuple(f"c{genre}01" for genre in "defghjklmnpr")
# A gloss of WordNet's may be followed by sentences that use the word.
EXAMPLES = '; "'


def prose() -> list[str]:
    """The first files of twelve genres of the Brown corpus as running text, without their headings."""
    return [_running_text(read("brown", name).decode("latin-1")) for name in PROSE]


def glosses() -> Rows:
    """The glosses of WordNet's nouns with the number of the lexicographers' file that each is from, such as "05"."""
    rows = []
    for line in read("wordnet", "data.noun").decode("utf-8").splitlines():
        if not line.startswith("  "):  # the licence
            fields, _, gloss = line.partition(" | ")
            rows.append((gloss.split(EXAMPLES)[0].strip(), fields.split(" ", 2)[1]))
    return rows


def _running_text(tagged: str) -> str:
    r"""Words with tags, a sentence a line, as they were written.

    >>> _running_text("A/at-hl Title/nn-hl\n``/`` Now/rb (/( at/in last/rb )/) ''/'' ,/, he/pps said/vbd ;/. ;/.")
    '"Now (at last)", he said;'
    """
    lines = [[token.rpartition("/") for token in line.split()] for line in tagged.splitlines()]
    sentences = [line for line in lines if line and not all(tag.endswith("-hl") for *_, tag in line)]
    text = " ".join(word for line in sentences for word, *_ in line)
    text = re.sub(r"([;:?!]) \1", r"\1", text)  # the corpus has them twice where they end a sentence
    text = re.sub(r" ([,.;:?!)]|'')", r"\1", text)
    text = re.sub(r"(\(|``) ", r"\1", text)
    return re.sub(r"``|''", '"', text)
