"""Stopped before a frame, the proposer goes on at it and repeats none."""

from __future__ import annotations

from pathlib import Path

from my3dis import plugins
from tests.backends.proposers.semantic_sam import tiny
from tests.backends.resuming import check, proposing
from tests.small_scan import write_small_scan


def test_a_stopped_proposer_goes_on(built_in: Path, tmp_path: Path) -> None:
    """Candidates are those of the undisturbed stage, whatever the network remembered of earlier frames."""
    scan = plugins.open_scan(write_small_scan(built_in, tmp_path / "small", frames=3))
    make = proposing(
        tmp_path,
        scan,
        range(3),
        proposer="semantic_sam",
        checkpoint=str(tiny.write_checkpoint(tmp_path)),
        device="cpu",
        points_per_side=3,
    )
    check(make, plugins.proposer("semantic_sam").resumable, ("candidates.my3dis",), (2, 3))
