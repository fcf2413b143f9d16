"""Floor, walls and ceiling: large planes with nearly the whole scan on one side of them.

The criterion needs no direction of gravity, and no table or cabinet passes it where anything behind was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from my3dis.lifting.borders import Sites
from my3dis.types import NO_ID

__all__ = ["PlaneOptions", "bounding_planes"]

_FIT_SITES = 5000
"""Sites that a plane is fitted to; more change nothing."""
_FIT_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneOptions:
    """What counts as a plane that bounds the room.

    Attributes:
        area_m2: smallest one.
        seed_m2: smallest flat patch that is tried.
        seeds: patches tried, largest first.
        flat: least cosine between normals of neighbours in one patch.
        aligned: least cosine between a site's normal and the plane's.
        thickness_m: farthest that a site of the plane lies from it.
        beyond_m: sites farther off on its other side are beyond it.
        beyond_share: largest share of all sites that may be beyond.
    """

    area_m2: float = 1.0
    seed_m2: float = 0.25
    seeds: int = 60
    flat: float = 0.985
    aligned: float = 0.9
    thickness_m: float = 0.035
    beyond_m: float = 0.08
    beyond_share: float = 0.02


def bounding_planes(sites: Sites, options: PlaneOptions) -> NDArray[np.int32]:
    """Return (S,) the plane of each site, numbered from 0, -1 = none."""
    plane = np.full(len(sites), NO_ID, np.int32)
    count = 0
    for patch in _flat_patches(sites, options):
        if (plane[patch] != NO_ID).mean() > 0.5:
            continue
        normal, offset = _fit(sites, patch, options)
        off = sites.xyz_m @ normal - offset
        inside = (np.abs(off) < options.thickness_m) & (np.abs(sites.normal @ normal) > options.aligned)
        beyond = min(float((off > options.beyond_m).mean()), float((off < -options.beyond_m).mean()))
        if inside.sum() * sites.spacing_m**2 < options.area_m2 or beyond >= options.beyond_share:
            continue
        plane[inside & (plane == NO_ID)] = count
        count += 1
    return plane


def _flat_patches(sites: Sites, options: PlaneOptions) -> list[NDArray[np.int64]]:
    """Return the connected sets of sites along which the normal hardly turns, largest first."""
    a, b = sites.links[:, 0], sites.links[:, 1]
    flat = np.einsum("ij,ij->i", sites.normal[a], sites.normal[b]) > options.flat
    ones = np.ones(int(flat.sum()), np.int8)
    graph = csr_array((ones, (a[flat], b[flat])), shape=(len(sites), len(sites)))
    _, patch = connected_components(graph, directed=False)
    sizes = np.bincount(patch, minlength=1)
    largest = np.argsort(-sizes, kind="stable")[: options.seeds]
    least = options.seed_m2 / max(sites.spacing_m, 1e-6) ** 2
    return [np.flatnonzero(patch == k) for k in largest.tolist() if sizes[k] >= least]


def _fit(sites: Sites, patch: NDArray[np.int64], options: PlaneOptions) -> tuple[NDArray[np.float32], float]:
    """Return normal and offset of the plane through a patch and what continues it."""
    normal = sites.normal[patch].mean(axis=0)
    normal /= max(float(np.linalg.norm(normal)), 1e-9)
    offset = float(np.median(sites.xyz_m[patch] @ normal))
    for _ in range(_FIT_ROUNDS):
        off = np.abs(sites.xyz_m @ normal - offset)
        near = np.flatnonzero((off < options.thickness_m) & (np.abs(sites.normal @ normal) > options.aligned))
        if len(near) < 3:
            break
        points = sites.xyz_m[near[:: max(1, len(near) // _FIT_SITES)]].astype(np.float64)
        centre = points.mean(axis=0)
        normal = np.linalg.eigh(np.cov((points - centre).T))[1][:, 0].astype(np.float32)
        offset = float(centre @ normal)
    return normal, offset
