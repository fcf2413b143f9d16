"""From votes to a tree of instances, on a small world whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from my3dis.lifting.consensus import ConsensusOptions
from my3dis.lifting.hierarchy import HierarchyOptions
from my3dis.lifting.lift import Lifted, LiftOptions, lift_instances, surface_of
from my3dis.lifting.merge import MergeOptions
from my3dis.lifting.vote import VoteAccumulator
from my3dis.types import InstanceSet, MaskSet, SceneCloud
from tests.lifting.panels import Panel, cloud_of, points_of, track_set, tracked, view

WALL = Panel((-1.6, 1.6), (-1.2, 1.2), 3.0)
LEFT = Panel((-0.7, -0.1), (-0.3, 0.3), 2.0, thing=1, part=1)
RIGHT = Panel((0.2, 0.8), (-0.3, 0.3), 2.2, thing=2, part=2)
TOP = Panel((0.2, 0.8), (-0.6, -0.3), 2.2, thing=2, part=3)
WORLD = [WALL, LEFT, RIGHT, TOP]
VIEWS = (-0.3, -0.15, 0.0, 0.15, 0.3)
SMALL = HierarchyOptions(first_min_points=10, other_min_points=5, least_score=0.0)
PART_IDS = 100


def both_levels(index: int, x: float) -> tuple:
    frame, things, parts = view(WORLD, index, x)
    sets = [tracked(things, index, 2), tracked(parts, index, 4, PART_IDS)]
    return frame, MaskSet.concatenate(sets)


LEVELS = {1: 2, 2: 2, 101: 4, 102: 4, 103: 4}
PARENTS = {101: 1, 102: 2, 103: 2}


def lifted(
    frames: list[tuple],
    levels: dict[int, int] | None = None,
    parents: dict[int, int] | None = None,
    options: LiftOptions | None = None,
    cloud: SceneCloud | None = None,
) -> Lifted:
    cloud = cloud or cloud_of(WORLD)
    tracks = track_set(levels or LEVELS, PARENTS if parents is None else parents)
    surface = surface_of(cloud)
    votes = VoteAccumulator(cloud.xyz_m, surface.normal, tracks.track_id, view_count=len(frames))
    for frame, masks in frames:
        votes.add(frame, masks)
    options = options or LiftOptions(hierarchy=SMALL)
    return lift_instances(cloud, surface, votes.result(), tracks, options)


def points_by_id(instances: InstanceSet) -> dict[int, set[int]]:
    return {i: set(instances.points_of(k).tolist()) for k, i in enumerate(instances.instance_id.tolist())}


def require_tree(instances: InstanceSet) -> None:
    """Every instance has at most one parent, of a coarser level, which holds all its points."""
    points = points_by_id(instances)
    level = dict(zip(instances.instance_id.tolist(), instances.level.tolist(), strict=True))
    for child, parent in zip(instances.instance_id.tolist(), instances.parent_id.tolist(), strict=True):
        if parent != -1:
            assert level[parent] < level[child]
            assert points[child] <= points[parent]
    for number in set(level.values()):
        owned = [i for i in level if level[i] == number]
        assert sum(len(points[i]) for i in owned) == len(set().union(*(points[i] for i in owned)))


def test_perfect_masks_give_the_ground_truth() -> None:
    """With exact masks, every object and part is found with exactly its points, its parent and its level."""
    result = lifted([both_levels(i, x) for i, x in enumerate(VIEWS)])
    _, things, parts = points_of(WORLD)
    found = points_by_id(result.instances)
    assert {i: len(p) for i, p in found.items()}.keys() == LEVELS.keys()
    for i in (1, 2):
        assert found[i] == set(np.flatnonzero(things == i).tolist())
    for i in (1, 2, 3):
        assert found[PART_IDS + i] == set(np.flatnonzero(parts == i).tolist())
    ids = result.instances.instance_id.tolist()
    assert dict(zip(ids, result.instances.parent_id.tolist(), strict=True)) == {1: -1, 2: -1, **PARENTS}
    assert dict(zip(ids, result.instances.level.tolist(), strict=True)) == LEVELS
    assert (result.merged, result.dropped, result.speck_points) == ((), 0, 0)
    assert result.instances.cloud_digest == "panels"
    require_tree(result.instances)


def test_parents_are_found_without_relations() -> None:
    """Points alone tell which object a part belongs to."""
    result = lifted([both_levels(i, x) for i, x in enumerate(VIEWS)], parents={})
    pairs = zip(result.instances.instance_id.tolist(), result.instances.parent_id.tolist(), strict=True)
    assert dict(pairs) == {1: -1, 2: -1, **PARENTS}


def test_wrong_relations_are_overruled_by_points() -> None:
    """A parent that shares no points with the child is not its parent."""
    result = lifted([both_levels(i, x) for i, x in enumerate(VIEWS)], parents={101: 2, 102: 1, 103: 2})
    pairs = zip(result.instances.instance_id.tolist(), result.instances.parent_id.tolist(), strict=True)
    assert dict(pairs) == {1: -1, 2: -1, **PARENTS}


def test_three_levels_nest() -> None:
    """A third level hangs below the second, and stays inside it even where its masks spill over."""
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, parts = view(WORLD, i, x)
        spilt = np.zeros_like(parts)
        spilt[20:60, 40:90] = 1  # covers the right object, the wall around it and a piece of the left one
        sets = [
            tracked(things, i, 2),
            tracked(parts, i, 4, PART_IDS),
            tracked(spilt * (things == 2), i, 6, 200),
        ]
        frames.append((frame, MaskSet.concatenate(sets)))
    result = lifted(frames, {**LEVELS, 201: 6}, {**PARENTS, 201: 102})
    require_tree(result.instances)
    position = result.instances.instance_id.tolist().index(201)
    assert result.instances.parent_id[position] == 102


def test_a_child_that_spills_is_clipped() -> None:
    """A part's mask that reaches onto the wall gives a part inside its object."""
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, parts = view(WORLD, i, x)
        spilt = np.where(parts == 1, 1, 0)
        rows, columns = np.nonzero(spilt)
        spilt[rows.min() : rows.max() + 1, columns.min() : columns.max() + 6] = 1
        masks = MaskSet.concatenate([tracked(things, i, 2), tracked(spilt, i, 4, PART_IDS)])
        frames.append((frame, masks))
    # The wall belongs to another object at the first level, so the part may not take it along.
    walls = [(f, MaskSet.concatenate([m, tracked(9 * (view(WORLD, i, VIEWS[i])[1] == 0), i, 2)]))
             for i, (f, m) in enumerate(frames)]  # fmt: skip
    result = lifted(walls, {1: 2, 2: 2, 9: 2, 101: 4}, {101: 1})
    require_tree(result.instances)
    assert points_by_id(result.instances)[101] == points_by_id(result.instances)[1]


def test_an_object_takes_points_that_only_its_part_claims() -> None:
    """Where the object's own masks missed a piece that its part covers, the part's points join the object."""
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, parts = view(WORLD, i, x)
        missed = np.where(parts == 2, things, 0)
        masks = [tracked(missed, i, 2), tracked(np.where(things == 2, 1, 0), i, 4, PART_IDS)]
        frames.append((frame, MaskSet.concatenate(masks)))
    result = lifted(frames, {2: 2, 101: 4}, {101: 2})
    require_tree(result.instances)
    found = points_by_id(result.instances)
    assert found[2] == found[101] == set(np.flatnonzero(points_of(WORLD)[1] == 2).tolist())


def test_pieces_of_one_track_in_time_are_merged() -> None:
    """An object that got a new id halfway is one instance, under the first id; both ids are reported."""
    frames = []
    for i, x in enumerate((*VIEWS, *VIEWS)):
        frame, things, _ = view(WORLD, i, x)
        frames.append((frame, tracked(np.where((things == 1) & (i >= 5), 7, things), i)))
    result = lifted(frames, {1: 2, 2: 2, 7: 2}, {})
    assert result.merged == ((7, 1),)
    assert points_by_id(result.instances)[1] == set(np.flatnonzero(points_of(WORLD)[1] == 1).tolist())


def test_objects_seen_together_are_not_merged() -> None:
    """Two tracks that have masks in the same frames stay two, even when ids were swapped halfway."""
    frames = []
    for i, x in enumerate((*VIEWS, *VIEWS)):
        frame, things, _ = view(WORLD, i, x)
        swapped = np.select([things == 1, things == 2], [2, 1]) if i >= 5 else things
        frames.append((frame, tracked(swapped, i)))
    options = LiftOptions(hierarchy=SMALL, merge=MergeOptions(iou=0.1))
    result = lifted(frames, {1: 2, 2: 2}, {}, options)
    assert result.merged == ()


def test_losing_a_track_is_no_evidence_against_it() -> None:
    """An object tracked in two of ten frames that see it keeps its points: in the others nobody looked."""
    frames = []
    for i, x in enumerate((*VIEWS, *VIEWS)):
        frame, things, _ = view(WORLD, i, x)
        frames.append((frame, tracked(np.where((things == 1) & (i >= 2), 0, things), i)))
    half = LiftOptions(hierarchy=SMALL, consensus=ConsensusOptions(vote_ratio=0.5))
    found = points_by_id(lifted(frames, {1: 2, 2: 2}, {}, half).instances)
    assert found[1] == set(np.flatnonzero(points_of(WORLD)[1] == 1).tolist())


def test_points_covered_in_too_few_views_are_left_out() -> None:
    """A mask that spills over in one view of five does not take the wall along."""
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, _ = view(WORLD, i, x)
        frames.append((frame, tracked(np.where(i == 2, 1, things), i)))
    found = points_by_id(lifted(frames, {1: 2, 2: 2}, {}).instances)
    assert found[1] == set(np.flatnonzero(points_of(WORLD)[1] == 1).tolist())


def test_small_instances_are_dropped_and_counted() -> None:
    """An instance below the least number of points is gone; what hung below it hangs nowhere."""
    options = LiftOptions(hierarchy=HierarchyOptions(first_min_points=150, other_min_points=5))
    result = lifted([both_levels(i, x) for i, x in enumerate(VIEWS)], options=options)
    ids, parents = result.instances.instance_id.tolist(), result.instances.parent_id.tolist()
    assert 1 not in ids
    assert result.dropped == 1
    assert dict(zip(ids, parents, strict=True))[101] == -1


def test_confidence_tells_good_from_bad() -> None:
    """An object seen the same in all views beats one whose mask jumps; scores lie in [0, 1] and differ."""
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, _ = view(WORLD, i, x)
        jumpy = things.copy()
        jumpy[:, : 50 + 3 * i][things[:, : 50 + 3 * i] == 2] = 0
        jumpy[:6] = 2 * (i % 2)
        frames.append((frame, tracked(jumpy, i)))
    instances = lifted(frames, {1: 2, 2: 2}, {}).instances
    score = dict(zip(instances.instance_id.tolist(), instances.score.tolist(), strict=True))
    assert 0.0 <= score[2] < score[1] <= 1.0


def test_more_views_are_trusted_more() -> None:
    """The same perfect agreement counts for more when more views agree, and for less with doubtful masks."""
    many = lifted([both_levels(i, x) for i, x in enumerate(VIEWS)]).instances.score
    few = lifted([both_levels(0, 0.0)]).instances.score
    doubtful = [
        (f, replace(m, score=np.full(len(m), 0.5, np.float32)))
        for f, m in (both_levels(i, x) for i, x in enumerate(VIEWS))
    ]
    assert (few < many).all()
    np.testing.assert_allclose(lifted(doubtful).instances.score, many / np.sqrt(2), rtol=1e-5)


def test_nothing_voted_gives_no_instances() -> None:
    """Frames without masks give an empty, valid set."""
    frame, things, _ = view(WORLD, 0)
    result = lifted([(frame, MaskSet.empty(0, things.shape))])
    assert len(result.instances) == 0
    assert result.instances.n_points == len(points_of(WORLD)[0])


@pytest.mark.parametrize("seed", range(5))
def test_random_masks_still_give_a_tree(seed: int) -> None:
    """Whatever the masks and relations are, the result is a tree: one parent, coarser, around its child."""
    rng = np.random.default_rng(seed)
    frames = []
    for i, x in enumerate(VIEWS):
        frame, things, _ = view(WORLD, i, x)
        sets = []
        for level in (2, 4, 6):
            labels = np.zeros_like(things)
            for number in range(1, 6):
                y, c = rng.integers(0, 60, 2)
                labels[y : y + rng.integers(5, 40), c : c + rng.integers(5, 60)] = number
            sets.append(tracked(labels, i, level, 10 * level))
        frames.append((frame, MaskSet.concatenate(sets)))
    levels = {10 * level + n: level for level in (2, 4, 6) for n in range(1, 6)}
    parents = {i: int(rng.choice([j for j in levels if levels[j] < levels[i]] or [-1])) for i in levels}
    result = lifted(frames, levels, parents)
    require_tree(result.instances)
    assert len(result.instances)


def test_an_object_that_goes_on_unseen_is_trusted_less() -> None:
    """Points beside an object that no view saw may be its own, so its confidence is lower."""
    # In the cloud, yet its depth is nowhere in the images; too large to be filled as a hole.
    beside = Panel((0.8, 2.0), (-0.3, 0.3), 2.2)
    frames = [both_levels(i, x) for i, x in enumerate(VIEWS)]
    whole, cut = lifted(frames), lifted(frames, cloud=cloud_of([*WORLD, beside]))
    ids = whole.instances.instance_id.tolist()
    assert cut.instances.instance_id.tolist() == ids
    lower = dict(zip(ids, (cut.instances.score < whole.instances.score).tolist(), strict=True))
    assert (lower[1], lower[2], lower[101], lower[102]) == (False, True, False, True)


def test_of_two_equal_claims_the_one_with_more_views_wins_whole() -> None:
    """Where tracks of different times cover one surface equally well, one of them owns all of it."""
    frames = []
    for i, x in enumerate((*VIEWS, *VIEWS)):
        frame, things, _ = view(WORLD, i, x)
        # Track 7 covers the object and much more for two views: too little in common to be merged with it.
        late = np.where((things == 1) | (np.arange(100) < 60), 7, 0)
        frames.append((frame, tracked(np.where(i < 8, things, late), i)))
    result = lifted(frames, {1: 2, 2: 2, 7: 2}, {})
    assert result.merged == ()
    assert points_by_id(result.instances)[1] == set(np.flatnonzero(points_of(WORLD)[1] == 1).tolist())
