"""Who holds a lease: processes, told apart however their numbers are used again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Owner", "is_alive"]


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, told from a later one that gets the same number.

    Attributes:
        pid: its number.
        started: namespace of the number, and when the process started; the same whoever looks.
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int | None = None) -> Owner:
        """Return a process by its number, this one when None; one that is gone started ``gone``."""
        pid = os.getpid() if pid is None else pid
        return cls(pid, f"{_namespace()}{_started(pid) or 'gone'}")


def is_alive(owner: Owner) -> bool:
    """Return whether a process still runs; one of another container cannot be judged and counts so."""
    space, _, started = owner.started.rpartition("/")
    if f"{space}/" != _namespace():
        return True
    return _started(owner.pid) == started


def _namespace() -> str:
    """Return what process numbers count in, such as ``pid:[4026531836]/``; containers have one each."""
    try:
        return f"{Path('/proc/self/ns/pid').readlink()}/"
    except OSError:
        return "/"


def _started(pid: int) -> str | None:
    """Return when a process started, in a form that never changes, or None when it is gone or a zombie."""
    try:
        # The kernel's own count of ticks since boot: a time of day shifts when the clock is set.
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError, IndexError):
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None
