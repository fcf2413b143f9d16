"""State of tracking as arrays and back: nothing is lost, nothing foreign is made."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.errors import DataError
from my3dis.tracking.backward import BackwardPass, Spans
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.identity import Identities
from my3dis.tracking.lifecycle import Merge, Sleepers
from my3dis.tracking.relations import Containment
from my3dis.tracking.snapshot import flatten, restored
from my3dis.types import MaskSet
from tests.tracking.flatland import Card, masks_of, render

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
CARDS = [Card(1, -1.0, -0.5, -0.4, 0.1), Card(2, 0.3, -0.5, 0.9, 0.5, color=(40, 60, 200))]


def alike(one: Any, other: Any) -> bool:
    """Whether two values are of one type and hold the same, looked at attribute by attribute."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(alike, one, other))
    if type(one).__module__.startswith("my3dis"):
        names = {
            *getattr(one, "__dict__", ()),
            *(n for k in type(one).__mro__ for n in getattr(k, "__slots__", ())),
        }
        return all(alike(getattr(one, name, None), getattr(other, name, None)) for name in names)
    return bool(one == other)


@given(VALUES)
def test_plain_values_come_back(value: object) -> None:
    """Whatever is nested in whatever, the same value of the same type returns."""
    assert alike(restored(flatten(value)), value)


def test_arrays_scalars_and_collections_come_back() -> None:
    """Every type of array and collection that state may use keeps type, shape and bits."""
    value = (
        [np.arange(6).astype(dtype).reshape(2, 3) for dtype in ("bool", "i1", "u2", "i8", "f2", "f4", "f8")],
        np.zeros((0, 3), np.int16),
        np.float32(0.1),
        float("inf"),
        {1, 2},
        Counter({"a": 2}),
        deque([1, 2]),
    )
    assert alike(restored(flatten(value)), value)


def test_what_is_shared_stays_shared() -> None:
    """Two ways to one object lead to one object again, so that changing it by one shows by the other."""
    one: list[int] = [1]
    first, second = restored(flatten((one, {"same": one})))
    first.append(2)
    assert second["same"] == [1, 2]


def test_a_random_generator_goes_on() -> None:
    """The numbers after the snapshot are those that would have come."""
    generator = np.random.default_rng(5)
    generator.random(3)
    copy = restored(flatten(generator))
    assert copy.random(4).tolist() == generator.random(4).tolist()


def run_of(machine: Identities, frames: range) -> list[MaskSet]:
    """Feed frames in which an object flickers, leaves and comes back; the predictions are the truth."""
    found = []
    for index in frames:
        frame, labels = render(index, CARDS, 0.05 * index, depth=True)
        masks = masks_of(labels, index, 2)
        shown = masks.select(np.flatnonzero(masks.mask_id != (2 if index in (4, 5, 6, 7, 8, 9) else 99)))
        step = machine.observe(masks.select([]), shown, FrameCues(frame))
        found += [step.rows, *step.late_rows, step.prompts]
    return found


@pytest.mark.parametrize("at", [1, 3, 6, 9, 10])
def test_identities_go_on_as_if_nothing_had_happened(at: int) -> None:
    """Saved and restored at a frame, living, sleeping and counted tracks lead to the very same steps."""
    whole, first = Identities(), Identities()
    expected = run_of(whole, range(14))
    found = run_of(first, range(at))
    second = restored(flatten(first))
    assert alike(second, first)
    assert second is not first
    found += run_of(second, range(at, 14))
    assert alike(found, expected)
    assert alike(second, whole)
    assert whole.counts.wakes > 0


@pytest.mark.parametrize("machine", [Identities, Containment, Sleepers], ids=lambda kind: kind.__name__)
def test_every_field_is_kept(machine: type) -> None:
    """A field that a class gets later is kept without a word here, and one that cannot be is told."""
    state = machine()
    vars(state)["later"] = {"a": (1, np.ones(2))}
    assert alike(restored(flatten(state)), state)
    vars(state)["later"] = {"a": object()}
    with pytest.raises(TypeError, match=r"state\.later\['a'\]: a builtins\.object cannot be kept"):
        flatten(state)


def test_a_backward_pass_comes_back() -> None:
    """Spans and what is followed are kept."""
    frame, labels = render(3, CARDS, 0.0, depth=True)
    rows = masks_of(labels, 3, 2)
    spans = object.__new__(Spans)
    spans._ids, spans._first, spans._last = (np.array(v, np.int32) for v in ([1, 2], [3, 3], [9, 9]))
    rows = MaskSet.concatenate([rows.select([0]), rows.select([1])])
    rows = type(rows)(
        **{f: getattr(rows, f) for f in rows.__slots__ if f != "track_id"}, track_id=rows.mask_id
    )
    sweep = BackwardPass(spans)
    sweep.observe(rows.select([]), rows)
    assert sweep.is_following
    assert frame.index == 3
    assert alike(restored(flatten(sweep)), sweep)


@dataclass
class Foreign:
    """Of no package that state may consist of."""

    value: int = 1


def test_foreign_objects_are_neither_saved_nor_made() -> None:
    """Objects of other packages are refused on the way out; on the way in nothing of theirs is touched."""
    with pytest.raises(TypeError, match=r"state: a tests\.tracking\.test_snapshot\.Foreign cannot be kept"):
        flatten(Foreign())
    layout = {"object": ["subprocess", "Popen", {"args": "true"}]}
    with pytest.raises(DataError, match=r"subprocess is none of my3dis\.tracking"):
        restored(as_arrays(layout))


@pytest.mark.parametrize(
    "layout",
    [
        {"object": ["my3dis.tracking.lifecycle", "Merge", {"old": 1}]},
        {"object": ["my3dis.tracking.lifecycle", "MAX_SLEEPING", {}]},
        {"object": ["my3dis.tracking.nothing", "Merge", {}]},
        {"array": [5, "<i8", [100]]},
        {"again": 7},
        {"unknown": 1},
        {},
    ],
)
def test_damaged_state_is_told(layout: dict[str, object]) -> None:
    """State of other fields or classes, cut off or of no known kind is a DataError."""
    with pytest.raises(DataError, match="expected saved state"):
        restored(as_arrays(layout))


def as_arrays(layout: object) -> dict[str, np.ndarray]:
    return {"layout": np.frombuffer(json.dumps(layout).encode(), np.uint8), "data": np.zeros(8, np.uint8)}


def test_equal_merges_come_back() -> None:
    """A frozen record with slots is made again without its constructor."""
    merge = Merge(old=1, new=2, reason="place", strength=0.5)
    assert restored(flatten([merge])) == [merge]


def test_saving_takes_a_few_times_what_is_saved() -> None:
    """Text is written value by value: a tree of JSON would take eight times the bytes."""
    state = [Merge(old=i, new=i + 1, reason="place", strength=i / 7) for i in range(9000)]
    flatten(state[:9])
    tracemalloc.start()
    try:
        saved = sum(array.nbytes for array in flatten(state).values())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * saved
