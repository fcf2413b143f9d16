"""What is dropped from a tree for want of trust, and what stays for the sake of its parts."""

from __future__ import annotations

import numpy as np

from my3dis.lifting.hierarchy import Tree, without_doubtful


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
