"""Candidates: propose masks at every level, frame by frame, into ``candidates.my3dis``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from my3dis import plugins
from my3dis.archive import StreamingSegmentWriter, discard_archive, open_archive, read_stage_digest
from my3dis.config.schema import Ssam
from my3dis.errors import ArchiveError
from my3dis.protocols import BackendOptions, MaskProposer, ProposerPlugin, RegionProposer
from my3dis.refinement.gaps import gap_masks
from my3dis.refinement.limits import scaled_area
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.refinement.selection import Selection
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, MaskSet, MaskSource

__all__ = [
    "CONFIG_FIELDS",
    "FILL_AREA",
    "INPUTS",
    "NAME",
    "OUTPUTS",
    "SMALLEST_CANDIDATE",
    "discard_other",
    "run",
]

NAME = "candidates"
CONFIG_FIELDS: tuple[str, ...] = (
    "experiment.levels",
    "experiment.frames",
    "experiment.seed",
    "stages.gpu",
    "stages.ssam.enabled",
    "stages.ssam.proposer",
    "stages.ssam.recorded_root",
    "stages.ssam.checkpoint",
    "stages.ssam.device",
    "stages.ssam.dtype",
    "stages.ssam.refine",
    "stages.ssam.points_per_side",
    "stages.ssam.points_per_batch",
    "stages.ssam.predicted_iou",
    "stages.ssam.ssam_freq",
    "stages.ssam.add_gaps",
    "stages.ssam.fill_area",
)
INPUTS: tuple[str, ...] = ()
OUTPUTS: tuple[str, ...] = ("candidates",)

SMALLEST_CANDIDATE = 50
"""Pixels at 640x480, scaled with the image: smaller proposals are noise whatever the filter asks for.

Fixed, so that another ``min_area`` re-runs the filter and proposes nothing anew.
"""

FILL_AREA = 1000
"""Smallest gap that is filled by default, pixels at 640x480."""


def run(context: StageContext) -> StageOutcome:
    """Write the candidates of every ``ssam_freq``-th selected frame.

    Each frame is one transaction; frames that an earlier, killed run of the same stage committed are not
    proposed again, unless the proposer is not resumable by frame.

    Raises:
        ConfigError, PluginError: if the proposer cannot be made.
        DataError: if a frame cannot be read.
    """
    ssam = context.config.stages.ssam
    if not ssam.enabled:
        return StageOutcome(skipped="switched off by stages.ssam.enabled")
    plugin = plugins.proposer(ssam.proposer)
    proposer = plugin.create(_options(context))
    wanted = context.frames[:: ssam.ssam_freq]
    path = context.layout.candidates
    if plugin.resumable == "frame":
        discard_other(path, context, NAME)
    else:
        discard_archive(path)  # what it finds depends on frames before, which it has not seen
    with StreamingSegmentWriter(path, purpose=NAME, stage_digest=context.stage_digest) as writer:
        done = set(writer.frames())
        _tell(context, [index for index in wanted if index not in done], len(wanted))
        for n, index in enumerate(wanted, start=1):
            if index not in done:
                found = _candidates(context, plugin, proposer, context.reader.frame(index))
                writer.record_dropped(
                    index, found.dropped_id.tolist(), found.dropped_level.tolist(), found.reasons
                )
                writer.append_frame(index, found.kept)
            context.progress(n, len(wanted))
    reports = Reports(NAME, "proposer")
    reports.add(proposer)
    return reports.finish(_outcome(context, path, resumed=len(done.intersection(wanted))), context.warn)


def _tell(context: StageContext, missing: list[int], total: int) -> None:
    """Say where a stage goes on that was stopped in the middle."""
    done = total - len(missing)
    if done and missing:
        message = f"resumed at frame {missing[0]}, {done} of {total} frames are there"
        context.tell("stage_resumed", {"resumable": "frame", "frames_done": done, "message": message})


def discard_other(path: Path, context: StageContext, stage: str) -> None:
    """Delete an archive that this stage cannot continue: of other settings or inputs, or damaged.

    A damaged one is reported, since it lost work.
    """
    try:
        if not path.exists() or read_stage_digest(path) == context.stage_digest:
            return
    except ArchiveError as error:
        context.warn(
            StageWarning(
                stage=stage,
                reason="damaged_archive",
                message=f"{path.name} could not be continued and is written afresh: {error}",
            )
        )
    discard_archive(path)


def _candidates(
    context: StageContext,
    plugin: ProposerPlugin,
    proposer: MaskProposer | RegionProposer,
    frame: Frame,
) -> Selection:
    levels = context.config.experiment.levels
    options = RefineOptions(
        min_area=0 if plugin.final else scaled_area(SMALLEST_CANDIDATE, frame.image_size),
        final=plugin.final,
    )
    found = refine(frame, levels, proposer, options)
    if not _wants_gaps(context.config.stages.ssam, plugin):
        return found
    fill_area = context.config.stages.ssam.fill_area or scaled_area(FILL_AREA, frame.image_size)
    used = [int(ids.max(initial=-1)) for ids in (found.kept.mask_id, found.dropped_id)]
    gaps = gap_masks(found.kept, levels[0], fill_area, first_id=max(used) + 1)
    return Selection(
        kept=MaskSet.concatenate([found.kept, gaps]),
        dropped_id=found.dropped_id,
        dropped_level=found.dropped_level,
        reasons=found.reasons,
    )


def _wants_gaps(ssam: Ssam, plugin: ProposerPlugin) -> bool:
    return not plugin.final if ssam.add_gaps is None else ssam.add_gaps


def _options(context: StageContext) -> BackendOptions:
    ssam = context.config.stages.ssam
    gpu = context.config.stages.gpu
    device = f"cuda:{gpu}" if ssam.device == "auto" and gpu is not None else ssam.device
    return BackendOptions(
        recorded_root=ssam.recorded_root,
        ground_truth=context.reader.overview.ground_truth,
        checkpoint=ssam.checkpoint,
        device=device,
        dtype=ssam.dtype,
        refine=ssam.refine,
        points_per_side=ssam.points_per_side,
        points_per_batch=ssam.points_per_batch,
        predicted_iou=ssam.predicted_iou,
        seed=context.config.experiment.seed,
    )


def _outcome(context: StageContext, path: Path, *, resumed: int) -> StageOutcome:
    """Count what is in the archive, so that a continued stage reports the same figures."""
    levels = context.config.experiment.levels
    empty: Counter[int] = Counter()
    gaps = frames = 0
    with open_archive(path) as reader:
        for masks in reader.iter_frames():
            frames += 1
            gaps += int((masks.source == MaskSource.GAP).sum())
            empty.update(set(levels) - set(masks.level.tolist()))
        dropped = Counter(d.reason for d in reader.dropped())
        by_level = dict(reader.count_by_level())
        total = reader.count()
    for level in levels:
        if empty[level]:
            context.warn(
                StageWarning(
                    stage=NAME,
                    reason="no_candidates",
                    message=f"{empty[level]} of {frames} frames have no candidate at level {level}; "
                    + (
                        "nothing can be tracked there"
                        if empty[level] == frames
                        else "tracks of this level have to bridge them"
                    ),
                    level=level,
                )
            )
    facts = [("frames", frames), ("frames_resumed", resumed), ("gap_masks", gaps)]
    facts += [(f"level_{level}", by_level.get(level, 0)) for level in levels]
    facts += [(f"dropped_{reason}", n) for reason, n in sorted(dropped.items())]
    return StageOutcome(masks_out=total, facts=tuple(facts))
