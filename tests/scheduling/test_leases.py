"""Leases: several processes share a machine, never over-commit it, and the dead give back what they had."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.errors import ConfigError, ResourceError
from my3dis.monitoring.gpus import Gpu as FoundGpu
from my3dis.monitoring.gpus import Gpus
from my3dis.monitoring.host import Bound, HostMemory
from my3dis.scheduling.capacity import Capacity, Gpu, machine_capacity
from my3dis.scheduling.dispatch import Dispatcher, Start
from my3dis.scheduling.jobs import Need
from my3dis.scheduling.lease_file import default_lease_path
from my3dis.scheduling.leases import Lease, LeaseTable, environment_of
from my3dis.scheduling.owners import Owner, is_alive
from tests.scheduling.test_dispatch import job, plan

GPUS = (Gpu("0", "GPU-a", 1000), Gpu("1", "GPU-b", 1000))
CAPACITY = Capacity(GPUS, 8, 1000)
WHOLE = Need(gpus=1, threads=1, memory_mb=10)
SHARE = Need(gpus=1, gpu_memory_mb=400, threads=1, memory_mb=10)
CPU = Need(threads=1, memory_mb=10)
ME, OTHER = Owner(1, "x/1"), Owner(2, "x/2")


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def table(clock: Clock | None = None) -> LeaseTable:
    return LeaseTable(":memory:", alive=lambda owner: True, clock=clock or Clock())


def test_whole_gpus_and_shares_are_lent_and_given_back() -> None:
    """A whole GPU needs an empty one; shares go to the emptiest, up to its memory; releasing frees them."""
    with table() as leases:
        first = leases.acquire(ME, "a", WHOLE, CAPACITY)
        second = leases.acquire(OTHER, "b", SHARE, CAPACITY)
        assert first is not None
        assert second is not None
        assert (first.gpus, second.gpus) == (GPUS[:1], GPUS[1:])
        assert leases.acquire(ME, "c", WHOLE, CAPACITY) is None
        third = leases.acquire(ME, "c", SHARE, CAPACITY)
        assert third is not None
        assert third.gpus == GPUS[1:]
        assert leases.acquire(ME, "d", SHARE, CAPACITY) is None, "800 of 1,000 are lent"
        leases.release(second)
        leases.release(second)
        assert leases.acquire(ME, "d", SHARE, CAPACITY) is not None
        assert leases.holders()[0] == "a (process 1) holds GPU-a 1000, memory 10, threads 1"


def test_a_job_gets_all_its_gpus_or_none_of_them() -> None:
    """Two GPUs while one is lent: nothing is taken; a preferred one is taken where it is free."""
    pair = Need(gpus=2, threads=1, memory_mb=10)
    with table() as leases:
        held = leases.acquire(ME, "a", SHARE, CAPACITY, prefer=("1",))
        assert held is not None
        assert held.gpus == GPUS[1:]
        assert leases.acquire(ME, "b", pair, CAPACITY) is None
        assert len(leases.holders()) == 1
        leases.release(held)
        both = leases.acquire(ME, "b", pair, CAPACITY, prefer=("1",))
        assert both is not None
        assert both.gpus == (GPUS[1], GPUS[0])


def test_threads_and_memory_are_shared_by_processes_too() -> None:
    """Eight threads in all; a job that needs more than there is, or alone, waits for everybody's end."""
    with table() as leases:
        six = leases.acquire(OTHER, "a", Need(threads=6, memory_mb=10), CAPACITY)
        assert six is not None
        assert leases.acquire(ME, "b", Need(threads=3, memory_mb=10), CAPACITY) is None
        assert leases.acquire(ME, "b", Need(threads=2, memory_mb=991), CAPACITY) is None
        huge = Need(threads=1, memory_mb=5000)
        assert leases.acquire(ME, "c", huge, CAPACITY) is None
        assert leases.acquire(ME, "d", CPU, CAPACITY, alone=True) is None
        leases.release(six)
        alone = leases.acquire(ME, "c", huge, CAPACITY)
        assert alone is not None
        assert leases.acquire(OTHER, "e", CPU, CAPACITY) is None, "it runs alone"


def test_gpus_that_are_never_there_are_an_error() -> None:
    """Waiting would not help, and the message says what is there."""
    with (
        table() as leases,
        pytest.raises(ResourceError, match="x can never run here: it needs 3 GPUs, there"),
    ):
        leases.acquire(ME, "x", Need(gpus=3), CAPACITY)


def test_who_waits_for_long_is_served_before_others_take_more() -> None:
    """After half a minute no other gets a GPU first, yet jobs without one go on; idle ones are forgotten."""
    clock = Clock()
    pair = Need(gpus=2, threads=1, memory_mb=10)
    with table(clock) as leases:
        held = leases.acquire(OTHER, "a", WHOLE, CAPACITY)
        assert held is not None
        for _ in range(4):
            assert leases.acquire(ME, "pair", pair, CAPACITY) is None
            clock.now += 10.0
        assert leases.acquire(OTHER, "b", WHOLE, CAPACITY) is None, "a GPU is free, but another's turn"
        assert leases.acquire(OTHER, "c", CPU, CAPACITY) is not None
        leases.release(held)
        both = leases.acquire(ME, "pair", pair, CAPACITY)
        assert both is not None
        assert leases.acquire(ME, "next", pair, CAPACITY) is None
        leases.release(both)
        clock.now += 60.0
        assert leases.acquire(OTHER, "b", WHOLE, CAPACITY) is not None, "nobody asks for the pair any more"


def test_the_dead_give_back_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A lease ends when the process that took it and the job's process are both gone, not before."""
    living = {ME, OTHER}
    with LeaseTable(":memory:", alive=living.__contains__) as leases:
        lease = leases.acquire(ME, "a", Need(gpus=2), CAPACITY)
        assert lease is not None
        worker = Owner.of()
        living.add(worker)
        leases.attach(lease, worker.pid)
        living.discard(ME)
        assert leases.reclaim() == (), "the job still runs though its driver is gone"
        assert leases.acquire(OTHER, "b", WHOLE, CAPACITY) is None
        living.discard(worker)
        with caplog.at_level(logging.WARNING):
            assert leases.acquire(OTHER, "b", WHOLE, CAPACITY) is not None
        assert "took back what a held: its process 1 is gone" in caplog.text
        living.discard(OTHER)
        assert leases.reclaim() == ("took back what b held: its process 2 is gone",)
        assert leases.holders() == ()


def test_everything_of_a_process_is_given_back_at_once() -> None:
    """When a sweep ends, whatever it held or waited for is free; others keep theirs."""
    with table() as leases:
        assert leases.acquire(ME, "a", WHOLE, CAPACITY) is not None
        assert leases.acquire(OTHER, "b", WHOLE, CAPACITY) is not None
        leases.release_all(ME)
        assert [text.split(" holds")[0] for text in leases.holders()] == ["b (process 2)"]


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    """The same number with another start is another process; one of another container cannot be judged."""
    me = Owner.of()
    assert me == Owner.of(os.getpid())
    assert is_alive(me)
    assert not is_alive(Owner(me.pid, f"{me.started}0"))
    assert is_alive(Owner(me.pid, "pid:[1]/5"))
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    owner = Owner.of(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(owner), "a zombie runs no more"
    child.wait()
    assert not is_alive(owner)
    assert not is_alive(Owner.of(child.pid))


def test_a_job_sees_its_gpus_and_threads_only() -> None:
    """UUIDs where known, in order; an empty list when it leased none; every library's threads."""
    need = Need(gpus=2, threads=3)
    both = Lease(id=1, owner=ME, job_id="a", need=need, gpus=(GPUS[1], Gpu("0")))
    seen = environment_of(both)
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-b,0"
    assert seen["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert {seen[name] for name in seen if name.endswith("THREADS")} == {"3"}
    assert environment_of(Lease(id=1, owner=ME, job_id="a", need=CPU, gpus=()))["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The message names the file."""
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match=r"leases\.sqlite"):
        LeaseTable(tmp_path / "leases.sqlite")


def test_files_that_are_no_tables_and_full_disks_are_errors(tmp_path: Path) -> None:
    """Garbage, a missing folder and a table that may not grow: expected, found, what to do."""
    (tmp_path / "garbage").write_bytes(b"no table at all " * 100)
    with pytest.raises(ResourceError, match="garbage, found: file is not a database; free space there"):
        LeaseTable(tmp_path / "garbage")
    with pytest.raises(ResourceError, match="unable to open"):
        LeaseTable(tmp_path / "absent" / "leases.sqlite")
    path = tmp_path / "leases.sqlite"
    with LeaseTable(path) as leases:
        pages = leases._database.execute("PRAGMA page_count").fetchone()[0]
        leases._database.execute(f"PRAGMA max_page_count = {pages}")
        taken = []
        with pytest.raises(ResourceError, match="full"):
            for n in range(10_000):
                taken.append(leases.acquire(ME, f"{n} {'x' * 500}", Need(threads=0, memory_mb=0), CAPACITY))  # noqa: PERF401
        assert len(leases.holders()) == len(taken), "what failed left nothing behind"


def test_the_table_lies_in_a_folder_of_this_user_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the runtime folder, else below the temporary one by user number; one open to others is refused."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_lease_path() == tmp_path / "my3dis" / "leases.sqlite"
    assert (tmp_path / "my3dis").stat().st_mode & 0o777 == 0o700
    with LeaseTable() as leases:
        assert leases.path == str(tmp_path / "my3dis" / "leases.sqlite")
    (tmp_path / "my3dis").chmod(0o755)
    with pytest.raises(ResourceError, match=r"closed to others \(mode 0700\), found mode 0755"):
        default_lease_path()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert default_lease_path().parent == tmp_path / f"my3dis-{os.getuid()}"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(ResourceError, match="expected to make the folder"):
        default_lease_path()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), max_size=60))
def test_two_sweeps_with_a_table_never_overcommit_and_both_end(steps: list[tuple[int, int]]) -> None:
    """Two dispatchers of two processes on one machine, in any order: leases and their own counts agree."""
    needs = (WHOLE, SHARE, CPU, Need(gpus=2, threads=5, memory_mb=10), Need(threads=9, memory_mb=10))
    clock = Clock()
    with table(clock) as leases:
        owners = (ME, OTHER)
        jobs = [job(f"{n}:a", need) for n, need in enumerate(needs)]
        sweeps = [Dispatcher(plan(*jobs), CAPACITY) for _ in owners]
        held: dict[tuple[int, str], Lease] = {}

        def turn(who: int, which: int) -> None:
            def place(start: Start) -> tuple[str, ...] | None:
                lease = leases.acquire(
                    owners[who], start.job.id, start.need, CAPACITY, prefer=start.gpu_ids, alone=start.alone
                )
                if lease is not None:
                    held[who, start.job.id] = lease
                return None if lease is None else tuple(gpu.id for gpu in lease.gpus)

            sweeps[who].start(clock.now, place=place)
            check(list(held.values()))
            running = sweeps[who].running
            if running:
                ended = running[which % len(running)].job.id
                leases.release(held.pop((who, ended)))
                sweeps[who].finished(ended, ok=True)
            clock.now += 1.0

        for who, which in steps:
            turn(who, which)
        for n in range(400):
            if all(sweep.done for sweep in sweeps):
                break
            turn(n % 2, 0)
        assert all(sweep.done for sweep in sweeps)
        assert leases.holders() == ()


def check(held: list[Lease]) -> None:
    used: Counter[str] = Counter()
    for lease in held:
        for gpu in lease.gpus:
            used[gpu.key] += lease.need.gpu_memory_mb or gpu.memory_mb
    assert all(used[gpu.key] <= gpu.memory_mb for gpu in GPUS)
    assert sum(lease.need.threads for lease in held) <= CAPACITY.threads or len(held) == 1


_BORROWER = """
import itertools, os, random, signal, sys, time
from my3dis.scheduling.capacity import Capacity, Gpu
from my3dis.scheduling.jobs import Need
from my3dis.scheduling.leases import LeaseTable
from my3dis.scheduling.owners import Owner
path, log, seed, dies = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "dies"
chance, me = random.Random(seed), Owner.of()
capacity = Capacity((Gpu("0", "GPU-a", 1000), Gpu("1", "GPU-b", 1000)), 8, 1000)
record = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def say(sign, lease):
    parts = [(gpu.key, lease.need.gpu_memory_mb or 1000) for gpu in lease.gpus]
    for device, amount in [*parts, ("threads", lease.need.threads)]:
        os.write(record, f"{sign} {me.pid} {lease.id} {device} {amount}\\n".encode())
held = []
with LeaseTable(path) as leases:
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in itertools.count() if dies else range(300):  # it must hold something when it dies
        need = Need(gpus=chance.randint(0, 2), gpu_memory_mb=chance.choice((0, 300, 500)),
                    threads=chance.randint(1, 4), memory_mb=1)
        lease = leases.acquire(me, f"{seed}:{turn}", need, capacity)
        if lease is not None:
            say("+", lease)
            held.append(lease)
        elif not held:
            time.sleep(0.001)  # else it may ask hundreds of times while the holder of all waits for the table
        if dies and turn > 60 and held:
            os.write(record, f"k {me.pid}\\n".encode())
            os.kill(me.pid, signal.SIGKILL)
        while held and (lease is None or chance.random() < 0.6):
            gone = held.pop(chance.randrange(len(held)))
            say("-", gone)
            leases.release(gone)
    for gone in held:
        say("-", gone)
        leases.release(gone)
print("done")
"""


def test_real_processes_that_are_killed_never_overcommit_and_lose_nothing(tmp_path: Path) -> None:
    """Four processes take and release at the same time, two are killed while they hold something."""
    path, log = tmp_path / "leases.sqlite", tmp_path / "log"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _BORROWER, str(path), str(log), str(n), "dies" if n < 2 else "lives"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [(process.communicate(timeout=120), process.returncode) for process in running]
    assert [code for _, code in ends] == [-signal.SIGKILL, -signal.SIGKILL, 0, 0], [
        err for (_, err), _ in ends
    ]
    used: Counter[str] = Counter()
    of_process: dict[str, Counter[str]] = defaultdict(Counter)
    entries = [line.split() for line in log.read_text().splitlines()]
    for sign, pid, *rest in entries:
        if sign == "k":
            used.subtract(of_process.pop(pid))
            continue
        device, amount = rest[1], int(rest[2]) * (1 if sign == "+" else -1)
        used[device] += amount
        of_process[pid][device] += amount
        assert used["threads"] <= 8
        assert used["GPU-a"] <= 1000
        assert used["GPU-b"] <= 1000
    assert sum(sign == "+" for sign, *_ in entries) > 50
    with LeaseTable(path) as leases:
        leases.reclaim()
        assert leases.holders() == ()
        assert leases.acquire(Owner.of(), "all", Need(gpus=2), CAPACITY, alone=True) is not None


def test_a_table_survives_a_kill_in_the_middle_of_a_change(tmp_path: Path) -> None:
    """What was not finished never happened."""
    path = tmp_path / "leases.sqlite"
    with LeaseTable(path) as leases:
        assert leases.acquire(Owner.of(), "kept", CPU, CAPACITY) is not None
    code = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('BEGIN IMMEDIATE')\n"
        "database.execute('DELETE FROM leases')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    with LeaseTable(path) as leases:
        assert len(leases.holders()) == 1
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def found(count: int) -> Gpus:
    return Gpus(
        source="NVML",
        devices=tuple(
            FoundGpu(index=n, name="H100", uuid=f"GPU-{'abcd'[n]}1", total_mb=81000.5) for n in range(count)
        ),
    )


HOST = HostMemory(
    source="system", bounds=(Bound(name="machine", capacity_mb=10_000, working_mb=0, held_mb=0),)
)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, "0123"),
        ("", ""),
        ("2,0", "20"),
        ("GPU-b1,GPU-d", "13"),
        ("1,9,2", "1"),
        ("-1", ""),
        ("1,1", "1"),
        ("NoDevFiles", ""),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(visible: str | None, expected: str) -> None:
    """Numbers and UUIDs in order, up to the first that is none."""
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    capacity = machine_capacity(environment=environment, found=found(4), host=HOST)
    assert "".join(gpu.id for gpu in capacity.gpus) == expected
    assert all(gpu.memory_mb == 81000 for gpu in capacity.gpus)
    assert capacity.memory_mb == 8000, "a fifth is kept free"
    assert capacity.threads >= 1


def test_chosen_gpus_count_among_the_visible_ones() -> None:
    """By position as stages.gpu counts, or by UUID; one that is not there is told with those that are."""
    environment = {"CUDA_VISIBLE_DEVICES": "3,1"}
    capacity = machine_capacity(gpus=("1", "GPU-d1"), environment=environment, found=found(4), host=HOST)
    assert [gpu.id for gpu in capacity.gpus] == ["1", "3"]
    with pytest.raises(ResourceError, match=r"GPU 2 was asked for, but this process sees 0 \(GPU-d1\), 1"):
        machine_capacity(gpus=("2",), environment=environment, found=found(4), host=HOST)
    with pytest.raises(ConfigError, match="number or the UUID of a GPU, found 'first'"):
        machine_capacity(gpus=("first",), environment=environment, found=found(4), host=HOST)
    mig = machine_capacity(environment={"CUDA_VISIBLE_DEVICES": "MIG-5"}, found=found(1), host=HOST)
    assert mig.gpus == (Gpu("MIG-5", "MIG-5", 0),)


def test_unknown_gpu_memory_is_lent_as_a_whole_and_unknown_host_memory_without_a_bound() -> None:
    """A share of what is not known would be a guess."""
    capacity = machine_capacity(
        environment={},
        found=Gpus(source="torch", devices=(FoundGpu(index=0, name="x"),)),
        host=HostMemory(source="system"),
    )
    assert capacity.memory_mb > 10**6
    with table() as leases:
        assert leases.acquire(ME, "a", SHARE, capacity) is not None
        assert leases.acquire(ME, "b", SHARE, capacity) is None
