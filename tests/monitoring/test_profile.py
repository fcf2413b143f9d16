"""The curve of a stage's memory: what is kept of it, and the slope that is read from it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter
from my3dis.errors import DataError
from my3dis.monitoring.profile import MemoryProfile, StageProfiler, read_profiles, save_profile
from my3dis.monitoring.profile_view import describe_profile, keep_profile
from my3dis.monitoring.sampler import MemorySample
from my3dis.runs.layout import RunLayout
from tests.runs.fakes import one_mask

MASKS = 20_000
FRAMES = 100


def profile_of(rss_mb: list[float], passes: int = 1, **changes: object) -> MemoryProfile:
    """Return a profile with a sample per step."""
    samples = tuple(MemorySample(0.1 * i, value, i, i * 10) for i, value in enumerate(rss_mb))
    values: dict[str, object] = {
        "stage": "track",
        "levels": (2, 4),
        "frames": FRAMES,
        "total": FRAMES * passes,
        "masks": MASKS,
        "peak_mb": max(rss_mb),
        "samples": samples,
    }
    return MemoryProfile(**(values | changes))  # type: ignore[arg-type]


def test_slope_of_a_line_is_its_slope() -> None:
    """3 MB over the 20,000 masks of a stage are 1.5 MB per 10,000, with the warm-up and without."""
    (slope,) = profile_of([100 + 3 * i / FRAMES for i in range(FRAMES + 1)]).slopes
    assert slope.mb_per_10k == pytest.approx(1.5)
    assert slope.mb_per_10k_all == pytest.approx(1.5)
    assert (slope.name, slope.samples) == ("", 81)


def test_what_is_filled_once_is_told_apart_from_growth() -> None:
    """A rise of 50 MB in the first fifth shows in the second slope only."""
    curve = [100 + 50 * min(1, i / 20) for i in range(FRAMES + 1)]
    (slope,) = profile_of(curve).slopes
    assert slope.mb_per_10k == pytest.approx(0, abs=1e-9)
    expected = np.polyfit(np.arange(FRAMES + 1) / FRAMES * MASKS, curve, 1)[0] * 10_000
    assert slope.mb_per_10k_all == pytest.approx(expected)


def test_each_pass_over_the_frames_has_its_own_slope() -> None:
    """A stage that goes over its frames twice, flat first and then growing, is not averaged."""
    flat, growing = [100.0] * (FRAMES + 1), [100 + 8 * (i + 1) / FRAMES for i in range(FRAMES)]
    first, second = profile_of(flat + growing, passes=2, pass_names=("forward", "backward")).slopes
    assert (first.name, second.name) == ("forward", "backward")
    assert first.mb_per_10k == pytest.approx(0, abs=1e-9)
    assert second.mb_per_10k == pytest.approx(4.0)


def test_no_line_through_too_few_points() -> None:
    """Two samples, no steps or no masks make no slope."""
    assert profile_of([100, 101], frames=1, total=1).slopes[0].mb_per_10k is None
    assert profile_of([100, 101], masks=0).slopes == ()
    assert profile_of([100], total=0).slopes == ()


def test_profiles_survive_the_file(tmp_path: Path) -> None:
    """Stages are kept beside each other; the same stage again takes its own place."""
    path = tmp_path / "memory_profile.json"
    track = profile_of([100.0, 101.0, 102.5], pass_names=("forward",))
    save_profile(path, track)
    save_profile(path, profile_of([90.0], stage="filter"))
    assert save_profile(path, track) == read_profiles(path)
    back = {profile.stage: profile for profile in read_profiles(path)}
    assert set(back) == {"filter", "track"}
    assert back["track"].slopes == track.slopes
    assert [s.rss_mb for s in back["track"].samples] == [100.0, 101.0, 102.5]
    columns = json.loads(path.read_text())["stages"]["track"]["samples"]
    assert (columns["done"], columns["masks_written"]) == ([0, 1, 2], [0, 10, 20])


def test_damaged_profiles_are_named_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Reading tells; a new profile is kept all the same, and the log says what was lost."""
    path = tmp_path / "memory_profile.json"
    assert read_profiles(path) == ()
    path.write_text('{"stages": {"track": 3}}')
    with pytest.raises(DataError, match=r"memory_profile\.json"):
        read_profiles(path)
    save_profile(path, profile_of([1.0]))
    assert len(read_profiles(path)) == 1
    assert "are replaced" in caplog.text


def test_profiler_counts_what_the_stage_wrote(tmp_path: Path) -> None:
    """The masks in the stage's archive stand beside the steps, and calls are passed on."""
    archive = tmp_path / "tracks.my3dis"
    calls: list[tuple[int, int]] = []
    profiler = StageProfiler(MemoryProfile(stage="track", frames=8), archive, curve=True)
    progress = profiler.watch(lambda done, total: calls.append((done, total)))
    with profiler.memory, StreamingSegmentWriter(archive, purpose="tracks") as writer:
        for n in range(1, 9):
            writer.append_frame(n, one_mask(n))
            progress(n, 8)
        profiler.finish(8)
    profile = profiler.profile()
    assert calls == [(n, 8) for n in range(1, 9)]
    assert (profile.total, profile.masks, profile.complete) == (8, 8, True)
    assert (profile.samples[0].done, profile.samples[0].masks_written) == (0, -1)
    assert (profile.samples[-1].done, profile.samples[-1].masks_written) == (8, 8)
    assert profile.peak_mb >= max(sample.rss_mb for sample in profile.samples) > 10


def test_stage_that_stops_keeps_what_there_is(tmp_path: Path) -> None:
    """Without an end the masks are worked out from those written so far, and the text says so."""
    archive = tmp_path / "masks.my3dis"
    profiler = StageProfiler(MemoryProfile(stage="filter", frames=4), archive, curve=True)
    progress = profiler.watch(lambda done, total: None)
    with profiler.memory, StreamingSegmentWriter(archive, purpose="masks") as writer:
        writer.append_frame(0, one_mask(0))
        progress(1, 4)
    profile = profiler.profile()
    assert (profile.complete, profile.masks) == (False, 4)
    assert "did not reach its end" in describe_profile(profile)


def test_description_fits_a_terminal_and_says_what_counts() -> None:
    """Curve, passes, peak and slopes are there in ASCII; few masks bring a warning about the slope."""
    curve = [150 + i / 40 for i in range(3 * FRAMES + 1)]
    names = ("forward", "backward", "relations")
    text = describe_profile(profile_of(curve, passes=3, pass_names=names), width=70)
    assert text.isascii()
    drawn = text.splitlines()[1:13]
    assert max(map(len, drawn)) <= 70
    assert "0 forward" in drawn[-1]
    assert drawn[-1].endswith(" 300")
    assert "peak 157.5 MB" in text
    assert "slope, forward: +1.25 MB per 10,000 masks after the first 20%" in text
    assert "telling" not in text
    assert "telling" in describe_profile(profile_of(curve, masks=4_000))


def test_picture_of_all_profiled_stages(tmp_path: Path) -> None:
    """The picture in the run's folder is XML with a curve per stage, peaks and units."""
    layout = RunLayout(tmp_path)
    keep_profile(layout, profile_of([100.0, 110.0], stage="filter"), "Memory of room <1>")
    keep_profile(layout, profile_of([100.0, 120.0] * 100), "Memory of room <1>")
    root = ElementTree.fromstring(layout.memory_plot.read_text())
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Memory of room <1>" in words
    assert "filter, peak 110 MB" in words
    assert "track, peak 120 MB" in words
    assert "resident memory, MB" in words
    assert words.count("frames done") == 2
