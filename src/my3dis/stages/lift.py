"""Lift: 3D instances at every level from tracked masks, depth and poses.

Reads the tracks and their relations; writes ``instances.npz``, ``instances.ply`` (all points, coloured by the
instances of the coarsest level) and, where the scan has no mesh, ``cloud.ply``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from my3dis import plugins
from my3dis.archive import ArchiveReader, open_archive
from my3dis.config.schema import Lift
from my3dis.datasets.ply import cloud_digest
from my3dis.exporters.ply import instances_to_ply, points_to_ply
from my3dis.geometry.fusion import frame_points
from my3dis.geometry.points import VoxelFusion
from my3dis.geometry.transforms import is_rigid
from my3dis.lifting.borders import BorderEvidence
from my3dis.lifting.consensus import ConsensusOptions
from my3dis.lifting.grouping import GroupingOptions, group_instances
from my3dis.lifting.hierarchy import HierarchyOptions
from my3dis.lifting.lift import Lifted, LiftOptions, lift_instances, surface_of
from my3dis.lifting.visibility import ViewOptions
from my3dis.lifting.vote import VoteAccumulator, VoteOptions, Votes
from my3dis.runs.files import atomic_write_bytes
from my3dis.runs.instances import save_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import load_relations
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, InstanceSet, SceneCloud

__all__ = ["CONFIG_FIELDS", "INPUTS", "NAME", "OUTPUTS", "run"]

NAME = "lift"
CONFIG_FIELDS: tuple[str, ...] = (
    "experiment.levels",
    "stages.ssam.enabled",
    "stages.ssam.proposer",
    "stages.lift.enabled",
    "stages.lift.min_points",
    "stages.lift.depth_tolerance_m",
    "stages.lift.vote_ratio",
    "stages.lift.voxel_m",
)
INPUTS: tuple[str, ...] = ("tracks", "relations")
OUTPUTS: tuple[str, ...] = ("instances", "instances_ply", "cloud")

_PARTS_PER_OBJECT = 5
"""Below the coarsest level an instance may be this many times smaller."""
_SEEN_TWICE_FROM = 8
"""With so many frames a fused point must be seen by two of them, which removes stray readings."""

_SUPPORT = 0.34
"""A fused point must be seen by this share of the frames that see its best supported neighbour."""


@dataclass(slots=True)
class _Usage:
    """Frames of one pass that were used, and those that could not be, by reason; each is counted once."""

    used: int = 0
    no_pose: int = 0
    no_depth: int = 0


def run(context: StageContext) -> StageOutcome:
    """Vote with every usable frame and write the instances.

    Raises:
        DataError: if the scan's mesh or a frame is damaged.
        ArchiveError: if the tracks are damaged.
        ResourceError: if the results cannot be written.
    """
    layout, settings = context.layout, context.config.stages.lift
    reason = _why_not(context)
    if reason:
        return _skip(layout, reason)
    with open_archive(layout.tracks) as archive:
        levels = context.config.experiment.levels
        tracks = load_relations(layout.relations).apply_to(archive.tracks()).at_levels(levels)
        if not len(tracks):
            return _skip(layout, "nothing was tracked, so there is nothing to lift")
        present = set(archive.frames())
        frames = tuple(index for index in context.frames if index in present)
        cloud = context.reader.cloud()
        fused = cloud is None
        if cloud is None:
            cloud = _fused_cloud(context, frames, settings)
        surface = surface_of(cloud)
        view = ViewOptions(depth_tolerance_m=settings.depth_tolerance_m)
        accumulator = VoteAccumulator(
            cloud.xyz_m,
            surface.normal,
            tracks.track_id,
            view_count=len(frames),
            options=VoteOptions(view=view),
        )
        borders = None
        if not _recognises(context):
            borders = BorderEvidence(cloud, surface, tuple(levels), view)
        usage = _vote(context, archive, (accumulator, borders), frames, second_pass=fused)
        masks_in = len(tracks.obs_track)
    if not usage.used or not len(cloud):
        return _skip(layout, "no frame has both depth and a valid pose")
    votes = accumulator.result()
    if not votes.point_views.any():
        # Instances would be made of the surface alone, whatever the images show.
        return _skip(
            layout,
            f"no frame sees any of the {len(cloud)} points: poses, depth and mesh do not fit together; "
            "my3dis check SCAN says why",
        )
    if borders is None:
        lifted = lift_instances(cloud, surface, votes, tracks, _options(settings))
    else:
        lifted = group_instances(cloud, borders, votes, tracks, _grouping(settings))
    _write(layout, cloud, lifted.instances, fused=fused)
    return StageOutcome(
        masks_in=masks_in, masks_out=len(lifted.instances), facts=_facts(lifted, votes, usage)
    )


def _why_not(context: StageContext) -> str | None:
    overview = context.reader.overview
    if not context.config.stages.lift.enabled:
        return "switched off by stages.lift.enabled"
    lacking = [
        name for name, there in (("depth", overview.has_depth), ("poses", overview.has_pose)) if not there
    ]
    if lacking:
        return f"the scan has no {' and no '.join(lacking)}, so masks cannot be placed in 3D"
    if not context.layout.tracks.is_file() or not context.layout.relations.is_file():
        return "there are no tracks: tracking was skipped"
    return None


def _skip(layout: RunLayout, reason: str) -> StageOutcome:
    # Results of earlier settings would be taken for this run's.
    for path in (layout.instances, layout.instances_ply, layout.cloud):
        path.unlink(missing_ok=True)
    return StageOutcome(skipped=reason)


def _usable_frames(
    context: StageContext, frames: tuple[int, ...], usage: _Usage, done: Callable[[int], None]
) -> Iterator[Frame]:
    for number, index in enumerate(frames, start=1):
        frame = context.reader.frame(index)
        if frame.world_from_camera is None or not is_rigid(frame.world_from_camera):
            usage.no_pose += 1
        elif frame.depth_m is None or frame.depth_camera is None:
            usage.no_depth += 1
        else:
            usage.used += 1
            yield frame
        done(number)


def _fused_cloud(context: StageContext, frames: tuple[int, ...], settings: Lift) -> SceneCloud:
    fusion, usage = VoxelFusion(settings.voxel_m), _Usage()
    total = 2 * len(frames)  # the second pass votes
    for frame in _usable_frames(context, frames, usage, lambda done: context.progress(done, total)):
        fusion.add(*frame_points(frame, spacing_m=settings.voxel_m))
    points = fusion.result(min_frames=2 if usage.used >= _SEEN_TWICE_FROM else 1, support=_SUPPORT)
    if points.voxel_m > settings.voxel_m:
        message = (
            f"points were fused {points.voxel_m:.3f} m apart instead of {settings.voxel_m:.3f} m, because "
            "the scan is too large for the memory allowed; set stages.lift.voxel_m to choose the spacing"
        )
        context.warn(StageWarning(stage=NAME, reason="coarser_points", message=message))
    return SceneCloud(xyz_m=points.xyz_m, color=points.color, digest=cloud_digest(points.xyz_m))


def _vote(
    context: StageContext,
    archive: ArchiveReader,
    asking: tuple[VoteAccumulator, BorderEvidence | None],
    frames: tuple[int, ...],
    *,
    second_pass: bool,
) -> _Usage:
    usage = _Usage()
    accumulator, borders = asking
    before, total = (len(frames), 2 * len(frames)) if second_pass else (0, len(frames))
    for frame in _usable_frames(context, frames, usage, lambda done: context.progress(before + done, total)):
        masks = archive.frame(frame.index)
        masks = masks.select(np.isin(masks.level, context.config.experiment.levels))
        accumulator.add(frame, masks)
        if borders is not None:
            borders.add(frame, masks)
    for reason, count, what in (
        ("invalid_poses", usage.no_pose, "has no valid pose"),
        ("no_depth", usage.no_depth, "has no depth image"),
    ):
        if count:
            message = f"{count} of {len(frames)} frames did not vote: each {what}; their masks are in 2D only"
            context.warn(StageWarning(stage=NAME, reason=reason, message=message))
    return usage


def _recognises(context: StageContext) -> bool:
    """Whether the masks stand for things; tracks that came without this run's masks do."""
    ssam = context.config.stages.ssam
    own = ssam.enabled and context.layout.masks.is_file()
    return not own or plugins.proposer(ssam.proposer).recognises


def _grouping(settings: Lift) -> GroupingOptions:
    return GroupingOptions(
        first_min_points=settings.min_points,
        other_min_points=max(1, settings.min_points // _PARTS_PER_OBJECT),
    )


def _options(settings: Lift) -> LiftOptions:
    return LiftOptions(
        consensus=ConsensusOptions(vote_ratio=settings.vote_ratio),
        hierarchy=HierarchyOptions(
            first_min_points=settings.min_points,
            other_min_points=max(1, settings.min_points // _PARTS_PER_OBJECT),
        ),
    )


def _write(layout: RunLayout, cloud: SceneCloud, instances: InstanceSet, *, fused: bool) -> None:
    if fused:
        assert cloud.color is not None
        atomic_write_bytes(layout.cloud, points_to_ply(cloud.xyz_m, cloud.color))
    else:
        layout.cloud.unlink(missing_ok=True)
    save_instances(layout.instances, instances)
    atomic_write_bytes(layout.instances_ply, instances_to_ply(cloud.xyz_m, instances))


def _facts(lifted: Lifted, votes: Votes, usage: _Usage) -> tuple[tuple[str, float | int | str], ...]:
    instances = lifted.instances
    levels, counts = np.unique(instances.level, return_counts=True)
    covered = np.zeros(instances.n_points, np.bool_)
    covered[instances.point_index] = True
    return (
        *(
            (f"instances at level {level}", n)
            for level, n in zip(levels.tolist(), counts.tolist(), strict=True)
        ),
        ("points", instances.n_points),
        ("points in instances", int(covered.sum())),
        ("points never seen", int((votes.point_views == 0).sum())),
        ("frames used", usage.used),
        ("frames skipped", usage.no_pose + usage.no_depth),
        ("tracks merged", len(lifted.merged)),
        ("instances dropped", lifted.dropped),
        ("speck points dropped", lifted.speck_points),
    )
