"""The tokenizer of a run's model, where nothing has to be fetched for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.models.libraries import import_libraries
from clbench.models.tiny import tiny_text_model
from clbench.sources import cannot_load, model_path, source_rows

if TYPE_CHECKING:
    from clbench.config import RunConfig
    from clbench.scenario import Task


def tokenizer_at_hand(config: RunConfig, tasks: Sequence[Task]) -> Any | None:
    """The tokenizer of ``config.model``; None where the model is not on this machine.

    Args:
        config: of a run.
        tasks: the model ``tiny`` makes its tokenizer of their training texts.

    Raises:
        InputError: the model's folder has no tokenizer that can be loaded.
    """
    cached = {row["name"] for row in source_rows() if row["cached"]}
    if config.model != "tiny" and config.model not in cached and not os.path.isdir(Path(config.model).expanduser()):
        return None
    import_libraries()
    if config.model == "tiny":
        return tiny_text_model(tasks, 2, config)[1]
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_path(config.model), trust_remote_code=config.trust_remote_code)
    except Exception as error:  # tokenizers raise plain Exceptions for damaged files
        raise cannot_load(config.model, error) from error
