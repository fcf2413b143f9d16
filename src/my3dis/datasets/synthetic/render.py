"""Render frames of a room on demand: colour, exact depth, and exact object and part ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic.cast import cast, ray_directions
from my3dis.datasets.synthetic.light import Lighting
from my3dis.datasets.synthetic.materials import Noise, albedo
from my3dis.datasets.synthetic.scene import Room
from my3dis.datasets.synthetic.shapes import local_normals

__all__ = ["Rendered", "Renderer"]

Values = NDArray[np.float32]

_NOISE_LEVEL = np.float32(1.5)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rendered:
    """One frame with its ground truth.

    Attributes:
        color: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 z depth.
        instance, part: (H, W) int32 ids, 0 = none.
        shape: (H, W) int32 index into ``Room.shapes``, -1 = none.
    """

    color: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    instance: NDArray[np.int32]
    part: NDArray[np.int32]
    shape: NDArray[np.int32]


class Renderer:
    """Renders any frame of a room; holds tables of the shapes and one shadow map, no frames."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._noise = Noise(np.random.default_rng([room.seed, 1]))
        self._lighting = Lighting(room)
        self._uv_axes = _uv_axes(np.stack([s.half_m for s in room.shapes]))
        object_of = {part.part_id: part.object_id for part in room.parts}
        # One entry more for index -1, "no shape".
        self.part_of_shape = np.array([*(s.part_id for s in room.shapes), 0], np.int32)
        self.object_of_shape = np.array([*(object_of[s.part_id] for s in room.shapes), 0], np.int32)

    def frame(self, index: int) -> Rendered:
        """Render the frame at a position of the camera's way."""
        room = self.room
        pose = room.poses[index]
        hits = cast(room.shapes, room.camera, pose)
        # Pixels of one shape are worked on together, so they are brought together first.
        flat = hits.shape.ravel().astype(np.int16)
        order = np.argsort(flat, kind="stable")[np.count_nonzero(flat < 0) :]
        depth = hits.depth_m.ravel()[order]
        directions = ray_directions(room.camera, pose)
        xyz = np.stack(
            [np.float32(o) + depth * d.ravel()[order] for o, d in zip(pose[:3, 3], directions, strict=True)]
        )
        linear = np.zeros((3, flat.size), np.float32)
        linear[:, order] = self.radiance(xyz, flat[order], eye_m=pose[:3, 3])
        return Rendered(
            color=self._develop(linear.reshape(3, *hits.shape.shape), index),
            depth_m=np.where(hits.shape >= 0, hits.depth_m, 0).astype(np.float32),
            instance=self.object_of_shape[hits.shape],
            part=self.part_of_shape[hits.shape],
            shape=hits.shape,
        )

    def radiance(
        self, xyz_m: Values, shape: NDArray[np.integer], eye_m: NDArray[np.float64] | None = None
    ) -> Values:
        """Return the (3, n) linear RGB of points on surfaces.

        Args:
            xyz_m: (3, n) float32 world positions.
            shape: (n,) index of the shape that each point lies on, ascending.
            eye_m: (3,) position to see highlights from; without it there are none.
        """
        color, normal = np.empty_like(xyz_m), np.empty_like(xyz_m)
        glow, glossy = np.zeros(len(shape), np.float32), []
        present, starts = np.unique(shape, return_index=True)
        for s, start, end in zip(present, starts, [*starts[1:], len(shape)], strict=True):
            run, surface = slice(start, end), self.room.shapes[s]
            color[:, run], normal[:, run] = self._surface(int(s), xyz_m[:, run])
            if surface.material.glow:
                glow[run] = surface.material.glow
            if surface.material.gloss:
                glossy.append((run, surface.material.gloss))
        result: Values = color * (self._lighting.at(xyz_m, normal) + glow)
        if eye_m is not None:
            for run, gloss in glossy:
                strength = self._lighting.highlight(xyz_m[:, run], normal[:, run], eye_m)
                result[:, run] += np.float32(gloss) * strength
        return result

    def develop_points(self, xyz_m: Values, shape: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return the (n, 3) uint8 colours of (n, 3) points on surfaces, given by ascending shape index."""
        linear = self.radiance(np.ascontiguousarray(xyz_m.T), shape)
        return np.ascontiguousarray(np.clip(_display(linear) * 255 + 0.5, 0, 255).T, dtype=np.uint8)

    def _surface(self, index: int, xyz_m: Values) -> tuple[Values, Values]:
        """Return the (3, n) reflectance and world normals of points of one shape."""
        shape = self.room.shapes[index]
        turn = shape.rotation.astype(np.float32)
        own = turn.T @ (xyz_m - shape.centre_m.astype(np.float32)[:, None])
        own_normal = local_normals(shape, own)
        half = shape.half_m.astype(np.float32)
        color = np.empty_like(own)
        facing = np.abs(own_normal).argmax(axis=0)
        for axis in range(3):
            side = np.flatnonzero(facing == axis)
            if side.size:
                a, b = self._uv_axes[index, axis]
                color[:, side] = albedo(
                    shape.material, own[a, side], own[b, side], (float(half[a]), float(half[b])), self._noise
                )
        return color, turn @ own_normal

    def _develop(self, linear: Values, index: int) -> NDArray[np.uint8]:
        """Turn (3, H, W) light into a picture: the blur of a lens, exposure, gamma and sensor noise."""
        rng = np.random.default_rng([self.room.seed, 2, index])
        exposed = _blur(linear) * np.float32(1.0 + 0.05 * np.sin(index / 7.0))
        noisy = _display(exposed) * 255 + _NOISE_LEVEL * rng.standard_normal(linear.shape, dtype=np.float32)
        return np.ascontiguousarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _uv_axes(half: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (S, 3, 2): for each shape and normal axis, the axis of u (longer side) and of v."""
    table = np.empty((len(half), 3, 2), np.int64)
    for axis in range(3):
        a, b = [i for i in range(3) if i != axis]
        longer = half[:, a] >= half[:, b]
        table[:, axis, 0] = np.where(longer, a, b)
        table[:, axis, 1] = np.where(longer, b, a)
    return table


def _display(linear: Values) -> Values:
    """Return display values of light: a soft shoulder keeps lamps from clipping; the root is gamma 2."""
    values: Values = np.sqrt(linear / (linear + np.float32(0.9)) * np.float32(1.5))
    return values


def _blur(image: Values) -> Values:
    """Blur (3, H, W) with (1 6 1)/8 in both directions, which softens the steps of one ray per pixel."""
    for axis in (1, 2):
        away = np.moveaxis(image, axis, -1)
        blurred = away * np.float32(0.75)
        blurred[..., 1:] += np.float32(0.125) * away[..., :-1]
        blurred[..., :-1] += np.float32(0.125) * away[..., 1:]
        blurred[..., 0] += np.float32(0.125) * away[..., 0]
        blurred[..., -1] += np.float32(0.125) * away[..., -1]
        image = np.moveaxis(blurred, -1, axis)
    return image
