"""The check of a scan accepts good scans, and names what is wrong with others and how to correct it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.check import CheckOptions, ScanCheck, check_scan
from my3dis.datasets.check.pictures import draw_check
from my3dis.datasets.corrections import CorrectedReader
from my3dis.datasets.detect import open_scan
from my3dis.datasets.synthetic import RoomReader, make_room
from my3dis.protocols import SceneReader
from tests.datasets.faults import FAULTS, Fault, Faulty, Kept, aligned_elsewhere

FRAMES = 24
QUICK = CheckOptions(pairs=4, mesh_vertices=6_000)
"""Less to compare than in earnest: what is shown holds with it already."""


@pytest.fixture(scope="module")
def room() -> SceneReader:
    """A room of its own: the built-in one is another."""
    return Kept(RoomReader(make_room(5, frames=FRAMES, image_size=(180, 240))))


def without_mesh(reader: SceneReader) -> SceneReader:
    overview = dataclasses.replace(reader.overview, has_cloud=False)
    return Faulty(reader, (), overview)


def corrected(reader: SceneReader, found: ScanCheck) -> SceneReader:
    return CorrectedReader.of(reader, found.corrections)


def test_a_good_scan_fits(room: SceneReader) -> None:
    """The room's own frames agree within millimetres, and so do its mesh and the edges of its images."""
    check = check_scan(room, range(FRAMES))
    assert check.fits
    assert check.cause == "none"
    assert not check.settings
    assert check.pairs == 8
    assert check.median_error_m < 0.01
    assert check.agreement > 0.8
    assert check.mesh_agreement is not None
    assert check.mesh_agreement > 0.9
    assert check.shift_px == (0.0, 0.0)
    assert "fit together" in check.message


@pytest.mark.parametrize(("cause", "fault"), FAULTS, ids=[f"{cause}-{fault.name}" for cause, fault in FAULTS])
def test_a_fault_is_named_and_corrected(room: SceneReader, cause: str, fault: Fault) -> None:
    """Each fault is named, and what the check proposes makes the scan fit, where a correction can."""
    faulty = Faulty(room, (fault,))
    check = check_scan(faulty, range(FRAMES), QUICK)
    assert not check.fits
    assert check.cause == cause, check.message
    assert "not fit" in check.message
    if fault.mendable:
        assert check.settings
        assert check_scan(corrected(faulty, check), range(FRAMES), QUICK).fits


@pytest.mark.parametrize("name", ["inverse", "opengl", "millimetres", "6553.5 for 1000", "for 2025 of 1000"])
def test_a_fault_is_named_without_a_mesh(room: SceneReader, name: str) -> None:
    """Depth of other frames alone tells the same."""
    (cause, fault) = next((cause, fault) for cause, fault in FAULTS if fault.name == name)
    assert check_scan(Faulty(without_mesh(room), (fault,)), range(FRAMES), QUICK).cause == cause


@pytest.mark.parametrize(
    "names", [("inverse", "opengl"), ("centimetres", "opengl"), ("transposed", "6553.5 for 1000")]
)
def test_two_faults_at_once_are_both_named(room: SceneReader, names: tuple[str, str]) -> None:
    """Where no single suspect explains everything, two together do, and their corrections too."""
    chosen = [next((cause, fault) for cause, fault in FAULTS if fault.name == name) for name in names]
    faulty = Faulty(room, tuple(fault for _, fault in chosen))
    check = check_scan(faulty, range(FRAMES), QUICK)
    assert set(check.causes) == {cause for cause, _ in chosen}, check.message
    assert check_scan(corrected(faulty, check), range(FRAMES), QUICK).fits


def test_a_file_with_the_alignment_is_found_and_tried(room: SceneReader, tmp_path: Path) -> None:
    """A mesh that was aligned by the matrix in a scan's text file, unlike its poses, is mended by it."""
    rotation, shift = aligned_elsewhere()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, shift
    words = " ".join(f"{value:.9f}" for value in matrix.ravel())
    (tmp_path / "scene.txt").write_text(f"numColorFrames = 5\naxisAlignment = {words}\n")
    fault = next(fault for cause, fault in FAULTS if cause == "alignment")
    overview = dataclasses.replace(room.overview, root=tmp_path)
    faulty = Faulty(room, (fault,), overview)
    check = check_scan(faulty, range(FRAMES), QUICK)
    assert check.cause == "alignment"
    assert check.settings == (("experiment.correct.alignment", str(tmp_path / "scene.txt")),)
    assert check_scan(corrected(faulty, check), range(FRAMES), QUICK).fits


def test_nothing_of_the_usual_is_said_to_be_unknown(room: SceneReader) -> None:
    """Depth of other frames than the poses' fits nothing, and no suspect is accused."""
    others = Faulty(room, (Fault("other frames", depth=lambda depth: depth[::-1].copy()),))
    check = check_scan(without_mesh(others), range(FRAMES))
    assert not check.fits
    assert check.cause in ("unknown", "registration")
    assert not check.settings


def test_depth_that_is_cut_off_gets_no_setting(room: SceneReader) -> None:
    """Readings that all are the largest number there is agree with any poses: only their unit is blamed."""
    fault = next(fault for _, fault in FAULTS if fault.name == "saturated")
    check = check_scan(Faulty(room, (fault,)), range(FRAMES), QUICK)
    assert check.causes == ("depth_unit",)
    assert not check.settings


def test_coarse_depth_is_not_explained_by_poses_in_one_place(room: SceneReader) -> None:
    """Depth in whole metres is blamed alone: cameras that hardly move would agree with themselves anyway."""
    fault = next(fault for _, fault in FAULTS if fault.name == "whole metres")
    check = check_scan(Faulty(without_mesh(room), (fault,)), range(FRAMES), QUICK)
    assert check.cause == "depth_unit"
    assert "pose_unit" not in check.causes


def test_what_cannot_be_judged_is_let_through(room: SceneReader) -> None:
    """Without poses, or without any reading in common, the scan passes and the message says why."""
    unposed = Faulty(room, (Fault("none", pose=lambda pose: pose * np.nan),))
    unposed.overview = dataclasses.replace(room.overview, has_pose=False)
    check = check_scan(unposed, range(FRAMES), QUICK)
    assert check.fits
    assert "not checked" in check.message
    blind = Faulty(without_mesh(room), (Fault("blind", depth=lambda depth: depth * 0),))
    check = check_scan(blind, range(FRAMES), QUICK)
    assert check.fits
    assert "could not be judged" in check.message
    assert check_scan(without_mesh(room), (), QUICK).fits


def test_pictures_show_agreement_in_green_and_difference_in_red(room: SceneReader) -> None:
    """Of a healthy scan nearly all points are green; of one with inverted poses few, until corrected."""

    def share_of_green(picture: np.ndarray) -> float:
        left = picture[:, :480].astype(int)
        green = np.count_nonzero((left[..., 1] - left[..., 0]) > 80)
        red = np.count_nonzero((left[..., 0] - left[..., 1]) > 80)
        return green / max(green + red, 1)

    inverse: Callable[[], Fault] = lambda: next(f for _, f in FAULTS if f.name == "inverse")  # noqa: E731
    healthy, faulty = (
        check_scan(room, range(FRAMES), QUICK),
        check_scan(Faulty(room, (inverse(),)), range(FRAMES), QUICK),
    )
    assert healthy.evidence is not None
    assert faulty.evidence is not None
    good = draw_check(healthy.evidence, healthy.corrections, CheckOptions())
    assert len(good) == 4
    assert np.mean([share_of_green(picture.rgb) for picture in good]) > 0.9
    both = draw_check(faulty.evidence, faulty.corrections, CheckOptions())
    before = np.mean([share_of_green(picture.rgb[: picture.rgb.shape[0] // 2]) for picture in both])
    after = np.mean([share_of_green(picture.rgb[picture.rgb.shape[0] // 2 :]) for picture in both])
    assert before < 0.5
    assert after > 0.9


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("synth/synth0000_00", marks=pytest.mark.soak),
        "synth/synth0001_00",
        "rgbd_kitchen",
    ],
)
def test_real_scans_fit(shared_data: Path, place: str) -> None:
    """The posed scans of the shared data pass, and fail once their poses are inverted."""
    reader = Kept(open_scan(shared_data / place))
    frames = range(0, len(reader), 8)
    assert check_scan(reader, frames, QUICK).fits
    fault = next(fault for _, fault in FAULTS if fault.name == "inverse")
    assert check_scan(Faulty(reader, (fault,)), frames, QUICK).cause == "inverse"
