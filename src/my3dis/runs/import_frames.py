"""What the stages of an import share: numbering frames, joining levels, sizes, parents and warnings."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from my3dis.archive import open_archive
from my3dis.archive.legacy import LegacyFrame, LegacyItem, LegacyRun, frame_tree
from my3dis.archive.legacy.masks import LegacyMask, resized
from my3dis.errors import DataError
from my3dis.masks.build import from_codes
from my3dis.protocols import SceneReader
from my3dis.runs.absent_scan import AbsentScan
from my3dis.runs.layout import RunLayout
from my3dis.stages.context import StageContext, StageWarning
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = [
    "FrameNumbers",
    "Head",
    "ImportSource",
    "Sizes",
    "masks_of",
    "misfits",
    "parents_of",
    "side_by_side",
    "warn",
    "warn_of_names",
    "warn_of_sizes",
    "warn_resized",
    "with_pixels",
]

FrameNumbers = Callable[[int, str | None], int]
"""Gives the frame of the scan for a recorded frame's number and name."""


@dataclass(frozen=True, slots=True)
class ImportSource:
    """What an import reads.

    Attributes:
        run: the old run.
        number_of: how it numbers frames.
        image_size: (H, W) to bring all masks to; None leaves them as recorded.
    """

    run: LegacyRun
    number_of: FrameNumbers
    image_size: tuple[int, int] | None = None

    def sizes(self, default: tuple[int, int]) -> Sizes:
        """Return the rule for sizes; frames before the first mask have the default."""
        return Sizes(self.image_size or default, self.image_size)


class Head(NamedTuple):
    """What a level has of a frame; heads sort by frame, then level."""

    frame: int
    level: int
    content: LegacyFrame


@dataclass(slots=True)
class Sizes:
    """Brings the masks of a frame to one size, counting those that had another.

    Attributes:
        size: (H, W) of the latest frame with masks.
        wanted: the size of all frames; None leaves each as most of its masks were recorded.
        resized: masks that had another size.
    """

    size: tuple[int, int]
    wanted: tuple[int, int] | None = None
    resized: int = 0

    def fit(self, masks: Sequence[LegacyMask], before: tuple[int, int] | None = None) -> list[LegacyMask]:
        """Return the masks at one size: that of masks before them, the wanted one, or most masks' own."""
        if before or self.wanted:
            self.size = before or self.wanted or self.size
        elif masks:
            self.size = Counter(mask.image_size for mask in masks).most_common(1)[0][0]
        self.resized += sum(mask.image_size != self.size for mask in masks)
        return [resized(mask, self.size) for mask in masks]


def side_by_side(
    source: ImportSource, levels: Mapping[int, Iterator[LegacyFrame]]
) -> Iterator[tuple[int, list[Head]]]:
    """Yield what every level has of a frame, frame by frame.

    Raises:
        DataError: if a level's frames are not in the order of the scan.
    """

    def heads(level: int, frames: Iterator[LegacyFrame]) -> Iterator[Head]:
        last = -1
        for content in frames:
            frame = source.number_of(content.index, content.name)
            if frame <= last:
                raise DataError(
                    f"{source.run.root}: expected frames in the order of the scan, found frame {frame} after "
                    f"{last}; manifest.json and the frame numbers do not fit"
                )
            last = frame
            yield Head(frame, level, content)

    merged = heapq.merge(*(heads(level, levels[level]) for level in levels), key=lambda head: head[:2])
    waiting: list[Head] = []
    for head in merged:
        if waiting and head.frame != waiting[0].frame:
            yield waiting[0].frame, waiting
            waiting = []
        waiting.append(head)
    if waiting:
        yield waiting[0].frame, waiting


def with_pixels(heads: Sequence[Head]) -> list[tuple[int, LegacyItem, LegacyMask]]:
    """Return (level, item, mask) of everything in a frame that has pixels, in the order of the files."""
    return [
        (head.level, item, item.mask)
        for head in heads
        for item in head.content.items
        if item.mask is not None
    ]


def masks_of(frame: int, heads: Sequence[Head], sizes: Sizes, parents: NDArray[np.int32]) -> MaskSet:
    """Return the candidates of a frame that have pixels, numbered from 0."""
    found = with_pixels(heads)
    codes = [mask.rle for mask in sizes.fit([mask for _, _, mask in found])]
    is_gap = [item.is_gap for _, item, _ in found]
    return from_codes(
        codes,
        frame=frame,
        image_size=sizes.size,
        mask_id=np.arange(len(codes)),
        level=np.array([level for level, _, _ in found], np.int16),
        parent_id=parents,
        stability=np.array([item.stability for _, item, _ in found], np.float32),
        source=np.where(is_gap, MaskSource.GAP, MaskSource.CANDIDATE),
    )


def parents_of(run: LegacyRun, heads: Sequence[Head]) -> NDArray[np.int32]:
    """Return the new id of every mask's parent: by recorded ids, else by the frame's tree, else -1."""
    items = [(h, position, item) for h in heads for position, item in enumerate(h.content.items)]
    with_mask = [entry for entry in items if entry[2].mask is not None]
    number: dict[int, int] = {}
    parent_of: list[int | None] = []
    if any(item.unique_id is not None for _, _, item in with_mask):
        number = {item.unique_id: n for n, (_, _, item) in enumerate(with_mask) if item.unique_id is not None}
        parent_of = [item.parent_unique_id for _, _, item in with_mask]
    else:
        name = next((h.content.name for h in heads if h.content.name), None)
        nodes = frame_tree(run, name)
        for n, (head, position, _) in enumerate(with_mask):
            own = [node for node in nodes if node.level == head.level]
            real = sum(not item.is_gap for item in head.content.items)
            fits = len(own) == real and position < real
            parent_of.append(own[position].parent if fits else None)
            number |= {own[position].id: n} if fits else {}
    parents = [NO_ID if parent is None else number.get(parent, NO_ID) for parent in parent_of]
    return np.array(parents, np.int32)


def warn(context: StageContext, stage: str, reason: str, message: str, level: int | None = None) -> None:
    """Hand over a warning."""
    context.warn(StageWarning(stage=stage, reason=reason, message=message, level=level))


def warn_resized(context: StageContext, stage: str, count: int) -> None:
    """Say how many masks do not have the size at which they were recorded."""
    if count:
        warn(
            context,
            stage,
            "resized",
            f"{count} masks were recorded at another size than the rest of their frame or the scan's images; "
            "they were brought to that size by nearest neighbour",
        )


def misfits(layout: RunLayout, reader: SceneReader) -> list[tuple[str, tuple[int, int]]]:
    """Return name and (H, W) of archives whose masks have another size than the scan's images."""
    if isinstance(reader, AbsentScan):
        return []
    found = []
    for path in (layout.candidates, layout.masks, layout.tracks):
        if not path.is_file():
            continue
        with open_archive(path) as archive:
            frames = archive.frames()
            size = archive.image_size(frames[0]) if frames else reader.overview.image_size
        if size != reader.overview.image_size:
            found.append((path.name, size))
    return found


def warn_of_sizes(context: StageContext, stage: str) -> None:
    """Say which archives have masks of another size than the scan's images."""
    rows, columns = context.reader.overview.image_size
    for name, (height, width) in misfits(context.layout, context.reader):
        warn(
            context,
            stage,
            "image_size",
            f"{name} has masks of {width}x{height}, the scan images of {columns}x{rows}; stages that read "
            "both need masks imported with --resize",
        )


def warn_of_names(context: StageContext, stage: str, source: ImportSource) -> None:
    """Say when the first selected frame has another name in the scan: it may be the wrong scan."""
    names = source.run.manifest.selected_frames
    if not names or isinstance(context.reader, AbsentScan):
        return
    position = source.run.position_of(0, names[0])
    frame = source.number_of(0, names[0])
    # Old runs and exported ones number frames whose names they do not know.
    expected, found = Path(names[0]).stem, context.reader.frame(frame).name
    if frame == position and expected not in (found, f"{position:05d}"):
        warn(
            context,
            stage,
            "frame_names",
            f"frame {frame} is called {expected!r} in the old run and {found!r} in "
            f"{context.reader.overview.root}; if that is another scan, import again with the right --scan",
        )
