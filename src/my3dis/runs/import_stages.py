"""The first stages of an import: an old run's candidates and kept masks become archives, frame by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.archive.legacy import LegacyFrame, LegacyLevel, iter_candidates, iter_filtered, iter_raw
from my3dis.masks.build import renumber
from my3dis.masks.hierarchy import drop
from my3dis.runs.import_frames import (
    Head,
    ImportSource,
    Sizes,
    masks_of,
    parents_of,
    side_by_side,
    warn,
    warn_resized,
    with_pixels,
)
from my3dis.stages.context import StageContext, StageOutcome
from my3dis.types import NO_ID, MaskSet

__all__ = ["ImportCandidates", "ImportFiltered"]

DROPPED = "earlier_filter"
"""Why a candidate is not among the kept masks of an imported run."""


@dataclass(slots=True)
class ImportCandidates:
    """Candidates with pixels: raw ones where the run kept them, else those that its filter kept."""

    source: ImportSource
    NAME: str = "candidates"
    CONFIG_FIELDS: tuple[str, ...] = ()
    INPUTS: tuple[str, ...] = ()
    OUTPUTS: tuple[str, ...] = ("candidates",)

    def run(self, context: StageContext) -> StageOutcome:
        """Write ``candidates.my3dis``; a killed import goes on where it stopped.

        Raises:
            DataError, ArchiveError: if a file of the old run is damaged or hostile.
        """
        facts: Counter[str] = Counter()
        found = [(level, _pixels_of(level)) for level in self.source.run.levels]
        readers = [(level, frames) for level, frames in found if frames is not None]
        if not readers:
            return StageOutcome(skipped="the old run has no pixels of candidates")
        sizes = self.source.sizes(context.reader.overview.image_size)
        path = context.layout.candidates
        with StreamingSegmentWriter(path, purpose="candidates", stage_digest=context.stage_digest) as writer:
            done = set(writer.frames())
            levels = {level.level: frames() for level, frames in readers}
            for n, (frame, heads) in enumerate(side_by_side(self.source, levels), start=1):
                masks = masks_of(frame, heads, sizes, parents_of(self.source.run, heads))
                if frame not in done:
                    writer.append_frame(frame, masks)
                _count(heads, masks, facts)
                context.progress(n, max(n, len(context.frames)))
        facts["resized"] = sizes.resized
        return self._outcome(context, facts)

    def _outcome(self, context: StageContext, facts: Counter[str]) -> StageOutcome:
        listed = sum(
            len(frame.items)
            for level in self.source.run.levels
            if level.candidates is not None
            for frame in iter_candidates(level.candidates)
        )
        with open_archive(context.layout.candidates) as written:
            count, by_level = written.count(), written.count_by_level()
        missing = max(listed - count, facts["without_pixels"])
        if missing:
            warn(
                context,
                self.NAME,
                "no_pixels",
                f"{missing} of {max(listed, count + missing)} candidates were recorded as boxes only (the "
                "old run kept no raw masks); they are not in candidates.my3dis",
            )
        if facts["box_differs"]:
            warn(
                context,
                self.NAME,
                "box_differs",
                f"{facts['box_differs']} recorded boxes do not fit their masks; boxes were measured again",
            )
        warn_resized(context, self.NAME, facts["resized"])
        return StageOutcome(
            masks_in=max(listed, count + missing),
            masks_out=count,
            facts=(*((f"level_{level}", n) for level, n in by_level), ("without_pixels", missing)),
        )


@dataclass(slots=True)
class ImportFiltered:
    """Masks that the old run's filter kept; those with the pixels of a candidate keep its id."""

    source: ImportSource
    NAME: str = "filter"
    CONFIG_FIELDS: tuple[str, ...] = ()
    INPUTS: tuple[str, ...] = ("candidates",)
    OUTPUTS: tuple[str, ...] = ("masks",)
    _new: int = field(default=0, init=False)

    def run(self, context: StageContext) -> StageOutcome:
        """Write ``masks.my3dis``; a killed import goes on where it stopped.

        Raises:
            DataError, ArchiveError: if a file of the old run is damaged or hostile.
        """
        levels = [level for level in self.source.run.levels if level.filtered is not None]
        layout = context.layout
        if not levels or not layout.candidates.is_file():
            return StageOutcome(skipped="the old run has no filtered masks with pixels")
        for level in self.source.run.levels:
            if level.filtered is None:
                warn(context, self.NAME, "no_filtered", "the old run has no filtered masks here", level.level)
        sizes = self.source.sizes(context.reader.overview.image_size)
        frames = {lv.level: iter_filtered(lv.filtered) for lv in levels if lv.filtered is not None}
        with (
            open_archive(layout.candidates) as candidates,
            StreamingSegmentWriter(
                layout.masks, purpose="masks", stage_digest=context.stage_digest
            ) as writer,
        ):
            done, known = set(writer.frames()), set(candidates.frames())
            for n, (frame, heads) in enumerate(side_by_side(self.source, frames), start=1):
                kept = masks_of(frame, heads, sizes, np.full(len(with_pixels(heads)), NO_ID, np.int32))
                chosen = _chosen(kept, candidates.frame(frame) if frame in known else None)
                self._new += chosen.new
                if frame not in done:
                    writer.record_dropped(frame, *chosen.dropped)
                    writer.append_frame(frame, chosen.masks)
                context.progress(n, max(n, len(context.frames)))
        return self._outcome(context, sizes)

    def _outcome(self, context: StageContext, sizes: Sizes) -> StageOutcome:
        warn_resized(context, self.NAME, sizes.resized)
        if self._new:
            warn(
                context,
                self.NAME,
                "no_candidate",
                f"{self._new} kept masks are none of the candidates pixel for pixel; they have new ids",
            )
        with open_archive(context.layout.masks) as written, open_archive(context.layout.candidates) as all_:
            facts = [(f"level_{level}", n) for level, n in written.count_by_level()]
            return StageOutcome(masks_in=all_.count(), masks_out=written.count(), facts=tuple(facts))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The kept masks of a frame under their final ids, what was dropped, and how many are no candidates."""

    masks: MaskSet
    dropped: tuple[list[int], list[int], list[str]]
    new: int


def _chosen(kept: MaskSet, candidates: MaskSet | None) -> _Chosen:
    """Give the kept masks the ids of the candidates that have their pixels."""
    if candidates is None or candidates.image_size != kept.image_size:
        return _Chosen(kept, ([], [], []), len(kept))
    waiting: dict[tuple[int, bytes], list[int]] = {}
    for position in reversed(range(len(candidates))):
        key = (int(candidates.level[position]), candidates.rle[position])
        waiting.setdefault(key, []).append(position)
    is_kept = np.zeros(len(candidates), np.bool_)
    strange = []
    for position in range(len(kept)):
        same = waiting.get((int(kept.level[position]), kept.rle[position]))
        if same:
            is_kept[same.pop()] = True
        else:
            strange.append(position)
    gone = np.flatnonzero(~is_kept & np.isin(candidates.level, np.unique(kept.level)))
    dropped = (candidates.mask_id[gone].tolist(), candidates.level[gone].tolist(), [DROPPED] * len(gone))
    masks = drop(candidates, is_kept)
    if strange:
        ids = np.arange(len(candidates), len(candidates) + len(strange), dtype=np.int32)
        masks = MaskSet.concatenate([masks, renumber(kept.select(strange), ids)])
    return _Chosen(masks, dropped, len(strange))


def _count(heads: Sequence[Head], masks: MaskSet, facts: Counter[str]) -> None:
    """Count candidates without pixels, and recorded boxes that are not those of the pixels."""
    found = with_pixels(heads)
    facts["without_pixels"] += sum(len(head.content.items) for head in heads) - len(found)
    for (_, item, mask), box in zip(found, masks.boxes.tolist(), strict=True):
        is_known = item.box_xyxy is not None and mask.image_size == masks.image_size
        facts["box_differs"] += is_known and item.box_xyxy != tuple(box)


def _pixels_of(level: LegacyLevel) -> Callable[[], Iterator[LegacyFrame]] | None:
    if level.raw is not None:
        raw = level.raw
        return lambda: iter_raw(raw)
    if level.filtered is not None:
        filtered = level.filtered
        return lambda: iter_filtered(filtered)
    return None
