"""What passes for a fit between the poses, depth, intrinsics and mesh of a scan."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CheckOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Thresholds and sizes of the check.

    Attributes:
        pairs: pairs of frames that are compared.
        error_m: largest median difference of depth.
        relative_error: largest median difference as a share of depth; catches a depth unit that is too
            small, where all differences shrink with it.
        agreement: smallest share of points that agree.
        least_points: fewer compared points than this cannot be judged.
        mesh_vertices: vertices that are compared with depth.
        depth_range_m: between which the median reading of an indoor scan lies.
        way_m: longest diagonal of an indoor scan's camera positions.
        shift_px: largest shift between depth and colour edges, as pixels of an image 640 wide.
    """

    pairs: int = 8
    error_m: float = 0.05
    relative_error: float = 0.03
    agreement: float = 0.5
    least_points: int = 500
    mesh_vertices: int = 40_000
    depth_range_m: tuple[float, float] = (0.15, 15.0)
    way_m: float = 80.0
    shift_px: float = 6.0
