"""The folder of an old run: what is in it, and which frame of the scan its frame numbers mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from my3dis.archive.legacy.containers import open_regular
from my3dis.archive.legacy.json_stream import JsonCursor
from my3dis.archive.legacy.masks import real_number, whole_number
from my3dis.errors import DataError

__all__ = ["LegacyLevel", "LegacyManifest", "LegacyRun", "open_legacy_run"]

_LEVEL = re.compile(r"level_(\d{1,4})")
_SLICE = re.compile(r"(\d{1,9})?:(-?\d{1,9})?:(\d{1,9})?")
_SCALED = re.compile(r"_scale(\d*\.?\d+)x")
_TEXTS = ("scene", "scene_dir", "data_path", "experiment_tag", "proposer", "propagator")
_NUMBERS = ("min_area", "fill_area", "stability_threshold", "ssam_freq", "sam2_max_propagate")


@dataclass(frozen=True, slots=True)
class LegacyLevel:
    """The files of one level; None for those that are not there.

    Attributes:
        level: granularity.
        candidates, filtered: JSON files.
        raw: folder of raw candidates.
        segments: tracked masks.
        other_segments: further files of tracked masks (at other scales), which are not read.
    """

    level: int
    candidates: Path | None
    filtered: Path | None
    raw: Path | None
    segments: Path | None
    other_segments: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyManifest:
    """What the run's ``manifest.json`` says, as far as it is needed.

    Attributes:
        selected_frames: names of colour files.
        selected_indices: their positions in the scan; empty in runs that do not record them.
        frames: the slice as text, such as ``1200:1600:20``, or None.
        texts: scene, scene_dir, data_path, experiment_tag, where recorded; proposer and propagator in
            runs that `my3dis export` wrote.
        numbers: min_area, fill_area, stability_threshold, ssam_freq, sam2_max_propagate, where recorded.
    """

    selected_frames: tuple[str, ...] = ()
    selected_indices: tuple[int, ...] = ()
    frames: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def positions(self) -> tuple[int, ...]:
        """Position in the scan of each selected frame; of unknown ones their number among the selected."""
        if self.selected_indices:
            return self.selected_indices
        found = _SLICE.fullmatch(self.frames or "")
        n = len(self.selected_frames)
        if found is None:
            return tuple(range(n))
        start, step = int(found[1] or 0), max(1, int(found[3] or 1))
        return tuple(start + step * k for k in range(n))


@dataclass(frozen=True, kw_only=True)
class LegacyRun:
    """An old run; `open_legacy_run` makes one.

    Attributes:
        root: its folder.
        manifest: what it says of itself.
        levels: coarse to fine.
    """

    root: Path
    manifest: LegacyManifest
    levels: tuple[LegacyLevel, ...]

    @property
    def scene(self) -> str:
        """Name of the scan: as recorded, found in a path that the run names, or of the folder above."""
        if "scene" in self.manifest.texts:
            return self.manifest.texts["scene"]
        for part in reversed(Path(self.manifest.texts.get("data_path", "")).parts):
            if part.startswith("scene"):
                return part
        return self.root.absolute().parent.name or "scan"

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return dict(zip(self.manifest.selected_frames, self.manifest.positions, strict=True))

    @cached_property
    def _in_scan(self) -> frozenset[int]:
        """Numbers that are positions in the scan, not among the selected frames."""
        positions = self.manifest.positions
        if self.manifest.selected_indices:
            return frozenset(positions)
        return frozenset(position for position in positions if position >= len(positions))

    def position_of(self, index: int, name: str | None) -> int:
        """Return which frame of the scan a recorded frame is.

        Newer runs record positions in the scan, the oldest ones positions among the selected frames. A
        frame's name, where recorded, decides; else a number among the selected positions is one of those.
        """
        if name is not None and name in self._by_name:
            return self._by_name[name]
        positions = self.manifest.positions
        if index in self._in_scan or index >= len(positions):
            return index
        return positions[index]


def open_legacy_run(root: Path) -> LegacyRun:
    """Look into the folder of an old run; no mask is read.

    Raises:
        DataError: if it is no such folder, or its manifest is damaged.
    """
    if not root.is_dir():
        raise DataError(f"expected the folder of an old run, found none at {root}; check the path")
    try:
        found = {int(m[1]): p for p in root.iterdir() if (m := _LEVEL.fullmatch(p.name)) and p.is_dir()}
        if not found:
            runs = sorted(p.name for p in root.iterdir() if p.is_dir() and any(p.glob("level_*")))
            hint = f"; did you mean {root / runs[0]}?" if runs else "; give the folder that holds them"
            raise DataError(f"expected folders level_2, level_4, ... in {root}, found none{hint}")
        levels = tuple(_level(number, found[number]) for number in sorted(found))
    except OSError as error:
        raise DataError(f"cannot read {root}: {error.strerror or error}") from error
    path = root / "manifest.json"
    manifest = _read_manifest(path) if path.exists() else LegacyManifest()
    return LegacyRun(root=root, manifest=manifest, levels=levels)


def _level(level: int, folder: Path) -> LegacyLevel:
    raw = folder / "raw"
    segments = sorted(
        {*folder.glob("video_segments*.npz"), *(folder / "tracking").glob("video_segments*.npz")},
        key=lambda path: (-_scale(path), len(path.name), str(path)),
    )
    return LegacyLevel(
        level=level,
        candidates=_existing(folder / "candidates" / "candidates.json"),
        filtered=_existing(folder / "filtered" / "filtered.json"),
        raw=raw if raw.is_dir() and any(raw.iterdir()) else None,
        segments=segments[0] if segments else None,
        other_segments=tuple(segments[1:]),
    )


def _scale(path: Path) -> float:
    """Return the scale that the name of a file of tracked masks tells; 1 when it tells none."""
    found = _SCALED.search(path.name)
    return float(found[1]) if found else 1.0


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _read_manifest(path: Path) -> LegacyManifest:
    owner = str(path)
    frames: str | None = None
    names: list[str] = []
    positions: list[int] = []
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    with open_regular(path) as handle:
        cursor = JsonCursor(handle, owner)
        for key in cursor.members():
            if key == "selected_frames":
                names = [str(name) for name in _list(cursor.value(), f"{owner}: {key}")]
            elif key == "selected_indices":
                values = _list(cursor.value(), f"{owner}: {key}")
                positions = [whole_number(value, f"{owner}: {key}") for value in values]
            elif key == "frames":
                frames = _text(cursor.value())
            elif key in _TEXTS:
                text = _text(cursor.value())
                texts |= {key: text} if text else {}
            elif key in _NUMBERS:
                number = cursor.value()
                numbers |= {} if number is None else {key: real_number(number, f"{owner}: {key}")}
            else:
                cursor.skip()
        cursor.finish()
    if positions and len(positions) != len(names):
        raise DataError(
            f"{owner}: expected as many selected_indices as selected_frames, found {len(positions)} and "
            f"{len(names)}"
        )
    return LegacyManifest(
        selected_frames=tuple(names),
        selected_indices=tuple(positions),
        frames=frames,
        texts=texts,
        numbers=numbers,
    )


def _text(value: object) -> str | None:
    return str(value)[:4096] if isinstance(value, str | int | float) else None


def _list(value: object, owner: str) -> list[object]:
    if not isinstance(value, list):
        raise DataError(f"{owner}: expected a list, found {type(value).__name__}")
    return value
