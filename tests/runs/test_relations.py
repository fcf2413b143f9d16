"""The file of relations: round trip, checks, and parents applied to tracks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from my3dis.errors import DataError
from my3dis.runs.relations import Relations, load_relations, save_relations
from my3dis.tracking.lifecycle import Merge
from my3dis.tracking.relations import TrackParent
from my3dis.types import TrackSet


def entry(track_id: int, level: int, parent_id: int = -1) -> TrackParent:
    return TrackParent(
        track_id=track_id, level=level, parent_id=parent_id, containment=0.75 if parent_id >= 0 else 0.0
    )


RELATIONS = Relations(
    parents=(entry(0, 2), entry(3, 4, 0), entry(7, 6, 3)),
    merges=(Merge(old=5, new=3, reason="place", strength=0.8),),
)


def tracks(*ids: int) -> TrackSet:
    none = np.zeros(0, np.int32)
    k = len(ids)
    return TrackSet(
        track_id=np.array(ids, np.int32),
        level=np.full(k, 2, np.int16),
        parent_id=np.full(k, -1, np.int32),
        first_frame=np.zeros(k, np.int32),
        last_frame=np.zeros(k, np.int32),
        obs_track=none,
        obs_frame=none,
        obs_mask_id=none,
        obs_score=np.zeros(0, np.float32),
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """The file gives back equal relations, and its JSON names tracks and merges."""
    path = tmp_path / "relations.json"
    save_relations(path, RELATIONS)
    assert load_relations(path) == RELATIONS
    content = json.loads(path.read_text())
    assert content["tracks"][1] == {"track_id": 3, "level": 4, "parent_id": 0, "containment": 0.75}
    assert content["merges"][0]["old"] == 5


def test_parents_are_applied_to_tracks() -> None:
    """Tracks get their parents; one whose parent is gone, or that is unknown, has none."""
    assert RELATIONS.apply_to(tracks(0, 3, 7, 9)).parent_id.tolist() == [-1, 0, 3, -1]
    assert RELATIONS.apply_to(tracks(3, 7)).parent_id.tolist() == [-1, 3]
    assert RELATIONS.parent_of(7) == 3
    assert RELATIONS.parent_of(99) == -1


@pytest.mark.parametrize(
    "parents",
    [
        (entry(0, 2), entry(0, 2)),
        (entry(1, 4, 0),),
        (entry(0, 4), entry(1, 4, 0)),
        (entry(0, 2, 1), entry(1, 4, 0)),
    ],
    ids=["repeated", "missing parent", "same level", "circle"],
)
def test_trees_that_are_none_are_refused(parents: tuple[TrackParent, ...]) -> None:
    """Repeats, missing parents and parents that are not coarser are errors."""
    with pytest.raises(DataError, match=r"Relations\.parents"):
        Relations(parents=parents)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"format": 2, "tracks": [], "merges": []}',
        '{"format": 1, "tracks": []}',
        '{"format": 1, "tracks": [{"track_id": "0"}], "merges": []}',
        '{"format": 1, "tracks": [{"track_id": true}], "merges": []}',
        '{"format": 1, "merges": [], "tracks": '
        '[{"track_id": 0, "level": 2, "parent_id": 4, "containment": 0}]}',
    ],
)
def test_broken_files_are_errors_that_name_the_file(text: str, tmp_path: Path) -> None:
    """What is no relations file gives one sentence with its path."""
    path = tmp_path / "relations.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"relations\.json"):
        load_relations(path)
