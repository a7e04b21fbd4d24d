"""Makes support tickets as people export them: labels of very unequal size, emoji, quotes, line breaks, gaps.

    python3 benchmarks/tickets.py tickets.csv [--rows 200] [--seed 0]

Three products, each with four categories in the ratio 20 : 10 : 4 : 1; "other" means something else in each. The rows
are the same for the same arguments. Some repeat another, some lack their text or category, one text has two categories.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

HEADER = ("id", "created", "product", "message", "category")
SHARES = (20, 10, 4, 1)
# What each product's customers write about, the most frequent first; {} is one of WHERE.
MESSAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "app": {
        "crash": ("it closes by itself {}", "it freezes {}", "a white screen and then nothing {}"),
        "login": ("my password is refused {}", "the code by mail never comes {}", "I am logged out {}"),
        "praise": ("I like the new look {}", "works like a charm {}", "best one so far {}"),
        "other": ("which phones does it run on {}?", "is there a tablet version {}?", "can I change the language {}?"),
    },
    "shop": {
        "delivery": ("my parcel is late {}", "the box was open {}", "tracking shows the wrong street {}"),
        "payment": ("I was charged twice {}", "the card is refused {}", "the code by mail never comes {}"),
        "refund": ("where is my money {}?", "I sent the shoes back {}", "the refund is too small {}"),
        "other": ("do you ship abroad {}?", "are gift cards possible {}?", "when do you open {}?"),
    },
    "router": {
        "connection": ("the line drops {}", "it freezes {}", "no signal in the kitchen {}"),
        "setup": ("my password is refused {}", "the wizard stops at step three {}", "the light stays red {}"),
        "noise": ("it hums {}", "the fan whistles {}", "it clicks like a clock {}"),
        "other": ("does it save power {}?", "can I hang it on a wall {}?", "how long is the warranty {}?"),
    },
}
# What may be about anything: no model is always right.
VAGUE = ("it does not work {}", "please help me {}", "third time I write to you {}", "I am not happy {}")
VAGUE_SHARE = 0.15
WHERE = ("since monday", "every evening", "at home", "at work", "after the update", "on holiday", "again", "for my son")
ENDS = (
    "",
    "!",
    " 😡",
    " 🙏🙏",
    ' You told me "wait", so I wait',
    "\nOrder {number}\nThanks",
    " ({number})",
    ", please",
)


def tickets(rows: int = 200, seed: int = 0) -> list[tuple[str, ...]]:
    """The rows under ``HEADER``: about ``rows`` a product, and the flawed ones."""
    made: list[tuple[str, str, str]] = []
    generator = random.Random(f"tickets/{seed}")
    for product, categories in MESSAGES.items():
        for (category, messages), share in zip(categories.items(), SHARES, strict=True):
            texts: dict[str, None] = {}
            while len(texts) < max(4, rows * share // sum(SHARES)):
                kind = VAGUE if generator.random() < VAGUE_SHARE else messages
                message = generator.choice(kind).format(generator.choice(WHERE))
                texts[_opening(generator) + message + _ending(generator)] = None
            made += [(product, text, category) for text in texts]
    generator.shuffle(made)
    made += _flawed(made)
    first = date(2026, 1, 5)
    return [
        (str(1000 + number), (first + timedelta(hours=7 * number)).isoformat(), *row) for number, row in enumerate(made)
    ]


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write ``rows`` under ``HEADER``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        writer.writerows(rows)


def _opening(generator: random.Random) -> str:
    return generator.choice(("", "Hello, ", "Hi! ", "Dear team, ", f"Customer {generator.randrange(100, 1000)}: "))


def _ending(generator: random.Random) -> str:
    return generator.choice(ENDS).format(number=generator.randrange(10_000, 100_000))


def _flawed(made: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Rows that repeat another, as it is or in capitals, lack a cell, or contradict one."""
    repeated = [*made[:5], *((product, text.upper(), category) for product, text, category in made[5:9])]
    without = [(made[10][0], "", made[10][2]), (made[11][0], "  ", made[11][2]), (made[12][0], made[12][1] + " ??", "")]
    product, text, category = made[20]
    return [*repeated, *without, (product, text, next(other for other in MESSAGES[product] if other != category))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=200, help="rows a product, about")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    rows = tickets(given.rows, given.seed)
    write_csv(given.file, rows)
    print(f"{given.file}: {len(rows)} rows")


if __name__ == "__main__":
    main()
