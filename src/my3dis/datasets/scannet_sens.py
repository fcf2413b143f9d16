"""ScanNet scenes as they are downloaded: ``<scan>.sens``, and the mesh beside it.

Colour and depth are those of the exported scene, and frame i is called i there too. Meshes and poses are
both unaligned, so ``axisAlignment`` is applied to neither; depth is already seen from the colour camera.
"""

from __future__ import annotations

from pathlib import Path

from my3dis.datasets.files import list_files, scan_path
from my3dis.datasets.layout import Notes, camera_of, counted, note_poses
from my3dis.datasets.ply import CloudFile
from my3dis.datasets.scannet import find_mesh
from my3dis.datasets.sens import SensFile
from my3dis.datasets.stream import FrameTable, StreamReader
from my3dis.datasets.truth_files import find_truth
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin

__all__ = ["PLUGIN", "detect", "open_scannet_sens"]

_VERSION = "1"
_SUFFIX = ".sens"


def detect(path: Path) -> bool:
    """Whether a path is a ``.sens`` file, or a folder that holds one."""
    return path.suffix == _SUFFIX if path.is_file() else bool(_sens_files(path))


def open_scannet_sens(path: Path) -> StreamReader:
    """Open a ScanNet scene from its ``.sens`` file.

    Args:
        path: the file, or a folder that holds one; the mesh and annotations are looked for beside it.

    Raises:
        DataError: if there is no such file, or it is broken, or its intrinsics do not fit its images.
    """
    root = scan_path(path)
    notes = Notes("scannet_sens", root)
    folder = root.parent if root.is_file() else root
    sens = SensFile.index(root if root.is_file() else _only(root))
    if not len(sens):
        raise DataError(f"{sens.path}: expected frames, found none; download the file again")
    height, width = size = sens.color(0).shape[:2]
    depth_size = sens.depth_size
    notes.found.append(f"{sens.path.name} with {counted(len(sens), 'frame')} {width}x{height}")
    has_depth = sens.depth_m(0) is not None
    if has_depth:
        notes.found.append(f"depth {depth_size[1]}x{depth_size[0]}")
    else:
        notes.missing.append("no depth in the first frame: depth is not used, lift is skipped")
    color_camera = camera_of(sens.color_k, sens.path, "colour", (height, width))
    poses, invalid = note_poses(sens.poses, notes, counted(len(sens), "frame"))
    mesh = find_mesh(folder, notes)
    overview = notes.overview(
        len(sens),
        (size[0], size[1]),
        (poses, invalid),
        has_depth=has_depth,
        cloud=mesh,
        ground_truth=find_truth(folder),
    )
    table = FrameTable(
        names=tuple(str(i) for i in range(len(sens))),
        poses=poses,
        color_cameras=(color_camera,),
        depth_cameras=(camera_of(sens.depth_k, sens.path, "depth", depth_size),) if has_depth else (),
    )
    return StreamReader(
        overview=overview,
        table=table,
        inputs=(sens.path,) if mesh is None else (sens.path, mesh),
        color=sens.color,
        depth_m=sens.depth_m if has_depth else None,
        load_cloud=None if mesh is None else CloudFile(mesh),
        version=_VERSION,
    )


def _sens_files(folder: Path) -> tuple[Path, ...]:
    return list_files(folder, (_SUFFIX,)) if folder.is_dir() else ()


def _only(folder: Path) -> Path:
    found = _sens_files(folder)
    own = [p for p in found if p.stem == folder.name]
    if not found or (len(found) > 1 and not own):
        raise DataError(
            f"{folder}: expected one .sens file, found {len(found)}; give the folder of one scan, or the file"
        )
    return (own or found)[0]


PLUGIN = DatasetPlugin(
    summary="ScanNet as downloaded: <scan>.sens and *_vh_clean_2.ply",
    detect=detect,
    open=open_scannet_sens,
    priority=38,
)
