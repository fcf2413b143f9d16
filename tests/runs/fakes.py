"""A scan and six stages that do next to nothing, so that runs can be tested in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rlemasklib import encode

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.runs.provenance import tree_digest
from my3dis.runs.scores import Scores, save_scores
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, MaskSet, ScanOverview


@dataclass(frozen=True)
class FakeReader:
    """A folder of files stands for a scan of as many frames."""

    root: Path
    has_depth: bool = True

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene=self.root.name,
            dataset="fake",
            root=self.root,
            frame_count=len(self),
            image_size=(4, 6),
            has_depth=self.has_depth,
            has_pose=self.has_depth,
            found=("some colour",),
            missing=() if self.has_depth else ("no depth: lift is skipped",),
        )

    def __len__(self) -> int:
        return len(list(self.root.iterdir()))

    def frame(self, index: int) -> Frame:
        return Frame(index=index, name=str(index), color=np.zeros((4, 6, 3), np.uint8))

    def cloud(self) -> None:
        return None

    def fingerprint(self) -> str:
        return tree_digest(self.root)


def make_scan(folder: Path, frames: int = 6) -> Path:
    """Write a fake scan."""
    folder.mkdir()
    for index in range(frames):
        (folder / f"{index}.jpg").write_text("x")
    return folder


def one_mask(frame: int) -> MaskSet:
    """A mask set of one full mask."""
    rle = encode(np.ones((4, 6), np.uint8))["counts"]
    return MaskSet(
        frame=frame,
        image_size=(4, 6),
        mask_id=np.array([0], np.int32),
        level=np.array([2], np.int16),
        parent_id=np.array([-1], np.int32),
        boxes=np.array([[0, 0, 6, 4]], np.int32),
        area_px=np.array([24], np.int64),
        score=np.array([1], np.float32),
        stability=np.array([1], np.float32),
        source=np.array([0], np.int8),
        rle=(rle,),
    )


@dataclass
class FakeStages:
    """The six stages; `ran` lists what ran, `fail` maps a stage to what it raises or does."""

    ran: list[str] = field(default_factory=list)
    fail: dict[str, Callable[[], None]] = field(default_factory=dict)
    frame_seconds: float = 0.0

    def get(self, name: str) -> SimpleNamespace:
        settings, inputs, outputs = {
            "candidates": (
                ("experiment.levels", "stages.ssam.proposer", "stages.ssam.min_area"),
                (),
                ("candidates",),
            ),
            "filter": (("stages.filter.enabled",), ("candidates",), ("masks",)),
            "track": (
                ("stages.tracker.propagator", "stages.tracker.iou_threshold"),
                ("masks",),
                ("tracks", "relations"),
            ),
            "lift": (("stages.lift.min_points",), ("tracks", "relations"), ("instances",)),
            "evaluate": (("stages.evaluate.enabled",), ("instances",), ("scores",)),
            "report": (("stages.report.name",), ("tracks", "instances", "scores"), ("comparison", "report")),
        }[name]
        return SimpleNamespace(
            NAME=name,
            CONFIG_FIELDS=settings,
            INPUTS=inputs,
            OUTPUTS=outputs,
            run=lambda context: self.run(name, context),
        )

    def run(self, name: str, context: StageContext) -> StageOutcome:
        self.ran.append(name)
        layout = context.layout
        if name in ("candidates", "filter", "track"):
            path = {"candidates": layout.candidates, "filter": layout.masks, "track": layout.tracks}[name]
            done = 0
            with StreamingSegmentWriter(
                path, purpose="candidates", stage_digest=context.stage_digest
            ) as writer:
                there = set(writer.frames())
                done = len(there)
                for frame in context.frames:
                    if frame not in there:
                        writer.append_frame(frame, one_mask(frame))
                        time.sleep(self.frame_seconds)
                    context.progress(frame, len(context.frames))
                    self._fail(name)
            if name == "track":
                layout.relations.write_text("{}")
            return StageOutcome(masks_out=len(context.frames), facts=(("continued_from", done),))
        self._fail(name)
        if name == "lift":
            if not context.reader.overview.is_posed_rgbd:
                return StageOutcome(skipped="no depth")
            with open_archive(layout.tracks) as reader:
                layout.instances.write_text(str(reader.count()))
        elif name == "evaluate":
            if not layout.instances.is_file():
                return StageOutcome(skipped="no instances")
            save_scores(layout.scores, Scores(scenes=("fake",)))
        else:
            layout.comparison.mkdir(exist_ok=True)
            (layout.comparison / "0.jpg").write_text("x")
            layout.report(context.config.stages.report.name).write_text("<p>report</p>")
            context.warn(StageWarning(stage="report", reason="no_comparison", message="nothing to compare"))
        return StageOutcome(masks_in=1, masks_out=1)

    def _fail(self, name: str) -> None:
        if name in self.fail:
            self.fail[name]()


def install(
    patch: pytest.MonkeyPatch, stages: FakeStages, reader: Callable[[Path], FakeReader] = FakeReader
) -> None:
    """Put the fake stages and reader in place of the real ones."""
    patch.setattr("my3dis.runs.plan.load_stage", stages.get)
    patch.setattr("my3dis.runs.start.open_scan", lambda path, dataset="auto": reader(Path(path)))
