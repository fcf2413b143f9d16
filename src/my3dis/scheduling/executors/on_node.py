"""Run one attempt of a job on the machine that a cluster chose for it, and write down how it goes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import my3dis
from my3dis.errors import My3DISError
from my3dis.monitoring.evidence import evidence_of_shortage
from my3dis.monitoring.host import HostMemory, read_host_memory
from my3dis.scheduling.executors.mailbox import Channel, DriverWatch
from my3dis.scheduling.job_spec import JobSpec, spec_from_json, spec_to_json
from my3dis.scheduling.process import Ended, JobProcess

__all__ = ["Order", "carry_out"]

_TICK_S = 0.1
_LOOK_EVERY_S = 1.0
_TELL_EVERY_S = 5.0
_LOOKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An attempt to be made on another machine.

    Attributes:
        key: of the attempt, unique in the sweep.
        spec: what the job's process is to do.
        log: file to which what it says is appended.
        folder: of the sweep, on shared storage.
        gpus: how many it was given; with none it sees none.
        environment: variables for its process.
        grace_s: seconds that it has to stop when it is asked to.
        orphan_s: the driver is taken to be gone when nothing was heard of it for so long.
        version: of this package, which must be the same there.
    """

    key: str
    spec: JobSpec
    log: Path
    folder: Path
    gpus: int = 0
    environment: tuple[tuple[str, str], ...] = ()
    grace_s: float = 30.0
    orphan_s: float = 120.0
    version: str = my3dis.__version__

    def to_json(self) -> str:
        """Return the order as one line."""
        plain = {name: getattr(self, name) for name in Order.__dataclass_fields__}
        return json.dumps(plain | {"spec": spec_to_json(self.spec)}, default=str)


@dataclass(slots=True)
class _Stop:
    """Signals that the cluster sent to this process."""

    received: list[int] = field(default_factory=list)

    def take(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received.append(number)


def carry_out(text: str) -> dict[str, str] | None:
    """Make an attempt; how it ended is written into the sweep's folder.

    Args:
        text: an `Order` as JSON.

    Returns:
        None, or ``host`` and ``problem`` when this machine cannot make it at all.
    """
    plain = json.loads(text)
    folder = Path(plain["folder"])
    problem = _cannot(plain, folder)
    if problem is None:
        try:
            plain |= {"folder": folder, "log": Path(plain["log"]), "spec": spec_from_json(plain["spec"])}
            plain["environment"] = tuple((key, value) for key, value in plain["environment"])
            _make(Order(**plain))
        except My3DISError as error:
            problem = str(error)
    return None if problem is None else {"host": socket.gethostname(), "problem": problem}


def _cannot(plain: dict[str, str], folder: Path) -> str | None:
    """Return why this machine cannot make an attempt, or None."""
    host = socket.gethostname()
    if plain["version"] != my3dis.__version__:
        return (
            f"{host} has my3dis {my3dis.__version__}, the driver {plain['version']}; install the same "
            "version on all machines"
        )
    if not folder.is_dir():
        root = folder.parents[1]
        found = "a folder without it" if root.is_dir() else "no such folder"
        return (
            f"{host} cannot see the results: expected {folder}, found {found} at {root}; "
            "experiment.output_root must be on storage that all machines share, at the same path"
        )
    scan = Path(json.loads(plain["spec"])["scan"])
    if not scan.exists():
        return (
            f"{host} cannot see the scan {scan}; experiment.dataset_root must be on storage that all "
            "machines share, at the same path"
        )
    return None


def _make(order: Order) -> None:
    channel = Channel(order.folder, order.key)
    try:
        watch = DriverWatch(order.folder, order.orphan_s)
        if watch.word():
            channel.tell("ended", stopped="the sweep is over")
            return
        hidden = {} if order.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        with _signals() as stop:
            process = JobProcess(order.spec, order.log, {**hidden, **dict(order.environment)})
            try:
                seen = os.environ.get("CUDA_VISIBLE_DEVICES", "") if order.gpus else ""
                channel.begun(pid=process.pid, gpus=seen)
                _follow(order, process, channel, watch, stop)
            finally:
                process.close()
    finally:
        channel.close()


def _follow(order: Order, process: JobProcess, channel: Channel, watch: DriverWatch, stop: _Stop) -> None:
    """Pass on what the process tells until it has ended, and stop it when that is asked for."""
    looks: deque[HostMemory] = deque((read_host_memory(),), _LOOKS)
    told: dict[str, object] = {}
    next_look = next_tell = 0.0
    kill_at: float | None = None
    stopped = ""
    while (ended := process.poll()) is None:
        now = time.monotonic()
        told = _pass_on(process, channel) or told
        if now >= next_look:
            next_look = now + _LOOK_EVERY_S
            rss_mb = process.look()
            looks.append(read_host_memory())
            if now >= next_tell:
                next_tell = now + _TELL_EVERY_S
                channel.tell("alive", rss_mb=round(rss_mb, 1))
        word = watch.word()
        if not stopped and (word or stop.received):
            stopped = _why(word, stop)
            kill_at = now + order.grace_s
            process.ask()
        if word == "kill" or (kill_at is not None and now >= kill_at):
            process.kill()
        if not select.select([process.events_fd], [], [], _TICK_S)[0]:
            continue
        time.sleep(0.01)  # its end of the pipe is closed a moment before it has ended
    told = _pass_on(process, channel) or told
    _tell_end(channel, process, ended, looks, told, stopped)


def _tell_end(
    channel: Channel,
    process: JobProcess,
    ended: Ended,
    looks: deque[HostMemory],
    told: dict[str, object],
    stopped: str,
) -> None:
    evidence: tuple[str, ...] = ()
    if ended.exit_code != 0 and not stopped:
        tail = process.log_tail()
        evidence = evidence_of_shortage(ended.exit_code, ended.signal, looks, read_host_memory(), tail)
    channel.tell(
        "ended",
        exit_code=ended.exit_code,
        signal=ended.signal,
        seconds=round(ended.seconds, 3),
        peak_rss_mb=round(ended.peak_rss_mb, 1),
        error=told.get("error"),
        evidence=evidence,
        stopped=stopped,
    )


def _pass_on(process: JobProcess, channel: Channel) -> dict[str, object]:
    """Pass on what a process told; return what it told of its end, if it did."""
    told: dict[str, object] = {}
    for event in process.events():
        kind = str(event.pop("event", ""))
        if kind == "end":
            told = event
        elif kind in ("stage", "progress", "ready"):
            channel.tell(kind, **event)
    return told


def _why(word: str, stop: _Stop) -> str:
    if word:
        return "the sweep was stopped"
    name = signal.Signals(stop.received[0]).name
    return f"the cluster asked it to stop ({name}: its time is up, or its place is needed)"


@contextlib.contextmanager
def _signals() -> Iterator[_Stop]:
    """Note what a cluster sends before it ends a job, instead of ending at once."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.take) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
