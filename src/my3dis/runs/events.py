"""What happened in a run, one JSON object per line, written as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from my3dis.runs.files import translated_os_error

__all__ = ["EventLog", "now_utc", "read_events"]


def now_utc() -> str:
    """Return the time now in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EventLog:
    """Appends events to ``events.jsonl``; each is on disk when `append` returns to the caller.

    The file is opened for each line, so that a log keeps no handle and a killed run loses nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: str, **facts: object) -> None:
        """Append one event with its time.

        Raises:
            ResourceError: if the disk is full or the folder cannot be written.
        """
        line = json.dumps({"time": now_utc(), "event": event, **facts}, ensure_ascii=False, default=str)
        try:
            # A killed run may have left half a line: start on a fresh one.
            start = "" if _ends_with_newline(self._path) else "\n"
            with self._path.open("a", encoding="utf-8") as handle:
                handle.write(f"{start}{line}\n")
        except OSError as error:
            raise translated_os_error(error, self._path) from error


def read_events(path: Path) -> Iterator[dict[str, object]]:
    """Yield the events of a run; a line cut off by a kill is left out."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as handle:
        for line in handle:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


def _ends_with_newline(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            if handle.seek(0, 2) == 0:
                return True
            handle.seek(-1, 2)
            return handle.read(1) == b"\n"
    except FileNotFoundError:
        return True
