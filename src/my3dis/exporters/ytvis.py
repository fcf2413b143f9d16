"""Tracks as YouTube-VIS annotations: one video, one annotation per track, a mask or null for every frame.

``OUT`` is one JSON file. ``form=dataset`` (default): ``info``, ``licenses``, ``videos`` (one: ``id width
height length file_names``, and ``frame_indices`` in the scan), ``categories`` (one per level, ``level_<L>``,
numbered from 1) and ``annotations`` with ``id video_id category_id segmentations bboxes areas iscrowd width
height length``, and beyond YouTube-VIS ``score`` (mean over its frames), ``level``, ``track_id`` and
``parent_id`` (the annotation of the parent, or null). ``form=results``: the list that a submission is,
``video_id category_id segmentations score``.

Masks are compressed run lengths; frames on which an object is not seen are null. Should a track have several
masks on a frame, their union is written. Everything is written a mask at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from my3dis.archive import ArchiveReader, open_archive
from my3dis.errors import DataError
from my3dis.exporters.coco import FORM_OPTION, categories_of, finite
from my3dis.exporters.run_folder import (
    LEVEL_OPTION,
    chosen_levels,
    image_names,
    scene_of,
    track_tree,
    tracks_of,
)
from my3dis.exporters.writing import new_file, write_json_array
from my3dis.masks.codec import measure, to_bytes, to_rle_mask
from my3dis.protocols import ExporterPlugin
from my3dis.types import NO_ID, TrackSet

__all__ = ["PLUGIN"]

_VIDEO = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Video:
    """The one video.

    Attributes:
        frames: indices of its frames, ascending.
        image_size: (H, W) of all of them.
        levels: all that the archive has.
        tracks: those that are exported.
        parent_of: parents of tracks.
    """

    frames: tuple[int, ...]
    image_size: tuple[int, int]
    levels: tuple[int, ...]
    tracks: TrackSet
    parent_of: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes one form of some levels."""

    level: str = "all"
    form: str = "dataset"

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's tracks as one file.

        Raises:
            DataError: if the run has no tracks, its records are damaged, or its frames have several sizes.
            ArchiveError: if the archive is damaged.
            ConfigError: if the run has no such level.
            ResourceError: if the file cannot be written.
        """
        with open_archive(tracks_of(run_dir)) as reader:
            levels = tuple(reader.levels())
            chosen = chosen_levels(levels, self.level)
            video = _Video(
                frames=tuple(reader.frames()),
                image_size=_one_size(reader),
                levels=levels,
                tracks=reader.tracks().at_levels(chosen),
                parent_of=track_tree(run_dir, reader)[1],
            )
            with new_file(out) as unfinished, unfinished.open("w", encoding="utf-8") as file:
                if self.form == "dataset":
                    _write_head(file, video, run_dir)
                _write_tracks(file, video, reader, results=self.form == "results")
                file.write("}\n" if self.form == "dataset" else "\n")
        return (out,)


def _one_size(reader: ArchiveReader) -> tuple[int, int]:
    sizes = {reader.image_size(frame) for frame in reader.frames()}
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes)) or "no frames"
        raise DataError(
            f"{reader.path}: expected frames of one size, as a video has, found {found}; "
            "export to coco or parquet instead"
        )
    return sizes.pop()


def _write_head(file: TextIO, video: _Video, run_dir: Path) -> None:
    """Write all that comes before the list of annotations."""
    height, width = video.image_size
    name_of = image_names(run_dir)
    info = json.dumps({"description": f"My3DIS: {scene_of(run_dir)}"})
    entry = {"id": _VIDEO, "width": width, "height": height, "length": len(video.frames)}
    names = [name_of(frame) for frame in video.frames]
    file.write(f'{{"info":{info},\n"licenses":[],\n"videos":')
    write_json_array(file, [{**entry, "file_names": names, "frame_indices": video.frames}])
    file.write(',\n"categories":')
    categories = categories_of(video.levels).items()
    write_json_array(file, ({"id": n, "name": f"level_{level}", "level": level} for level, n in categories))
    file.write(',\n"annotations":')


def _write_tracks(file: TextIO, video: _Video, reader: ArchiveReader, *, results: bool) -> None:
    tracks = video.tracks
    starts = np.searchsorted(tracks.obs_track, tracks.track_id)
    stops = np.searchsorted(tracks.obs_track, tracks.track_id, side="right")
    annotation_of = {track: n for n, track in enumerate(tracks.track_id.tolist(), start=1)}
    category_of = categories_of(video.levels)
    height, width = video.image_size
    file.write("[")
    for k, (track, number) in enumerate(annotation_of.items()):
        level = int(tracks.level[k])
        score = finite(float(tracks.obs_score[starts[k] : stops[k]].mean(dtype=np.float64)))
        head: dict[str, object] = {"video_id": _VIDEO, "category_id": category_of[level]}
        if results:
            head |= {"score": score or 0.0, "track_id": track}
        else:
            parent = annotation_of.get(video.parent_of.get(track, NO_ID))
            head |= {"id": number, "iscrowd": 0, "width": width, "height": height}
            head |= {"length": len(video.frames), "level": level, "score": score}
            head |= {"track_id": track, "parent_id": parent}
        file.write((",\n" if k else "\n") + json.dumps(head)[:-1] + ', "segmentations": [')
        boxes, areas = [], []
        for n, code in enumerate(_masks_of(reader, track, video)):
            box, area, value = _described(code, video.image_size)
            boxes.append(box)
            areas.append(area)
            file.write((", " if n else "") + json.dumps(value))
        file.write("]")
        if not results:
            file.write(f', "bboxes": {json.dumps(boxes)}, "areas": {json.dumps(areas)}')
        file.write("}")
    file.write("\n]")


def _masks_of(reader: ArchiveReader, track: int, video: _Video) -> Iterator[bytes | None]:
    """Yield the code of a track's mask on every frame of the video, None where it has none."""
    rows = reader.track(track)
    row = next(rows, None)
    for frame in video.frames:
        code = None
        while row is not None and row.frame == frame:
            code = row.rle[0] if code is None else _union(code, row.rle[0], video.image_size)
            row = next(rows, None)
        yield code


def _union(first: bytes, second: bytes, image_size: tuple[int, int]) -> bytes:
    return to_bytes(to_rle_mask(first, image_size) | to_rle_mask(second, image_size))


def _described(
    code: bytes | None, image_size: tuple[int, int]
) -> tuple[list[int] | None, int | None, dict[str, object] | None]:
    if code is None:
        return None, None, None
    boxes, areas = measure([code], image_size)
    x0, y0, x1, y1 = boxes[0].tolist()
    value: dict[str, object] = {"size": list(image_size), "counts": code.decode("ascii")}
    return [x0, y0, x1 - x0, y1 - y0], int(areas[0]), value


PLUGIN = ExporterPlugin(
    summary="tracks as YouTube-VIS annotations, a mask or null for every frame",
    export=_Export(),
    options=(LEVEL_OPTION, FORM_OPTION),
    with_options=lambda chosen: _Export(**chosen),
)
