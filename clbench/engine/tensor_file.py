"""Writes tensors as a safetensors file, in pieces that are forgotten by the page cache as soon as they are on the disk.

The library's ``save_file`` copies every tensor and leaves the whole file in the page cache. A checkpoint is not read
again while its run goes on, and on a virtual machine fresh pages can cost seconds a gigabyte: here a small part of the
memory is used over and over. Reading is left to the library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from xxhash import xxh3_128

# The format's names: https://huggingface.co/docs/safetensors
DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint8: "U8", torch.bool: "BOOL"},
}
PIECE = 16 * 2**20  # bytes
ALIGNMENT = 8


def as_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write ``tensors`` (contiguous, on the CPU, of ``DTYPES``) to ``path`` and on to the disk.

    Returns:
        The xxh3_128 checksum of what the file should hold, taken from memory.

    Raises:
        OSError: the disk is full or the file cannot be written.
    """
    checksum, cached = xxh3_128(), 0
    with path.open("wb", buffering=0) as file:
        for piece in _pieces(tensors):
            checksum.update(piece)
            cached += len(piece)
            while piece:
                piece = piece[file.write(piece) :]
            if cached >= PIECE:
                _leave_page_cache(file.fileno())
                cached = 0
        _leave_page_cache(file.fileno())
    return checksum.hexdigest()


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    header, offset = {}, 0
    # The widest first, so that every number lies at a multiple of its size.
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        content = as_bytes(tensor)
        for start in range(0, len(content), PIECE):
            yield content[start : start + PIECE]


def _leave_page_cache(descriptor: int) -> None:
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
