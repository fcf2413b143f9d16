"""Write raw candidates as the earlier system's chunks: tar files of 32 frames, a mask in memory at a time."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np

from my3dis.archive import ArchiveReader
from my3dis.exporters.legacy_segments import candidate_item, frame_file, member_of, write_array_header
from my3dis.masks.codec import decode
from my3dis.types import MaskSet

__all__ = ["write_raw"]

_FRAMES_PER_CHUNK = 32
_SPOOL_BYTES = 1 << 22
_FORMAT = "my3dis.raw_candidates.v1"

Writer = Callable[[Path, Callable[[Path], None]], Path]
"""Lets a file appear when it is complete: given its place and what writes it, returns the place."""


def write_raw(folder: Path, reader: ArchiveReader, level: int, written: Writer) -> tuple[Path, ...]:
    """Write ``chunk_0000.tar.gz``, ... and ``manifest.json`` for the candidates of a level."""
    frames = reader.frames()
    paths, listing, chunks = [], [], []
    for first in range(0, len(frames), _FRAMES_PER_CHUNK):
        some = frames[first : first + _FRAMES_PER_CHUNK]
        name = f"chunk_{first // _FRAMES_PER_CHUNK:04d}.tar.gz"
        paths.append(written(folder / name, _ChunkWriter(reader, level, some)))
        chunks.append({"name": name, "frame_indices": some})
        for frame in some:
            stem = f"frame_{frame:05d}"
            names = {"meta_entry": f"{stem}/meta.json", "mask_entry": f"{stem}/masks.npz"}
            head = {"frame_idx": frame, "frame_name": frame_file(frame), "chunk": name}
            listing.append({**head, **names})
    manifest = {
        "format": _FORMAT,
        "chunk_size": _FRAMES_PER_CHUNK,
        "compression": "gz",
        "frames": listing,
        "chunks": chunks,
    }

    def write_manifest(path: Path) -> None:
        path.write_text(json.dumps(manifest), encoding="utf-8")

    return (*paths, written(folder / "manifest.json", write_manifest))


class _ChunkWriter:
    """Writes some frames of a level as one tar file."""

    def __init__(self, reader: ArchiveReader, level: int, frames: Sequence[int]) -> None:
        self._reader = reader
        self._level = level
        self._frames = frames

    def __call__(self, path: Path) -> None:
        """Write the file."""
        with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT, compresslevel=1) as chunk:
            for frame in self._frames:
                masks = self._reader.frame(frame, self._level)
                stem = f"frame_{frame:05d}"
                meta = json.dumps(_meta(masks)).encode()
                _add(chunk, f"{stem}/meta.json", io.BytesIO(meta), len(meta))
                with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spooled:
                    _write_masks(cast("IO[bytes]", spooled), masks)
                    size = spooled.tell()
                    spooled.seek(0)
                    _add(chunk, f"{stem}/masks.npz", cast("IO[bytes]", spooled), size)


def _meta(masks: MaskSet) -> dict[str, object]:
    candidates = [{**candidate_item(masks, k), "raw_index": k} for k in range(len(masks))]
    head = {"frame_idx": masks.frame, "frame_name": frame_file(masks.frame)}
    return {**head, "candidate_count": len(masks), "candidates": candidates}


def _add(chunk: tarfile.TarFile, name: str, source: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    chunk.addfile(info, source)


def _write_masks(target: IO[bytes], masks: MaskSet) -> None:
    """Write ``packed_masks`` (N, bytes) uint8, ``mask_shape`` (2,) int32 and ``has_mask`` (N,) bool."""
    n, (height, width) = len(masks), masks.image_size
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with member_of(archive, "packed_masks.npy") as member:
            write_array_header(member, (n, (height * width + 7) // 8), "|u1")
            for rle in masks.rle:
                member.write(np.packbits(decode(rle, masks.image_size).reshape(-1)).tobytes())
        with member_of(archive, "mask_shape.npy") as member:
            write_array_header(member, (2,), "<i4")
            member.write(np.array(masks.image_size, "<i4").tobytes())
        with member_of(archive, "has_mask.npy") as member:
            write_array_header(member, (n,), "|b1")
            member.write(np.ones(n, np.bool_).tobytes())
    target.seek(0, io.SEEK_END)
