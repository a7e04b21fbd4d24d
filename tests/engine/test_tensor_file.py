"""Tensor files: read by the safetensors library, equal to what was given, whatever the pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from xxhash import xxh3_128

from clbench.engine import tensor_file


@pytest.mark.parametrize("piece", [1, 7, 2**20])
def test_the_library_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(tensor_file, "PIECE", piece)
    stream = torch.Generator().manual_seed(0)
    tensors = {
        "flags ü": torch.tensor([True, False, True]),
        **{str(dtype): torch.randn(3, 5, generator=stream).mul(9).to(dtype) for dtype in tensor_file.DTYPES},
        "scalar": torch.tensor(-0.5, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
    }
    checksum = tensor_file.write_tensors(tmp_path / "a", tensors)
    loaded = load_file(tmp_path / "a")
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].data_ptr() % tensor.element_size() == 0
    assert checksum == xxh3_128((tmp_path / "a").read_bytes()).hexdigest()
