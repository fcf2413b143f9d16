"""Candidates and filter: streaming, resumable, and everything that is dropped has a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.config import Config
from my3dis.errors import ConfigError, DataError
from my3dis.masks import build, codec, hierarchy
from my3dis.runs.layout import RunLayout
from my3dis.stages import candidates
from my3dis.stages import filter as filter_stage
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, MaskSet, MaskSource, ScanOverview, SceneCloud
from tests.backends.proposers import boxes


@dataclass
class Reader:
    """Six frames of boxes that move to the right; remembers what was loaded."""

    ground_truth: Path | None = None
    broken: int | None = None
    loaded: list[int] = field(default_factory=list)

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene="boxes",
            dataset="test",
            root=Path("boxes"),
            frame_count=6,
            image_size=boxes.SIZE,
            ground_truth=self.ground_truth,
        )

    def __len__(self) -> int:
        return 6

    def frame(self, index: int) -> Frame:
        if index == self.broken:
            raise DataError("the frame is broken")
        self.loaded.append(index)
        return boxes.frame(index, shift=3 * index)

    def cloud(self) -> SceneCloud | None:
        return None

    def fingerprint(self) -> str:
        return "boxes"


@dataclass
class Bench:
    """A run folder with a reader, and what the stages said."""

    root: Path
    reader: Reader
    frames: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    warnings: list[StageWarning] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.root)

    def context(self, digest: str = "d1", **sections: dict[str, object]) -> StageContext:
        levels = sections.pop("experiment", {"levels": [2, 4]})
        return StageContext(
            reader=self.reader,
            frames=self.frames,
            layout=self.layout,
            config=Config.model_validate({"experiment": levels, "stages": sections}),
            stage_digest=digest,
            progress=lambda done, total: self.steps.append((done, total)),
            warn=self.warnings.append,
        )

    def candidates(self, digest: str = "d1", **sections: dict[str, object]) -> StageOutcome:
        return candidates.run(self.context(digest, **sections))

    def filter(self, digest: str = "f1", **sections: dict[str, object]) -> StageOutcome:
        return filter_stage.run(self.context(digest, **sections))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    run = tmp_path / "run"
    run.mkdir()
    return Bench(run, Reader())


def stored(path: Path) -> list[tuple[int, bytes, int, int]]:
    with open_archive(path) as reader:
        return [
            (m.frame, rle, int(i), int(p))
            for m in reader.iter_frames()
            for rle, i, p in zip(m.rle, m.mask_id, m.parent_id, strict=True)
        ]


def test_candidates_stream_into_the_archive(bench: Bench) -> None:
    """Every n-th selected frame is loaded once and stored with nested masks; progress and counts fit."""
    bench.frames = (1, 2, 3, 5)
    codec.DECODED.reset_peak()
    outcome = bench.candidates(ssam={"ssam_freq": 2})
    assert codec.DECODED.peak <= 1
    assert bench.reader.loaded == [1, 3]
    assert bench.steps == [(1, 2), (2, 2)]
    with open_archive(bench.layout.candidates) as reader:
        assert reader.frames() == [1, 3]
        assert reader.count() == outcome.masks_out > 0
        for masks in reader.iter_frames():
            hierarchy.require_nested(masks)
    facts = dict(outcome.facts)
    assert facts["frames"] == 2
    assert int(facts["level_2"]) + int(facts["level_4"]) == outcome.masks_out


def test_a_killed_stage_goes_on(bench: Bench) -> None:
    """After a failure at frame 3 the next run proposes only what is missing, and ends with equal bytes."""
    bench.reader.broken = 3
    with pytest.raises(DataError):
        bench.candidates()
    with open_archive(bench.layout.candidates) as reader:
        assert reader.frames() == [0, 1, 2]
    bench.reader.broken = None
    bench.reader.loaded.clear()
    outcome = bench.candidates()
    assert bench.reader.loaded == [3, 4, 5]
    assert dict(outcome.facts)["frames_resumed"] == 3
    resumed = stored(bench.layout.candidates)
    whole = Bench(bench.root.parent, Reader())
    assert dict(whole.candidates().facts) == {**dict(outcome.facts), "frames_resumed": 0}
    assert stored(whole.layout.candidates) == resumed


def test_other_settings_start_afresh(bench: Bench) -> None:
    """An archive of another digest is replaced, and a damaged one too, with a warning."""
    bench.candidates("old")
    bench.reader.loaded.clear()
    bench.candidates("new")
    assert bench.reader.loaded == list(bench.frames)
    assert {w.reason for w in bench.warnings} <= {"no_candidates"}
    bench.warnings.clear()
    bench.layout.candidates.write_bytes(b"no archive at all" * 300)
    bench.candidates("new")
    assert bench.warnings[0].reason == "damaged_archive"
    with open_archive(bench.layout.candidates) as reader:
        assert len(reader.frames()) == 6


def test_recorded_frames_without_map_are_counted(bench: Bench, tmp_path: Path) -> None:
    """Frames 2..5 were not recorded: they are stored as empty frames and each level warns with the count."""
    root = boxes.write_recording(tmp_path)
    bench.candidates(ssam={"proposer": "recorded", "recorded_root": str(root)})
    with open_archive(bench.layout.candidates) as reader:
        assert reader.frames() == [0, 1, 2, 3, 4, 5]
        assert len(reader.frame(4)) == 0
    assert [(w.reason, w.level) for w in bench.warnings] == [("no_candidates", 2), ("no_candidates", 4)]
    assert "4 of 6 frames" in bench.warnings[0].message


def test_final_masks_pass_both_stages_untouched(bench: Bench, tmp_path: Path) -> None:
    """Oracle masks, equal children included, reach masks.my3dis; asked for explicitly, limits apply."""
    gt = boxes.write_ground_truth(tmp_path, shifts=(0, 3, 6, 9, 12, 15))
    bench.reader.ground_truth = gt
    ssam: dict[str, object] = {"proposer": "oracle"}
    bench.candidates(ssam=ssam)
    assert bench.filter(ssam=ssam).masks_out == 6 * (2 + 3)
    assert stored(bench.layout.masks) == stored(bench.layout.candidates)
    outcome = bench.filter("f2", ssam={**ssam, "min_area": 1700})
    assert outcome.masks_out == 6
    assert dict(outcome.facts)["dropped_min_area"] == 6 * 4


def test_gaps_are_filled_only_where_wanted(bench: Bench, tmp_path: Path) -> None:
    """Oracle masks leave the wall open; add_gaps=true turns it into gap masks of the first level."""
    bench.frames = (0,)
    bench.reader.ground_truth = boxes.write_ground_truth(tmp_path)
    outcome = bench.candidates(ssam={"proposer": "oracle", "add_gaps": True, "fill_area": 100})
    assert dict(outcome.facts)["gap_masks"] == 1
    with open_archive(bench.layout.candidates) as reader:
        masks = reader.frame(0)
    gap = masks.select(masks.source == MaskSource.GAP)
    assert gap.level.tolist() == [2]
    assert gap.area_px.tolist() == [96 * 128 - 3000 - 1600]


def test_disabled_and_impossible_stages_say_so(bench: Bench) -> None:
    """A disabled stage and one without its input are skipped; an oracle without ground truth is an error."""
    assert bench.candidates(ssam={"enabled": False}).skipped == "switched off by stages.ssam.enabled"
    with pytest.raises(ConfigError, match="ground truth"):
        bench.candidates(ssam={"proposer": "oracle"})
    assert "no candidates" in (bench.filter().skipped or "")


def bars(frame: int, rows: Sequence[tuple[int, int, int, int, float]]) -> MaskSet:
    """Masks of a 10x100 image from (id, parent, first column, end column, stability); levels 2 and 4."""
    codes = []
    for _, _, start, end, _ in rows:
        mask = np.zeros((10, 100), bool)
        mask[:, start:end] = True
        codes.append(codec.encode(mask))
    ids, parents, _, _, stability = zip(*rows, strict=True)
    return build.from_codes(
        codes,
        frame=frame,
        image_size=(10, 100),
        mask_id=ids,
        parent_id=parents,
        level=[2 if p < 0 else 4 for p in parents],
        stability=stability,
    )


ROWS = (
    (0, -1, 0, 50, 1.0),
    (1, 0, 0, 20, 0.3),
    (2, 0, 20, 21, 1.0),
    (3, 0, 21, 50, 0.9),
    (4, -1, 0, 49, 0.5),
)


def test_filter_reasons_are_logged_and_parents_kept(bench: Bench) -> None:
    """Each dropped candidate is in the log with its reason; children of the dropped are handed up."""
    with StreamingSegmentWriter(bench.layout.candidates, purpose="candidates") as writer:
        for frame in range(3):
            writer.append_frame(frame, bars(frame, ROWS))
    ssam: dict[str, object] = {"min_area": 50, "stability_threshold": 0.4}
    outcome = bench.filter(ssam=ssam)
    assert (outcome.masks_in, outcome.masks_out) == (15, 6)
    facts = dict(outcome.facts)
    assert facts == {
        "level_2": 3,
        "level_4": 3,
        "dropped_duplicate": 3,
        "dropped_min_area": 3,
        "dropped_stability": 3,
    }
    with open_archive(bench.layout.masks) as reader:
        assert reader.frame(1).mask_id.tolist() == [0, 3]
        assert reader.frame(1).parent_id.tolist() == [-1, 0]
        log = Counter((d.mask_id, d.level, d.reason) for d in reader.dropped())
    assert log == {(1, 4, "stability"): 3, (2, 4, "min_area"): 3, (4, 2, "duplicate"): 3}


def test_filter_passes_everything_when_disabled(bench: Bench) -> None:
    """With filter.enabled=false every candidate goes on as it is."""
    with StreamingSegmentWriter(bench.layout.candidates) as writer:
        writer.append_frame(4, bars(4, ROWS))
    bench.filter(filter={"enabled": False}, ssam={"min_area": 50})
    assert stored(bench.layout.masks) == stored(bench.layout.candidates)


def test_filter_goes_on_after_a_kill(bench: Bench) -> None:
    """A partial output of the same digest is continued; frames in it are not written twice."""
    with StreamingSegmentWriter(bench.layout.candidates) as writer:
        for frame in range(3):
            writer.append_frame(frame, bars(frame, ROWS))
    with StreamingSegmentWriter(bench.layout.masks, purpose="masks", stage_digest="f1") as writer:
        writer.record_dropped(1, [1], [4], ["stability"])  # killed between log and masks of frame 1
        writer.append_frame(0, bars(0, ROWS[:1]))
    bench.filter(ssam={"min_area": 50, "stability_threshold": 0.4})
    with open_archive(bench.layout.masks) as reader:
        assert reader.frames() == [0, 1, 2]
        assert reader.frame(0).mask_id.tolist() == [0]
        assert reader.frame(1).mask_id.tolist() == [0, 3]


def test_default_limits_scale_with_the_image() -> None:
    """The default smallest mask is 200 px at 640x480 and 1800 px at 1920x1440; numbers given are pixels."""
    defaults = filter_stage.limits_for(Config(), (480, 640))
    assert (defaults.min_area, defaults.max_per_level, defaults.duplicate_iou) == (200, 200, 0.9)
    assert filter_stage.limits_for(Config(), (1440, 1920)).min_area == 1800
    given = Config.model_validate({"stages": {"ssam": {"min_area": 7}, "filter": {"duplicate_iou": 0.5}}})
    assert filter_stage.limits_for(given, (1440, 1920)).min_area == 7
    final = Config.model_validate({"stages": {"ssam": {"proposer": "recorded"}}})
    limits = filter_stage.limits_for(final, (480, 640))
    assert (limits.min_area, limits.stability_threshold, limits.max_per_level) == (0, 0.0, None)
    assert limits.duplicate_iou is None


def test_stage_fields_exist() -> None:
    """Every setting that a stage says it depends on is a setting."""
    for stage in (candidates, filter_stage):
        for dotted in stage.CONFIG_FIELDS:
            value: object = Config()
            for name in dotted.split("."):
                assert hasattr(value, name), dotted
                value = getattr(value, name)
        for name in (*stage.INPUTS, *stage.OUTPUTS):
            assert isinstance(getattr(RunLayout(Path("run")), name), Path)
