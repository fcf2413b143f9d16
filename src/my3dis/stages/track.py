"""Track: one id per object and level, from its first frame to its last.

Reads the kept masks and the scan; writes the tracked masks and how tracks relate. A forward pass over all
frames decides who is who, one backward sweep fills in what came before each birth, and a last pass over the
written masks finds the parents. Every frame is written at once; nothing is kept but the objects themselves.
A stage that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from my3dis import plugins
from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.backends.torch_models.sources import sources_of
from my3dis.config import Config
from my3dis.errors import ArchiveError, ConfigError
from my3dis.protocols import SceneReader, TrackerPlugin
from my3dis.runs.files import translated_os_error
from my3dis.runs.relations import Relations, save_relations
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.stages.track_checkpoints import Checkpoints, Resumed, interval, taken_back
from my3dis.stages.track_passes import Work, backward, forward, options_for, relate
from my3dis.tracking.relations import Containment

__all__ = ["CONFIG_FIELDS", "INPUTS", "NAME", "OUTPUTS", "chosen_tracker", "require_tracker", "run"]

NAME = "track"
CONFIG_FIELDS: tuple[str, ...] = (
    "experiment.levels",
    "experiment.seed",
    "stages.gpu",
    "stages.tracker.enabled",
    "stages.tracker.propagator",
    "stages.tracker.checkpoint",
    "stages.tracker.device",
    "stages.tracker.dtype",
    "stages.tracker.iou_threshold",
    "stages.tracker.max_propagate",
    "stages.tracker.backward_frames",
    "stages.tracker.prompt_mode",
    "stages.tracker.objects_per_batch",
)
INPUTS: tuple[str, ...] = ("masks",)
OUTPUTS: tuple[str, ...] = ("tracks", "relations")
PASSES: tuple[str, ...] = ("forward", "backward", "relations")


def chosen_tracker(propagator: str, reader: SceneReader) -> str:
    """Return the plug-in that ``auto`` means for a scan, or the name as given."""
    if propagator != "auto":
        return propagator
    return "warp" if reader.overview.is_posed_rgbd else "flow"


def require_tracker(config: Config, reader: SceneReader) -> None:
    """Check that the tracker fits the scan, and one with weights its device, precision and checkpoint.

    Told before the first stage: found out by this one, the masks of hours would have been made by then.

    Raises:
        ConfigError, PluginError, ResourceError: as `run`.
    """
    settings = config.stages.tracker
    if not settings.enabled:
        return
    plugin = _fitting_plugin(settings.propagator, reader)
    if sources_of(chosen_tracker(settings.propagator, reader)):
        plugin.create(options_for(config, reader))


def run(context: StageContext) -> StageOutcome:
    """Track the kept masks through the selected frames.

    Raises:
        ConfigError: if the tracker needs depth and poses that the scan lacks.
        PluginError: if the tracker is unknown or lacks something.
        ArchiveError, DataError: if an input is damaged.
        ResourceError: if the disk is full.
    """
    settings, reader, layout = context.config.stages.tracker, context.reader, context.layout
    if not settings.enabled:
        Checkpoints(context, None, NAME).remove()
        return StageOutcome(skipped="switched off by stages.tracker.enabled")
    if not layout.masks.is_file():
        return StageOutcome(skipped="there are no masks: the stages before it were skipped")
    plugin = _fitting_plugin(settings.propagator, reader)
    checkpoints = Checkpoints(context, interval(context, plugin), NAME)
    _remove(layout.relations)
    with open_archive(layout.masks) as source:
        writer, resumed = _begin(context, checkpoints)
        with writer:
            work = Work(
                context=context,
                plugin=plugin,
                source=source,
                writer=writer,
                checkpoints=checkpoints,
                frames=list(context.frames),
                candidate_frames=frozenset(source.frames()),
                reports=Reports(NAME, "tracker"),
            )
            work.go_on_from(resumed)
            parents, masks_out = _passes(work)
    save_relations(layout.relations, Relations(parents=parents.parents(), merges=tuple(work.merges)))
    checkpoints.remove()
    _warn(work)
    return work.reports.finish(_outcome(work, parents, masks_out), context.warn)


def _passes(work: Work) -> tuple[Containment, int]:
    """Do the passes that are not done yet; labels are given again, which changes nothing given twice."""
    forward(work)
    work.writer.assign_tracks({merge.old: merge.new for merge in work.merges})
    with open_archive(work.context.layout.tracks) as written:
        backward(work, written)
        work.writer.assign_tracks({merge.old: merge.new for merge in work.merges})
        return relate(work, written), written.count()


def _begin(context: StageContext, checkpoints: Checkpoints) -> tuple[StreamingSegmentWriter, Resumed | None]:
    """Open the archive as it was at the checkpoint, or afresh."""
    resumed = checkpoints.load()
    if resumed is not None:
        try:
            writer = _writer(context)
            taken_back(writer, resumed.mark)
        except ArchiveError as error:
            checkpoints.refuse(error)
        else:
            return writer, resumed
    checkpoints.remove()
    _remove(context.layout.tracks)
    return _writer(context), None


def _writer(context: StageContext) -> StreamingSegmentWriter:
    return StreamingSegmentWriter(context.layout.tracks, purpose="tracks", stage_digest=context.stage_digest)


def _outcome(work: Work, parents: Containment, masks_out: int) -> StageOutcome:
    counts = work.counts
    per_level = Counter(entry.level for entry in parents.parents())
    return StageOutcome(
        masks_in=work.masks_in,
        masks_out=masks_out,
        facts=(
            (
                "propagator",
                chosen_tracker(work.context.config.stages.tracker.propagator, work.context.reader),
            ),
            ("tracks", sum(per_level.values())),
            *((f"tracks_level_{level}", n) for level, n in sorted(per_level.items())),
            ("births", counts.births),
            ("wakes", counts.wakes),
            ("merges", len(work.merges)),
            ("coasted_masks", counts.coasted),
            ("backward_masks", work.backward_rows),
            ("discarded_fragments", counts.discarded_fragments),
            ("mended_masks", counts.mended),
            ("joined_pieces", counts.joined_pieces),
            ("empty_candidates", counts.empty_candidates),
            ("forgotten_tracks", counts.forgotten),
            ("frames_resumed", work.steps_resumed),
        ),
    )


def _fitting_plugin(propagator: str, reader: SceneReader) -> TrackerPlugin:
    name = chosen_tracker(propagator, reader)
    plugin = plugins.tracker(name)
    if plugin.needs_depth_and_pose and not reader.overview.is_posed_rgbd:
        raise ConfigError(
            f"stages.tracker.propagator={name} needs depth and poses, found a scan without; use auto or flow"
        )
    return plugin


def _warn(work: Work) -> None:
    name = chosen_tracker(work.context.config.stages.tracker.propagator, work.context.reader)
    if work.plugin.needs_depth_and_pose and work.without_pose:
        work.context.warn(
            StageWarning(
                stage=NAME,
                reason="no_pose",
                message=(
                    f"{work.without_pose} of {len(work.frames)} frames lack a valid pose or depth; "
                    f"tracker {name} used optical flow to and from them, and objects were not sought "
                    "there by place"
                ),
            )
        )


def _remove(path: Path) -> None:
    """Remove what an interrupted run left of a file, with SQLite's companions."""
    for leftover in _companions(path):
        with contextlib.suppress(FileNotFoundError):
            try:
                leftover.unlink()
            except FileNotFoundError:
                raise
            except OSError as error:
                raise translated_os_error(error, leftover, "remove") from error


def _companions(path: Path) -> Iterator[Path]:
    yield path
    for suffix in ("-wal", "-shm", "-journal"):
        yield path.with_name(path.name + suffix)
