"""How many frames a scan has, without opening it: its image files are counted by name."""

from __future__ import annotations

import os
import statistics
import struct
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

__all__ = ["DEFAULT_FRAMES", "count_frames", "count_some", "image_pixels", "typical"]

DEFAULT_FRAMES = 300
"""Taken where nothing can be counted, as in a video file."""

_IMAGES = (".jpg", ".jpeg", ".png")
_COLOR_WORDS = ("color", "colour", "rgb", "image", "img", "frame")
_NO_COLOR_WORDS = ("depth", "label", "instance", "mask", "pose", "semantic", "normal")
_COLOR, _UNKNOWN, _NO_COLOR = range(3)
_WITHOUT_DIGITS = str.maketrans("", "", "0123456789")
_MOST_FOLDERS = 16
_HEAD_BYTES = 1 << 16


def count_some(scans: Sequence[Path], patience_s: float) -> dict[Path, int]:
    """Return scan → frames, for as many scans as can be counted in that time, spread over all of them.

    Listing thousands of folders on a slow disk would take longer than a plan may.
    """
    counts: dict[Path, int] = {}
    end = time.monotonic() + patience_s
    step = max(1, len(scans) // 32)  # first a sample of the whole list, then the rest
    spread = [*scans[::step], *(scan for n, scan in enumerate(scans) if n % step)]
    for scan in spread:
        if time.monotonic() > end:
            break
        found = count_frames(scan)
        if found:
            counts[scan] = found
    return counts


def typical(counts: Sequence[int]) -> int:
    """Return the count that stands for scans that were not counted."""
    return round(statistics.median(counts)) if counts else DEFAULT_FRAMES


def count_frames(scan: Path) -> int:
    """Return how many colour images a scan's folder seems to hold, 0 when none are found.

    Images of one kind differ in digits only; the folder is searched two levels deep, those first whose name
    speaks of colour.
    """
    return _search(scan)[0]


def image_pixels(scan: Path) -> int | None:
    """Return pixels of the first colour image that is found, from its header, or None."""
    path = _search(scan)[1]
    return _size_in_header(path) if path else None


def _search(scan: Path, depth: int = 2) -> tuple[int, Path | None]:
    try:
        names = os.listdir(scan)  # noqa: PTH208 (names alone, as paths they take three times as long)
    except OSError:  # a file, or a folder that may not be read: the job will say so
        return 0, None
    best = _largest_kind(scan, names)
    if best[0] or not depth:
        return best
    folders = [name for name in names if "." not in name]
    for name in sorted(folders, key=lambda name: (_rank(name), name))[:_MOST_FOLDERS]:
        if best[0] and _rank(name) == _NO_COLOR:
            break
        found = _search(scan / name, depth - 1)
        if found[0] > best[0]:
            best = found
        if best[0] and _rank(name) == _COLOR:
            break
    return best


def _largest_kind(folder: Path, names: Sequence[str]) -> tuple[int, Path | None]:
    # All names at once: thousands of folders of thousands of files are counted this way.
    counts = Counter("\0".join(names).translate(_WITHOUT_DIGITS).split("\0"))
    kinds = {kind: count for kind, count in counts.items() if kind.lower().endswith(_IMAGES)}
    if not kinds:
        return 0, None
    chosen = min(kinds, key=lambda kind: (_rank(kind), -kinds[kind], kind))
    first = next(name for name in names if name.translate(_WITHOUT_DIGITS) == chosen)
    return kinds[chosen], folder / first


def _rank(name: str) -> int:
    name = name.lower()
    if any(word in name for word in _NO_COLOR_WORDS):
        return _NO_COLOR
    return _COLOR if any(word in name for word in _COLOR_WORDS) else _UNKNOWN


def _size_in_header(path: Path) -> int | None:
    try:
        with path.open("rb") as handle:
            data = handle.read(_HEAD_BYTES)
    except OSError:
        return None
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return int(width * height) or None
    return _jpeg_pixels(data) if data.startswith(b"\xff\xd8") else None


def _jpeg_pixels(data: bytes) -> int | None:
    """Walk over the segments of a JPEG to its frame header (ITU-T T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(width * height) or None
        at += 2 + length
    return None
