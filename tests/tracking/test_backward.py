"""The backward sweep: what it fills in, what it merges and what it leaves alone."""

from __future__ import annotations

import numpy as np

from my3dis.tracking.backward import BackwardOptions, BackwardPass, BackwardStep, Spans
from my3dis.types import MaskSet, MaskSource, TrackSet
from tests.tracking.flatland import boxes

HERE, THERE = (4, 10, 20, 30), (40, 10, 60, 30)


def spans(*tracks: tuple[int, int, int]) -> Spans:
    """Return spans of (track, first frame, last frame)."""
    columns = np.array(tracks, np.int32).reshape(-1, 3)
    none = np.zeros(0, np.int32)
    return Spans(
        TrackSet(
            track_id=columns[:, 0].copy(),
            level=np.full(len(columns), 2, np.int16),
            parent_id=np.full(len(columns), -1, np.int32),
            first_frame=columns[:, 1].copy(),
            last_frame=columns[:, 2].copy(),
            obs_track=none,
            obs_frame=none,
            obs_mask_id=none,
            obs_score=np.zeros(0, np.float32),
        )
    )


def tracked(frame: int, *masks: tuple[int, tuple[int, int, int, int]], score: float = 1.0) -> MaskSet:
    """Return masks of (track, box)."""
    ids = np.array([track for track, _ in masks], np.int32)
    return boxes(frame, *(box for _, box in masks), track_id=ids, score=score)


def sweep(
    backward: BackwardPass, rows: dict[int, MaskSet], carried: dict[int, MaskSet]
) -> dict[int, BackwardStep]:
    return {f: backward.observe(carried.get(f, tracked(f)), rows[f]) for f in sorted(rows, reverse=True)}


def test_frames_before_a_birth_are_filled_in() -> None:
    """Where nobody explains the carried mask, it is written with a new mask id and source TRACK."""
    backward = BackwardPass(spans((0, 0, 3), (1, 2, 3)))
    rows = {f: tracked(f, (0, THERE), *([(1, HERE)] if f >= 2 else [])) for f in range(4)}
    steps = sweep(backward, rows, {f: tracked(f, (1, HERE)) for f in (1, 0)})
    assert steps[2].prompts.track_id.tolist() == [1]
    for frame in (1, 0):
        added = steps[frame].rows
        assert added.track_id.tolist() == [1]
        assert added.source.tolist() == [MaskSource.TRACK]
        assert added.mask_id.tolist() == [1]
    assert backward.rows_written == 2
    assert backward.merges() == ()


def test_a_track_is_followed_back_a_bounded_number_of_frames() -> None:
    """After the given number of frames the tracker is told to forget."""
    backward = BackwardPass(spans((1, 9, 9)), BackwardOptions(frames=3))
    rows = {f: tracked(f, *([(1, HERE)] if f == 9 else [])) for f in range(4, 10)}
    steps = sweep(backward, rows, {f: tracked(f, (1, HERE)) for f in (8, 7, 6)})
    assert [len(steps[f].rows) for f in (8, 7, 6, 5)] == [1, 1, 1, 0]
    assert steps[6].dropped == (1,)
    assert not backward.is_following


def test_meeting_a_track_that_ended_before_is_evidence_that_both_are_one() -> None:
    """Two frames of agreement merge the younger track into the older, and nothing is written there."""
    backward = BackwardPass(spans((0, 0, 2), (1, 4, 6)))
    rows = {f: tracked(f, (0, HERE)) for f in range(3)} | {3: tracked(3)}
    rows |= {f: tracked(f, (1, HERE)) for f in range(4, 7)}
    steps = sweep(backward, rows, {f: tracked(f, (1, HERE)) for f in (3, 2, 1, 0)})
    assert [len(steps[f].rows) for f in (3, 2, 1)] == [1, 0, 0]
    (merge,) = backward.merges()
    assert (merge.old, merge.new, merge.reason) == (1, 0, "overlap")
    assert merge.strength == 1.0


def test_tracks_that_live_side_by_side_are_never_merged() -> None:
    """The mask of a track that still lives after the birth stops the following instead."""
    backward = BackwardPass(spans((0, 0, 6), (1, 4, 6)))
    rows = {f: tracked(f, (0, HERE)) for f in range(4)}
    rows |= {f: tracked(f, (0, HERE), (1, THERE)) for f in range(4, 7)}
    steps = sweep(backward, rows, {3: tracked(3, (1, HERE))})
    assert steps[3].dropped == (1,)
    assert backward.merges() == ()
    assert backward.rows_written == 0


def test_two_tracks_that_live_side_by_side_do_not_both_become_a_third() -> None:
    """Of two births that meet one older track, only the stronger is merged."""
    near = (5, 10, 21, 30)
    backward = BackwardPass(spans((0, 0, 2), (1, 3, 5), (2, 3, 5)))
    rows = {f: tracked(f, (0, HERE)) for f in range(3)}
    rows |= {f: tracked(f, (1, HERE), (2, near)) for f in range(3, 6)}
    sweep(backward, rows, {f: tracked(f, (1, HERE), (2, near)) for f in (2, 1, 0)})
    assert [(m.old, m.new) for m in backward.merges()] == [(1, 0)]


def test_unsure_and_vanishing_masks_are_not_written() -> None:
    """Low confidence or a small remainder ends the following."""
    for mask in (tracked(1, (1, HERE), score=0.3), tracked(1, (1, (4, 10, 6, 14)))):
        backward = BackwardPass(spans((1, 2, 2)))
        steps = sweep(backward, {2: tracked(2, (1, HERE)), 1: tracked(1)}, {1: mask})
        assert len(steps[1].rows) == 0
        assert steps[1].dropped == (1,)


def test_filled_rows_point_at_the_rows_of_their_parents() -> None:
    """The parent of the first mask's row is looked up in the earlier frame by its track."""
    backward = BackwardPass(spans((0, 0, 2), (1, 2, 2)))
    whole = tracked(2, (0, (0, 0, 40, 40)))
    part = boxes(2, HERE, level=4, track_id=[1], parent_id=[0])
    part = MaskSet.concatenate([whole, _renumbered(part, 1)])
    step2 = backward.observe(tracked(2), part)
    step1 = backward.observe(boxes(1, HERE, level=4, track_id=[1]), tracked(1, (0, (0, 0, 40, 40))))
    assert step2.prompts.track_id.tolist() == [1]
    assert step1.rows.parent_id.tolist() == [0]


def _renumbered(masks: MaskSet, first: int) -> MaskSet:
    from my3dis.masks.build import with_columns

    return with_columns(masks, mask_id=np.arange(first, first + len(masks), dtype=np.int32))
