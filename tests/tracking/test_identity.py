"""Identities through births, crossings, absences, flickers and merged masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.backends.trackers.flow import FlowSource
from my3dis.backends.trackers.grid import GridTracker
from my3dis.backends.trackers.warp import WarpSource
from my3dis.masks.build import from_codes, renumber
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.identity import Identities, IdentityOptions, IdentityStep
from my3dis.types import Frame, MaskSet, MaskSource
from tests.tracking.flatland import SIZE, Card, boxes, masks_of, plain, render

LEFT, RIGHT, MIDDLE = (4, 10, 20, 30), (40, 10, 60, 30), (24, 10, 36, 30)


class Copying:
    """A tracker that says that nothing moved."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[bytes, int]] = {}

    def step(self, frame: Frame) -> MaskSet:
        ids = sorted(self.held)
        return from_codes(
            [self.held[i][0] for i in ids],
            frame=frame.index,
            image_size=frame.image_size,
            mask_id=np.arange(len(ids)),
            track_id=np.array(ids, np.int32),
            level=np.array([self.held[i][1] for i in ids], np.int16),
        )

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        for track, rle, level in zip(masks.track_id.tolist(), masks.rle, masks.level.tolist(), strict=True):
            self.held[track] = (rle, level)

    def drop(self, track_ids: Sequence[int]) -> None:
        for track_id in track_ids:
            self.held.pop(track_id, None)


def run(
    frames: Sequence[tuple[Frame, MaskSet | None]], tracker: object = None, **options: object
) -> tuple[list[IdentityStep], Identities]:
    tracker = tracker or Copying()
    identities = Identities(IdentityOptions(**options))
    steps = []
    for frame, candidates in frames:
        step = identities.observe(tracker.step(frame), candidates, FrameCues(frame))
        tracker.drop(step.dropped)
        tracker.prompt(frame, step.prompts)
        steps.append(step)
    return steps, identities


def tracks_by_label(
    scenes: Sequence[tuple[Frame, np.ndarray]], tracker: object, **options: object
) -> dict[int, list[int]]:
    """Return for each label the track that each of its masks got, merges applied."""
    steps, _ = run([(f, masks_of(labels, f.index)) for f, labels in scenes], tracker, **options)
    final = {m.old: m.new for s in steps for m in s.merges}
    found: dict[int, list[int]] = {}
    for step, (_, labels) in zip(steps, scenes, strict=True):
        for row in range(len(step.rows)):
            x0, y0, x1, y1 = step.rows.boxes[row]
            label = int(np.bincount(labels[y0:y1, x0:x1].ravel()).argmax())
            track = int(step.rows.track_id[row])
            while track in final:
                track = final[track]
            if label:
                found.setdefault(label, []).append(track)
    return found


def test_every_candidate_of_the_first_frame_is_born() -> None:
    """Two masks become two tracks, numbered from 0, with their own masks and sources."""
    (step,), identities = run([(plain(0), boxes(0, LEFT, RIGHT))])
    assert sorted(step.rows.track_id.tolist()) == [0, 1]
    assert step.rows.source.tolist() == [MaskSource.CANDIDATE] * 2
    assert sorted(step.prompts.track_id.tolist()) == [0, 1]
    assert identities.counts.births == 2


def test_a_birth_in_the_middle_of_the_video_gets_a_new_id() -> None:
    """What appears beside a living track is new; what was there keeps its id."""
    steps, _ = run([(plain(0), boxes(0, LEFT)), (plain(1), boxes(1, LEFT, RIGHT))])
    by_box = dict(zip(map(tuple, steps[1].rows.boxes.tolist()), steps[1].rows.track_id.tolist(), strict=True))
    assert by_box == {LEFT: 0, RIGHT: 1}


def test_levels_do_not_mix() -> None:
    """The same pixels on two levels are two tracks, and stay so."""

    def both(i: int) -> MaskSet:
        fine = boxes(i, LEFT, level=4)
        return MaskSet.concatenate([boxes(i, LEFT), renumber(fine, np.array([9], np.int32))])

    steps, _ = run([(plain(i), both(i)) for i in range(3)])
    assert [sorted(s.rows.track_id.tolist()) for s in steps] == [[0, 1]] * 3


def test_rows_point_at_the_rows_of_their_parents() -> None:
    """`parent_id` of a row is the mask id of the row that holds its candidate's parent."""
    whole = renumber(boxes(0, LEFT), np.array([50], np.int32))
    part = boxes(0, (4, 10, 12, 30), level=4, parent_id=50)
    (step,), _ = run([(plain(0), MaskSet.concatenate([part, whole]))])
    rows = step.rows
    parent = rows.mask_id[rows.level == 2]
    assert rows.parent_id[rows.level == 4].tolist() == parent.tolist()
    assert rows.parent_id[rows.level == 2].tolist() == [-1]


def test_a_flicker_of_the_proposer_is_bridged() -> None:
    """A frame without the candidate gets the carried mask, source TRACK, and the id lives on."""
    steps, identities = run([(plain(0), boxes(0, LEFT)), (plain(1), boxes(1)), (plain(2), boxes(2, LEFT))])
    assert [s.rows.track_id.tolist() for s in steps] == [[0]] * 3
    assert steps[1].rows.source.tolist() == [MaskSource.TRACK]
    assert identities.counts.coasted == 1


def test_coasting_ends() -> None:
    """An object that candidates never show again is carried for three frames and no more."""
    steps, _ = run([(plain(0), boxes(0, LEFT))] + [(plain(i), boxes(i)) for i in range(1, 8)])
    assert [len(s.rows) for s in steps] == [1, 1, 1, 1, 0, 0, 0, 0]
    assert steps[4].dropped == (0,)


def test_max_propagate_counts_frames_with_and_without_candidates() -> None:
    """With a limit of two frames a track is carried over two frames only."""
    frames = [(plain(0), boxes(0, LEFT))] + [(plain(i), None) for i in range(1, 5)]
    steps, _ = run(frames, max_propagate=2)
    assert [len(s.rows) for s in steps] == [1, 1, 1, 0, 0]


def test_frames_without_candidates_carry_everything() -> None:
    """Where nothing is proposed every track is carried on, however many such frames there are."""
    frames = [(plain(0), boxes(0, LEFT, RIGHT))] + [(plain(i), None) for i in range(1, 9)]
    steps, _ = run(frames)
    assert [len(s.rows) for s in steps] == [2] * 9


def test_a_hidden_object_leaves_no_ghost() -> None:
    """Where the candidate of another track lies, the prediction of a lost track is not written."""
    near = (0, 6, 44, 34)
    frames = [
        (plain(0), boxes(0, LEFT, (20, 6, 60, 34))),
        (plain(1), boxes(1, LEFT, (10, 6, 52, 34))),
        (plain(2), boxes(2, near)),
        (plain(3), boxes(3, near)),
    ]
    steps, identities = run(frames)
    hidden = steps[0].rows.track_id[steps[0].rows.boxes[:, 0] == LEFT[0]].tolist()
    assert not set(hidden) & set(steps[3].rows.track_id.tolist())
    assert steps[3].rows.boxes.tolist() == [list(near)]
    assert identities.counts.births == 2


def test_a_hidden_object_stays_hidden_where_nothing_is_proposed() -> None:
    """Between two frames with candidates a hidden track is not written; its own candidate shows it again."""
    near, beside = (0, 6, 44, 34), (34, 6, 62, 34)
    frames: list[tuple[Frame, MaskSet | None]] = [
        (plain(0), boxes(0, LEFT, (20, 6, 60, 34))),
        (plain(1), boxes(1, LEFT, (10, 6, 52, 34))),
        (plain(2), boxes(2, near)),
        (plain(3), boxes(3, near)),
        (plain(4), None),
        (plain(5), boxes(5, near)),
        (plain(6), None),
        (plain(7), boxes(7, LEFT, beside)),
        (plain(8), None),
    ]
    steps, _ = run(frames)
    hidden = steps[0].rows.track_id[steps[0].rows.boxes[:, 0] == LEFT[0]].tolist()
    written = [bool(set(hidden) & set(step.rows.track_id.tolist())) for step in steps]
    assert written[3:] == [False, False, False, False, True, True]


def test_a_fragment_has_to_persist() -> None:
    """A piece of a living track's mask is not a new object at once, but after three frames it is."""
    piece = (4, 10, 12, 20)
    frames = [(plain(0), boxes(0, LEFT))]
    frames += [(plain(i), boxes(i, LEFT, piece)) for i in range(1, 4)]
    steps, identities = run(frames)
    assert [s.rows.track_id.tolist() for s in steps] == [[0], [0], [0], [0, 1]]
    assert [m.frame for m in steps[3].late_rows] == [1, 2]
    assert all(m.track_id.tolist() == [1] for m in steps[3].late_rows)
    written = [s.rows.mask_id.tolist() for s in steps]
    for late in steps[3].late_rows:
        assert not set(late.mask_id.tolist()) & set(written[late.frame])
    assert identities.counts.births == 2


def test_a_fragment_that_does_not_persist_is_counted_and_forgotten() -> None:
    """One frame of a piece leaves nothing behind but a count."""
    frames = [(plain(0), boxes(0, LEFT)), (plain(1), boxes(1, LEFT, (4, 10, 12, 20)))]
    frames += [(plain(i), boxes(i, LEFT)) for i in range(2, 5)]
    steps, identities = run(frames)
    assert all(s.rows.track_id.tolist() == [0] for s in steps)
    assert identities.counts.discarded_fragments == 1
    assert not any(s.late_rows for s in steps)


def test_a_mask_that_falls_apart_for_good_keeps_its_id_on_a_piece() -> None:
    """Three pieces instead of one: carried on first, then the largest piece goes on under the old id."""
    pieces = [(4, 10, 20, 18), (4, 18, 20, 24), (4, 24, 20, 30)]
    frames = [(plain(0), boxes(0, LEFT)), (plain(1), boxes(1, LEFT))]
    frames += [(plain(i), boxes(i, *pieces)) for i in range(2, 6)]
    steps, _ = run(frames)
    last = dict(zip(steps[-1].rows.track_id.tolist(), steps[-1].rows.boxes.tolist(), strict=True))
    assert list(pieces[0]) == last[0]
    assert len(last) == 3


def test_a_merged_mask_of_two_objects_is_waited_out() -> None:
    """One frame whose mask holds two tracks whole: both are carried, and both go on after it."""
    frames = [(plain(i), boxes(i, LEFT, MIDDLE)) for i in range(2)]
    frames += [(plain(2), boxes(2, (4, 10, 36, 30)))]
    frames += [(plain(i), boxes(i, LEFT, MIDDLE)) for i in range(3, 5)]
    steps, _ = run(frames)
    assert [sorted(s.rows.track_id.tolist()) for s in steps] == [[0, 1]] * 5
    assert steps[2].rows.source.tolist() == [MaskSource.TRACK] * 2


def crossing(i: int) -> list[Card]:
    """Two cards that pass each other, the first in front."""
    return [
        Card(1, -0.95 + 0.08 * i, -0.3, -0.55 + 0.08 * i, 0.3, z=1.9, color=(220, 60, 60)),
        Card(2, 0.55 - 0.08 * i, -0.3, 0.95 - 0.08 * i, 0.3, z=2.0, color=(60, 60, 220)),
    ]


def test_crossing_objects_keep_their_ids() -> None:
    """Two objects that pass each other, one hiding the other for a while, are not swapped (colour only)."""
    scenes = [render(i, crossing(i), depth=False) for i in range(20)]
    tracks = tracks_by_label(scenes, GridTracker(FlowSource()))
    assert len(set(tracks[1])) == 1
    assert len(set(tracks[2])) == 1
    assert set(tracks[1]) != set(tracks[2])


def sweep(n: int) -> list[float]:
    """Camera positions: to the right until the cards at the left are out of view, and back."""
    return [0.12 * min(i, 2 * n - i) for i in range(2 * n + 1)]


def test_an_object_that_left_comes_back_under_its_id_with_depth() -> None:
    """Two equal cards leave the image for long and are told apart when they return."""
    cards = [Card(1, -0.9, -0.5, -0.3, 0.0), Card(2, -0.9, 0.1, -0.3, 0.6)]
    scenes = [render(i, cards, x) for i, x in enumerate(sweep(20))]
    assert sum(not labels.any() for _, labels in scenes) >= 5
    tracks = tracks_by_label(scenes, GridTracker(WarpSource()))
    assert len(set(tracks[1])) == 1
    assert len(set(tracks[2])) == 1
    assert set(tracks[1]) != set(tracks[2])


def test_an_object_that_left_comes_back_under_its_id_by_its_looks() -> None:
    """Without depth a card that leaves for a while is known by its colours when it returns."""
    cards = [
        Card(1, -0.9, -0.4, -0.3, 0.2, color=(220, 60, 60)),
        Card(2, 0.6, -0.3, 1.4, 0.3, color=(40, 160, 60)),
    ]
    scenes = [render(i, cards, x, depth=False) for i, x in enumerate(sweep(18))]
    gone = sum(not (labels == 1).any() for _, labels in scenes)
    assert gone >= 3
    tracks = tracks_by_label(scenes, GridTracker(FlowSource()))
    assert len(set(tracks[1])) == 1
    assert len(set(tracks[2])) == 1


def test_an_object_behind_another_keeps_its_id() -> None:
    """A card that a nearer one hides completely for some frames is the same card afterwards."""

    def cards(i: int) -> list[Card]:
        return [
            Card(1, -0.2, -0.2, 0.2, 0.2, z=2.5),
            Card(2, -1.6 + 0.1 * i, -0.4, -0.7 + 0.1 * i, 0.4, z=1.5),
        ]

    scenes = [render(i, cards(i)) for i in range(26)]
    assert sum(not (labels == 1).any() for _, labels in scenes) >= 4
    tracks = tracks_by_label(scenes, GridTracker(WarpSource()))
    assert len(set(tracks[1])) == 1


class Drifting(Copying):
    """Copies, but from frame 9 on sees everything far off to the lower right."""

    def step(self, frame: Frame) -> MaskSet:
        carried = super().step(frame)
        if frame.index < 9 or not len(carried):
            return carried
        off = boxes(frame.index, *[(50, 36, 60, 46)] * len(carried))
        return replace(carried, boxes=off.boxes, rle=off.rle, area_px=off.area_px)


def test_a_track_absorbed_by_a_returning_one_is_not_carried_on() -> None:
    """When a new track turns out to be the one that comes back, it leaves no second mask in that frame.

    The card is away; when it returns, half of it is taken for a new object whose mask then drifts off, and
    in the next frame the whole card is recognised.
    """
    card = Card(1, -1.0, -0.6, 0.2, 0.5)
    frames: list[tuple[Frame, MaskSet | None]] = []
    for i in range(11):
        frame, labels = render(i, [card])
        shown = boxes(i, (16, 17, 35, 33)) if i == 8 else masks_of(labels, i)
        frames.append((frame, boxes(i) if 3 <= i < 8 else shown))
    steps, _ = run(frames, Drifting())
    merges = {merge.old: merge.new for step in steps for merge in step.merges}
    assert merges == {1: 0}
    for step in steps[9:]:
        assert [merges.get(t, t) for t in step.rows.track_id.tolist()] == [0]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_numbering_of_candidates_does_not_matter(seed: int) -> None:
    """Candidates in another order under other ids give equal rows."""
    cards = [Card(1, -0.9, -0.5, -0.3, 0.0), Card(2, -0.9, 0.1, -0.3, 0.6), Card(3, 0.0, -0.3, 0.5, 0.3)]
    scenes = [render(i, cards, x) for i, x in enumerate(sweep(8))]
    rng = np.random.default_rng(seed)

    def shuffled(masks: MaskSet) -> MaskSet:
        mixed = masks.select(rng.permutation(len(masks)))
        return renumber(mixed, rng.choice(1000, len(mixed), replace=False).astype(np.int32))

    def result(change: Callable[[MaskSet], MaskSet]) -> list[tuple]:
        steps, _ = run(
            [(f, change(masks_of(labels, f.index))) for f, labels in scenes], GridTracker(WarpSource())
        )
        return [(s.rows.track_id.tolist(), s.rows.rle, s.rows.mask_id.tolist(), s.merges) for s in steps]

    assert result(shuffled) == result(lambda masks: masks)


def test_what_is_remembered_is_bounded() -> None:
    """A thousand objects that each appear once leave no more than the limit of sleepers."""
    rng = np.random.default_rng(0)
    frames = []
    for i in range(250):
        corners = rng.integers(0, (SIZE[1] - 6, SIZE[0] - 6), (4, 2))
        frames.append((plain(i), boxes(i, *((x, y, x + 5, y + 5) for x, y in corners.tolist()))))
    _, identities = run(frames, max_sleeping=16, max_misses=0)
    assert identities.counts.births > 100
    assert identities.retained <= 16 + 4
    assert identities.counts.forgotten > 0


def test_empty_candidates_are_counted() -> None:
    """A mask without pixels is left out and counted."""
    (step,), identities = run([(plain(0), boxes(0, LEFT, (5, 5, 5, 5)))])
    assert len(step.rows) == 1
    assert identities.counts.empty_candidates == 1


def test_halves_of_a_split_mask_are_put_together() -> None:
    """A frame whose proposer cut an object in two gets the whole mask under the object's id."""
    whole, upper, lower = (10, 6, 40, 36), (10, 6, 40, 28), (10, 28, 40, 36)
    frames = [(plain(i), boxes(i, whole)) for i in range(3)]
    frames += [(plain(3), boxes(3, upper, lower)), (plain(4), boxes(4, whole))]
    steps, identities = run(frames)
    assert steps[3].rows.track_id.tolist() == [0]
    assert steps[3].rows.boxes.tolist() == [list(whole)]
    assert identities.counts.mended == 1
    assert identities.counts.births == 1
