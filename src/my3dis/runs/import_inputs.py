"""What an import reads and where it goes: the scan, the numbering of frames, settings and the new folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import gcd
from pathlib import Path

from my3dis.archive.legacy import LegacyFrame, LegacyRun, iter_filtered, iter_raw, iter_segments
from my3dis.archive.legacy.limits import MAX_FRAMES
from my3dis.config import Config
from my3dis.config.load import load_config
from my3dis.errors import ConfigError, DataError, My3DISError
from my3dis.plugins import open_scan
from my3dis.protocols import SceneReader
from my3dis.runs.absent_scan import AbsentScan
from my3dis.runs.import_frames import FrameNumbers, ImportSource
from my3dis.runs.layout import RunLayout
from my3dis.runs.plan import RunInputs, with_absolute_paths

__all__ = ["ImportOptions", "import_inputs"]

_LOG = logging.getLogger(__name__)
_NAME = re.compile(r"[\w-][\w.-]{0,200}")
_PROPOSER, _PROPAGATOR = "semantic_sam", "sam2_video"
"""What made the masks and tracks of every run of the earlier system."""

_SUBSET = "selected_frames"
"""Folder of links to (or copies of) the selected frames in an old run."""

_IMAGES = "images"
"""The reader of plain folders of images, which takes a folder's name for that of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How to import.

    Attributes:
        name: of the new run; None takes the old folder's name.
        scan: folder of the scan; None looks where the old run says that it was.
        resize: bring all masks to the size of the scan's images.
    """

    name: str | None = None
    scan: Path | None = None
    resize: bool = False


def import_inputs(run: LegacyRun, output: Path, options: ImportOptions) -> tuple[RunInputs, ImportSource]:
    """Return where an import goes and what it reads; nothing is written.

    Raises:
        ConfigError: if an option does not fit.
        DataError: if the old run has no masks, or the scan is another one.
    """
    reader = _open(run, options)
    size, found = _first_look(run)
    if reader is None:
        if options.resize:
            raise ConfigError("--resize: expected the scan's images, found none; give their folder as --scan")
        count = max((*run.manifest.positions, *found), default=0) + 1
        place = Path(run.manifest.texts.get("data_path", ""))
        reader = AbsentScan(
            run.scene, place if place.is_absolute() else run.root.absolute() / _SUBSET, count, size
        )
    number_of = _numbering(run, reader)
    selected = [number_of(k, name) for k, name in enumerate(run.manifest.selected_frames)]
    frames = tuple(sorted(set(selected or found)))
    is_unnamed = options.scan is None and reader.overview.dataset == _IMAGES
    scene = run.scene if is_unnamed else reader.overview.scene
    name = options.name or run.root.absolute().name
    if not _NAME.fullmatch(name):
        raise ConfigError(f"expected a name of letters, digits, . _ and -, found {name[:80]!r}; give --name")
    if not _NAME.fullmatch(scene):
        raise DataError(
            f"{run.root}: expected the plain name of a scene, found {scene[:80]!r}; correct its manifest.json"
        )
    config = with_absolute_paths(_config(run, frames, output, name))
    layout = RunLayout(config.experiment.output_root / scene / name)
    inputs = RunInputs(reader=reader, frames=frames, config=config, layout=layout)
    return inputs, ImportSource(run, number_of, reader.overview.image_size if options.resize else None)


def _numbering(run: LegacyRun, reader: SceneReader) -> FrameNumbers:
    """Return how recorded frames are numbered in the scan.

    Raises:
        DataError: if the scan lacks frames that the old run names.
    """
    positions = run.manifest.positions
    outside = [position for position in positions if position >= len(reader)]
    if not outside:
        return run.position_of
    if len(reader) != len(positions):
        raise DataError(
            f"{reader.overview.root}: expected a scan with frame {outside[0]} that the old run names, or the "
            f"{len(positions)} selected frames alone, found {len(reader)} frames; give another folder with "
            "--scan"
        )
    # A folder with the selected frames only: the k-th is frame k.
    number = {position: k for k, position in enumerate(positions)}

    def number_of(index: int, name: str | None) -> int:
        position = run.position_of(index, name)
        if position not in number:
            raise DataError(
                f"{run.root}: expected only the frames of its manifest.json, found frame {position}"
            )
        return number[position]

    return number_of


def _open(run: LegacyRun, options: ImportOptions) -> SceneReader | None:
    if options.scan is not None:
        return open_scan(options.scan)
    images = Path(run.manifest.texts.get("data_path", ""))
    for path in (Path(run.manifest.texts.get("scene_dir", "")), images, run.root.absolute() / _SUBSET):
        reader = _opened(path)
        if reader is not None:
            return (_around(images, len(reader)) or reader) if path == images else reader
    return None


def _opened(path: Path) -> SceneReader | None:
    if not path.is_absolute() or not path.is_dir():
        return None
    try:
        return open_scan(path)
    except My3DISError as error:
        _LOG.info("the old run's scan cannot be used: %s", error)
        return None


def _around(images: Path, count: int) -> SceneReader | None:
    """Return the scan whose colour images lie in a folder: it knows its name, depth and poses.

    One with another number of frames numbers them in another way.
    """
    if images.name != "color":
        return None
    for path in (images.parent, images.parent.parent):
        reader = _opened(path)
        if reader is not None and reader.overview.dataset != _IMAGES and len(reader) == count:
            return reader
    return None


def _first_look(run: LegacyRun) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the size of the first mask and, for a run without a list of frames, all frame numbers.

    Raises:
        DataError: if there is no mask.
    """
    size: tuple[int, int] | None = None
    numbers: set[int] = set()
    needs_numbers = not run.manifest.selected_frames
    for frames in _readers(run):
        for frame in frames:
            numbers.add(run.position_of(frame.index, frame.name))
            if len(numbers) > MAX_FRAMES:
                raise DataError(f"{run.root}: expected at most {MAX_FRAMES} frames, found more")
            masks = (item.mask for item in frame.items if item.mask is not None)
            first = next(masks, None)
            size = size or (first.image_size if first else None)
            if size and not needs_numbers:
                return size, ()
    if size is None:
        raise DataError(
            f"{run.root}: expected masks with pixels (raw/, filtered/ or video_segments*.npz), found none: "
            "there is nothing to import"
        )
    return size, tuple(sorted(numbers))


def _readers(run: LegacyRun) -> Iterator[Iterator[LegacyFrame]]:
    for level in run.levels:
        if level.segments is not None:
            yield iter_segments(level.segments)
        if level.filtered is not None:
            yield iter_filtered(level.filtered)
        elif level.raw is not None:
            yield iter_raw(level.raw)


def _config(run: LegacyRun, numbers: Sequence[int], output: Path, name: str) -> Config:
    """Return settings that say what the old run was made with, as far as it tells."""
    recorded, texts = run.manifest.numbers, run.manifest.texts
    values: dict[str, object] = {
        "stages.ssam.proposer": texts.get("proposer", _PROPOSER),
        "stages.tracker.propagator": texts.get("propagator", _PROPAGATOR),
    }
    for key, old in (
        ("stages.ssam.min_area", "min_area"),
        ("stages.ssam.fill_area", "fill_area"),
        ("stages.ssam.ssam_freq", "ssam_freq"),
        ("stages.tracker.max_propagate", "sam2_max_propagate"),
    ):
        if recorded.get(old, 0) >= 1:
            values[key] = int(recorded[old])
    if 0 <= recorded.get("stability_threshold", -1) <= 1:
        values["stages.ssam.stability_threshold"] = recorded["stability_threshold"]
    step = reduce(gcd, (b - a for a, b in pairwise(numbers)), 0) or 1
    frames = f"{numbers[0]}:{numbers[-1] + 1}:{step}" if numbers else "::"
    experiment = {
        "experiment.name": name,
        "experiment.levels": [level.level for level in run.levels],
        "experiment.frames": frames,
        "experiment.output_root": str(output.absolute()),
        "experiment.tag": texts.get("experiment_tag"),
        "experiment.check": "off",
    }
    return load_config(values={**experiment, **values}, environment=False)
