"""Identities of tracks, on little stories told frame by frame."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.metrics.video import (
    FrameOverlap,
    IdentityAccumulator,
    mean_region_similarity,
    region_similarity,
)


def frame(shared: dict[tuple[int, int], int], gt: dict[int, int], void: dict[int, int] | None = None):
    """One frame from {(track, object): shared pixels}, {object: pixels} and {track: void pixels}."""
    void = void or {}
    tracks = sorted({t for t, _ in shared} | set(void))
    objects = sorted(gt)
    table = np.array([[shared.get((t, g), 0) for g in objects] for t in tracks], np.int64)
    table = table.reshape(len(tracks), len(objects))
    in_void = np.array([void.get(t, 0) for t in tracks], np.int64)
    return FrameOverlap(
        track_id=np.array(tracks, np.int64),
        track_px=table.sum(axis=1) + in_void,
        gt_id=np.array(objects, np.int64),
        gt_px=np.array([gt[g] for g in objects], np.int64),
        shared_px=table,
        void_px=in_void,
    )


def score(frames, **options):
    accumulator = IdentityAccumulator(**options)
    for one in frames:
        accumulator.add(one)
    return accumulator.result()


def one(track: int):
    return frame({(track, 1): 500}, {1: 500})


GONE = frame({}, {})
UNTRACKED = frame({}, {1: 500})


def test_region_similarity_and_its_mean() -> None:
    """J is IoU, 1 for two empty masks, and the given first frame is left out of the mean."""
    j = region_similarity(np.array([50, 10, 0]), np.array([50, 20, 0]), np.array([50, 30, 0]))
    assert j.tolist() == [1.0, 0.25, 1.0]
    assert mean_region_similarity(j) == 0.625
    assert math.isnan(mean_region_similarity(j[:1]))


def test_one_track_all_along_is_perfect() -> None:
    """One object under one id scores 1 with one track per object."""
    result = score([one(7)] * 10)
    assert result.idf1 == 1.0
    assert (result.tracks_per_object, result.claimants_per_object) == (1.0, 1.0)
    assert (result.switches, result.fragmentations, result.objects, result.tracks) == (0, 0, 1, 1)


def test_a_changed_id_is_a_switch_and_halves_idf1() -> None:
    """Two ids of five frames each cover half of the object each."""
    result = score([one(7)] * 5 + [one(8)] * 5)
    assert (result.switches, result.fragmentations) == (1, 0)
    assert result.tracks_per_object == 2.0
    # IDTP 5 of 10 ground-truth and 10 predicted frames.
    assert result.idf1 == pytest.approx(2 * 5 / 20)


def test_a_gap_in_view_is_a_fragmentation() -> None:
    """Losing a visible object and finding it again under the same id is no switch."""
    result = score([one(7), UNTRACKED, one(7)])
    assert (result.switches, result.fragmentations) == (0, 1)
    assert result.idf1 == pytest.approx(2 * 2 / (3 + 2))


def test_return_after_absence_with_the_same_and_with_another_id() -> None:
    """An absence of five frames makes a return; keeping the id counts, changing it does not."""
    kept = score([one(7)] + [GONE] * 5 + [one(7)])
    assert (kept.returning, kept.returning_kept, kept.fragmentations) == (1, 1, 0)
    lost = score([one(7)] + [GONE] * 5 + [one(8)])
    assert (lost.returning, lost.returning_kept, lost.switches) == (1, 0, 1)
    short = score([one(7)] + [GONE] * 4 + [one(8)])
    assert short.returning == 0


def test_return_that_is_never_tracked_is_not_kept() -> None:
    """An object that comes back unseen by the tracker has not kept its id."""
    result = score([one(7)] + [GONE] * 5 + [UNTRACKED])
    assert (result.returning, result.returning_kept) == (1, 0)


def test_one_failed_return_of_several_counts_as_lost() -> None:
    """An object must keep its id over all its absences."""
    result = score([one(7), *[GONE] * 5, one(8), *[GONE] * 5, one(8)])
    assert (result.returning, result.returning_kept) == (1, 0)


def test_tracks_on_void_are_neither_right_nor_wrong() -> None:
    """A track on the wall does not lower IDF1 and is no track of an object."""
    result = score([frame({(7, 1): 500}, {1: 500}, {9: 4000})] * 4)
    assert (result.idf1, result.tracks) == (1.0, 1)


def test_barely_visible_objects_do_not_count() -> None:
    """Under the minimum an object is not expected, and a track there is neutral."""
    result = score([frame({(7, 1): 50}, {1: 50})] * 4)
    assert math.isnan(result.idf1)
    assert (result.objects, result.tracks) == (0, 0)


def test_fragments_show_as_claimants() -> None:
    """Two pieces too small to match are counted as claimants of the object, and lower IDF1."""
    result = score([frame({(1, 1): 200, (2, 1): 200}, {1: 500})] * 3)
    assert (result.matched_objects, result.claimants_per_object, result.idf1) == (0, 2.0, 0.0)
    assert math.isnan(result.tracks_per_object)


def test_the_track_of_before_wins_while_it_fits() -> None:
    """A second overlapping track that fits better does not make a switch."""
    both = frame({(7, 1): 400, (8, 1): 500}, {1: 500})
    result = score([one(7), both, both])
    assert (result.switches, result.tracks_per_object) == (0, 1.0)


def test_one_track_over_two_objects_serves_one() -> None:
    """A merged track can be right for one of the objects only."""
    merged = frame({(7, 1): 500, (7, 2): 300}, {1: 500, 2: 300})
    result = score([merged] * 4)
    assert (result.objects, result.matched_objects) == (2, 1)
    # The track is 800 px, the larger object 500 of them; the other is never matched.
    assert result.mean_j == pytest.approx(500 / 800 / 2)
    # IDTP 4; ground truth 8, predicted 4.
    assert result.idf1 == pytest.approx(2 * 4 / 12)


def test_shapes_must_agree() -> None:
    """A table of another shape is refused."""
    nothing = np.zeros(0, np.int64)
    with pytest.raises(DataError, match="FrameOverlap"):
        FrameOverlap(
            track_id=np.array([1]),
            track_px=np.array([5]),
            gt_id=nothing,
            gt_px=nothing,
            shared_px=np.zeros((1, 1), np.int64),
            void_px=np.zeros(1, np.int64),
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.permutations(list(range(5))))
def test_names_of_tracks_do_not_matter(seed: int, names: list[int]) -> None:
    """Renamed tracks give the same scores, and IDF1 stays within 0 and 1."""
    rng = np.random.default_rng(seed)
    stories = []
    for _ in range(12):
        gt = {g: int(rng.integers(100, 500)) for g in range(1, 4) if rng.random() < 0.7}
        shared = {}
        for g, px in gt.items():
            if rng.random() < 0.8:
                shared[int(rng.integers(0, 5)), g] = int(px * rng.uniform(0.4, 1.0))
        stories.append((shared, gt))
    before = score([frame(s, g) for s, g in stories])
    after = score([frame({(names[t] + 50, o): n for (t, o), n in s.items()}, g) for s, g in stories])
    assert before.idf1 == pytest.approx(after.idf1, nan_ok=True)
    assert (before.switches, before.fragmentations, before.tracks) == (
        after.switches,
        after.fragmentations,
        after.tracks,
    )
    assert math.isnan(before.idf1) or 0 <= before.idf1 <= 1
