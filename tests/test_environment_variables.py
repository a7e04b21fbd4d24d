"""No environment variable that a library reads changes a run in silence: recorded and told, or without effect."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from clbench.models.hardware import KERNELS
from tests.helpers import ROOT

LIBRARIES = (
    *("accelerate", "datasets", "huggingface_hub", "numpy", "peft", "safetensors", "scipy", "sklearn", "tokenizers"),
    *("torch", "transformers"),
)
# Names in these sources, and what they begin with where they may matter to what is computed on a CPU.
READ = re.compile(
    r"""(?:environ(?:\.\w+)?|\w*[eE]nv\w*|\w*Config|strtobool|env_name_\w+|parse_\w+)\s*[\[(=]\s*["']([A-Z][A-Z0-9_]{2,})["']"""
)
FAMILIES = (
    *("AOT", "ATEN_", "CUBLAS_", "DATASETS_", "DNNL_", "FLASH_", "FX_", "HF_", "INDUCTOR_", "MKL_", "NPY_", "NUMPY_"),
    *("ONEDNN_", "PYTORCH_", "SAFETENSORS_", "SCIPY_", "SKLEARN_", "TENSORIFY_", "TOKENIZERS_", "TORCH"),
    *("TRANSFORMERS_", "USE_", "XLA_"),
)
# Which torch's own libraries read, and oneDNN, MKL, OpenMP and FBGEMM in them.
COMPILED = (
    *("FBGEMM_ENABLE_AVX512_256", "FBGEMM_ENABLE_INSTRUCTIONS", "FBGEMM_FORCE_AUTOVEC", "FBGEMM_NO_ASMJIT"),
    *("MKL_DISABLE_FAST_MM", "MKL_DYNAMIC", "MKL_NUM_STRIPES", "OMP_DYNAMIC", "OMP_SCHEDULE"),
    *("ONEDNN_CACHE_CONTEXT_UNSAFE", "PYTORCH_TENSOREXPR", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    *("TORCH_BLAS_PREFER_CUBLASLT", "TORCH_LINALG_PREFER_CUSOLVER", "TORCH_LINEAR_FLATTEN_3D"),
    *("TORCH_MKLDNN_MATMUL_MIN_DIM", "TORCH_MKLDNN_MATMUL_MIN_SIZE"),
)
# Values other than 1: torch refuses that by name, or the name is one of a choice.
VALUES = {
    "NPY_DISABLE_CPU_FEATURES": "AVX512F",
    "OMP_DYNAMIC": "true",
    "OMP_SCHEDULE": "dynamic,1",
    "TORCH_DISTRIBUTED_DEBUG": "DETAIL",
    "TORCHINDUCTOR_WORKER_START": "spawn",
}
# A place, not a setting; of torch's own tests; or one that ends the process at a 1, whatever is run.
LEFT_OUT = re.compile(
    r".*_(CACHE|CACHE_DIR|CUSTOM_PYTHONPATH|DIR|HOME|PATH)$|PYTORCH_TEST|TORCH_TEST|NPY_ENABLE_CPU_FEATURES$"
    r"|TORCH_PYTHON_NATIVE_USER_GRAPH_ORDER_FN$|PYTORCH_(CUDA_|HIP_)?ALLOC_CONF$"
)
ELSEWHERE = {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
PROGRAM = """
import sys
from clbench.cli import main

for precision in ("fp32", "bf16"):
    code = main([
        *("run", "--scenario", "toy", "--strategy", "replay+ewc(fisher_samples=8)", "--device", "cpu", "--epochs", "2"),
        *("--lr", "5e-3", "--head-lr", "5e-2", "--precision", precision, "--output-dir", precision, "-q"),
        *("--scenario-arg", "train=60", "--scenario-arg", "dev=9", "--scenario-arg", "test=30"),
    ])
    if code:
        sys.exit(code)
"""


def names() -> set[str]:
    """What the libraries' Python sources read, and what is compiled, but for what is told or no setting."""
    found = set(COMPILED)
    for library in LIBRARIES:
        place = util.find_spec(library)
        assert place is not None
        assert place.origin is not None
        for file in Path(place.origin).parent.rglob("*.py"):
            found |= {name for name in READ.findall(file.read_text(errors="replace")) if name.startswith(FAMILIES)}
    return {name for name in found if name not in KERNELS["cpu"] and not LEFT_OUT.match(name)}


def numbers(folder: Path, **variables: str) -> list[bytes]:
    """The predictions and confidences of a run in each precision, in a process with ``variables``."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [path.read_bytes() for path in sorted(folder.rglob("predictions.parquet"))]


@pytest.mark.slow
def test_what_a_run_gives_is_the_same_whatever_libraries_find_in_the_environment(tmp_path: Path) -> None:
    chosen = {name: VALUES.get(name, "info" if "LOG" in name or "VERB" in name else "1") for name in names()}
    assert len(chosen) > 300
    clean = numbers(tmp_path / "clean")
    assert len(clean) == 2
    assert numbers(tmp_path / "set", **chosen, **ELSEWHERE) == clean


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["ATEN_CPU_CAPABILITY=default", "MKL_CBWR=COMPATIBLE", "ONEDNN_MAX_CPU_ISA=SSE41"])
def test_what_changes_the_last_digits_is_recorded(variable: str, tmp_path: Path) -> None:
    """On a processor with AVX512 each gives other confidences, the second of them in fp32 only."""
    name, _, value = variable.partition("=")
    numbers(tmp_path / "set", **{name: value})
    for kept in tmp_path.rglob("result.json"):
        assert json.loads(kept.read_text())["hardware"][0]["kernels"] == variable
        environment = json.loads(kept.with_name("environment.json").read_text())
        assert environment["hardware"]["kernels"] == variable
        assert environment["variables"][name] == value
