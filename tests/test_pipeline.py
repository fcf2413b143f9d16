"""A run takes over what is unchanged, survives what can happen to it, and records all of it."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from my3dis import pipeline
from my3dis.config.load import load_config
from my3dis.errors import ArchiveError, ConfigError, DataError, ResourceError, StageError
from my3dis.pipeline import RunResult, run_scan, run_stage
from my3dis.runs.events import read_events
from my3dis.runs.lock import run_lock
from my3dis.runs.manifest import StageStatus, read_manifest
from my3dis.runs.start import predicted_skips
from my3dis.types import ScanOverview
from tests.runs.fakes import FakeReader, FakeStages, install, make_scan

ROOT = Path(__file__).resolve().parents[1]
ALL = ["candidates", "filter", "track", "lift", "evaluate", "report"]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FakeStages:
    fake = FakeStages()
    install(monkeypatch, fake)
    return fake


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return make_scan(tmp_path / "room")


def statuses(result: RunResult) -> dict[str, str]:
    return {stage.name: stage.status for stage in result.stages}


def events(result: RunResult, kind: str) -> list[dict[str, object]]:
    return [event for event in read_events(result.run_dir / "events.jsonl") if event["event"] == kind]


def raise_(error: BaseException) -> None:
    raise error


def test_first_run_writes_every_record(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """All stages run in order, and settings, manifest, summary, timings, events and history are there."""
    result = run_scan(scan, tmp_path / "out", {"experiment.tag": "first"})
    assert stages.ran == ALL
    assert result.run_dir == tmp_path / "out" / "room" / "default"
    assert result.report == result.run_dir / "report.html"
    assert [warning.reason for warning in result.warnings] == ["no_comparison"]
    assert load_config(result.run_dir / "config.yaml", environment=False).experiment.tag == "first"
    manifest = read_manifest(result.run_dir / "manifest.json")
    assert manifest.status == "finished"
    assert manifest.scan == str(scan)
    assert [(s.name, s.status) for s in manifest.stages] == [(name, "done") for name in ["check", *ALL]]
    timings = json.loads((result.run_dir / "stage_timings.json").read_text())["stages"]
    assert list(timings) == ALL
    assert timings["track"]["masks_out"] == 6
    assert timings["track"]["peak_gpu_mb"] == {}
    assert timings["track"]["peak_rss_mb"] > 1
    assert timings["track"]["continued_from"] == 0
    summary = json.loads((result.run_dir / "workflow_summary.json").read_text())
    assert summary["environment"] == json.loads((result.run_dir / "environment_snapshot.json").read_text())
    assert summary["environment"]["packages"]["numpy"]
    assert summary["warnings"][0]["reason"] == "no_comparison"
    kinds = [event["event"] for event in read_events(result.run_dir / "events.jsonl")]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("stage_started") == kinds.count("stage_finished") + 1 == 7  # and the check
    with (tmp_path / "out" / "workflow_history.csv").open() as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 1
    assert lines[0]["tag"] == "first"
    assert lines[0]["stages_run"].split() == ALL
    leftovers = [p.name for p in result.run_dir.iterdir() if p.name.startswith(".")]
    assert leftovers == []


def test_second_run_does_nothing_and_says_so(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """The same command again runs no stage, leaves the records alone and gives the same result."""
    run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    before = {
        p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file() and p.suffix != ".jsonl"
    }
    result = run_scan(scan, tmp_path / "out")
    assert stages.ran == []
    assert result.did_nothing
    assert [warning.reason for warning in result.warnings] == ["no_comparison"]
    assert len(events(result, "stage_reused")) == 6
    assert len(events(result, "run_unchanged")) == 1
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    ("change", "made_again"),
    [
        ({"stages.lift.min_points": 7}, ["lift", "evaluate", "report"]),
        ({"stages.ssam.min_area": 7}, ALL),
        ({"stages.report.name": "page"}, ["report"]),
        ({"experiment.tag": "new"}, []),
        ({"experiment.frames": "::2"}, ALL),
    ],
)
def test_changed_setting_makes_again_what_depends_on_it(
    change: dict[str, object], made_again: list[str], stages: FakeStages, scan: Path, tmp_path: Path
) -> None:
    """Only the stages that use a changed setting, and those after them, run again; the rest is taken over."""
    run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    result = run_scan(scan, tmp_path / "out", change)
    assert stages.ran == made_again
    assert [n for n, s in statuses(result).items() if s == "reused"] == [
        n for n in ALL if n not in made_again
    ]
    timings = json.loads((result.run_dir / "stage_timings.json").read_text())["stages"]
    if made_again:
        assert [name for name in ALL if not timings[name]["reused"]] == made_again
    config = load_config(result.run_dir / "config.yaml", environment=False)
    assert config.experiment.tag == change.get("experiment.tag")


def test_change_is_told_and_old_outputs_are_removed(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """The difference is an event `key: old -> new`; a renamed report's old page is gone."""
    run_scan(scan, tmp_path / "out")
    result = run_scan(scan, tmp_path / "out", {"stages.report.name": "page", "stages.lift.min_points": 7})
    assert [event["change"] for event in events(result, "changed")] == [
        "stages.lift.min_points: 50 -> 7",
        "stages.report.name: report -> page",
    ]
    assert (result.run_dir / "page.html").is_file()
    assert not (result.run_dir / "report.html").exists()


def test_keep_refuses_a_change(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """--keep names what changed and touches nothing; without a change it goes through."""
    run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    with pytest.raises(ConfigError, match=r"--keep.*stages\.lift\.min_points: 50 -> 7"):
        run_scan(scan, tmp_path / "out", {"stages.lift.min_points": 7}, keep=True)
    assert run_scan(scan, tmp_path / "out", keep=True).did_nothing
    assert stages.ran == []


def test_changed_scan_files_are_noticed(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A scan whose files changed is segmented again."""
    run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    (scan / "3.jpg").write_text("another image")
    run_scan(scan, tmp_path / "out")
    assert stages.ran == ALL


def test_missing_output_is_made_again(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A deleted result is made again, what rests on it is still right and stays."""
    result = run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    (result.run_dir / "instances.npz").unlink()
    run_scan(scan, tmp_path / "out")
    assert stages.ran == ["lift"]


def test_changed_output_is_made_again(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A result that was cut off since is no result: it is made again, not taken over."""
    result = run_scan(scan, tmp_path / "out")
    stages.ran.clear()
    (result.run_dir / "instances.npz").write_text("")
    again = run_scan(scan, tmp_path / "out")
    assert stages.ran == ["lift"]
    assert events(again, "stage_started")[-1]["why"] == "instances.npz was changed since"
    assert run_scan(scan, tmp_path / "out").did_nothing


def test_damaged_settings_of_a_run_are_written_again(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """Bytes that are no text in the run's config.yaml stop nothing."""
    config = run_scan(scan, tmp_path / "out").run_dir / "config.yaml"
    before = config.read_bytes()
    config.write_bytes(b"\xff\xfe" + before)
    assert run_scan(scan, tmp_path / "out").did_nothing
    assert config.read_bytes() == before


def test_dry_run_writes_nothing(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A dry run tells the plan and leaves no file."""
    result = run_scan(scan, tmp_path / "out", dry_run=True)
    assert set(statuses(result).values()) == {"planned"}
    assert not (tmp_path / "out").exists()
    assert stages.ran == []


def test_failed_stage_leaves_the_finished_ones(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A stage's error is recorded; the next run goes on from there and repeats nothing."""
    stages.fail["track"] = lambda: raise_(DataError("expected a frame, found none"))
    with pytest.raises(DataError, match="expected a frame"):
        run_scan(scan, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "room" / "default" / "manifest.json")
    assert manifest.status == "failed"
    assert [(s.name, s.status) for s in manifest.stages] == [
        ("check", "done"),
        ("candidates", "done"),
        ("filter", "done"),
        ("track", "failed"),
    ]
    stages.fail.clear()
    stages.ran.clear()
    result = run_scan(scan, tmp_path / "out")
    with (tmp_path / "out" / "workflow_history.csv").open() as handle:
        assert [line["status"] for line in csv.DictReader(handle)] == ["failed", "finished"]
    assert stages.ran == ["track", "lift", "evaluate", "report"]
    assert [event["message"] for event in events(result, "failed")] == ["expected a frame, found none"]
    timings = json.loads((result.run_dir / "stage_timings.json").read_text())["stages"]
    assert timings["track"]["continued_from"] == 1  # the frame that was committed before the failure


def test_interrupt_is_recorded_and_passed_on(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """Ctrl-C leaves a manifest that says interrupted, and the lock is free again."""
    stages.fail["lift"] = lambda: raise_(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_scan(scan, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "room" / "default" / "manifest.json")
    assert manifest.status == "interrupted"
    lift = manifest.stage("lift")
    assert lift is not None
    assert lift.status is StageStatus.INTERRUPTED
    stages.fail.clear()
    assert statuses(run_scan(scan, tmp_path / "out"))["lift"] == "done"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "the memory ran out"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "full"),
        (OSError(errno.EFBIG, "File too large"), "full"),
    ],
)
def test_shortages_become_resource_errors(
    error: BaseException, words: str, stages: FakeStages, scan: Path, tmp_path: Path
) -> None:
    """Running out of memory or disk inside a stage is a ResourceError with what to do."""
    stages.fail["lift"] = lambda: raise_(error)
    with pytest.raises(ResourceError, match=words):
        run_scan(scan, tmp_path / "out")


def test_a_bug_is_recorded_and_not_disguised(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """An unexpected exception comes through as it is, and the manifest says failed."""
    stages.fail["lift"] = lambda: raise_(ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError):
        run_scan(scan, tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "room" / "default" / "manifest.json").status == "failed"


def test_cut_off_archive_is_refused(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """An archive that lost its end since is named, with what to do; finished stages stay."""
    result = run_scan(scan, tmp_path / "out")
    archive = result.run_dir / "masks.my3dis"
    archive.write_bytes(archive.read_bytes()[:-5000])
    stages.ran.clear()
    with pytest.raises(ArchiveError, match=r"masks\.my3dis.*delet"):
        run_scan(scan, tmp_path / "out")
    assert stages.ran == []
    archive.write_bytes(b"no database")
    with pytest.raises(ArchiveError, match=r"masks\.my3dis"):
        run_scan(scan, tmp_path / "out")
    archive.unlink()
    run_scan(scan, tmp_path / "out")
    assert stages.ran == ["filter"]


def test_slice_that_selects_nothing_tells_the_count(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A slice beyond the end says how many frames there are, before anything is written."""
    with pytest.raises(ConfigError, match="selects none of the scan's 6 frames"):
        run_scan(scan, tmp_path / "out", {"experiment.frames": "100:200"})
    assert not (tmp_path / "out").exists()


def test_output_below_a_file_is_refused(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """An output folder that cannot be made is a ResourceError."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="choose another output folder"):
        run_scan(scan, tmp_path / "file" / "out")


def test_path_that_is_no_text_is_refused(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A folder name in another encoding, which JSON and HTML cannot hold, is said before anything starts."""
    with pytest.raises(ConfigError, match=r"expected a path in UTF-8, found .*udcff"):
        run_scan(scan, tmp_path / "out\udcff")
    assert stages.ran == []


def test_two_runs_do_not_share_a_folder(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """While one process works in a folder, another is told so."""
    result = run_scan(scan, tmp_path / "out")
    with run_lock(result.run_dir), pytest.raises(ResourceError, match=f"another process .{os.getpid()}."):
        run_scan(scan, tmp_path / "out")


def test_plan_made_before_another_process_worked_is_not_carried_out(
    stages: FakeStages, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the folder held when the plan was made must still be there once it is locked."""
    run_scan(scan, tmp_path / "out")
    introduce = pipeline.introduce

    def other_process(*arguments: object) -> None:
        monkeypatch.setattr(pipeline, "introduce", introduce)
        run_scan(scan, tmp_path / "out", {"stages.lift.min_points": 7})

    monkeypatch.setattr(pipeline, "introduce", other_process)
    with pytest.raises(ResourceError, match="run the same command again"):
        run_scan(scan, tmp_path / "out")
    written = load_config(tmp_path / "out" / "room" / "default" / "config.yaml", environment=False)
    assert written.stages.lift.min_points == 7
    assert statuses(run_scan(scan, tmp_path / "out"))["lift"] == "done"


def test_stages_without_depth_are_skipped_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, scan: Path, tmp_path: Path
) -> None:
    """A skipped stage says why, is not run again, and the report is made all the same."""
    fake = FakeStages()
    install(monkeypatch, fake, lambda path: FakeReader(path, has_depth=False))
    result = run_scan(scan, tmp_path / "out")
    assert statuses(result)["lift"] == "skipped"
    assert next(s.message for s in result.stages if s.name == "lift") == "no depth"
    assert result.scores is None
    assert result.report is not None
    assert run_scan(scan, tmp_path / "out").did_nothing


def test_one_stage_again_makes_later_ones_stale(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """`stage` runs one stage with the run's own settings; the next run makes the ones after it again."""
    result = run_scan(scan, tmp_path / "out", {"stages.tracker.iou_threshold": 0.4})
    stages.ran.clear()
    run_stage(result.run_dir, "track")
    assert stages.ran == ["track"]
    run_scan(scan, tmp_path / "out", {"stages.tracker.iou_threshold": 0.4})
    assert stages.ran == ["track", "lift", "evaluate", "report"]


def test_one_stage_again_keeps_the_names_of_all_back_ends(
    stages: FakeStages, scan: Path, tmp_path: Path
) -> None:
    """The manifest still says what made the stages that were not made again, versions included."""
    result = run_scan(scan, tmp_path / "out")
    before = read_manifest(result.run_dir / "manifest.json").plugins
    assert [role for role, _ in before] == ["dataset", "proposer", "tracker"]
    run_stage(result.run_dir, "report")
    assert read_manifest(result.run_dir / "manifest.json").plugins == before


def test_one_stage_with_wrong_words(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """An unknown stage or level and a folder that is no run are named."""
    result = run_scan(scan, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"expected levels of this run \(2, 4, 6\), found 5"):
        run_stage(result.run_dir, "track", levels=(4, 5))
    with pytest.raises(ConfigError, match="expected a stage"):
        run_stage(result.run_dir, "lfit")
    with pytest.raises(DataError, match="folder of a run"):
        run_stage(tmp_path, "lift")


def test_one_stage_needs_those_before_it(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A stage whose input was never finished says which stage is needed."""
    stages.fail["track"] = lambda: raise_(DataError("no"))
    with pytest.raises(DataError):
        run_scan(scan, tmp_path / "out")
    with pytest.raises(StageError, match="reads what track writes, but track is failed"):
        run_stage(tmp_path / "out" / "room" / "default", "lift")


@pytest.mark.parametrize(
    ("file", "name", "maker"),
    [
        ("candidates.my3dis", "filter", "candidates"),
        ("masks.my3dis", "track", "filter"),
        ("tracks.my3dis", "lift", "track"),
        ("instances.npz", "evaluate", "lift"),
    ],
)
def test_one_stage_needs_the_files_of_those_before_it(
    file: str, name: str, maker: str, stages: FakeStages, scan: Path, tmp_path: Path
) -> None:
    """A stage whose input was deleted leaves its own result alone; the next run mends all."""
    run_dir = run_scan(scan, tmp_path / "out").run_dir
    there = {path.name for path in run_dir.iterdir()}
    (run_dir / file).unlink()
    stages.ran.clear()
    with pytest.raises(StageError, match=f"reads what {maker} writes, but {file} is missing"):
        run_stage(run_dir, name)
    assert stages.ran == []
    run_scan(scan, tmp_path / "out")
    assert stages.ran == [maker]
    assert {path.name for path in run_dir.iterdir()} == there


def test_one_stage_with_a_damaged_archive_keeps_its_own_result(
    stages: FakeStages, scan: Path, tmp_path: Path
) -> None:
    """What the stage wrote before is not deleted when what it would be made from is damaged."""
    run_dir = run_scan(scan, tmp_path / "out").run_dir
    (run_dir / "candidates.my3dis").write_bytes(b"no database")
    before = (run_dir / "masks.my3dis").read_bytes()
    with pytest.raises(ArchiveError, match=r"candidates\.my3dis"):
        run_stage(run_dir, "filter")
    assert (run_dir / "masks.my3dis").read_bytes() == before


def test_process_is_left_as_it_was(stages: FakeStages, scan: Path, tmp_path: Path) -> None:
    """A run changes neither the working directory nor sys.path nor the environment."""
    before = (Path.cwd(), list(sys.path), dict(os.environ))
    run_scan(scan, tmp_path / "out")
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before


def test_relative_paths_mean_the_same_from_everywhere(
    stages: FakeStages, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run started with relative paths is the same run when named from another folder."""
    monkeypatch.chdir(tmp_path)
    first = run_scan("room", "out")
    monkeypatch.chdir("/")
    stages.ran.clear()
    assert run_scan(scan, first.run_dir.parents[1]).did_nothing
    run_stage(first.run_dir, "report")
    assert stages.ran == ["report"]


CHILD = """
import sys
from pathlib import Path
import pytest
from my3dis.pipeline import run_scan
from tests.runs.fakes import FakeStages, install
install(pytest.MonkeyPatch(), FakeStages(frame_seconds=0.02))
run_scan(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_run_repeats_no_finished_stage(stages: FakeStages, tmp_path: Path) -> None:
    """After kill -9 in the middle of tracking, the run goes on from the frames that were committed."""
    scan = make_scan(tmp_path / "room", frames=40)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(scan), str(tmp_path / "out")], env=environment)
    folder = tmp_path / "out" / "room" / "default"
    deadline = time.monotonic() + 60
    while not (folder / "tracks.my3dis").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    child.wait()
    manifest = read_manifest(folder / "manifest.json")
    track = manifest.stage("track")
    assert track is not None
    assert track.status is StageStatus.RUNNING
    result = run_scan(scan, tmp_path / "out")
    assert stages.ran == ["track", "lift", "evaluate", "report"]
    timings = json.loads((folder / "stage_timings.json").read_text())["stages"]
    assert 0 < timings["track"]["continued_from"] < 40
    assert len(events(result, "lock_taken_over")) == 1
    assert (folder / "instances.npz").read_text() == "40"


def test_full_disk_in_a_run(tmp_path: Path) -> None:
    """Under a file size limit a run ends with ResourceError, and what was finished stays finished."""
    scan = make_scan(tmp_path / "room")
    code = CHILD.replace(
        "run_scan(Path",
        "import resource\nfrom my3dis.errors import ResourceError\n"
        "fakes = FakeStages()\n"
        "fakes.fail['filter'] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "install(pytest.MonkeyPatch(), fakes)\n"
        "try:\n    run_scan(Path",
    )
    code += "except ResourceError as error:\n    print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(scan), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout
    folder = tmp_path / "out" / "room" / "default"
    candidates = read_manifest(folder / "manifest.json").stage("candidates")
    assert candidates is not None
    assert candidates.is_complete


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [
        (
            {"stages.ssam.enabled": False},
            {
                "candidates": "switched off by stages.ssam.enabled",
                "filter": "there are no candidates",
                "track": "there are no masks",
                "lift": "there are no tracks",
                "evaluate": "there are no tracks",
            },
        ),
        (
            {"stages.tracker.enabled": False, "stages.lift.enabled": False},
            {
                "track": "switched off by stages.tracker.enabled",
                "lift": "switched off by stages.lift.enabled",
                "evaluate": "there are no tracks",
            },
        ),
        ({"stages.report.enabled": False}, {"report": "switched off by stages.report.enabled"}),
    ],
)
def test_what_a_switched_off_stage_takes_with_it_is_told_before(
    tmp_path: Path, settings: dict[str, object], skipped: dict[str, str]
) -> None:
    """A stage with nothing to read is announced as skipped, with the reason, like one switched off."""
    overview = ScanOverview(
        scene="room",
        dataset="fake",
        root=tmp_path,
        frame_count=1,
        image_size=(4, 4),
        has_depth=True,
        has_pose=True,
        ground_truth=tmp_path,
    )
    assert dict(predicted_skips(overview, load_config(values=settings))) == skipped
