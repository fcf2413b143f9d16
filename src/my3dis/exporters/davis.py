"""Tracks as DAVIS palette images: one PNG per frame and level, the value of a pixel is the object.

``OUT`` is a folder::

    level_2/<scene>/00000.png, ...       8-bit PNG with the palette of DAVIS, named after the frame's index
    level_4/<scene>/00000.png, ...       each level folder is a folder of results for DAVIS' evaluator
    level_4_more_1/<scene>/...           objects beyond the 254th, where a level has more
    <scene>.json                         the rule, what it hid, and the track of every value

A palette has no room for overlaps. Where masks of one level overlap, ``overlaps=small`` (default) shows the
smaller mask, ``overlaps=sure`` the one of higher score (of equals, the smaller mask; then the smaller id).
Objects are numbered from 1 in the order of their appearance; 0 is no object and 255, which DAVIS ignores, is
never used. Memory holds one frame.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import ArchiveReader, open_archive
from my3dis.errors import DataError
from my3dis.exporters.run_folder import LEVEL_OPTION, chosen_levels, scene_of, tracks_of
from my3dis.exporters.writing import new_file, remove
from my3dis.masks.codec import decode_crop
from my3dis.protocols import ExporterPlugin, ExportOption
from my3dis.types import NO_ID, MaskSet

__all__ = ["OBJECTS_PER_IMAGE", "PLUGIN", "davis_palette", "palette_png"]

OBJECTS_PER_IMAGE = 254
"""0 is no object, 255 stands for what DAVIS does not score."""

_RULES = {
    "small": "where masks of a level overlap, the smaller one is on top",
    "sure": "where masks of a level overlap, the one of higher score is on top; of equals, the smaller one",
}


def davis_palette() -> NDArray[np.uint8]:
    """Return the (256, 3) uint8 RGB palette of PASCAL VOC, which DAVIS uses.

    The bits of an index, lowest first and by threes, are those of red, green and blue, highest first.
    """
    index = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colors


def palette_png(labels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return (H, W) uint8 labels as a PNG whose pixels are indices into a (256, 3) uint8 RGB palette."""
    height, width = labels.shape
    # Each row begins with the number of its filter: none, which suits labels best.
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = labels
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    pieces = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 6)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*piece) for piece in (*pieces, (b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass(slots=True)
class _Level:
    """What is known of a level.

    Attributes:
        level: its number.
        rank_of: position of each track by its first appearance.
        masks, hidden_masks, hidden_px, shared_px: masks drawn, those of which nothing is seen, pixels of
            masks that others cover, and pixels that several masks claim.
    """

    level: int
    rank_of: dict[int, int] = field(default_factory=dict)
    masks: int = 0
    hidden_masks: int = 0
    hidden_px: int = 0
    shared_px: int = 0

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders that hold the level's objects, `OBJECTS_PER_IMAGE` each."""
        count = max(1, -(-len(self.rank_of) // OBJECTS_PER_IMAGE))
        more = (f"level_{self.level}_more_{part}" for part in range(1, count))
        return (f"level_{self.level}", *more)

    def summary(self) -> dict[str, object]:
        """Return what ``<scene>.json`` says of the level."""
        parts: list[dict[str, object]] = [{"folder": folder, "track_of": {}} for folder in self.folders]
        for track, rank in self.rank_of.items():
            values = parts[rank // OBJECTS_PER_IMAGE]["track_of"]
            assert isinstance(values, dict)
            values[str(rank % OBJECTS_PER_IMAGE + 1)] = track
        counts = ("masks", "hidden_masks", "hidden_px", "shared_px")
        return {"level": self.level, **{name: getattr(self, name) for name in counts}, "folders": parts}


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes some levels, with overlaps resolved by one rule."""

    level: str = "all"
    overlaps: str = "small"

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's tracks and return the paths of the description and of the folders of images.

        Raises:
            DataError: if the run has no tracks, or the folder holds images that are not of this run.
            ArchiveError: if the archive is damaged.
            ConfigError: if the run has no such level.
            ResourceError: if a file cannot be written.
        """
        scene = scene_of(run_dir)
        with open_archive(tracks_of(run_dir)) as reader:
            chosen = chosen_levels(reader.levels(), self.level)
            levels = [_Level(level) for level in chosen]
            _number_tracks(reader, levels)
            names = {f"{frame:05d}.png" for frame in reader.frames()}
            for level in levels:
                for folder in level.folders:
                    _require_no_others(out / folder / scene, names)
            remove(out / f"{scene}.json")
            for level in levels:
                self._draw(reader, level, out, scene)
        description = out / f"{scene}.json"
        with new_file(description) as unfinished:
            text = json.dumps(self._description(scene, levels), indent=1)
            unfinished.write_text(text + "\n", encoding="utf-8")
        folders = (out / folder / scene for level in levels for folder in level.folders)
        return (description, *folders)

    def _draw(self, reader: ArchiveReader, level: _Level, out: Path, scene: str) -> None:
        palette = davis_palette()
        for masks in reader.iter_frames(level.level):
            ranks = self._painted(masks, level)
            for part, folder in enumerate(level.folders):
                first = part * OBJECTS_PER_IMAGE
                inside = (ranks >= first) & (ranks < first + OBJECTS_PER_IMAGE)
                labels = np.where(inside, ranks - first + 1, 0).astype(np.uint8)
                path = out / folder / scene / f"{masks.frame:05d}.png"
                with new_file(path) as unfinished:
                    unfinished.write_bytes(palette_png(labels, palette))

    def _painted(self, masks: MaskSet, level: _Level) -> NDArray[np.int32]:
        """Return the (H, W) int32 rank of the track that is on top of each pixel, -1 = none."""
        ranks = np.full(masks.image_size, NO_ID, np.int32)
        claims = np.zeros(masks.image_size, np.bool_)
        shared = np.zeros(masks.image_size, np.bool_)
        drawn: dict[int, int] = {}
        for k in self._from_below(masks):
            x0, y0, x1, y1 = masks.boxes[k].tolist()
            inside = decode_crop(masks.rle[k], masks.image_size, masks.boxes[k])
            rank = level.rank_of[int(masks.track_id[k])]
            ranks[y0:y1, x0:x1][inside] = rank
            shared[y0:y1, x0:x1] |= claims[y0:y1, x0:x1] & inside
            claims[y0:y1, x0:x1] |= inside
            drawn[rank] = drawn.get(rank, 0) + int(masks.area_px[k])
        seen = np.bincount(ranks[claims], minlength=len(level.rank_of))
        level.masks += len(drawn)
        level.hidden_masks += sum(area > 0 and not int(seen[rank]) for rank, area in drawn.items())
        level.hidden_px += sum(drawn.values()) - int(claims.sum())
        level.shared_px += int(shared.sum())
        return ranks

    def _from_below(self, masks: MaskSet) -> list[int]:
        """Return the positions of tracked masks in the order in which they are painted."""
        score = np.nan_to_num(masks.score, nan=-np.inf) if self.overlaps == "sure" else np.zeros(len(masks))
        order = np.lexsort((-masks.track_id.astype(np.int64), -masks.area_px, score))
        return [int(k) for k in order if masks.track_id[k] != NO_ID]

    def _description(self, scene: str, levels: list[_Level]) -> Mapping[str, object]:
        return {
            "scene": scene,
            "overlaps": self.overlaps,
            "rule": _RULES[self.overlaps],
            "levels": [level.summary() for level in levels],
        }


def _number_tracks(reader: ArchiveReader, levels: list[_Level]) -> None:
    """Number the tracks of each level by their first appearance, those of a frame by their ids."""
    by_number = {level.level: level for level in levels}
    for masks in reader.iter_frames():
        for track, number in sorted(zip(masks.track_id.tolist(), masks.level.tolist(), strict=True)):
            level = by_number.get(number)
            if track != NO_ID and level is not None and track not in level.rank_of:
                level.rank_of[track] = len(level.rank_of)


def _require_no_others(folder: Path, names: set[str]) -> None:
    """Refuse a folder with images of other frames: readers would take them for this export's."""
    others = sorted(path.name for path in folder.glob("*.png") if path.name not in names)
    if others:
        raise DataError(
            f"{folder}: expected a new folder or one of the same frames, found {len(others)} other images "
            f"such as {others[0]}; delete the folder or choose another place"
        )


PLUGIN = ExporterPlugin(
    summary="tracks as DAVIS palette images, one per frame and level",
    export=_Export(),
    options=(
        LEVEL_OPTION,
        ExportOption(
            name="overlaps", values=tuple(_RULES), summary="which of overlapping masks of a level is shown"
        ),
    ),
    with_options=lambda chosen: _Export(**chosen),
)
