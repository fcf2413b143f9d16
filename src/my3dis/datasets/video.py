"""A video file, decoded a frame at a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import fingerprint_of, scan_path
from my3dis.datasets.reader import require_index
from my3dis.errors import DataError
from my3dis.protocols import DatasetPlugin
from my3dis.types import Frame, ScanOverview, SceneCloud

if TYPE_CHECKING:
    import cv2

__all__ = ["PLUGIN", "VideoReader", "detect", "open_video"]

_VERSION = "1"
_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
# Up to this many frames ahead, decoding on is quicker than seeking to a key frame and decoding from there.
_SKIP = 48


def detect(path: Path) -> bool:
    """Whether a path is a video file, by its suffix."""
    return path.is_file() and path.suffix.lower() in _SUFFIXES


def open_video(path: Path) -> VideoReader:
    """Open a video file; decodes its first frame and looks for its last.

    Raises:
        DataError: if it is no video that OpenCV can decode, or has no frames.
    """
    return VideoReader(scan_path(path))


class VideoReader:
    """Reads a video; a `my3dis.protocols.SceneReader`.

    One decoder stays open at the frame after the last one read, so reading in order decodes every frame
    once, and steps backwards seek. No frame is kept.

    Args:
        path: the file.
        upright: turn frames as the file asks; without, they come as the sensor saw them.
    """

    def __init__(self, path: Path, *, upright: bool = True) -> None:
        import cv2

        self._path = path
        self._lock = threading.Lock()
        self._capture: cv2.VideoCapture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not upright:
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._next = 0
        first = self._read(0) if self._capture.isOpened() else None
        if first is None:
            self._capture.release()
            raise DataError(
                f"{path}: expected a video, found one that OpenCV cannot decode; convert it, for example to "
                "H.264 in .mp4, or extract its frames as images"
            )
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self._fps = fps if np.isfinite(fps) and fps > 0 else None
        stated = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = self._count(stated)
        height, width = first.shape[:2]
        rate = "" if self._fps is None else f" at {self._fps:g} per second"
        missing = ["no depth and no poses in a video: lift and evaluate are skipped"]
        if stated > count:
            missing.append(
                f"{stated - count} of the {stated} frames that the file announces cannot be decoded"
            )
        self._overview = ScanOverview(
            scene=path.stem,
            dataset="video",
            root=path,
            frame_count=count,
            image_size=(height, width),
            found=(f"video of {count} frames {width}x{height}{rate}",),
            missing=tuple(missing),
        )

    @property
    def overview(self) -> ScanOverview:
        """What was found in the file."""
        return self._overview

    def __len__(self) -> int:
        return self._overview.frame_count

    def frame(self, index: int) -> Frame:
        """Decode a frame; in ascending order each frame of the file is decoded once.

        Raises:
            DataError: if there is no such frame or it cannot be decoded.
        """
        require_index(self._overview, index)
        with self._lock:
            image = self._read(index)
        if image is None or image.shape[:2] != self._overview.image_size:
            raise DataError(
                f"{self._path}: expected frame {index} of {len(self)}, found the video cannot be decoded "
                "there; convert it anew or leave that frame out with a frame slice"
            )
        return Frame(
            index=index,
            name=f"{index:06d}",
            timestamp_s=None if self._fps is None else index / self._fps,
            color=np.ascontiguousarray(image[:, :, ::-1]),
        )

    def cloud(self) -> SceneCloud | None:
        """Return None: a video has no cloud."""
        return None

    def fingerprint(self) -> str:
        """Return a digest that changes when the file changes."""
        return fingerprint_of((self._path,), self._path.parent, f"video reader {_VERSION}")

    def close(self) -> None:
        """Release the decoder; frames cannot be read any more."""
        with self._lock:
            self._capture.release()

    def _read(self, index: int) -> NDArray[np.uint8] | None:
        """Return a frame as BGR, or None when it cannot be decoded."""
        import cv2

        if not self._next <= index <= self._next + _SKIP:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        while self._next < index:
            if not self._capture.grab():
                self._next = -_SKIP - 2
                return None
            self._next += 1
        done, image = self._capture.read()
        # After a failure the decoder's place is unknown: -1 makes the next call seek.
        self._next = index + 1 if done else -_SKIP - 2
        return np.asarray(image, dtype=np.uint8) if done else None

    def _count(self, stated: int) -> int:
        """Return the number of frames that can be decoded; containers often announce a few more."""
        if stated > 0 and self._read(stated - 1) is not None:
            return stated
        import cv2

        self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        count = 0
        while self._capture.grab():
            count += 1
        self._next = -_SKIP - 2
        return count


PLUGIN = DatasetPlugin(
    summary="video file (.mp4, .mov, .avi, .mkv, .webm)", detect=detect, open=open_video, priority=10
)
