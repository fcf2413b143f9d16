"""Which files an address may name: a fixed list of what a run writes for people, and nothing else.

An address is never made into a path as it stands. It is taken apart, the folder has to be that of a run, the
name has to be on the list, and what is opened at the end has to be a regular file that lies, with all links
followed, inside the folder that is served.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import is_run, report_of
from my3dis.runs.summary import HISTORY_NAME
from my3dis.scheduling.sweep_report import PAGE_NAME
from my3dis.scheduling.sweep_state import EVENTS_NAME, SWEEP_NAME

__all__ = ["LONGEST_ADDRESS", "Opened", "is_inside", "open_served", "segments_of", "served_names"]

LONGEST_ADDRESS = 2048
"""Characters of an address; a longer one is no address of ours."""
DEEPEST_RUN = 2
"""A run lies at most so far below the folder that is served: ``<scene>/<run name>``."""

_UTF8 = "; charset=utf-8"
_KINDS = {
    ".html": "text/html" + _UTF8,
    ".md": "text/markdown" + _UTF8,
    ".json": "application/json",
    ".csv": "text/csv" + _UTF8,
    # The registered types of these make a browser save the file instead of showing it.
    ".jsonl": "text/plain" + _UTF8,
    ".yaml": "text/plain" + _UTF8,
    ".log": "text/plain" + _UTF8,
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".ply": "application/octet-stream",
    ".npz": "application/octet-stream",
}
_PICTURES = (".jpg", ".png")
_OF_ROOT = (PAGE_NAME, SWEEP_NAME, EVENTS_NAME, HISTORY_NAME)
_UNUSUAL = re.compile(r"[\x00-\x1f\x7f\\]")
# A link in the place of the last name and a pipe without a writer must not be waited for or followed.
_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that may be sent: open, with its length in bytes and its type."""

    file: BinaryIO
    length: int
    kind: str


def segments_of(target: str) -> tuple[str, ...] | None:
    """Take the target of a request apart; None if it is no address of ours.

    Args:
        target: as it stands in the request, percent-encoded, perhaps with a query.
    """
    if len(target) > LONGEST_ADDRESS or not target.startswith("/"):
        return None
    try:
        path = unquote_to_bytes(target.partition("?")[0].partition("#")[0]).decode("utf-8")
    except UnicodeError:
        return None
    if _UNUSUAL.search(path):
        return None
    segments = tuple(path[1:].split("/")) if path != "/" else ()
    # Hidden names are never ours: ".." is one of them.
    return None if any(not name or name.startswith(".") for name in segments) else segments


def open_served(root: Path, segments: tuple[str, ...]) -> Opened | None:
    """Open the file of an address; None if there is none or it may not be had.

    Args:
        root: the folder that is served, with all links followed.
        segments: of the address, see `segments_of`.
    """
    try:
        path = _path_of(root, segments)
        real = None if path is None else path.resolve(strict=True)
        if path is None or real is None or not real.is_relative_to(root):
            return None
        descriptor = os.open(real, _FLAGS)
    except (OSError, RuntimeError, ValueError):  # gone, not ours to read, a loop of links, an odd name
        return None
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        return None
    return Opened(os.fdopen(descriptor, "rb"), facts.st_size, _KINDS[path.suffix])


def is_inside(root: Path, path: Path) -> bool:
    """Return whether a path lies in a folder, with all links followed."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def served_names(run_dir: Path) -> tuple[str, ...]:
    """Return the names of the files of a run that may be had, whether they are there or not."""
    layout = RunLayout(run_dir)
    page = report_of(run_dir) or layout.report("report")
    paths = (
        page,
        layout.report_text(page.stem),
        layout.scores,
        layout.timings,
        layout.memory_profile,
        layout.memory_plot,
        layout.config,
        layout.manifest,
        layout.events,
        layout.log,
        layout.relations,
        layout.instances_ply,
        layout.instances,
        layout.cloud,
    )
    return tuple(path.name for path in paths)


def _path_of(root: Path, segments: tuple[str, ...]) -> Path | None:
    if not segments:
        return None
    *folders, name = segments
    if not folders and name in _OF_ROOT and not is_run(root):
        return root / name
    pictures = {RunLayout(root).comparison.name, RunLayout(root).check_pictures.name}
    if folders and folders[-1] in pictures and Path(name).suffix in _PICTURES:
        run = _run_at(root, folders[:-1])
        return None if run is None else run / folders[-1] / name
    run = _run_at(root, folders)
    return run / name if run is not None and name in served_names(run) else None


def _run_at(root: Path, folders: list[str]) -> Path | None:
    """Return the run that lies there; where a run itself is served, there is none below it."""
    single = is_run(root)
    if bool(folders) == single or len(folders) > DEEPEST_RUN:
        return None
    run = root.joinpath(*folders)
    return run if is_inside(root, run) and is_run(run) else None
