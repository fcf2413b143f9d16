"""The lift stage: archive in, instances and pictures of them out; what cannot be lifted is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter
from my3dis.config import Config
from my3dis.datasets.ply import read_ply
from my3dis.protocols import ProposerPlugin
from my3dis.runs.instances import load_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import Relations, save_relations
from my3dis.stages import lift
from my3dis.stages.context import StageContext, StageWarning
from my3dis.tracking.relations import TrackParent
from my3dis.types import Frame, MaskSet, ScanOverview, SceneCloud
from tests.lifting.panels import Panel, cloud_of, points_of, tracked, view

WORLD = [
    Panel((-1.6, 1.6), (-1.2, 1.2), 3.0),
    Panel((-0.7, -0.1), (-0.3, 0.3), 2.0, thing=1, part=1),
    Panel((0.2, 0.8), (-0.3, 0.3), 2.2, thing=2, part=2),
]
POSITIONS = tuple(np.linspace(-0.3, 0.3, 9).tolist())


@dataclass
class Reader:
    """A scan of the panels."""

    mesh: bool = True
    broken: tuple[int, ...] = ()
    blind: tuple[int, ...] = ()
    has_depth: bool = True
    elsewhere_m: float = 0.0
    loaded: list[int] = field(default_factory=list)

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene="panels",
            dataset="test",
            root=Path("panels"),
            frame_count=len(POSITIONS),
            image_size=(80, 100),
            has_depth=self.has_depth,
            has_pose=True,
            has_cloud=self.mesh,
        )

    def __len__(self) -> int:
        return len(POSITIONS)

    def frame(self, index: int) -> Frame:
        self.loaded.append(index)
        frame, _, _ = view(WORLD, index, POSITIONS[index])
        if index in self.broken:
            return replace(frame, world_from_camera=None)
        return replace(frame, depth_m=None, depth_camera=None) if index in self.blind else frame

    def cloud(self) -> SceneCloud | None:
        if not self.mesh:
            return None
        cloud = cloud_of(WORLD)
        return replace(cloud, xyz_m=cloud.xyz_m + np.float32(self.elsewhere_m))

    def fingerprint(self) -> str:
        return "panels"


Warnings = list[StageWarning]


@pytest.fixture
def layout(tmp_path: Path) -> RunLayout:
    """A run folder with perfect tracks of every frame."""
    layout = RunLayout(tmp_path)
    with StreamingSegmentWriter(layout.tracks) as writer:
        for i, x in enumerate(POSITIONS):
            _, things, parts = view(WORLD, i, x)
            writer.append_frame(i, MaskSet.concatenate([tracked(things, i), tracked(parts, i, 4, 100)]))
    levels, parents = {1: 2, 2: 2, 101: 4, 102: 4}, {101: 1, 102: 2}
    entries = tuple(
        TrackParent(track_id=t, level=level, parent_id=parents.get(t, -1), containment=1.0)
        for t, level in levels.items()
    )
    save_relations(layout.relations, Relations(parents=entries))
    return layout


def context(layout: RunLayout, reader: Reader, warn: Callable[[StageWarning], None], **settings: object):
    config = Config.model_validate({"stages": {"lift": settings}})
    return StageContext(
        reader=reader,
        frames=tuple(range(len(POSITIONS))),
        layout=layout,
        config=config,
        stage_digest="d",
        progress=lambda done, total: None,
        warn=warn,
    )


def test_instances_on_the_mesh(layout: RunLayout) -> None:
    """Perfect tracks give the objects and parts of the scan's own points, with parents, and a picture."""
    warnings: Warnings = []
    outcome = lift.run(context(layout, Reader(), warnings.append))
    facts = dict(outcome.facts)
    assert (facts["instances at level 2"], facts["instances at level 4"]) == (2, 2)
    assert (facts["frames used"], facts["frames skipped"]) == (9, 0)
    assert (outcome.masks_in, outcome.masks_out, warnings) == (36, 4, [])
    found = load_instances(layout.instances)
    xyz, things, _ = points_of(WORLD)
    assert found.n_points == len(xyz)
    assert found.cloud_digest == "panels"
    for position, track in enumerate(found.instance_id.tolist()):
        assert np.array_equal(found.points_of(position), np.flatnonzero(things == track % 100))
    assert dict(zip(found.instance_id.tolist(), found.parent_id.tolist(), strict=True))[102] == 2
    np.testing.assert_array_equal(read_ply(layout.instances_ply).xyz_m, xyz)
    assert not layout.cloud.exists(), "the scan's own mesh is the cloud"


def test_points_are_fused_where_there_is_no_mesh(layout: RunLayout) -> None:
    """Without a mesh the depth images give the points, in the order that the instances use."""
    outcome = lift.run(context(layout, Reader(mesh=False), list[StageWarning]().append, voxel_m=0.04))
    cloud, found = read_ply(layout.cloud), load_instances(layout.instances)
    assert found.n_points == len(cloud) == dict(outcome.facts)["points"]
    assert found.cloud_digest == cloud.digest
    for position, track in enumerate(found.instance_id.tolist()):
        if track < 100:
            panel = WORLD[track]
            points = cloud.xyz_m[found.points_of(position)]
            assert len(points) > 100
            np.testing.assert_allclose(points[:, 2], panel.z, atol=0.01)
            assert points[:, 0].min() > panel.x[0] - 0.05
            assert points[:, 0].max() < panel.x[1] + 0.05


def test_frames_that_cannot_vote_are_counted(layout: RunLayout) -> None:
    """Frames without a pose or without depth are left out, counted, and said once each."""
    warnings: Warnings = []
    outcome = lift.run(context(layout, Reader(broken=(0, 3), blind=(5,)), warnings.append))
    assert dict(outcome.facts)["frames skipped"] == 3
    assert dict(outcome.facts)["frames used"] == 6
    assert [w.reason for w in warnings] == ["invalid_poses", "no_depth"]
    assert warnings[0].message.startswith("2 of 9 frames")
    assert outcome.masks_out == 4


def test_no_usable_frame_is_said(layout: RunLayout) -> None:
    """When no frame can vote the stage is skipped with the reason and leaves no results behind."""
    for mesh in (True, False):
        layout.instances.write_bytes(b"old")
        reader = Reader(mesh=mesh, broken=tuple(range(9)))
        outcome = lift.run(context(layout, reader, list[StageWarning]().append))
        assert outcome.skipped == "no frame has both depth and a valid pose"
        assert not layout.instances.exists()


def test_points_that_no_frame_sees_make_no_instances(layout: RunLayout) -> None:
    """A mesh elsewhere is said: its surface alone would make instances whatever the images show."""
    layout.instances.write_bytes(b"old")
    outcome = lift.run(context(layout, Reader(elsewhere_m=50.0), list[StageWarning]().append))
    assert outcome.skipped is not None
    assert "no frame sees any of the" in outcome.skipped
    assert "my3dis check" in outcome.skipped
    assert not layout.instances.exists()


def test_scans_of_colour_only_are_skipped(layout: RunLayout) -> None:
    """Without depth the stage says why it does nothing, and loads no frame."""
    reader = Reader(has_depth=False)
    outcome = lift.run(context(layout, reader, list[StageWarning]().append))
    assert outcome.skipped is not None
    assert "no depth" in outcome.skipped
    assert reader.loaded == []


def test_switched_off(layout: RunLayout) -> None:
    """stages.lift.enabled=false skips the stage."""
    outcome = lift.run(context(layout, Reader(), list[StageWarning]().append, enabled=False))
    assert outcome.skipped == "switched off by stages.lift.enabled"


def test_settings_reach_the_work(layout: RunLayout) -> None:
    """min_points drops what is smaller, and a fifth of it below the first level."""
    outcome = lift.run(context(layout, Reader(), list[StageWarning]().append, min_points=500))
    assert "instances at level 2" not in dict(outcome.facts)
    assert dict(outcome.facts)["instances at level 4"] == 2


def test_nothing_tracked(tmp_path: Path) -> None:
    """An archive without tracks is nothing to lift."""
    layout = RunLayout(tmp_path)
    with StreamingSegmentWriter(layout.tracks) as writer:
        writer.append_frame(0, MaskSet.empty(0, (80, 100)))
    save_relations(layout.relations, Relations(parents=()))
    outcome = lift.run(context(layout, Reader(), list[StageWarning]().append))
    assert outcome.skipped == "nothing was tracked, so there is nothing to lift"


def test_every_frame_is_loaded_once_per_pass(layout: RunLayout) -> None:
    """With a mesh frames are read once, without one twice; progress ends at its total."""
    for mesh, passes in ((True, 1), (False, 2)):
        reader, seen = Reader(mesh=mesh), list[tuple[int, int]]()
        made = context(layout, reader, list[StageWarning]().append)
        lift.run(replace(made, progress=lambda done, total, seen=seen: seen.append((done, total))))
        assert reader.loaded == list(range(9)) * passes
        assert seen == [(n, 9 * passes) for n in range(1, 9 * passes + 1)]


def test_regions_that_stand_for_nothing_are_evidence_of_borders(layout: RunLayout) -> None:
    """With masks of this run's own watershed, things come from the surface: every point has an owner."""
    layout.masks.touch()
    outcome = lift.run(context(layout, Reader(), list[StageWarning]().append))
    facts = dict(outcome.facts)
    assert facts["points in instances"] == facts["points"]
    instances = load_instances(layout.instances)
    assert set(instances.level.tolist()) <= {2, 4}


def test_masks_of_other_proposers_vote(layout: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposer that says nothing of `recognises` is taken at its word: its tracks are the instances."""
    layout.masks.touch()
    made = ProposerPlugin(summary="", version="1", create=lambda options: pytest.fail("not needed"))
    monkeypatch.setattr(lift.plugins, "proposer", lambda name: made)
    lift.run(context(layout, Reader(), list[StageWarning]().append))
    assert sorted(load_instances(layout.instances).instance_id.tolist()) == [1, 2, 101, 102]
    # Without that word the surface itself is taken apart, the wall behind included.
    monkeypatch.setattr(lift.plugins, "proposer", lambda name: replace(made, recognises=False))
    lift.run(context(layout, Reader(), list[StageWarning]().append))
    assert len(load_instances(layout.instances).point_index) > len(points_of(WORLD)[0]) / 2
