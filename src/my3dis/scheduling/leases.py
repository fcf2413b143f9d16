"""A table on disk of what is lent to jobs, so that several ``my3dis`` processes on one machine share it.

A lease holds GPUs (whole or by memory), threads and host memory, all of them or none. It ends when it is
released, or when both the process that took it and the job's process are gone, however they ended. Who waits
for long is served before others take more.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from my3dis.errors import ResourceError
from my3dis.scheduling.capacity import Capacity, Gpu, Occupancy, choose_gpus
from my3dis.scheduling.jobs import Need
from my3dis.scheduling.lease_file import default_lease_path, open_table
from my3dis.scheduling.owners import Owner, is_alive

__all__ = ["Lease", "LeaseTable", "Owner", "default_lease_path", "environment_of"]

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 30.0
"""Who waits so long is served before others take more of what it waits for."""
_STILL_ASKING_S = 15.0
"""Who has not asked again for so long waits no more."""
_THREADS, _MEMORY = "threads", "memory"
_THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What is lent to one job.

    Attributes:
        id: in the table.
        owner: process that took it.
        job_id: of the job.
        need: what was asked for.
        gpus: what it may use, in the order in which the job sees them.
    """

    id: int
    owner: Owner
    job_id: str
    need: Need
    gpus: tuple[Gpu, ...]


def environment_of(lease: Lease) -> dict[str, str]:
    """Return the variables that make a job's process see its GPUs only and use its threads only."""
    seen = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as the driver counts, where a GPU has a number only
        "CUDA_VISIBLE_DEVICES": ",".join(gpu.key for gpu in lease.gpus),
    }
    return seen | dict.fromkeys(_THREAD_SETTINGS, str(max(1, lease.need.threads)))


class LeaseTable:
    """Lends what a machine has; a context manager. Any thread may use it.

    Args:
        path: of the table, `default_lease_path` when None; ``:memory:`` for one that nobody else sees.
        alive: tells whether a process still runs.
        clock: seconds that every process agrees on.

    Raises:
        ResourceError: from every method, if the table cannot be read or written.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        alive: Callable[[Owner], bool] = is_alive,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = str(path or default_lease_path())
        self._alive, self._clock = alive, clock
        self._lock = threading.RLock()
        with self._told():
            self._database = open_table(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; leases that were not released stay until their processes have ended."""
        with self._lock:
            self._database.close()

    def acquire(
        self,
        owner: Owner,
        job_id: str,
        need: Need,
        capacity: Capacity,
        *,
        prefer: tuple[str, ...] = (),
        alone: bool = False,
    ) -> Lease | None:
        """Lend a job all that it needs at once, or nothing.

        Threads and memory beyond the machine's, or ``alone``, mean that nobody else may hold any.

        Args:
            owner: process that takes it.
            job_id: of the job.
            need: what it needs.
            capacity: what this process may use of the machine.
            prefer: ids of the GPUs to take where they are free; else others.
            alone: nothing may run beside it.

        Returns:
            The lease, or None when something is short now or somebody else has waited for long; ask again.

        Raises:
            ResourceError: if the GPUs are never there, or the table cannot be written.
        """
        if lack := capacity.gpus_lack(need):
            raise ResourceError(f"{job_id} can never run here: {lack}")
        with self._changing():
            self._forget_idle()
            used = self._occupancy(capacity)
            short, gpus = _shortage(used, need, prefer, alone)
            if short and self._reclaim():
                used = self._occupancy(capacity)
                short, gpus = _shortage(used, need, prefer, alone)
            if not short and not self._is_turn_of_another(owner, job_id, need):
                return self._lend(owner, job_id, need, capacity, gpus, alone=alone)
            self._wait(owner, job_id, gpus_only=short == {"gpus"})
        return None

    def attach(self, lease: Lease, pid: int) -> None:
        """Keep a lease while the job's process lives, even when the one that took the lease is killed."""
        worker = Owner.of(pid)
        with self._changing():
            self._database.execute(
                "UPDATE leases SET worker_pid = ?, worker_started = ? WHERE id = ?",
                (worker.pid, worker.started, lease.id),
            )

    def release(self, lease: Lease) -> None:
        """Give back what a job had; once more does nothing."""
        with self._changing():
            self._drop(lease.id)

    def release_all(self, owner: Owner) -> None:
        """Give back everything that a process took, and stop waiting for more."""
        with self._changing():
            for (lease,) in self._rows(
                "SELECT id FROM leases WHERE pid = ? AND started = ?", owner.pid, owner.started
            ):
                self._drop(lease)
            self._database.execute(
                "DELETE FROM waiting WHERE pid = ? AND started = ?", (owner.pid, owner.started)
            )

    def reclaim(self) -> tuple[str, ...]:
        """End the leases of processes that are gone, and return a sentence about each."""
        with self._changing():
            return self._reclaim()

    def holders(self) -> tuple[str, ...]:
        """Return a sentence about each lease: job, process, and what it holds."""
        with self._lock, self._told():
            return tuple(
                f"{job} (process {pid}) holds {parts}"
                for job, pid, parts in self._rows(
                    "SELECT job, pid, group_concat(device || ' ' || amount, ', ') FROM leases JOIN parts ON "
                    "lease = id GROUP BY id ORDER BY id"
                )
            )

    def _occupancy(self, capacity: Capacity) -> Occupancy:
        used = Occupancy(capacity)
        used.used_mb.update(dict(self._rows("SELECT device, SUM(amount) FROM parts GROUP BY device")))
        used.threads, used.memory_mb = used.used_mb.pop(_THREADS, 0), used.used_mb.pop(_MEMORY, 0)
        used.jobs = next(self._rows("SELECT COUNT(*) FROM leases"))[0]
        return used

    def _is_turn_of_another(self, owner: Owner, job_id: str, need: Need) -> bool:
        """Return whether somebody else waits for long, for longer than this job, and for some of the same."""
        mine = (owner.pid, owner.started)
        since = next(
            self._rows("SELECT since FROM waiting WHERE pid = ? AND started = ? AND job = ?", *mine, job_id),
            (self._clock(),),
        )[0]
        return any(
            self._rows(
                "SELECT 1 FROM waiting WHERE (pid, started) != (?, ?) AND since < ? AND since < ? AND "
                "(NOT gpus_only OR ?) LIMIT 1",
                *(*mine, self._clock() - _PATIENCE_S, since, need.gpus > 0),
            )
        )

    def _forget_idle(self) -> None:
        self._database.execute("DELETE FROM waiting WHERE seen < ?", (self._clock() - _STILL_ASKING_S,))

    def _wait(self, owner: Owner, job_id: str, *, gpus_only: bool) -> None:
        now = self._clock()
        self._database.execute(
            "INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET seen = excluded.seen, "
            "gpus_only = excluded.gpus_only",
            (owner.pid, owner.started, job_id, now, now, gpus_only),
        )

    def _lend(
        self, owner: Owner, job_id: str, need: Need, capacity: Capacity, gpus: tuple[Gpu, ...], *, alone: bool
    ) -> Lease:
        execute = self._database.execute
        execute(
            "DELETE FROM waiting WHERE pid = ? AND started = ? AND job = ?",
            (owner.pid, owner.started, job_id),
        )
        added = execute(
            "INSERT INTO leases (pid, started, job) VALUES (?, ?, ?)", (owner.pid, owner.started, job_id)
        )
        lease = added.lastrowid or 0
        held = capacity.clipped(need, alone=alone)
        parts = [(_THREADS, held.threads), (_MEMORY, held.memory_mb)]
        parts += [(gpu.key, gpu.share_mb(need)) for gpu in gpus]
        self._database.executemany(
            "INSERT INTO parts VALUES (?, ?, ?)", [(lease, device, amount) for device, amount in parts]
        )
        return Lease(id=lease, owner=owner, job_id=job_id, need=need, gpus=gpus)

    def _reclaim(self) -> tuple[str, ...]:
        said = []
        for lease, job, *who in list(
            self._rows("SELECT id, job, pid, started, worker_pid, worker_started FROM leases")
        ):
            processes = [Owner(*who[:2])] + ([Owner(*who[2:])] if who[2] is not None else [])
            if any(self._alive(process) for process in processes):
                continue
            self._drop(lease)
            said.append(f"took back what {job} held: its process {processes[0].pid} is gone")
            _LOG.warning("leases: %s", said[-1])
        return tuple(said)

    def _drop(self, lease: int) -> None:
        self._database.execute("DELETE FROM parts WHERE lease = ?", (lease,))
        self._database.execute("DELETE FROM leases WHERE id = ?", (lease,))

    def _rows(self, query: str, *values: object) -> Iterator[Any]:
        return iter(self._database.execute(query, values).fetchall())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the table with nobody else looking, wholly or not at all."""
        with self._lock, self._told():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ResourceError(
                f"leases: expected to read and write {self.path}, found: {error}; free space there, make it "
                "writable, or remove it while no my3dis runs"
            ) from error


def _shortage(
    used: Occupancy, need: Need, prefer: tuple[str, ...], alone: bool
) -> tuple[set[str], tuple[Gpu, ...]]:
    gpus = choose_gpus(need, used.capacity.gpus, used.used_mb, prefer)
    return {*used.host_lacks(need, alone=alone), *(("gpus",) if gpus is None else ())}, gpus or ()
