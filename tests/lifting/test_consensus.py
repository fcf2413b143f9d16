"""Who owns a point: votes first, then neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from my3dis.lifting.consensus import ConsensusOptions, LevelClaims, claim_points, neighbour_average
from my3dis.lifting.vote import Votes
from my3dis.types import SceneCloud

LINE = np.array([[0, 1], [1, 2], [2, 3], [3, 4]], np.int32)


def cloud(colors: list[int] | None = None) -> SceneCloud:
    xyz = np.stack([np.arange(5), np.zeros(5), np.zeros(5)], axis=1).astype(np.float32)
    color = None if colors is None else np.repeat(np.array(colors, np.uint8)[:, None], 3, axis=1)
    return SceneCloud(xyz_m=xyz, digest="line", color=color)


def votes(weights: list[list[float]], views: int = 8) -> Votes:
    """Votes of tracks (rows) on five points that each of ``views`` views saw with weight 1."""
    table = np.array(weights, np.float32)
    track, point = np.nonzero(table)
    everything = np.full(1, (1 << views) - 1, np.uint8)
    return Votes(
        track_id=np.arange(len(table), dtype=np.int32),
        pair_track=track.astype(np.int32),
        pair_point=point.astype(np.int64),
        pair_weight=table[track, point],
        point_weight=np.full(5, views, np.float32),
        point_views=np.full(5, views, np.int32),
        point_slots=np.tile(everything, (5, 1)),
        track_slots=np.tile(everything, (len(table), 1)),
        track_views=np.full(len(table), views, np.int32),
        track_quality=np.ones(len(table), np.float32),
    )


def claim(
    given: Votes, levels: list[int], options: ConsensusOptions, where: SceneCloud | None = None
) -> list[LevelClaims]:
    average = neighbour_average(where or cloud(), None, LINE, options)
    return claim_points(given, np.array(levels, np.int16), average, options)


def test_half_of_the_views_by_hand() -> None:
    """With no help of neighbours, 4 of 8 views are enough and 3 of 8 are not; the larger share wins."""
    options = ConsensusOptions(rounds=0, settling_rounds=0)
    (result,) = claim(votes([[8, 4, 3, 5, 0], [0, 0, 0, 6, 0]]), [2, 2], options)
    assert result.owner.tolist() == [0, 0, -1, 1, -1]
    assert result.share.tolist() == [1.0, 0.5, 0.0, 0.75, 0.0]
    assert result.claimed.tolist() == [3, 1]


def test_levels_do_not_compete() -> None:
    """Tracks of different levels own the same points."""
    options = ConsensusOptions(rounds=0)
    coarse, fine = claim(votes([[8] * 5, [8] * 5]), [2, 4], options)
    assert coarse.owner.tolist() == [0] * 5
    assert fine.owner.tolist() == [1] * 5
    assert (coarse.level, fine.level) == (2, 4)


def test_neighbours_settle_a_near_tie_and_no_more() -> None:
    """A point lost by one view of eight goes with its neighbours; lost by four it stays with its owner."""
    options = ConsensusOptions(rounds=0)
    (near,) = claim(votes([[8, 8, 5, 8, 8], [0, 0, 6, 0, 0]]), [2, 2], options)
    assert near.owner.tolist() == [0] * 5
    (clear,) = claim(votes([[8, 8, 4, 8, 8], [0, 0, 8, 0, 0]]), [2, 2], options)
    assert clear.owner.tolist() == [0, 0, 1, 0, 0]


def test_a_point_without_views_follows_its_neighbours() -> None:
    """Where nobody looked the neighbours decide; where many looked and saw nothing they do not."""
    options = ConsensusOptions(rounds=2)
    given = votes([[8, 8, 0, 8, 8]])
    (seen,) = claim(given, [2], options)
    assert seen.owner.tolist() == [0, 0, -1, 0, 0]
    given.point_weight[2], given.point_slots[2], given.point_views[2] = 0, 0, 0
    (unseen,) = claim(given, [2], options)
    assert unseen.owner.tolist() == [0] * 5


def test_evidence_stops_at_colour_edges_and_creases() -> None:
    """Neighbours average to one, and those of another colour or across a crease hardly count."""
    plain = neighbour_average(cloud(), None, LINE, ConsensusOptions()).toarray()
    assert plain[2].tolist() == [0, 0.5, 0, 0.5, 0]
    edge = neighbour_average(cloud([0, 0, 0, 200, 200]), None, LINE, ConsensusOptions()).toarray()
    assert edge[2, 1] > 0.99
    np.testing.assert_allclose(edge.sum(axis=1), 1.0, rtol=1e-5)
    normal = np.array([[0, 0, 1]] * 3 + [[1, 0, 0]] * 2, np.float32)
    crease = neighbour_average(cloud(), normal, LINE, ConsensusOptions()).toarray()
    assert crease[2, 1] > 0.99
    assert crease[1, 2] == pytest.approx(0.5)


def test_a_lonely_point_has_no_neighbours() -> None:
    """A point of no edge averages over nothing, and its own votes decide."""
    options = ConsensusOptions()
    average = neighbour_average(cloud(), None, LINE[:2], options)
    assert average.toarray()[4].sum() == 0
    (result,) = claim_points(votes([[0, 0, 0, 0, 8]]), np.array([2], np.int16), average, options)
    assert result.owner.tolist() == [-1, -1, -1, -1, 0]
