"""Timings keep the shape that scripts read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from my3dis.errors import DataError
from my3dis.monitoring.timings import StageTiming, read_timings, write_timings


def test_timings_survive_the_file(tmp_path: Path) -> None:
    """What is written is read back, and the file has the keys of the contract and the stage's own facts."""
    timing = StageTiming(
        name="track",
        seconds=1.25,
        peak_rss_mb=300.5,
        peak_gpu_mb=(("0", 12.0),),
        masks_in=7,
        masks_out=9,
        facts=(("tracks", 3), ("seconds", 99)),
    )
    path = tmp_path / "stage_timings.json"
    write_timings(path, (timing,))
    plain = json.loads(path.read_text())["stages"]["track"]
    assert plain["seconds"] == 1.25  # a fact of that name does not hide it
    assert plain["peak_gpu_mb"] == {"0": 12.0}
    assert (plain["masks_in"], plain["masks_out"], plain["tracks"], plain["reused"]) == (7, 9, 3, False)
    (back,) = read_timings(path)
    assert back.as_reused().reused
    assert dict(back.facts) == {"tracks": 3}
    assert back.peak_gpu_mb == (("0", 12.0),)


def test_missing_and_damaged_timings(tmp_path: Path) -> None:
    """A run without timings has none; a damaged file is named."""
    path = tmp_path / "stage_timings.json"
    assert read_timings(path) == ()
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"stage_timings\.json"):
        read_timings(path)
