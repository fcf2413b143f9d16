"""Which job starts next: nothing is over-committed, nothing runs twice, nothing waits for ever."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.config import Config
from my3dis.errors import ResourceError, StageError
from my3dis.scheduling.capacity import Capacity, Gpu
from my3dis.scheduling.dispatch import OVERTAKES, Dispatcher, Start
from my3dis.scheduling.jobs import Job, Need, ReusedStage, SweepPlan

CPU = Need(threads=1, memory_mb=10)
ONE_GPU = Need(gpus=1, threads=1, memory_mb=10)


def job(name: str, need: Need = CPU, seconds: float = 1.0, after: tuple[str, ...] = ()) -> Job:
    scene = name.partition(":")[0]
    return Job(id=name, scene=scene, scan=Path(scene), stages=("s",), need=need, seconds=seconds, after=after)


def plan(*jobs: Job, reused: tuple[ReusedStage, ...] = ()) -> SweepPlan:
    scenes = tuple(dict.fromkeys(entry.scene for entry in jobs))
    return SweepPlan(config=Config(), output_root=Path("out"), scenes=scenes, jobs=jobs, reused=reused)


def gpus(count: int, memory_mb: int = 1000) -> tuple[Gpu, ...]:
    return tuple(Gpu(str(n), f"GPU-{n}", memory_mb) for n in range(count))


def ids(starts: tuple[Start, ...]) -> list[str]:
    return [start.job.id for start in starts]


needs = st.builds(
    Need,
    gpus=st.integers(0, 3),
    gpu_memory_mb=st.sampled_from((0, 0, 250, 400, 600, 1000)),
    threads=st.integers(1, 5),
    memory_mb=st.integers(1, 120),
)
capacities = st.builds(
    Capacity,
    gpus=st.integers(0, 4).flatmap(lambda count: st.sampled_from((gpus(count), gpus(count, 600)))),
    threads=st.integers(1, 8),
    memory_mb=st.integers(50, 200),
)


@st.composite
def plans(draw: st.DrawFn) -> SweepPlan:
    """Return jobs of some scenes, each waiting for some of those before it."""
    jobs: list[Job] = []
    for n in range(draw(st.integers(1, 14))):
        after = draw(st.lists(st.sampled_from(jobs), max_size=2, unique=True)) if jobs else []
        scene = draw(st.integers(0, 3))
        jobs.append(
            job(
                f"{scene}:{n}",
                draw(needs),
                draw(st.integers(1, 9)),
                tuple(before.id for before in after),
            )
        )
    return plan(*jobs)


@dataclass
class Machine:
    """Runs what a dispatcher starts on a clock of its own, and counts for itself what is in use."""

    capacities: list[Capacity]
    now: float = 0.0
    ends: dict[str, tuple[float, Start]] = field(default_factory=dict)
    runs: Counter[str] = field(default_factory=Counter)
    finished: set[str] = field(default_factory=set)

    def begin(self, starts: tuple[Start, ...], most: int | None) -> None:
        for start in starts:
            assert start.job.id not in self.ends
            assert set(start.job.after) <= self.finished, "before its predecessors"
            self.ends[start.job.id] = self.now + start.job.seconds, start
            self.runs[start.job.id] += 1
            assert most is None or len(self.ends) <= most
        for host, capacity in enumerate(self.capacities):
            self.check(capacity, [start for _, start in self.ends.values() if start.host == host])

    def check(self, capacity: Capacity, here: list[Start]) -> None:
        memory: Counter[str] = Counter()
        for start in here:
            assert len(set(start.gpu_ids)) == start.need.gpus
            for gpu_id in start.gpu_ids:
                memory[gpu_id] += start.need.gpu_memory_mb or 10**6
        whole = {gpu.id: gpu.memory_mb for gpu in capacity.gpus}
        for gpu_id, used in memory.items():
            holders = sum(gpu_id in start.gpu_ids for start in here)
            assert used <= whole[gpu_id] or (holders == 1 and used == 10**6), "GPU over-committed"
        threads, memory_mb = sum(s.need.threads for s in here), sum(s.need.memory_mb for s in here)
        too_much = threads > capacity.threads or memory_mb > capacity.memory_mb
        assert not too_much or len(here) == 1, "host over-committed"
        assert len(here) == 1 or not any(start.alone for start in here)

    def next_end(self) -> Start:
        name = min(self.ends, key=lambda key: (self.ends[key][0], key))
        self.now, start = self.ends.pop(name)
        return start


@settings(max_examples=150, deadline=None)
@given(plans(), st.lists(capacities, min_size=1, max_size=3), st.none() | st.integers(1, 4), st.data())
def test_nothing_is_overcommitted_and_every_job_runs_once_after_its_predecessors(
    sweep: SweepPlan, machines: list[Capacity], most: int | None, data: st.DataObject
) -> None:
    """Over random plans, machines, failures and retries: every job ends done, failed, blocked or refused."""
    dispatcher = Dispatcher(sweep, machines, max_jobs=most)
    machine = Machine(machines)
    gone = {name for r in dispatcher.refused for name in (r.job.id, *(entry.id for entry in r.blocked))}
    for refusal in dispatcher.refused:
        assert all(capacity.gpus_lack(refusal.job.need) for capacity in machines)
    again: Counter[str] = Counter()
    while not dispatcher.done:
        machine.begin(dispatcher.start(machine.now), most)
        assert machine.ends, "nothing runs and nothing starts, so the sweep hangs"
        assert {start.job.id for start in dispatcher.running} == set(machine.ends)
        start = machine.next_end()
        fate = data.draw(st.sampled_from(("ok", "ok", "ok", "failed", "again", "alone")))
        if fate in ("again", "alone") and again[start.job.id] < 2:
            again[start.job.id] += 1
            more = replace(start.need, memory_mb=start.need.memory_mb + 30)
            dispatcher.requeue(start.job.id, more, alone=fate == "alone")
        else:
            ok = fate != "failed"
            machine.finished |= {start.job.id} if ok else set()
            gone |= {entry.id for entry in dispatcher.finished(start.job.id, ok)}
    for entry in sweep.jobs:
        assert machine.runs[entry.id] == (0 if entry.id in gone else 1 + again[entry.id])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_job_is_passed_more_often_than_allowed(data: st.DataObject) -> None:
    """Lower ranks pass a job at most `OVERTAKES` times, and once for each big one that waits as long."""
    sizes = st.builds(Need, threads=st.integers(1, 3), memory_mb=st.integers(1, 30))
    big_ones = st.builds(Need, threads=st.integers(4, 8), memory_mb=st.integers(31, 100))
    jobs = [
        job(f"{n}:a", Need(threads=1, memory_mb=10), 60.0 + n) for n in range(data.draw(st.integers(0, 2)))
    ]
    jobs += [job(f"1{n}:a", data.draw(big_ones), 30.0 + n) for n in range(data.draw(st.integers(0, 4)))]
    jobs += [job(f"2{n}:a", data.draw(sizes), data.draw(st.integers(1, 20))) for n in range(40)]
    capacity = Capacity((), 8, 100)
    dispatcher = Dispatcher(plan(*jobs), capacity)
    machine = Machine([capacity])
    passed: Counter[str] = Counter()
    while not dispatcher.done:
        before = [entry.id for entry in sorted(dispatcher.waiting, key=lambda e: (-e.seconds, jobs.index(e)))]
        begun = dispatcher.start(machine.now)
        machine.begin(begun, None)
        for start in begun:
            for name in before[: before.index(start.job.id)]:
                passed[name] += name not in ids(begun)
        dispatcher.finished(machine.next_end().job.id, ok=True)
    assert max(passed.values(), default=0) <= OVERTAKES + 6


def test_a_big_job_starts_though_small_ones_keep_coming() -> None:
    """A job for two GPUs among hundreds for one: once passed often enough, both GPUs are kept for it."""
    pair = job("pair:a", replace(ONE_GPU, gpus=2), 100.0)
    small = [job(f"{n:03d}:a", ONE_GPU, 1.0 + n % 3) for n in range(300)]
    early = [job("early1:a", ONE_GPU, 200.0), job("early2:a", ONE_GPU, 201.0)]
    capacity = Capacity(gpus(2), 8, 1000)
    dispatcher = Dispatcher(plan(*early, pair, *small), capacity)
    machine = Machine([capacity])
    order: list[str] = []
    while not dispatcher.done:
        begun = dispatcher.start(machine.now)
        machine.begin(begun, None)
        order += ids(begun)
        dispatcher.finished(machine.next_end().job.id, ok=True)
    assert order[:2] == ["early2:a", "early1:a"]
    assert order.index("pair:a") <= 2 + OVERTAKES
    assert len(order) == 303


def test_stages_without_a_model_run_beside_those_with_one() -> None:
    """With one GPU, one scene's lifting overlaps another's tracking."""
    capacity = Capacity(gpus(1), 2, 1000)
    jobs = []
    for scene in "abcdefghijklmnopqrst":
        track = job(f"{scene}:track", ONE_GPU, 10.0)
        jobs += [track, job(f"{scene}:lift", CPU, 10.0, (track.id,))]
    dispatcher = Dispatcher(plan(*jobs), capacity)
    machine = Machine([capacity])
    while not dispatcher.done:
        machine.begin(dispatcher.start(machine.now), None)
        machine.finished.add(ended := machine.next_end().job.id)
        dispatcher.finished(ended, ok=True)
    assert machine.now == 210.0, "twenty of tracking and the last one's lifting"


def test_begun_scenes_come_first_then_the_longest_way() -> None:
    """Fresh scenes start with the longest; what is next in a begun or partly reused one goes before."""
    jobs = (
        job("short:a", seconds=1.0),
        job("short:b", seconds=1.0, after=("short:a",)),
        job("long:a", seconds=2.0),
        job("long:b", seconds=7.0, after=("long:a",)),
        job("old:b", seconds=1.0),
    )
    dispatcher = Dispatcher(plan(*jobs, reused=(ReusedStage(scene="old", stage="a"),)), Capacity((), 1, 100))
    assert [entry.id for entry in dispatcher.ready()] == ["old:b", "long:a", "short:a"]
    order = []
    while not dispatcher.done:
        order += ids(dispatcher.start(0.0))
        dispatcher.finished(order[-1], ok=True)
    assert order == ["old:b", "long:a", "long:b", "short:a", "short:b"]


def test_shares_of_a_gpu_go_to_the_emptiest_and_never_exceed_it() -> None:
    """Four jobs of 400 MiB on two GPUs of 1,000: two each; a fifth waits though 200 are left on both."""
    share = Need(gpus=1, gpu_memory_mb=400, threads=1, memory_mb=1)
    dispatcher = Dispatcher(plan(*(job(f"{n}:a", share) for n in range(5))), Capacity(gpus(2), 9, 99))
    assert [start.gpu_ids for start in dispatcher.start(0.0)] == [("0",), ("1",), ("0",), ("1",)]
    assert not dispatcher.start(1.0)
    dispatcher.finished("1:a", ok=True)
    assert [(s.job.id, s.gpu_ids) for s in dispatcher.start(2.0)] == [("4:a", ("1",))]


def test_gpus_that_are_not_there_are_refused_with_the_reason() -> None:
    """Too many GPUs, or more memory than any has, can never run; neither can what waits for it."""
    jobs = (
        job("a:track", replace(ONE_GPU, gpus=3)),
        job("a:lift", CPU, after=("a:track",)),
        job("b:track", replace(ONE_GPU, gpu_memory_mb=1001)),
        job("c:track", ONE_GPU),
    )
    dispatcher = Dispatcher(plan(*jobs), Capacity(gpus(2), 2, 100))
    first, second = dispatcher.refused
    assert first.reason == "a:track can never run here: it needs 3 GPUs, there are 2"
    assert [entry.id for entry in first.blocked] == ["a:lift"]
    assert "1,001 MiB on 1 GPU, which 0 of 2 have (the largest has 1,000)" in second.reason
    assert ids(dispatcher.start(0.0)) == ["c:track"]
    assert [r.reason for r in Dispatcher(plan(jobs[0]), Capacity()).refused] == [
        "a:track can never run here: it needs 3 GPUs, there is none"
    ]


def test_a_need_beyond_the_machine_runs_alone() -> None:
    """More threads or memory than there are: nothing beside it, before or after."""
    big = job("big:a", Need(threads=1, memory_mb=101), 3.0)
    dispatcher = Dispatcher(plan(big, job("x:a"), job("y:a")), Capacity((), 4, 100))
    (start,) = dispatcher.start(0.0)
    assert (start.job.id, start.alone) == ("big:a", True)
    assert not dispatcher.start(1.0)
    dispatcher.finished("big:a", ok=True)
    assert ids(dispatcher.start(2.0)) == ["x:a", "y:a"]


def test_a_job_put_back_runs_again_with_its_new_need_and_alone() -> None:
    """After a shortage it waits until nothing runs beside it, whatever is ready meanwhile."""
    jobs = [job(f"{n}:a", seconds=9.0 - n) for n in range(4)]
    dispatcher = Dispatcher(plan(*jobs), Capacity((), 2, 100))
    assert ids(dispatcher.start(0.0)) == ["0:a", "1:a"]
    dispatcher.requeue("0:a", Need(threads=1, memory_mb=60), alone=True)
    assert ids(dispatcher.start(1.0)) == ["2:a"], "it does not fit beside 1:a yet"
    dispatcher.finished("1:a", ok=True)
    dispatcher.finished("2:a", ok=True)
    (start,) = dispatcher.start(2.0)
    assert (start.job.id, start.need.memory_mb, start.alone) == ("0:a", 60, True)
    with pytest.raises(ResourceError, match="0:a can never run with what it needs now: it needs 1 GPU"):
        dispatcher.requeue("0:a", ONE_GPU)
    assert [entry.id for entry in dispatcher.finished("0:a", ok=False)] == []
    assert ids(dispatcher.start(3.0)) == ["3:a"]


def test_a_failed_job_blocks_what_waits_for_it_and_nothing_else() -> None:
    """Directly or not, in the plan's order; other scenes go on."""
    jobs = (
        job("a:1"),
        job("a:2", after=("a:1",)),
        job("b:1"),
        job("a:3", after=("a:2",)),
        job("b:2", after=("b:1",)),
    )
    dispatcher = Dispatcher(plan(*jobs), Capacity((), 2, 100))
    dispatcher.start(0.0)
    assert [entry.id for entry in dispatcher.finished("a:1", ok=False)] == ["a:2", "a:3"]
    assert dispatcher.finished("b:1", ok=True) == ()
    assert ids(dispatcher.start(1.0)) == ["b:2"]
    assert not dispatcher.done
    dispatcher.finished("b:2", ok=True)
    assert dispatcher.done


def test_limits_and_questions_are_respected() -> None:
    """A lower limit ends nothing; a job that may not start, or whose place others hold, stays queued."""
    dispatcher = Dispatcher(plan(*(job(f"{n}:a") for n in range(6))), Capacity((), 6, 100), max_jobs=3)
    assert len(dispatcher.start(0.0)) == 3
    dispatcher.limit(1)
    dispatcher.finished("0:a", ok=True)
    assert not dispatcher.start(1.0)
    assert len(dispatcher.running) == 2
    dispatcher.limit(None)
    assert ids(dispatcher.start(2.0, lambda entry: entry.id != "3:a")) == ["4:a", "5:a"]
    asked: list[str] = []
    assert not dispatcher.start(3.0, None, lambda start: asked.append(start.job.id))
    assert asked == ["3:a"]
    assert ids(dispatcher.start(4.0)) == ["3:a"]


def test_gpus_granted_elsewhere_are_the_ones_counted() -> None:
    """A lease table may grant another GPU than proposed; jobs that need as much are not asked about again."""
    dispatcher = Dispatcher(plan(*(job(f"{n}:a", ONE_GPU) for n in range(4))), Capacity(gpus(2), 9, 99))
    granted: list[tuple[str, ...] | None] = [("1",), None]
    starts = dispatcher.start(0.0, place=lambda start: granted.pop(0))
    assert [start.gpu_ids for start in starts] == [("1",)]
    assert granted == [], "asked twice, for four jobs alike"
    assert [start.gpu_ids for start in dispatcher.start(1.0)] == [("0",)]


def test_jobs_of_a_lost_machine_run_on_another_and_those_that_cannot_are_refused() -> None:
    """The only machine with a GPU is lost: its CPU job moves, its GPU job can never run again."""
    jobs = (job("a:track", ONE_GPU), job("b:lift"), job("a:lift", after=("a:track",)))
    machines = [Capacity(gpus(1), 2, 100), Capacity((), 1, 100)]
    dispatcher = Dispatcher(plan(*jobs), machines)
    assert {start.job.id for start in dispatcher.start(0.0)} == {"a:track", "b:lift"}
    lost = dispatcher.lose(0)
    assert "a:track" in [entry.id for entry in lost]
    (refusal,) = dispatcher.refused
    assert (refusal.job.id, [entry.id for entry in refusal.blocked]) == ("a:track", ["a:lift"])
    dispatcher.start(1.0)
    assert [(start.job.id, start.host) for start in dispatcher.running] == [("b:lift", 1)]


def test_a_plan_out_of_order_is_refused() -> None:
    """A job must come after those that it waits for, and only once."""
    with pytest.raises(StageError, match="a:2 waits for a:1, which should come before it"):
        Dispatcher(plan(job("a:2", after=("a:1",)), job("a:1")), Capacity())
    with pytest.raises(StageError, match="found a:1 twice"):
        Dispatcher(plan(job("a:1"), job("a:1")), Capacity())
