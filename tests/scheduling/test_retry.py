"""Another attempt for a job that died: for want of memory more memory, smaller batches, then alone."""

from __future__ import annotations

import re
from pathlib import Path
from signal import SIGBUS, SIGILL, SIGKILL, SIGSEGV, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

import my3dis
from my3dis.config import Config
from my3dis.monitoring.evidence import GPU_EVIDENCE
from my3dis.scheduling.jobs import Job, JobOutcome, JobStatus, Need
from my3dis.scheduling.retry import (
    Batch,
    Retry,
    RetryPolicy,
    batches_of,
    need_after_stop,
    next_attempt,
)

KILLED = "oom_kill 3 -> 4 in /sys/fs/cgroup/memory.events: killed by the kernel (SIGKILL)"
ON_GPU = f"{GPU_EVIDENCE}: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
NEED = Need(gpus=1, gpu_memory_mb=8000, threads=2, memory_mb=1000)
POINTS = Batch("candidates", "stages.ssam.points_per_batch", 64)
OBJECTS = Batch("track", "stages.tracker.objects_per_batch", 3)


def outcome(
    *evidence: str, stages: tuple[str, ...] = ("candidates", "filter"), **facts: object
) -> JobOutcome:
    job = Job(id="room:candidates", scene="room", scan=Path("room"), stages=stages, need=NEED, seconds=9.0)
    return JobOutcome(job=job, status=JobStatus.FAILED, evidence=evidence, **facts)  # type: ignore[arg-type]


def test_a_kill_is_tried_with_more_memory_and_smaller_batches_then_alone_then_given_up() -> None:
    """Half more memory and half the batch; then again so, alone; the third death is the last."""
    policy = RetryPolicy(attempts=3, batches=(POINTS, OBJECTS))
    first = next_attempt(outcome(KILLED, signal=SIGKILL), 1, NEED, policy)
    assert first is not None
    assert (first.need.memory_mb, first.alone) == (1500, False)
    assert first.settings == (("stages.ssam.points_per_batch", 32),), "tracking is no part of this job"
    second = next_attempt(outcome(KILLED, signal=SIGKILL), 2, first.need, policy)
    assert second is not None
    assert (second.need.memory_mb, second.alone) == (2250, True)
    assert second.settings == (("stages.ssam.points_per_batch", 16),)
    assert next_attempt(outcome(KILLED, signal=SIGKILL), 3, second.need, policy) is None
    assert "attempt 2 of 3" in first.reason
    assert "1,500 MiB reserved instead of 1,000" in first.reason
    assert KILLED in first.reason
    assert "nothing beside it" in second.reason


def test_more_memory_is_at_least_what_was_seen_and_at_most_what_there_is() -> None:
    """A peak of 4,000 asks for a quarter more; the host's capacity is never passed, or it never starts."""
    found = next_attempt(outcome(KILLED, signal=SIGKILL, peak_rss_mb=4000.0), 1, NEED)
    assert found is not None
    assert found.need.memory_mb == 5000
    small = RetryPolicy(capacity_mb=3000.7)
    found = next_attempt(outcome(KILLED, signal=SIGKILL, peak_rss_mb=4000.0), 1, NEED, small)
    assert found is not None
    assert found.need.memory_mb == 3000
    tiny = next_attempt(outcome(KILLED, signal=SIGKILL), 1, NEED, RetryPolicy(capacity_mb=500))
    assert tiny is not None
    assert tiny.need.memory_mb == 1000, "what it had is not taken away"
    assert "fewer jobs beside it" in tiny.reason


def test_a_gpu_that_ran_out_gives_a_whole_gpu_and_smaller_batches() -> None:
    """More host memory would not help: a share of a GPU becomes the whole one, batches are halved."""
    policy = RetryPolicy(batches=(POINTS, OBJECTS))
    found = next_attempt(outcome(ON_GPU, exit_code=5, stages=("track",)), 1, NEED, policy)
    assert found is not None
    assert (found.need.gpu_memory_mb, found.need.gpus, found.need.memory_mb) == (0, 1, 1000)
    assert found.settings == (("stages.tracker.objects_per_batch", 1),)
    assert "a whole GPU" in found.reason


def test_a_job_without_a_model_has_nothing_to_make_smaller() -> None:
    """The weight-free back ends have no batches; memory and company are all that changes."""
    assert batches_of(Config()) == ()
    found = next_attempt(outcome(KILLED, signal=SIGKILL), 1, NEED)
    assert found is not None
    assert found.settings == ()


@pytest.mark.parametrize("code", [2, 3, 4])
@pytest.mark.parametrize("evidence", [(), (KILLED,)])
def test_settings_data_and_plugins_are_never_tried_again(code: int, evidence: tuple[str, ...]) -> None:
    """They are wrong again."""
    assert next_attempt(outcome(*evidence, exit_code=code), 1, NEED) is None


@pytest.mark.parametrize("facts", [{"exit_code": 1}, {"exit_code": 5}, {"exit_code": 6}, {"signal": SIGTERM}])
def test_an_ordinary_failure_is_not_tried_again(facts: dict[str, int]) -> None:
    """A bug, a full disk or a person's wish stays one."""
    assert next_attempt(outcome(**facts), 1, NEED) is None
    assert next_attempt(outcome(signal=SIGILL), 1, NEED) is None


@pytest.mark.parametrize(
    "facts", [{"signal": SIGBUS}, {"signal": SIGSEGV}, {"signal": SIGKILL}, {"exit_code": 137}]
)
def test_a_signal_that_may_be_the_machines_fault_is_tried_once_more(facts: dict[str, int]) -> None:
    """As it was, and only once."""
    found = next_attempt(outcome(**facts), 1, NEED)
    assert found is not None
    assert (found.need, found.alone, found.settings) == (NEED, False, ())
    assert "tried once more" in found.reason
    assert next_attempt(outcome(**facts), 2, NEED) is None


def test_a_job_that_the_guard_stopped_reserves_what_it_held() -> None:
    """It goes back with a quarter more than it held, so that it starts where there is room."""
    assert need_after_stop(NEED, 2000).memory_mb == 2500
    assert need_after_stop(NEED, 100) == NEED
    assert need_after_stop(NEED, 2000, 1800).memory_mb == 1800


@given(
    st.integers(1, 6),
    st.integers(1, 100_000),
    st.floats(0, 1e6),
    st.one_of(st.none(), st.floats(1, 1e6)),
)
def test_attempts_are_bounded_and_needs_never_shrink(
    attempts: int, memory_mb: int, peak_mb: float, capacity_mb: float | None
) -> None:
    """However a job keeps dying, it is given up after N attempts, and the last of several runs alone."""
    policy = RetryPolicy(attempts=attempts, capacity_mb=capacity_mb, batches=(POINTS,))
    need, attempt = Need(memory_mb=memory_mb), 1
    last: Retry | None = None
    while (
        found := next_attempt(outcome(KILLED, signal=SIGKILL, peak_rss_mb=peak_mb), attempt, need, policy)
    ) is not None:
        assert found.need.memory_mb >= need.memory_mb
        if capacity_mb is not None:
            assert found.need.memory_mb <= max(memory_mb, capacity_mb)
        need, attempt, last = found.need, attempt + 1, found
    assert attempt == attempts
    assert last is None or last.alone


def test_batches_follow_the_settings_and_the_back_ends_own() -> None:
    """A setting counts before a back end's own size."""
    config = Config.model_validate(
        {
            "stages": {
                "ssam": {"proposer": "semantic_sam"},
                "tracker": {"propagator": "sam2_video", "objects_per_batch": 4},
            }
        }
    )
    assert batches_of(config) == (
        Batch("candidates", "stages.ssam.points_per_batch", 200),
        Batch("track", "stages.tracker.objects_per_batch", 4),
    )


@pytest.mark.parametrize(
    ("file", "name", "section", "chosen"),
    [
        ("proposers/sam2_auto/proposer.py", "points_per_batch", "ssam", "sam2_auto"),
        ("proposers/semantic_sam/automatic.py", "points_per_batch", "ssam", "semantic_sam"),
        ("trackers/sam2_video/batches.py", "OBJECTS_PER_BATCH", "tracker", "sam2_video"),
    ],
)
def test_own_sizes_are_those_of_the_back_ends(file: str, name: str, section: str, chosen: str) -> None:
    """The sizes written in the scheduler are those in the back ends' source (which needs torch to import)."""
    text = (Path(my3dis.__file__).parent / "backends" / file).read_text()
    found = re.search(rf"^\s*{name}(?:: int)? = (\d+)$", text, re.MULTILINE)
    assert found is not None
    key = "proposer" if section == "ssam" else "propagator"
    (batch,) = batches_of(Config.model_validate({"stages": {section: {key: chosen}}}))
    assert batch.size == int(found[1])
