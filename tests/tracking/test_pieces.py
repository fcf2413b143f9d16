"""Pieces of one object become one track; neighbours that a mask joins now and then stay two."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.backends.trackers.grid import GridTracker
from my3dis.backends.trackers.warp import WarpSource
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.identity import Identities, IdentityOptions
from my3dis.tracking.pieces import LEAD, Pieces
from tests.tracking.flatland import Card, masks_of, render

CARDS = (Card(1, -0.6, -0.5, 0.1, 0.5), Card(2, 0.1, -0.5, 0.6, 0.5))
WHOLE, CUT = 0, 1


def tracks_of(shown: list[int]) -> tuple[list[list[int]], Identities]:
    """Return the tracks of each frame, where two cards are shown as one mask or as one each."""
    identities, tracker, found = Identities(), GridTracker(WarpSource()), []
    for index, how in enumerate(shown):
        frame, labels = render(index, CARDS)
        if how == WHOLE:
            labels = np.minimum(labels, 1)
        step = identities.observe(tracker.step(frame), masks_of(labels, index), FrameCues(frame))
        tracker.drop(step.dropped)
        tracker.prompt(frame, step.prompts)
        found.append(sorted(step.rows.track_id.tolist()))
    return found, identities


def test_an_object_first_seen_in_pieces_becomes_one_track() -> None:
    """One of two pieces goes on as the whole once masks keep holding both, and the other never returns."""
    found, identities = tracks_of([CUT] + [WHOLE] * 5 + [CUT] + [WHOLE] * 3)
    assert found[0] == [0, 1]
    assert found[-1] == [0]
    assert identities.counts.joined_pieces == 1
    assert 1 not in {track for tracks in found[4:] for track in tracks}


def test_a_join_of_two_neighbours_does_not_make_them_one() -> None:
    """Neighbours keep their tracks through joined masks, rarer than masks of their own."""
    found, identities = tracks_of([CUT] * 5 + [WHOLE] * 3 + [CUT] * 2 + [WHOLE] + [CUT] * 2)
    assert found[0] == found[4] == found[8] == found[-1] == [0, 1]
    assert identities.counts.joined_pieces == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([WHOLE, CUT]), min_size=1, max_size=9))
def test_tracks_are_joined_only_when_a_mask_held_them_clearly_more_often(shown: list[int]) -> None:
    """Whatever the order, no join happens before masks held both more often than each had its own."""
    _, identities = tracks_of(shown)
    leads = np.cumsum([1 if how == WHOLE else -1 for how in shown])
    possible = max((int(leads[i] - leads[:i].min(initial=0)) for i in range(len(shown))), default=0)
    assert identities.counts.joined_pieces <= (possible >= LEAD)


def test_only_pairs_of_remembered_tracks_are_kept() -> None:
    """Counts go with their tracks, so that they do not grow with the scan."""
    pieces = Pieces(lead={(0, 1): 2, (1, 2): 1, (0, 2): -3, (2, 3): -1})
    pieces.keep({0, 1, 2})
    assert pieces.lead == {(0, 1): 2, (1, 2): 1, (0, 2): -3}
    pieces.forget(1)
    assert pieces.lead == {(0, 2): -3}


def test_pairs_of_long_gone_tracks_do_not_pile_up() -> None:
    """After many pairs of neighbours came and went, no pair is left of tracks that were crowded out."""
    identities, tracker = Identities(IdentityOptions(max_sleeping=4)), GridTracker(WarpSource())
    for index in range(40):
        aside = 3.0 * (index // 2)
        # Other colours each time: alike in looks and at one place in the image, they would be the same cards.
        shade = ((250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20))[index // 2 % 4]
        other = tuple(255 - value for value in shade)
        cards = [
            Card(1, aside - 0.6, -0.5, aside, 0.5, color=shade),
            Card(2, aside, -0.5, aside + 0.6, 0.5, color=other),
        ]
        frame, labels = render(index, cards, camera_x=aside)
        step = identities.observe(tracker.step(frame), masks_of(labels, index), FrameCues(frame))
        tracker.drop(step.dropped)
        tracker.prompt(frame, step.prompts)
    assert identities.counts.forgotten > 20
    assert len(identities._pieces.lead) <= identities.retained**2 // 2
    remembered = set(identities._awake) | identities._asleep.ids
    assert all(set(pair) <= remembered for pair in identities._pieces.lead)
