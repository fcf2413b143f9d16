"""Filter: decide which candidates go on, from ``candidates.my3dis`` into ``masks.my3dis``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TypeVar

from my3dis import plugins
from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.config import Config
from my3dis.masks.hierarchy import at_levels
from my3dis.refinement.limits import MaskLimits, scaled_area
from my3dis.refinement.selection import select_masks
from my3dis.stages.candidates import discard_other
from my3dis.stages.context import StageContext, StageOutcome

__all__ = ["CONFIG_FIELDS", "INPUTS", "NAME", "OUTPUTS", "limits_for", "run"]

NAME = "filter"
CONFIG_FIELDS: tuple[str, ...] = (
    "experiment.levels",
    "stages.filter.enabled",
    "stages.filter.duplicate_iou",
    "stages.ssam.proposer",
    "stages.ssam.min_area",
    "stages.ssam.stability_threshold",
    "stages.ssam.max_masks_per_level",
)
INPUTS: tuple[str, ...] = ("candidates",)
OUTPUTS: tuple[str, ...] = ("masks",)

T = TypeVar("T")

_MIN_AREA = 200
_MAX_PER_LEVEL = 200
_DUPLICATE_IOU = 0.9


def limits_for(config: Config, image_size: tuple[int, int]) -> MaskLimits:
    """Resolve the thresholds for images of a size; what is null depends on the proposer.

    Final masks (recorded, oracle) meet no threshold that was not asked for. ``min_area`` as a number is
    meant in pixels of the images at hand; its default is stated for 640x480 and scaled.

    Raises:
        PluginError: if the proposer is not installed.
    """
    ssam, chosen = config.stages.ssam, config.stages.filter
    if not chosen.enabled:
        return MaskLimits()
    plugin = plugins.proposer(ssam.proposer)
    default = MaskLimits()
    if not plugin.final:
        default = MaskLimits(
            min_area=scaled_area(_MIN_AREA, image_size),
            stability_threshold=plugin.stability_threshold,
            max_per_level=_MAX_PER_LEVEL,
            duplicate_iou=_DUPLICATE_IOU,
        )
    return MaskLimits(
        min_area=_given(ssam.min_area, default.min_area),
        stability_threshold=_given(ssam.stability_threshold, default.stability_threshold),
        max_per_level=_given(ssam.max_masks_per_level, default.max_per_level),
        duplicate_iou=_given(chosen.duplicate_iou, default.duplicate_iou),
    )


def run(context: StageContext) -> StageOutcome:
    """Filter frame by frame; with ``stages.filter.enabled=false`` everything goes on.

    Each frame is one transaction; a killed stage goes on where it stopped.

    Raises:
        ArchiveError: if the archive of candidates is damaged.
    """
    layout = context.layout
    if not layout.candidates.exists():
        return StageOutcome(skipped="there are no candidates: their stage was skipped")
    discard_other(layout.masks, context, NAME)
    with (
        open_archive(layout.candidates) as reader,
        StreamingSegmentWriter(layout.masks, purpose="masks", stage_digest=context.stage_digest) as writer,
    ):
        frames = reader.frames()
        done = set(writer.frames())
        for n, index in enumerate(frames, start=1):
            if index not in done:
                masks = at_levels(reader.frame(index), context.config.experiment.levels)
                result = select_masks(masks, limits_for(context.config, masks.image_size))
                writer.record_dropped(
                    index, result.dropped_id.tolist(), result.dropped_level.tolist(), result.reasons
                )
                writer.append_frame(index, result.kept)
            context.progress(n, len(frames))
        levels = context.config.experiment.levels
        masks_in = sum(n for level, n in reader.count_by_level() if level in levels)
    return _outcome(layout.masks, masks_in)


def _outcome(path: Path, masks_in: int) -> StageOutcome:
    with open_archive(path) as kept:
        reasons = Counter(d.reason for d in kept.dropped())
        facts = [(f"level_{level}", n) for level, n in kept.count_by_level()]
        facts += [(f"dropped_{reason}", n) for reason, n in sorted(reasons.items())]
        return StageOutcome(masks_in=masks_in, masks_out=kept.count(), facts=tuple(facts))


def _given(value: T | None, default: T) -> T:
    return default if value is None else value
