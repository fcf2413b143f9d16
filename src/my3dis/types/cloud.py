"""The points that instances are made of: mesh vertices, or points fused from depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.types.checks import frozen_array

__all__ = ["SceneCloud"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SceneCloud:
    """P points in the world frame.

    Attributes:
        xyz_m: (P, 3) float32 metres, world frame of the camera poses.
        color: (P, 3) uint8 RGB, or None.
        normal: (P, 3) float32 unit normals, or None.
        triangles: (T, 3) int32 vertex indices where the cloud is a mesh, or None.
        digest: identifies the geometry; instances refer to it.
    """

    xyz_m: NDArray[np.float32]
    digest: str
    color: NDArray[np.uint8] | None = None
    normal: NDArray[np.float32] | None = None
    triangles: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        xyz = frozen_array(self.xyz_m, "SceneCloud.xyz_m", (None, 3), np.float32)
        object.__setattr__(self, "xyz_m", xyz)
        for name, n, dtype in (
            ("color", len(xyz), np.uint8),
            ("normal", len(xyz), np.float32),
            ("triangles", None, np.int32),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, frozen_array(value, f"SceneCloud.{name}", (n, 3), dtype))

    def __len__(self) -> int:
        return len(self.xyz_m)
