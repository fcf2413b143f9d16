"""Old-style files written by hand with the standard library and NumPy, knowing nothing of the package."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Tracks = Mapping[int, Mapping[int, Mask]]
"""Frame → object → mask."""


def blob(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """A ragged mask with a hole somewhere in the image."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(3, min(size) / 2)
    mask = (y - cy) ** 2 + (x - cx) ** 2 < (r + 3 * np.sin(x / 2)) ** 2
    mask[int(cy) % height, int(cx) % width] = False
    return mask


def some_tracks(
    seed: int, frames: Sequence[int], size: tuple[int, int] = (31, 45)
) -> dict[int, dict[int, Mask]]:
    """Masks of objects 1, 2, ... on the given frames; objects come and go, one mask is empty."""
    rng = np.random.default_rng(seed)
    tracks = {f: {o: blob(rng, size) for o in range(1 + k % 2, 4 + k % 3)} for k, f in enumerate(frames)}
    first = tracks[frames[0]]
    first[next(iter(first))] = np.zeros(size, np.bool_)
    return tracks


def packed_json(mask: Mask) -> dict[str, object]:
    bits = np.packbits(mask.reshape(-1))
    return {"shape": list(mask.shape), "packed_bits_b64": base64.b64encode(bits.tobytes()).decode()}


def write_json_zip(path: Path, tracks: Tracks, name_of: Mapping[int, str] | None = None) -> None:
    """The last layout: a zip of one JSON per frame and a manifest; masks keep a leading axis of 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = name_of or {}
    listing = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for frame, objects in tracks.items():
            entry = f"frames/frame_{frame:06d}.json"
            packed = {str(o): packed_json(m[None]) for o, m in objects.items()}
            value = {"frame_index": frame, "frame_name": names.get(frame), "objects": packed}
            archive.writestr(entry, json.dumps(value))
            listing.append({"frame_index": frame, "entry": entry, "objects": sorted(packed)})
        meta = {"level": 2, "mask_scale_ratio": 1.0}
        archive.writestr("manifest.json", json.dumps({"meta": meta, "frames": listing}))


def write_pickled_dense(path: Path, tracks: Tracks, dtype: type = np.uint8) -> None:
    """The first layout: one pickled dictionary of dense masks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        str(f): {str(o): m[None].astype(dtype) for o, m in objects.items()} for f, objects in tracks.items()
    }
    np.savez_compressed(path, data=np.array(data, dtype=object))


def write_pickled_packed(path: Path, tracks: Tracks) -> None:
    """The layout between: one pickled dictionary of packed bits."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def packed(mask: Mask) -> dict[str, object]:
        return {"packed_bits": np.packbits(mask.reshape(-1)), "shape": tuple(int(s) for s in mask.shape)}

    data = {str(f): {str(o): packed(m[None]) for o, m in objects.items()} for f, objects in tracks.items()}
    np.savez_compressed(path, data=np.array(data, dtype=object))


def write_pickled_list(path: Path, tracks: Tracks) -> None:
    """An array of dictionaries {object: mask}, one for each frame from 0 on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.empty(len(tracks), dtype=object)
    for position, objects in enumerate(tracks.values()):
        data[position] = dict(objects)
    np.savez_compressed(path, data=data)


def item(mask: Mask, frame: int, level: int, name: str) -> dict[str, object]:
    """A candidate as old runs describe it; the box ends on the last pixel."""
    ys, xs = np.nonzero(mask)
    x0, y0, x1, y1 = (int(v) for v in (xs.min(), ys.min(), xs.max(), ys.max()))
    return {
        "frame_idx": frame,
        "frame_name": name,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": int(mask.sum()),
        "stability_score": 0.75,
        "level": level,
    }


def write_candidates(path: Path, items: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"items": list(items)}, indent=2))


def write_filtered(path: Path, frames: Mapping[int, Sequence[tuple[Mapping[str, object], Mask]]]) -> None:
    """``filtered.json`` with the pixels in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listing = []
    for frame, kept in frames.items():
        items = [{**meta, "id": k, "mask": packed_json(mask)} for k, (meta, mask) in enumerate(kept)]
        listing.append(
            {"frame_idx": frame, "frame_name": f"{frame}.png", "count": len(items), "items": items}
        )
    path.write_text(json.dumps({"frames": listing}, indent=2))


def masks_npz(masks: Sequence[Mask | None], *, packed: bool = True) -> bytes:
    """``masks.npz`` of a frame of raw candidates, as ``np.savez_compressed`` writes it."""
    shape = next(m.shape for m in masks if m is not None)
    whole = np.stack([np.zeros(shape, np.bool_) if m is None else m for m in masks])
    buffer = io.BytesIO()
    has_mask = np.array([m is not None for m in masks])
    if packed:
        bits = np.packbits(whole.reshape(len(masks), -1), axis=1)
        shape_array = np.array(shape, np.int32)
        np.savez_compressed(buffer, packed_masks=bits, mask_shape=shape_array, has_mask=has_mask)
    else:
        np.savez_compressed(buffer, masks=whole, has_mask=has_mask)
    return buffer.getvalue()


def write_raw_chunks(
    folder: Path,
    frames: Mapping[int, Sequence[tuple[Mapping[str, object], Mask | None]]],
    *,
    per_chunk: int = 2,
    compression: str = "gz",
) -> None:
    """The folder ``raw``: chunks of frames and a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    suffix = f".tar.{compression}" if compression else ".tar"
    numbers = list(frames)
    listing, chunks = [], []
    for first in range(0, len(numbers), per_chunk):
        name = f"chunk_{first // per_chunk:04d}{suffix}"
        some = numbers[first : first + per_chunk]
        with tarfile.open(folder / name, f"w:{compression}") as chunk:
            for frame in some:
                content = frames[frame]
                stem = f"frame_{frame:05d}"
                meta = {
                    "frame_idx": frame,
                    "frame_name": f"{frame}.png",
                    "candidates": [{**m, "raw_index": k} for k, (m, _) in enumerate(content)],
                }
                for entry, data in (
                    (f"{stem}/meta.json", json.dumps(meta).encode()),
                    (f"{stem}/masks.npz", masks_npz([mask for _, mask in content])),
                ):
                    info = tarfile.TarInfo(entry)
                    info.size = len(data)
                    chunk.addfile(info, io.BytesIO(data))
                listing.append({"frame_idx": frame, "chunk": name, "meta_entry": f"{stem}/meta.json"})
        chunks.append({"name": name, "frame_indices": some})
    (folder / "manifest.json").write_text(json.dumps({"frames": listing, "chunks": chunks}))
