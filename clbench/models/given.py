"""A model that is an object, as in a notebook: kept in the cache folder, where runs find it by its contents."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.files import cache_folder, replace_folder
from clbench.models.identity import model_identity
from clbench.models.libraries import import_libraries

ALLOWED = "allowed: a name, a folder, a hub id, or a model that transformers loaded"


def keep_given(model: Any, tokenizer: Any = None) -> Path:
    """Write ``model``, as it is now, into a folder that is named after its contents; equal models have one folder.

    Args:
        model: transformers' (a ``PreTrainedModel``), with its weights.
        tokenizer: its own; where it was loaded from, one is looked for without it.

    Raises:
        InputError: it is another kind of object, it has no tokenizer, or the cache folder cannot be written.
    """
    import_libraries()
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        raise InputError(f"model is a {type(model).__name__}; {ALLOWED}")
    own = tokenizer if tokenizer is not None or model.main_input_name != "input_ids" else _tokenizer_of(model)
    parent = cache_folder() / "given"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent) as temporary:
            new = Path(temporary) / "model"
            model.save_pretrained(new)
            if own is not None:
                own.save_pretrained(new)
            folder = parent / f"{type(model).__name__}-{model_identity(str(new))[:8]}"
            if not folder.exists():
                replace_folder(new, folder)
    except OSError as error:
        raise InputError(f"the model cannot be kept in {parent}: {error.strerror}; set CLBENCH_CACHE") from error
    return folder


def _tokenizer_of(model: Any) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model.name_or_path)
    except Exception as error:  # tokenizers raise plain Exceptions for damaged files
        name = type(model).__name__
        raise InputError(f"there is no tokenizer where {name} came from; give it as tokenizer=...") from error
