"""What exporters learn from a run's folder: names, levels, and the scan as the run saw it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from my3dis.errors import ConfigError, DataError
from my3dis.exporters.run_folder import (
    LEVEL_OPTION,
    chosen_levels,
    image_names,
    manifest_of,
    open_run_scan,
    scene_of,
)
from tests.exporters.small_run import write_run

CORRECTED = """
experiment:
  correct: {poses: [inverse], pose_scale: 0.5, depth_scale: 1.0, focal_scale: 2.0, intrinsics_size: null,
            depth_shift_px: [0.0, 0.0], alignment: null, alignment_inverted: false}
"""


def test_the_scan_is_corrected_as_in_the_run(tmp_path: Path) -> None:
    """Poses and intrinsics are those that the run's settings made of the stored ones."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (run / "config.yaml").write_text(CORRECTED)
    scan = open_run_scan(run)
    assert scan is not None
    frame = scan.frame(3)
    assert frame.world_from_camera is not None
    assert frame.color_camera is not None
    np.testing.assert_array_equal(frame.world_from_camera[:3, 3], [0, 0, 2])  # stored -4, inverted, halved
    assert frame.color_camera.fx == 60
    assert image_names(run)(3) == "color/30.png"
    assert image_names(run)(6) == "00006.png"


def test_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    """Damaged settings are an error that names the file: poses might be wrong without them."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (run / "config.yaml").write_text("experiment: {correct: {pose_scale: far}}")
    with pytest.raises(DataError, match=r"config\.yaml: expected the settings of a run"):
        open_run_scan(run)


def test_an_alignment_that_is_gone_is_said(tmp_path: Path) -> None:
    """Without the file that aligned the run's poses they would be wrong: it is named."""
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (run / "config.yaml").write_text(f"experiment: {{correct: {{alignment: {tmp_path / 'align.txt'}}}}}")
    with pytest.raises(ConfigError, match=r"16 numbers of a rigid motion.*align\.txt"):
        open_run_scan(run)


def test_a_manifest_that_is_damaged_is_refused(tmp_path: Path) -> None:
    """It is named; a folder without one has the name of its scene from the folder."""
    assert (manifest_of(tmp_path), scene_of(tmp_path)) == ({}, tmp_path.name)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(DataError, match=r"manifest\.json: expected a JSON object, found list"):
        scene_of(tmp_path)
    (tmp_path / "manifest.json").write_text('{"scene": "my room/2"}')
    assert scene_of(tmp_path) == "my_room_2"


def test_levels_are_numbers_of_the_run() -> None:
    """Any whole number may be asked for; only a level of the run is given."""
    assert [LEVEL_OPTION.accepts(text) for text in ("all", "0", "42")] == [True] * 3
    assert [LEVEL_OPTION.accepts(text) for text in ("", "-1", "2.0", "²", "some", "9" * 20)] == [False] * 6
    assert LEVEL_OPTION.choices == "all|N"
    assert chosen_levels((2, 4), "all") == (2, 4)
    assert chosen_levels((2, 4), "4") == (4,)
    with pytest.raises(ConfigError, match="found 6"):
        chosen_levels((2, 4), "6")
