"""The site's pictures: made by running the built-in scan, never committed.

A page has ``<!-- picture: FILE | what it shows -->`` where a picture belongs; other readers of the page see
nothing there.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import my3dis
from my3dis.archive.instances import read_instances
from my3dis.datasets.synthetic import built_in_scan
from my3dis.protocols import SceneReader
from my3dis.reporting.colors import Color, family_colors
from my3dis.reporting.overlays import draw_masks
from my3dis.reporting.pictures import encode_jpeg, join_panels
from my3dis.reporting.rooms import draw_room
from my3dis.types import NO_ID, InstanceSet

_WIDTH = 972
_PANEL_WIDTH = 320
_STEP = 4
_SETTINGS = {"experiment.frames.step": _STEP, "stages.tracker.comparison_sampling.every": 5}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Run the built-in scan below build/ (a run that is there is taken over) and add what it gives."""
    folder = Path(config.config_file_path).parent / "build" / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    scan = built_in_scan(folder / "scan")
    run = my3dis.run_scan(scan, folder, my3dis.Config.model_validate(_nested(_SETTINGS))).run_dir
    reader = my3dis.open_scan(scan)
    made = {
        "pictures/levels.jpg": (run / "comparison" / "0020.jpg").read_bytes(),
        "pictures/tracks.jpg": _tracks(reader, run),
        **_instances(reader, read_instances(run / "instances.npz")),
        "pictures/report.html": (run / "report.html").read_bytes(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put pictures in their places.

    Raises:
        ValueError: if a page wants a picture that is not made.
    """
    del config

    def picture(wanted: re.Match[str]) -> str:
        name, words = f"pictures/{wanted[1]}", wanted[2]
        if files.get_file_from_path(name) is None:
            raise ValueError(f"{page.file.src_uri}: expected a picture that the build makes, found {name}")
        return f"![{words}]({name})"

    return re.sub(r"<!-- picture: (\S+) \| (.*?) -->", picture, markdown)


def _nested(dotted: dict[str, int]) -> dict[str, object]:
    nested: dict[str, object] = {}
    for key, value in dotted.items():
        *sections, last = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})  # type: ignore[assignment]
        place[last] = value
    return nested


def _tracks(reader: SceneReader, run: Path) -> bytes:
    """Draw the first level of six frames side by side, each track in its colour."""
    with my3dis.open_archive(run / "tracks.my3dis") as archive:
        tracks = archive.tracks()
        ids = tracks.track_id.tolist()
        colors = family_colors(ids, dict(zip(ids, tracks.parent_id.tolist(), strict=True)))
        images, titles = [], []
        for index in archive.frames()[3:9]:
            masks, frame = archive.frame(index, level=2), reader.frame(index)
            paint = {i: colors[t] for i, t in enumerate(masks.track_id.tolist()) if t != NO_ID}
            chosen = masks.select(list(paint))
            images.append(draw_masks(frame.color, chosen, dict(enumerate(paint.values())), _PANEL_WIDTH))
            titles.append(f"frame {index}")
    return encode_jpeg(join_panels(images, titles, _WIDTH))


def _instances(reader: SceneReader, instances: InstanceSet) -> dict[str, bytes]:
    """Render the scene and its instances at each level from above."""
    cloud = reader.cloud()
    if cloud is None:
        raise ValueError("expected the built-in scan to have a mesh, found none")
    ids = instances.instance_id.tolist()
    colors: dict[int, Color] = family_colors(ids, dict(zip(ids, instances.parent_id.tolist(), strict=True)))
    poses = [reader.frame(index).world_from_camera for index in range(0, len(reader), 2 * _STEP)]
    room = draw_room(cloud, instances, colors, np.stack([p for p in poses if p is not None]))
    names = ["scene", *(f"level-{level}" for level in np.unique(instances.level).tolist())]
    return {
        f"pictures/{name}.webp": level.pictures[0].data
        for name, level in zip(names, room.levels, strict=True)
    }
