"""Proposing leaves the process as it found it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.isolation import require_as_before
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model

WORK = """
assert len(plugins.proposer("sam2_auto").create(options).propose(picture(0), (2, 4)))
"""


def test_the_process_is_as_before(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Loading and running a model change no environment, folder, path, setting of torch or random state."""
    require_as_before(WORK, save_tiny_model(tmp_path_factory.mktemp("weights") / "tiny"), tmp_path)
