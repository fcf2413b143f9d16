"""A small scan in memory and a run folder made by hand, for tests of the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from my3dis.archive import StreamingSegmentWriter
from my3dis.config import Config
from my3dis.masks import codec
from my3dis.monitoring.timings import StageTiming, write_timings
from my3dis.reporting.model import (
    Comparison,
    ComparisonRow,
    Drops,
    InstanceTable,
    Panel,
    Report,
    RoomSection,
    ScoreTable,
    StageTable,
    Timeline,
)
from my3dis.runs.events import EventLog
from my3dis.runs.files import atomic_write_json
from my3dis.runs.instances import save_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, write_manifest
from my3dis.runs.relations import Relations, save_relations
from my3dis.tracking.relations import TrackParent
from my3dis.types import Frame, InstanceSet, MaskSet, ScanOverview, SceneCloud

HEIGHT, WIDTH = 48, 64
FRAMES = 12


def mask_set(
    frame: int, rows: list[tuple[int, int, tuple[int, int, int, int]]], *, tracked: bool = True
) -> MaskSet:
    """Return rectangular masks given as (id, level, half-open xyxy box); the id is the track's too."""
    boxes = np.array([row[2] for row in rows], np.int32).reshape(-1, 4)
    n = len(rows)
    ids = np.array([row[0] for row in rows], np.int32)
    rle = []
    for x0, y0, x1, y1 in boxes.tolist():
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y0:y1, x0:x1] = True
        rle.append(codec.encode(mask))
    return MaskSet(
        frame=frame,
        image_size=(HEIGHT, WIDTH),
        mask_id=ids,
        level=np.array([row[1] for row in rows], np.int16),
        parent_id=np.full(n, -1, np.int32),
        boxes=boxes,
        area_px=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.int64),
        score=np.ones(n, np.float32),
        stability=np.ones(n, np.float32),
        source=np.zeros(n, np.int8),
        rle=tuple(rle),
        track_id=ids if tracked else np.full(n, -1, np.int32),
    )


def floor_and_box() -> SceneCloud:
    """Return a floor of 2 m x 1 m below a small red square half a metre up, normals upwards."""
    x, y = np.meshgrid(np.arange(0, 2, 0.05), np.arange(0, 1, 0.05))
    floor = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    x, y = np.meshgrid(np.arange(0.8, 1.2, 0.05), np.arange(0.3, 0.7, 0.05))
    top = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.5)], axis=1)
    xyz = np.concatenate([floor, top]).astype(np.float32)
    color = np.full((len(xyz), 3), 160, np.uint8)
    color[len(floor) :] = (220, 30, 30)
    normal = np.tile(np.array([0, 0, 1], np.float32), (len(xyz), 1))
    return SceneCloud(xyz_m=xyz, digest="points", color=color, normal=normal)


class FakeReader:
    """Twelve grey frames with a brightness of their own, and optionally points."""

    def __init__(self, scene: str = "room", *, cloud: SceneCloud | None = None) -> None:
        self._cloud = cloud
        self.opened: list[int] = []
        self.overview = ScanOverview(
            scene=scene,
            dataset="fake",
            root=Path("somewhere") / scene,
            frame_count=FRAMES,
            image_size=(HEIGHT, WIDTH),
            has_pose=True,
            has_cloud=cloud is not None,
            found=("12 colour frames",),
        )

    def __len__(self) -> int:
        return FRAMES

    def frame(self, index: int) -> Frame:
        self.opened.append(index)
        pose = np.eye(4)
        pose[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # looks along y, up is z
        pose[:3, 3] = (1.0, -1.0, 1.0)
        color = np.full((HEIGHT, WIDTH, 3), 90 + 10 * index, np.uint8)
        return Frame(index=index, name=f"{index:04d}", color=color, world_from_camera=pose)

    def cloud(self) -> SceneCloud | None:
        return self._cloud

    def fingerprint(self) -> str:
        return "fake"


def write_run(layout: RunLayout, config: Config, cloud: SceneCloud) -> None:
    """Write the files of a finished run: two objects with a part, one of them out of sight for a while."""
    layout.root.mkdir(parents=True)
    with (
        StreamingSegmentWriter(layout.tracks) as tracks,
        StreamingSegmentWriter(layout.masks) as masks,
    ):
        for frame in range(FRAMES):
            rows = [(1, 2, (4 + frame, 8, 24 + frame, 30)), (7, 4, (6 + frame, 10, 12 + frame, 20))]
            if frame < 3 or frame >= 8:
                rows.append((2, 2, (44, 30, 60, 44)))
            tracks.append_frame(frame, mask_set(frame, rows))
            masks.append_frame(frame, mask_set(frame, rows, tracked=False))
            masks.record_dropped(frame, [90], [4], ["too small"])
    parents = ((1, 2, -1), (2, 2, -1), (7, 4, 1))
    save_relations(
        layout.relations,
        Relations(
            parents=tuple(
                TrackParent(track_id=t, level=level, parent_id=p, containment=1.0) for t, level, p in parents
            )
        ),
    )
    save_instances(layout.instances, box_instances(cloud))
    names = ("candidates", "filter", "track", "lift")
    write_timings(
        layout.timings,
        tuple(
            StageTiming(name=name, seconds=1.5, peak_rss_mb=100.0 + i, masks_in=30, masks_out=20)
            for i, name in enumerate(names)
        ),
    )
    records = [StageRecord(name=name, status=StageStatus.DONE, digest="d") for name in names]
    records.append(
        StageRecord(
            name="evaluate", status=StageStatus.SKIPPED, digest="d", message="the scan has no ground truth"
        )
    )
    write_manifest(
        layout.manifest,
        Manifest(
            status="running",
            scene="room",
            scan="somewhere/room",
            dataset="fake",
            run_name=config.experiment.name,
            version="0",
            started="2026-01-01T00:00:00Z",
            updated="2026-01-01T00:00:00Z",
            plugins=(("proposer", "watershed 1"), ("tracker", "warp 1")),
            stages=tuple(records),
        ),
    )
    events = EventLog(layout.events)
    events.append("run_started")
    events.append("stage_started", stage="lift")
    events.append(
        "warning", stage="lift", reason="invalid_poses", message="3 frames have no pose.", level=None
    )
    atomic_write_json(layout.environment, {"python": "CPython 3.11", "packages": {"numpy": "2.4.6"}})


def box_instances(cloud: SceneCloud) -> InstanceSet:
    """Return the red square as an object of level 2, and its first half as its part at level 4."""
    red = np.flatnonzero(cloud.color[:, 0] == 220).astype(np.int64)
    half = red[: len(red) // 2]
    return InstanceSet(
        instance_id=np.array([1, 7], np.int32),
        level=np.array([2, 4], np.int16),
        parent_id=np.array([-1, 1], np.int32),
        label=np.full(2, -1, np.int32),
        score=np.array([0.9, 0.5], np.float32),
        point_offsets=np.array([0, len(red), len(red) + len(half)], np.int64),
        point_index=np.concatenate([red, half]),
        n_points=len(cloud),
        cloud_digest=cloud.digest,
    )


def small_report(**changes: object) -> Report:
    """Return a report with one tiny picture and notices for the rest."""
    panel = Panel(title="colour", alt="Frame 0, colour", data=b"\xff\xd8picture")
    values: dict[str, object] = {
        "scene": "room",
        "run_name": "default",
        "dataset": "fake",
        "summary": "fake scan, 12 frames.",
        "comparison": Comparison(
            rows=(ComparisonRow(frame=0, name="0000", file="comparison/0000.jpg", panels=(panel, panel)),)
        ),
        "timeline": Timeline(notice="No tracks."),
        "room": RoomSection(notice="No points."),
        "scores": ScoreTable(notice="No ground truth."),
        "instances": InstanceTable(notice="No instances."),
        "stages": StageTable(notice="No times."),
        "drops": Drops(notice="No filter."),
    }
    return Report(**(values | changes))
