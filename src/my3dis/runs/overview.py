"""What is worth knowing of a finished run, read back from its folder in a few milliseconds.

Nothing heavy is opened: the manifest, the timings and the scores. Tables over many runs, the comparison of
two and ``--json`` are made from this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from my3dis.errors import DataError
from my3dis.monitoring.timings import StageTiming, read_timings
from my3dis.runs.files import read_json
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import read_manifest

__all__ = ["RunOverview", "ScoreFacts", "StageFacts", "find_runs", "is_run", "read_overview", "report_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """How one stage ended and what it took; None = not recorded."""

    name: str
    status: str
    message: str | None = None
    seconds: float | None = None
    peak_rss_mb: float | None = None
    gpus_mb: tuple[tuple[str, float], ...] = ()
    masks_out: int | None = None
    facts: tuple[tuple[str, float | int | str], ...] = ()

    @property
    def peak_gpu_mb(self) -> float | None:
        """Most that it held on one GPU, MiB; None without any."""
        return max((mb for _, mb in self.gpus_mb), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFacts:
    """Average precision of the best level against one kind of ground truth; shares, None = undefined."""

    target: str
    level: int | None
    protocol: str
    ap: float | None
    ap50: float | None
    ap25: float | None
    n_gt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """A run in short.

    Attributes:
        run_dir: its folder.
        scene, run_name, status, updated, dataset: as in its manifest.
        frames: selected ones.
        levels: granularities, coarse to fine.
        stages: in the order in which they ran.
        scores: of the best level, ranked, objects before parts.
        report: the page to open, or None.
    """

    run_dir: Path
    scene: str
    run_name: str
    status: str
    updated: str
    dataset: str = ""
    frames: int = 0
    levels: tuple[int, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    scores: tuple[ScoreFacts, ...] = ()
    report: Path | None = None

    @property
    def seconds(self) -> float:
        """Wall time of all its stages, those of earlier commands included."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def peak_rss_mb(self) -> float:
        """Highest host memory of its stages, MiB."""
        return max((stage.peak_rss_mb or 0.0 for stage in self.stages), default=0.0)

    def stage(self, name: str) -> StageFacts | None:
        """Return one stage, or None when it never ran."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def as_json(self) -> dict[str, object]:
        """Return plain data for scripts."""
        plain = asdict(self)
        plain["stages"] = {stage.name: _plain_stage(stage) for stage in self.stages}
        plain["scores"] = {score.target: _without(asdict(score), "target") for score in self.scores}
        for name in ("run_dir", "report"):
            plain[name] = None if plain[name] is None else str(plain[name])
        return plain | {"seconds": round(self.seconds, 3), "peak_rss_mb": round(self.peak_rss_mb, 1)}


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run."""
    return RunLayout(folder).manifest.is_file()


def find_runs(output_root: Path) -> Iterator[Path]:
    """Yield the folders of all runs, ``<output_root>/<scene>/<run name>``, sorted.

    Raises:
        DataError: if the folder cannot be listed.
    """
    try:
        scenes = sorted(path for path in output_root.iterdir() if path.is_dir())
        for scene in scenes:
            yield from (path for path in sorted(scene.iterdir()) if is_run(path))
    except OSError as error:
        raise DataError(
            f"expected a folder of runs, found {output_root}: {error.strerror or error}; "
            "name the folder given to `my3dis run --output`"
        ) from error


def report_of(run_dir: Path) -> Path | None:
    """Return the page of a run, whatever it is called, or None where none was made."""
    layout = RunLayout(run_dir)
    usual = layout.report("report")
    if usual.is_file():
        return usual
    return next(iter(sorted(layout.root.glob("*.html"))), None)


def read_overview(run_dir: Path) -> RunOverview:
    """Read a run back.

    Raises:
        DataError: if the folder is no run, or its records are damaged.
    """
    layout = RunLayout(run_dir)
    if not layout.manifest.is_file():
        raise DataError(
            f"expected the folder of a run, found {run_dir} without a manifest.json; a run lies in "
            "<output>/<scene>/<name>"
        )
    manifest = read_manifest(layout.manifest)
    timings = {timing.name: timing for timing in read_timings(layout.timings)}
    stages = []
    for record in manifest.stages:
        facts = StageFacts(name=record.name, status=str(record.status), message=record.message)
        timing = timings.get(record.name)
        stages.append(_timed(facts, timing, complete=record.is_complete) if timing else facts)
    return RunOverview(
        run_dir=run_dir,
        scene=manifest.scene,
        run_name=manifest.run_name,
        status=manifest.status,
        updated=manifest.updated,
        dataset=manifest.dataset,
        frames=manifest.frames_selected,
        levels=manifest.levels,
        stages=tuple(stages),
        scores=_scores(layout.scores),
        report=report_of(run_dir),
    )


def _timed(facts: StageFacts, timing: StageTiming, *, complete: bool) -> StageFacts:
    return replace(
        facts,
        status="reused" if timing.reused and complete else facts.status,
        seconds=round(timing.seconds, 3),
        peak_rss_mb=round(timing.peak_rss_mb, 1),
        gpus_mb=tuple((name, round(mb, 1)) for name, mb in timing.peak_gpu_mb),
        masks_out=timing.masks_out,
        facts=timing.facts,
    )


def _scores(path: Path) -> tuple[ScoreFacts, ...]:
    """Return the rows of the best levels; the whole file is checked only where all of it is used."""
    if not path.is_file():
        return ()
    try:
        content: Any = read_json(path)
        rows = [
            row
            for row in content["instances"]
            if row["selection"] == "best level" and row["scores"] == "ranked"
        ]
        return tuple(_score(row) for row in sorted(rows, key=lambda row: str(row["target"])))
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected scores, found a damaged file ({error!r}); run the evaluate stage again"
        ) from error


def _score(row: Mapping[str, Any]) -> ScoreFacts:
    names = ("target", "level", "protocol", "ap", "ap50", "ap25", "n_gt")
    return ScoreFacts(**{name: row[name] for name in names})


def _plain_stage(stage: StageFacts) -> dict[str, object]:
    plain = _without(_without(asdict(stage), "name"), "gpus_mb")
    return plain | {"peak_gpu_mb": dict(stage.gpus_mb), "facts": dict(stage.facts)}


def _without(plain: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key != name}
