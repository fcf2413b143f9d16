"""The folder on shared storage through which a sweep and its jobs on other machines hear of each other.

``<output_root>/.sweep/<token>/`` holds ``driver`` (a number that grows while the driver lives), ``stop`` (a
word to all jobs), and a file of lines per attempt, which its job writes. Nothing else connects the two, so
it works wherever the results can be seen, and a job outlives neither its driver nor the sweep for long.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from my3dis.errors import ResourceError
from my3dis.runs.files import atomic_write_text, make_folder, translated_os_error
from my3dis.scheduling.owners import Owner, is_alive

__all__ = ["Channel", "DriverWatch", "SweepFolder", "clear_leftovers"]

_FOLDER = ".sweep"
_DRIVER, _STOP = "driver", "stop"
_BEAT_S = 2.0
_SILENT_S = 15.0
"""A job of an earlier driver that says nothing for so long is taken to be gone."""


class SweepFolder:
    """The folder, as the driver uses it; a context manager that removes it.

    Args:
        output_root: folder of all runs, which all machines see.

    Attributes:
        path: of the folder.
        keep: leave it behind, for what a cluster wrote about jobs that failed.

    Raises:
        ResourceError: if it cannot be made.
    """

    def __init__(self, output_root: Path) -> None:
        self.path = make_folder(output_root / _FOLDER / uuid.uuid4().hex[:12])
        self.keep = False
        self._beats = 0
        self._beat_at = float("-inf")
        self._read: dict[str, int] = {}
        self.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(at_once=True)
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
            with contextlib.suppress(OSError):  # another folder is in there
                self.path.parent.rmdir()

    def beat(self) -> None:
        """Show that the driver lives."""
        now = time.monotonic()
        if now - self._beat_at >= _BEAT_S:
            self._beat_at, self._beats = now, self._beats + 1
            atomic_write_text(self.path / _DRIVER, f"{self._beats}\n")

    def stop(self, *, at_once: bool) -> None:
        """Ask all jobs to stop, or to end at once."""
        _say_stop(self.path, at_once=at_once)

    def news(self, key: str) -> list[dict[str, object]]:
        """Return what the job of an attempt told since the last call."""
        lines, self._read[key] = _lines(self.path / f"{key}.jsonl", self._read.get(key, 0))
        return lines


class Channel:
    """What the job of one attempt writes; each line is there when `tell` returns.

    Args:
        folder: of the sweep.
        key: of the attempt.

    Raises:
        ResourceError: from the constructor and `tell`, if it cannot be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.jsonl"
        self._owner = Owner.of()
        try:
            self._descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
            )
        except OSError as error:
            raise translated_os_error(error, self._path) from error

    def begun(self, **facts: object) -> None:
        """Tell that the job runs, with what tells its process from all others."""
        host = socket.gethostname()
        self.tell("begun", host=host, owner=[self._owner.pid, self._owner.started], **facts)

    def tell(self, event: str, **facts: object) -> None:
        """Write one line."""
        data = (json.dumps({"event": event, **facts}, default=str) + "\n").encode()
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise translated_os_error(error, self._path) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class DriverWatch:
    """What a job hears of its driver.

    Args:
        folder: of the sweep.
        orphan_s: the driver is taken to be gone when it shows nothing for so long, by this machine's clock.
    """

    def __init__(self, folder: Path, orphan_s: float) -> None:
        self._folder, self._orphan_s = folder, orphan_s
        self._seen = ""
        self._since = time.monotonic()

    def word(self) -> str:
        """Return ``stop`` or ``kill`` when the job is to end, else nothing."""
        with contextlib.suppress(OSError):
            return (self._folder / _STOP).read_text("ascii").strip()
        now = time.monotonic()
        with contextlib.suppress(OSError):
            seen = (self._folder / _DRIVER).read_text("ascii")
            if seen != self._seen:
                self._seen, self._since = seen, now
        return "stop" if now - self._since > self._orphan_s else ""


def clear_leftovers(output_root: Path, mine: Path, silent_s: float = _SILENT_S) -> tuple[str, ...]:
    """End what drivers that are gone left running, and return a sentence about each of them.

    Args:
        output_root: folder of all runs.
        mine: folder of the sweep that asks.
        silent_s: what says nothing for so long is taken to be gone.

    Raises:
        ResourceError: if the folder cannot be written.
    """
    said = []
    for folder in sorted((output_root / _FOLDER).iterdir()):
        if folder == mine or not folder.is_dir():
            continue
        _say_stop(folder, at_once=False)
        waited = _wait_until_ended(folder, silent_s)
        shutil.rmtree(folder, ignore_errors=True)
        if waited:
            said.append(f"{waited} jobs of an earlier sweep, whose driver is gone, were stopped first")
    return tuple(said)


def _wait_until_ended(folder: Path, silent_s: float) -> int:
    """Wait until no attempt writes any more; return how many ran."""
    open_ones = {path: path.stat().st_size for path in folder.glob("*.jsonl")}
    since = dict.fromkeys(open_ones, time.monotonic())
    ran: set[Path] = set()
    while open_ones:
        for path, size in list(open_ones.items()):
            events, end = _lines(path, 0)
            if end != size:
                open_ones[path], since[path] = end, time.monotonic()
            if _is_over(events) or time.monotonic() - since[path] > silent_s:
                del open_ones[path]
            else:
                ran.add(path)
        time.sleep(0.1 if open_ones else 0.0)
    return len(ran)


def _is_over(events: list[dict[str, object]]) -> bool:
    """Return whether an attempt ended, or its process on this machine is gone."""
    if any(event["event"] == "ended" for event in events):
        return True
    begun = next((event for event in events if event["event"] == "begun"), None)
    if begun is None or begun.get("host") != socket.gethostname():
        return False
    owner = begun.get("owner")
    return isinstance(owner, list) and not is_alive(Owner(*owner))


def _say_stop(folder: Path, *, at_once: bool) -> None:
    with contextlib.suppress(ResourceError):  # a full disk; then jobs notice that the driver is gone
        atomic_write_text(folder / _STOP, "kill\n" if at_once else "stop\n")


def _lines(path: Path, offset: int) -> tuple[list[dict[str, object]], int]:
    """Return the whole lines of a file from a position on, and where they end."""
    try:
        with path.open("rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except OSError:  # not there yet, or the network has a moment
        return [], offset
    whole, _, _ = data.rpartition(b"\n")
    events = []
    for line in whole.splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and "event" in value:
                events.append(value)
    return events, offset + len(whole) + bool(whole)
