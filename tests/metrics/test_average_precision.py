"""ScanNet AP against hand-made vectors, a slow reference and its own closed form."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.metrics.average_precision import (
    average_precision,
    constant_score_ap,
    evaluate_instances,
    evaluate_score_modes,
    precision_recall_curve,
)
from my3dis.metrics.matching import overlaps
from my3dis.metrics.protocols import AP_THRESHOLDS, TEN_THRESHOLDS, VOID
from tests.metrics.build import instance_set
from tests.metrics.reference_ap import Scene, reference_ap

P = 1000


def target(*spans: tuple[int, int], n: int = P) -> np.ndarray:
    """Ground truth with instance 1 on the first span, 2 on the second, and void elsewhere."""
    ids = np.full(n, VOID, np.int64)
    for i, (start, stop) in enumerate(spans):
        ids[start:stop] = i + 1
    return ids


def test_thresholds_are_the_nine_of_the_code() -> None:
    """The mean runs over 0.50 to 0.90 and leaves 0.95 out."""
    assert len(AP_THRESHOLDS) == 9
    assert AP_THRESHOLDS[0] == 0.5
    assert AP_THRESHOLDS[-1] == pytest.approx(0.9)


def test_exact_copy_scores_100() -> None:
    """A copy of the ground truth reaches AP 1 whatever the confidences."""
    gt = target((0, 200), (200, 500))
    result = evaluate_instances([(instance_set([range(200), range(200, 500)], P, scores=[0.3, 0.9]), gt)])
    assert (result.ap, result.ap50, result.ap25) == (1.0, 1.0, 1.0)
    assert (result.n_gt, result.n_predictions, result.n_scenes) == (2, 2, 1)


def test_duplicate_with_lower_confidence_costs_nothing_when_ranked_and_a_quarter_when_constant() -> None:
    """The lower of two hits is false: harmless behind the true one, P = 1/2 beside it."""
    gt = target((0, 200))
    twice = instance_set([range(200), range(200)], P, scores=[0.9, 0.4])
    # Curve at 0.4: P 1/2, R 1; at 0.9: P 1, R 1; end: P 1, R 0. Widths 0, 1/2, 1/2.
    assert evaluate_instances([(twice, gt)]).ap == pytest.approx(1.0)
    assert evaluate_instances([(twice, gt)], scores="constant").ap == pytest.approx(1 * (1 + 0.5) / 2)


def test_duplicate_with_higher_confidence_takes_the_hit() -> None:
    """The higher confidence stays the true positive although it comes later in the input."""
    gt = target((0, 200))
    twice = instance_set([range(200), range(200)], P, scores=[0.4, 0.9])
    assert evaluate_instances([(twice, gt)]).ap == pytest.approx(1.0)


def test_prediction_fully_in_void_is_ignored() -> None:
    """A mask on void is neither right nor wrong."""
    gt = target((0, 200))
    result = evaluate_instances([(instance_set([range(200), range(400, 700)], P), gt)])
    assert result.ap == 1.0
    assert result.thresholds[0].ignored == 1
    assert result.thresholds[0].false_positives == 0


def test_void_share_is_compared_with_the_threshold_itself() -> None:
    """A mask of which 60 % is void is ignored at 0.50 and 0.25 but is a false positive from 0.60 on."""
    gt = target((0, 200), (200, 600))
    mixed = instance_set([range(200), range(200, 600), [*range(200, 280), *range(600, 720)]], P)
    result = evaluate_instances([(mixed, gt)], scores="constant")
    wrong = {round(r.threshold, 2): r.false_positives for r in result.thresholds}
    assert wrong[0.5] == wrong[0.55] == wrong[0.25] == 0
    # 0.6000000000000001 in floating point: a share of exactly 0.6 is not above it.
    assert wrong[0.6] == wrong[0.9] == 1


def test_prediction_over_a_99_vertex_instance_is_neutral() -> None:
    """An instance under the minimum does not count, and hitting it is no mistake."""
    gt = target((0, 200), (300, 399))
    result = evaluate_instances([(instance_set([range(200), range(300, 400)], P), gt)])
    assert (result.ap, result.n_gt) == (1.0, 1)
    assert result.thresholds[0].ignored == 1


def test_prediction_of_99_vertices_is_dropped_and_counted() -> None:
    """A small prediction is left out before anything is matched."""
    result = evaluate_instances([(instance_set([range(99)], P), target((0, 110)))])
    assert (result.ap, result.dropped_small, result.n_predictions) == (0.0, 1, 0)


def test_two_instances_under_one_mask() -> None:
    """IoU of exactly 1/2 is no hit at 0.50 (strict); at 0.25 the mask serves the first instance only."""
    gt = target((0, 200), (200, 400))
    result = evaluate_instances([(instance_set([range(400)], P), gt)])
    assert result.ap50 == 0.0
    assert result.thresholds[0].false_positives == 1
    assert result.ap25 == pytest.approx(0.5 * (1 + 1) / 2)


def test_equal_confidences_follow_the_closed_form() -> None:
    """With one confidence for all, AP is R (1 + P) / 2 at every threshold."""
    gt = target((0, 200), (200, 400), (400, 600))
    found = instance_set([range(200), range(200, 390), range(450, 620)], P)
    result = evaluate_instances([(found, gt)])
    for at in result.thresholds:
        assert at.ap == pytest.approx(constant_score_ap(at.precision, at.recall))
    assert result.ap50 == pytest.approx(1.0)


def test_hand_computed_ranked_curve() -> None:
    """Confidences 0.9 true, 0.8 false, 0.7 true with one instance missed give the area worked out by hand."""
    score = np.array([0.9, 0.8, 0.7])
    is_true = np.array([True, False, True])
    # Points (P, R): 0.7: 2/3, 2/3; 0.8: 1/2, 1/3; 0.9: 1, 1/3; end: 1, 0.
    # Widths: (2/3 - 1/3)/2 = 1/6, (2/3 - 1/3)/2 = 1/6, (1/3 - 0)/2 = 1/6, (1/3 - 0)/2 = 1/6.
    expected = (2 / 3 + 1 / 2 + 1 + 1) / 6
    assert average_precision(score, is_true, 1) == pytest.approx(expected)


def test_scan_without_ground_truth_is_nan_and_without_predictions_zero() -> None:
    """Nothing to find gives NaN, nothing found gives 0."""
    nothing = evaluate_instances([(instance_set([range(200)], P), target())])
    assert all(math.isnan(v) for v in (nothing.ap, nothing.ap50, nothing.ap25))
    assert evaluate_instances([(instance_set([], P), target((0, 200)))]).ap == 0.0


def test_all_predictions_ignored_is_zero() -> None:
    """Ground truth with only neutral predictions scores 0 instead of failing."""
    assert evaluate_instances([(instance_set([range(500, 700)], P), target((0, 200)))]).ap == 0.0


def test_empty_scene_list_is_nan() -> None:
    """No scene at all has no score."""
    assert math.isnan(evaluate_instances([]).ap)


def test_false_positives_of_a_scan_without_ground_truth_count_in_the_pool() -> None:
    """Scenes are pooled: wrong masks of one scene lower the precision of all."""
    good = (instance_set([range(200)], P, scores=[0.5]), target((0, 200)))
    gt = np.full(P, 7, np.int64)
    bad = (instance_set([range(200)], P, scores=[0.9]), gt)
    # At 0.9: P 0, R 0; at 0.5: P 1/2, R 1/2 (the second scene's instance is missed); end P 1, R 0.
    assert evaluate_instances([good, bad]).ap50 == pytest.approx(0.5 * (0.5 - 0) / 2)


def test_length_mismatch_names_both_lengths() -> None:
    """Ground truth of another mesh is refused with both lengths."""
    with pytest.raises(DataError, match=r"1000.*998"):
        evaluate_instances([(instance_set([range(200)], P), target(n=998))])


def test_repeated_point_is_refused() -> None:
    """An instance that lists a vertex twice would count it twice, so it is refused."""
    good = instance_set([range(200), range(100, 300)], P)
    index = good.point_index.copy()
    index[1] = 0
    with pytest.raises(DataError, match="ascending"):
        overlaps(replace(good, point_index=index), target((0, 200)), min_region=1)


scene_strategy = st.builds(
    lambda seed, n_points, n_gt, n_predictions, ties: (seed, n_points, n_gt, n_predictions, ties),
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(0, 6),
    st.integers(0, 12),
    st.booleans(),
)


def random_scene(seed: int, n_points: int, n_gt: int, n_predictions: int, ties: bool):
    """Return the same random scene for the implementation and for the reference."""
    rng = np.random.default_rng(seed)
    ids = rng.choice([VOID, *(np.arange(n_gt) * 7 + 3)], n_points)
    predictions: list[set[int]] = []
    for _ in range(n_predictions):
        of = rng.choice(ids)
        mask = set(np.flatnonzero((ids == of) & (rng.random(n_points) < rng.uniform(0.4, 1.0))).tolist())
        noise = rng.random(n_points) < rng.choice([0.0, 0.05, 0.4])
        predictions.append(mask | set(np.flatnonzero(noise).tolist()))
    scores = (rng.integers(1, 4, n_predictions) / 4 if ties else rng.random(n_predictions)).astype(np.float32)
    scene = Scene(
        predictions=[(frozenset(v), float(c)) for v, c in zip(predictions, scores, strict=True)],
        ground_truth={
            int(i): frozenset(np.flatnonzero(ids == i).tolist()) for i in np.unique(ids) if i != VOID
        },
        void=frozenset(np.flatnonzero(ids == VOID).tolist()),
    )
    return (instance_set(predictions, n_points, scores=scores.tolist()), ids.astype(np.int64)), scene


def assert_same(actual: float, expected: float) -> None:
    assert actual == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(scene_strategy, min_size=1, max_size=3), st.integers(1, 8))
def test_equals_the_slow_reference(
    parameters: list[tuple[int, int, int, int, bool]], min_region: int
) -> None:
    """Every threshold equals a set-based reference on random overlapping, noisy and tied scenes."""
    pairs = [random_scene(*p) for p in parameters]
    result = evaluate_instances([scene for scene, _ in pairs], min_region=min_region)
    references = [scene for _, scene in pairs]
    expected = [reference_ap(references, at.threshold, min_region) for at in result.thresholds]
    for at, value in zip(result.thresholds, expected, strict=True):
        assert_same(at.ap, value)
    assert_same(result.ap, float(np.mean(expected[:-1])))
    assert_same(result.ap25, expected[-1])


def compare_scenes(seeds: range) -> None:
    """Compare one small scene a seed at one threshold, ranked and constant."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        numbers = (int(rng.integers(1, 40)), int(rng.integers(0, 5)), int(rng.integers(0, 8)))
        (instances, ids), scene = random_scene(seed, *numbers, bool(rng.random() < 0.5))
        min_region = int(rng.integers(1, 6))
        at = int(rng.integers(0, 10))
        ranked, constant = evaluate_score_modes([(instances, ids)], min_region=min_region)
        threshold = ranked.thresholds[at].threshold
        assert_same(ranked.thresholds[at].ap, reference_ap([scene], threshold, min_region))
        scene.predictions = [(vertices, 1.0) for vertices, _ in scene.predictions]
        assert_same(constant.thresholds[at].ap, reference_ap([scene], threshold, min_region))
        assert_same(constant.ap, constant.closed_form)


def test_six_hundred_scenes_equal_the_slow_reference() -> None:
    """Ranked, constant and closed form equal the reference on small scenes, one threshold each."""
    compare_scenes(range(600))


@pytest.mark.soak
def test_thirty_thousand_scenes_equal_the_slow_reference() -> None:
    """The same for thirty thousand more."""
    compare_scenes(range(600, 30_600))


@settings(max_examples=40, deadline=None)
@given(scene_strategy, st.integers(1, 5))
def test_pooling_a_scene_with_itself_changes_nothing(
    parameters: tuple[int, int, int, int, bool], min_region: int
) -> None:
    """Every count doubles, so precision and recall stay."""
    scene, _ = random_scene(*parameters)
    once = evaluate_instances([scene], min_region=min_region)
    twice = evaluate_instances([scene, scene], min_region=min_region)
    for one, other in zip(once.thresholds, twice.thresholds, strict=True):
        assert_same(one.ap, other.ap)


@settings(max_examples=40, deadline=None)
@given(scene_strategy, scene_strategy, st.integers(1, 5))
def test_two_rooms_in_one_scan_score_as_two_scans(
    first: tuple[int, int, int, int, bool], second: tuple[int, int, int, int, bool], min_region: int
) -> None:
    """Splitting a scene along a wall that nothing crosses changes no score."""
    rooms = [random_scene(*p)[0] for p in (first, second)]
    (one, one_ids), (two, two_ids) = rooms
    vertices = [one.points_of(k).tolist() for k in range(len(one))]
    vertices += [(two.points_of(k) + len(one_ids)).tolist() for k in range(len(two))]
    scores = [*one.score.tolist(), *two.score.tolist()]
    joined = instance_set(vertices, len(one_ids) + len(two_ids), scores=scores)
    ids = np.concatenate([one_ids, np.where(two_ids == VOID, VOID, two_ids + 1000)])
    apart = evaluate_instances(rooms, min_region=min_region)
    together = evaluate_instances([(joined, ids)], min_region=min_region)
    for a, b in zip(apart.thresholds, together.thresholds, strict=True):
        assert_same(a.ap, b.ap)


@settings(max_examples=40, deadline=None)
@given(scene_strategy, st.integers(1, 5), st.integers(0, 1000))
def test_input_order_matters_at_25_only(
    parameters: tuple[int, int, int, int, bool], min_region: int, shuffle: int
) -> None:
    """From 0.50 on a prediction hits one instance at most, so the order of the input decides nothing."""
    (instances, ids), _ = random_scene(*parameters)
    order = np.random.default_rng(shuffle).permutation(len(instances)).tolist()
    vertices = [instances.points_of(k).tolist() for k in order]
    moved = instance_set(vertices, len(ids), scores=instances.score[order].tolist())
    before = evaluate_instances([(instances, ids)], min_region=min_region)
    after = evaluate_instances([(moved, ids)], min_region=min_region)
    for a, b in zip(before.thresholds[:-1], after.thresholds[:-1], strict=True):
        assert_same(a.ap, b.ap)


def test_ten_thresholds_are_an_option() -> None:
    """The tenth overlap, 0.95, lowers the mean of a mask that covers 94 %."""
    scene = (instance_set([range(188)], P), target((0, 200)))
    nine, ten = (
        evaluate_score_modes([scene], ("ranked",), thresholds=t)[0] for t in (AP_THRESHOLDS, TEN_THRESHOLDS)
    )
    assert (nine.ap, ten.ap) == (1.0, pytest.approx(0.9))
    assert (len(ten.thresholds), ten.ap50, ten.ap25) == (11, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(scene_strategy, st.integers(1, 8))
def test_constant_confidence_equals_the_closed_form(
    parameters: tuple[int, int, int, int, bool], min_region: int
) -> None:
    """Constant scores give R (1 + P) / 2 on random scenes."""
    scene, _ = random_scene(*parameters)
    for at in evaluate_instances([scene], min_region=min_region, scores="constant").thresholds:
        if not math.isnan(at.recall) and not math.isnan(at.precision):
            assert_same(at.ap, constant_score_ap(at.precision, at.recall))


@settings(max_examples=60, deadline=None)
@given(scene_strategy, st.integers(1, 5))
def test_point_order_and_id_names_do_not_matter(
    parameters: tuple[int, int, int, int, bool], min_region: int
) -> None:
    """Shuffled vertices and renamed ids (in the same order) give the same scores."""
    (instances, ids), _ = random_scene(*parameters)
    before = evaluate_instances([(instances, ids)], min_region=min_region)
    moved_to = np.random.default_rng(parameters[0]).permutation(len(ids))
    moved_ids = np.empty_like(ids)
    moved_ids[moved_to] = np.where(ids == VOID, VOID, ids * 1000 + 5)
    vertices = [moved_to[instances.points_of(k)].tolist() for k in range(len(instances))]
    moved = instance_set(vertices, len(ids), scores=instances.score.tolist())
    after = evaluate_instances([(moved, moved_ids)], min_region=min_region)
    for one, other in zip(before.thresholds, after.thresholds, strict=True):
        assert_same(one.ap, other.ap)


def test_blocks_of_predictions_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting in blocks of one prediction equals counting all at once."""
    (instances, ids), _ = random_scene(5, 60, 6, 12, False)
    whole = overlaps(instances, ids, min_region=1)
    monkeypatch.setattr("my3dis.metrics.matching._BLOCK_CELLS", 1)
    blocks = overlaps(instances, ids, min_region=1)
    for name in ("pair_prediction", "pair_gt", "pair_count", "void"):
        assert np.array_equal(getattr(whole, name), getattr(blocks, name))


def test_large_scene_is_quick() -> None:
    """300,000 vertices and 500 predictions of 3,000 vertices are scored within 2 s of processor time."""
    rng = np.random.default_rng(0)
    n = 300_000
    ids = np.repeat(np.arange(100), n // 100).astype(np.int64)
    starts = rng.integers(0, n - 3000, 500)
    instances = instance_set([range(s, s + 3000) for s in starts], n, scores=rng.random(500).tolist())
    began = time.process_time()
    result = evaluate_instances([(instances, ids)])
    assert time.process_time() - began < 2.0
    assert result.n_gt == 100


def test_curve_is_what_the_area_is_of() -> None:
    """A hit, a miss and a hit, one object unfound: recall and precision at each confidence, by hand."""
    recall, precision = precision_recall_curve(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 1)
    np.testing.assert_allclose(recall, [2 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(precision, [2 / 3, 1 / 2, 1, 1])
    empty = precision_recall_curve(np.zeros(0), np.zeros(0, bool), 3)
    assert [len(part) for part in empty] == [0, 0]
