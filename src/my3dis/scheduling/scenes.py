"""Which scans a sweep is about."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

from my3dis.config import Config
from my3dis.errors import ConfigError, DataError

__all__ = ["select_scenes"]

_VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm"})


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
