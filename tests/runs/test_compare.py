"""What is told of finished runs: read back in short, and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.sweep_page import write_run
from my3dis.errors import DataError
from my3dis.runs.compare import compare_runs
from my3dis.runs.compare_folders import compare_folders, compare_sweeps
from my3dis.runs.comparison import FigurePair, RunComparison, SweepComparison
from my3dis.runs.overview import find_runs, read_overview


def make(
    folder: Path, length: float = 1.0, *, settings: str = "a: 1\nb: {c: [2, 4]}\n", **manifest: object
) -> Path:
    write_run(folder, folder.parent.name, length, failed=False)
    (folder / "config.yaml").write_text(settings)
    (folder / "environment_snapshot.json").write_text('{"python": "3.11", "packages": {"numpy": "2.4"}}')
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | manifest))
    (folder / "scores.json").unlink()  # full scores are written by the tests that need them
    return folder


def test_overview_has_stages_and_best_scores(tmp_path: Path) -> None:
    """Seconds, peaks and the scores of the best level come back; missing files are left out."""
    folder = tmp_path / "room" / "default"
    write_run(folder, "room", 1.0, failed=False)
    run = read_overview(folder)
    assert (run.scene, run.frames, run.status) == ("room", 165, "finished")
    assert run.seconds == pytest.approx(120 + 3 + 170 + 20 + 2 + 4)
    track = run.stage("track")
    assert track is not None
    assert (track.peak_gpu_mb, track.masks_out) == (21_000, 9000)
    assert [(s.target, s.level, s.ap50) for s in run.scores] == [("objects", 2, 0.4), ("parts", 4, 0.4)]
    plain = run.as_json()
    assert json.loads(json.dumps(plain)) == plain | {"levels": [2, 4, 6]}
    with pytest.raises(DataError, match=r"manifest\.json"):
        read_overview(tmp_path)


def test_differences_of_two_runs(tmp_path: Path) -> None:
    """Settings key by key, versions, inputs, seconds and counts; what is the same is left out."""
    a = make(tmp_path / "room" / "a")
    b = make(
        tmp_path / "room" / "b",
        2.0,
        settings="a: 1\nb: {c: [2, 6], d: null}\n",
        version="1",
        checkpoints={"w/model.pt": "0123456789abcdef0123"},
    )
    found = compare_runs(a, b)
    assert [(d.name, d.a, d.b) for d in found.settings] == [
        ("b.c", "[2, 4]", "[2, 6]"),
        ("b.d", None, "null"),
    ]
    assert [(d.name, d.a, d.b) for d in found.versions] == [
        ("my3dis", "0", "1"),
        ("checkpoint model.pt", None, "0123456789abcdef"),
    ]
    assert [d.name for d in found.inputs] == ["frames selected"]
    seconds = {pair.name: pair for pair in found.seconds}
    assert seconds["track"].ratio == pytest.approx(2.0)
    assert seconds["all"].difference == pytest.approx(319)
    assert ("masks after track", 9000, 9000) in [(c.name, c.a, c.b) for c in found.counts]
    assert compare_runs(a, a).settings == ()
    json.dumps(found.as_json())


def test_undefined_figures_have_no_ratio() -> None:
    """Nothing is divided by nothing or by zero."""
    assert FigurePair(name="x", a=0.0, b=3.0).ratio is None
    assert FigurePair(name="x", a=None, b=3.0).difference is None


def test_folders_of_runs_scene_by_scene(tmp_path: Path) -> None:
    """Scenes of one name are compared, means are over those in both, the others are named."""
    for root, scenes in (("one", ("a", "b", "c")), ("two", ("b", "c", "d"))):
        for n, scene in enumerate(scenes):
            write_run(tmp_path / root / scene / "default", scene, 1.0 + n, failed=False)
    found = compare_sweeps(tmp_path / "one", tmp_path / "two")
    assert [scene.scene for scene in found.scenes] == ["b", "c"]
    assert (found.only_a, found.only_b) == (("a",), ("d",))
    assert found.means[0].name == "seconds (mean of 2)"
    assert found.means[0].a == pytest.approx(319 * 2.5)
    assert found.means[0].b == pytest.approx(319 * 1.5)
    objects = next(pair for pair in found.means if pair.name.startswith("objects AP50"))
    assert objects.a == pytest.approx((0.25 + 0.2) / 2)
    assert isinstance(compare_folders(tmp_path / "one", tmp_path / "two"), SweepComparison)
    runs = [next(iter(find_runs(tmp_path / root))) for root in ("one", "two")]
    for run in runs:
        (run / "scores.json").unlink()
    assert isinstance(compare_folders(*runs), RunComparison)
    json.dumps(found.as_json())


def test_runs_that_broke_off_are_no_gain(tmp_path: Path) -> None:
    """Means of seconds and memory are over scenes that were finished in both folders."""
    for root in ("one", "two"):
        for n, scene in enumerate(("a", "b")):
            write_run(
                tmp_path / root / scene / "default", scene, 1.0 + n, failed=(root, scene) == ("two", "b")
            )
    found = compare_sweeps(tmp_path / "one", tmp_path / "two")
    assert found.scenes[1].statuses == ("finished", "failed")
    assert [pair.name for pair in found.means[:2]] == ["seconds (mean of 1)", "peak memory, MB (mean of 1)"]
    assert (found.means[0].a, found.means[0].b) == (319.0, 319.0)


def test_folders_that_are_no_runs_are_named(tmp_path: Path) -> None:
    """A run beside a folder of runs, an empty folder, a file and a missing path each have their sentence."""
    write_run(tmp_path / "one" / "a" / "default", "a", 1.0, failed=False)
    run, empty, file = tmp_path / "one" / "a" / "default", tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("x")
    for wrong, words in (
        (tmp_path / "one", "a folder of runs"),
        (empty, "a folder without runs"),
        (file, "a file"),
        (tmp_path / "absent", "nothing"),
    ):
        with pytest.raises(DataError, match=f"found .*{words}"):
            compare_folders(run, wrong)
