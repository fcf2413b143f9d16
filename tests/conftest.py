"""Fixtures that every test may use; the shared data is optional and its absence is a counted skip."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from my3dis.datasets.synthetic import built_in_scan
from tests.parity import print_parity

ROOT = Path(__file__).resolve().parents[1]

# Tests of the model back ends; they import torch, which `make test` neither needs nor installs.
MODEL_TESTS = (
    "tests/backends/torch_models",
    "tests/backends/proposers/semantic_sam",
    "tests/backends/proposers/sam2_auto",
    "tests/backends/trackers/sam2_video",
)


def _is_model_test(path: Path) -> bool:
    return any(path.is_relative_to(ROOT / folder) for folder in MODEL_TESTS)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what cannot be imported here; `make test-models` installs torch and runs it."""
    absent = importlib.util.find_spec("torch") is None
    return True if absent and _is_model_test(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of model back ends, so that only `make test-models` runs them."""
    for item in items:
        if _is_model_test(item.path):
            item.add_marker("models")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how far the model back ends are from recorded reference outputs."""
    print_parity(terminalreporter)


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
