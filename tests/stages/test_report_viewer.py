"""What the report stage hands to the viewer, on a run made by hand."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from my3dis.reporting.colors import family_colors, hex_color
from tests.reporting.fakes import FRAMES, floor_and_box
from tests.reporting.test_viewer import Decoded
from tests.stages.test_report import Run, config_with, section


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def payload(page: str) -> Decoded:
    found = re.search(r'id="viewer-data">([^<]+)<', page)
    assert found is not None
    return Decoded(found[1])


def test_the_viewer_shows_instances_with_their_tracks(run: Run) -> None:
    """The object and its part: tree, colours of the pictures, runs of frames, and masks in frames."""
    run.report()
    read = payload(run.page)
    whole, part = read.head["instances"]
    assert (whole["id"], whole["parent"], part["id"], part["parent"]) == (1, -1, 7, 0)
    colors = family_colors([1, 7], {1: -1, 7: 1})
    assert [whole["color"], part["color"]] == [hex_color(colors[1]), hex_color(colors[7])]
    assert whole["runs"] == [0, FRAMES]
    assert whole["seen"] == FRAMES
    assert read.head["levels"] == [2, 4]
    assert read.head["count"] == read.head["total"] == len(floor_and_box())
    assert 1 <= len(whole["shots"]) <= 3
    for picture, x0, y0, x1, y1, outline, projected in whole["shots"]:
        frame, width, height = read.head["pictures"][picture]
        # Object 1 is at x 4 + frame to 24 + frame, y 8 to 30; pictures are not scaled up.
        assert (width, height) == (64, 48)
        assert (x0, y0, x1, y1) == (4 + frame, 8, 24 + frame, 30)
        assert (len(outline), projected) == (1, 0)
        assert read.block(f"picture {picture}")[:2] == b"\xff\xd8"
    assert np.count_nonzero(read.numbers("level 0", 4)) == whole["points"]


def test_a_track_that_came_back_has_two_runs(run: Run) -> None:
    """Gaps of a track are gaps in the viewer; frames not selected do not count."""
    with np.load(run.layout.instances) as file:
        arrays = dict(file)
    arrays["instance_id"] = np.array([2, 7], np.int32)
    arrays["parent_id"] = np.array([-1, 2], np.int32)
    np.savez(run.layout.instances, **arrays)
    run.report()
    two = payload(run.page).head["instances"][0]
    assert (two["id"], two["runs"], two["seen"]) == (2, [0, 3, 8, 12], 7)


def test_without_tracks_the_viewer_still_shows_the_scene(run: Run) -> None:
    """The points and the tree are there; that there are no frames is said."""
    run.report(config_with(tracker={"enabled": False}))
    read = payload(run.page)
    assert read.head["pictures"] == []
    assert all(one["seen"] == 0 for one in read.head["instances"])
    assert "no frames and no masks" in section(run.page, "explore")


def test_without_instances_there_is_a_sentence(run: Run) -> None:
    """Lifting switched off: no viewer, and the reason stands in its place."""
    run.report(config_with(lift={"enabled": False}))
    assert "stages.lift.enabled=false" in section(run.page, "explore")
    assert "viewer-data" not in run.page


def test_points_that_changed_are_not_explored(run: Run) -> None:
    """Instances of another cloud are not put on the wrong points."""
    other = floor_and_box()
    run.reader._cloud = type(other)(xyz_m=other.xyz_m[:-3], digest="shorter")
    run.report()
    assert "points have changed since lifting" in section(run.page, "explore")


def test_a_run_without_any_file_says_why(run: Run) -> None:
    """Nothing but the scan: the viewer's place names the missing file."""
    shutil.rmtree(run.layout.root)
    run.layout.root.mkdir()
    run.report()
    assert "instances.npz is not in the run" in section(run.page, "explore").replace("&#39;", "'")
