"""Stopped before a frame, the proposer goes on at it and repeats none."""

from __future__ import annotations

from pathlib import Path

from my3dis import plugins
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model
from tests.backends.resuming import check, proposing
from tests.small_scan import write_small_scan


def test_a_stopped_proposer_goes_on(built_in: Path, tmp_path: Path) -> None:
    """Candidates are those of the undisturbed stage."""
    scan = plugins.open_scan(write_small_scan(built_in, tmp_path / "small", frames=3))
    make = proposing(
        tmp_path,
        scan,
        range(3),
        proposer="sam2_auto",
        checkpoint=str(save_tiny_model(tmp_path / "tiny")),
        points_per_side=4,
        predicted_iou=0.0,
    )
    check(make, plugins.proposer("sam2_auto").resumable, ("candidates.my3dis",), (2, 3))
