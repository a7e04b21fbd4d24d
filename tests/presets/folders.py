"""Folders laid out as the hub's data sets are: Parquet files, and a README that says which are a configuration's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np


def write_hub(
    root: Path, hub: str, splits: Mapping[str, Mapping[str, list[Any]]], features: datasets.Features | None = None
) -> None:
    """Write the data set OWNER/NAME or OWNER/NAME:CONFIG below ``root``."""
    name, _, config = hub.partition(":")
    folder = root / name
    place = config or "data"
    (folder / place).mkdir(parents=True, exist_ok=True)
    for split, columns in splits.items():
        data = datasets.Dataset.from_dict(dict(columns), features=features)
        data.to_parquet(str(folder / place / f"{split}-00000-of-00001.parquet"))
    if config:
        readme = folder / "README.md"
        head = readme.read_text().removesuffix("---\n") if readme.exists() else "---\nconfigs:\n"
        files = "".join(f"  - split: {split}\n    path: {place}/{split}-*\n" for split in splits)
        readme.write_text(f"{head}- config_name: {config}\n  data_files:\n{files}---\n")


def labelled(names: list[str], **texts: str) -> datasets.Features:
    """Features of strings and a class label; ``texts`` gives each column's type, "label" for the label."""
    kinds = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names), "image": datasets.Image()}
    return datasets.Features({column: kinds[kind] for column, kind in texts.items()})


def pattern(number: int, side: int = 32) -> np.ndarray:
    """An RGB image of its own."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
