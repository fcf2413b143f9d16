"""Write the JSON files of the earlier system's run folders, a mask at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from my3dis.archive import ArchiveReader
from my3dis.exporters.legacy_segments import candidate_item, frame_file, packed_record

__all__ = ["write_candidates", "write_filtered", "write_relations"]


def write_candidates(path: Path, reader: ArchiveReader, level: int) -> None:
    """Write ``candidates.json``: the candidates of a level, with boxes and without pixels."""
    with path.open("w", encoding="utf-8") as out:
        out.write('{"items": [')
        separator = ""
        for masks in reader.iter_frames(level):
            for position in range(len(masks)):
                out.write(separator + json.dumps(candidate_item(masks, position)))
                separator = ",\n"
        out.write("]}\n")


def write_filtered(path: Path, reader: ArchiveReader, level: int) -> None:
    """Write ``filtered.json``: the kept masks of a level, with their pixels as packed bits in base64."""
    with path.open("w", encoding="utf-8") as out:
        out.write('{"frames": [')
        for n, masks in enumerate(reader.iter_frames(level)):
            name = frame_file(masks.frame)
            head = {"frame_idx": masks.frame, "frame_name": name, "count": len(masks)}
            out.write(f'{"," if n else ""}\n{json.dumps(head)[:-1]}, "items": [')
            for position in range(len(masks)):
                record = packed_record(masks.rle[position], masks.image_size)
                item = {**candidate_item(masks, position), "id": position, "mask": record}
                out.write(f"{',' if position else ''}\n{json.dumps(item)}")
            out.write("]}")
        out.write("]}\n")


def write_relations(path: Path, level_of: Mapping[int, int], parent_of: Mapping[int, int]) -> None:
    """Write ``relations.json`` (schema 3.0): the tree over objects, whose ids are track ids plus 1."""
    children: dict[int, list[int]] = {}
    for track, parent in parent_of.items():
        children.setdefault(parent, []).append(track + 1)
    hierarchy: dict[str, dict[str, object]] = {}
    for track, level in sorted(level_of.items()):
        own_parent = parent_of.get(track)
        hierarchy.setdefault(str(level), {})[str(track + 1)] = {
            "parent": None if own_parent is None else own_parent + 1,
            "children": sorted(children.get(track, [])),
        }
    paths = {str(track + 1): _path(track, parent_of) for track in sorted(level_of)}
    value = {
        "schema_version": "3.0",
        "meta": {"levels": sorted(set(level_of.values())), "generator": "my3dis export"},
        "hierarchy": hierarchy,
        "paths": paths,
        "statistics": {
            "total_objects": len(level_of),
            "roots": len(level_of) - len(parent_of),
            "families": len(children),
            "max_depth": max((len(path) for path in paths.values()), default=0),
        },
    }
    path.write_text(json.dumps(value), encoding="utf-8")


def _path(track: int, parent_of: Mapping[int, int]) -> list[int]:
    path = [track + 1]
    while (parent := parent_of.get(track)) is not None and len(path) <= len(parent_of):
        path.insert(0, parent + 1)
        track = parent
    return path
