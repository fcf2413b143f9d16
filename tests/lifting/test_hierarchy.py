"""A tree is nested whatever the claims, and what is dropped from it for want of trust."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from my3dis.lifting.consensus import LevelClaims
from my3dis.lifting.hierarchy import HierarchyOptions, Tree, build_tree, without_doubtful


def tree() -> Tree:
    """Return two objects, the first with a part."""
    points = tuple(np.array([i], np.int64) for i in range(3))
    return Tree(track=(0, 1, 2), parent=(-1, -1, 0), points=points, dropped=1)


def test_doubtful_instances_go_and_are_counted() -> None:
    """An instance below the least score is dropped with its score."""
    kept, score = without_doubtful(tree(), np.array([0.9, 0.1, 0.8], np.float32), 0.2)
    assert (kept.track, kept.parent, kept.dropped) == ((0, 2), (-1, 0), 2)
    assert score.tolist() == np.array([0.9, 0.8], np.float32).tolist()


def test_a_doubtful_parent_stays_with_its_part() -> None:
    """No instance loses its parent, however little the parent is trusted."""
    kept, _ = without_doubtful(tree(), np.array([0.1, 0.9, 0.8], np.float32), 0.2)
    assert kept.track == (0, 1, 2)


def test_a_doubtful_part_frees_its_doubtful_parent() -> None:
    """Where the part goes too, nothing holds the parent."""
    kept, _ = without_doubtful(tree(), np.array([0.1, 0.9, 0.1], np.float32), 0.2)
    assert (kept.track, kept.parent, kept.dropped) == ((1,), (-1,), 3)


POINTS, TRACKS_PER_LEVEL = 60, 4
SMALL = HierarchyOptions(first_min_points=3, other_min_points=2)


@st.composite
def claimed(draw: st.DrawFn) -> list[LevelClaims]:
    """Return random owners of a few points over up to five levels, in runs as masks have them."""
    claims = []
    for depth in range(draw(st.integers(1, 5))):
        cuts = sorted(draw(st.lists(st.integers(0, POINTS), max_size=8)))
        bounds = [0, *cuts, POINTS]
        owner = np.full(POINTS, -1, np.int32)
        for start, end in pairwise(bounds):
            track = draw(st.integers(-1, TRACKS_PER_LEVEL - 1))
            owner[start:end] = track if track < 0 else depth * TRACKS_PER_LEVEL + track
        size = np.bincount(owner[owner >= 0], minlength=5 * TRACKS_PER_LEVEL).astype(np.int64)
        claims.append(LevelClaims(2 * (depth + 1), owner, (owner >= 0).astype(np.float32), size))
    return claims


NO_RELATIONS = np.full(5 * TRACKS_PER_LEVEL, -1, np.int32)


@given(claimed(), st.data())
def test_a_tree_of_any_depth_is_nested(claims: list[LevelClaims], data: st.DataObject) -> None:
    """Every child has one parent, of a coarser level, and lies inside it; points have one owner a level."""
    related = NO_RELATIONS.copy()
    for track in range(TRACKS_PER_LEVEL, len(related)):
        coarser = track // TRACKS_PER_LEVEL * TRACKS_PER_LEVEL
        related[track] = data.draw(st.integers(-1, coarser - 1))
    found = build_tree(claims, related, SMALL)
    points = {t: set(p.tolist()) for t, p in zip(found.track, found.points, strict=True)}
    assert len(points) == len(found.track)
    for track, parent in zip(found.track, found.parent, strict=True):
        assert parent == -1 or parent // TRACKS_PER_LEVEL < track // TRACKS_PER_LEVEL
        assert parent == -1 or points[track] <= points[parent]
    for depth in range(len(claims)):
        of_level = [points[t] for t in points if t // TRACKS_PER_LEVEL == depth]
        assert sum(map(len, of_level)) == len(set().union(*of_level))


@given(claimed())
def test_finer_levels_take_nothing_from_coarser_ones(claims: list[LevelClaims]) -> None:
    """With more levels the objects are the same; they gain only points that were nobody's."""
    objects = build_tree(claims[:1], NO_RELATIONS, SMALL)
    more = build_tree(claims, NO_RELATIONS, SMALL)
    assert more.track[: len(objects.track)] == objects.track
    owned = set(np.concatenate([np.zeros(0, np.int64), *objects.points]).tolist())
    for alone, deep in zip(objects.points, more.points, strict=False):
        assert set(alone.tolist()) <= set(deep.tolist())
        assert not (set(deep.tolist()) - set(alone.tolist())) & owned


@given(claimed())
def test_finer_levels_of_nested_masks_change_no_object(claims: list[LevelClaims]) -> None:
    """Where parts lie inside objects, objects, and so their scores per level, do not depend on parts."""
    objects = build_tree(claims[:1], NO_RELATIONS, SMALL)
    inside = np.isin(np.arange(POINTS), np.concatenate([np.zeros(0, np.int64), *objects.points]))
    for claim in claims[1:]:
        claim.owner[~inside] = -1
    more = build_tree(claims, NO_RELATIONS, SMALL)
    assert more.track[: len(objects.track)] == objects.track
    for alone, deep in zip(objects.points, more.points, strict=False):
        assert np.array_equal(alone, deep)
