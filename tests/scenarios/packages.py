"""Fetching packages in tests: where they cannot be had a test is skipped, and fails on CI."""

import os
from collections.abc import Iterable

import pytest

from clbench import sources
from clbench.errors import RunError


def need(names: Iterable[str]) -> None:
    """Fetch the sources ``names``, or skip the test; on CI it fails."""
    for name in names:
        try:
            sources.fetch(name)
        except RunError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
