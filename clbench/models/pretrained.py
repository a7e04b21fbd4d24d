"""A pretrained model from a folder or the hub, with a fresh output layer; what cannot be used is refused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clbench.errors import InputError
from clbench.head import Head, make_head
from clbench.models.probe import ProbeTexts, count_positions, find_output_layer, find_padding_side
from clbench.models.safe_weights import check_weight_files
from clbench.models.weights import new_parameters, renew
from clbench.sources import cannot_load, model_path

if TYPE_CHECKING:
    from clbench.config import RunConfig

# No trained transformer has nearly as many; a configuration that has them would be built for hours.
MOST_LAYERS = 10_000


@dataclass(frozen=True)
class LoadedModel:
    """A model and what was found out about it.

    Attributes:
        model: its output has ``.logits``, a column a label.
        tokenizer: None for images.
        head: the output layer, and what else starts from nothing.
        padding_side: where the model must read padding, so that it changes no logit.
        positions: how many tokens the model has positions for; None where there is no such limit.
        notes: what a person should know of it.
        images_per_pass: images of one pass outside training; 0 for as many as their own size allows.
    """

    model: Any
    tokenizer: Any
    head: Head
    padding_side: str = "right"
    positions: int | None = None
    notes: tuple[str, ...] = ()
    images_per_pass: int = 0

    def longest_text(self, max_length: int) -> int:
        """``max_length``, or less where the model has not so many positions."""
        return max_length if self.positions is None else min(max_length, self.positions)

    def warnings(self, max_length: int) -> list[str]:
        """Lines for who asked for texts of ``max_length`` tokens."""
        name = type(self.model).__name__
        cut = self.longest_text(max_length) < max_length
        return (
            [f"{name} has {self.positions} positions: texts are cut there, not at {max_length} tokens"] if cut else []
        )

    def check_tokens(self, texts: Sequence[Tensor]) -> None:
        """Refuse token ids that the model has no embedding for.

        Raises:
            InputError: the tokenizer belongs to another model.
        """
        largest = max((int(ids.max()) for ids in texts), default=0)
        if largest >= (rows := self.model.get_input_embeddings().num_embeddings):
            token = self.tokenizer.convert_ids_to_tokens(largest)
            raise InputError(
                f"the tokenizer gives {token!r} the number {largest}, and {type(self.model).__name__} has embeddings "
                f"for 0 to {rows - 1}; allowed: a model and its own tokenizer"
            )


def load_pretrained(
    config: RunConfig, labels: int, device: torch.device, names: Sequence[Sequence[str]], auto_class: str
) -> LoadedModel:
    """The model ``config.model`` with an output layer over labels, on the CPU.

    Args:
        config: the run's.
        labels: columns of its output layer.
        device: where the model will be.
        names: what each label may be called in an output layer that the model brings.
        auto_class: transformers' class for it.

    Raises:
        InputError: it cannot be had, its files are damaged, or it does not do what a classifier of texts or words must.
    """
    path = model_path(config.model)
    try:
        settings = read_settings(path, config, num_labels=labels)
        tokenizer = read_tokenizer(path, config, split=auto_class == "AutoModelForTokenClassification")
        model, loading = read_model(path, config, settings, device, auto_class)
        fit(model, tokenizer)
        texts = ProbeTexts(model, tokenizer)
        output_layer = find_output_layer(model, labels, texts)
        new = new_parameters(model, loading, output_layer, texts)
        own = {name for name, _ in model.get_submodule(output_layer).named_parameters(prefix=output_layer)}
        brought = own - set(loading["missing_keys"])
        if brought - {name for name, *_ in loading["mismatched_keys"]}:
            renew(model, output_layer)
        note = _keep_rows(model, output_layer, path, config, names, auto_class) if brought else ""
        side = find_padding_side(model, texts, tokenizer.pad_token_id)
        head, positions = make_head(model, output_layer, new), count_positions(model, texts)
        if config.keep_head and not brought:
            raise InputError(f"--keep-head: model {config.model!r} brings no output layer; leave the option away")
        return LoadedModel(model, tokenizer, head, side, positions, (note,) if note else ())
    except InputError:
        raise
    except Exception as error:  # tokenizers and safetensors raise plain Exceptions for damaged files
        raise cannot_load(config.model, error) from error


def _keep_rows(
    model: Any, layer: str, path: str, config: RunConfig, names: Sequence[Sequence[str]], auto_class: str
) -> str:
    """Copy, with ``keep_head``, the rows of labels that the model knew by the same names; the line that says what was.

    Raises:
        InputError: rows are to be kept and no label has the name of one.
    """
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(path, trust_remote_code=config.trust_remote_code)
    known = {str(name): row for row, name in settings.id2label.items()}
    rows = {column: known[name] for column, own in enumerate(names) for name in own if name in known}
    had = ", ".join(list(known)[:10]) + (", ..." if len(known) > 10 else "")
    if not config.keep_head:
        more = f"; --keep-head keeps the rows of {len(rows)} labels with the same names" if rows else ""
        return f"the output layer that {config.model} brings ({had}) is made anew{more}"
    if not rows:
        allowed = ", ".join(own[-1] for own in names[:10])
        raise InputError(f"--keep-head: no label has a row in {config.model!r}, which knows {had}; labels: {allowed}")
    old = read_model(path, config, settings, torch.device("cpu"), auto_class)[0].get_submodule(layer)
    with torch.no_grad():
        for name, parameter in model.get_submodule(layer).named_parameters():
            parameter[list(rows)] = old.get_parameter(name)[list(rows.values())]
    kept = ", ".join(names[column][-1] for column in list(rows)[:10]) + (", ..." if len(rows) > 10 else "")
    return f"the output layer keeps the rows of {len(rows)} labels of {config.model} ({kept}); the others are new"


def attention_for(device: torch.device) -> str | None:
    """Which of transformers' attentions; None for its own choice. On CPUs sdpa's bf16 backward pass is slower."""
    return "eager" if device.type == "cpu" else None


def read_settings(path: str, config: RunConfig, **given: Any) -> Any:
    """The model's configuration with the run's dropout; one that could not be built is refused."""
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(path, **given, trust_remote_code=config.trust_remote_code)
    for key, value in vars(settings).items():
        if key.endswith(("dropout", "dropout_prob", "pdrop")) and isinstance(value, float | int):
            setattr(settings, key, config.dropout)
    check_layers(vars(settings))
    return settings


def check_layers(settings: Mapping[str, Any]) -> None:
    """ValueError where a config.json tells of more layers than any model has."""
    for key, value in settings.items():
        if "layer" in key and isinstance(value, int) and value > MOST_LAYERS:
            raise ValueError(f"its config.json says {key} = {value}, allowed are at most {MOST_LAYERS}")


def read_tokenizer(path: str, config: RunConfig, *, split: bool = False) -> Any:
    """The model's tokenizer, with a token for padding; ``split`` where it is given words, not texts."""
    from transformers import AutoTokenizer

    # Words that are given one by one begin with a blank, as they do in a text.
    tokenizer = AutoTokenizer.from_pretrained(
        path, trust_remote_code=config.trust_remote_code, **({"add_prefix_space": True} if split else {})
    )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ValueError("it has no tokenizer: its vocabulary is empty")
    if tokenizer.pad_token_id is None:
        # Masks hide padding, so any token will do that is no word at a text's end, where decoders look for the last.
        if tokenizer.eos_token is None and tokenizer.unk_token is None:
            raise ValueError(
                "its tokenizer has no padding token, and neither an end-of-text nor an unknown token for it"
            )
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def fit(model: Any, tokenizer: Any) -> None:
    """Make the model and its tokenizer agree on padding, on where a text ends and on whether pairs are told apart."""
    rows = model.get_input_embeddings().num_embeddings
    used = {"padding": tokenizer.pad_token_id, **{str(token): token for token in tokenizer("")["input_ids"]}}
    if beyond := [name for name, number in used.items() if number >= rows]:
        number = used[beyond[0]]
        raise ValueError(f"its tokenizer's token {number} ({beyond[0]}) has no embedding, there are {rows}")
    model.config.pad_token_id = tokenizer.pad_token_id
    if model.config.is_encoder_decoder:
        # Its code looks for the one token that ends a text; the same characters inside a text must not be one.
        tokenizer.split_special_tokens = True
    if "token_type_ids" in tokenizer.model_input_names and not _reads_token_types(model, tokenizer):
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]


def _reads_token_types(model: Any, tokenizer: Any) -> bool:
    """Whether the model has something to learn of which of two texts a token is of."""
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return False
    types = getattr(model.config, "type_vocab_size", None)  # XLNet, say, has no table of them
    return types is None or max(tokenizer("", "")["token_type_ids"], default=0) < types


def read_model(
    path: str, config: RunConfig, settings: Any, device: torch.device, auto_class: str
) -> tuple[Any, dict[str, Any]]:
    """The model as transformers' ``auto_class`` reads it, and what it tells of loading it: missing keys and others."""
    import transformers

    check_weight_files(path, config.allow_pickle)
    model, loading = getattr(transformers, auto_class).from_pretrained(
        path,
        config=settings,
        use_safetensors=None if config.allow_pickle else True,
        trust_remote_code=config.trust_remote_code,
        # The output layer of another task; it is made anew.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
        attn_implementation=attention_for(device),
    )
    return model, loading
