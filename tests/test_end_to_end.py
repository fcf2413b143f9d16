"""The real stages on the built-in scan: what a run leaves behind, and what happens when it is disturbed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import open_archive
from my3dis.cli.main import main
from my3dis.config import Config
from my3dis.masks.codec import DECODED
from my3dis.pipeline import RunResult, run_scan
from my3dis.runs.manifest import read_manifest
from my3dis.runs.scores import load_scores

FRAMES = "::15"
CONTRACT = {
    "config.yaml", "manifest.json", "workflow_summary.json", "stage_timings.json", "events.jsonl",
    "environment_snapshot.json", "candidates.my3dis", "masks.my3dis", "tracks.my3dis", "relations.json",
    "instances.npz", "instances.ply", "scores.json", "comparison", "report.html", "report.md",
}  # fmt: skip


@pytest.fixture(scope="module")
def scan(built_in: Path) -> Path:
    """The built-in scan."""
    return built_in


@pytest.fixture(scope="module")
def finished(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run of a few frames, during which few masks were ever decoded at once."""
    DECODED.reset_peak()
    result = run_scan(scan, tmp_path_factory.mktemp("out"), {"experiment.frames": FRAMES})
    # The codec refuses more than 256; all stages together need a handful.
    assert DECODED.peak <= 8
    return result


def test_run_leaves_exactly_what_is_promised(finished: RunResult) -> None:
    """The run's folder holds the files of the contract and no others."""
    assert {path.name for path in finished.run_dir.iterdir()} == CONTRACT
    assert [stage.status for stage in finished.stages] == ["done"] * 6
    assert finished.report is not None
    assert finished.report.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")
    timings = json.loads((finished.run_dir / "stage_timings.json").read_text())["stages"]
    assert list(timings) == ["candidates", "filter", "track", "lift", "evaluate", "report"]
    assert all(timing["peak_rss_mb"] > 50 for timing in timings.values())


def test_masks_flow_through_the_archives(finished: RunResult) -> None:
    """Every selected frame has masks at every level in all archives, and so have the instances."""
    for name in ("candidates", "masks", "tracks"):
        with open_archive(finished.run_dir / f"{name}.my3dis") as reader:
            assert reader.frames() == [0, 15, 30, 45]
            assert reader.levels() == [2, 4, 6]
            assert reader.count() > 0
            if name == "tracks":
                tracks = reader.tracks()
                seen = np.stack([tracks.obs_track, tracks.obs_frame], axis=1)
                assert len(np.unique(seen, axis=0)) == len(seen) == reader.count()
    with np.load(finished.run_dir / "instances.npz", allow_pickle=False) as instances:
        assert set(instances["level"].tolist()) == {2, 4, 6}
    assert finished.scores is not None
    assert load_scores(finished.scores).instances


def test_second_command_does_nothing(
    finished: RunResult, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command again takes everything over in a moment."""
    begun = time.perf_counter()
    out = finished.run_dir.parents[1]
    assert main(["run", "--scan", str(scan), "--output", str(out), "--frames", FRAMES]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert time.perf_counter() - begun < 10


def test_one_stage_again_gives_the_same(finished: RunResult, tmp_path: Path) -> None:
    """`stage lift` on a copy of the run gives the same instances."""
    copy = tmp_path / "room" / "default"
    shutil.copytree(finished.run_dir, copy)
    assert main(["stage", "lift", str(copy)]) == 0
    for name in ("instance_id", "level", "score", "point_index"):
        with np.load(copy / "instances.npz") as new, np.load(finished.run_dir / "instances.npz") as old:
            assert np.array_equal(new[name], old[name])
    timings = [json.loads((run / "stage_timings.json").read_text()) for run in (copy, finished.run_dir)]
    assert list(timings[0]["stages"]) == list(timings[1]["stages"])


def test_killed_run_goes_on_to_the_same_result(finished: RunResult, scan: Path, tmp_path: Path) -> None:
    """A run killed again and again ends with what an undisturbed one gives; no stage is finished twice."""
    command = [sys.executable, "-m", "my3dis", "run", "--quiet", "--scan", str(scan), "--frames", FRAMES]
    folder = tmp_path / scan.name / "default"
    for file in ("candidates.my3dis", "tracks.my3dis", "instances.npz"):
        child = subprocess.Popen([*command, "--output", str(tmp_path)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 100
        while not (folder / file).exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
    result = run_scan(scan, tmp_path, {"experiment.frames": FRAMES})
    events = (folder / "events.jsonl").read_text().splitlines()
    done = [json.loads(line)["stage"] for line in events if '"stage_finished"' in line]
    assert sorted(done) == sorted({stage.name for stage in result.stages})
    with np.load(folder / "instances.npz") as new, np.load(finished.run_dir / "instances.npz") as old:
        assert all(np.array_equal(new[name], old[name]) for name in old.files)


def test_perfect_masks_of_the_first_level(scan: Path, tmp_path: Path) -> None:
    """With ground truth in place of a proposer and a tracker, only the first level asked for is run."""
    result = run_scan(
        scan,
        tmp_path,
        {
            "experiment.frames": FRAMES,
            "experiment.levels": [2],
            "stages.ssam.proposer": "oracle",
            "stages.report.enabled": False,
        },
    )
    assert result.report is None
    assert result.scores is not None
    best = [r for r in load_scores(result.scores).instances if r.target == "objects" and r.level == 2]
    assert best[0].ap50 is not None
    assert best[0].ap50 > 0.5
    with open_archive(result.run_dir / "tracks.my3dis") as reader:
        assert reader.levels() == [2]


def test_golden_perfect_masks_give_perfect_objects(scan: Path, tmp_path: Path) -> None:
    """With exact masks of all frames, tracking and lifting lose nothing: object AP 100, ids kept."""
    result = run_scan(
        scan,
        tmp_path,
        {"experiment.levels": [2], "stages.ssam.proposer": "oracle", "stages.report.enabled": False},
    )
    assert result.scores is not None
    scores = load_scores(result.scores)
    (objects,) = [
        r
        for r in scores.instances
        if r.target == "objects" and r.level == 2 and r.scores == "constant" and r.selection == "level"
    ]
    assert (objects.ap, objects.ap50, objects.ap25) == (1.0, 1.0, 1.0)
    assert scores.identity is not None
    assert scores.identity.tracks_per_object <= 1.2
    assert scores.identity.returning_kept == scores.identity.returning >= 10


def test_one_level_of_a_run(finished: RunResult, tmp_path: Path) -> None:
    """`stage track --levels 4` tracks that level only, and `stage lift` makes instances of it alone."""
    copy = tmp_path / "room" / "default"
    shutil.copytree(finished.run_dir, copy)
    assert main(["stage", "track", str(copy), "--levels", "4"]) == 0
    with open_archive(copy / "tracks.my3dis") as reader:
        assert reader.levels() == [4]
    assert main(["stage", "lift", str(copy), "--levels", "4"]) == 0
    with np.load(copy / "instances.npz", allow_pickle=False) as instances:
        assert set(instances["level"].tolist()) == {4}
        assert set(instances["parent_id"].tolist()) == {-1}


def test_truncated_image_is_named_and_finished_stages_stay(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image cut off half way ends the run with exit code 3 and its name; mending it lets the run go on."""
    copy = tmp_path / "scan"
    shutil.copytree(scan, copy)
    image = sorted((copy / "color").iterdir())[30]
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    arguments = ["run", "--quiet", "--scan", str(copy), "--output", str(tmp_path / "out"), "--frames", FRAMES]
    arguments += ["--set", "stages.report.enabled=false", "--set", "experiment.check=off"]
    assert main(arguments) == 3
    error = capsys.readouterr().err
    assert image.name in error
    assert "Traceback" not in error
    manifest = read_manifest(tmp_path / "out" / "scan" / "default" / "manifest.json")
    assert manifest.status == "failed"
    image.write_bytes(content)
    assert main(arguments) == 0


def test_demo_reports_last(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`my3dis demo` runs the built-in scan with defaults only, and prints the report's path last."""
    shutil.copytree(scan, tmp_path / "demo" / "scan" / scan.name)  # found there, it is not drawn again
    seen: list[object] = []

    def run_quickly(path: Path, output: Path, config: object, **options: object) -> RunResult:
        seen.append(config)
        return run_scan(path, output, {"experiment.frames": "::30"})

    monkeypatch.setattr("my3dis.pipeline.run_scan", run_quickly)
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 0
    last = Path(capsys.readouterr().out.splitlines()[-1])
    assert last.name == "report.html"
    assert last.is_file()
    assert tmp_path / "demo" in last.parents
    assert seen == [Config()]


def test_check_command(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`my3dis check` exits 0 on a scan that fits and 3 when its poses are inverted; a run stops there too."""
    pictures = ["--pictures", str(tmp_path / "pictures")]
    assert main(["check", str(scan), *pictures]) == 0
    said = capsys.readouterr().out
    assert "fit together" in said
    assert said.splitlines()[-1] == "cause: none"
    copy = tmp_path / "inverted"
    shutil.copytree(scan, copy)
    for path in (copy / "pose").iterdir():
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    assert main(["check", str(copy), *pictures]) == 3
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "cause: inverse"
    correction = "experiment.correct.poses=[inverse]"
    assert f"--set '{correction}'" in said
    assert len(list((tmp_path / "pictures" / "inverted").glob("*.jpg"))) == 4
    assert main(["check", str(copy), *pictures, "--set", correction]) == 0
    capsys.readouterr()
    arguments = ["run", "--scan", str(copy), "--output", str(tmp_path / "out"), "--frames", "::6"]
    assert main(arguments) == 3
    refused = capsys.readouterr().err
    assert "experiment.check=warn" in refused
    assert correction in refused
    assert not (tmp_path / "out" / "inverted" / "default" / "candidates.my3dis").exists()
    settings = {"experiment.check": "warn", "experiment.frames": "::30", "stages.report.enabled": False}
    result = run_scan(copy, tmp_path / "out", settings)
    assert result.warnings[0].reason == "scan_does_not_fit"
    assert run_scan(copy, tmp_path / "out", settings).warnings == result.warnings
