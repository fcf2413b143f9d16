"""The 3D pictures of a report: the scene's own colours, then the instances of every level."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from my3dis.reporting.colors import Color
from my3dis.reporting.model import Panel, RoomLevel, RoomSection
from my3dis.reporting.pictures import encode_webp
from my3dis.reporting.splat import paint, shading, splat
from my3dis.reporting.viewpoints import Room, prepare_room, room_views
from my3dis.types import InstanceSet, SceneCloud

__all__ = ["draw_room", "instance_colors", "own_colors"]

_OVERSAMPLING = 2
_PLAIN = (176, 176, 176)


def draw_room(
    cloud: SceneCloud,
    instances: InstanceSet | None,
    colors: Mapping[int, Color],
    world_from_cameras: NDArray[np.float64],
    width: int = 640,
    room: Room | None = None,
) -> RoomSection:
    """Render a scene from three viewpoints: its own colours, then the instances of each level.

    Args:
        cloud: the scene's points.
        instances: 3D instances over these points, or None.
        colors: RGB per instance id.
        world_from_cameras: (F, 4, 4) some camera poses, which say what is up and inside.
        width: of each picture, pixels.
        room: of this cloud, where it was prepared before.
    """
    room = prepare_room(cloud, world_from_cameras) if room is None else room
    important = np.ones(len(cloud), bool)
    if instances is not None and len(instances.point_index):
        important = np.zeros(len(cloud), bool)
        important[instances.point_index] = True
    size = (width * 3 // 4 * _OVERSAMPLING, width * _OVERSAMPLING)
    titles = ["The scene"] if room.color is not None or instances is None else []
    paints = [own_colors(room)] if titles else []
    for level in np.unique(instances.level).tolist() if instances is not None else []:
        assert instances is not None
        count = int((instances.level == level).sum())
        titles.append(f"Level {level}: {count} instance{'s' if count != 1 else ''}")
        paints.append(instance_colors(room, instances, level, colors))
    pictures: list[list[Panel]] = [[] for _ in titles]
    for view in room_views(room, important[room.point_index], size):
        seen = splat(room.xyz_m, view.view, room.spacing_m, view.keep)
        light = shading(seen, view.view, room.xyz_m, room.normal)
        for place, title, colored in zip(pictures, titles, paints, strict=True):
            image = paint(seen, colored, light, _OVERSAMPLING)
            alt = f"{title}, rendered {view.title}"
            place.append(Panel(title=view.title, alt=alt, data=encode_webp(image), kind="image/webp"))
    levels = tuple(RoomLevel(title=t, pictures=tuple(p)) for t, p in zip(titles, pictures, strict=True))
    return RoomSection(levels=levels)


def own_colors(room: Room) -> NDArray[np.uint8]:
    """Return the colours (R, 3) of the drawn points; light grey where the cloud has none."""
    if room.color is not None:
        return room.color
    return np.tile(np.array(_PLAIN, np.uint8), (len(room.xyz_m), 1))


def instance_colors(
    room: Room, instances: InstanceSet, level: int, colors: Mapping[int, Color]
) -> NDArray[np.uint8]:
    """Return the colour (R, 3) of every drawn point at a level; points of no instance are a dim grey.

    Where instances overlap the smaller one is on top.
    """
    brightness = own_colors(room).astype(np.float32).mean(axis=1)
    painted = np.repeat((0.35 * brightness + 105.0)[:, None], 3, axis=1).astype(np.uint8)
    whole = np.full((instances.n_points, 3), 0, np.uint8)
    owned = np.zeros(instances.n_points, bool)
    sizes = np.diff(instances.point_offsets)
    members = np.flatnonzero(instances.level == level)
    for k in members[np.argsort(-sizes[members], kind="stable")].tolist():
        points = instances.points_of(k)
        whole[points] = colors[int(instances.instance_id[k])]
        owned[points] = True
    drawn = owned[room.point_index]
    painted[drawn] = whole[room.point_index[drawn]]
    return painted
