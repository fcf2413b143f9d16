"""One line per run in ``workflow_history.csv``, for spreadsheets and for people who compare."""

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
    """One run: when, what, how it ended and how long it took."""

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
