"""Masks as COCO instance annotations, for pycocotools, FiftyOne, CVAT, Detectron2 and the like.

``OUT`` ending in ``.json`` gives one file with the masks of the last stage that wrote some (tracks, else kept
masks, else candidates); any other ``OUT`` is a folder with one file per archive of the run.

``form=dataset`` (default): ``info``, ``images`` (``id`` = frame index), ``categories`` (one per level,
``level_<L>``, numbered from 1) and ``annotations`` with masks as compressed run lengths, ``area``, ``bbox`` =
[x, y, width, height], ``iscrowd`` 0, and beyond COCO ``score stability source level mask_id track_id
parent_track_id`` and ``parent_id`` = the annotation of the parent in the same image. What is unknown is null.
``form=results``: the list that ``COCO.loadRes`` reads. A score that is no number is 0 there.

Everything is written a frame at a time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from my3dis.archive import ArchiveReader, open_archive
from my3dis.exporters.run_folder import (
    LEVEL_OPTION,
    chosen_levels,
    image_names,
    mask_archives,
    scene_of,
    track_tree,
)
from my3dis.exporters.writing import new_file, write_json_array
from my3dis.protocols import ExporterPlugin, ExportOption
from my3dis.types import NO_ID, MaskSet, MaskSource

__all__ = ["FORM_OPTION", "PLUGIN", "categories_of", "finite"]

FORM_OPTION = ExportOption(
    name="form", values=("dataset", "results"), summary="a data set, or a detector's list of results"
)


def categories_of(levels: Sequence[int]) -> dict[int, int]:
    """Return the category of each level, numbered from 1, since many tools take 0 for the background."""
    return {level: number for number, level in enumerate(levels, start=1)}


def finite(value: float) -> float | None:
    """Return a number, or None in the place of what JSON cannot say."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes one form of some levels."""

    level: str = "all"
    form: str = "dataset"

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's masks; see the module for what ``out`` means.

        Raises:
            DataError: if the run has no archive, or its records are damaged.
            ArchiveError: if an archive is damaged.
            ConfigError: if no archive has the level.
            ResourceError: if a file cannot be written.
        """
        archives = mask_archives(run_dir)
        if out.suffix.lower() == ".json":
            return (self._file(run_dir, next(iter(archives.values())), out),)
        return tuple(self._file(run_dir, path, out / f"{name}.json") for name, path in archives.items())

    def _file(self, run_dir: Path, archive: Path, out: Path) -> Path:
        with open_archive(archive) as reader:
            levels = chosen_levels(reader.levels(), self.level)
            source = _Source(reader, levels, track_tree(run_dir, reader)[1])
            with new_file(out) as unfinished, unfinished.open("w", encoding="utf-8") as file:
                if self.form == "results":
                    write_json_array(file, (_result(row) for row in source.annotations()))
                    return out
                info = {"description": f"My3DIS: {scene_of(run_dir)}, {reader.purpose or archive.stem}"}
                file.write(f'{{"info":{json.dumps(info)},\n"licenses":[],\n"images":')
                write_json_array(file, source.images(image_names(run_dir)))
                file.write(',\n"categories":')
                write_json_array(file, source.categories())
                file.write(',\n"annotations":')
                write_json_array(file, source.annotations())
                file.write("}\n")
        return out


@dataclass(frozen=True, slots=True)
class _Source:
    """Turns an archive into COCO's records, a frame at a time."""

    reader: ArchiveReader
    levels: tuple[int, ...]
    parent_of_track: Mapping[int, int]

    def images(self, name_of: Callable[[int], str]) -> Iterator[dict[str, object]]:
        """Yield every frame, those without masks included."""
        for frame in self.reader.frames():
            height, width = self.reader.image_size(frame)
            yield {"id": frame, "file_name": name_of(frame), "width": width, "height": height}

    def categories(self) -> Iterator[dict[str, object]]:
        """Yield the levels."""
        for level, number in categories_of(self.reader.levels()).items():
            yield {"id": number, "name": f"level_{level}", "supercategory": "object", "level": level}

    def annotations(self) -> Iterator[dict[str, object]]:
        """Yield every mask of the levels, in the order of the archive."""
        category_of = categories_of(self.reader.levels())
        number = 1
        for masks in self.reader.iter_frames():
            chosen = [k for k, level in enumerate(masks.level.tolist()) if level in self.levels]
            numbers = {int(masks.mask_id[k]): number + n for n, k in enumerate(chosen)}
            for k in chosen:
                yield {
                    "id": number,
                    "image_id": masks.frame,
                    "category_id": category_of[int(masks.level[k])],
                    **_mask(masks, k),
                    "parent_id": numbers.get(int(masks.parent_id[k])),
                    "parent_track_id": self.parent_of_track.get(int(masks.track_id[k])),
                }
                number += 1


def _mask(masks: MaskSet, k: int) -> dict[str, object]:
    x0, y0, x1, y1 = masks.boxes[k].tolist()
    track = int(masks.track_id[k])
    return {
        "segmentation": {"size": list(masks.image_size), "counts": masks.rle[k].decode("ascii")},
        "area": int(masks.area_px[k]),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "score": finite(float(masks.score[k])),
        "stability": finite(float(masks.stability[k])),
        "source": MaskSource(int(masks.source[k])).name.lower(),
        "level": int(masks.level[k]),
        "mask_id": int(masks.mask_id[k]),
        "track_id": None if track == NO_ID else track,
    }


def _result(annotation: Mapping[str, object]) -> dict[str, object]:
    result = {name: annotation[name] for name in ("image_id", "category_id", "segmentation", "bbox")}
    return {**result, "score": annotation["score"] or 0.0, "track_id": annotation["track_id"]}


PLUGIN = ExporterPlugin(
    summary="masks as COCO instance annotations, with levels, tracks and parents",
    export=_Export(),
    options=(LEVEL_OPTION, FORM_OPTION),
    with_options=lambda chosen: _Export(**chosen),
)
