"""Read the files that scans are made of: images, depth maps, matrices and poses.

Every function translates what can go wrong into a `DataError` that names the file. Images are checked
for completeness before they are decoded: decoders fill what a truncated file lacks with grey.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.poses import valid_poses
from my3dis.errors import DataError

__all__ = [
    "IMAGE_SUFFIXES",
    "decode_color",
    "fingerprint_of",
    "list_files",
    "natural_key",
    "read_bytes",
    "read_color",
    "read_depth_m",
    "read_label_map",
    "read_matrix",
    "read_poses",
    "scan_path",
]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which runs of digits compare as numbers: ``9`` comes before ``10``."""
    pieces = re.split(r"(\d+)", name)
    return tuple((0, int(p), p) if p.isdecimal() else (1, 0, p) for p in pieces if p)


def scan_path(path: Path) -> Path:
    """Return a scan's path in full, with the name it was given.

    A link keeps its own name: runs are filed by it, and links to different scans may well lead to folders
    that are all called ``data``.
    """
    path = path.absolute()
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def list_files(folder: Path, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """Return the files of a folder that have one of the suffixes, in natural order of their names.

    Hidden files (``._x.jpg`` of macOS among them) are no frames and are left out.

    Raises:
        DataError: if the folder is missing or cannot be listed.
    """
    try:
        entries = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"{folder}: expected a readable folder, found {_reason(error)}; check its path and rights"
        ) from error
    return tuple(sorted(entries, key=lambda p: natural_key(p.name)))


def read_bytes(path: Path, what: str) -> bytes:
    """Return a file's content.

    Raises:
        DataError: if it is missing, empty or unreadable; ``what`` says what it should be.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: expected {what}, found {_reason(error)}; restore the file or fix its rights"
        ) from error
    if not data:
        raise DataError(f"{path}: expected {what}, found an empty file; copy it again from its source")
    return data


def read_color(path: Path) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB.

    Raises:
        DataError: if the file is missing, truncated, corrupt or no image.
    """
    return decode_color(read_bytes(path, "a colour image"), str(path))


def decode_color(data: bytes, source: str) -> NDArray[np.uint8]:
    """Decode an image in memory as (H, W, 3) uint8 RGB; ``source`` says where it is from.

    Raises:
        DataError: if it is truncated, corrupt or no image.
    """
    import cv2

    image = _decode_bytes(data, source, "a colour image", cv2.IMREAD_COLOR)
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def read_depth_m(path: Path, *, unit_m: float = 0.001, invalid: Sequence[int] = ()) -> NDArray[np.float32]:
    """Read a depth image as (H, W) float32 metres, 0 where there is no reading.

    Args:
        path: the image file: 16 bits in whole steps, or OpenEXR in metres, for which the rest is of no use.
        unit_m: metres of one step.
        invalid: raw values besides 0 that mean "no reading".

    Raises:
        DataError: if the file is missing, truncated or not a single-channel 16-bit image.
    """
    if path.suffix.lower() == ".exr":
        from my3dis.datasets.exr import read_exr

        metres = read_exr(path)
        metres[~(np.isfinite(metres) & (metres > 0))] = 0
        return metres
    import cv2

    raw = _decode(path, "a 16-bit depth image", cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.ndim != 2:
        raise DataError(
            f"{path}: expected a single-channel 16-bit depth image, found {_describe(raw)}; "
            "export depth as 16-bit PNG in millimetres"
        )
    for value in invalid:
        raw[raw == value] = 0
    return raw.astype(np.float32) * np.float32(unit_m)


def read_label_map(path: Path) -> NDArray[np.int32]:
    """Read an 8- or 16-bit label image as (H, W) int32, 0 = none.

    Raises:
        DataError: if the file is missing, truncated or not single-channel.
    """
    import cv2

    raw = _decode(path, "a label image", cv2.IMREAD_UNCHANGED)
    if raw.ndim != 2 or raw.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: expected a single-channel 8- or 16-bit label image, found {_describe(raw)}; "
            "export label maps as 16-bit PNG"
        )
    return raw.astype(np.int32)


def read_matrix(path: Path, sizes: Sequence[int] = (3, 4)) -> NDArray[np.float64]:
    """Read a square matrix of numbers from a text file, row by row.

    Args:
        path: the text file.
        sizes: numbers of rows that are accepted.

    Raises:
        DataError: if the file is missing, holds something other than numbers, or has another size.
    """
    expected = " or ".join(f"{n}x{n}" for n in sizes) + " numbers"
    text = read_bytes(path, expected)
    values = _numbers(text)
    if values is None:
        raise DataError(f"{path}: expected {expected}, found other text; export the matrix as plain numbers")
    for n in sizes:
        if len(values) == n * n:
            return np.array(values, dtype=np.float64).reshape(n, n)
    raise DataError(f"{path}: expected {expected}, found {len(values)}; export the matrix row by row")


def read_poses(paths: Iterable[Path | None]) -> NDArray[np.float64]:
    """Read camera poses, one row-major 4x4 text file each; never fails.

    Returns:
        (N, 4, 4) float64 ``world_from_camera``; all NaN where the file is missing, unreadable, not 16
        numbers, not finite, or no rigid motion (rotation more than 1e-2 off orthonormal, mirrored, or
        a last row other than 0 0 0 1). Rotations more than 5e-4 off are replaced by the nearest one.
    """
    rows = []
    for path in paths:
        values = None
        if path is not None:
            try:
                values = _numbers(path.read_bytes())
            except OSError:
                values = None  # counted by the caller with all other invalid poses
        rows.append(values if values is not None and len(values) == 16 else [np.nan] * 16)
    return valid_poses(np.array(rows, dtype=np.float64).reshape(-1, 4, 4))


def fingerprint_of(files: Iterable[Path], root: Path, version: str) -> str:
    """Return a SHA-256 over the version and each file's relative name, size and time of change.

    Content is not read: a scan has gigabytes, and every copy or edit changes size or time.

    Raises:
        DataError: if a file has gone.
    """
    digest = hashlib.sha256(f"{version}\n".encode())
    for path in sorted(set(files)):
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(
                f"{path}: expected a file of the scan, found {_reason(error)}; restore it or open it again"
            ) from error
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _numbers(text: bytes) -> list[float] | None:
    try:
        return [float(word) for word in text.replace(b",", b" ").split()]
    except ValueError:
        return None


def _decode(path: Path, what: str, flags: int) -> NDArray[np.generic]:
    return _decode_bytes(read_bytes(path, what), str(path), what, flags)


def _decode_bytes(data: bytes, source: str, what: str, flags: int) -> NDArray[np.generic]:
    import cv2

    problem = _incomplete(data)
    if problem is not None:
        raise DataError(f"{source}: expected {what}, found {problem}; copy the file again from its source")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{source}: expected {what}, found one OpenCV cannot decode: {error.err}") from error
    if image is None:
        raise DataError(
            f"{source}: expected {what}, found {len(data)} bytes that are no image OpenCV can decode; "
            "copy the file again from its source"
        )
    decoded: NDArray[np.generic] = image
    return decoded


def _incomplete(data: bytes) -> str | None:
    """Say what is wrong with an encoded JPEG or PNG, or return None (other formats too)."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_problem(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png_problem(data)
    return None


def _jpeg_problem(data: bytes) -> str | None:
    cut = f"a truncated JPEG file of {len(data)} bytes"
    at = 2
    # Thumbnails carry end markers of their own, so those before the scan data do not count.
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:  # start of scan
            return None if data.find(b"\xff\xd9", at + 2 + length) >= 0 else cut
        at += 2 + length
    return cut


def _png_problem(data: bytes) -> str | None:
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            break
        kind = data[at + 4 : at + 8]
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return f"a corrupt PNG file (checksum of chunk {kind!r} at byte {at})"
        if kind == b"IEND":
            return None
        at = end
    return f"a truncated PNG file of {len(data)} bytes"


def _describe(image: NDArray[np.generic]) -> str:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return f"{channels} channel(s) of {image.dtype}"


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
