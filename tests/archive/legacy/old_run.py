"""A whole old run's folder, written by hand, and what an import of it must contain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.archive.legacy import old_style

SIZE = (31, 45)
POSITIONS = (4, 24, 44)
Masks = list[tuple[int, np.ndarray]]


@dataclass(frozen=True, slots=True)
class OldRun:
    """Frame → (level, mask) of candidates and of kept masks; level → frame → object → mask of tracks."""

    root: Path
    candidates: dict[int, Masks]
    kept: dict[int, Masks]
    tracks: dict[int, dict[int, dict[int, np.ndarray]]]


def write_old_run(root: Path, *, with_raw: bool = True, seed: int = 0) -> OldRun:
    """Levels 2 and 4 on three frames: raw masks, kept masks, tracks in two layouts, and a tree."""
    rng = np.random.default_rng(seed)
    candidates: dict[int, Masks] = {p: [] for p in POSITIONS}
    kept: dict[int, Masks] = {p: [] for p in POSITIONS}
    for level in (2, 4):
        raw, filtered, listed = {}, {}, []
        for position in POSITIONS:
            masks = [old_style.blob(rng, SIZE) for _ in range(3)]
            metas = []
            for k, mask in enumerate(masks):
                meta = old_style.item(mask, position, level, f"{position:05d}.png")
                # Ids as newer runs have them: unique over the levels of a frame.
                metas.append(
                    meta | {"unique_id": 10 * level + k, "parent_unique_id": 20 + k if level == 4 else None}
                )
            raw[position] = list(zip(metas, masks, strict=True))
            filtered[position] = raw[position][:2]  # the filter dropped the last
            listed += metas
            candidates[position] += [(level, mask) for mask in masks]
            kept[position] += [(level, mask) for mask in masks[:2]]
        folder = root / f"level_{level}"
        old_style.write_candidates(folder / "candidates" / "candidates.json", listed)
        old_style.write_filtered(folder / "filtered" / "filtered.json", filtered)
        if with_raw:
            old_style.write_raw_chunks(folder / "raw", raw)
    tracks = {level: old_style.some_tracks(seed + level, POSITIONS, SIZE) for level in (2, 4)}
    old_style.write_json_zip(root / "level_2" / "tracking" / "video_segments.npz", tracks[2])
    old_style.write_pickled_dense(root / "level_4" / "tracking" / "video_segments.npz", tracks[4])
    nodes = {
        level: {str(o): {"parent": None, "children": []} for of in frames.values() for o in of}
        for level, frames in tracks.items()
    }
    nodes[4]["2"]["parent"] = 1  # object 2 of level 4 is part of object 1 of level 2
    relations = {"schema_version": "3.0", "hierarchy": nodes, "paths": {}}
    (root / "relations.json").write_text(json.dumps(relations))
    write_manifest(root)
    return OldRun(root, candidates if with_raw else kept, kept, tracks)


def write_manifest(root: Path, **changes: object) -> None:
    """A manifest as newer runs have it; None takes a key out."""
    manifest = {
        "mode": "candidates_only",
        "levels": [2, 4],
        "frames": "4:60:20",
        "min_area": 300,
        "stability_threshold": 0.5,
        "data_path": "/nowhere/scene_00001_00/outputs/color",
        "selected_frames": [f"{p:05d}.png" for p in POSITIONS],
        "selected_indices": list(POSITIONS),
        "ssam_freq": 1,
        "sam2_max_propagate": None,
        "subset_map": {str(p): f"{k:06d}.jpg" for k, p in enumerate(POSITIONS)},
        **changes,
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))
