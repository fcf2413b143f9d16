"""Tracked masks in the layouts of the earlier system, for tools that still want its ``.npz`` files.

``OUT`` ending in ``.npz`` gives one file with the tracks of all levels. Any other ``OUT`` is an old run's
folder, which `my3dis import-legacy` and the earlier system's tools read::

    manifest.json                                  levels, frames, scene
    relations.json                                 the tree over objects (schema 3.0)
    level_<L>/candidates/candidates.json           boxes of candidates
    level_<L>/raw/chunk_0000.tar.gz, ...           candidates with pixels, 32 frames each
    level_<L>/filtered/filtered.json               kept masks, packed bits in base64
    level_<L>/tracking/video_segments.npz          tracked masks by frame
    level_<L>/tracking/object_segments.npz         frames of each object (layout=packed only)

An object's id is its track id plus 1, in every layout; frames are positions in the scan.

``layout=packed`` (default), the last one: a zip with ``frames/frame_000012.json`` =
``{"frame_index", "frame_name", "objects": {"7": {"shape": [H, W], "packed_bits_b64"}}}`` per frame, the bits
row by row as `numpy.packbits` writes them, and ``manifest.json``.
``layout=dense``: plain arrays, ``frame_000012/object_id`` (K,) int32 and ``frame_000012/masks`` (K, H, W)
bool.
``layout=pickled``, the first one: ``data`` = ``{"12": {"7": (H, W) bool array}}``.

NumPy reads the first two with ``allow_pickle=False``. Everything is written a mask at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from my3dis.archive import ArchiveReader, open_archive
from my3dis.exporters.legacy_json import write_candidates, write_filtered, write_relations
from my3dis.exporters.legacy_raw import write_raw
from my3dis.exporters.legacy_segments import (
    frame_file,
    write_dense,
    write_objects,
    write_packed,
    write_pickled,
)
from my3dis.exporters.run_folder import manifest_of, track_tree, tracks_of
from my3dis.exporters.writing import written
from my3dis.protocols import Exporter, ExporterPlugin, ExportOption

__all__ = ["PLUGIN", "export"]

_VIDEO, _OBJECTS = "video_segments.npz", "object_segments.npz"
_WRITERS = {"packed": write_packed, "dense": write_dense, "pickled": write_pickled}
_MASKS = (
    ("candidates.my3dis", "candidates/candidates.json", write_candidates),
    ("masks.my3dis", "filtered/filtered.json", write_filtered),
)


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes one layout."""

    layout: str

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's tracks; see the module for what ``out`` means.

        Raises:
            DataError: if the run has no tracks, or its records are damaged.
            ArchiveError: if an archive is damaged.
            ResourceError: if a file cannot be written.
        """
        tracks = tracks_of(run_dir)
        write = _WRITERS[self.layout]
        with open_archive(tracks) as reader:
            if out.suffix.lower() == ".npz":
                return (written(out, partial(write, reader=reader, level=None)),)
            return tuple(self._folder(run_dir, out, reader))

    def _folder(self, run_dir: Path, out: Path, tracks: ArchiveReader) -> Iterator[Path]:
        frames, levels = set(tracks.frames()), set(tracks.levels())
        write = _WRITERS[self.layout]
        for level in tracks.levels():
            folder = out / f"level_{level}" / "tracking"
            yield written(folder / _VIDEO, partial(write, reader=tracks, level=level))
            if self.layout == "packed":
                listing = partial(write_objects, reader=tracks, level=level, video=_VIDEO)
                yield written(folder / _OBJECTS, listing)
        for name, place, write_masks in _MASKS:
            if not (run_dir / name).is_file():
                continue
            with open_archive(run_dir / name) as reader:
                frames |= set(reader.frames())
                levels |= set(reader.levels())
                for level in reader.levels():
                    path = out / f"level_{level}" / place
                    yield written(path, partial(write_masks, reader=reader, level=level))
                    if write_masks is write_candidates:
                        yield from write_raw(out / f"level_{level}" / "raw", reader, level, written)
        level_of, parent_of = track_tree(run_dir, tracks)
        tree = partial(write_relations, level_of=level_of, parent_of=parent_of)
        yield written(out / "relations.json", tree)
        manifest = json.dumps(_manifest(run_dir, sorted(frames), sorted(levels)), indent=2)
        yield written(out / "manifest.json", partial(_write_text, text=manifest))


def export(run_dir: Path, out: Path) -> tuple[Path, ...]:
    """Write a run's tracks in the packed layout; see the module for what ``out`` means.

    Raises:
        DataError: if the run has no tracks.
        ArchiveError: if an archive is damaged.
        ResourceError: if a file cannot be written.
    """
    return _Export("packed")(run_dir, out)


def _with_options(chosen: Mapping[str, str]) -> Exporter:
    return _Export(chosen.get("layout", "packed"))


def _manifest(run_dir: Path, frames: list[int], levels: list[int]) -> dict[str, object]:
    run = manifest_of(run_dir)
    known = {
        "scene": run.get("scene"),
        "data_path": run.get("scan"),
        "frames": run.get("frame_slice"),
        "proposer": _plugin(run, "proposer"),
        "propagator": _plugin(run, "tracker"),
    }
    return {
        "mode": "exported",
        "levels": levels,
        **{key: value for key, value in known.items() if isinstance(value, str) and value},
        "selected_frames": [frame_file(frame) for frame in frames],
        "selected_indices": frames,
        "mask_scale_ratio": 1.0,
        "generator": "my3dis export",
    }


def _plugin(run: dict[str, Any], role: str) -> str | None:
    """Return the name of the plug-in that a run's manifest gives with its version, or None."""
    plugins = run.get("plugins")
    text = plugins.get(role) if isinstance(plugins, dict) else None
    return text.split()[0].rstrip(":") if isinstance(text, str) and text.strip() else None


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


PLUGIN = ExporterPlugin(
    summary="tracked masks in the earlier system's files, one .npz or a run folder",
    export=export,
    options=(
        ExportOption(
            name="layout",
            values=tuple(_WRITERS),
            summary="per-frame JSON, plain arrays, or the first layout (a pickled dictionary)",
        ),
    ),
    with_options=_with_options,
)
