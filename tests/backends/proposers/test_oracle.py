"""The oracle delivers ground truth, without the room around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from my3dis import plugins
from my3dis.errors import ConfigError, DataError
from my3dis.masks import hierarchy
from my3dis.protocols import BackendOptions
from tests.backends.proposers import boxes
from tests.masks.scenes import dense


def test_without_a_hierarchy_nothing_is_delivered(tmp_path: Path) -> None:
    """Without hierarchy.json walls would pass as objects, so the oracle refuses to start."""
    gt = boxes.write_ground_truth(tmp_path)
    (gt / "hierarchy.json").unlink()
    with pytest.raises(DataError, match=r"hierarchy\.json: expected the tree of objects and parts"):
        plugins.proposer("oracle").create(BackendOptions(ground_truth=gt))


def test_objects_then_parts_without_structure(tmp_path: Path) -> None:
    """Level one holds the objects but not the wall, deeper levels their parts, linked to them."""
    gt = boxes.write_ground_truth(tmp_path)
    masks = (
        plugins.proposer("oracle")
        .create(BackendOptions(ground_truth=gt))
        .propose(  # type: ignore[union-attr]
            boxes.frame(0), (1, 3, 9)
        )
    )
    pixels = dense(masks)
    parents = hierarchy.parent_positions(masks)
    for level, labels, wanted in ((1, boxes.objects(), {2, 3}), (3, boxes.parts(), {20, 21, 30})):
        at = np.flatnonzero(masks.level == level).tolist()
        names = {int(labels[pixels[i]][0]): i for i in at}
        assert set(names) == wanted
        for label, i in names.items():
            assert np.array_equal(pixels[i], labels == label)
    for i in np.flatnonzero(masks.level == 3).tolist():
        part = int(boxes.parts()[pixels[i]][0])
        owner = int(boxes.objects()[pixels[parents[i]]][0])
        assert owner == boxes.OWNER[part]
    for i in np.flatnonzero(masks.level == 9).tolist():
        assert masks.level[parents[i]] == 3
        assert masks.rle[i] == masks.rle[parents[i]]
    assert (masks.score == 1).all()
    assert (masks.stability == 1).all()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """No ground truth is a setting's fault; a part without object or a frame without labels the data's."""
    oracle = plugins.proposer("oracle")
    with pytest.raises(ConfigError, match="ground truth"):
        oracle.create(BackendOptions())
    gt = boxes.write_ground_truth(tmp_path)
    with pytest.raises(DataError, match="0007"):
        oracle.create(BackendOptions(ground_truth=gt)).propose(boxes.frame(7), (2,))  # type: ignore[union-attr]
    tree = json.loads((gt / "hierarchy.json").read_text())
    del tree["parts"]["21"]
    (gt / "hierarchy.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="part 21"):
        oracle.create(BackendOptions(ground_truth=gt)).propose(boxes.frame(0), (2, 4))  # type: ignore[union-attr]
