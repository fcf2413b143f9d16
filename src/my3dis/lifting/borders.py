"""Where one thing ends and another begins on the surface: shape, colour, and borders that views agree on.

Regions proposed without recognition (watersheds) flicker from view to view, so a track of them is no object.
But where the surface has an edge, most views draw a border there. So views are asked about the links between
neighbouring points, each a border or none, and all of them together, with creases and steps of colour, tell
where objects meet. Memory grows with the points, not with frames or masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from my3dis.geometry.points import nearest_spacing
from my3dis.lifting.lift import Surface
from my3dis.lifting.visibility import ViewOptions, visible_points
from my3dis.masks.labels import paint
from my3dis.types import NO_ID, Frame, MaskSet, MaskSource, SceneCloud

__all__ = ["BorderEvidence", "BorderOptions", "Sites", "border_strength"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderOptions:
    """What counts as a border. Each cue is a probability; strength is that of any of them being right.

    Attributes:
        site_m: points closer than about this are taken together, so that scans of any density look alike.
        smoothing_rounds: how often normals and colours are averaged with their neighbours'.
        clear_weight: least weight of a view of a point that may tell of borders.
        views: probability of a border that all views draw at all levels.
        crease, crease_from, crease_unit: of a concave fold; change of the normal along the link, from and by
            which it counts.
        turn, turn_from, turn_unit: of a fold of any kind; 1 - cosine.
        color, color_from, color_unit: of a step of colour; CIE Lab, lightness halved for the sake of shading.
        crease_reach_m: folds are looked for between points no farther apart.
    """

    site_m: float = 0.02
    smoothing_rounds: int = 2
    clear_weight: float = 0.02
    views: float = 0.6
    crease: float = 0.8
    crease_from: float = 0.1
    crease_unit: float = 0.3
    turn: float = 0.2
    turn_from: float = 0.05
    turn_unit: float = 0.3
    color: float = 0.5
    color_from: float = 3.0
    color_unit: float = 15.0
    crease_reach_m: float = 0.05


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sites:
    """The points at a spacing that does not depend on the scan: S sites and the links between them.

    Attributes:
        of_point: (P,) int32 site of each point.
        xyz_m: (S, 3) float32 means of points.
        normal: (S, 3) float32 towards the cameras where one saw the site; 0 = unknown.
        lab: (S, 3) float32 CIE Lab, or None without colours.
        links: (E, 2) int32 neighbours, each pair once.
        spacing_m: typical distance to the nearest site.
    """

    of_point: NDArray[np.int32]
    xyz_m: Floats
    normal: Floats
    lab: Floats | None
    links: NDArray[np.int32]
    spacing_m: float

    def __len__(self) -> int:
        return len(self.xyz_m)


class BorderEvidence:
    """Asks views, one at a time, which links between neighbours they draw borders across.

    Args:
        cloud: the points.
        surface: from `surface_of`.
        levels: of the masks, coarse to fine.
        view: what a view may say about points.
        options: what counts as a border.
    """

    def __init__(
        self,
        cloud: SceneCloud,
        surface: Surface,
        levels: tuple[int, ...],
        view: ViewOptions | None = None,
        options: BorderOptions | None = None,
    ) -> None:
        self._cloud, self._normal, self._levels = cloud, surface.normal, levels
        self._view, self._options = view or ViewOptions(), options or BorderOptions()
        spacing_m = nearest_spacing(cloud.xyz_m)
        self._of_point = _cells(cloud.xyz_m, spacing_m, self._options.site_m)
        self._count = int(self._of_point.max()) + 1 if len(cloud) else 0
        self._links = _links(self._of_point[surface.near])
        self._asked = np.zeros(len(self._links), np.uint32)
        self._drawn = np.zeros(len(self._links), np.uint32)
        self._facing = np.zeros(len(cloud), np.float32)

    def add(self, frame: Frame, masks: MaskSet) -> None:
        """Ask one view.

        Args:
            frame: with depth, depth camera and a rigid pose.
            masks: of that frame, all levels; those that a tracker carried there are not asked.
        """
        proposed = masks.select(np.flatnonzero(masks.source != MaskSource.TRACK))
        seen = visible_points(
            frame, self._cloud.xyz_m, self._normal, mask_size=masks.image_size, options=self._view
        )
        assert frame.world_from_camera is not None
        towards = frame.world_from_camera[:3, 3].astype(np.float32) - self._cloud.xyz_m[seen.point]
        self._facing[seen.point] += np.sign(np.einsum("ij,ij->i", towards, self._normal[seen.point]))
        if not len(proposed):
            return
        clear = seen.weight >= self._options.clear_weight
        site, x, y = self._of_point[seen.point[clear]], seen.x[clear], seen.y[clear]
        visible = np.zeros(self._count, np.bool_)
        visible[site] = True
        a, b = self._links[:, 0], self._links[:, 1]
        asked = np.flatnonzero(visible[a] & visible[b])
        a, b = a[asked], b[asked]
        self._asked[asked] += 1
        coarser = np.full(self._count, NO_ID, np.int64)
        for level in self._levels:
            of_level = proposed.at_level(level)
            label = coarser.copy()
            if len(of_level):
                found = paint(of_level)[y, x]
                # Where a mask does not split any further, the finer level leaves it out.
                label[site] = np.where(found == NO_ID, coarser[site], found)
            self._drawn[asked] += label[a] != label[b]
            coarser = label

    def sites(self) -> Sites:
        """Return the points as sites, normals turned towards the cameras."""
        normal = np.where(self._facing[:, None] < 0, -self._normal, self._normal)
        mean = _mean_of_cells(self._of_point, self._count)
        xyz_m = mean @ self._cloud.xyz_m
        average = _averaging(self._links, self._count)
        normal = _unit(mean @ normal)
        lab = None if self._cloud.color is None else mean @ _lab(self._cloud.color)
        for _ in range(self._options.smoothing_rounds):
            # Half a site's own: more would round folds off, and planes would flow around them.
            normal = _unit(normal + average @ normal)
            lab = None if lab is None else average @ lab
        return Sites(
            of_point=self._of_point,
            xyz_m=xyz_m,
            normal=normal,
            lab=lab,
            links=self._links,
            spacing_m=nearest_spacing(xyz_m),
        )

    def drawn(self) -> Floats:
        """Return (E,) the share of views and levels that drew a border across each link; 0 = none looked."""
        share: Floats = self._drawn / np.maximum(self._asked * np.float32(len(self._levels)), 1)
        return share.astype(np.float32)


def border_strength(
    sites: Sites, drawn: Floats, plane: NDArray[np.int32], options: BorderOptions
) -> NDArray[np.float64]:
    """Return (E,) how likely each link crosses a border, in [0, 1].

    On a large plane folds are noise: only colour and the views count. Its outline is a border for certain.

    Args:
        sites: S sites.
        drawn: (E,) from `BorderEvidence.drawn`.
        plane: (S,) large plane of each site, -1 = none.
        options: what counts as a border.
    """
    a, b = sites.links[:, 0], sites.links[:, 1]
    keep = 1 - options.views * drawn.astype(np.float64)
    if sites.lab is not None:
        step = (sites.lab[a] - sites.lab[b]) * np.array([0.5, 1, 1], np.float32)
        color = np.sqrt(np.einsum("ij,ij->i", step, step))
        keep *= 1 - options.color * _beyond(color, options.color_from, options.color_unit)
    along = sites.xyz_m[b] - sites.xyz_m[a]
    length = np.sqrt(np.einsum("ij,ij->i", along, along))
    fold = np.einsum("ij,ij->i", sites.normal[b] - sites.normal[a], along) / np.maximum(length, 1e-9)
    known = sites.normal[a].any(axis=1) & sites.normal[b].any(axis=1)
    near = known & (length < options.crease_reach_m)
    crease = np.where(near, _beyond(-fold, options.crease_from, options.crease_unit), 0)
    turn = 1 - np.einsum("ij,ij->i", sites.normal[a], sites.normal[b])
    turn = np.where(known, _beyond(turn, options.turn_from, options.turn_unit), 0)
    flat = (plane[a] == plane[b]) & (plane[a] != NO_ID)
    folded = (1 - options.crease * crease) * (1 - options.turn * turn)
    keep *= np.where(flat, 1.0, folded)
    strength: NDArray[np.float64] = 1 - keep
    strength[plane[a] != plane[b]] = 1.0
    return strength


def _beyond(value: Floats, start: float, unit: float) -> Floats:
    """Return 0 up to ``start``, approaching 1 beyond it."""
    reached: Floats = 1 - np.exp(-np.maximum(value - np.float32(start), 0) / np.float32(unit))
    return reached


def _cells(xyz_m: Floats, spacing_m: float, site_m: float) -> NDArray[np.int32]:
    """Return (P,) a number 0..S-1 for each point: its own, or its cell's where points are dense."""
    if spacing_m > 0.5 * site_m or not len(xyz_m):
        return np.arange(len(xyz_m), dtype=np.int32)
    cell = np.floor((xyz_m - xyz_m.min(axis=0)) / np.float32(site_m)).astype(np.int64)
    wide = cell.max(axis=0) + 1
    key = (cell[:, 0] * wide[1] + cell[:, 1]) * wide[2] + cell[:, 2]
    return np.unique(key, return_inverse=True)[1].astype(np.int32)


def _links(edges: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return every pair of different ends once."""
    low, high = edges.min(axis=1).astype(np.int64), edges.max(axis=1).astype(np.int64)
    base = int(high.max()) + 1 if len(high) else 1
    key = np.unique((low * base + high)[low != high])
    return np.stack([key // base, key % base], axis=1).astype(np.int32)


def _mean_of_cells(cell: NDArray[np.int32], count: int) -> sparse.csr_array:
    size = np.bincount(cell, minlength=count)
    weight = (1 / size[cell]).astype(np.float32)
    return sparse.csr_array((weight, (cell, np.arange(len(cell)))), shape=(count, len(cell)))


def _averaging(links: NDArray[np.int32], count: int) -> sparse.csr_array:
    """Return the matrix that averages each site with its neighbours."""
    a, b = links[:, 0], links[:, 1]
    own = np.arange(count)
    rows, columns = np.concatenate([a, b, own]), np.concatenate([b, a, own])
    share = (1 / np.bincount(rows, minlength=count)).astype(np.float32)
    return sparse.csr_array((share[rows], (rows, columns)), shape=(count, count))


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)
    return unit


def _lab(color: NDArray[np.uint8]) -> Floats:
    import cv2

    lab: Floats = cv2.cvtColor(color[None].astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)[0]
    return lab
