"""What the page of a sweep says, as typed rows; the page is made from this alone."""

from __future__ import annotations

from dataclasses import dataclass

from my3dis.reporting.bars import BarChart
from my3dis.reporting.curves import Chart
from my3dis.reporting.gantt import Gantt
from my3dis.reporting.model import Figure

__all__ = ["DecisionRow", "FailureRow", "MeanRow", "SceneRow", "StageCell", "SweepPage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCell:
    """One stage of one scene; ``status`` is empty where the stage never came up."""

    status: str = ""
    seconds: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneRow:
    """One scene; ``href`` leads to its report, empty without one. ``scores`` stand as the page's measures."""

    name: str
    href: str
    status: str
    seconds: float | None
    cells: tuple[StageCell, ...]
    peak_rss_mb: float | None = None
    peak_gpu_mb: float | None = None
    attempts: int = 0
    scores: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """Why scenes failed in one way: reason and evidence of the first, and what to do.

    Attributes:
        scenes: (name, address of its log or empty).
        more: scenes that are not named.
    """

    scenes: tuple[tuple[str, str], ...]
    reason: str
    evidence: tuple[str, ...]
    advice: str
    more: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """Something that was decided: a retry, a stop, fewer jobs at a time."""

    seconds: float | None
    kind: str
    job: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRow:
    """Mean of one measure over the scenes that have it, with its lowest and highest."""

    measure: str
    mean: float
    lowest: float
    highest: float
    scenes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPage:
    """Everything the page shows, in its order.

    Attributes:
        title, name: of the sweep's folder; of its runs.
        summary: one sentence.
        alive: whether the sweep goes on, so that the page should be read again.
        notes: sentences that stand above everything.
        figures: key figures.
        stages: names of the columns.
        measures: names of the columns of scores, empty without any.
        rows: scenes, ``total`` in all.
        failures, decisions, decisions_made: what went wrong and what followed.
        means: scores over all scenes.
        slowest, memory, gpu_memory, jobs: pictures, None without figures.
    """

    title: str
    name: str
    summary: str
    alive: bool
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    stages: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[SceneRow, ...]
    total: int
    failures: tuple[FailureRow, ...] = ()
    more_failures: int = 0
    decisions: tuple[DecisionRow, ...] = ()
    decisions_made: int = 0
    means: tuple[MeanRow, ...] = ()
    slowest: BarChart | None = None
    memory: Chart | None = None
    gpu_memory: Chart | None = None
    jobs: Gantt | None = None
    version: str = ""
