"""Tokenises texts once: the token ids are kept in the cache folder, by the content of texts and tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from clbench.errors import InputError
from clbench.files import cache_folder, read_file, write_atomic
from clbench.text import TextOrPair

# Fewer texts are tokenised sooner than looked up.
FEWEST_CACHED = 1000
LARGEST_CACHED = 4 * 2**30  # bytes
# What the numbers of all texts together are called in the cache.
FLAT = {"input_ids": "flat", "token_type_ids": "flat_types"}


def tokenise(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[Tensor]:
    """The token ids (tokens,) int64 of each text, cut at ``max_length`` tokens; see :func:`encode_texts`."""
    return [found["input_ids"] for found in encode_texts(texts, tokenizer, max_length)]


def encode_texts(texts: Sequence[TextOrPair], tokenizer: Any, max_length: int) -> list[dict[str, Tensor]]:
    """What a model reads of each text or pair, cut at ``max_length`` tokens: "input_ids" (tokens,) int64.

    Of pairs, where the tokenizer's ``model_input_names`` have them, also "token_type_ids" (tokens,) int64; a pair that
    is too long loses tokens of its longer text first. A text that has no token, not even a special one, is read as the
    token that ends a text, or the first special token that the tokenizer has: there is no model that answers for
    nothing.

    Fast tokenizers work on all cores. What they give is kept on the disk and read from there when the same texts, the
    same tokenizer and the same length come again; a cache that cannot be read or written costs time only.

    Args:
        texts: all texts, or all pairs.
        tokenizer: the model's.
        max_length: in tokens.

    Raises:
        InputError: no token of a pair would be left.
    """
    pairs = bool(texts) and not isinstance(texts[0], str)
    names = ["input_ids", *(["token_type_ids"] if pairs and "token_type_ids" in tokenizer.model_input_names else [])]
    if pairs:
        _check_room(tokenizer, max_length)
    if len(texts) < FEWEST_CACHED or not getattr(tokenizer, "is_fast", False):
        found = ask_tokenizer(tokenizer, texts, truncation=True, max_length=max_length) if texts else {"input_ids": []}
        columns = {name: [torch.tensor(own, dtype=torch.int64) for own in found[name]] for name in names}
    else:
        path = cache_folder() / "tokens" / _key(texts, tokenizer, max_length, names)
        held = _read(path, names)
        if held is None:
            found = ask_tokenizer(tokenizer, texts, truncation=True, max_length=max_length)
            held = {
                FLAT[name]: torch.tensor([n for own in found[name] for n in own], dtype=torch.int32) for name in names
            }
            held["lengths"] = torch.tensor([len(own) for own in found["input_ids"]])
            _write(path, held)
        columns = {name: list(held[FLAT[name]].long().split(held["lengths"].tolist())) for name in names}
    ids = _without_gaps(columns["input_ids"], tokenizer)
    if len(names) == 1:
        return [{"input_ids": own} for own in ids]
    types = columns["token_type_ids"]
    return [
        {"input_ids": own, "token_type_ids": of if len(of) else torch.zeros(1, dtype=torch.int64)}
        for own, of in zip(ids, types, strict=True)
    ]


def ask_tokenizer(tokenizer: Any, texts: Sequence[TextOrPair], **options: Any) -> Any:
    """What ``tokenizer`` gives for all texts, or all pairs."""
    if not texts or isinstance(texts[0], str):
        return tokenizer(list(texts), **options)
    return tokenizer([text[0] for text in texts], [text[1] for text in texts], **options)


def parts_pairs(tokenizer: Any) -> bool:
    """Whether a token stands between the texts of a pair."""
    special: int = tokenizer.num_special_tokens_to_add(pair=True)
    return special > int(tokenizer.num_special_tokens_to_add(pair=False))


def _check_room(tokenizer: Any, max_length: int) -> None:
    """A tokenizer cuts nothing where the special tokens alone are too many."""
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length < special + 2:
        raise InputError(
            f"max_length = {max_length} leaves no room for a pair of texts beside {special} special tokens; allowed: "
            f"{special + 2} or more"
        )


def count_cut(lengths: Sequence[int], max_length: int) -> str:
    """How many texts are cut at ``max_length`` tokens, in words, and the length that would cut one in twenty.

    >>> count_cut([5] * 10 + [9] * 8 + [20] * 2, max_length=8)
    '10 of 20 texts (50 %) are cut at 8 tokens; --max-length 20 would cut 5 % or fewer'

    Args:
        lengths: tokens of each text, uncut.
        max_length: tokens.
    """
    cut = sum(length > max_length for length in lengths)
    if not cut:
        return f"no text is longer than {max_length} tokens"
    told = f"{cut} of {len(lengths)} texts ({cut / len(lengths):.0%}) are cut at {max_length} tokens".replace("%", " %")
    allowed = len(lengths) // 20
    if cut <= allowed:
        return told
    return f"{told}; --max-length {sorted(lengths, reverse=True)[allowed]} would cut 5 % or fewer"


def whole_lengths(texts: Sequence[TextOrPair], ids: Sequence[Tensor], tokenizer: Any, max_length: int) -> list[int]:
    """The tokens of each text before it was cut to ``ids``; only those that may have been are read again."""
    lengths = [len(own) for own in ids]
    full = [number for number, length in enumerate(lengths) if length >= max_length]
    if full:
        whole = ask_tokenizer(tokenizer, [texts[n] for n in full], truncation=False, verbose=False)["input_ids"]
        for number, own in zip(full, whole, strict=True):
            lengths[number] = len(own)
    return lengths


def _without_gaps(found: list[Tensor], tokenizer: Any) -> list[Tensor]:
    if all(len(ids) for ids in found):
        return found
    ending = tokenizer.eos_token_id
    nothing = torch.tensor([min(tokenizer.all_special_ids) if ending is None else ending])
    return [ids if len(ids) else nothing for ids in found]


def _key(texts: Sequence[TextOrPair], tokenizer: Any, max_length: int, names: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{metadata.version('tokenizers')} {max_length}".encode())
    if getattr(tokenizer, "split_special_tokens", False):
        digest.update(b"special tokens in texts are words")
    digest.update(tokenizer.backend_tokenizer.to_str().encode("utf-8", "surrogatepass"))
    if not isinstance(texts[0], str):
        digest.update(f"pairs {names}".encode())
    for text in texts:
        for part in (text,) if isinstance(text, str) else text:
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _read(path: Path, names: Sequence[str]) -> dict[str, Tensor] | None:
    try:
        content = read_file(path, LARGEST_CACHED)
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None  # cut or changed
    held = load(content[32:])
    return {name: held[name] for name in (*(FLAT[name] for name in names), "lengths")}


def _write(path: Path, held: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save(held)
        write_atomic(path, hashlib.sha256(content).digest() + content)
    except OSError:
        return  # a full or read-only cache: the texts are tokenised again next time
