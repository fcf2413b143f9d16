"""The viewer's data, its choice of points and frames, and the bundle that the package ships."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from my3dis.masks import codec
from my3dis.reporting.page import render_page, viewer_script
from my3dis.reporting.rooms import own_colors
from my3dis.reporting.viewer import (
    ViewerContent,
    ViewerInstance,
    ViewerPicture,
    ViewerPoints,
    ViewerSection,
    ViewerShot,
    encode_viewer,
)
from my3dis.reporting.viewer_points import choose_points, owners, viewer_points
from my3dis.reporting.viewer_shots import choose_frames, mask_shot, picture_of
from my3dis.reporting.viewpoints import Room, prepare_room
from my3dis.types import InstanceSet, MaskSet
from tests.reporting.fakes import HEIGHT, WIDTH, FakeReader, box_instances, floor_and_box, small_report

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "src" / "my3dis" / "reporting" / "templates"


class Decoded:
    """A payload read byte by byte, as the module's text describes it."""

    def __init__(self, payload: str) -> None:
        raw = zlib.decompress(base64.b64decode(payload))
        length = int.from_bytes(raw[:4], "little")
        self.head = json.loads(raw[4 : 4 + length])
        self.body = raw[4 + length :]

    def block(self, name: str) -> bytes:
        offset, size = self.head["blocks"][name]
        return self.body[offset : offset + size]

    def numbers(self, name: str, width: int) -> list[int]:
        plane, n = self.block(name), self.head["count"]
        assert len(plane) == n * width
        return [sum(plane[k * n + i] << (8 * k) for k in range(width)) for i in range(n)]

    def sums(self, name: str, width: int) -> list[int]:
        total, out = 0, []
        for step in self.numbers(name, width):
            total = (total + step) % (1 << (8 * width))
            out.append(total)
        return out


def random_content(n: int = 400) -> ViewerContent:
    draw = np.random.default_rng(3)
    normal = draw.normal(size=(n, 3))
    points = ViewerPoints(
        xyz_m=draw.uniform(-2, 5, (n, 3)),
        normal=normal / np.linalg.norm(normal, axis=1, keepdims=True),
        color=draw.integers(0, 256, (n, 3)).astype(np.uint8),
        owner=(
            draw.integers(-1, 70_000, n).astype(np.int32),
            np.full(n, -1, np.int32),
        ),
        spacing_m=0.02,
        total=12_345,
    )
    shot = ViewerShot(picture=0, box=(1, 2, 30, 40), outline=(((2, 4), (60, 4), (60, 80)),))
    one = ViewerInstance(
        instance_id=8, level=2, parent=-1, color=(255, 0, 16), score=0.123456, points=9,
        runs=((0, 2), (5, 6)), seen=3, shots=(shot,),
    )  # fmt: skip
    picture = ViewerPicture(frame=30, width=64, height=48, jpeg=b"\xff\xd8jpeg")
    return ViewerContent(
        points=points, levels=(2, 4), instances=(one,), frames=range(0, 60, 10), pictures=(picture,)
    )


def test_what_is_packed_can_be_unpacked() -> None:
    """Every point comes back: within half a step of its place, its colour and owners exactly."""
    content = random_content()
    points, read = content.points, Decoded(encode_viewer(content))
    step = read.head["size"] / 65535
    xyz = np.stack([np.array(read.sums(axis, 2)) * step for axis in "xyz"], axis=1) + read.head["low"]
    # Points travel in another order; each finds itself by its place.
    apart = np.linalg.norm(points.xyz_m[:, None] - xyz[None], axis=2)
    back = apart.argmin(axis=1)
    assert sorted(back.tolist()) == list(range(400))
    assert np.abs(points.xyz_m - xyz[back]).max() <= 0.5 * step + 1e-4  # the corner has four decimals
    color = np.stack([read.sums(channel, 1) for channel in "rgb"], axis=1)
    np.testing.assert_array_equal(color[back], points.color)
    for i, owner in enumerate(points.owner):
        np.testing.assert_array_equal(np.array(read.numbers(f"level {i}", 4))[back] - 1, owner)
    for x, y, true in zip(
        np.array(read.numbers("n0", 1))[back],
        np.array(read.numbers("n1", 1))[back],
        points.normal,
        strict=True,
    ):
        assert unfold(x, y) @ true > np.cos(np.radians(1.0))
    assert read.block("picture 0") == b"\xff\xd8jpeg"


def unfold(first: int, second: int) -> np.ndarray:
    x, y = first / 255 * 2 - 1, second / 255 * 2 - 1
    z = 1 - abs(x) - abs(y)
    if z < 0:
        x, y = (1 - abs(y)) * np.copysign(1, x), (1 - abs(x)) * np.copysign(1, y)
    return np.array([x, y, z]) / np.linalg.norm([x, y, z])


def test_instances_travel_with_tree_runs_and_outlines() -> None:
    """The head lists an instance as it was given, runs and polygons flattened."""
    head = Decoded(encode_viewer(random_content())).head
    assert head["instances"] == [
        {
            "id": 8, "level": 2, "parent": -1, "color": "#ff0010", "score": 0.1235, "points": 9, "seen": 3,
            "runs": [0, 2, 5, 6], "shots": [[0, 1, 2, 30, 40, [[2, 4, 60, 4, 60, 80]], 0]],
        }
    ]  # fmt: skip
    assert (head["count"], head["total"], head["frames"]) == (400, 12_345, [0, 10, 20, 30, 40, 50])
    assert head["pictures"] == [[30, 64, 48]]


def test_the_same_content_gives_the_same_text() -> None:
    """Nothing of the packing depends on the moment, and a scene without points can be packed."""
    assert encode_viewer(random_content()) == encode_viewer(random_content())
    assert Decoded(encode_viewer(random_content(0))).head["count"] == 0


def room_of(n: int) -> Room:
    return Room(
        point_index=np.arange(n),
        xyz_m=np.zeros((n, 3)),
        normal=np.tile([0.0, 0, 1], (n, 1)),
        color=None,
        spacing_m=0.01,
    )


def test_decimation_keeps_small_instances() -> None:
    """Of 10,000 points 500 are kept, evenly, and an instance of five points keeps all five."""
    instances = InstanceSet(
        instance_id=np.array([3, 4], np.int32),
        level=np.array([2, 2], np.int16),
        parent_id=np.full(2, -1, np.int32),
        label=np.full(2, -1, np.int32),
        score=np.ones(2, np.float32),
        point_offsets=np.array([0, 5, 9005]),
        point_index=np.concatenate([np.arange(101, 106), np.arange(1000, 10_000)]),
        n_points=10_000,
        cloud_digest="d",
    )
    chosen = choose_points(room_of(10_000), instances, 500)
    assert len(chosen) == len(np.unique(chosen)) == 500
    assert set(range(101, 106)) <= set(chosen.tolist())
    assert np.diff(chosen).max() <= 26  # 10,000 points, 431 of them taken evenly
    drawn = viewer_points(room_of(10_000), instances, (2,), most=500)
    assert (len(drawn.xyz_m), drawn.total) == (500, 10_000)
    assert drawn.spacing_m == pytest.approx(0.01 * 20**0.5)
    np.testing.assert_array_equal(drawn.color, np.full((500, 3), 176))
    np.testing.assert_array_equal(choose_points(room_of(400), instances, 500), np.arange(400))


def test_owners_put_the_smaller_instance_on_top() -> None:
    """Points in two instances of a level belong to the smaller; other levels do not matter."""
    cloud = floor_and_box()
    instances = box_instances(cloud)
    whole, half = instances.points_of(0), instances.points_of(1)
    assert set(np.flatnonzero(owners(instances, 2) == 0)) == set(whole)
    assert set(np.flatnonzero(owners(instances, 4) == 1)) == set(half)
    both = InstanceSet(
        **{name: getattr(instances, name) for name in InstanceSet.__dataclass_fields__}
        | {"level": np.array([2, 2], np.int16)}
    )
    assert set(np.flatnonzero(owners(both, 2) == 1)) == set(half)
    room = prepare_room(cloud, np.zeros((0, 4, 4)))
    points = viewer_points(room, instances, (2, 4))
    np.testing.assert_array_equal(points.color, own_colors(room))


def test_frames_are_chosen_for_all_instances() -> None:
    """Frame 2 shows two instances best, frame 0 the third; then come second sights; never a frame twice."""
    areas = np.array([[0, 0, 50], [90, 10, 0], [100, 80, 0], [0, 0, 0]], np.float32)
    assert choose_frames(areas, 2).tolist() == [0, 2]
    assert choose_frames(areas, 9).tolist() == [0, 1, 2]  # frame 3 shows nothing
    assert choose_frames(np.zeros((0, 3), np.float32), 4).tolist() == []
    assert choose_frames(np.zeros((3, 0), np.float32), 4).tolist() == []


def test_an_outline_follows_the_mask_and_its_hole() -> None:
    """A ring in a picture half as large: the box and both edges, in half pixels of the picture."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:40, 20:60] = True
    mask[20:30, 30:50] = False
    masks = MaskSet(
        frame=0,
        image_size=(HEIGHT, WIDTH),
        mask_id=np.zeros(1, np.int32),
        level=np.full(1, 2, np.int16),
        parent_id=np.full(1, -1, np.int32),
        boxes=np.array([[20, 10, 60, 40]], np.int32),
        area_px=np.array([mask.sum()]),
        score=np.ones(1, np.float32),
        stability=np.ones(1, np.float32),
        source=np.zeros(1, np.int8),
        rle=(codec.encode(mask),),
    )
    shot = mask_shot(masks, 0, 5, WIDTH // 2)
    assert (shot.picture, shot.box) == (5, (10, 5, 30, 20))
    assert len(shot.outline) == 2
    outer = np.array(shot.outline[0])
    assert outer.min(axis=0).tolist() == [20, 10]  # pixel (20, 10) is at (10.25, 5.25) of the picture
    assert outer.max(axis=0).tolist() == [60, 40]


def test_pictures_are_scaled_down_but_not_up() -> None:
    """A frame of 64 x 48 becomes 32 x 24 when asked, and stays itself when it is smaller than allowed."""
    frame = FakeReader().frame(3)
    assert [(p.frame, p.width, p.height) for p in (picture_of(frame, 32), picture_of(frame, 480))] == [
        (3, 32, 24),
        (3, 64, 48),
    ]


def test_a_page_without_instances_ships_no_viewer() -> None:
    """The reason stands in its place, and neither data nor bundle make the page heavier."""
    page = render_page(small_report(viewer=ViewerSection(notice="The scan has no depth.")))
    assert "The scan has no depth." in page.partition('id="explore"')[2].partition("</section>")[0]
    assert "viewer-data" not in page
    assert "WebGL" not in page
    assert len(page) < 60_000


def test_a_page_says_how_many_points_it_shows() -> None:
    """Decimated scenes are told with both numbers, whole ones with one."""
    section = ViewerSection(payload="AAAA", levels=((2, 3), (4, 1)), shown=200_000, total=1_234_567)
    page = render_page(small_report(viewer=section))
    assert "shows 200,000 of the scene&#39;s 1,234,567 points" in page.replace("'", "&#39;")
    assert '<script type="text/plain" id="viewer-data">AAAA</script>' in page
    section = ViewerSection(payload="AAAA", levels=((2, 3),), shown=7, total=7)
    assert "All 7 points are shown" in render_page(small_report(viewer=section))


def test_the_bundle_is_made_from_these_sources() -> None:
    """The digest that the bundle carries is that of viewer/: after a change run `npm run build` there."""
    folder = ROOT / "viewer"
    names = sorted(
        [
            "build.mjs",
            "package.json",
            "package-lock.json",
            *(f"src/{p.name}" for p in (folder / "src").iterdir()),
        ]
    )
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\n".encode() + (folder / name).read_bytes() + b"\n")
    recorded = re.search(r"sources sha256 ([0-9a-f]{64})", viewer_script())
    assert recorded is not None
    assert recorded[1] == digest.hexdigest(), "run `npm ci && npm run build` in viewer/"


def test_the_bundle_is_small_safe_and_licensed() -> None:
    """Under 600 kB, harmless inside a script element, asks for nothing, and three's licence is with it."""
    script = viewer_script()
    assert len(script) < 600_000
    assert "</script" not in script.lower()
    assert "<!--" not in script
    for text in (script, (TEMPLATES / "viewer.LICENSE.txt").read_text()):
        assert "The MIT License" in text
        assert "three.js authors" in text
        assert "THE SOFTWARE IS PROVIDED" in text
    lock = json.loads((ROOT / "viewer" / "package-lock.json").read_text())
    version = lock["packages"]["node_modules/three"]["version"]
    assert f"three.js {version}" in script
