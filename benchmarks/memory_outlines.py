"""Outlines for the memory benchmark: real ones of recorded masks where they are, ragged blobs elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.masks import codec

__all__ = ["SOURCES", "find_outlines"]

SOURCES = ("auto", "recorded", "sav", "blobs")
_POOL = 64
_SIDE = 320
_LEAST_PIXELS = 2_000
_LEAST_FILL = 0.25

Outline = tuple[int, int, str]


def find_outlines(source: str, seed: int) -> tuple[str, tuple[Outline, ...]]:
    """Return where outlines come from, in words, and up to 64 of them as (height, width, counts).

    Args:
        source: ``recorded`` (tracks of a recorded run), ``sav`` (SA-V masklets), ``blobs``, or ``auto``: the
            first of these that is there. Data is sought as the tests do: in the folder that the variable
            MY3DIS_TEST_DATA names, else in ``../shared/data`` beside the checkout.
        seed: for the choice.
    """
    folder = Path(os.environ.get("MY3DIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    rng = np.random.default_rng(seed)
    files = {
        "recorded": (folder / "recorded_multiscan" / "sam2" / "level_2.json", _recorded),
        "sav": (folder / "sav_masklets" / "sav_000001_auto.json", _masklets),
    }
    for name, (path, read) in files.items():
        if source in ("auto", name) and path.is_file():
            shapes = [
                shape for shape in map(_usable, read(json.loads(path.read_text()))) if shape is not None
            ]
            chosen = rng.permutation(len(shapes))[:_POOL]
            words = "recorded tracks of a scan" if name == "recorded" else "SA-V masklets"
            return f"{len(chosen)} outlines of {words}", tuple(_coded(shapes[i]) for i in chosen)
        if source == name:
            raise SystemExit(f"expected {path}, found none; set MY3DIS_TEST_DATA or use --shapes blobs")
    return f"{_POOL} procedural blobs", tuple(_coded(_blob(rng)) for _ in range(_POOL))


def _recorded(content: dict[str, object]) -> Iterator[NDArray[np.bool_]]:
    """Yield masks of a recorded run: ``{"size", "frames": {frame: {object: counts}}}``."""
    for objects in content["frames"].values():  # type: ignore[attr-defined]
        for counts in objects.values():
            yield codec.decode(counts.encode(), tuple(content["size"]))  # type: ignore[arg-type]


def _masklets(content: dict[str, object]) -> Iterator[NDArray[np.bool_]]:
    """Yield masks of SA-V: ``masklet[time][object]``, a code each, every eighth time."""
    for objects in content["masklet"][::8]:  # type: ignore[index]
        for code in objects:
            yield codec.decode(code["counts"].encode(), tuple(code["size"]))


def _usable(mask: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    """Return a mask cropped and resized to 320 pixels, None where it is small or mostly holes."""
    import cv2

    if int(mask.sum()) < _LEAST_PIXELS:
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if crop.mean() < _LEAST_FILL or max(crop.shape) > 4 * min(crop.shape):
        return None
    factor = _SIDE / max(crop.shape)
    size = (max(8, round(crop.shape[1] * factor)), max(8, round(crop.shape[0] * factor)))
    return cv2.resize(crop.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def _blob(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a star-shaped region with a noisy border, as segmenters give."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    angle = np.arctan2(rows, columns)
    limit = np.full_like(angle, _SIDE * 0.36)
    for order in range(1, 6):
        limit += rng.uniform(0, 0.1) * _SIDE / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    limit += rng.normal(0, 1.5, limit.shape)
    shape = _usable(np.hypot(rows, columns) < limit)
    assert shape is not None
    return shape


def _coded(shape: NDArray[np.uint8]) -> Outline:
    return (*shape.shape, codec.encode(shape).decode())
