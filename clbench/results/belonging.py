"""Whether the files of a run's folder belong together: an edited or copied one is told, not believed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clbench.errors import InputError
from clbench.results.schema import REMEDY

NAMED_TWICE = ("scenario", "setting", "strategy", "model", "seed")


def check_belonging(
    path: Path, config: Mapping[str, Any], result: Mapping[str, Any], expected: str | None = None
) -> None:
    """Refuse a config.json whose settings are not those of its hash, and a result.json of another configuration.

    Args:
        path: the run's folder, for the error line.
        config, result: the contents of its config.json and result.json.
        expected: the hash of the configuration whose folder it is, where that is known.

    Raises:
        InputError: they do not belong together.
    """
    from clbench.config import identity  # brings pydantic, which `list strategies` need not wait for

    found = identity(config)
    if "hash8" in config and found[:8] != config["hash8"]:
        raise InputError(f"{path / 'config.json'}: was edited: its settings do not give its hash8; {REMEDY}")
    if expected not in (None, found):
        raise InputError(f"{path / 'config.json'}: is another run's, {config.get('hash8')}; {REMEDY}")
    for key in NAMED_TWICE:
        if key in config and config[key] != result[key]:
            given = f"{key} is {result[key]!r}, in config.json {config[key]!r}"
            raise InputError(f"{path / 'result.json'}: is another run's: {given}; {REMEDY}")
    if result.get("config_sha256") not in (None, found):
        raise InputError(f"{path / 'result.json'}: is another run's: not the one of this config.json; {REMEDY}")
