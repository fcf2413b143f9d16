"""Track: one id per object and level, from its first frame to its last.

Reads the kept masks and the scan; writes the tracked masks and how tracks relate. A forward pass over all
frames decides who is who, one backward sweep fills in what came before each birth, and a last pass over the
written masks finds the parents. Every frame is written at once; nothing is kept but the objects themselves.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from my3dis import plugins
from my3dis.archive import ArchiveReader, StreamingSegmentWriter, open_archive
from my3dis.backends.torch_models.sources import sources_of
from my3dis.config import Config
from my3dis.errors import ConfigError, DataError
from my3dis.masks.hierarchy import at_levels
from my3dis.protocols import BackendOptions, MaskTracker, SceneReader, TrackerPlugin
from my3dis.runs.files import translated_os_error
from my3dis.runs.relations import Relations, save_relations
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.tracking.backward import BackwardOptions, BackwardPass, Spans
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.identity import Identities, IdentityOptions
from my3dis.tracking.lifecycle import Merge
from my3dis.tracking.relations import Containment
from my3dis.types import Frame, MaskSet

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


@dataclass(slots=True)
class _Work:
    """What the passes of one run of the stage share."""

    context: StageContext
    plugin: TrackerPlugin
    source: ArchiveReader
    writer: StreamingSegmentWriter
    frames: list[int]
    candidate_frames: frozenset[int]
    masks_in: int = 0
    without_pose: int = 0
    merges: list[Merge] = field(default_factory=list)
    reports: Reports = field(default_factory=lambda: Reports(NAME, "tracker"))

    def new_tracker(self) -> MaskTracker:
        return self.plugin.create(_options(self.context.config, self.context.reader))

    @property
    def total_steps(self) -> int:
        """Forward, backward and relations each look at every frame."""
        return 3 * len(self.frames)


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
        plugin.create(_options(config, reader))


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
        return StageOutcome(skipped="switched off by stages.tracker.enabled")
    if not layout.masks.is_file():
        return StageOutcome(skipped="there are no masks: the stages before it were skipped")
    plugin = _fitting_plugin(settings.propagator, reader)
    for path in (layout.relations, layout.tracks):
        _remove(path)
    with (
        open_archive(layout.masks) as source,
        StreamingSegmentWriter(layout.tracks, purpose="tracks", stage_digest=context.stage_digest) as writer,
    ):
        candidate_frames = frozenset(source.frames())
        work = _Work(
            context=context,
            plugin=plugin,
            source=source,
            writer=writer,
            frames=list(context.frames),
            candidate_frames=candidate_frames,
        )
        identities = _forward(work)
        writer.assign_tracks({merge.old: merge.new for merge in work.merges})
        with open_archive(layout.tracks) as written:
            backward_rows = _backward(work, written)
            parents = _relate(work, written)
            masks_out = written.count()
    save_relations(layout.relations, Relations(parents=parents.parents(), merges=tuple(work.merges)))
    _warn(work)
    counts = identities.counts
    per_level = Counter(entry.level for entry in parents.parents())
    outcome = StageOutcome(
        masks_in=work.masks_in,
        masks_out=masks_out,
        facts=(
            ("propagator", chosen_tracker(settings.propagator, reader)),
            ("tracks", sum(per_level.values())),
            *((f"tracks_level_{level}", n) for level, n in sorted(per_level.items())),
            ("births", counts.births),
            ("wakes", counts.wakes),
            ("merges", len(work.merges)),
            ("coasted_masks", counts.coasted),
            ("backward_masks", backward_rows),
            ("discarded_fragments", counts.discarded_fragments),
            ("empty_candidates", counts.empty_candidates),
            ("forgotten_tracks", counts.forgotten),
        ),
    )
    return work.reports.finish(outcome, context.warn)


def _fitting_plugin(propagator: str, reader: SceneReader) -> TrackerPlugin:
    name = chosen_tracker(propagator, reader)
    plugin = plugins.tracker(name)
    if plugin.needs_depth_and_pose and not reader.overview.is_posed_rgbd:
        raise ConfigError(
            f"stages.tracker.propagator={name} needs depth and poses, found a scan without; use auto or flow"
        )
    return plugin


def _options(config: Config, reader: SceneReader) -> BackendOptions:
    settings = config.stages.tracker
    return BackendOptions(
        ground_truth=reader.overview.ground_truth,
        checkpoint=settings.checkpoint,
        device=_device(settings.device, config.stages.gpu),
        dtype=settings.dtype,
        prompt_mode=settings.prompt_mode,
        objects_per_batch=settings.objects_per_batch,
        seed=config.experiment.seed,
    )


def _forward(work: _Work) -> Identities:
    settings = work.context.config.stages.tracker
    tracker = work.new_tracker()
    identities = Identities(
        IdentityOptions(iou_threshold=settings.iou_threshold, max_propagate=settings.max_propagate)
    )
    for done, index in enumerate(work.frames, start=1):
        frame = work.context.reader.frame(index)
        cues = FrameCues(frame)
        work.without_pose += not cues.is_posed
        candidates = None
        if index in work.candidate_frames:
            candidates = at_levels(work.source.frame(index), work.context.config.experiment.levels)
        if candidates is not None:
            work.masks_in += len(candidates)
            _require_same_size(candidates, frame)
        step = identities.observe(tracker.step(frame), candidates, cues)
        work.writer.append_frame(index, step.rows)
        for late in step.late_rows:
            work.writer.append_frame(late.frame, late)
        work.merges.extend(step.merges)
        tracker.drop(step.dropped)
        if len(step.prompts):
            tracker.prompt(frame, step.prompts)
        work.context.progress(done, work.total_steps)
    work.reports.add(tracker)
    return identities


def _backward(work: _Work, written: ArchiveReader) -> int:
    settings = work.context.config.stages.tracker
    n = len(work.frames)
    sweep = BackwardPass(
        Spans(written.tracks()),
        BackwardOptions(frames=settings.backward_frames, iou_threshold=settings.iou_threshold),
    )
    tracker, is_new = work.new_tracker(), True
    for done, index in enumerate(reversed(work.frames), start=1):
        if settings.backward_frames:
            rows = written.frame(index)
            is_first = index == work.frames[0]
            if sweep.is_following or (not is_first and len(sweep.births_in(rows))):
                frame, is_new = work.context.reader.frame(index), False
                step = sweep.observe(tracker.step(frame), rows)
                if len(step.rows):
                    work.writer.append_frame(index, step.rows)
                tracker.drop(step.dropped)
                if len(step.prompts) and not is_first:
                    tracker.prompt(frame, step.prompts)
            elif not is_new:
                # Nothing is followed: the tracker must not carry anything across this gap.
                work.reports.add(tracker)
                tracker, is_new = work.new_tracker(), True
        work.context.progress(n + done, work.total_steps)
    work.reports.add(tracker)
    merges = sweep.merges()
    work.writer.assign_tracks({merge.old: merge.new for merge in merges})
    work.merges.extend(merges)
    return sweep.rows_written


def _relate(work: _Work, written: ArchiveReader) -> Containment:
    containment = Containment()
    n = len(work.frames)
    for done, rows in enumerate(written.iter_frames(), start=1):
        containment.observe(rows)
        work.context.progress(2 * n + done, work.total_steps)
    return containment


def _warn(work: _Work) -> None:
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


def _require_same_size(candidates: MaskSet, frame: Frame) -> None:
    if candidates.image_size != frame.image_size:
        raise DataError(
            f"frame {frame.name!r}: expected masks of the image's size {frame.image_size}, found "
            f"{candidates.image_size}; propose masks again"
        )


def _device(device: str, gpu: int | None) -> str:
    return f"cuda:{gpu}" if device == "auto" and gpu is not None else device


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
