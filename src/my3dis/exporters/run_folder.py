"""What exporters need of a run's folder beside its masks: names, the tree over tracks, and the scan."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from my3dis.archive import ArchiveReader
from my3dis.datasets.corrections import CorrectedReader, Corrections, corrections_of, with_corrections
from my3dis.datasets.detect import open_scan
from my3dis.datasets.reader import FolderReader
from my3dis.errors import ConfigError, DataError, PluginError
from my3dis.protocols import ExportOption, SceneReader

__all__ = [
    "ARCHIVES",
    "LEVEL_OPTION",
    "chosen_levels",
    "image_names",
    "manifest_of",
    "mask_archives",
    "open_run_scan",
    "scene_of",
    "track_tree",
    "tracks_of",
]

_LOG = logging.getLogger(__name__)

ARCHIVES = ("tracks", "masks", "candidates")
"""Archives of a run, the last stage first."""

LEVEL_OPTION = ExportOption(
    name="level", values=("all",), whole_numbers=True, summary="all levels, or one of the run's by its number"
)


def mask_archives(run_dir: Path) -> dict[str, Path]:
    """Return the archives that a run has, by name, the last stage first.

    Raises:
        DataError: if there is none.
    """
    found = {name: run_dir / f"{name}.my3dis" for name in ARCHIVES}
    found = {name: path for name, path in found.items() if path.is_file()}
    if not found:
        raise DataError(
            f"expected tracks.my3dis, masks.my3dis or candidates.my3dis in {run_dir}, found none; "
            "run the stage candidates first"
        )
    return found


def tracks_of(run_dir: Path) -> Path:
    """Return the archive of tracks.

    Raises:
        DataError: if there is none.
    """
    tracks = run_dir / "tracks.my3dis"
    if not tracks.is_file():
        raise DataError(f"expected tracks at {tracks}, found no such file; run the stage track")
    return tracks


def chosen_levels(known: Sequence[int], chosen: str) -> tuple[int, ...]:
    """Return the levels that the option ``level`` means.

    Raises:
        ConfigError: if there is no such level.
    """
    if chosen == "all":
        return tuple(known)
    if int(chosen) not in known:
        levels = ", ".join(map(str, known)) or "none"
        raise ConfigError(f"--option level: expected all or a level of the run ({levels}), found {chosen}")
    return (int(chosen),)


def manifest_of(run_dir: Path) -> dict[str, Any]:
    """Return the run's manifest, or an empty one where the folder has none.

    Raises:
        DataError: if it is damaged.
    """
    path = run_dir / "manifest.json"
    return _json(path) if path.is_file() else {}


def scene_of(run_dir: Path) -> str:
    """Return the name of the run's scan, in a form that fits into a file's name."""
    scene = manifest_of(run_dir).get("scene")
    name = scene if isinstance(scene, str) and scene else run_dir.absolute().name
    return name.replace("/", "_").replace(" ", "_")


def track_tree(run_dir: Path, tracks: ArchiveReader) -> tuple[dict[int, int], dict[int, int]]:
    """Return the level of every track, and the parent of every track that has one.

    Raises:
        DataError: if ``relations.json`` is damaged.
    """
    path = run_dir / "relations.json"
    found = tracks.tracks()
    level_of = dict(zip(found.track_id.tolist(), found.level.tolist(), strict=True))
    entries = _json(path).get("tracks", []) if path.is_file() else []
    try:
        pairs = [(int(entry["track_id"]), int(entry["parent_id"])) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected tracks with parents, found others; run the stage track") from error
    return level_of, {track: parent for track, parent in pairs if track in level_of and parent in level_of}


def open_run_scan(run_dir: Path) -> SceneReader | None:
    """Open the scan that a run was made from, corrected as the run's settings say; None if it is gone.

    Raises:
        DataError: if the run's own files are damaged.
        ConfigError: if the file of the alignment that the run used holds none any more.
    """
    manifest = manifest_of(run_dir)
    place, dataset = manifest.get("scan"), manifest.get("dataset")
    if not isinstance(place, str) or not place:
        return None
    corrections = _corrections(run_dir / "config.yaml")
    try:
        reader = open_scan(Path(place), dataset if isinstance(dataset, str) and dataset else "auto")
    except (DataError, PluginError) as error:
        _LOG.warning("going on without the scan of this run, which cannot be opened: %s", error)
        return None
    return with_corrections(reader, corrections)


def image_names(run_dir: Path) -> Callable[[int], str]:
    """Return a function from a frame's index to the name of its image.

    The name is that of the colour file, relative to the scan, where it has such files and is still there;
    else the index with five digits.
    """
    reader = open_run_scan(run_dir)
    inner = reader.reader if isinstance(reader, CorrectedReader) else reader
    files = tuple(inner.files.color) if isinstance(inner, FolderReader) else ()
    root = inner.overview.root if inner is not None else run_dir

    def name_of(frame: int) -> str:
        if frame >= len(files):
            return f"{frame:05d}.png"
        path = files[frame]
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name

    return name_of


def _corrections(path: Path) -> Corrections:
    """Return what the run's settings ``experiment.correct`` do to frames."""
    if not path.is_file():
        return Corrections()
    try:
        value: Any = yaml.safe_load(path.read_text("utf-8"))
        return corrections_of((value.get("experiment") or {}).get("correct") or {})
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: expected the settings of a run, found something else ({error})") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected JSON of a run, found something else ({error})") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
