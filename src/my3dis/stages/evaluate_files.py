"""Score 3D instances on disk, of one scene or of many, against ground truth on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.files import read_bytes
from my3dis.datasets.ground_truth import GroundTruth, load_vertex_ids, load_vertex_truth
from my3dis.datasets.truth_files import find_truth, is_annotations
from my3dis.errors import ConfigError, DataError
from my3dis.metrics.protocols import (
    AP_THRESHOLDS,
    CLASS_AGNOSTIC,
    CLASS_AGNOSTIC_PARTS,
    TEN_THRESHOLDS,
    Protocol,
    protocol_named,
)
from my3dis.runs.layout import RunLayout
from my3dis.runs.predictions import Prediction, find_predictions, load_prediction
from my3dis.runs.scores import Scores
from my3dis.runs.scoring import CountedScene, counted_scene, pooled_parents, pooled_scores
from my3dis.stages.evaluate import scene_targets
from my3dis.stages.evaluate_tracks import TRACK_PROTOCOLS, evaluate_tracks

__all__ = ["EvaluateOptions", "evaluate_files"]

# Endings of the names of Search3D's files, one of which is the end of another.
_ENDINGS = {
    "search3d_joint": "_obj_part_inst",
    "search3d_objects": "_obj_inst",
    "search3d_parts": "_part_inst",
}
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What may be chosen beside the protocol.

    Attributes:
        run: name of the run to score where scenes have several.
        scenes: text file with the scenes to score, one a line; None = all.
        ten: mean over ten overlaps, 0.50 to 0.95, in place of the nine of ScanNet's code.
    """

    run: str | None = None
    scenes: Path | None = None
    ten: bool = False


def evaluate_files(
    predictions: Path,
    gt: Path,
    protocol: str = CLASS_AGNOSTIC.name,
    options: EvaluateOptions = EvaluateOptions(),
) -> Scores:
    """Score instances on disk against ground truth on disk, pooled over scenes.

    Args:
        predictions: the folder of a run, an ``instances.npz``, a file of a benchmark, or a folder of many
            scenes (`my3dis.runs.predictions`).
        gt: of one scene: a ground-truth folder, the folder of a scan that has one (or its data set's
            annotations), such a file of annotations, a text file with one id per vertex, or an ``.npz``. Of
            many: a folder of ``<scene>.txt``, ``<scene>.npz`` or of such folders named after the scenes.
        protocol: name of a protocol. With ``class_agnostic`` the parts are scored too where there are some;
            ``identity`` and ``davis`` score a run's tracks in the image instead.
        options: see `EvaluateOptions`.

    Raises:
        ConfigError: if there is no such protocol, or options do not go together.
        DataError: if a file is missing, unreadable, damaged, or of another number of vertices; or if a scene
            has predictions but no ground truth, or the other way round.
    """
    try:
        return _evaluate(predictions, gt, protocol, options)
    except OSError as error:  # folders that may not be looked into, names that no file system takes
        reason = (error.strerror or type(error).__name__).lower()
        raise DataError(
            f"{error.filename or gt}: expected a path that can be read, found: {reason}; fix it or its rights"
        ) from error


def _evaluate(predictions: Path, gt: Path, protocol: str, options: EvaluateOptions) -> Scores:
    if protocol in TRACK_PROTOCOLS:
        if options != EvaluateOptions():
            raise ConfigError(f"protocol {protocol} scores the tracks of one run; leave out other options")
        return evaluate_tracks(predictions, gt, protocol)
    chosen = protocol_named(protocol, TRACK_PROTOCOLS)
    thresholds = TEN_THRESHOLDS if options.ten else AP_THRESHOLDS
    pairs = _pairs(predictions, gt, chosen, options)
    scenes = []
    for prediction, path in pairs:
        scenes.append(_count(prediction, path, chosen))
    _require_alike(scenes)
    rows = pooled_scores(scenes, thresholds)
    return Scores(
        scenes=tuple(scene.scene for scene in scenes),
        thresholds=tuple(round(t, 10) for t in thresholds),
        instances=rows,
        parents=pooled_parents(scenes),
        notes=() if any(row.n_gt for row in rows) else (_nothing_counts(chosen),),
    )


def _nothing_counts(protocol: Protocol) -> str:
    ids = (
        "ids above 0" if protocol.ids_are_parts else "ids label * 1000 + instance, labels as it numbers them,"
    )
    return (
        f"no instance of the ground truth counts, so AP is undefined; protocol {protocol.name} wants {ids} "
        f"on {protocol.min_region} vertices or more"
    )


def _count(prediction: Prediction, path: Path, chosen: Protocol) -> CountedScene:
    truth = _truth(path, chosen)
    vertices = truth.parts if truth.instances is None else truth.instances
    instances = load_prediction(prediction, 0 if vertices is None else len(vertices))
    if chosen.ids_are_parts:
        truth = replace(truth, instances=None)
    elif chosen is not CLASS_AGNOSTIC:
        truth = replace(truth, parts=None)
    targets = scene_targets(truth, prediction.scene, objects=chosen, parts=CLASS_AGNOSTIC_PARTS)
    try:
        return counted_scene(instances, targets)
    except DataError as error:
        raise DataError(f"scene {prediction.scene} ({prediction.path}, {path}): {error}") from error


def _require_alike(scenes: Sequence[CountedScene]) -> None:
    with_parts = [scene.scene for scene in scenes if scene.parts is not None]
    if with_parts and len(with_parts) < len(scenes):
        without = [scene.scene for scene in scenes if scene.parts is None]
        raise DataError(
            f"expected ground truth of parts for all scenes or for none, found none for {_some(without)}; "
            "choose protocol scannet_v2_merged for objects alone, or class_agnostic_parts"
        )


def _pairs(
    predictions: Path, gt: Path, protocol: Protocol, options: EvaluateOptions
) -> list[tuple[Prediction, Path]]:
    """Return every scene's predictions and ground truth; none may lack either."""
    found = find_predictions(predictions, options.run)
    if not gt.exists():
        raise DataError(f"{gt}: expected ground truth, found nothing there; check the path")
    many = predictions.is_dir() and not RunLayout(predictions).instances.is_file()
    if gt.is_file() or _is_one_scene(gt):
        if len(found) != 1:
            raise DataError(
                f"{gt}: expected a folder of ground truth for {len(found)} scenes, found that of one scene"
            )
        if options.scenes:
            raise ConfigError(f"--scenes chooses among many scenes, but {gt} is one; leave it out")
        return [(found[0], gt)]
    truths = _scene_truths(gt, protocol)
    if not truths:
        raise DataError(
            f"{gt}: expected {_form(protocol)}, or a folder of <scene>{_ending(protocol)}.txt, <scene>.npz "
            "or <scene>/gt for many; found none"
        )
    by_scene = {prediction.scene: prediction for prediction in found}
    wanted = _listed(options.scenes) if options.scenes else sorted(truths.keys() | by_scene.keys())
    if not many and not options.scenes:
        wanted = sorted(by_scene)
    for what, known in (("predictions", by_scene.keys()), ("ground truth", truths.keys())):
        missing = [scene for scene in wanted if scene not in known]
        if missing:
            raise DataError(
                f"expected {what} for each of {len(wanted)} scenes, found none for {_some(missing)}; add "
                "what is missing, or name the scenes to score with --scenes FILE"
            )
    return [(by_scene[scene], truths[scene]) for scene in wanted]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _listed(path: Path) -> list[str]:
    names = read_bytes(path, "names of scenes, one a line").decode("utf-8", "replace").split()
    if not names:
        raise DataError(f"{path}: expected names of scenes, one a line; found none")
    return list(dict.fromkeys(names))


def _ending(protocol: Protocol) -> str:
    return _ENDINGS.get(protocol.name, "")


def _form(protocol: Protocol) -> str:
    return "gt_parts.txt" if protocol.ids_are_parts else "gt_instances.txt"


def _is_one_scene(folder: Path) -> bool:
    files = ("gt_instances.txt", "gt_parts.txt")
    return find_truth(folder) is not None or any((folder / name).is_file() for name in files)


def _scene_truths(folder: Path, protocol: Protocol) -> dict[str, Path]:
    ending = _ending(protocol)
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if _is_one_scene(path):
                found[path.name] = path
        elif path.suffix in (".txt", ".npz") and path.stem.endswith(ending):
            if any(len(other) > len(ending) and path.stem.endswith(other) for other in _ENDINGS.values()):
                continue
            found[path.stem.removesuffix(ending)] = path
    return found


def _truth(gt: Path, protocol: Protocol) -> GroundTruth:
    """Load ground truth from a folder, a scan's folder, annotations, or one file of the target."""
    if gt.suffix == ".npz":
        truth = load_vertex_truth(gt)
    elif gt.is_file() and not is_annotations(gt):
        ids = load_vertex_ids(gt)
        return GroundTruth(parts=ids) if protocol.ids_are_parts else GroundTruth(instances=ids)
    else:
        truth = load_truth(find_truth(gt) or gt)
    if (truth.parts if protocol.ids_are_parts else truth.instances) is None:
        raise DataError(f"expected {_form(protocol)} in {gt} for protocol {protocol.name}, found none")
    return truth
