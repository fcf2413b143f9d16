"""What every stage is given and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from my3dis.config import Config
from my3dis.protocols import SceneReader
from my3dis.runs.layout import RunLayout

__all__ = ["StageContext", "StageOutcome", "StageWarning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageWarning:
    """Something a person should know; goes to the log, to ``events.jsonl`` and into the report.

    Attributes:
        stage: name of the stage.
        reason: a short stable code such as ``no_comparison`` or ``invalid_poses``.
        message: a sentence: what happened, what follows, what to do.
        level: the granularity it is about, or None.
    """

    stage: str
    reason: str
    message: str
    level: int | None = None


def _unheard(event: str, facts: Mapping[str, object]) -> None:
    """Take an event that nobody listens to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """What a stage may use. Stages read and write files of the layout and hold few masks at a time.

    Attributes:
        reader: the scan.
        frames: selected frame indices, ascending.
        layout: the run's files.
        config: resolved settings.
        stage_digest: identifies settings and inputs of this stage; a partial output that carries it
            may be continued.
        progress: call with (done, total) as work goes on.
        warn: hand over a warning.
        tell: hand over an event and its facts for ``events.jsonl``; its ``message`` goes to the log as well.
    """

    reader: SceneReader
    frames: tuple[int, ...]
    layout: RunLayout
    config: Config
    stage_digest: str
    progress: Callable[[int, int], None]
    warn: Callable[[StageWarning], None]
    tell: Callable[[str, Mapping[str, object]], None] = _unheard


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What a stage did.

    Attributes:
        masks_in, masks_out: masks read and written (instances for lifting).
        skipped: why the stage did nothing, or None.
        facts: named figures for the report and ``stage_timings.json``, such as ``("tracks", 57)``.
        peak_gpu_mb: (GPU, MiB) the most that the stage's back ends held on each, empty without one.
    """

    masks_in: int = 0
    masks_out: int = 0
    skipped: str | None = None
    facts: tuple[tuple[str, float | int | str], ...] = field(default=())
    peak_gpu_mb: tuple[tuple[str, float], ...] = ()
