"""Images with a COLMAP model: ``images/`` and ``sparse/0/{cameras,images}.{bin,txt}``.

There is no depth, and the scale of the world is arbitrary, so poses are read but nothing is lifted. Lens
distortion is not removed: undistort the images first.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from my3dis.datasets.colmap_model import (
    ModelCamera,
    find_model,
    read_cameras,
    read_images,
    world_from_camera,
)
from my3dis.datasets.files import IMAGE_SUFFIXES, list_files, natural_key, read_color, scan_path
from my3dis.datasets.layout import Notes, camera_of, color_files, counted, note_poses
from my3dis.datasets.stream import FrameTable, StreamReader
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Camera

__all__ = ["PLUGIN", "detect", "open_colmap"]

_VERSION = "1"


def detect(path: Path) -> bool:
    """Whether a folder has ``images/`` and a COLMAP model."""
    return (path / "images").is_dir() and find_model(path) is not None


def open_colmap(path: Path) -> StreamReader:
    """Open images with a COLMAP model.

    Raises:
        DataError: if there are no images, or the model is missing, broken or does not fit them.
    """
    root = scan_path(path)
    notes = Notes("colmap", root)
    model = find_model(root)
    if model is None:
        raise DataError(
            f"{root}: expected a COLMAP model (cameras and images, .bin or .txt) in sparse/0, sparse "
            "or colmap, found none; export it"
        )
    registered = {image.name: image for image in read_images(model)}
    color, size = _images(root / "images", tuple(registered), notes)
    names = tuple(p.relative_to(root / "images").as_posix() for p in color)
    images = tuple(registered[name] for name in names if name in registered)
    poses = np.full((len(color), 4, 4), np.nan)
    rows = np.array([i for i, name in enumerate(names) if name in registered], np.int64)
    poses[rows] = world_from_camera(images)
    known, invalid = note_poses(poses, notes, counted(len(registered), "registered image"))
    model_cameras = read_cameras(model)
    used = tuple(registered[name].camera_id if name in registered else None for name in names)
    cameras = _cameras(model, model_cameras, used, size)
    if any(camera.distorted for camera in model_cameras.values()):
        notes.missing.append(
            "lens distortion is not removed: undistort the images (colmap image_undistorter)"
        )
    notes.missing.append("no depth beside a COLMAP model: lift and evaluate are skipped")
    overview = notes.overview(len(color), size, (known, invalid))
    table = FrameTable(names=tuple(Path(n).stem for n in names), poses=known, color_cameras=cameras)
    if len(set(table.names)) < len(names):
        table = FrameTable(
            names=tuple(n.replace("/", "_") for n in names), poses=known, color_cameras=cameras
        )
    model_files = tuple(p for p in list_files(model, (".bin", ".txt")) if p.stem in ("cameras", "images"))
    return StreamReader(
        overview=overview,
        table=table,
        inputs=(*color, *model_files),
        color=lambda index: read_color(color[index]),
        version=_VERSION,
    )


def _images(
    folder: Path, registered: tuple[str, ...], notes: Notes
) -> tuple[tuple[Path, ...], tuple[int, int]]:
    """Return the images in the folder; where they lie in folders of their own, those of the model."""
    if list_files(folder, IMAGE_SUFFIXES):
        return color_files(folder, notes)
    found = tuple(folder / n for n in sorted(registered, key=natural_key) if (folder / n).is_file())
    if not found:
        raise DataError(
            f"{folder}: expected the images of the COLMAP model, found none of its {len(registered)}; "
            "put them where the model was made from"
        )
    height, width = read_color(found[0]).shape[:2]
    notes.found.append(f"{counted(len(found), 'colour image')} {width}x{height}")
    if len(found) < len(registered):
        notes.missing.append(f"{counted(len(registered) - len(found), 'image')} of the COLMAP model")
    return found, (height, width)


def _cameras(
    model: Path, cameras: dict[int, ModelCamera], used: tuple[int | None, ...], size: tuple[int, int]
) -> tuple[Camera, ...]:
    """Return the camera of each image; one that is not registered gets the camera that most others have."""
    counts = Counter(number for number in used if number is not None)
    if not counts:
        return ()
    absent = sorted(set(counts) - set(cameras))
    if absent:
        raise DataError(
            f"{model}: expected a camera for every image, found no camera {absent[0]}; export the model again"
        )
    scaled = {number: _scaled(model, cameras[number], size) for number in counts}
    usual = counts.most_common(1)[0][0]
    return tuple(scaled[usual if number is None else number] for number in used)


def _scaled(model: Path, camera: ModelCamera, size: tuple[int, int]) -> Camera:
    """Return a camera for images that were resampled from those that the model was made from."""
    height, width = size
    if abs(camera.width * height - camera.height * width) > 0.02 * camera.width * height:
        raise DataError(
            f"{model}: expected a camera for images shaped like {width}x{height}, found one for "
            f"{camera.width}x{camera.height}; give the images that the model was made from"
        )
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    return camera_of(k, model, "colour", (camera.height, camera.width)).scaled_to(width, height)


PLUGIN = DatasetPlugin(
    summary="images with a COLMAP model: images/ and sparse/0/{cameras,images}.{bin,txt}",
    detect=detect,
    open=open_colmap,
    priority=35,
)
