"""What each layout's reader does with its own peculiarities, and with damaged input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.check import check_scan
from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError, PluginError
from tests.datasets import miniatures
from tests.datasets.miniatures import FRAMES, HEIGHT, WIDTH


@pytest.fixture
def scannet(tmp_path: Path) -> Path:
    return miniatures.scannet(tmp_path / "scene")


def truncate(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def test_scannet_has_two_cameras(scannet: Path) -> None:
    """Colour and depth may differ in size, each with its own intrinsics; depth is in millimetres."""
    frame = open_scan(scannet).frame(3)
    assert frame.color_camera is not None
    assert frame.depth_camera is not None
    assert (frame.color_camera.width, frame.color_camera.height) == (WIDTH, HEIGHT)
    assert (frame.depth_camera.width, frame.depth_camera.fx) == (WIDTH // 2, WIDTH // 2)
    assert frame.depth_m is not None
    assert np.allclose(frame.depth_m, 1.003)
    assert frame.world_from_camera is not None
    assert frame.world_from_camera[0, 3] == pytest.approx(0.3)


@pytest.mark.parametrize("kind", ["scannet", "seven_scenes", "multiscan", "images", "video"])
def test_link_keeps_its_own_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links called a and b that lead to folders of one name are two scenes, whose runs do not mix."""
    target = getattr(miniatures, kind)(tmp_path / "far" / "data")
    link = Path(f"kitchen{target.suffix}")
    monkeypatch.chdir(tmp_path)
    link.symlink_to(target)
    assert open_scan(link).overview.scene == "kitchen"
    monkeypatch.chdir(target.parent)
    assert open_scan(Path("..") / target.parent.name / target.name).overview.scene == target.stem


@pytest.mark.parametrize(
    "kind", ["multiscan_decoded", "multiscan_raw", "scannet_sens", "scannetpp", "replica"]
)
def test_a_link_leads_to_all_that_belongs_to_a_scan(kind: str, tmp_path: Path) -> None:
    """Through a link of another name the same mesh, poses and cameras are found as in the folder itself."""
    target = getattr(miniatures, kind)(tmp_path / "far" / "data")
    link = tmp_path / "kitchen"
    link.symlink_to(target)
    direct, linked = open_scan(target), open_scan(link)
    assert linked.overview.scene == "kitchen"
    assert linked.overview.is_posed_rgbd
    assert linked.overview.has_cloud
    assert linked.overview.found == direct.overview.found
    assert linked.frame(3).color_camera == direct.frame(3).color_camera


def test_scannet_ground_truth_is_pointed_at_and_no_input(scannet: Path) -> None:
    """Ground truth is named, and a change in it leaves the fingerprint alone."""
    reader = open_scan(scannet)
    assert reader.overview.ground_truth == scannet / "gt"
    before = reader.fingerprint()
    (scannet / "gt" / "gt_parts.txt").write_text("2\n")
    assert open_scan(scannet).fingerprint() == before


@pytest.mark.parametrize(
    "text",
    [
        "-inf " * 16,
        "nan " * 16,
        "1 0 0",
        "no numbers",
        "",
        " ".join(map(str, (2 * np.eye(4)).ravel())),
        " ".join(map(str, np.diag([1, 1, -1, 1]).ravel())),
        "1e300 " * 16,
    ],
)
def test_invalid_poses_are_counted(scannet: Path, text: str) -> None:
    """A pose that is not finite, not rigid or no pose at all is None and counted, never an error."""
    (scannet / "pose" / "10.txt").write_text(text)
    (scannet / "pose" / "2.txt").unlink()
    reader = open_scan(scannet)
    assert reader.overview.invalid_poses == (2, 10)
    assert reader.frame(10).world_from_camera is None
    assert reader.frame(9).world_from_camera is not None
    assert any("2 frames" in sentence for sentence in reader.overview.missing)


def test_slightly_skewed_rotations_are_straightened(scannet: Path) -> None:
    """A rotation written with few digits comes out orthonormal, so that transposing inverts it."""
    skewed = np.eye(4)
    skewed[0, 1] = 0.004
    miniatures.save_matrix(scannet / "pose" / "5.txt", skewed)
    turned = open_scan(scannet).frame(5).world_from_camera
    assert turned is not None
    assert np.allclose(turned[:3, :3] @ turned[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.allclose(turned, skewed, atol=0.003)


def test_a_scan_without_a_valid_pose_has_none(scannet: Path) -> None:
    """When every pose is invalid the overview promises no poses and says what is skipped."""
    for path in (scannet / "pose").iterdir():
        path.write_text("inf " * 16)
    overview = open_scan(scannet).overview
    assert not overview.has_pose
    assert len(overview.invalid_poses) == FRAMES
    assert any("lift and evaluate are skipped" in sentence for sentence in overview.missing)


def test_missing_depth_of_one_frame_is_counted(scannet: Path) -> None:
    """A frame without its depth image is read with colour only, and the overview counts it."""
    (scannet / "depth" / "4.png").unlink()
    reader = open_scan(scannet)
    assert reader.frame(4).depth_m is None
    assert reader.frame(5).depth_m is not None
    assert any("depth of 1 frame" in sentence for sentence in reader.overview.missing)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_images_are_refused(tmp_path: Path, suffix: str, keep: float) -> None:
    """A cut PNG or JPEG is an error that names the file, not a picture with a grey rest."""
    rng = np.random.default_rng(0)
    for i in range(3):
        miniatures.save(tmp_path / f"{i}{suffix}", rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    reader = open_scan(tmp_path)
    truncate(tmp_path / f"1{suffix}", keep)
    reader.frame(0)
    with pytest.raises(DataError, match=rf"1\{suffix}: expected a colour image.*copy"):
        reader.frame(1)


def test_corrupt_png_is_refused(tmp_path: Path) -> None:
    """A flipped byte inside a PNG is found by its checksum."""
    miniatures.images(tmp_path / "scan")
    reader = open_scan(tmp_path / "scan")
    path = tmp_path / "scan" / "img5.png"
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"img5\.png.*corrupt PNG"):
        reader.frame(5)


def test_a_text_file_is_no_image(tmp_path: Path) -> None:
    """A file that only calls itself an image is refused at opening when it is the first."""
    (tmp_path / "0.jpg").write_text("not an image")
    with pytest.raises(DataError, match="no image OpenCV can decode"):
        open_scan(tmp_path)


def test_eight_bit_depth_is_refused(scannet: Path) -> None:
    """Depth saved as an 8-bit picture is an error that says how to export it."""
    miniatures.save(scannet / "depth" / "3.png", np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8))
    with pytest.raises(DataError, match=r"3\.png: expected a single-channel 16-bit depth image.*millimetres"):
        open_scan(scannet).frame(3)


def test_depth_of_another_size_than_its_intrinsics_is_found_by_the_check(scannet: Path) -> None:
    """Depth whose intrinsics are those of the larger colour image opens, and the check names the mistake."""
    miniatures.save_matrix(scannet / "intrinsic" / "intrinsic_depth.txt", miniatures.intrinsics())
    found = check_scan(open_scan(scannet), range(3))
    assert not found.fits
    assert found.cause == "intrinsics"
    assert found.settings == (("experiment.correct.intrinsics_size", "[32, 24]"),)


def test_one_depth_image_of_another_size_is_refused(scannet: Path) -> None:
    """A single frame whose depth has another size is named when it is read."""
    miniatures.save(scannet / "depth" / "6.png", np.ones((HEIGHT, WIDTH), np.uint16))
    reader = open_scan(scannet)
    with pytest.raises(DataError, match=r"6\.png: expected depth of 16x12.*found 32x24"):
        reader.frame(6)


def test_one_colour_image_of_another_size_is_refused(tmp_path: Path) -> None:
    """All frames of a scan have one size."""
    scan = miniatures.images(tmp_path / "scan")
    miniatures.save(scan / "img7.png", miniatures.color(7, 16, 16))
    with pytest.raises(DataError, match=r"img7\.png: expected 32x24 like the first image, found 16x16"):
        open_scan(scan).frame(7)


def test_depth_without_intrinsics_is_not_used(scannet: Path) -> None:
    """Without intrinsics depth cannot be lifted, so it is not promised."""
    for path in (scannet / "intrinsic").iterdir():
        path.unlink()
    reader = open_scan(scannet)
    assert not reader.overview.has_depth
    assert reader.frame(0).depth_m is None
    assert any("depth is not used" in sentence for sentence in reader.overview.missing)


def test_broken_intrinsics_are_refused(scannet: Path) -> None:
    """An intrinsics file that holds something else is an error that names it."""
    (scannet / "intrinsic" / "intrinsic_depth.txt").write_text("1 2 3")
    with pytest.raises(DataError, match=r"intrinsic_depth\.txt: expected 3x3 or 4x4 numbers, found 3"):
        open_scan(scannet)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 0.0, -500.0])
def test_impossible_intrinsics_are_refused_by_file(tmp_path: Path, value: float) -> None:
    """A focal length that no camera has is an error that names the file, in every layout with such files."""
    wrong = miniatures.intrinsics(3)
    wrong[0, 0] = value
    scannet = miniatures.scannet(tmp_path / "scene0000_00")
    miniatures.save_matrix(scannet / "intrinsic" / "intrinsic_color.txt", wrong)
    kitchen = miniatures.seven_scenes(tmp_path / "seq-01")
    miniatures.save_matrix(kitchen / "registered" / "camera-intrinsics.txt", wrong)
    multiscan = miniatures.multiscan(tmp_path / "scene_00000_00")
    camera = {"intrinsics": wrong.T.ravel().tolist(), "transform": np.eye(4).ravel().tolist()}
    (multiscan / "scene_00000_00.jsonl").write_text(json.dumps(camera))
    for scan, file in (
        (scannet, "intrinsic_color.txt"),
        (kitchen, "camera-intrinsics.txt"),
        (multiscan, "scene_00000_00.jsonl"),
    ):
        with pytest.raises(DataError, match=re.escape(file) + ": expected .*focal lengths above 0"):
            open_scan(scan)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    """A frame must have one picture: ``a.png`` beside ``a.jpg`` is ambiguous."""
    miniatures.save(tmp_path / "a.png", miniatures.color(0))
    miniatures.save(tmp_path / "a.jpg", miniatures.color(0))
    with pytest.raises(DataError, match="several called 'a'"):
        open_scan(tmp_path)


def test_seven_scenes_prefers_registered_depth(tmp_path: Path) -> None:
    """Depth, poses and intrinsics come from ``registered/`` where it exists; 65535 is no reading."""
    scan = miniatures.seven_scenes(tmp_path / "seq-01")
    reader = open_scan(scan)
    frame = reader.frame(2)
    assert frame.depth_m is not None
    assert frame.depth_m[0, 0] == 0
    assert frame.depth_m[1, 1] == pytest.approx(1.002)
    assert frame.color_camera == frame.depth_camera
    assert frame.color_camera is not None
    assert frame.color_camera.fx == WIDTH
    assert any("registered/" in sentence for sentence in reader.overview.found)


def test_seven_scenes_without_registration_says_so(tmp_path: Path) -> None:
    """The original's depth is read with the published camera, and the overview warns of the offset."""
    scan = miniatures.seven_scenes(tmp_path / "seq-01")
    (scan / "registered").rename(tmp_path / "elsewhere")
    reader = open_scan(scan)
    frame = reader.frame(2)
    assert frame.depth_m is not None
    assert frame.depth_m[1, 1] == pytest.approx(0.502)
    assert frame.depth_camera is not None
    assert frame.depth_camera.fx == pytest.approx(585 * WIDTH / 640)
    assert any("not registered" in sentence for sentence in reader.overview.missing)


def test_an_incomplete_registration_is_described_as_it_is(tmp_path: Path) -> None:
    """A folder ``registered/`` without depth is not used; what it lacks is not said to be there."""
    scan = miniatures.seven_scenes(tmp_path / "seq-01")
    for path in (scan / "registered").glob("*.txt"):
        path.unlink()
    assert "depth registered to colour in registered/" in open_scan(scan).overview.found
    for path in (scan / "registered").iterdir():
        path.unlink()
    overview = open_scan(scan).overview
    assert overview.is_posed_rgbd
    assert any("not registered" in sentence for sentence in overview.missing)


def test_multiscan_scales_intrinsics_to_depth(tmp_path: Path) -> None:
    """Intrinsics at colour resolution are resampled for the smaller depth image."""
    reader = open_scan(miniatures.multiscan(tmp_path / "scene_00000_00"))
    frame = reader.frame(1)
    assert frame.name == "10"
    assert frame.depth_camera is not None
    assert (frame.depth_camera.width, frame.depth_camera.fx) == (8, 8.0)
    assert not reader.overview.is_posed_rgbd


def test_multiscan_images_counted_anew_have_no_poses(tmp_path: Path) -> None:
    """Decoded images whose numbers stop early, or differ from those of depth, are of no known camera."""
    for spoil in ("renumbered", "other depth"):
        scan = miniatures.multiscan_decoded(tmp_path / spoil)
        for folder in ("color", "depth") if spoil == "renumbered" else ("color",):
            for path in sorted((scan / "outputs" / folder).iterdir(), key=lambda p: int(p.stem)):
                path.rename(path.with_name(f"{int(path.stem) // 10}{path.suffix}"))
        overview = open_scan(scan).overview
        assert not overview.has_pose
        assert overview.ground_truth is None
        assert any("do not say which camera" in s for s in overview.missing)


def test_a_video_read_in_order_decodes_each_frame_once(tmp_path: Path) -> None:
    """Steps ahead skip frames without seeking, and time stamps follow the frame rate."""
    reader = open_scan(miniatures.video(tmp_path))
    for i in (0, 1, 2, 5, 9, 11):
        frame = reader.frame(i)
        assert abs(int(frame.color[12, 16, 0]) - (10 * i + 5)) <= 8
        assert frame.timestamp_s == pytest.approx(i / 10)


def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """A cut file gives the frames that can be decoded, and the overview counts the others."""
    path = miniatures.video(tmp_path)
    truncate(path, 0.6)
    try:
        reader = open_scan(path)
    except DataError as error:
        assert "clip.avi" in str(error)
        return
    assert 0 < len(reader) < FRAMES
    reader.frame(len(reader) - 1)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    """Text with the suffix of a video is an error that says what to do."""
    path = tmp_path / "clip.mp4"
    path.write_text("no video")
    with pytest.raises(DataError, match="OpenCV cannot decode"):
        open_scan(path)


def test_detection_explains_what_it_found(tmp_path: Path) -> None:
    """A missing path, an empty folder and an unknown layout each give one clear sentence."""
    with pytest.raises(DataError, match="found nothing at this path"):
        open_scan(tmp_path / "absent")
    with pytest.raises(DataError, match="empty folder"):
        open_scan(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "deeper").mkdir()
    with pytest.raises(DataError, match=r"1 x .*Known layouts: colmap .*images .*scannet"):
        open_scan(tmp_path)
    with pytest.raises(PluginError, match=r"'scanet'.*scannet"):
        open_scan(tmp_path, "scanet")
    (tmp_path / "color").mkdir()
    with pytest.raises(DataError, match="expected colour images"):
        open_scan(tmp_path, "scannet")


def test_hidden_files_are_no_frames(tmp_path: Path) -> None:
    """Files that macOS leaves beside images do not become frames."""
    scan = miniatures.images(tmp_path / "scan")
    (scan / "._img0.png").write_bytes(b"\0")
    assert len(open_scan(scan)) == FRAMES


def test_real_scans_open(shared_data: Path) -> None:
    """Each layout of the shared data is recognised and delivers what it says, on one frame."""
    for place, dataset, posed in (
        ("synth/synth0000_00", "scannet", True),
        ("rgbd_kitchen", "seven_scenes", True),
        ("video_davis/JPEGImages/480p/dog", "images", False),
    ):
        reader = open_scan(shared_data / place)
        assert reader.overview.dataset == dataset
        assert reader.overview.is_posed_rgbd == posed
        assert (reader.frame(5).world_from_camera is not None) == posed
