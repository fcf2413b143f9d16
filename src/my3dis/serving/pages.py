"""What the index says of the runs of a folder, and the page of its sweep where none was written."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import my3dis
from my3dis.reporting.formats import format_count, format_megabytes, format_seconds
from my3dis.reporting.index_model import FileLink, IndexPage, IndexRow
from my3dis.reporting.index_page import render_index
from my3dis.reporting.model import Figure
from my3dis.reporting.sweep_page import render_sweep
from my3dis.runs.layout import RunLayout
from my3dis.runs.overview import RunOverview
from my3dis.scheduling.sweep_report import PAGE_NAME, page_of
from my3dis.scheduling.sweep_state import read_state
from my3dis.serving.catalog import Catalog, CatalogRun, Listing
from my3dis.serving.files import is_inside, open_served, served_names

__all__ = ["Pages", "report_command"]

_MOST_ROWS = 5000
_MEASURES = (("objects", "ap"), ("objects", "ap50"), ("objects", "ap25"), ("parts", "ap50"))
_NAMES = {"ap": "AP", "ap50": "AP50", "ap25": "AP25"}
_MANY_HOURS_S = 20 * 3600.0
_WAITING_S, _RUNNING_S = 2, 30
_SWEEP_EVERY_S = 10.0
"""All runs are read for the page of a sweep, so it is made again only so often."""


class Pages:
    """Makes the pages of one folder, again only when something has changed there."""

    def __init__(self, catalog: Catalog) -> None:
        """Make pages of the runs that a catalogue knows."""
        self.catalog = catalog
        self._index_lock, self._sweep_lock = threading.Lock(), threading.Lock()
        self._index: tuple[int, str] = (-1, "")
        self._sweep: tuple[int, str] = (-1, "")
        self._sweep_made_s = 0.0

    def index(self) -> str:
        """Return the page of all runs."""
        listing = self.catalog.listing()
        with self._index_lock:
            # Files of a single run may come without a change that the catalogue looks at.
            if self._index[0] != listing.version or self.catalog.single:
                self._index = (listing.version, render_index(_index_page(self.catalog, listing)))
            return self._index[1]

    def sweep(self) -> str:
        """Return the page over all scenes, made from what lies in the folder.

        Raises:
            DataError: if there is nothing to show, or the record of the sweep is damaged.
        """
        root = self.catalog.root
        listing = self.catalog.listing()
        with self._sweep_lock:
            changed = self._sweep[0] != listing.version
            if not self._sweep[1] or (changed and time.monotonic() - self._sweep_made_s >= _SWEEP_EVERY_S):
                state = read_state(root)
                kept = tuple(scene for scene in state.scenes if is_inside(root, scene.run_dir))
                page = page_of(replace(state, scenes=kept), root)
                self._sweep = (listing.version, render_sweep(page))
                self._sweep_made_s = time.monotonic()
            return self._sweep[1]

    def report_address(self) -> str:
        """Return the address of the report of a single run, ``/`` where there is none or are several."""
        runs = self.catalog.listing().runs if self.catalog.single else ()
        return next((f"/{href}" for run in runs if (href := _href(run))), "/")


def report_command(run_dir: Path) -> str:
    """Return the command that makes the report of a run."""
    return f"my3dis stage report {shlex.quote(str(run_dir))}"


def _index_page(catalog: Catalog, listing: Listing) -> IndexPage:
    root, runs = catalog.root, [run.overview for run in listing.runs if run.overview is not None]
    measures = [measure for measure in _MEASURES if any(_score(run, measure) is not None for run in runs)]
    running = any(run.status == "running" for run in runs)
    return IndexPage(
        title=_title(catalog, listing),
        folder=str(root),
        summary=_summary(root, listing),
        reload_s=_WAITING_S if listing.waiting else _RUNNING_S if running else 0,
        notes=_notes(catalog, listing),
        figures=() if catalog.single else _figures(runs, len(listing.runs)),
        sweep="" if catalog.single else PAGE_NAME,
        measures=tuple(f"{target} {_NAMES[name]}" for target, name in measures),
        rows=tuple(_row(root, run, measures) for run in listing.runs[:_MOST_ROWS]),
        total=len(listing.runs),
        files=_files(root) if catalog.single else (),
        version=my3dis.__version__,
    )


def _title(catalog: Catalog, listing: Listing) -> str:
    run = listing.runs[0].overview if catalog.single and listing.runs else None
    return run.scene if run is not None else catalog.root.name or str(catalog.root)


def _summary(root: Path, listing: Listing) -> str:
    if listing.waiting:
        waiting = f"{listing.waiting:,} of {len(listing.runs):,} runs are still to be read"
        return f"{waiting}; the page comes again by itself."
    return f"In {root}, as of now; reload the page to look again."


def _notes(catalog: Catalog, listing: Listing) -> tuple[str, ...]:
    notes = [] if listing.runs else ["There is no run here yet."]
    if listing.left_out:
        notes.append(
            f"{listing.left_out:,} folders are not served: they cannot be listed, have names that no address "
            "can hold, or lie outside the folder through links."
        )
    damaged = [run for run in listing.runs if run.trouble]
    if damaged:
        notes.append(
            f"{len(damaged):,} run{'s' * (len(damaged) != 1)} cannot be read. The first: {damaged[0].trouble}"
        )
    if catalog.single and not damaged and listing.runs and not _href(listing.runs[0]):
        notes.append(
            "This run has no report yet. Once the stages before it are done, this makes one: "
            f"{report_command(catalog.root)}"
        )
    return tuple(notes)


def _figures(runs: Sequence[RunOverview], total: int) -> tuple[Figure, ...]:
    def count(status: str) -> int:
        return sum(run.status == status for run in runs)

    scenes = len({run.scene for run in runs})
    notes = (f"of {scenes:,} scene{'s' * (scenes != 1)}",)
    figures = [Figure(label="Runs", value=format_count(total), notes=notes)]
    figures += [
        Figure(label=label, value=format_count(count(status)))
        for label, status in (("Finished", "finished"), ("Failed", "failed"), ("Running", "running"))
        if count(status)
    ]
    scored = sum(bool(run.scores) for run in runs)
    if scored:
        figures.append(Figure(label="With scores", value=format_count(scored)))
    seconds = sum(run.seconds for run in runs)
    work = f"{seconds / 3600:,.0f} h" if seconds >= _MANY_HOURS_S else format_seconds(seconds)
    figures.append(Figure(label="Work of all stages", value=work))
    peak = max((run.peak_rss_mb for run in runs), default=0.0)
    if peak:
        figures.append(Figure(label="Highest memory", value=format_megabytes(peak)))
    return tuple(figures)


def _row(root: Path, run: CatalogRun, measures: Sequence[tuple[str, str]]) -> IndexRow:
    overview = run.overview
    names = (root.name, *run.segments)
    if overview is None:
        return IndexRow(
            scene=names[-2] if len(run.segments) > 1 else names[-1],
            run_name=names[-1],
            status="damaged" if run.trouble else "reading",
            words=run.trouble,
            scores=(None,) * len(measures),
        )
    href = _href(run)
    return IndexRow(
        scene=overview.scene,
        run_name=overview.run_name,
        status=overview.status,
        dataset=overview.dataset,
        href=href,
        words="" if href else _why_none(root.joinpath(*run.segments), overview),
        seconds=overview.seconds if overview.stages else None,
        peak_rss_mb=overview.peak_rss_mb or None,
        frames=overview.frames,
        scores=tuple(_score(overview, measure) for measure in measures),
        updated=overview.updated,
    )


def _why_none(folder: Path, overview: RunOverview) -> str:
    failed = next((stage for stage in overview.stages if stage.status == "failed"), None)
    why = f"{failed.name} failed: {failed.message or 'no reason was recorded'}; " if failed else ""
    return f"{why}no report yet; to make one: {report_command(folder)}"


def _href(run: CatalogRun) -> str:
    report = run.overview.report if run.overview is not None else None
    return "" if report is None else quote("/".join((*run.segments, report.name)))


def _score(run: RunOverview, measure: tuple[str, str]) -> float | None:
    target, name = measure
    for score in run.scores:
        if score.target == target:
            return {"ap": score.ap, "ap50": score.ap50, "ap25": score.ap25}[name]
    return None


def _files(root: Path) -> tuple[FileLink, ...]:
    """Return the files that may be had, pictures last."""
    layout = RunLayout(root)
    pictures = [
        f"{folder.name}/{path.name}"
        for folder in (layout.comparison, layout.check_pictures)
        for path in (sorted(folder.glob("*.jpg")) if is_inside(root, folder) else ())
    ]
    links = []
    for name in (*served_names(root), *pictures):
        opened = open_served(root, tuple(name.split("/")))
        if opened is not None:
            opened.file.close()
            links.append(FileLink(name=name, href=quote(name), length=opened.length))
    return tuple(links)
