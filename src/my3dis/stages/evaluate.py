"""Evaluate: score the run's 3D instances and tracks against ground truth, where the scan has it.

Reads the instances, the tracks and the scan's ground truth; writes ``scores.json``. Apart from the oracle
back ends this is the only code that opens ground truth.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from my3dis.archive import open_archive
from my3dis.datasets.annotations import load_truth
from my3dis.datasets.ground_truth import GroundTruth, load_frame_labels
from my3dis.datasets.reader import FolderReader
from my3dis.metrics.frame_overlap import frame_overlap
from my3dis.metrics.protocols import (
    CLASS_AGNOSTIC,
    CLASS_AGNOSTIC_PARTS,
    Protocol,
    object_targets,
    part_targets,
)
from my3dis.metrics.video import IdentityAccumulator
from my3dis.protocols import SceneReader
from my3dis.runs.instances import load_instances
from my3dis.runs.scores import IdentityScore, Scores, save_scores
from my3dis.runs.scoring import SceneTargets, instance_scores, parent_score
from my3dis.stages.context import StageContext, StageOutcome
from my3dis.types import InstanceSet

__all__ = [
    "CONFIG_FIELDS",
    "INPUTS",
    "NAME",
    "OUTPUTS",
    "frame_name",
    "run",
    "scene_targets",
    "visible_px",
]

NAME = "evaluate"
CONFIG_FIELDS: tuple[str, ...] = (
    "stages.evaluate.enabled",
    "stages.evaluate.min_region_objects",
    "stages.evaluate.min_region_parts",
)
INPUTS: tuple[str, ...] = ("tracks", "instances")
OUTPUTS: tuple[str, ...] = ("scores",)

_VISIBLE_SHARE = 100 / (640 * 480)
"""Share of the image from which on an object counts as visible: 100 px of 640x480."""


def run(context: StageContext) -> StageOutcome:
    """Score instances against objects and parts, their parents, and the identities of tracks.

    Raises:
        DataError: if ground truth is damaged or belongs to another mesh.
    """
    settings = context.config.stages.evaluate
    overview = context.reader.overview
    folder = overview.ground_truth
    if not settings.enabled:
        return StageOutcome(skipped="switched off by stages.evaluate.enabled")
    if folder is None:
        return StageOutcome(skipped=f"no ground truth beside the scan {overview.scene}")
    truth = load_truth(folder)
    notes: list[str] = []
    scores = Scores(scenes=(overview.scene,))
    instances = _instances(context, truth, notes)
    if instances is not None:
        targets = scene_targets(
            truth,
            overview.scene,
            objects=replace(CLASS_AGNOSTIC, min_region=settings.min_region_objects),
            parts=replace(CLASS_AGNOSTIC_PARTS, min_region=settings.min_region_parts),
        )
        scores = replace(
            scores,
            instances=instance_scores(instances, targets),
            parents=parent_score(instances, targets),
        )
    scores = replace(scores, identity=_identity(context, folder, truth.structural_objects, notes))
    if not scores.instances and scores.identity is None:
        return StageOutcome(skipped="nothing can be scored: " + "; ".join(notes))
    save_scores(context.layout.scores, replace(scores, notes=tuple(notes)))
    counted = 0 if instances is None else len(instances)
    return StageOutcome(masks_in=counted, masks_out=counted, facts=_facts(scores))


def scene_targets(truth: GroundTruth, scene: str, *, objects: Protocol, parts: Protocol) -> SceneTargets:
    """Return what a scene's instances are scored against; parts of walls, floors and ceilings are void."""
    excluded = [part for part, whole in truth.object_of_part if whole in truth.structural_objects]
    return SceneTargets(
        scene=scene,
        object_protocol=objects,
        part_protocol=parts,
        objects=None
        if truth.instances is None
        else object_targets(objects, truth.instances, truth.structural),
        parts=None if truth.parts is None else part_targets(truth.parts, excluded),
        object_of_part=dict(truth.object_of_part),
    )


def _instances(context: StageContext, truth: GroundTruth, notes: list[str]) -> InstanceSet | None:
    """Load the instances if vertex labels apply to them; otherwise note why not."""
    path = context.layout.instances
    if not path.is_file():
        notes.append("no 3D instances to score")
        return None
    if truth.instances is None and truth.parts is None:
        notes.append("the ground truth has no labels of vertices")
        return None
    if not context.reader.overview.has_cloud:
        notes.append("the instances are made of points fused from depth, the ground truth labels a mesh")
        return None
    return load_instances(path)


def _identity(
    context: StageContext, folder: Path, structural: frozenset[int], notes: list[str]
) -> IdentityScore | None:
    """Score the identities of the coarsest tracks against label images, one mask decoded at a time."""
    if not context.layout.tracks.is_file():
        notes.append("no tracks to score")
        return None
    if not (folder / "instance").is_dir():
        notes.append("the ground truth has no label images, so identities are not scored")
        return None
    with open_archive(context.layout.tracks) as reader:
        levels = reader.levels()
        level = levels[0] if levels else context.config.experiment.levels[0]
        tracked = set(reader.frames())
        frames = [frame for frame in context.frames if frame in tracked]
        accumulator = IdentityAccumulator(min_visible_px=visible_px(context.reader.overview.image_size))
        unlabelled = 0
        for done, index in enumerate(frames):
            context.progress(done, len(frames))
            name = frame_name(context.reader, index)
            if not (folder / "instance" / f"{name}.png").is_file():
                unlabelled += 1
                continue
            labels = load_frame_labels(folder, name, "instance")
            # Where nothing was tracked the archive has no levels to ask for; its frames are empty.
            masks = reader.frame(index, level if levels else None)
            accumulator.add(frame_overlap(masks, labels, structural))
        context.progress(len(frames), len(frames))
    if unlabelled:
        notes.append(
            f"{unlabelled} of {len(frames)} frames have no label image and are not in the identities"
        )
    if unlabelled == len(frames):
        return None
    return IdentityScore.of(
        accumulator.result(), level=level, target="objects", scene=context.reader.overview.scene
    )


def visible_px(image_size: tuple[int, int]) -> int:
    """Return from how many pixels on an object counts as visible: 100 of 640x480, or that share."""
    height, width = image_size
    return max(1, round(_VISIBLE_SHARE * height * width))


def frame_name(reader: SceneReader, index: int) -> str:
    """Return the name of a frame, without loading its images where the reader keeps a list of names."""
    return reader.files.names[index] if isinstance(reader, FolderReader) else reader.frame(index).name


def _facts(scores: Scores) -> tuple[tuple[str, float | int | str], ...]:
    facts: list[tuple[str, float | int | str]] = []
    for target in ("objects", "parts"):
        row = scores.best("objects" if target == "objects" else "parts")
        if row is not None and row.level is not None:
            facts.append((f"{target}_best_level", row.level))
            for name, value in (("ap", row.ap), ("ap50", row.ap50), ("ap25", row.ap25)):
                if value is not None:
                    facts.append((f"{target}_{name}", value))
    if scores.parents is not None and scores.parents.share is not None:
        facts.append(("parent_consistency", scores.parents.share))
    if scores.identity is not None:
        for name in ("idf1", "tracks_per_object", "returning", "returning_kept"):
            number = getattr(scores.identity, name)
            if number is not None:
                facts.append((name, number))
    return tuple(facts)
