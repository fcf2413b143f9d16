"""What a stage will take comes from finished runs of the same back end, else from measured defaults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from my3dis.monitoring.timings import StageTiming, write_timings
from my3dis.runs.history import HistoryLine, append_history
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, write_manifest
from my3dis.scheduling.estimates import History, Sample, Work, needs_model, read_history
from my3dis.scheduling.frame_counts import DEFAULT_FRAMES, count_frames, count_some, image_pixels, typical

TRACK = Sample(stage="track", backend="flow", frames=100, levels=3, seconds=60, memory_mb=300, run="a")


def finished_run(
    root: Path, scene: str, seconds: float, *, status: str = "finished", resumed: int = 0
) -> Path:
    """Write what estimates read of a run: two stages, manifest, timings and the line of the history."""
    folder = root / scene / "default"
    folder.mkdir(parents=True)
    settings = {
        "candidates": (("stages.ssam.proposer", "watershed"), ("stages.ssam.ssam_freq", 2)),
        "lift": (),
    }
    records = tuple(
        StageRecord(name=name, status=StageStatus.DONE, digest="d", settings=values)
        for name, values in settings.items()
    )
    manifest = Manifest(
        status=status, scene=scene, scan=scene, dataset="images", run_name="default", version="1",
        started="", updated="", frames_selected=101, frames_total=404, levels=(2, 4, 6), stages=records,
    )  # fmt: skip
    write_manifest(folder / "manifest.json", manifest)
    timings = (
        StageTiming(
            name="candidates", seconds=seconds, peak_rss_mb=300, facts=(("frames_resumed", resumed),)
        ),
        StageTiming(name="lift", seconds=2, peak_rss_mb=250, peak_gpu_mb=(("0", 1000.0), ("gpu", 2000.0))),
    )
    write_timings(folder / "stage_timings.json", timings)
    line = HistoryLine(
        finished="", scene=scene, run_name="default", status=status, seconds=seconds, frames=101,
        levels="2 4 6", stages_run="", stages_reused="", object_ap50="", version="1", commit="", tag="",
        run_dir=str(folder),
    )  # fmt: skip
    append_history(root / "workflow_history.csv", line)
    return folder


def test_history_is_read_from_finished_runs(tmp_path: Path) -> None:
    """Frames are those that the stage worked on, memory of a GPU the most that anybody counted."""
    finished_run(tmp_path, "a", 30)
    finished_run(tmp_path, "b", 99, status="failed")
    finished_run(tmp_path, "c", 99, resumed=50)
    history = read_history(tmp_path)
    a = [sample for sample in history.samples if sample.run.endswith("a/default")]
    assert [(s.stage, s.backend, s.frames, s.levels, s.seconds, s.memory_mb) for s in a] == [
        ("candidates", "watershed", 51, 3, 30, 300),
        ("lift", "", 101, 3, 2, 250),
    ]
    assert a[1].gpu_memory_mb == 2000
    # The failed run does not count; of the continued one its continued stage does not.
    assert [s.stage for s in history.samples if s not in a] == ["lift"]
    assert history.runs == 2


def test_damaged_history_is_no_obstacle(tmp_path: Path) -> None:
    """Missing files, other text and runs that are gone leave the others."""
    assert read_history(tmp_path).samples == ()
    folder = finished_run(tmp_path, "a", 30)
    finished_run(tmp_path, "b", 30)
    (folder / "manifest.json").write_text("{")
    with (tmp_path / "workflow_history.csv").open("ab") as handle:
        handle.write(b'\xff\x00"no line,\n')
    assert {sample.run[-9:] for sample in read_history(tmp_path).samples} == {"b/default"}
    (tmp_path / "workflow_history.csv").write_bytes(b"\x00" * 1000)
    assert read_history(tmp_path).samples == ()


def test_only_the_end_of_a_long_history_is_read(tmp_path: Path) -> None:
    """Runs of long ago are forgotten and a line that is cut in two is left out."""
    finished_run(tmp_path, "old", 30)
    path = tmp_path / "workflow_history.csv"
    lines = path.read_text().splitlines()
    with path.open("a") as handle:
        handle.writelines(f"{lines[1]}\n".replace("finished", "stopped", 1) for _ in range(20_000))
    finished_run(tmp_path, "new", 30)
    assert {sample.run[-11:] for sample in read_history(tmp_path).samples} == {"new/default"}


def test_time_grows_with_frames_and_levels() -> None:
    """By hand: 60 s for 100 frames at 3 levels are 0.2 s per frame and level."""
    history = History((TRACK, replace(TRACK, seconds=66, run="b"), replace(TRACK, seconds=600, run="c")))
    cost = history.cost(Work(stage="track", backend="flow", frames=200, levels=2))
    assert cost.measured
    assert cost.seconds == pytest.approx(200 * 2 * 66 / 300)  # the median is not moved by one slow run


def test_memory_grows_with_frames_and_never_shrinks() -> None:
    """Above the 200 MB of the interpreter it is scaled, at most fourfold, with a fifth on top."""
    history = History((TRACK,))

    def memory_mb(frames: int) -> float:
        return history.cost(Work(stage="track", backend="flow", frames=frames, levels=3)).memory_mb

    assert memory_mb(100) == pytest.approx(360)
    assert memory_mb(10) == pytest.approx(360)
    assert memory_mb(200) == pytest.approx((300 + 100) * 1.2)
    assert memory_mb(100_000) == pytest.approx((300 + 300) * 1.2)


def test_runs_of_like_length_count_before_others() -> None:
    """Fixed costs distort tiny runs: they are used only where there is nothing nearer."""
    tiny = replace(TRACK, frames=2, seconds=30, run="tiny")
    history = History((TRACK, tiny))
    work = Work(stage="track", backend="flow", frames=150, levels=3)
    assert history.cost(work).seconds == pytest.approx(90)
    assert History((tiny,)).cost(work).seconds == pytest.approx(30 * 75)


def test_other_back_ends_do_not_count() -> None:
    """Without a run of the same back end the defaults hold; a model is slower and needs more memory."""
    history = History((TRACK,))
    plain = history.cost(Work(stage="track", backend="warp", frames=100, levels=3))
    model = history.cost(Work(stage="track", backend="sam2_video", frames=100, levels=3))
    on_gpu = history.cost(Work(stage="track", backend="sam2_video", frames=100, levels=3, on_gpu=True))
    assert not plain.measured
    assert plain.seconds < on_gpu.seconds < model.seconds
    assert model.memory_mb > plain.memory_mb
    assert needs_model("semantic_sam")
    assert not needs_model("watershed")


def test_defaults_grow_with_the_image() -> None:
    """Four times the pixels are four times the seconds and more memory; a skipped stage takes none."""
    small = Work(stage="candidates", backend="watershed", frames=100, levels=3)
    large = replace(small, pixels=4 * small.pixels)
    none = History()
    assert none.cost(large).seconds == pytest.approx(4 * none.cost(small).seconds)
    assert none.cost(large).memory_mb > none.cost(small).memory_mb
    assert none.cost(replace(small, skipped=True)).seconds < 0.1
    total = sum(
        none.cost(Work(stage=stage, frames=84, levels=3)).seconds
        for stage in ("candidates", "filter", "track", "lift", "evaluate", "report")
    )
    assert 43 < total < 46.2  # the README's two rooms of 84 frames


def fill(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("x")


@pytest.mark.parametrize(
    ("files", "frames"),
    [
        (
            {
                "": [
                    f"frame-{n:06}.{kind}"
                    for n in range(5)
                    for kind in ("color.jpg", "depth.png", "pose.txt")
                ]
            },
            5,
        ),
        ({"color": ["0.jpg", "1.jpg"], "depth": ["0.png", "1.png", "2.png"], "pose": ["0.txt"]}, 2),
        ({"a": ["0.png"], "b": ["0.jpg", "1.jpg", "2.jpg"]}, 3),
        ({"outputs/color": ["1.5.jpg", "10.25.jpg"], "label": ["0.png", "1.png", "2.png"]}, 2),
        ({"frames/rgb": ["1.5.jpg", "10.25.jpg"], "x": ["notes.txt"]}, 2),
        ({"": ["mesh.ply"]}, 0),
    ],
)
def test_frames_are_counted_by_name(files: dict[str, list[str]], frames: int, tmp_path: Path) -> None:
    """Colour images count, in the folder or below; depth, labels and other files do not, where colour is."""
    for folder, names in files.items():
        fill(tmp_path / folder, names)
    assert count_frames(tmp_path) == frames


def test_counting_gives_up_in_time(tmp_path: Path) -> None:
    """Without patience nothing is counted, and what is known stands for the rest."""
    scans = [tmp_path / str(n) for n in range(3)]
    for n, scan in enumerate(scans):
        fill(scan, [f"{m}.jpg" for m in range(n + 1)])
    assert count_some(scans, 10) == {scans[0]: 1, scans[1]: 2, scans[2]: 3}
    assert count_some(scans, -1) == {}
    assert count_frames(tmp_path / "missing.mp4") == 0
    assert (typical([1, 2, 9]), typical([])) == (2, DEFAULT_FRAMES)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_size_is_read_from_the_header(suffix: str, tmp_path: Path) -> None:
    """The pixels are those that OpenCV writes; other files have none."""
    cv2.imwrite(str(tmp_path / f"0.{suffix}"), np.zeros((30, 40, 3), np.uint8))
    assert image_pixels(tmp_path) == 1200
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / f"0.{suffix}").write_bytes(content)
        assert image_pixels(tmp_path) is None
    assert image_pixels(tmp_path / "missing") is None
