"""Classes scored apart, against hand-worked cases and the slow reference."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.metrics.class_lists import MULTISCAN_OBJECT_LABELS, SCANNET200_LABELS, SCANNET_V2_LABELS
from my3dis.metrics.levels import LevelResult, count_scene, evaluate_counts
from my3dis.metrics.protocols import AP_THRESHOLDS, Protocol, object_targets, protocol_named
from my3dis.types import InstanceSet
from tests.metrics.build import instance_set
from tests.metrics.reference_ap import Scene, reference_ap

SCANNET = protocol_named("scannet_v2")


def labelled(instances: InstanceSet, labels: list[int]) -> InstanceSet:
    return replace(instances, label=np.array(labels, np.int32))


def score(instances: InstanceSet, ids: np.ndarray, protocol: Protocol = SCANNET) -> LevelResult:
    counted = count_scene(instances, object_targets(protocol, ids), min_region=protocol.min_region)
    return evaluate_counts([counted], protocol)[-1]


def test_right_place_but_wrong_class_is_a_miss_and_a_mistake() -> None:
    """A table over a chair is wrong for tables; the chair stays unfound; the mean is over both classes."""
    ids = np.repeat([5001, 7001, 1001, 0], [200, 200, 200, 100])
    found = labelled(instance_set([range(200), range(200, 400)], 700), [5, 5])
    result = score(found, ids)
    assert [c.label for c in result.classes] == [5, 7]
    chair, table = (c.ranked.thresholds[0] for c in result.classes)
    # Both masks have confidence 1: R 1, P 1/2 → 3/4; table: nothing found.
    assert (chair.true_positives, chair.false_positives, chair.ap) == (1, 1, 0.75)
    assert table.ap == 0.0
    assert result.ranked.ap50 == 0.375
    assert result.constant.closed_form == pytest.approx(result.constant.ap)


def test_other_classes_are_not_void() -> None:
    """A chair's mask mostly over a table is a false positive, mostly over the wall it is ignored."""
    ids = np.repeat([5001, 7001, 1001], [200, 300, 300])
    on_table = labelled(instance_set([range(200), range(150, 500)], 800), [5, 5])
    assert score(on_table, ids).classes[0].ranked.thresholds[0].false_positives == 1
    on_wall = labelled(instance_set([range(200), range(500, 800)], 800), [5, 5])
    assert score(on_wall, ids).classes[0].ranked.thresholds[0].false_positives == 0


def test_unknown_labels_are_dropped_and_classes_without_truth_skipped() -> None:
    """A bed where there is none and a label that no class has change nothing."""
    ids = np.repeat([5001, 0], [200, 200])
    found = labelled(instance_set([range(200), range(200, 400), range(200)], 400), [5, 4, 77])
    result = score(found, ids)
    assert [c.label for c in result.classes] == [5]
    assert result.ranked.ap == 1.0


def test_predictions_without_labels_are_refused() -> None:
    """Class-agnostic instances get a sentence, not a score of 0."""
    with pytest.raises(DataError, match="class_agnostic"):
        score(instance_set([range(200)], 200), np.full(200, 5001))


def test_joint_classes_are_all_that_occur() -> None:
    """Search3D's joint ids have six digits before the instance, and ten vertices are enough."""
    protocol = protocol_named("search3d_joint")
    ids = np.repeat([12_003_001, 12_004_001, 0], [10, 10, 10])
    found = labelled(instance_set([range(10), range(10, 20)], 30), [12_003, 12_004])
    result = score(found, ids, protocol)
    assert ([c.label for c in result.classes], result.ranked.ap) == ([12_003, 12_004], 1.0)


def test_no_ground_truth_is_nan() -> None:
    """Without any class there is no mean."""
    assert math.isnan(
        score(labelled(instance_set([range(200)], 200), [5]), np.zeros(200, np.int64)).ranked.ap
    )


def test_numbers_of_classes() -> None:
    """The lists are as long as the benchmarks say; ScanNet200 has neither wall nor floor."""
    assert (len(SCANNET_V2_LABELS), len(SCANNET200_LABELS), len(MULTISCAN_OBJECT_LABELS)) == (18, 198, 17)
    assert not SCANNET200_LABELS & {1, 3}
    assert {2, 1163, 1191} <= SCANNET200_LABELS


@pytest.mark.parametrize("seed", range(60))
def test_equals_the_slow_reference_class_by_class(seed: int) -> None:
    """Each class equals the reference on sets, where void is what no class of the protocol has."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 80))
    protocol = replace(SCANNET, min_region=int(rng.integers(1, 5)))
    ids = rng.choice([0, 1001, 5001, 5002, 7001, 39001, 40001], n)
    masks = [np.flatnonzero((ids == rng.choice(ids)) ^ (rng.random(n) < 0.15)).tolist() for _ in range(8)]
    labels = rng.choice([5, 7, 39, 40], 8).tolist()
    scores = (rng.integers(1, 5, 8) / 4).tolist()
    result = score(labelled(instance_set(masks, n, scores=scores), labels), ids, protocol)
    known = {5, 7, 39}
    void = frozenset(i for i in range(n) if int(ids[i]) // 1000 not in known)
    expected = {}
    for label in known:
        truth = {int(i): frozenset(np.flatnonzero(ids == i).tolist()) for i in ids if i // 1000 == label}
        mine = [
            (frozenset(m), float(np.float32(c)))
            for m, of, c in zip(masks, labels, scores, strict=True)
            if of == label
        ]
        scene = Scene(predictions=mine, ground_truth=truth, void=void)
        aps = [reference_ap([scene], t, protocol.min_region) for t in AP_THRESHOLDS]
        if not math.isnan(aps[0]):
            expected[label] = float(np.mean(aps))
    assert {c.label: c.ranked.ap for c in result.classes} == pytest.approx(expected, abs=1e-12)
    mean = float(np.mean(list(expected.values()))) if expected else math.nan
    assert result.ranked.ap == pytest.approx(mean, abs=1e-12, nan_ok=True)
