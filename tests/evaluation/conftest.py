"""Items that several files of tests read; they are drawn once."""

from pathlib import Path

import pytest
from items import LONG, SHORT, exported


@pytest.fixture(scope="session")
def short_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One item of 24 frames."""
    return exported(tmp_path_factory.mktemp("short"), SHORT)


@pytest.fixture(scope="session")
def long_suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One item of 90 frames: two clips, two sets of points."""
    return exported(tmp_path_factory.mktemp("long"), LONG)
