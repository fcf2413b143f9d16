"""Run a list of scenes one after the other; one that fails does not stop the rest."""

from __future__ import annotations

import difflib
import fnmatch
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from my3dis.config import Config
from my3dis.errors import ConfigError, DataError, My3DISError
from my3dis.pipeline import RunResult, run_scan

__all__ = ["SceneOutcome", "run_scenes", "select_scenes"]

_LOG = logging.getLogger(__name__)
_VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOutcome:
    """What became of one scene.

    Attributes:
        scene: its name.
        result: of its run, or None when it failed.
        error: one sentence, or None when all went well.
    """

    scene: str
    result: RunResult | None = None
    error: str | None = None


def select_scenes(config: Config) -> tuple[Path, ...]:
    """Return the scans below ``experiment.dataset_root`` that the settings choose, in numeric order.

    Raises:
        ConfigError: if there is no root, or a name or pattern matches nothing.
        DataError: if the root is no folder or holds no scans.
    """
    experiment = config.experiment
    root = experiment.dataset_root
    if root is None:
        raise ConfigError(
            "nothing to run: give --scan PATH for one scan, or set experiment.dataset_root (and "
            "experiment.scenes) in the settings file for several"
        )
    if not root.is_dir():
        raise DataError(f"experiment.dataset_root: expected a folder of scenes at {root}, found none")
    known = sorted((path for path in root.iterdir() if _may_be_scan(path)), key=_numeric)
    if not known:
        raise DataError(f"experiment.dataset_root: expected folders or videos below {root}, found none")
    chosen = known if experiment.scenes == "all" else list(_matching(experiment.scenes, known, root))
    chosen = chosen[experiment.scene_start : experiment.scene_end]
    if not chosen:
        raise ConfigError(
            f"experiment.scene_start/scene_end {experiment.scene_start}:{experiment.scene_end} leave none of "
            f"the scenes below {root}"
        )
    return tuple(chosen)


def run_scenes(
    scenes: tuple[Path, ...], run: Callable[[Path], RunResult] | None = None
) -> Iterator[SceneOutcome]:
    """Run scans one after the other and yield what became of each, as soon as it is known.

    Args:
        scenes: the scans.
        run: runs one of them; `my3dis.run_scan` with defaults when None.
    """
    run = run or run_scan
    for scan in scenes:
        try:
            result = run(scan)
        except My3DISError as error:
            _LOG.error("%s failed: %s", scan.name, error)
            yield SceneOutcome(scene=scan.name, error=str(error))
        except Exception as error:  # noqa: BLE001 (the job boundary: one scene's bug must not end the others)
            _LOG.exception("%s failed by a bug of ours", scan.name)
            yield SceneOutcome(scene=scan.name, error=f"a bug of ours: {error!r}")
        else:
            yield SceneOutcome(scene=scan.name, result=result)


def _matching(names: list[str], known: list[Path], root: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for name in names:
        found = [path for path in known if fnmatch.fnmatchcase(path.name, name)]
        if not found:
            close = difflib.get_close_matches(name, [path.name for path in known], n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {len(known)} others"
            raise ConfigError(f"experiment.scenes: {name!r} matches nothing below {root}; {hint}")
        for path in found:
            if path not in seen:
                seen.add(path)
                yield path


def _may_be_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return path.is_dir() or path.suffix.lower() in _VIDEOS


def _numeric(path: Path) -> tuple[object, ...]:
    return tuple((1, int(p)) if p.isdecimal() else (0, p) for p in re.split(r"(\d+)", path.name) if p)
