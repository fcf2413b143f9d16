"""Stop a stage in its middle, go on, and see what is repeated and what comes of it, for any back end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from my3dis.archive import StreamingSegmentWriter
from my3dis.config import Config
from my3dis.protocols import SceneReader
from my3dis.runs.layout import RunLayout
from my3dis.stages.context import StageContext, StageOutcome, StageWarning
from my3dis.types import Frame, MaskSet, ScanOverview, SceneCloud
from tests.tracking.flatland import SIZE, Card, masks_of, render

EVERY = 3
FRAMES = 13
CARDS = [
    Card(1, -1.0, -0.5, -0.4, 0.1),
    Card(2, 0.3, -0.5, 0.9, 0.5, color=(40, 60, 200)),
    Card(3, -0.3, -0.2, 0.1, 0.3, z=1.8, color=(60, 190, 70)),
]
# Labels and the frames on which they are proposed: births in mid-video are followed back, gaps are bridged.
SHOWN = {1: range(FRAMES), 2: range(6, FRAMES), 3: (0, 1, 2, 3, 8, 9, 10, 11, 12)}
Stage = Callable[[StageContext], StageOutcome]
Tables = dict[str, list[tuple[object, ...]]]


class Stopped(BaseException):
    """Stands for a kill: nothing handles it."""


@dataclass
class Cards:
    """A camera that moves past three cards; ground truth is written to a folder."""

    truth: Path

    def __post_init__(self) -> None:
        for index in range(FRAMES):
            _, labels = self.scene(index)
            for kind in ("instance", "part"):
                (self.truth / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(self.truth / kind / f"{index:04d}.png"), labels.astype(np.uint16))

    @staticmethod
    def scene(index: int) -> tuple[Frame, np.ndarray]:
        return render(index, CARDS, 0.04 * index)

    @property
    def overview(self) -> ScanOverview:
        return ScanOverview(
            scene="cards",
            dataset="test",
            root=self.truth,
            frame_count=FRAMES,
            image_size=SIZE,
            has_depth=True,
            has_pose=True,
            ground_truth=self.truth,
        )

    def __len__(self) -> int:
        return FRAMES

    def frame(self, index: int) -> Frame:
        return self.scene(index)[0]

    def cloud(self) -> SceneCloud | None:
        return None

    def fingerprint(self) -> str:
        return "cards"

    def candidates(self, index: int) -> MaskSet:
        masks = masks_of(self.scene(index)[1], index, 2)
        return masks.select(np.array([index in SHOWN[label] for label in masks.mask_id.tolist()], bool))

    def write_masks(self, path: Path) -> None:
        """Write what the stages before tracking would have."""
        with StreamingSegmentWriter(path, purpose="masks") as writer:
            for index in range(FRAMES):
                writer.append_frame(index, self.candidates(index))


@dataclass
class Watched:
    """A scan that counts the frames that are read, and stops the work at one of them."""

    scan: SceneReader
    stop_at: int | None = None
    loads: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.scan, name)

    def __len__(self) -> int:
        return len(self.scan)

    def frame(self, index: int) -> Frame:
        if len(self.loads) + 1 == self.stop_at:
            raise Stopped
        self.loads.append(index)
        return self.scan.frame(index)


@dataclass
class Attempts:
    """A stage of one run folder, tried again and again.

    Attributes:
        events: what it told, as (event, facts).
        warnings: reasons.
    """

    stage: Stage
    scan: SceneReader
    frames: Sequence[int]
    layout: RunLayout
    settings: dict[str, object]
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def attempt(
        self, *, stop_at: int | None = None, **changes: object
    ) -> tuple[list[int], StageOutcome | None]:
        """Return the frames that were read, and the outcome unless it was stopped before that one."""
        reader = Watched(self.scan, stop_at)

        def warn(warning: StageWarning) -> None:
            self.warnings.append(warning.reason)

        context = StageContext(
            reader=reader,  # type: ignore[arg-type]
            frames=tuple(self.frames),
            layout=self.layout,
            config=Config.model_validate({"stages": self.settings}),
            stage_digest=str(changes.get("digest", "digest")),
            progress=lambda done, total: None,
            warn=warn,
            tell=lambda event, facts: self.events.append((event, dict(facts))),
        )
        try:
            return reader.loads, self.stage(context)
        except Stopped:
            return reader.loads, None


def tables_of(path: Path) -> Tables:
    """Return all rows of an archive."""
    db = sqlite3.connect(path)
    names = ("meta", "frames", "masks", "frame_index", "dropped")
    found = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names}
    db.close()
    return found


def results_of(layout: RunLayout, *names: str) -> list[object]:
    """Return the results of a stage that are files of these names."""
    paths = [layout.root / name for name in names]
    return [json.loads(p.read_text()) if p.suffix == ".json" else tables_of(p) for p in paths]


def allowed_repeats(resumable: str, done: int) -> int:
    """Return how many frames may be read again after so many were."""
    return {"frame": 0, "checkpoint": EVERY, "stage": done}[resumable]


def check(
    make: Callable[[str], Attempts], resumable: str, outputs: tuple[str, ...], stops: Sequence[int]
) -> None:
    """Stop the stage before each of some frames, go on, and compare with the undisturbed stage.

    Args:
        make: makes the stage in a new folder of a name.
        resumable: what the back end declares.
        outputs: names of files that hold results.
        stops: which read of a frame is not reached, counted from 1; negative from the end.
    """
    undisturbed = make("undisturbed")
    loads, outcome = undisturbed.attempt()
    assert outcome is not None
    expected = results_of(undisturbed.layout, *outputs)
    # A back end that follows nothing back reads fewer frames.
    wanted = {stop if stop > 0 else len(loads) + 1 + stop for stop in stops}
    for stop_at in sorted(stop for stop in wanted if stop <= len(loads)):
        one = make(f"stopped-{stop_at}")
        before, none = one.attempt(stop_at=stop_at)
        assert none is None
        assert before == loads[: stop_at - 1]
        after, again = one.attempt()
        assert again is not None
        assert results_of(one.layout, *outputs) == expected, stop_at
        assert (again.masks_in, again.masks_out) == (outcome.masks_in, outcome.masks_out)
        repeated = len(before) + len(after) - len(loads)
        assert 0 <= repeated <= allowed_repeats(resumable, len(before)), (stop_at, repeated)
        if resumable == "stage":
            assert repeated == len(before)
        assert sorted(p.name for p in one.layout.root.iterdir()) == sorted(
            p.name for p in undisturbed.layout.root.iterdir()
        )
        assert one.warnings == undisturbed.warnings
        told = [facts for event, facts in one.events if event == "stage_resumed"]
        assert len(told) == (1 if repeated < len(before) else 0)


def tracking(folder: Path, scan: Cards, **tracker: object) -> Callable[[str], Attempts]:
    """Return a maker of track stages over the cards."""
    from my3dis.stages import track

    def make(name: str) -> Attempts:
        layout = RunLayout(folder / name)
        layout.root.mkdir()
        scan.write_masks(layout.masks)
        settings = {"tracker": {"checkpoint_every": EVERY, **tracker}}
        return Attempts(track.run, scan, range(FRAMES), layout, settings)

    return make


def proposing(
    folder: Path, scan: SceneReader, frames: Sequence[int], **ssam: object
) -> Callable[[str], Attempts]:
    """Return a maker of candidates stages."""
    from my3dis.stages import candidates

    def make(name: str) -> Attempts:
        layout = RunLayout(folder / name)
        layout.root.mkdir()
        return Attempts(candidates.run, scan, frames, layout, {"ssam": ssam})

    return make


# Reads that are not reached: behind the first checkpoint, the forward pass's last, the backward pass's second
# and the two last.
TRACK_STOPS = (EVERY + 2, FRAMES, FRAMES + 2, -2, -1)
