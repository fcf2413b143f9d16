"""The 3D pictures."""

from __future__ import annotations

import cv2
import numpy as np

from my3dis.reporting.rooms import draw_room, instance_colors
from my3dis.reporting.viewpoints import prepare_room
from my3dis.types import SceneCloud
from tests.reporting.fakes import box_instances, floor_and_box

NO_POSES = np.zeros((0, 4, 4))


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)[:, :, [2, 1, 0, 3]]


def test_every_level_is_drawn_from_every_viewpoint() -> None:
    """The scene and two levels, three pictures each, with words for those who cannot see them."""
    cloud = floor_and_box()
    section = draw_room(cloud, box_instances(cloud), {1: (0, 0, 255), 7: (0, 200, 0)}, NO_POSES, 160)
    titles = [level.title for level in section.levels]
    assert titles == ["The scene", "Level 2: 1 instance", "Level 4: 1 instance"]
    for level in section.levels:
        assert [picture.title for picture in level.pictures] == [
            "from above",
            "from the other side",
            "straight down",
        ]
        assert all(picture.alt.startswith(level.title) for picture in level.pictures)
        assert all(decoded(picture.data).shape == (120, 160, 4) for picture in level.pictures)


def test_instances_have_their_colour_and_the_rest_is_grey() -> None:
    """From straight above the object is blue in the middle and the floor around it grey."""
    cloud = floor_and_box()
    section = draw_room(cloud, box_instances(cloud), {1: (0, 0, 255), 7: (0, 200, 0)}, NO_POSES, 160)
    plan = decoded(section.levels[1].pictures[2].data).astype(int)
    assert plan[60, 80, 2] > 180
    assert plan[60, 80, 0] < 60
    floor = plan[60, 30]
    assert np.ptp(floor[:3]) < 12
    assert floor[3] == 255
    assert plan[2, 2, 3] == 0


def test_smaller_instances_are_on_top() -> None:
    """Where a part lies in its object of the same level the part's colour is seen."""
    cloud = floor_and_box()
    instances = box_instances(cloud)
    same = type(instances)(
        **{
            name: getattr(instances, name)
            for name in instances.__dataclass_fields__
            if name not in ("level", "parent_id")
        },
        level=np.array([2, 2], np.int16),
        parent_id=np.full(2, -1, np.int32),
    )
    room = prepare_room(cloud, NO_POSES)
    colors = instance_colors(room, same, 2, {1: (9, 9, 255), 7: (9, 200, 9)})
    part, rest = same.points_of(1), np.setdiff1d(same.points_of(0), same.points_of(1))
    assert (colors[part] == (9, 200, 9)).all()
    assert (colors[rest] == (9, 9, 255)).all()


def test_scenes_without_instances_or_colour_are_drawn() -> None:
    """Without instances there is the scene alone, plain grey where it has no colour."""
    cloud = floor_and_box()
    bare = SceneCloud(xyz_m=cloud.xyz_m, digest="bare")
    section = draw_room(bare, None, {}, NO_POSES, 80)
    assert [level.title for level in section.levels] == ["The scene"]


def test_pictures_are_the_same_every_time() -> None:
    """The same run draws the same bytes."""
    cloud = floor_and_box()
    one, two = (draw_room(cloud, None, {}, NO_POSES, 80) for _ in range(2))
    assert one == two
