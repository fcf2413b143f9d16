"""What happens when memory runs out: smaller batches, then memories on the host, then an error that tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from my3dis.backends.trackers.sam2_video import batches, families
from my3dis.backends.trackers.sam2_video.batches import Batches
from my3dis.backends.trackers.sam2_video.tracker import Sam2VideoTracker, TrackerOptions
from my3dis.errors import ResourceError
from tests.backends.trackers.sam2_video.scenes import picture, rectangles
from tests.backends.trackers.sam2_video.test_tracker import Rows, follow

GPU = torch.device("cuda")
SCRIPT = {0: rectangles(0, *((track, (track, 10, track + 40, 60)) for track in range(6)))}
Shortage = Callable[[int], bool]


def run(limit: int, count: int, size: int) -> tuple[Batches, list[list[int]]]:
    """Run batches of which at most ``limit`` objects fit, twice; those that ran."""
    some, ran = Batches(size, torch.device("cpu")), []

    def one_batch(positions: Sequence[int]) -> None:
        if len(positions) > limit:
            raise torch.OutOfMemoryError("out of memory")
        ran.append(list(positions))

    some.run(count, one_batch, lambda: None)
    some.run(count, one_batch, lambda: None)
    return some, ran


def test_everything_runs_once_in_order() -> None:
    """Seven objects in batches of three are three batches, however often it is done."""
    some, ran = run(limit=3, count=7, size=3)
    assert ran == 2 * [[0, 1, 2], [3, 4, 5], [6]]
    assert some.notes == ()


def test_batches_that_do_not_fit_become_smaller_for_good() -> None:
    """Of eight, four, two only two fit; the rest of this pass and all of the next go on with two."""
    some, ran = run(limit=3, count=5, size=8)
    assert ran == 2 * [[0, 1], [2, 3], [4]]
    assert some.size == 2
    assert [code for code, _ in some.notes] == ["smaller_batch", "smaller_batch"]


def test_what_ran_is_not_run_again() -> None:
    """When the second of two batches fails, only its objects are tried again."""
    some, ran = Batches(2, torch.device("cpu")), []

    def one_batch(positions: Sequence[int]) -> None:
        if list(positions) == [2, 3]:
            raise MemoryError
        ran.append(list(positions))

    some.run(4, one_batch, lambda: None)
    assert ran == [[0, 1], [2], [3]]


def test_the_host_is_the_last_resort() -> None:
    """On a GPU one object that does not fit moves memories to the host once, and the rest goes on there."""
    some, events = Batches(2, GPU), []

    def one_batch(positions: Sequence[int]) -> None:
        if "host" not in events:
            raise torch.OutOfMemoryError("CUDA out of memory")
        events.append(list(positions))

    some.run(2, one_batch, lambda: events.append("host"))
    some.run(2, one_batch, lambda: events.append("again"))
    assert events == ["host", [0], [1], [0], [1]]
    assert [code for code, _ in some.notes] == ["smaller_batch", "state_on_host"]


@pytest.mark.parametrize(("device", "moved"), [(GPU, True), (torch.device("cpu"), False)])
def test_the_error_tells_what_was_tried(device: torch.device, moved: bool) -> None:
    """When nothing helps, sizes tried and, on a GPU, the move to the host are named."""

    def one_batch(positions: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(ResourceError, match="tried") as caught:
        Batches(4, device).run(4, one_batch, lambda: None)
    assert ("moved to the host" in str(caught.value)) == moved


def test_other_errors_are_no_shortage() -> None:
    """A bug is not taken for a lack of memory."""

    def one_batch(positions: Sequence[int]) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        Batches(4, GPU).run(4, one_batch, lambda: None)


@pytest.fixture
def short(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sam2VideoTracker]:
    """Return a maker of trackers in which passes fail midway by a rule."""
    model = families.load(checkpoints["sam2"], torch.device("cpu"), torch.float32)

    def make(fails: Shortage, size: int | None = None) -> Sam2VideoTracker:
        encode = type(model.network)._encode_new_memory

        def encode_or_fail(self: object, *args: object, **kwargs: object) -> object:
            if fails(len(kwargs["object_score_logits"])):  # type: ignore[arg-type]
                raise torch.OutOfMemoryError("CUDA out of memory")
            return encode(self, *args, **kwargs)

        monkeypatch.setattr(model.network, "_encode_new_memory", encode_or_fail.__get__(model.network))
        options = TrackerOptions(folder=checkpoints["sam2"], device="cpu", objects_per_batch=size)
        return Sam2VideoTracker(options)

    return make


def plain(short: Callable[..., Sam2VideoTracker]) -> list[Rows]:
    return follow(short(lambda n: False), 8, SCRIPT)


def test_a_pass_that_failed_midway_leaves_no_trace(short: Callable[..., Sam2VideoTracker]) -> None:
    """Six objects at once fail after their masks were found; one at a time they are as if always alone."""
    expected = plain(short)
    tracker = short(lambda n: n > 1, 6)
    assert follow(tracker, 8, SCRIPT) == expected
    assert [code for code, _ in tracker.report().notes] == ["smaller_batch", "smaller_batch"]


def test_a_tracker_goes_on_with_memories_on_the_host(
    short: Callable[..., Sam2VideoTracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object that fails once on the fifth frame is found as ever, with its memory moved."""
    expected = plain(short)
    monkeypatch.setattr(batches, "host_helps", lambda device: True)
    passes: list[int] = []
    tracker = short(lambda n: passes.append(n) or len(passes) == 6 + 4 * 6 + 3)
    assert follow(tracker, 8, SCRIPT) == expected
    assert [code for code, _ in tracker.report().notes] == ["state_on_host"]


def test_a_tracker_that_cannot_go_on_says_so(short: Callable[..., Sam2VideoTracker]) -> None:
    """When not even one object fits, the error is about resources."""
    tracker = short(lambda n: True)
    tracker.step(picture(0))
    with pytest.raises(ResourceError, match="sam2_video: the memory ran out with 1 objects at once"):
        tracker.prompt(picture(0), SCRIPT[0])
