"""Arrange furniture in a room: along the walls, on the walls, in the middle, and on other furniture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.synthetic import decor, furniture
from my3dis.datasets.synthetic.palette import Palette
from my3dis.datasets.synthetic.scene import ObjectInfo, PartInfo, Piece, Surface, rotation
from my3dis.datasets.synthetic.shapes import Shape

__all__ = ["Plan", "furnish"]

_YAW = {"E": math.pi / 2, "N": math.pi, "W": -math.pi / 2, "S": 0.0}
_FULL_TURN = 2 * math.pi


@dataclass(frozen=True, slots=True)
class _Footprint:
    """The rectangle of floor that a piece covers."""

    middle: tuple[float, float]
    yaw: float
    half: tuple[float, float]

    @classmethod
    def of(cls, piece: Piece, foot: NDArray[np.float64], yaw: float) -> _Footprint:
        middle = foot + rotation(yaw) @ np.array([0, piece.depth_m / 2, 0])
        half = (piece.width_m / 2, piece.depth_m / 2)
        return cls((float(middle[0]), float(middle[1])), yaw, half)

    def points(self) -> NDArray[np.float64]:
        steps = np.linspace(-1, 1, 9)
        own = np.array([[a * self.half[0], b * self.half[1], 0] for a in steps for b in steps])
        return (own @ rotation(self.yaw).T)[:, :2] + self.middle

    def covers(self, points: NDArray[np.float64]) -> bool:
        away = points - self.middle
        own = away @ rotation(self.yaw)[:2, :2]
        margin = 0.06
        return bool((np.abs(own) <= np.array(self.half) + margin).all(axis=1).any())


@dataclass(slots=True)
class Plan:
    """A room while it is being furnished; placing a piece gives its object and parts their ids."""

    size_m: tuple[float, float, float]
    shapes: list[Shape] = field(default_factory=list)
    parts: list[PartInfo] = field(default_factory=list)
    objects: list[ObjectInfo] = field(default_factory=list)
    _names: Counter[str] = field(default_factory=Counter)
    _footprints: list[_Footprint] = field(default_factory=list)

    def place(
        self,
        piece: Piece,
        at: Sequence[float] | NDArray[np.float64],
        yaw: float = 0.0,
        *,
        structural: bool = False,
    ) -> None:
        """Put a piece's foot at a world position, turned about the vertical."""
        turn, foot = rotation(yaw), np.array(at, float)
        if not structural and piece.label != "floormat" and foot[2] < 0.01:
            self._footprints.append(_Footprint.of(piece, foot, yaw))
        self._names[piece.name] += 1
        count = self._names[piece.name]
        name = piece.name if count == 1 else f"{piece.name} {count}"
        object_id = len(self.objects) + 1
        self.objects.append(ObjectInfo(object_id, name, piece.label, structural))
        for part_name, shapes in piece.parts.items():
            part_id = len(self.parts) + 1
            self.parts.append(PartInfo(part_id, object_id, part_name))
            self.shapes.extend(
                replace(
                    shape,
                    centre_m=foot + turn @ shape.centre_m,
                    rotation=turn @ shape.rotation,
                    part_id=part_id,
                )
                for shape in shapes
            )

    def wall_point(self, wall: str, along: float, off: float = 0.0, up: float = 0.0) -> NDArray[np.float64]:
        """Return a world position by distance along a wall from its middle, off it, and up."""
        half = self.size_m[0] / 2 if wall in "EW" else self.size_m[1] / 2
        point: NDArray[np.float64] = rotation(_YAW[wall]) @ np.array([along, off - half, up])
        return point

    def is_free(self, piece: Piece, x: float, y: float, yaw: float) -> bool:
        """Whether a piece with its middle there would touch neither furniture nor walls."""
        wanted = _Footprint((x, y), yaw, (piece.width_m / 2, piece.depth_m / 2))
        points = wanted.points()
        room = np.array(self.size_m[:2]) / 2 - 0.1
        inside = bool((np.abs(points) < room).all())
        return inside and not any(
            other.covers(points) or wanted.covers(other.points()) for other in self._footprints
        )

    def at_wall(self, piece: Piece, wall: str, along: float, up: float = 0.0, off: float = 0.015) -> None:
        """Put a piece with its back to a wall (``E N W S``)."""
        self.place(piece, self.wall_point(wall, along, off, up), _YAW[wall])

    def on_top(
        self,
        surface: Surface,
        at: Sequence[float] | NDArray[np.float64],
        yaw: float,
        pieces: Sequence[tuple[Piece, float]],
        rng: np.random.Generator,
    ) -> None:
        """Stand pieces side by side on a surface of a piece that was placed at a position and yaw.

        ``pieces`` gives each with how far it may be turned, in radians.
        """
        slot = (surface.x_m[1] - surface.x_m[0]) / len(pieces)
        for i, (piece, freedom) in enumerate(pieces):
            free = max(slot - piece.width_m, 0) / 2
            x = surface.x_m[0] + (i + 0.5) * slot + float(rng.uniform(-free, free))
            y = float(rng.uniform(*surface.y_m)) if freedom else sum(surface.y_m) / 2
            own_yaw = yaw + float(rng.uniform(-freedom, freedom))
            middle = np.array(at, float) + rotation(yaw) @ np.array([x, y, surface.z_m])
            self.place(piece, middle - rotation(own_yaw) @ np.array([0, piece.depth_m / 2, 0]), own_yaw)

    def standing(self, piece: Piece, x: float, y: float, yaw: float, up: float = 0.0) -> None:
        """Stand a piece with its middle at a floor position."""
        foot = np.array([x, y, up]) - rotation(yaw) @ np.array([0, piece.depth_m / 2, 0])
        self.place(piece, foot, yaw)


def furnish(size_m: tuple[float, float, float], palette: Palette, rng: np.random.Generator) -> Plan:
    """Build a room: shell, then furniture along its four walls and in the middle."""
    plan = Plan(size_m)
    _shell(plan, palette)
    lounge, work = ("N", "S") if rng.random() < 0.5 else ("S", "N")
    _window_wall(plan, palette, rng)
    _media_wall(plan, palette, rng)
    _lounge_wall(plan, palette, rng, lounge)
    _work_wall(plan, palette, rng, work)
    _middle(plan, palette, rng)
    return plan


def _shell(plan: Plan, palette: Palette) -> None:
    w, d, h = plan.size_m
    thick = 0.1
    floor = Piece("floor", "floor", w, d)
    floor.box("floor", (-w / 2, -d / 2, -thick), (w / 2, d / 2, 0), palette.floor)
    plan.place(floor, (0, 0, 0), structural=True)
    for wall in "ENWS":
        length = d if wall in "EW" else w
        piece = Piece(f"wall {wall}", "wall", length, thick)
        piece.box("wall", (-length / 2 - thick, -thick, 0), (length / 2 + thick, 0, h), palette.wall)
        piece.box("skirting", (-length / 2, 0, 0), (length / 2, 0.014, 0.09), palette.trim)
        plan.place(piece, plan.wall_point(wall, 0), _YAW[wall], structural=True)
    ceiling = Piece("ceiling", "ceiling", w, d)
    ceiling.box("ceiling", (-w / 2, -d / 2, h), (w / 2, d / 2, h + thick), palette.ceiling)
    plan.place(ceiling, (0, 0, 0), structural=True)


def _spread(
    plan: Plan, wall: str, pieces: Sequence[Piece], margin: float, rng: np.random.Generator
) -> list[float]:
    """Return positions along a wall that keep pieces apart, in random order and with random gaps."""
    length = (plan.size_m[1] if wall in "EW" else plan.size_m[0]) - 2 * margin
    free = max(length - sum(p.width_m for p in pieces), 0.0)
    gaps = rng.dirichlet(np.full(len(pieces) + 1, 3.0)) * free
    places, at = [0.0] * len(pieces), -length / 2
    for gap, i in zip(gaps, rng.permutation(len(pieces)), strict=False):
        at += float(gap)
        places[i] = at + pieces[i].width_m / 2
        at += pieces[i].width_m
    return places


def _window_wall(plan: Plan, palette: Palette, rng: np.random.Generator) -> None:
    chest, green = furniture.drawers(rng, palette), decor.plant(rng)
    where = _spread(plan, "W", (chest, green), 0.95, rng)
    plan.at_wall(decor.window(rng, palette), "W", float(rng.uniform(-0.25, 0.25)), up=1.05, off=0.0)
    plan.at_wall(chest, "W", where[0], off=0.16)
    plan.at_wall(green, "W", where[1], off=0.16)
    things = [(decor.table_lamp(rng, palette), 0.3), (decor.vase(rng, palette), 0.3)]
    plan.on_top(chest.surfaces[0], plan.wall_point("W", where[0], 0.16), _YAW["W"], things, rng)


def _media_wall(plan: Plan, palette: Palette, rng: np.random.Generator) -> None:
    way, cabinet = decor.door(rng, palette), furniture.television(rng, palette)
    where = _spread(plan, "E", (way, cabinet), 0.9, rng)
    plan.at_wall(way, "E", where[0], off=0.0145)
    plan.at_wall(cabinet, "E", where[1])
    on = plan.wall_point("E", where[1], 0.015)
    plan.on_top(cabinet.surfaces[0], on, _YAW["E"], [(decor.screen(palette), 0.0)], rng)
    plan.at_wall(decor.picture(rng, palette), "E", where[1], up=1.55, off=0.0)


def _lounge_wall(plan: Plan, palette: Palette, rng: np.random.Generator, wall: str) -> None:
    seat = furniture.bed(rng, palette) if rng.random() < 0.3 else furniture.sofa(rng, palette)
    lamp, carton = decor.floor_lamp(palette), decor.carton(rng, palette)
    where = _spread(plan, wall, (seat, lamp, carton), 0.35, rng)
    plan.at_wall(seat, wall, where[0], off=0.03)
    plan.at_wall(lamp, wall, where[1], off=0.06)
    plan.at_wall(carton, wall, where[2], off=0.08)
    for shift in (-0.48, 0.48):
        up = 1.28 + float(rng.uniform(-0.04, 0.1))
        plan.at_wall(decor.picture(rng, palette), wall, where[0] + shift, up=up, off=0.0)


def _work_wall(plan: Plan, palette: Palette, rng: np.random.Generator, wall: str) -> None:
    shelf, table, bin_ = (
        furniture.bookshelf(rng, palette),
        furniture.desk(rng, palette),
        decor.bin_(palette),
    )
    where = _spread(plan, wall, (shelf, table, bin_), 0.3, rng)
    plan.at_wall(shelf, wall, where[0])
    plan.at_wall(table, wall, where[1], off=0.02)
    plan.at_wall(bin_, wall, where[2], off=0.1)
    on = plan.wall_point(wall, where[1], 0.02)
    things = [
        (decor.book_stack(rng, palette), 0.4),
        (decor.monitor(palette), 0.15),
        (decor.mug(rng, palette), 1.5),
    ]
    plan.on_top(table.surfaces[0], on, _YAW[wall], things, rng)
    plan.at_wall(decor.picture(rng, palette), wall, where[1], up=1.42, off=0.0)
    before = plan.wall_point(wall, where[1] - 0.15, 0.98)
    turn = _YAW[wall] + math.pi + float(rng.uniform(-0.5, 0.5))
    plan.standing(furniture.chair(rng, palette), float(before[0]), float(before[1]), turn)


def _middle(plan: Plan, palette: Palette, rng: np.random.Generator) -> None:
    x, y = float(rng.uniform(-0.15, 0.25)), float(rng.uniform(-0.15, 0.15))
    yaw = float(rng.uniform(-0.35, 0.35))
    plan.standing(decor.rug(rng, palette), x, y, yaw)
    table = furniture.table(rng, palette)
    on = np.array([x, y, 0]) - rotation(yaw) @ np.array([0, table.depth_m / 2, 0])
    plan.place(table, on, yaw)
    things = [
        (decor.fruit_bowl(palette), 0.5),
        (decor.book_stack(rng, palette), 0.6),
        (decor.mug(rng, palette), 2),
    ]
    plan.on_top(table.surfaces[0], on, yaw, [things[i] for i in rng.permutation(len(things))], rng)
    for piece in (decor.stool(rng, palette), furniture.chair(rng, palette), decor.ball(rng)):
        _near(plan, piece, (x, y), rng)


def _near(plan: Plan, piece: Piece, middle: tuple[float, float], rng: np.random.Generator) -> None:
    """Stand a piece where there is room around a point, roughly facing it; leave it out if there is none."""
    for _ in range(60):
        angle, distance = float(rng.uniform(0, _FULL_TURN)), float(rng.uniform(0.6, 1.15))
        x, y = middle[0] + distance * math.cos(angle), middle[1] + distance * math.sin(angle)
        yaw = angle + math.pi / 2 + float(rng.uniform(-0.3, 0.3))
        if plan.is_free(piece, x, y, yaw):
            plan.standing(piece, x, y, yaw)
            return
