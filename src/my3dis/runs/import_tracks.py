"""The last stage of an import: tracked masks of an old run, and who is part of whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from my3dis.archive import ArchiveReader, StreamingSegmentWriter, discard_archive, open_archive
from my3dis.archive.legacy import LegacyFrame, LegacyLevel, iter_segments, object_trees
from my3dis.archive.legacy.relations import ObjectTree
from my3dis.masks.build import from_codes
from my3dis.masks.codec import to_rle_mask
from my3dis.runs.import_frames import (
    ImportSource,
    Sizes,
    warn,
    warn_of_names,
    warn_of_sizes,
    warn_resized,
)
from my3dis.runs.relations import Relations, save_relations
from my3dis.stages.context import StageContext, StageOutcome
from my3dis.tracking.relations import Containment, TrackParent
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["ImportTracks"]

ObjectKey = tuple[int, int]
"""Level and object id of an old run; its object ids repeat from level to level."""


@dataclass(slots=True)
class _Shares:
    """Pixels that tracks share with their recorded parents, and all their pixels."""

    parent_of: Mapping[int, int]
    shared: dict[int, int] = field(default_factory=dict)
    total: dict[int, int] = field(default_factory=dict)

    def observe(self, rows: MaskSet) -> None:
        at = {track: position for position, track in enumerate(rows.track_id.tolist())}
        for track, position in at.items():
            self.total[track] = self.total.get(track, 0) + int(rows.area_px[position])
            parent = at.get(self.parent_of.get(track, NO_ID))
            if parent is None:
                continue
            child = to_rle_mask(rows.rle[position], rows.image_size)
            both = child & to_rle_mask(rows.rle[parent], rows.image_size)
            self.shared[track] = self.shared.get(track, 0) + int(both.area())

    def share(self, track: int) -> float:
        return self.shared.get(track, 0) / max(1, self.total.get(track, 0))


@dataclass(slots=True)
class ImportTracks:
    """Tracked masks; object ids of all levels become one range of track ids."""

    source: ImportSource
    NAME: str = "track"
    CONFIG_FIELDS: tuple[str, ...] = ()
    INPUTS: tuple[str, ...] = ("masks",)
    OUTPUTS: tuple[str, ...] = ("tracks", "relations")
    _track_of: dict[ObjectKey, int] = field(default_factory=dict, init=False)
    _empty: int = field(default=0, init=False)

    def run(self, context: StageContext) -> StageOutcome:
        """Write ``tracks.my3dis`` and ``relations.json``; begins anew after a kill.

        Raises:
            DataError, ArchiveError: if a file of the old run is damaged or hostile.
        """
        layout = context.layout
        levels = [level for level in self.source.run.levels if level.segments is not None]
        self._warn_missing(context)
        warn_of_names(context, self.NAME, self.source)
        discard_archive(layout.tracks)
        layout.relations.unlink(missing_ok=True)
        if not levels:
            warn_of_sizes(context, self.NAME)
            return StageOutcome(skipped="the old run has no tracked masks")
        sizes = self.source.sizes(context.reader.overview.image_size)
        total, done = 2 * max(1, len(context.frames)) * len(levels), 0
        with (
            StreamingSegmentWriter(
                layout.tracks, purpose="tracks", stage_digest=context.stage_digest
            ) as writer,
            open_archive(layout.tracks) as written,
        ):
            known: set[int] = set()
            for level, content in _frames(levels):
                frame = self.source.number_of(content.index, content.name)
                before = written.frame(frame) if frame in known else None
                writer.append_frame(frame, self._rows(frame, level, content, before, sizes))
                known.add(frame)
                done += 1
                context.progress(min(done, total - 1), total)
        warn_resized(context, self.NAME, sizes.resized)
        warn_of_sizes(context, self.NAME)
        parents = self._relations(context)
        save_relations(layout.relations, Relations(parents=parents))
        return self._outcome(context, parents)

    def _rows(
        self, frame: int, level: int, content: LegacyFrame, before: MaskSet | None, sizes: Sizes
    ) -> MaskSet:
        """Return the rows of a frame and level, numbered behind those that are there."""
        masks = [item.mask for item in content.items if item.mask is not None]
        is_first = before is None or not len(before)
        masks = sizes.fit(masks, None if before is None or is_first else before.image_size)
        first_id = 0 if before is None or is_first else int(before.mask_id.max()) + 1
        keys = [(level, item.object_id or 0) for item in content.items]
        tracks = [self._track_of.setdefault(key, len(self._track_of)) for key in keys]
        rows = from_codes(
            [mask.rle for mask in masks],
            frame=frame,
            image_size=sizes.size,
            mask_id=np.arange(first_id, first_id + len(masks)),
            level=level,
            source=MaskSource.TRACK,
            track_id=np.array(tracks, np.int32),
        )
        self._empty += int((rows.area_px == 0).sum())
        return rows

    def _warn_missing(self, context: StageContext) -> None:
        for level in self.source.run.levels:
            if level.segments is None:
                warn(context, self.NAME, "no_tracking", "the old run has no tracked masks here", level.level)
            if level.other_segments:
                names = ", ".join(path.name for path in level.other_segments)
                message = f"{names} hold the same tracks at other sizes and were not read"
                warn(context, self.NAME, "other_segments", message, level.level)

    def _relations(self, context: StageContext) -> tuple[TrackParent, ...]:
        """Return every track with its recorded parent, or where none was recorded, with a measured one."""
        tree = next((t for t in object_trees(self.source.run) if self._fits(context, t)), None)
        with open_archive(context.layout.tracks) as written:
            if tree is None:
                warn(
                    context,
                    self.NAME,
                    "no_relations",
                    "the old run has no tree over its tracks; parents were measured by containment",
                )
                containment = Containment()
                for rows in _counted(context, written):
                    containment.observe(rows)
                return containment.parents()
            parent_of = {
                self._track_of[child]: self._track_of[parent]
                for child, parent in tree.parents().items()
                if child in self._track_of
            }
            shares = _Shares(parent_of)
            for rows in _counted(context, written):
                shares.observe(rows)
        return tuple(
            TrackParent(
                track_id=track,
                level=level,
                parent_id=parent_of.get(track, NO_ID),
                containment=min(1.0, shares.share(track)),
            )
            for (level, _), track in self._track_of.items()
        )

    def _fits(self, context: StageContext, tree: ObjectTree) -> bool:
        """Tell whether a tree speaks of tracked objects; some speak of the candidates of one frame."""
        strange = sum((node.level, node.id) not in self._track_of for node in tree.nodes)
        if strange:
            warn(
                context,
                self.NAME,
                "other_relations",
                f"{tree.path.name} names {strange} objects that were not tracked; it was not used",
            )
        return not strange and bool(tree.nodes)

    def _outcome(self, context: StageContext, parents: tuple[TrackParent, ...]) -> StageOutcome:
        linked = sum(entry.parent_id != NO_ID for entry in parents)
        with open_archive(context.layout.tracks) as written:
            count = written.count()
            facts = [(f"level_{level}", n) for level, n in written.count_by_level()]
        return StageOutcome(
            masks_in=count,
            masks_out=count,
            facts=(
                ("tracks", len(self._track_of)),
                ("tracks_with_parent", linked),
                *facts,
                ("empty_masks", self._empty),
            ),
        )


def _frames(levels: list[LegacyLevel]) -> Iterator[tuple[int, LegacyFrame]]:
    for level in levels:
        if level.segments is not None:
            for content in iter_segments(level.segments):
                yield level.level, content


def _counted(context: StageContext, written: ArchiveReader) -> Iterator[MaskSet]:
    n = len(written.frames())
    for done, rows in enumerate(written.iter_frames(), start=1):
        yield rows
        context.progress(n + done, 2 * n)
