"""The passes of the track stage: who is who, what came before each birth, and who is part of whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from my3dis.archive import ArchiveReader, StreamingSegmentWriter
from my3dis.config import Config
from my3dis.errors import DataError
from my3dis.masks.hierarchy import at_levels
from my3dis.protocols import BackendOptions, MaskTracker, SceneReader, TrackerPlugin
from my3dis.stages.backend_reports import Reports
from my3dis.stages.context import StageContext
from my3dis.stages.track_checkpoints import Checkpoints, Resumed, snapshotting
from my3dis.tracking.backward import BackwardOptions, BackwardPass, Spans
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.identity import Identities, IdentityOptions
from my3dis.tracking.lifecycle import Counts, Merge
from my3dis.tracking.relations import Containment
from my3dis.types import Frame, MaskSet

__all__ = ["Work", "backward", "forward", "options_for", "relate"]

FORWARD, BACKWARD, RELATIONS = PASSES = ("forward", "backward", "relations")


@dataclass(slots=True)
class Work:
    """What the passes of one run of the stage share.

    Attributes:
        merges: tracks found to be one.
        counts: of the forward pass.
        masks_in, without_pose, backward_rows: counted so far.
        steps_resumed: frames of all passes that were done before this process.
    """

    context: StageContext
    plugin: TrackerPlugin
    source: ArchiveReader
    writer: StreamingSegmentWriter
    checkpoints: Checkpoints
    frames: list[int]
    candidate_frames: frozenset[int]
    reports: Reports
    masks_in: int = 0
    without_pose: int = 0
    backward_rows: int = 0
    steps_resumed: int = 0
    merges: list[Merge] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    _resumed: Resumed | None = None

    def new_tracker(self) -> MaskTracker:
        """Return a tracker for one direction."""
        return self.plugin.create(options_for(self.context.config, self.context.reader))

    @property
    def total_steps(self) -> int:
        """Forward, backward and relations each look at every frame."""
        return len(PASSES) * len(self.frames)

    def progress(self, pass_name: str, done: int) -> None:
        """Say how many frames of a pass are done."""
        self.context.progress(PASSES.index(pass_name) * len(self.frames) + done, self.total_steps)

    def go_on_from(self, resumed: Resumed | None) -> None:
        """Take over what an earlier run of the stage saved, and say so."""
        if resumed is None:
            return
        self._resumed, state = resumed, resumed.state
        self.masks_in, self.without_pose = state["masks_in"], state["without_pose"]
        self.merges, self.counts = state["merges"], state["counts"]
        self.backward_rows = state["backward_rows"]
        self.reports.take_over(state["reports"])
        self.steps_resumed = PASSES.index(resumed.pass_name) * len(self.frames) + resumed.done
        where = f"after {resumed.done} of {len(self.frames)} frames of the pass {resumed.pass_name}"
        if resumed.pass_name != RELATIONS:
            order = self.frames if resumed.pass_name == FORWARD else self.frames[::-1]
            where = f"at frame {order[resumed.done]}, {where}"
        self.context.tell(
            "stage_resumed",
            {
                "resumable": self.plugin.resumable,
                "pass": resumed.pass_name,
                "frames_done": resumed.done,
                "message": f"resumed {where}, from a checkpoint",
            },
        )

    def is_past(self, pass_name: str) -> bool:
        """Return whether a pass was ended before this process."""
        found = self._resumed
        return found is not None and PASSES.index(found.pass_name) > PASSES.index(pass_name)

    def resumed_in(self, pass_name: str) -> Resumed | None:
        """Return where a pass goes on, None where it begins."""
        found = self._resumed
        return found if found is not None and found.pass_name == pass_name and found.done else None

    def save(self, place: tuple[str, int], machine: object, tracker: MaskTracker | None) -> None:
        """Make a checkpoint.

        Args:
            place: the pass, and how many of its frames are done.
            machine: what decides in this pass.
            tracker: the one at work, if any.
        """
        state = {
            "masks_in": self.masks_in,
            "without_pose": self.without_pose,
            "backward_rows": self.backward_rows,
            "merges": self.merges,
            "counts": self.counts,
            "reports": self.reports.so_far(tracker),
            "machine": machine,
        }
        self.checkpoints.save(self.writer, place, state, tracker)


def options_for(config: Config, reader: SceneReader) -> BackendOptions:
    """Return what a tracker is made with."""
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


def forward(work: Work) -> None:
    """Decide who is who, frame by frame."""
    if work.is_past(FORWARD):
        return
    settings, n = work.context.config.stages.tracker, len(work.frames)
    tracker, start = work.new_tracker(), 0
    identities = Identities(
        IdentityOptions(iou_threshold=settings.iou_threshold, max_propagate=settings.max_propagate)
    )
    found = work.resumed_in(FORWARD)
    if found is not None:
        identities, start = found.state["machine"], found.done
        restore(tracker, found)
    for done, index in enumerate(work.frames[start:], start=start + 1):
        _observe(work, index, tracker, identities)
        work.progress(FORWARD, done)
        if work.checkpoints.is_due(done, n):
            work.save((FORWARD, done), identities, tracker)
    work.reports.add(tracker)
    work.counts = identities.counts
    work.save((BACKWARD, 0), None, None)


def _observe(work: Work, index: int, tracker: MaskTracker, identities: Identities) -> None:
    frame = work.context.reader.frame(index)
    cues = FrameCues(frame)
    work.without_pose += not cues.is_posed
    candidates = None
    if index in work.candidate_frames:
        candidates = at_levels(work.source.frame(index), work.context.config.experiment.levels)
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


class _Sweep:
    """The backward pass over the frames, and the tracker that works while births are followed."""

    def __init__(self, work: Work, written: ArchiveReader) -> None:
        settings = work.context.config.stages.tracker
        self._work = work
        self._written = written
        self.tracker: MaskTracker | None = None
        self.start = 0
        found = work.resumed_in(BACKWARD)
        if found is None:
            self.machine = BackwardPass(
                Spans(written.tracks()),
                BackwardOptions(frames=settings.backward_frames, iou_threshold=settings.iou_threshold),
            )
            return
        self.machine, self.start = found.state["machine"], found.done
        if found.tracker is not None:
            self.tracker = work.new_tracker()
            restore(self.tracker, found)

    def observe(self, index: int) -> None:
        """Do one frame."""
        work, sweep = self._work, self.machine
        rows = self._written.frame(index)
        is_first = index == work.frames[0]
        if sweep.is_following or (not is_first and len(sweep.births_in(rows))):
            frame = work.context.reader.frame(index)
            self.tracker = tracker = self.tracker or work.new_tracker()
            step = sweep.observe(tracker.step(frame), rows)
            if len(step.rows):
                work.writer.append_frame(index, step.rows)
            tracker.drop(step.dropped)
            if len(step.prompts) and not is_first:
                tracker.prompt(frame, step.prompts)
        else:
            # Nothing is followed: the tracker must not carry anything across this gap.
            self.end()

    def end(self) -> None:
        """Let go of the tracker."""
        if self.tracker is not None:
            self._work.reports.add(self.tracker)
            self.tracker = None


def backward(work: Work, written: ArchiveReader) -> None:
    """Fill in what came before each birth, in descending order."""
    if work.is_past(BACKWARD):
        return
    n, follows = len(work.frames), bool(work.context.config.stages.tracker.backward_frames)
    sweep = _Sweep(work, written)
    for done, index in enumerate(work.frames[::-1][sweep.start :], start=sweep.start + 1):
        if follows:
            sweep.observe(index)
        work.progress(BACKWARD, done)
        if follows and work.checkpoints.is_due(done, n):
            work.save((BACKWARD, done), sweep.machine, sweep.tracker)
    sweep.end()
    work.backward_rows = sweep.machine.rows_written
    work.merges.extend(sweep.machine.merges())
    work.save((RELATIONS, 0), None, None)


def relate(work: Work, written: ArchiveReader) -> Containment:
    """Find the parents; no tracker is at work, so this is quick and is repeated whole."""
    containment = Containment()
    for done, rows in enumerate(written.iter_frames(), start=1):
        containment.observe(rows)
        work.progress(RELATIONS, done)
    return containment


def restore(tracker: MaskTracker, found: Resumed) -> None:
    """Give a new tracker the state that a checkpoint holds."""
    assert found.tracker is not None
    snapshotting(tracker).restore(found.tracker)


def _require_same_size(candidates: MaskSet, frame: Frame) -> None:
    if candidates.image_size != frame.image_size:
        raise DataError(
            f"frame {frame.name!r}: expected masks of the image's size {frame.image_size}, found "
            f"{candidates.image_size}; propose masks again"
        )


def _device(device: str, gpu: int | None) -> str:
    return f"cuda:{gpu}" if device == "auto" and gpu is not None else device
