"""Read a room without a disk: every frame is rendered when it is asked for."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

from my3dis.datasets.ply import cloud_digest
from my3dis.datasets.synthetic.cast import cast
from my3dis.datasets.synthetic.render import Renderer
from my3dis.datasets.synthetic.scene import Room
from my3dis.datasets.synthetic.surface import Mesh, SurfaceSampler
from my3dis.datasets.synthetic.write import GENERATOR_VERSION
from my3dis.errors import DataError
from my3dis.types import Frame, ScanOverview, SceneCloud

__all__ = ["RoomReader"]


class RoomReader:
    """A `my3dis.protocols.SceneReader` over a room; holds no frame."""

    def __init__(self, room: Room, name: str = "room") -> None:
        self.room = room
        self.renderer = Renderer(room)
        height, width = room.camera.height, room.camera.width
        self._overview = ScanOverview(
            scene=name,
            dataset="synthetic",
            root=Path(name),
            frame_count=len(room),
            image_size=(height, width),
            has_depth=True,
            has_pose=True,
            has_cloud=True,
            found=(f"{len(room)} frames {width}x{height} of room {room.seed}, rendered on demand",),
        )

    @property
    def overview(self) -> ScanOverview:
        """What the room offers."""
        return self._overview

    def __len__(self) -> int:
        return len(self.room)

    def frame(self, index: int) -> Frame:
        """Render a frame.

        Raises:
            DataError: if the index is out of range.
        """
        if not 0 <= index < len(self):
            raise DataError(
                f"room {self.room.seed}: expected a frame index in 0..{len(self) - 1}, found {index}; "
                "change the frame slice"
            )
        rendered, camera = self.renderer.frame(index), self.room.camera
        return Frame(
            index=index,
            name=f"{index:04d}",
            color=rendered.color,
            depth_m=rendered.depth_m,
            color_camera=camera,
            depth_camera=camera,
            world_from_camera=self.room.poses[index],
        )

    def cloud(self) -> SceneCloud:
        """Return samples, about 2 cm apart, of all surfaces that some frame sees."""
        mesh = self.mesh
        return SceneCloud(
            xyz_m=mesh.xyz_m,
            digest=cloud_digest(mesh.xyz_m),
            color=self.renderer.develop_points(mesh.xyz_m, mesh.shape),
            normal=mesh.normal,
            triangles=mesh.triangles,
        )

    @cached_property
    def mesh(self) -> Mesh:
        """The vertices with the shape that each lies on; found by looking through every frame once."""
        sampler = SurfaceSampler(self.room)
        for index in range(len(self.room)):
            sampler.add_frame(index, cast(self.room.shapes, self.room.camera, self.room.poses[index]))
        return sampler.mesh()

    def fingerprint(self) -> str:
        """Return a digest of the generator's version and of the room's seed and measures."""
        room = self.room
        content = (GENERATOR_VERSION, room.seed, room.size_m, len(room), room.camera)
        return hashlib.sha256(repr(content).encode()).hexdigest()
