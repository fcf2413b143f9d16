"""One line per attempt in ``workflow_history.csv``, for spreadsheets and for people who compare.

A run that was stopped and went on later has a line for each attempt, in order and with the same ``run_dir``,
and each says how that attempt ended:

``finished``: all its stages are there. A run of several jobs is one attempt, told by the job that ends it.
``failed``: an error ended it.
``interrupted``: it was asked to stop, by a person (Ctrl-C, SIGTERM) or by the guard of a sweep.
``killed``: it ended without a word (SIGKILL, a power cut). The attempt that goes on writes this line, from
the events that were recorded; ``finished`` is then the time of the last one.

Lines are never changed later: the last of a ``run_dir`` says how things stand. Times and stages are those of
the attempt; a stage that it was stopped in the middle of is not among them.
"""

from __future__ import annotations

import csv
import io
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from my3dis.runs.lock import exclusive_file

__all__ = ["HistoryLine", "append_history"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One attempt: when it ended, what it was, how it ended and how long its stages took."""

    finished: str
    scene: str
    run_name: str
    status: str
    seconds: float
    frames: int
    levels: str
    stages_run: str
    stages_reused: str
    object_ap50: str
    version: str
    commit: str
    tag: str
    run_dir: str


def append_history(path: Path, line: HistoryLine) -> None:
    """Append a line under a lock; the first line of a new file names the columns.

    Raises:
        ResourceError: if the disk is full or the folder cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(HistoryLine)], lineterminator="\n")
    with exclusive_file(path) as descriptor:
        if os.fstat(descriptor).st_size == 0:
            writer.writeheader()
        writer.writerow(asdict(line))
        os.write(descriptor, text.getvalue().encode())
        os.fsync(descriptor)
