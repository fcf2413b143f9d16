"""Save where tracking stands, so that a killed stage goes on from there and ends as if it had not been.

A checkpoint is one file: the tracker's own state, the identities' state, how far the pass is, and the mark to
which the archive is taken back. It replaces the one before it in one step, and is gone when the stage ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from my3dis.archive import Mark, StreamingSegmentWriter
from my3dis.errors import ArchiveError, DataError, PluginError
from my3dis.protocols import MaskTracker, Snapshotting, TrackerPlugin
from my3dis.runs.array_file import ArrayFile, read_arrays, write_arrays
from my3dis.runs.files import translated_os_error
from my3dis.stages.context import StageContext, StageWarning
from my3dis.tracking.snapshot import flatten, restored

__all__ = ["Checkpoints", "Resumed", "interval"]

_STATE, _TRACKER = "state/", "tracker/"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Resumed:
    """Where a stage goes on.

    Attributes:
        pass_name: of the pass.
        done: frames that it has done.
        state: what the stage saved.
        tracker: what the tracker saved, None where there was none at work.
        mark: of the archive at that moment.
    """

    pass_name: str
    done: int
    state: Mapping[str, Any]
    tracker: Mapping[str, NDArray[Any]] | None
    mark: Mark


def interval(context: StageContext, plugin: TrackerPlugin) -> int | None:
    """Return the frames between two checkpoints, None where none are made."""
    every = context.config.stages.tracker.checkpoint_every
    if not every or plugin.resumable == "stage":
        return None
    return 1 if plugin.resumable == "frame" else every


class Checkpoints:
    """The checkpoint of one run of the stage.

    Args:
        context: of the stage.
        every: frames between two, None = none are made and none is used.
        stage: its name, for warnings.
    """

    def __init__(self, context: StageContext, every: int | None, stage: str) -> None:
        self.every = every
        self._context = context
        self._stage = stage
        self._path = context.layout.track_checkpoint

    def is_due(self, done: int, total: int) -> bool:
        """Return whether to save after so many frames of a pass; its end is saved as the next one's begin."""
        return self.every is not None and done % self.every == 0 and 0 < done < total

    def save(
        self,
        writer: StreamingSegmentWriter,
        place: tuple[str, int],
        state: Mapping[str, object],
        tracker: MaskTracker | None,
    ) -> None:
        """Replace the checkpoint, unless none are made.

        Args:
            writer: of the archive; what waits there is committed first.
            place: the pass, and how many of its frames are done.
            state: of the stage.
            tracker: the one at work, if any.

        Raises:
            PluginError: if the tracker has no state to offer although its plug-in says so.
            ResourceError: if the disk is full.
        """
        if self.every is None:
            return
        mark = writer.mark()
        arrays = {f"{_STATE}{name}": array for name, array in flatten(dict(state)).items()}
        if tracker is not None:
            arrays |= {f"{_TRACKER}{name}": array for name, array in snapshotting(tracker).snapshot().items()}
        facts = {
            "stage_digest": self._context.stage_digest,
            "pass": place[0],
            "done": str(place[1]),
            "has_tracker": str(int(tracker is not None)),
            "row": str(mark.row),
            "frame": str(mark.frame),
        }
        write_arrays(self._path, ArrayFile(arrays, facts))

    def load(self) -> Resumed | None:
        """Return where to go on, or None; a damaged checkpoint is reported, a foreign one is not used."""
        if self.every is None or not self._path.is_file():
            return None
        try:
            found = read_arrays(self._path)
            facts = found.facts
            if facts["stage_digest"] != self._context.stage_digest:
                return None
            return Resumed(
                pass_name=facts["pass"],
                done=int(facts["done"]),
                state=restored(_below(_STATE, found.arrays)),
                tracker=_below(_TRACKER, found.arrays) if facts["has_tracker"] == "1" else None,
                mark=Mark(row=int(facts["row"]), frame=int(facts["frame"])),
            )
        except (DataError, KeyError, ValueError) as error:
            self.refuse(error)
            return None

    def refuse(self, error: Exception) -> None:
        """Report a checkpoint that cannot be used."""
        self._context.warn(
            StageWarning(
                stage=self._stage,
                reason="damaged_checkpoint",
                message=f"the checkpoint of an earlier run cannot be used, tracking begins anew: {error}",
            )
        )

    def remove(self) -> None:
        """Delete the checkpoint, if there is one.

        Raises:
            ResourceError: if it cannot be deleted.
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        except OSError as error:
            raise translated_os_error(error, self._path, "remove") from error


def taken_back(writer: StreamingSegmentWriter, mark: Mark) -> None:
    """Take an archive back to a mark, and let go of the writer where that fails.

    Raises:
        ArchiveError: if the archive is damaged or ends before the mark.
    """
    try:
        writer.roll_back(mark)
    except ArchiveError as error:
        writer.__exit__(type(error), error, error.__traceback__)
        raise


def snapshotting(tracker: MaskTracker) -> Snapshotting:
    """Return a tracker as one that can be saved.

    Raises:
        PluginError: if it cannot.
    """
    if not isinstance(tracker, Snapshotting):
        raise PluginError(
            f"tracker {type(tracker).__name__}: its plug-in is resumable by frame or checkpoint, so it was "
            "expected to offer snapshot and restore; declare resumable='stage', or set "
            "stages.tracker.checkpoint_every=0"
        )
    return tracker


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
