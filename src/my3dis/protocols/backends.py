"""What mask proposers and mask trackers must offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from my3dis.types import Frame, MaskSet

__all__ = [
    "BackendOptions",
    "BackendReport",
    "MaskProposer",
    "MaskTracker",
    "ProposerPlugin",
    "RegionProposer",
    "Reporting",
    "Resumable",
    "Snapshotting",
    "TrackerPlugin",
]


Resumable = Literal["frame", "checkpoint", "stage"]
"""What a stage repeats after it was stopped in the middle, with this back end:

``frame``: nothing. Of a proposer, that the masks of a frame depend on that frame alone, so that finished
frames stay as they are; of a tracker, that its state is small enough to be saved after every frame.
``checkpoint``: what came after the last checkpoint. Of a tracker, that it is `Snapshotting`: its state is
saved every ``stages.tracker.checkpoint_every`` frames. Of a proposer the same as ``stage``: nothing is saved.
``stage``: everything. What the stage wrote is discarded and it begins anew.

Whatever is declared, the results are those of a stage that was not stopped.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """Values that a proposer or tracker may need; those without a use for a value ignore it.

    Attributes:
        recorded_root: folder of recorded label maps.
        ground_truth: the scan's ground truth folder, for oracles only.
        checkpoint: path or id of model weights.
        device, dtype: ``auto``, ``cpu``, ``cuda:N`` or ``mps``; ``auto`` or a floating-point type name.
        refine: how a point-prompted model looks inside a parent: ``crop``, ``mask`` or ``points``.
        points_per_side, points_per_batch: grid of prompts and prompts at once; None = the model's own.
        predicted_iou: least quality that the model itself predicts for a mask; None = the model's own.
        prompt_mode: what trackers are prompted with: ``all_mask``, ``small_box`` or ``all_box``.
        objects_per_batch: objects that a tracker holds in one session; None = the model's own.
        seed: for everything random.
    """

    recorded_root: Path | None = None
    ground_truth: Path | None = None
    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    refine: str = "crop"
    points_per_side: int | None = None
    points_per_batch: int | None = None
    predicted_iou: float | None = None
    prompt_mode: str = "all_mask"
    objects_per_batch: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendReport:
    """What a back end has to say about its work.

    Attributes:
        facts: named figures for ``stage_timings.json``, such as ``("backbone_passes", 84)``.
        notes: (short stable code, sentence) that a person should know; the stage warns of each.
        peak_gpu_mb: (device, MiB) for every GPU that was used.
    """

    facts: tuple[tuple[str, float | int | str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    peak_gpu_mb: tuple[tuple[str, float], ...] = ()


@runtime_checkable
class Reporting(Protocol):
    """Offered by proposers and trackers that have something to report after their last frame."""

    def report(self) -> BackendReport:
        """Return what happened so far."""
        ...


@runtime_checkable
class Snapshotting(Protocol):
    """Offered by trackers whose plug-in declares ``resumable`` as ``frame`` or ``checkpoint``."""

    def snapshot(self) -> Mapping[str, NDArray[Any]]:
        """Return all that later frames depend on, by name: numbers, bounded by what is held."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another tracker of the same options returned, before the first frame.

        Raises:
            DataError: if the arrays are not what `snapshot` returns.
        """
        ...


@runtime_checkable
class MaskProposer(Protocol):
    """Proposes masks that are nested by construction, all levels at once."""

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        """Return masks of the frame at every level, coarse to fine, with parents set.

        A child lies inside its parent, which is a mask of the next coarser level in ``levels``.
        ``mask_id`` is unique over the levels of the frame.
        """
        ...


@runtime_checkable
class RegionProposer(Protocol):
    """Proposes masks of one level inside given parents; refinement drives it level by level."""

    def propose_in(self, frame: Frame, level: int, parents: MaskSet) -> MaskSet:
        """Return masks at a level; ``parent_id`` refers to ``parents.mask_id``.

        With no parents (an empty set) the whole frame is the region and ``parent_id`` is -1.
        Masks may spill over their parent: refinement clamps them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposerPlugin:
    """A source of candidate masks.

    Attributes:
        summary: one line for ``my3dis plugins``.
        version: changes when results change, so that finished stages are not reused.
        create: make the proposer; raises ConfigError or PluginError when something it needs is missing.
        final: nothing is filtered, clamped or filled unless a setting asks for it explicitly.
        stability_threshold: the stability that its masks should reach when no setting says otherwise.
        resumable: what is repeated of a stage that was stopped; see `Resumable`.
        recognises: whether masks stand for things; else things come from the surface, borders from masks.
    """

    summary: str
    version: str
    create: Callable[[BackendOptions], MaskProposer | RegionProposer]
    final: bool = False
    stability_threshold: float = 0.0
    recognises: bool = True
    resumable: Resumable = "stage"


class MaskTracker(Protocol):
    """Carries masks of held objects from frame to frame; knows nothing of births and identities.

    Used in one direction: frames come in ascending order (or, with a tracker of its own, descending).
    For each frame `step` is called once, then `prompt` at most once.
    """

    def step(self, frame: Frame) -> MaskSet:
        """Advance to a frame and return the predicted mask of every held object that is visible.

        ``track_id`` names the object, ``score`` in [0, 1] is the confidence of the prediction,
        ``mask_id`` is arbitrary. Before any prompt the set is empty. Masks may overlap.
        """
        ...

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        """Take new or corrected masks of objects (``track_id`` set) on the frame last stepped to."""
        ...

    def drop(self, track_ids: Sequence[int]) -> None:
        """Forget objects; unknown ids are ignored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerPlugin:
    """A way of carrying masks through the video.

    Attributes:
        summary: one line for ``my3dis plugins``.
        version: changes when results change.
        create: make a tracker for one pass in one direction.
        needs_depth_and_pose: the scan must be posed RGB-D.
        resumable: what is repeated of a stage that was stopped; see `Resumable`.
    """

    summary: str
    version: str
    create: Callable[[BackendOptions], MaskTracker]
    needs_depth_and_pose: bool = False
    resumable: Resumable = "stage"
