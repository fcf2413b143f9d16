"""A folder of images, in the natural order of their names."""

from __future__ import annotations

from pathlib import Path

from my3dis.datasets.files import IMAGE_SUFFIXES, scan_path
from my3dis.datasets.layout import Notes, color_files
from my3dis.datasets.reader import FolderReader, ScanFiles
from my3dis.protocols import DatasetPlugin

__all__ = ["PLUGIN", "detect", "open_images"]

_VERSION = "1"


def detect(path: Path) -> bool:
    """Whether a folder holds images."""
    return path.is_dir() and any(
        p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".") for p in path.iterdir()
    )


def open_images(path: Path) -> FolderReader:
    """Open a folder of images.

    Raises:
        DataError: if there are no images, or the first cannot be decoded.
    """
    root = scan_path(path)
    notes = Notes("images", root)
    color, size = color_files(root, notes)
    notes.missing.append("no depth and no poses in a folder of images: lift and evaluate are skipped")
    overview = notes.overview(len(color), size)
    files = ScanFiles(color=color, names=tuple(p.stem for p in color))
    return FolderReader(overview, files, _VERSION)


PLUGIN = DatasetPlugin(
    summary="folder of images (.jpg, .jpeg, .png)", detect=detect, open=open_images, priority=0
)
