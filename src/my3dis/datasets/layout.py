"""What the modules of folder layouts share: match files to frames and say what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import IMAGE_SUFFIXES, list_files, read_color, read_depth_m, read_poses
from my3dis.datasets.reader import DepthFormat
from my3dis.errors import DataError
from my3dis.types import Camera, ScanOverview

__all__ = ["Notes", "Posed", "camera_of", "color_files", "counted", "find_depth", "find_poses", "note_poses"]


Posed = tuple[NDArray[np.float64] | None, tuple[int, ...]]
"""(N, 4, 4) float64 poses, NaN where invalid, and the frames that have none; None if no pose is valid."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What becomes a scan's overview while it is being opened.

    Attributes:
        dataset: name of the reader's plug-in.
        root: the scan's folder or file.
        found, missing: sentences.
    """

    dataset: str
    root: Path
    found: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def overview(
        self,
        frames: int,
        image_size: tuple[int, int],
        posed: Posed = (None, ()),
        *,
        has_depth: bool = False,
        cloud: object = None,
        ground_truth: Path | None = None,
    ) -> ScanOverview:
        """Return the overview of a scan with what was noted.

        Args:
            frames: how many there are.
            image_size: (H, W) of the colour images.
            posed: poses and the frames without one.
            has_depth: whether there are depth images.
            cloud: where the mesh or point cloud is or how to load it; None when there is none.
            ground_truth: folder or file with it, or None.
        """
        poses, invalid = posed
        return ScanOverview(
            scene=self.root.stem if self.root.is_file() else self.root.name,
            dataset=self.dataset,
            root=self.root,
            frame_count=frames,
            image_size=image_size,
            has_depth=has_depth,
            has_pose=poses is not None,
            has_cloud=cloud is not None,
            ground_truth=ground_truth,
            invalid_poses=invalid,
            found=tuple(self.found),
            missing=tuple(self.missing),
        )


def counted(n: int, thing: str) -> str:
    """Return "1 pose" or "3 poses"."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def color_files(
    folder: Path, notes: Notes, *, ending: str = "", suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> tuple[tuple[Path, ...], tuple[int, int]]:
    """Return the colour images of a folder in natural order, and the (H, W) of the first.

    Args:
        folder: where they are.
        notes: gets a sentence.
        ending: what their stems must end with.
        suffixes: what else they may be called.

    Raises:
        DataError: if there are none, two have one stem, or the first cannot be decoded.
    """
    images = tuple(p for p in list_files(folder, suffixes) if p.stem.endswith(ending))
    if not images:
        raise DataError(
            f"{folder}: expected colour images (*{ending}.jpg or *{ending}.png), found none; "
            "export the colour frames into it"
        )
    twice = next((b for a, b in pairwise(images) if a.stem == b.stem), None)
    if twice is not None:
        raise DataError(
            f"{folder}: expected one image per frame, found several called {twice.stem!r}; remove all but one"
        )
    height, width = read_color(images[0]).shape[:2]
    notes.found.append(f"{counted(len(images), 'colour image')} {width}x{height}")
    return images, (height, width)


def camera_of(k: NDArray[np.float64], source: Path, what: str, size: tuple[int, int]) -> Camera:
    """Return the camera of an intrinsic matrix for images of a size.

    Args:
        k: (3, 3) or (4, 4) intrinsic matrix.
        source: file that holds it, for messages.
        what: name of the images, such as ``depth``.
        size: (H, W) of the images.

    Raises:
        DataError: if no camera has this matrix. Files carry no image size: whether the matrix is for images
            of this one is for the check of the scan to say.
    """
    height, width = size
    fx, fy, cx, cy = float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])
    if not np.isfinite([fx, fy, cx, cy]).all() or fx <= 0 or fy <= 0:
        raise DataError(
            f"{source}: expected focal lengths above 0 and a finite principal point, found {what} of "
            f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}; export the intrinsics again"
        )
    return Camera(fx, fy, cx, cy, width, height)


def find_depth(
    keys: Sequence[str], by_key: Mapping[str, Path], notes: Notes, depth_format: DepthFormat
) -> tuple[tuple[Path | None, ...], tuple[int, int] | None]:
    """Return a depth image or None for each frame, and the (H, W) of the first; empty and None if none fits.

    Args:
        keys: a name per frame.
        by_key: depth images by such names.
        notes: gets a sentence on what was found or is missing.
        depth_format: of the images.

    Raises:
        DataError: if the first depth image cannot be decoded.
    """
    depth = tuple(by_key.get(key) for key in keys)
    present = [p for p in depth if p is not None]
    if not present:
        why = (
            f" that fit the names of colour images (of {counted(len(by_key), 'depth image')})"
            if by_key
            else ""
        )
        notes.missing.append(f"no depth images{why}: lift and evaluate are skipped")
        return (), None
    height, width = read_depth_m(present[0], unit_m=depth_format.unit_m, invalid=depth_format.invalid).shape
    notes.found.append(f"{counted(len(present), 'depth image')} {width}x{height}")
    if len(present) < len(keys):
        absent = len(keys) - len(present)
        notes.missing.append(f"depth of {counted(absent, 'frame')}: only colour is used there")
    return depth, (height, width)


def find_poses(keys: Sequence[str], by_key: Mapping[str, Path], notes: Notes) -> Posed:
    """Return (N, 4, 4) poses, NaN where invalid, and the frames that have none; None if no pose is valid.

    Args:
        keys: a name per frame.
        by_key: pose files by such names.
        notes: gets a sentence on what was found or is missing.
    """
    if not by_key:
        notes.missing.append("no poses: lift and evaluate are skipped")
        return None, ()
    return note_poses(read_poses(by_key.get(key) for key in keys), notes, f"{len(by_key)} files")


def note_poses(poses: NDArray[np.float64], notes: Notes, source: str) -> Posed:
    """Return (N, 4, 4) poses, or None if all are NaN, and the frames that have none.

    Args:
        poses: NaN where invalid.
        notes: gets a sentence on what was found or is missing.
        source: what they were read from, such as ``12 files``.
    """
    invalid = tuple(int(i) for i in np.flatnonzero(np.isnan(poses[:, 0, 0])))
    valid = len(poses) - len(invalid)
    if not valid:
        notes.missing.append(f"no valid pose among {source}: lift and evaluate are skipped")
        return None, invalid
    notes.found.append(counted(valid, "camera pose"))
    if invalid:
        notes.missing.append(
            f"valid poses of {counted(len(invalid), 'frame')} (absent, inf, nan or not rigid): "
            "not used for lifting"
        )
    return poses, invalid
