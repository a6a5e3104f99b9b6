"""Where the pages lie that the browser opens."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the pages that the browser opens."""
    return tmp_path_factory.mktemp("site")
