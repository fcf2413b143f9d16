"""Tiny checkpoints, saved once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from my3dis.backends.trackers.sam2_video import families
from my3dis.backends.trackers.sam2_video.families import VideoModel
from tests.backends.trackers.sam2_video import tiny


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as the hub has them, by family."""
    return {name: tiny.save(name, tmp_path_factory.mktemp(name)) for name in tiny.NAMES}


@pytest.fixture(params=tiny.NAMES)
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Path:
    """The checkpoint of each family in turn."""
    return checkpoints[request.param]


@pytest.fixture
def model(checkpoint: Path) -> VideoModel:
    """The loaded model of each family in turn."""
    return families.load(checkpoint, torch.device("cpu"), torch.float32)


@pytest.fixture
def sam2(checkpoints: dict[str, Path]) -> VideoModel:
    """The loaded model of SAM 2."""
    return families.load(checkpoints["sam2"], torch.device("cpu"), torch.float32)
