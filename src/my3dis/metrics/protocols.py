"""Named evaluation protocols: which ground-truth ids count, what is void, how small an instance may be.

Figures of different protocols cannot be compared, so a protocol's name goes with every score.
Ground truth ids are written as in ScanNet: ``label_id * 1000 + object id``, 0 = unannotated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import ConfigError, DataError
from my3dis.metrics.class_lists import (
    MULTISCAN_OBJECT_LABELS,
    MULTISCAN_PART_LABELS,
    SCANNET200_LABELS,
    SCANNET_V2_LABELS,
)

__all__ = [
    "AP25_THRESHOLD",
    "AP_THRESHOLDS",
    "CLASS_AGNOSTIC",
    "CLASS_AGNOSTIC_PARTS",
    "ID_BASE",
    "NO_VOID",
    "PROTOCOLS",
    "SCANNET200_MERGED",
    "SCANNET_V2_LABELS",
    "SCANNET_V2_MERGED",
    "STRUCTURAL_LABELS",
    "TEN_THRESHOLDS",
    "VOID",
    "Protocol",
    "ScoreMode",
    "object_targets",
    "part_targets",
    "protocol_named",
]

VOID = -1
"""Target of a vertex that belongs to no instance that counts."""

ID_BASE = 1000

AP_THRESHOLDS: tuple[float, ...] = tuple(np.arange(0.5, 0.95, 0.05).tolist())
"""The nine overlaps 0.50 to 0.90 of the official code; 0.95 is not among them, whatever web pages say."""

TEN_THRESHOLDS: tuple[float, ...] = (*AP_THRESHOLDS, 0.95)
"""The overlaps that web pages name; figures over these are lower and compare with no published code."""

AP25_THRESHOLD = 0.25

STRUCTURAL_LABELS: frozenset[int] = frozenset({1, 2, 22})
"""NYU40 wall, floor and ceiling."""

ScoreMode = Literal["ranked", "constant"]
"""``ranked``: confidences as predicted; ``constant``: all 1, as several published scripts write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """One way of turning annotations into targets and predictions into a score.

    Attributes:
        name: printed with every figure.
        summary: one sentence for people.
        min_region: instances and predictions with fewer points do not count.
        scores: the confidences that the protocol's own script uses.
        labels: labels whose instances count; None = all but the structural ones.
        structural_labels: labels that never count and are void.
        void: whether vertices outside counting instances are ignorable; if not, the unannotated rest is
            one more object and structural instances count.
        ids_are_parts: ids carry no label: every id above 0 is one instance.
        by_class: predictions carry labels; each class is scored alone and AP is the mean over classes that
            occur in the ground truth.
    """

    name: str
    summary: str
    min_region: int
    scores: ScoreMode = "ranked"
    labels: frozenset[int] | None = None
    structural_labels: frozenset[int] = STRUCTURAL_LABELS
    void: bool = True
    ids_are_parts: bool = False
    by_class: bool = False


CLASS_AGNOSTIC = Protocol(
    name="class_agnostic",
    summary="every annotated object that is not structural counts, in one class; the rest is void",
    min_region=100,
)
CLASS_AGNOSTIC_PARTS = Protocol(
    name="class_agnostic_parts",
    summary="every annotated part of an object that is not structural counts, in one class; the rest is void",
    min_region=10,
    ids_are_parts=True,
)
SCANNET_V2_MERGED = Protocol(
    name="scannet_v2_merged",
    summary="instances of the 18 ScanNet v2 classes count, merged into one class (as SAI3D scores); "
    "the rest is void",
    min_region=100,
    labels=SCANNET_V2_LABELS,
)
NO_VOID = Protocol(
    name="no_void",
    summary="every id counts, the unannotated rest too, as one object; nothing is void "
    "(as MaskClustering scores without classes)",
    min_region=100,
    scores="constant",
    structural_labels=frozenset(),
    void=False,
)
SCANNET200_MERGED = Protocol(
    name="scannet200_merged",
    summary="instances of the 198 ScanNet200 instance classes count, merged into one class (as Open3DIS "
    "scores); wall, floor and the unlabelled are void",
    min_region=100,
    scores="constant",
    labels=SCANNET200_LABELS,
    structural_labels=frozenset(),
)
_BENCHMARKS = (
    Protocol(
        name="scannet_v2",
        summary="ScanNet v2's benchmark: 18 classes, each scored alone",
        min_region=100,
        labels=SCANNET_V2_LABELS,
        by_class=True,
    ),
    Protocol(
        name="scannet200",
        summary="ScanNet200's benchmark: 198 classes, each scored alone",
        min_region=100,
        labels=SCANNET200_LABELS,
        structural_labels=frozenset(),
        by_class=True,
    ),
    Protocol(
        name="multiscan_objects",
        summary="MultiScan's objects: 17 classes (4 to 20 of its label map), each scored alone",
        min_region=100,
        labels=MULTISCAN_OBJECT_LABELS,
        structural_labels=frozenset(),
        by_class=True,
    ),
    Protocol(
        name="multiscan_parts",
        summary="MultiScan's moving parts: door, drawer, window, lid (2 to 5 of its label map), each scored "
        "alone; a scene is one articulated object",
        min_region=100,
        labels=MULTISCAN_PART_LABELS,
        structural_labels=frozenset(),
        by_class=True,
    ),
    Protocol(
        name="search3d_objects",
        summary="Search3D's objects of MultiScan (<scan>_obj_inst.txt): the classes there are, each alone",
        min_region=100,
        structural_labels=frozenset(),
        by_class=True,
    ),
    Protocol(
        name="search3d_parts",
        summary="Search3D's parts of MultiScan (<scan>_part_inst.txt): the classes there are, each alone",
        min_region=10,
        structural_labels=frozenset(),
        by_class=True,
    ),
    Protocol(
        name="search3d_joint",
        summary="Search3D's parts of objects (<scan>_obj_part_inst.txt): joint classes objectId * 1000 + "
        "partId that occur, each scored alone",
        min_region=10,
        structural_labels=frozenset(),
        by_class=True,
    ),
)

PROTOCOLS: tuple[Protocol, ...] = (
    CLASS_AGNOSTIC,
    CLASS_AGNOSTIC_PARTS,
    SCANNET_V2_MERGED,
    SCANNET200_MERGED,
    NO_VOID,
    *_BENCHMARKS,
)


def protocol_named(name: str, others: Iterable[str] = ()) -> Protocol:
    """Return the protocol of that name.

    Args:
        name: of one of `PROTOCOLS`.
        others: names that the caller knows beside those, for the message.

    Raises:
        ConfigError: naming the nearest right name.
    """
    of_name = {protocol.name: protocol for protocol in PROTOCOLS}
    if name in of_name:
        return of_name[name]
    known = [*of_name, *others]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"expected a protocol among {', '.join(known)}; found {name!r}.{hint}")


def object_targets(
    protocol: Protocol, gt_ids: NDArray[np.integer], structural: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the target of every vertex: the ground-truth id where it counts, `VOID` elsewhere.

    Args:
        protocol: decides what counts.
        gt_ids: (P,) ``label_id * 1000 + object id``, 0 = unannotated.
        structural: (P,) whether a vertex is wall, floor or ceiling by annotation, beside the labels.

    Returns:
        (P,) int64. Without void the ids are reduced modulo 1000, as the protocol's source does.

    Raises:
        DataError: if an id is negative or `structural` has another length.
    """
    ids = _checked_ids(gt_ids)
    if not protocol.void:
        return ids % ID_BASE
    if protocol.ids_are_parts:
        counts = ids > 0
    else:
        label = ids // ID_BASE
        counts = label > 0
        if protocol.labels is not None:
            counts &= np.isin(label, sorted(protocol.labels))
        counts &= ~np.isin(label, sorted(protocol.structural_labels))
    if structural is not None:
        if structural.shape != ids.shape:
            raise DataError(
                f"expected one structural flag for each of {len(ids)} vertices, found {len(structural)}; "
                "the ground-truth files belong to different meshes"
            )
        counts &= ~structural
    return np.where(counts, ids, VOID)


def part_targets(gt_parts: NDArray[np.integer], structural_parts: Iterable[int]) -> NDArray[np.int64]:
    """Return (P,) int64: the part id of every vertex, `VOID` where it is 0 or a part of a structural object.

    Raises:
        DataError: if an id is negative.
    """
    ids = _checked_ids(gt_parts)
    excluded = np.fromiter(sorted(set(structural_parts)), np.int64)
    return np.where((ids > 0) & ~np.isin(ids, excluded), ids, VOID)


def _checked_ids(gt_ids: NDArray[np.integer]) -> NDArray[np.int64]:
    if gt_ids.ndim != 1 or not np.issubdtype(gt_ids.dtype, np.integer):
        raise DataError(
            f"expected one whole-number id per vertex, found an array of {gt_ids.dtype} {gt_ids.shape}"
        )
    if len(gt_ids) and int(gt_ids.min()) < 0:
        raise DataError(f"expected ground-truth ids of 0 or more, found {int(gt_ids.min())}")
    return gt_ids.astype(np.int64)
