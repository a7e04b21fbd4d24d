"""Imported once by the fork server of :mod:`benchmarks.processes`: all that a run imports later, and nothing run."""

import importlib

from clbench.models import import_libraries

import_libraries()
for name in (
    "clbench.commands",
    "matplotlib.backends.backend_agg",
    "peft",
    "pyarrow.parquet",
    "sklearn.datasets",
    "transformers.models.bert.modeling_bert",
):
    importlib.import_module(name)
