"""The recorded reference of Semantic-SAM and the table of distances from it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.parity import print_parity

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of recorded cases; skips the test where it is absent."""
    data = Path(os.environ.get("MY3DIS_TEST_DATA", ROOT.parent / "shared" / "data"))
    folder = data.parent / "reference" / "semantic_sam"
    if not folder.is_dir():
        pytest.skip(f"the recorded cases are not at {folder} (set MY3DIS_TEST_DATA to the folder beside)")
    return folder


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the parity tables."""
    print_parity(terminalreporter)
