"""How two folders of runs differ, scene by scene and on average; or two runs, whichever they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from my3dis.errors import DataError
from my3dis.runs.compare import compare_runs, differences, pairs, settings_of, versions_of
from my3dis.runs.comparison import (
    Difference,
    FigurePair,
    RunComparison,
    SceneComparison,
    SweepComparison,
)
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import read_manifest
from my3dis.runs.overview import RunOverview, find_runs, is_run, read_overview

__all__ = ["compare_folders", "compare_sweeps"]


def compare_folders(a: Path, b: Path) -> RunComparison | SweepComparison:
    """Compare two runs, or two folders of runs.

    Raises:
        DataError: if a folder is neither, or one is a run and the other a folder of runs.
    """
    kinds = [_kind(path) for path in (a, b)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"expected two runs or two folders of runs, found {kinds[0]} in {a} and {kinds[1]} in {b}"
        )
    return compare_runs(a, b) if kinds[0] == "a run" else compare_sweeps(a, b)


def _kind(path: Path) -> str:
    if is_run(path):
        return "a run"
    if path.is_dir() and any(True for _ in find_runs(path)):
        return "a folder of runs"
    found = "a folder without runs" if path.is_dir() else "a file" if path.exists() else "nothing"
    raise DataError(
        f"expected the folder of a run (<output>/<scene>/<name>) or a folder of runs (<output>), "
        f"found {found}: {path}"
    )


def compare_sweeps(a: Path, b: Path) -> SweepComparison:
    """Compare two folders of runs: scenes of the same name, and the same run name where there are several.

    Raises:
        DataError: if a folder holds no run.
    """
    notes: list[str] = []
    ours, theirs = _runs_of(a, notes), _runs_of(b, notes)
    both = [name for name in ours if name in theirs]
    scenes = tuple(_scene(name, ours[name], theirs[name]) for name in both)
    names = list(dict.fromkeys(pair.name for scene in scenes for pair in scene.scores))
    # A run that broke off took less of both, which is no gain.
    whole = [scene for scene in scenes if scene.statuses == ("finished", "finished")]
    means = [
        _mean("seconds", [scene.seconds for scene in whole]),
        _mean("peak memory, MB", [scene.memory_mb for scene in whole]),
        *(_mean(name, [p for scene in scenes for p in scene.scores if p.name == name]) for name in names),
    ]
    settings: tuple[Difference, ...] = ()
    versions: tuple[Difference, ...] = ()
    varying = []
    for number, name in enumerate(both):
        folders = ours[name].run_dir, theirs[name].run_dir
        manifests = tuple(read_manifest(RunLayout(folder).manifest) for folder in folders)
        found = differences(*(settings_of(f, m) for f, m in zip(folders, manifests, strict=True)))
        if not number:
            settings = found
            versions = differences(*(versions_of(f, m) for f, m in zip(folders, manifests, strict=True)))
        elif found != settings:
            varying.append(name)
    return SweepComparison(
        a=a,
        b=b,
        scenes=scenes,
        only_a=tuple(name for name in ours if name not in theirs),
        only_b=tuple(name for name in theirs if name not in ours),
        means=tuple(means),
        settings=settings,
        versions=versions,
        varying=tuple(varying),
        notes=tuple(notes),
    )


def _scene(name: str, one: RunOverview, two: RunOverview) -> SceneComparison:
    return SceneComparison(
        scene=name,
        statuses=(one.status, two.status),
        seconds=FigurePair(name="seconds", a=round(one.seconds, 3), b=round(two.seconds, 3)),
        memory_mb=FigurePair(name="peak memory, MB", a=one.peak_rss_mb or None, b=two.peak_rss_mb or None),
        scores=pairs(_best(one), _best(two)),
    )


def _runs_of(root: Path, notes: list[str]) -> dict[str, RunOverview]:
    runs = []
    for folder in find_runs(root):
        try:
            runs.append(read_overview(folder))
        except DataError as error:
            notes.append(str(error))
    several = len({run.run_name for run in runs}) > 1
    return {f"{run.scene} / {run.run_name}" if several else run.scene: run for run in runs}


def _mean(name: str, pairs: Sequence[FigurePair]) -> FigurePair:
    whole = [(pair.a, pair.b) for pair in pairs if pair.a is not None and pair.b is not None]
    if not whole:
        return FigurePair(name=name, a=None, b=None)
    sums = [sum(column) for column in zip(*whole, strict=True)]
    return FigurePair(name=f"{name} (mean of {len(whole)})", a=sums[0] / len(whole), b=sums[1] / len(whole))


def _best(run: RunOverview) -> dict[str, float | None]:
    names = (("AP", "ap"), ("AP50", "ap50"), ("AP25", "ap25"))
    return {f"{s.target} {label}": getattr(s, name) for s in run.scores for label, name in names}
