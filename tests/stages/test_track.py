"""The track stage: archive in, tracks and relations out; restarts, warnings and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, open_archive, read_stage_digest
from my3dis.config import Config
from my3dis.errors import ConfigError, DataError, PluginError
from my3dis.masks.build import with_columns
from my3dis.runs.layout import RunLayout
from my3dis.runs.relations import load_relations
from my3dis.stages import track
from my3dis.stages.context import StageContext, StageWarning
from my3dis.types import Frame, MaskSet, MaskSource, ScanOverview, SceneCloud
from tests.tracking.flatland import SIZE, Card, masks_of, render

OBJECTS = [Card(1, -1.0, -0.5, -0.4, 0.1), Card(2, 0.3, -0.5, 0.9, 0.5, color=(40, 60, 200))]
PARTS = [
    Card(11, -1.0, -0.5, -0.7, 0.1),
    Card(12, -0.7, -0.5, -0.4, 0.1),
    Card(13, 0.3, -0.5, 0.9, 0.0),
    Card(14, 0.3, 0.0, 0.9, 0.5),
]
N = 12


@dataclass
class Reader:
    """A camera that moves past two cards of two parts each."""

    posed: bool = True
    lost: tuple[int, ...] = ()
    loaded: list[int] = field(default_factory=list)

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene="cards",
            dataset="test",
            root=Path("cards"),
            frame_count=N,
            image_size=SIZE,
            has_depth=self.posed,
            has_pose=self.posed,
            invalid_poses=self.lost,
        )

    def __len__(self) -> int:
        return N

    def frame(self, index: int) -> Frame:
        self.loaded.append(index)
        frame, _ = render(index, OBJECTS, 0.05 * index, depth=self.posed)
        return replace(frame, world_from_camera=None) if index in self.lost else frame

    def cloud(self) -> SceneCloud | None:
        return None

    def fingerprint(self) -> str:
        return "cards"


def candidates(index: int, *, skip: tuple[int, ...] = ()) -> MaskSet:
    """Return objects at level 2 and parts at level 4, parents set, without some labels."""
    camera_x = 0.05 * index
    objects = masks_of(render(index, OBJECTS, camera_x)[1], index, 2)
    parts = masks_of(render(index, PARTS, camera_x)[1], index, 4)
    parts = with_columns(parts, parent_id=np.where(parts.mask_id <= 12, 1, 2).astype(np.int32))
    both = MaskSet.concatenate([objects, parts])
    return both.select(~np.isin(both.mask_id, skip))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., StageContext]:
    """Return a maker of contexts over archived candidates."""

    def build(
        reader: Reader | None = None,
        *,
        every: int = 1,
        drop: Callable[[int], tuple[int, ...]] = lambda index: (),
        **tracker: object,
    ) -> StageContext:
        layout = RunLayout(tmp_path)
        layout.masks.unlink(missing_ok=True)
        with StreamingSegmentWriter(layout.masks, purpose="masks") as writer:
            for index in range(0, N, every):
                writer.append_frame(index, candidates(index, skip=drop(index)))
        warnings: list[StageWarning] = []
        context = StageContext(
            reader=reader or Reader(),
            frames=tuple(range(N)),
            layout=layout,
            config=Config.model_validate({"stages": {"tracker": tracker}}),
            stage_digest="digest",
            progress=lambda done, total: None,
            warn=warnings.append,
        )
        object.__setattr__(context, "warn", warnings.append)
        build.warnings = warnings  # type: ignore[attr-defined]
        return context

    return build


def tracks_of(layout: RunLayout) -> dict[tuple[int, int], int]:
    """Return {(frame, level): number of masks}."""
    with open_archive(layout.tracks) as archive:
        return {
            (masks.frame, level): int((masks.level == level).sum())
            for masks in archive.iter_frames()
            for level in (2, 4)
        }


@pytest.mark.parametrize("posed", [True, False])
def test_every_object_and_part_is_one_track(make: Callable[..., StageContext], posed: bool) -> None:
    """Six things on two levels give six tracks over all frames, with parents, by warp and by flow."""
    context = make(Reader(posed=posed))
    outcome = track.run(context)
    facts = dict(outcome.facts)
    assert facts["propagator"] == ("warp" if posed else "flow")
    assert (facts["tracks"], facts["tracks_level_2"], facts["tracks_level_4"]) == (6, 2, 4)
    with open_archive(context.layout.tracks) as archive:
        assert archive.frames() == list(range(N))
        assert archive.count() == outcome.masks_out
        tracks = load_relations(context.layout.relations).apply_to(archive.tracks())
        for masks in archive.iter_frames():
            assert (masks.track_id >= 0).all()
            assert len(np.unique(masks.track_id)) == len(masks)
            parents = dict(zip(masks.mask_id.tolist(), masks.track_id.tolist(), strict=True))
            tree = dict(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
            for child, parent in zip(masks.track_id.tolist(), masks.parent_id.tolist(), strict=True):
                assert tree[child] == (parents[parent] if parent >= 0 else -1)
    assert (tracks.parent_id[tracks.level == 4] >= 0).all()
    assert read_stage_digest(context.layout.tracks) == "digest"


def test_frames_without_candidates_are_filled(make: Callable[..., StageContext]) -> None:
    """With candidates on every third frame the others hold carried masks of the same tracks."""
    context = make(every=3)
    outcome = track.run(context)
    assert dict(outcome.facts)["tracks"] == 6
    assert dict(outcome.facts)["coasted_masks"] >= 6 * 7
    counts = tracks_of(context.layout)
    assert all(counts[frame, 2] == 2 for frame in range(N))


def test_what_came_before_a_birth_is_filled_in(make: Callable[..., StageContext]) -> None:
    """An object that is proposed from frame 5 on gets masks before it, as many as is allowed."""
    context = make(drop=lambda index: (2, 13, 14) if index < 5 else (), backward_frames=3)
    outcome = track.run(context)
    assert dict(outcome.facts)["backward_masks"] == 3 * 3
    counts = tracks_of(context.layout)
    assert [counts[frame, 2] for frame in range(6)] == [1, 1, 2, 2, 2, 2]
    with open_archive(context.layout.tracks) as archive:
        assert MaskSource.TRACK in archive.frame(2).source.tolist()


def test_no_backward_pass_when_switched_off(make: Callable[..., StageContext]) -> None:
    """With backward_frames=0 nothing is written before a birth and no frame is loaded twice."""
    reader = Reader()
    outcome = track.run(make(reader, drop=lambda index: (2,) if index < 5 else (), backward_frames=0))
    assert dict(outcome.facts)["backward_masks"] == 0
    assert reader.loaded == list(range(N))


def test_leftovers_of_an_interrupted_run_are_replaced(make: Callable[..., StageContext]) -> None:
    """A half-written archive of other settings and old relations do not get in the way."""
    context = make()
    with StreamingSegmentWriter(context.layout.tracks, purpose="tracks", stage_digest="old") as writer:
        writer.append_frame(0, candidates(0))
    context.layout.relations.write_text("{")
    first = track.run(context)
    again = track.run(context)
    assert first == again
    assert read_stage_digest(context.layout.tracks) == "digest"


def test_an_interrupt_leaves_a_sound_archive_and_no_relations(make: Callable[..., StageContext]) -> None:
    """Ctrl-C in the middle keeps the committed frames readable; the next run starts afresh."""
    context = make()

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track.run(replace(context, progress=stop))
    with open_archive(context.layout.tracks) as archive:
        assert archive.frames() == list(range(5))
        assert not archive.finished
    assert not context.layout.relations.exists()
    assert dict(track.run(context).facts)["tracks"] == 6


def test_frames_without_a_pose_are_reported(make: Callable[..., StageContext]) -> None:
    """Two frames without a pose are carried by flow, counted and warned of; ids survive."""
    context = make(Reader(lost=(4, 5)))
    outcome = track.run(context)
    assert dict(outcome.facts)["tracks"] == 6
    (warning,) = make.warnings  # type: ignore[attr-defined]
    assert warning.reason == "no_pose"
    assert "2 of 12 frames" in warning.message


def test_progress_reaches_its_total(make: Callable[..., StageContext]) -> None:
    """Progress never falls and ends at its total."""
    seen: list[tuple[int, int]] = []
    track.run(replace(make(), progress=lambda done, total: seen.append((done, total))))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


def test_switched_off_or_impossible(make: Callable[..., StageContext]) -> None:
    """A disabled stage says so; warp without depth, an unknown tracker and wrong sizes are errors."""
    assert "switched off" in (track.run(make(enabled=False)).skipped or "")
    with pytest.raises(ConfigError, match="depth and poses"):
        track.run(make(Reader(posed=False), propagator="warp"))
    with pytest.raises(PluginError, match="did you mean 'flow'"):
        track.run(make(propagator="flwo"))

    class Larger(Reader):
        def frame(self, index: int) -> Frame:
            return Frame(index=index, name="x", color=np.zeros((96, 128, 3), np.uint8))

    with pytest.raises(DataError, match="masks of the image's size"):
        track.run(make(Larger(posed=False)))


def test_skipped_where_the_stages_before_it_were(make: Callable[..., StageContext]) -> None:
    """Without an archive of masks (stages.ssam.enabled=false) nothing is tracked, which is no error."""
    context = make()
    context.layout.masks.unlink()
    assert track.run(context).skipped == "there are no masks: the stages before it were skipped"
    assert not context.layout.tracks.exists()


def test_a_scan_without_masks_gives_no_tracks(make: Callable[..., StageContext]) -> None:
    """Frames whose candidates are empty are recorded, and the relations are empty."""
    context = make(drop=lambda index: (1, 2, 11, 12, 13, 14))
    outcome = track.run(context)
    assert (outcome.masks_in, outcome.masks_out) == (0, 0)
    assert load_relations(context.layout.relations).parents == ()
    with open_archive(context.layout.tracks) as archive:
        assert archive.frames() == list(range(N))
