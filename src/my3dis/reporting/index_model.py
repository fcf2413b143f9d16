"""What the index of runs says, as typed rows; the page is made from this alone."""

from __future__ import annotations

from dataclasses import dataclass

from my3dis.reporting.model import Figure

__all__ = ["FileLink", "IndexPage", "IndexRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One run.

    Attributes:
        scene, run_name, dataset, status: as recorded; empty when unknown.
        href: leads to its report, empty without one.
        words: why there is no report, or what cannot be read.
        seconds, peak_rss_mb, frames: None = not recorded.
        scores: as the page's measures, shares; None = undefined.
        updated: UTC time in ISO 8601.
    """

    scene: str
    run_name: str
    status: str
    dataset: str = ""
    href: str = ""
    words: str = ""
    seconds: float | None = None
    peak_rss_mb: float | None = None
    frames: int | None = None
    scores: tuple[float | None, ...] = ()
    updated: str = ""

    @property
    def has_scores(self) -> bool:
        """Whether any score is known."""
        return any(score is not None for score in self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLink:
    """A file that may be had, with its length in bytes."""

    name: str
    href: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexPage:
    """Everything the page shows, in its order.

    Attributes:
        title, folder: name and path of what is served.
        summary: one sentence.
        reload_s: seconds after which the page should be read again, 0 = never.
        notes: sentences that stand above everything.
        figures: key figures.
        sweep: address of the page over all runs, empty without one.
        measures: names of the columns of scores, empty without any.
        rows: runs, ``total`` in all.
        files: of a single run.
    """

    title: str
    folder: str
    summary: str
    rows: tuple[IndexRow, ...]
    total: int
    reload_s: int = 0
    notes: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    sweep: str = ""
    measures: tuple[str, ...] = ()
    files: tuple[FileLink, ...] = ()
    version: str = ""
