"""The built-in room: exact ground truth, parts inside objects, objects that leave and come back."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.datasets.synthetic import RoomReader, built_in_scan, make_room, write_scan
from my3dis.datasets.synthetic.cast import cast
from my3dis.datasets.synthetic.materials import Material, Pattern
from my3dis.datasets.synthetic.shapes import Kind, Shape, hit, local_normals
from my3dis.datasets.synthetic.write import GENERATOR_VERSION
from my3dis.errors import DataError, ResourceError
from my3dis.geometry.camera import nearest_pixels, project
from my3dis.geometry.transforms import invert_rigid, transform_points
from my3dis.types import Camera

MATTE = Material(Pattern.PLAIN, (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def scan(built_in: Path) -> Path:
    return built_in


@pytest.fixture(scope="module")
def reader() -> RoomReader:
    return RoomReader(make_room())


def shape(kind: Kind, half: tuple[float, float, float], taper: float = 1.0) -> Shape:
    return Shape(kind, np.array([0, 0, 5.0]), np.eye(3), np.array(half), 1, MATTE, taper)


@pytest.mark.parametrize(
    ("solid", "expected"),
    [
        (shape(Kind.BOX, (1, 1, 2)), 3.0),
        (shape(Kind.ELLIPSOID, (1, 1, 2)), 3.0),
        (shape(Kind.FRUSTUM, (1, 1, 2)), 3.0),
        (shape(Kind.FRUSTUM, (1, 1, 2), 0.5), 3.0),
    ],
)
def test_rays_meet_shapes_where_algebra_says(solid: Shape, expected: float) -> None:
    """Along the axis a shape five metres away begins its half length nearer; beside it there is nothing."""
    rays = tuple(np.array([values], np.float32) for values in ([0.0, 2.0], [0.0, 0.0], [1.0, 1.0]))
    t = hit(solid, np.zeros(3), (rays[0], rays[1], rays[2]))
    assert t[0, 0] == pytest.approx(expected)
    assert np.isinf(t[0, 1])


def test_a_cone_is_met_on_its_slope() -> None:
    """A ray across a frustum with radii 1 and 0.5 meets the side where the radius says, at a right angle."""
    solid = Shape(Kind.FRUSTUM, np.zeros(3), np.eye(3), np.array([1.0, 1.0, 1.0]), 1, MATTE, 0.5)
    rays = [np.array([[v]], np.float32) for v in (1.0, 0.0, 0.0)]
    t = hit(solid, np.array([-3.0, 0.0, 0.5]), (rays[0], rays[1], rays[2]))
    radius = 0.75 - 0.25 * 0.5
    assert t[0, 0] == pytest.approx(3 - radius)
    normal = local_normals(solid, np.array([[-radius], [0.0], [0.5]], np.float32))[:, 0]
    assert normal == pytest.approx(np.array([-1, 0, 0.25]) / np.sqrt(1 + 0.25**2))


def test_the_screen_box_of_a_shape_loses_no_pixel() -> None:
    """Shapes are tried only near their outline; trying each on every pixel finds nothing more."""
    room = make_room(3, image_size=(60, 80), frames=6)
    everywhere = Camera(62.4, 62.4, 39.5, 29.5, 80, 60)
    for pose in room.poses:
        fast = cast(room.shapes, everywhere, pose)
        slow = np.full(fast.depth_m.shape, np.inf, np.float32)
        from my3dis.datasets.synthetic.cast import ray_directions

        for solid in room.shapes:
            slow = np.minimum(slow, hit(solid, pose[:3, 3], ray_directions(everywhere, pose)))
        assert np.array_equal(fast.depth_m, slow)


def test_the_room_is_furnished(reader: RoomReader) -> None:
    """60 frames of 320x240 show at least 12 objects, most of them with several parts."""
    overview = reader.overview
    assert (overview.frame_count, overview.image_size) == (60, (240, 320))
    things = [o for o in reader.room.objects if not o.structural]
    several = [o for o in things if sum(p.object_id == o.object_id for p in reader.room.parts) >= 2]
    assert len(things) >= 12
    assert len(several) >= 12


def visible(reader: RoomReader) -> np.ndarray:
    """(frames, objects + 1) pixels of each object."""
    room, owner = reader.room, reader.renderer.object_of_shape
    rows = [
        np.bincount(owner[cast(room.shapes, room.camera, p).shape].ravel(), minlength=len(room.objects) + 1)
        for p in room.poses
    ]
    return np.array(rows)


def test_objects_leave_and_come_back(reader: RoomReader) -> None:
    """At least ten objects are out of view for five frames or more between two appearances."""
    pixels = visible(reader)
    assert int((pixels.max(axis=0) >= 200).sum()) >= 18
    returning = 0
    for o in reader.room.objects:
        seen = np.flatnonzero(pixels[:, o.object_id] > 0)
        returning += not o.structural and bool((np.diff(seen) > 5).any())
    assert returning >= 10


def test_every_pixel_has_a_part_inside_an_object(reader: RoomReader) -> None:
    """The room is closed, and each part belongs to the one object that the instance mask shows."""
    owner = {p.part_id: p.object_id for p in reader.room.parts}
    frame = reader.renderer.frame(20)
    assert frame.instance.min() > 0
    for part in np.unique(frame.part):
        assert set(np.unique(frame.instance[frame.part == part])) == {owner[int(part)]}


def test_pictures_are_lit_and_textured(reader: RoomReader) -> None:
    """Pictures use the range of grey, clip little, and vary inside single parts."""
    frame = reader.renderer.frame(20)
    grey = frame.color.mean(axis=2)
    assert grey.std() > 25
    assert (frame.color == 255).mean() < 0.1
    spread = [grey[frame.part == p].std() for p in np.unique(frame.part) if (frame.part == p).sum() > 500]
    assert np.median(spread) > 3


def test_the_same_seed_gives_the_same_room() -> None:
    """Frames are equal to the last bit for one seed and differ for another."""
    first, second, other = (RoomReader(make_room(seed, frames=8)) for seed in (11, 11, 12))
    assert np.array_equal(first.frame(5).color, second.frame(5).color)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()
    assert not np.array_equal(first.frame(5).color, other.frame(5).color)


@pytest.mark.parametrize("seed", range(8))
def test_other_rooms_can_be_made(seed: int) -> None:
    """Any seed gives a closed room whose standing furniture stays inside the walls."""
    room = make_room(seed, size_m=(6.0, 5.0, 2.8), frames=4, image_size=(60, 80))
    for pose in room.poses:
        assert (cast(room.shapes, room.camera, pose).shape >= 0).all()
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    structural = {o.object_id for o in room.objects if o.structural}
    inner = [p.part_id for p in room.parts if p.object_id not in structural]
    for solid in room.shapes:
        if solid.part_id in inner:
            reach = np.abs(solid.rotation) @ solid.half_m
            assert (np.abs(solid.centre_m[:2]) + reach[:2] <= (3.05, 2.55)).all()


@pytest.mark.parametrize(
    "wrong", [{"size_m": (2.0, 2.0, 2.5)}, {"frames": 0}, {"seed": -1}, {"image_size": (1, 1)}]
)
def test_impossible_rooms_are_refused(wrong: dict) -> None:
    """A room too small for its furniture, or without frames, is an error."""
    with pytest.raises(DataError, match="make_room: expected"):
        make_room(**wrong)


def test_the_written_scan_is_an_exported_scene(scan: Path) -> None:
    """What is written opens as posed RGB-D with a mesh and ground truth of one label a vertex."""
    reader = open_scan(scan)
    assert reader.overview.dataset == "scannet"
    assert reader.overview.is_posed_rgbd
    assert reader.overview.missing == ()
    cloud, truth = reader.cloud(), load_ground_truth(scan / "gt")
    assert cloud is not None
    assert truth.instances is not None
    assert truth.parts is not None
    assert truth.structural is not None
    assert len(cloud) == len(truth.instances) == len(truth.parts) == len(truth.structural)
    assert cloud.triangles is not None
    owner = dict(truth.object_of_part)
    assert all(
        owner[int(part)] in set(truth.instances[truth.parts == part] % 1000)
        for part in np.unique(truth.parts)
    )
    assert np.array_equal(truth.structural, np.isin(truth.instances % 1000, list(truth.structural_objects)))


def test_vertices_lie_where_pixels_say(scan: Path) -> None:
    """Vertices projected into frames and tested by depth meet their own object in over 99 % of pixels."""
    reader, truth = open_scan(scan), load_ground_truth(scan / "gt")
    cloud = reader.cloud()
    assert cloud is not None
    assert truth.instances is not None
    met = agree = 0
    for index in range(0, len(reader), 12):
        frame = reader.frame(index)
        assert frame.world_from_camera is not None
        assert frame.depth_camera is not None
        assert frame.depth_m is not None
        labels = load_frame_labels(scan / "gt", frame.name, "instance")
        local = transform_points(invert_rigid(frame.world_from_camera), cloud.xyz_m.astype(np.float64))
        uv, z = project(local, frame.depth_camera)
        flat, inside = nearest_pixels(uv, frame.image_size)
        seen = inside & (np.abs(frame.depth_m.ravel()[flat] - z) < 0.02)
        met += int(seen.sum())
        agree += int((labels.ravel()[flat] == truth.instances % 1000)[seen].sum())
    assert met > 50_000
    assert agree / met > 0.99


def test_what_is_written_is_what_is_rendered(scan: Path, reader: RoomReader) -> None:
    """Masks on disk are those of the renderer exactly, depth is within half a millimetre."""
    from_disk, rendered = open_scan(scan).frame(30), reader.renderer.frame(30)
    assert np.array_equal(load_frame_labels(scan / "gt", from_disk.name, "instance"), rendered.instance)
    assert np.array_equal(load_frame_labels(scan / "gt", from_disk.name, "part"), rendered.part)
    assert from_disk.depth_m is not None
    assert np.abs(from_disk.depth_m - rendered.depth_m).max() <= 0.000501
    assert np.abs(from_disk.color.astype(int) - rendered.color).mean() < 4


def test_the_built_in_scan_is_written_once(scan: Path) -> None:
    """A second call finds the scan and leaves it alone; nothing else is left in the folder."""
    before = open_scan(scan).fingerprint()
    assert built_in_scan(scan.parent) == scan
    assert open_scan(scan).fingerprint() == before
    assert [p.name for p in scan.parent.iterdir()] == [scan.name]


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    """A folder of the same name that is no built-in scan is an error, not overwritten."""
    (tmp_path / "living_room").mkdir()
    (tmp_path / "living_room" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="found something else"):
        built_in_scan(tmp_path)
    assert (tmp_path / "living_room" / "mine.txt").exists()


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, ResourceError), (errno.EACCES, DataError)])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    """A full disk or missing rights give one sentence and no half scan."""

    def fail(self: Path, data: bytes) -> int:
        raise OSError(code, "simulated")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(error, match="living_room: expected"):
        built_in_scan(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_small_room_can_be_written_under_any_name(tmp_path: Path) -> None:
    """Other rooms for tests are written the same way; the mesh is called after the folder."""
    write_scan(tmp_path / "room9", make_room(9, frames=5, image_size=(60, 80)))
    overview = open_scan(tmp_path / "room9").overview
    assert overview.is_posed_rgbd
    assert "mesh room9_vh_clean_2.ply" in overview.found


def test_the_reader_without_a_disk_offers_the_same(reader: RoomReader) -> None:
    """Frames rendered on demand carry depth, pose and camera, and an index out of range is refused."""
    frame = reader.frame(7)
    assert frame.depth_m is not None
    assert frame.color_camera == frame.depth_camera == reader.room.camera
    with pytest.raises(DataError, match=r"0\.\.59, found 60"):
        reader.frame(60)


def test_a_scan_that_another_process_drew_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever draws last does not delete what a reader of the first may have open."""
    other = tmp_path / "living_room" / "in_use"

    def draw(folder: Path, room: object, name: str) -> None:
        del folder, room, name
        other.parent.mkdir()
        other.touch()
        (other.parent / "built_in.json").write_text(json.dumps({"generator": GENERATOR_VERSION}))

    monkeypatch.setattr("my3dis.datasets.synthetic.write._write", draw)
    assert built_in_scan(tmp_path) == other.parent
    assert other.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living_room"]
