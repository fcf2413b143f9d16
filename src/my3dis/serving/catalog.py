"""The runs of a folder, read back once and again only when their files change.

A request does a bounded amount of work: the folder is listed at most every two seconds, and what is new or
changed is read for one second at most; the rest is for the next request, and the page says how many wait.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from my3dis.errors import DataError
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview, is_run, read_overview
from my3dis.scheduling.sweep_state import SWEEP_NAME
from my3dis.serving.files import is_inside

__all__ = ["Catalog", "CatalogRun", "Listing", "open_root"]

LIST_EVERY_S, READ_FOR_S = 2.0, 1.0

_Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogRun:
    """One run.

    Attributes:
        segments: of its address, from the folder that is served; none if it is that folder.
        overview: the run read back; None while it waits to be read, or if it is damaged.
        trouble: what is wrong with its records.
    """

    segments: tuple[str, ...]
    overview: RunOverview | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The runs of a folder.

    Attributes:
        runs: sorted by address.
        waiting: how many of them are still to be read.
        left_out: how many folders cannot be listed or lie outside the folder through links.
        version: another one whenever anything has changed.
    """

    runs: tuple[CatalogRun, ...]
    waiting: int = 0
    left_out: int = 0
    version: int = 0


@dataclass(slots=True)
class _Known:
    run: CatalogRun
    stamp: _Stamp | None = None  # None = to be read


def open_root(path: Path) -> Path:
    """Return the folder to serve, with all links followed.

    Raises:
        DataError: if it is neither a run nor holds any.
    """
    root = path.resolve()
    if root.is_dir() and (is_run(root) or (root / SWEEP_NAME).is_file() or next(_run_folders(root), None)):
        return root
    found = "no such folder" if not path.exists() else "a file" if path.is_file() else "no run in it"
    raise DataError(
        f"expected the folder of a run, or one with runs in <scene>/<name>/, found {found} at {path}; name "
        "the folder given to `my3dis run --output`, or one run in it"
    )


class Catalog:
    """Knows the runs of one folder; safe to use from several threads."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            root: from `open_root`.
            clock: seconds, for what is done when and for how long.
        """
        self.root = root
        self.single = is_run(root)
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], _Known] = {}
        self._left_out = 0
        self._version = 0
        self._listed_at: float | None = None

    def listing(self) -> Listing:
        """Return the runs as they are known after a bounded amount of reading."""
        with self._lock:
            now = self._clock()
            if self._listed_at is None or now - self._listed_at >= LIST_EVERY_S:
                self._list()
                self._listed_at = now
            waiting = self._read(now + READ_FOR_S)
            runs = tuple(self._known[key].run for key in sorted(self._known))
            return Listing(runs=runs, waiting=waiting, left_out=self._left_out, version=self._version)

    def _list(self) -> None:
        left_out: list[Path] = []
        found = {(): self.root} if self.single else _addresses(self.root, left_out)
        for gone in self._known.keys() - found.keys():
            del self._known[gone]
            self._version += 1
        for segments, folder in found.items():
            known = self._known.setdefault(segments, _Known(CatalogRun(segments=segments)))
            if known.stamp is not None and known.stamp != _stamp(folder):
                known.stamp = None  # what was read stays until it is read again
        self._left_out = len(left_out)

    def _read(self, until: float) -> int:
        """Read what is new or changed, new ones first, and return how many are left to be read."""
        stale = [known for known in self._known.values() if known.stamp is None]
        stale.sort(key=lambda known: known.run.overview is not None)
        for n, known in enumerate(stale):
            if n and self._clock() >= until:
                return len(stale) - n
            folder = self.root.joinpath(*known.run.segments)
            known.stamp = _stamp(folder)
            known.run = _read_run(self.root, folder, known.run)
            self._version += 1
        return 0


def _read_run(root: Path, folder: Path, run: CatalogRun) -> CatalogRun:
    layout = RunLayout(folder)
    if not all(is_inside(root, path) for path in (layout.manifest, layout.timings, layout.scores)):
        return replace(run, overview=None, trouble="its records lie outside the folder that is served")
    try:
        return replace(run, overview=read_overview(folder), trouble="")
    except DataError as error:
        return replace(run, overview=None, trouble=str(error))


def _addresses(root: Path, left_out: list[Path]) -> dict[tuple[str, ...], Path]:
    return {folder.relative_to(root).parts: folder for folder in _run_folders(root, left_out)}


def _run_folders(root: Path, left_out: list[Path] | None = None) -> Iterator[Path]:
    """Yield the folders of runs one and two below; hidden ones are none."""
    left_out = [] if left_out is None else left_out
    for scene in _folders(root, root, left_out):
        if _is_run(scene):
            yield scene
        else:
            yield from (run for run in _folders(scene, root, left_out) if _is_run(run))


def _is_run(folder: Path) -> bool:
    try:
        return is_run(folder)
    except OSError:  # not ours to look into; listing it says so
        return False


def _folders(folder: Path, root: Path, left_out: list[Path]) -> list[Path]:
    """Return the folders in a folder that may be served, sorted; others are noted."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        left_out.append(folder)
        return []
    kept = []
    for entry in found:
        path = Path(entry.path)
        if _is_text(entry.name) and (not entry.is_symlink() or is_inside(root, path)):
            kept.append(path)
        else:
            left_out.append(path)
    return sorted(kept)


def _is_text(name: str) -> bool:
    """Return whether a name can stand in an address: it is Unicode without control characters."""
    return name.isprintable() and "\\" not in name


def _stamp(folder: Path) -> _Stamp:
    """Return times of change and lengths of all that is read; a folder changes when a report comes."""
    layout = RunLayout(folder)
    return tuple(_changed(p) for p in (folder, layout.manifest, layout.timings, layout.scores))


def _changed(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return (0, 0)
    return (facts.st_mtime_ns, facts.st_size)
