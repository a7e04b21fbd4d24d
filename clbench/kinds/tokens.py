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

from clbench.files import cache_folder, read_file, write_atomic

# Fewer texts are tokenised sooner than looked up.
FEWEST_CACHED = 1000
LARGEST_CACHED = 4 * 2**30  # bytes


def tokenise(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[Tensor]:
    """The token ids (tokens,) int64 of each text, cut at ``max_length`` tokens.

    A text that has no token, not even a special one, is read as the token that ends a text, or the first special token
    that the tokenizer has: there is no model that answers for nothing.

    Fast tokenizers work on all cores. Their ids are kept on the disk and read from there when the same texts, the same
    tokenizer and the same length come again; a cache that cannot be read or written costs time only.
    """
    if len(texts) < FEWEST_CACHED or not getattr(tokenizer, "is_fast", False):
        found = [torch.tensor(ids, dtype=torch.int64) for ids in _token_ids(texts, tokenizer, max_length)]
        return _without_gaps(found, tokenizer)
    path = cache_folder() / "tokens" / f"{_key(texts, tokenizer, max_length)}"
    flat, lengths = _read(path) or (None, None)
    if flat is None or lengths is None:
        ids = _token_ids(texts, tokenizer, max_length)
        lengths = torch.tensor([len(i) for i in ids])
        flat = torch.tensor([token for i in ids for token in i], dtype=torch.int32)
        _write(path, flat, lengths)
    return _without_gaps(list(flat.long().split(lengths.tolist())), tokenizer)


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


def whole_lengths(texts: Sequence[str], ids: Sequence[Tensor], tokenizer: Any, max_length: int) -> list[int]:
    """The tokens of each text before it was cut to ``ids``; only those that may have been are read again."""
    lengths = [len(own) for own in ids]
    full = [number for number, length in enumerate(lengths) if length >= max_length]
    if full:
        whole = tokenizer([texts[number] for number in full], truncation=False, verbose=False)["input_ids"]
        for number, own in zip(full, whole, strict=True):
            lengths[number] = len(own)
    return lengths


def _without_gaps(found: list[Tensor], tokenizer: Any) -> list[Tensor]:
    if all(len(ids) for ids in found):
        return found
    ending = tokenizer.eos_token_id
    nothing = torch.tensor([min(tokenizer.all_special_ids) if ending is None else ending])
    return [ids if len(ids) else nothing for ids in found]


def _token_ids(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    return ids


def _key(texts: Sequence[str], tokenizer: Any, max_length: int) -> str:
    digest = hashlib.sha256(f"{metadata.version('tokenizers')} {max_length}".encode())
    if getattr(tokenizer, "split_special_tokens", False):
        digest.update(b"special tokens in texts are words")
    digest.update(tokenizer.backend_tokenizer.to_str().encode("utf-8", "surrogatepass"))
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def _read(path: Path) -> tuple[Tensor, Tensor] | None:
    try:
        content = read_file(path, LARGEST_CACHED)
    except OSError:
        return None
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None  # cut or changed
    held = load(content[32:])
    return held["flat"], held["lengths"]


def _write(path: Path, flat: Tensor, lengths: Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({"flat": flat, "lengths": lengths})
        write_atomic(path, hashlib.sha256(content).digest() + content)
    except OSError:
        return  # a full or read-only cache: the texts are tokenised again next time
