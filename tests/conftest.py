"""Fixtures that every test may use; the shared data is optional and its absence is a counted skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from my3dis.datasets.synthetic import built_in_scan

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared test data; skips the test where it is absent."""
    folder = Path(os.environ.get("MY3DIS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared test data is not at {folder} (set MY3DIS_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def built_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scan, drawn once for all workers; tests copy it before they change anything."""
    base = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist have a folder each below a common one.
    return built_in_scan((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-in")
