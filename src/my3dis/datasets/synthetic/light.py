"""Light a room: a lamp under the ceiling with soft shadows, daylight from one side, dark corners."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.cast import cast
from my3dis.datasets.synthetic.scene import Room
from my3dis.types import Camera

__all__ = ["Lighting"]

Values = NDArray[np.float32]

_MAP_SIZE = 512
_MAP_HALF_ANGLE = math.radians(74)
_LAMP = np.array([1.0, 0.9, 0.75], np.float32)
_DAY = np.array([0.72, 0.85, 1.0], np.float32)


class Lighting:
    """Answers how much light falls on points of a room.

    Shadows come from a depth image seen from the lamp (L. Williams, Casting Curved Shadows on Curved
    Surfaces, SIGGRAPH 1978), looked up at four texels around each point to soften the edge.
    """

    def __init__(self, room: Room) -> None:
        self._size = np.array(room.size_m, np.float32)
        self._lamp = np.array(room.light_m)
        focal = (_MAP_SIZE / 2) / math.tan(_MAP_HALF_ANGLE)
        middle = (_MAP_SIZE - 1) / 2
        self._camera = Camera(focal, focal, middle, middle, _MAP_SIZE, _MAP_SIZE)
        pose = np.eye(4)
        pose[:3, :3] = np.diag([1.0, -1.0, -1.0])  # look straight down
        pose[:3, 3] = self._lamp
        self._map = cast(room.shapes, self._camera, pose).depth_m

    def at(self, xyz_m: Values, normal: Values) -> Values:
        """Return (3, n) linear RGB light falling on (3, n) points with unit normals."""
        x, y, z = (np.float32(at) - p for at, p in zip(self._lamp, xyz_m, strict=True))
        squared = x * x + y * y + z * z
        facing = np.maximum((x * normal[0] + y * normal[1] + z * normal[2]) / np.sqrt(squared), 0)
        lamp = facing * self._lit(xyz_m, facing) / (np.float32(0.55) + np.float32(0.2) * squared)
        # The window is on the wall at negative x.
        reach = np.float32(0.14) + np.float32(0.5) * (np.float32(0.5) - xyz_m[0] / np.float32(self._size[0]))
        day = (
            np.maximum(np.float32(-0.8) * normal[0] + np.float32(0.35) * normal[2] + np.float32(0.15), 0)
            * reach
        )
        ambient = (np.float32(0.20) + np.float32(0.09) * normal[2]) * self._openness(xyz_m)
        light = np.empty_like(xyz_m)
        for i in range(3):
            light[i] = ambient + lamp * _LAMP[i] + day * _DAY[i]
        return light

    def highlight(self, xyz_m: Values, normal: Values, eye_m: NDArray[np.float64]) -> Values:
        """Return (n,) strength of the lamp's reflection (J. Blinn, SIGGRAPH 1977)."""
        to_lamp = self._lamp.astype(np.float32)[:, None] - xyz_m
        to_eye = eye_m.astype(np.float32)[:, None] - xyz_m
        half_way = to_lamp / np.sqrt((to_lamp**2).sum(axis=0)) + to_eye / np.sqrt((to_eye**2).sum(axis=0))
        length = np.maximum(np.sqrt((half_way**2).sum(axis=0)), np.float32(1e-6))
        strength: Values = np.maximum((half_way * normal).sum(axis=0) / length, 0)
        for _ in range(5):  # to the power of 32
            strength = strength * strength
        return strength

    def _lit(self, xyz_m: Values, facing: Values) -> Values:
        """Return (n,) how much of the lamp each point sees, from 0.15 (hidden) to 1."""
        camera = self._camera
        depth = np.float32(self._lamp[2]) - xyz_m[2]
        scale = np.float32(camera.fx) / np.maximum(depth, np.float32(0.05))
        limit = np.float32(_MAP_SIZE - 4)
        u = (xyz_m[0] - np.float32(self._lamp[0])) * scale + np.float32(camera.cx)
        v = (np.float32(self._lamp[1]) - xyz_m[1]) * scale + np.float32(camera.cy)
        u, v = np.clip(u, 3, limit, out=u), np.clip(v, 3, limit, out=v)
        flat = v.astype(np.int32) * np.int32(_MAP_SIZE) + u.astype(np.int32)
        # A texel covers several centimetres of a slanted surface, hence the slack.
        reference = depth - (np.float32(0.10) - np.float32(0.06) * facing + np.float32(0.02) * depth)
        hidden = np.zeros(len(depth), np.float32)
        for step in (-_MAP_SIZE - 1, 1 - _MAP_SIZE, _MAP_SIZE - 1, _MAP_SIZE + 1):
            hidden += reference > self._map.take(flat + np.int32(step))
        # Beyond the map's edge, high on the walls, nothing stands in the lamp's way.
        hidden *= (u > 3) & (u < limit) & (v > 3) & (v < limit)
        lit: Values = 1 - np.float32(0.2125) * hidden
        return lit

    def _openness(self, xyz_m: Values) -> Values:
        """Return how open the surroundings are: less light reaches where floor, walls and ceiling meet."""
        half = (self._size / 2).astype(np.float32)
        gaps = (half[0] - np.abs(xyz_m[0]), half[1] - np.abs(xyz_m[1]), xyz_m[2])
        open_ = np.ones(xyz_m.shape[1], np.float32)
        for gap in gaps:
            # A rational fall-off looks like an exponential one and costs a tenth of it.
            open_ *= 1 - np.float32(0.32) / (1 + np.square(np.maximum(gap, 0) * np.float32(5)))
        return open_
