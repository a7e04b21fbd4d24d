"""The built-in scenarios, one file each.

In a checkout the files stand in the root folder ``scenarios/``; in a wheel they lie beside this file.
"""

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "pyproject.toml").is_file() and (_root / "scenarios").is_dir():
    __path__.insert(0, str(_root / "scenarios"))
