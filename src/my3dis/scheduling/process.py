"""One attempt of a job as a process of its own: its events, its log, its memory, and how it really ended."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from my3dis.runs.events import now_utc
from my3dis.runs.files import make_folder, translated_os_error
from my3dis.scheduling.job_spec import JobSpec, spec_to_json, thread_variables

__all__ = ["Ended", "JobProcess"]

_MIB = 1 << 20
# ru_maxrss is in KiB on Linux and in bytes on macOS.
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_MOST_AT_ONCE = 1 << 20
_LOG_TAIL = 20_000
_FAMILY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        exit_code: None where a signal ended it.
        signal: its number, or None.
        seconds: from its start to its end.
        peak_rss_mb: most host memory, of the process itself or of it and its children when looked at.
    """

    exit_code: int | None
    signal: int | None
    seconds: float
    peak_rss_mb: float


class JobProcess:
    """A worker that runs, in a session of its own, so that it is ended with everything that it started.

    Args:
        spec: what it is to do.
        log: file to which what it says is appended.
        environment: variables beside those of this process and of its number of threads.

    Attributes:
        pid: its process id.
        started: time of its start on the monotonic clock.
        rss_mb: of it and its children, when last looked at.
        events_fd: becomes readable when it tells something, or has ended.

    Raises:
        ResourceError: if the log cannot be written or no process be started.
    """

    def __init__(self, spec: JobSpec, log: Path, environment: Mapping[str, str]) -> None:
        make_folder(log.parent)
        self._log = log
        self.rss_mb = self._peak_mb = 0.0
        self._ended: Ended | None = None
        self._family: tuple[psutil.Process, ...] = ()
        self._family_at = float("-inf")
        self._rest = b""
        self.events_fd, write = os.pipe()
        os.set_blocking(self.events_fd, False)
        spec = replace(spec, events_fd=write, driver=os.getpid())
        try:
            with log.open("ab") as out:
                out.write(f"{now_utc()} {spec.job_id}: {', '.join(spec.stages)}\n".encode())
                self._log_start = out.tell()
                self.started = time.monotonic()
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "my3dis.scheduling.worker", "-"],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **thread_variables(spec.threads), **environment},
                    pass_fds=(write,),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(self.events_fd)
            raise translated_os_error(error, log, "start a job with its log in") from error
        finally:
            os.close(write)
        self.pid = self._process.pid
        self._give(spec)

    def _give(self, spec: JobSpec) -> None:
        """Hand over the specification; the pipe stays open, since its end means that this process is gone."""
        stream = self._process.stdin
        assert stream is not None  # it was asked for
        with contextlib.suppress(BrokenPipeError):  # ended already: `poll` tells how
            stream.write(spec_to_json(spec).encode() + b"\n")
            stream.flush()

    def events(self) -> list[dict[str, object]]:
        """Return what it told since the last call."""
        data = bytearray(self._rest)
        while len(data) < _MOST_AT_ONCE:
            try:
                piece = os.read(self.events_fd, 65536)
            except BlockingIOError:
                break
            if not piece:
                break
            data += piece
        *lines, self._rest = bytes(data).split(b"\n")
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):  # something else than our worker wrote there
                value = json.loads(line)
                if isinstance(value, dict):
                    found.append(value)
        return found

    def look(self) -> float:
        """Return the resident memory of it and its children in MiB, 0 once it has ended."""
        now = time.monotonic()
        if now - self._family_at >= _FAMILY_EVERY_S:
            # Who belongs to it is found by reading about every process of the machine.
            self._family_at, self._family = now, _family(self.pid)
        self.rss_mb = sum(_rss_mb(one) for one in self._family)
        self._peak_mb = max(self._peak_mb, self.rss_mb)
        return self.rss_mb

    def poll(self) -> Ended | None:
        """Return how it ended, or None while it runs; what it left running is ended with it."""
        if self._ended is None:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self._reap()
        return self._ended

    def wait(self, seconds: float) -> Ended | None:
        """Wait for its end for so long, and return how it ended or None."""
        until = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        return self._ended

    def ask(self) -> None:
        """Ask it to stop (SIGTERM): it records how far it is and ends."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything that it started, at once."""
        if self.poll() is None:
            self._signal_all()

    def log_tail(self) -> str:
        """Return the end of what this attempt said."""
        try:
            with self._log.open("rb") as handle:
                size = handle.seek(0, os.SEEK_END)
                handle.seek(max(self._log_start, size - _LOG_TAIL))
                return handle.read(_LOG_TAIL).decode(errors="replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Give back its descriptors; what still runs is killed."""
        self.kill()
        self.wait(10.0)
        if self.events_fd >= 0:
            os.close(self.events_fd)
            self.events_fd = -1

    def _signal_all(self) -> None:
        # Its id is its group's until it is reaped, so nobody else can be meant.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        self._signal_all()
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        # Before its program was loaded, a child counts with its parent's memory.
        peak_mb = usage.ru_maxrss * _MAXRSS_UNIT / _MIB
        own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT / _MIB
        self._peak_mb = max(self._peak_mb, peak_mb if peak_mb > own_mb else 0.0)
        self.rss_mb = 0.0
        self._ended = Ended(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            seconds=time.monotonic() - self.started,
            peak_rss_mb=self._peak_mb,
        )


def _family(pid: int) -> tuple[psutil.Process, ...]:
    try:
        process = psutil.Process(pid)
        return (process, *process.children(recursive=True))
    except psutil.Error:
        return ()


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / _MIB)
    except psutil.Error:
        return 0.0
