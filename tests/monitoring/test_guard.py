"""The guard: when jobs are held back or stopped, and what shows that one died for want of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGBUS, SIGKILL, SIGSEGV, SIGTERM
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.monitoring.evidence import GPU_EVIDENCE
from my3dis.monitoring.guard import GuardDecision, GuardTiming, MemoryGuard, RunningJob
from my3dis.monitoring.host import Bound, HostMemory, Pressure, read_host_memory
from tests.monitoring.real_groups import limited_group

ROOT = Path(__file__).resolve().parents[2]
EATER = ROOT / "tests" / "scheduling" / "eater.py"
GUARDED = ROOT / "tests" / "monitoring" / "guarded.py"


def look(
    working_mb: float = 100.0, *, held_mb: float | None = None, capacity_mb: float = 1000.0, **more: Any
) -> HostMemory:
    bound = Bound(
        name="/box/memory.max",
        capacity_mb=capacity_mb,
        working_mb=working_mb,
        held_mb=working_mb if held_mb is None else held_mb,
    )
    facts = {"oom_kills": 0, "kills_from": "/box/memory.events", "limit_mb": capacity_mb, **more}
    return HostMemory(source="cgroup v2", bounds=(bound,), **facts)


class Box:
    """A host and a clock that the test moves."""

    def __init__(self, wanted: int | None = 4, **more: Any) -> None:
        self.now = 0.0
        self.host = look(**more)
        timing = GuardTiming(settle_s=2, calm_s=30, patience_s=60)
        self.guard = MemoryGuard(lambda: self.host, wanted=wanted, timing=timing, clock=lambda: self.now)

    def at(self, working_mb: float, jobs: int = 2, *, after: float = 1.0, **more: Any) -> GuardDecision:
        self.now += after
        self.host = look(working_mb, **more)
        return self.guard.decide(running(jobs))


def running(n: int, rss_mb: float = 10.0, need_mb: float = 0.0) -> list[RunningJob]:
    return [
        RunningJob(job_id=f"s{i}:candidates", started=float(i), rss_mb=rss_mb, need_mb=need_mb)
        for i in range(n)
    ]


# --- admission


def test_marks_are_checked() -> None:
    """A soft mark above the hard one is a mistake of the caller."""
    with pytest.raises(ValueError, match="soft < hard"):
        MemoryGuard(look, soft=0.9, hard=0.8)


def test_admission_stops_above_the_soft_mark_and_does_not_flap() -> None:
    """Above 80 % no job starts; it goes on below 75 %, so that a use that wavers changes nothing."""
    box = Box()
    assert [box.at(use).admit for use in (790, 810, 790, 810, 760, 740, 790)] == [
        *(True, False, False, False, False, True, True)
    ]
    decision = box.at(850)
    assert "850 of 1,000 MiB in use (85 %, /box/memory.max)" in decision.reason
    assert "under 750 MiB" in decision.reason
    assert decision.stop is None


def test_the_bound_that_is_nearest_to_its_end_decides() -> None:
    """A machine that is full holds jobs back though their own group has room."""
    box = Box()
    box.host = look(100)
    machine = Bound(name="this machine", capacity_mb=2000.0, working_mb=1700.0, held_mb=1700.0)
    box.host = HostMemory(source="cgroup v2", oom_kills=0, bounds=(*box.host.bounds, machine))
    decision = box.guard.decide(running(1))
    assert not decision.admit
    assert "this machine" in decision.reason


def test_a_large_host_is_used_nearly_to_its_end() -> None:
    """Of 512 GiB not a fifth is left idle: 16 GiB of room are enough to start a job, 4 GiB to go on."""
    box = Box()
    full_mb = 512 * 1024.0
    assert box.at(full_mb - 17 * 1024, capacity_mb=full_mb).admit
    assert not box.at(full_mb - 15 * 1024, capacity_mb=full_mb).admit
    assert box.at(full_mb - 5 * 1024, capacity_mb=full_mb).stop is None
    assert box.at(full_mb - 3 * 1024, capacity_mb=full_mb).stop is not None


def test_pressure_holds_jobs_back() -> None:
    """Stalls close admission with memory seemingly free, and it opens at half of what closed it."""
    box = Box()
    assert box.at(100, pressure=Pressure(30, 9)).admit
    decision = box.at(100, pressure=Pressure(30, 11))
    assert not decision.admit
    assert "waited for memory" in decision.reason
    assert not box.at(100, pressure=Pressure(10, 6)).admit
    assert box.at(100, pressure=Pressure(10, 4)).admit
    assert not box.at(100, pressure=Pressure(41, 0)).admit


def test_nothing_waits_for_ever() -> None:
    """With nothing running a job starts above the soft mark, and above the hard one after a minute."""
    box = Box()
    assert box.at(850, jobs=0).admit
    assert not box.at(950, jobs=0).admit
    assert not box.at(950, jobs=0, after=50).admit
    assert box.at(950, jobs=0, after=20).admit
    assert not box.at(950, jobs=1).admit


def test_need_counts_what_running_jobs_may_still_take() -> None:
    """A job starts when its need fits below the soft mark beside what the others reserved (by hand)."""
    box = Box(working_mb=300)
    others = running(2, rss_mb=100, need_mb=150)
    # 800 - 300 used - 2 * 50 not taken yet = 400.
    assert box.guard.may_start(400, others)
    assert not box.guard.may_start(401, others)
    reason = box.guard.refusal(500, others)
    assert reason is not None
    assert "needs 500 MiB, and 400 of 1,000 MiB" in reason
    assert box.guard.may_start(5000, []), "alone, a job may always be tried"


# --- stopping


def test_above_the_hard_mark_the_youngest_is_stopped() -> None:
    """It loses the least work; its reason tells the figures."""
    box = Box()
    decision = box.at(930, jobs=3)
    assert (decision.stop, decision.admit, decision.max_jobs) == ("s2:candidates", False, 2)
    assert "930 of 1,000 MiB in use (93 %, /box/memory.max), 30 by 3 jobs" in decision.reason


def test_the_only_job_is_never_stopped() -> None:
    """Stopping the only job would gain nothing: it must get through or be killed."""
    assert Box().at(990, jobs=1).stop is None


def test_page_cache_stops_nobody() -> None:
    """Cache that the kernel can take back may hold admission, but stops no job."""
    decision = Box().at(950, held_mb=500)
    assert (decision.admit, decision.stop) == (False, None)


def test_one_stop_at_a_time() -> None:
    """While a stopped job goes, and two seconds after, no other is stopped; then the next one may be."""
    box = Box()
    assert box.at(950, jobs=4).stop == "s3:candidates"
    assert box.at(960, jobs=4, after=5).stop is None, "it is still going"
    assert box.at(960, jobs=3, after=1).stop is None
    assert box.at(960, jobs=3, after=1).stop is None
    decision = box.at(960, jobs=3, after=1)
    assert (decision.stop, decision.max_jobs) == ("s2:candidates", 2)


def test_after_a_stop_fewer_jobs_run_until_it_was_calm() -> None:
    """One more job is tried when one has ended and 30 calm seconds went by; each shortage doubles them."""
    box = Box(wanted=3)
    assert box.at(950, jobs=3).stop is not None
    decision = box.at(500, jobs=2)
    assert (decision.admit, decision.max_jobs) == (False, 2)
    assert "since memory ran short" in decision.reason
    assert box.at(500, jobs=2, after=40).max_jobs == 2, "the one that ended was the stopped one"
    assert box.at(500, jobs=1).max_jobs is None
    assert box.at(950, jobs=3).stop is not None
    box.at(500, jobs=2)
    box.at(500, jobs=1)
    assert box.at(500, jobs=1, after=40).max_jobs == 2
    assert box.at(500, jobs=1, after=30).max_jobs is None


def test_a_kill_lowers_concurrency() -> None:
    """After a kill among four jobs three run at a time; with one only, one."""
    box = Box()
    box.guard.killed(4)
    assert box.at(100, jobs=3).max_jobs == 3
    box.guard.killed(1)
    decision = box.at(100, jobs=1)
    assert (decision.max_jobs, decision.admit) == (1, False)


def test_where_the_guard_is_blind_half_the_jobs_run() -> None:
    """R5: with something missing there is one warning, and half of the wanted jobs run at a time."""
    box = Box(wanted=6, missing=("no memory.events, so ...; do ...", "no memory.max, so ...; do ..."))
    assert box.guard.warning is not None
    assert "memory.events" in box.guard.warning
    assert "memory.max" in box.guard.warning
    blind = {"missing": box.host.missing}
    assert box.at(100, jobs=2, **blind).admit
    decision = box.at(100, jobs=3, **blind)
    assert (decision.admit, decision.max_jobs) == (False, 3)
    assert "cannot see enough" in decision.reason
    assert Box().guard.warning is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1200), st.floats(0.1, 100)), min_size=1, max_size=60))
def test_no_sequence_starves_or_stops_everything(steps: list[tuple[float, float]]) -> None:
    """Whatever memory does, a lone job is never stopped, limits stay at one or more, reasons are given."""
    box = Box(wanted=4)
    alive = 0
    for use, after in steps:
        decision = box.at(use, jobs=alive, after=after)
        assert decision.max_jobs is None or 1 <= decision.max_jobs < 4
        if decision.stop:
            assert alive > 1
            assert not decision.admit
            alive -= 1
        elif decision.admit:
            alive = min(alive + 1, 4)
        assert decision.admit or decision.reason
    box.at(100, jobs=0)
    assert box.at(100, jobs=0).admit


# --- evidence, from given looks


def explain(
    code: int | None = None,
    signal: int | None = None,
    *,
    before: HostMemory | None = None,
    after: HostMemory | None = None,
    log: str = "",
) -> tuple[str, ...]:
    guard = Box().guard
    return guard.explain(code, signal, before or look(), after or look(), log)


@pytest.mark.parametrize(("code", "signal"), [(None, SIGKILL), (137, None), (-9, None)])
def test_a_kill_that_the_kernel_counted(code: int | None, signal: int | None) -> None:
    """The counter rose and the job ended by SIGKILL, also through a shell or container (137)."""
    evidence = explain(code, signal, after=look(oom_kills=1))
    assert evidence == ("oom_kill 0 -> 1 in /box/memory.events: killed by the kernel (SIGKILL)",)


def test_a_child_that_was_killed() -> None:
    """A job whose helper process was killed ends with an error of its own."""
    assert explain(1, after=look(oom_kills=2)) == (
        "oom_kill 0 -> 2 in /box/memory.events: the kernel killed a process",
    )


@pytest.mark.parametrize("code", [0, 2, 3, 4, 130])
def test_errors_that_are_wrong_again_are_no_shortage(code: int) -> None:
    """Wrong settings, data and plug-ins stay what they are, though another job was killed meanwhile."""
    assert explain(code, after=look(oom_kills=5), log="MemoryError") == ()


@pytest.mark.parametrize(
    ("code", "signal"), [(1, None), (5, None), (6, None), (None, SIGKILL), (None, SIGSEGV), (None, SIGTERM)]
)
def test_without_evidence_it_is_an_ordinary_failure(code: int | None, signal: int | None) -> None:
    """Nothing in counters, use, stalls or log: nothing is claimed, not even about SIGKILL."""
    assert explain(code, signal, log="my3dis: error: the disk is full: No space left on device") == ()


def test_counters_of_different_files_are_not_compared() -> None:
    """A group's counter and the machine's have nothing to do with each other."""
    assert explain(None, SIGKILL, after=look(oom_kills=9, kills_from="/proc/vmstat")) == ()


def test_sigkill_at_the_limit() -> None:
    """SIGKILL with the limit reached at the last look, or in between (a peak that is new)."""
    (sentence,) = explain(None, SIGKILL, before=look(980))
    assert "980 of 1,000 MiB (/box/memory.max)" in sentence
    before = look(500, peak_mb=600.0)
    (sentence,) = explain(None, SIGKILL, before=before, after=look(100, peak_mb=990.0, limit_from="/box"))
    assert sentence == "use rose to 990 of 1,000 MiB (/box)"
    old_peak = look(500, peak_mb=990.0)
    assert explain(None, SIGKILL, before=old_peak, after=old_peak) == ()
    assert explain(1, before=look(980)) == (), "an error of its own is no kill"


def test_sigkill_in_a_stalled_host() -> None:
    """Watchers such as systemd-oomd kill on stalls, which no counter of the kernel tells."""
    (sentence,) = explain(None, SIGKILL, before=look(pressure=Pressure(90, 55)))
    assert "55 %" in sentence


def test_sigkill_where_nothing_counts() -> None:
    """Without any counter SIGKILL is taken for a shortage, and that this is a guess is said."""
    blind = look(oom_kills=None)
    (sentence,) = explain(None, SIGKILL, before=blind, after=blind)
    assert "taken for one" in sentence
    assert explain(None, SIGSEGV, before=blind, after=blind) == ()


TRACE = "Traceback (most recent call last):\n  File x\n"


@pytest.mark.parametrize(
    "line",
    [
        "MemoryError",
        "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1,)",
        "my3dis: error: detect: the memory ran out with 1 prompts at once (tried 4, 2, 1): no; use another",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "OSError: [Errno 12] Cannot allocate memory",
        "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
        "ImportError: cv2.abi3.so: failed to map segment from shared object",
        "RuntimeError: can't start new thread",
        "cv2.error: OpenCV(5.0.0) error: (-4:Insufficient memory) Failed to allocate 829440000 bytes",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_the_log_says_that_the_host_is_out_of_memory(line: str) -> None:
    """The last error's words, whichever library says it; the line itself is the evidence."""
    (sentence,) = explain(1, log=f"12:00 track\n{TRACE}{line}\n")
    assert sentence.startswith("its log ends with: ")
    assert line[:60] in sentence


@pytest.mark.parametrize(
    "line",
    [
        "ImportError: libgomp.so.1: cannot allocate memory in static TLS block",
        "ImportError: x.so: failed to map segment from shared object: Operation not permitted",
        "my3dis: error: cannot write /runs/a: the disk (or a quota) is full: No space left on device",
    ],
)
def test_errors_that_only_sound_like_memory(line: str) -> None:
    """Load orders, mounts without execution and full disks are no shortage of memory."""
    assert explain(1, log=f"{TRACE}{line}\n") == ()


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total",
        "RuntimeError: CUDA error: out of memory",
        "RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "my3dis: error: the memory ran out with 1 objects at once: CUDA out of memory. Tried to",
    ],
)
def test_the_log_says_that_a_gpu_is_out_of_memory(line: str) -> None:
    """A GPU's shortage is told apart, since more host memory would not help."""
    (sentence,) = explain(5, log=f"{TRACE}{line}\n")
    assert sentence.startswith(f"{GPU_EVIDENCE}: ")


def test_a_shortage_that_was_survived_is_no_evidence() -> None:
    """A model that went on with smaller batches did not die of that, nor did one whose error is another."""
    survived = "the memory ran out with 64 prompts at once (CUDA out of memory); going on with 32\n"
    assert explain(1, log=survived + f"{TRACE}KeyError: 3\n") == ()
    assert explain(1, log=f"{TRACE}MemoryError\n" + "frame\n" * 50 + f"{TRACE}KeyError: 3\n") == ()
    assert explain(1, log=f"{TRACE}MemoryError\n" + "frame\n" * 150) == ()


def test_the_cause_of_the_last_error_counts() -> None:
    """An error that was raised from MemoryError is one for want of memory."""
    cause = "The above exception was the direct cause of the following exception:"
    log = f"{TRACE}MemoryError\n\n{cause}\n\n{TRACE}"
    (sentence,) = explain(1, log=log + "ValueError: cannot\n" + "\n".join("abcdefgh"))
    assert "MemoryError" in sentence


# --- real processes


def eat(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EATER), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize(("polite", "code"), [((), 1), (("--polite",), 5)])
def test_real_memory_error_under_an_address_limit(polite: tuple[str, ...], code: int) -> None:
    """A process that eats beyond RLIMIT_AS ends with MemoryError or our exit code 5: both are recognised."""
    before = read_host_memory()
    done = eat("400", "--limit-mb", "200", "--seconds", "0", *polite)
    assert done.returncode == code
    evidence = Box().guard.explain(code, None, before, read_host_memory(), done.stderr)
    assert evidence
    assert "its log ends with" in evidence[-1]


def test_real_eater_that_fits_and_one_that_is_killed_by_a_person() -> None:
    """Enough memory is no failure, and SIGKILL from elsewhere is not blamed on memory."""
    assert eat("20", "--limit-mb", "300", "--seconds", "0").returncode == 0
    before = read_host_memory()
    process = subprocess.Popen([sys.executable, str(EATER), "5", "--hold", "60"])
    time.sleep(0.2)
    process.kill()
    assert process.wait() == -SIGKILL
    after = read_host_memory()
    evidence = Box().guard.explain(None, SIGKILL, before, after)
    if after.oom_kills == before.oom_kills and after.oom_kills is not None and not before.pressure:
        assert evidence == ()


def guarded(group: Path, *sizes_mb: int) -> dict[str, Any]:
    command = [sys.executable, str(GUARDED), str(group), *map(str, sizes_mb)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_real_kill_in_a_control_group_is_seen_and_explained() -> None:
    """A lone job that outgrows its group is killed by the kernel: the counter rises, and that is evidence."""
    with limited_group(80) as group:
        found = guarded(group, 300)
    assert found["group"] == str(group)
    assert found["limit_mb"] == 80
    assert found["missing"] == []
    assert found["ends"] == {"job0": -SIGKILL}
    before, after = found["kills"]
    assert after == before + 1
    sentence = found["evidence"]["job0"][0]
    assert sentence.startswith("oom_kill ")
    assert str(group) in sentence
    assert found["stopped"] == {}


def test_real_group_is_kept_from_its_limit_by_stopping_the_youngest() -> None:
    """Of two jobs that do not fit together the younger is stopped before the kernel kills either."""
    with limited_group(160) as group:
        found = guarded(group, 100, 100)
    assert found["ends"] == {"job0": 0, "job1": -SIGTERM}
    assert list(found["stopped"]) == ["job1"]
    assert found["kills"][0] == found["kills"][1]
    assert found["evidence"]["job0"] == []


def test_bus_errors_are_no_shortage_by_themselves() -> None:
    """SIGBUS is memory only with the kernel's counter beside it."""
    assert explain(None, SIGBUS) == ()
    assert explain(None, SIGBUS, after=look(oom_kills=1)) != ()
