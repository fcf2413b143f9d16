"""The command line: help that teaches, one sentence per mistake, and the exit codes of the contract."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from my3dis import __version__
from my3dis.cli.main import build_parser, main
from tests.runs.fakes import FakeStages, install, make_scan
from tests.scheduling.tiny_scans import SETTINGS as TINY
from tests.scheduling.tiny_scans import install_plugin, make_tiny

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    *("demo", "run", "stage", "evaluate", "inspect", "verify", "export", "import-legacy"),
    *("report", "compare", "plugins", "check", "weights", "doctor"),
)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FakeStages:
    fake = FakeStages()
    install(monkeypatch, fake)
    return fake


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return make_scan(tmp_path / "room")


def run_cli(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "my3dis", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]  # options of subprocess.run


def test_help_is_quick_and_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`my3dis --help` names all commands and exit codes; the heavy libraries are not loaded for it."""
    code = "import sys; from my3dis.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.splitlines()[-1]
    for heavy in ("'torch'", "'cv2'", "'higra'", "'scipy'", "'numpy'", "'rich'"):
        assert heavy not in modules
    for command in COMMANDS:
        assert f"\n    {command}" in done.stdout
    assert "exit codes" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's help shows how it is used."""
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"examples:\n  my3dis {command}" in text


def test_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version; without a command the help is shown."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"my3dis {__version__}\n"
    assert main([]) == 0
    assert "start here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["run", "--ouput", "x"], "unknown option '--ouput'; did you mean '--output'?"),
        (["run", "--lev=2"], "unknown option '--lev'; did you mean '--levels'?"),
        (["stage", "lfit", "x"], "unknown value 'lfit'; did you mean 'lift'?"),
        (["stage", "lift"], "RUN_DIR"),
        (["run", "a.yaml", "b.yaml"], "unexpected argument 'b.yaml'"),
        (["run", "--scan"], "expected one argument"),
        (["run", "--set", "novalue"], "expected --set KEY=VALUE"),
        (["run", "--set", "stages.ssam.min_aera=3"], "did you mean stages.ssam.min_area?"),
        (["run", "--levels", "6,4"], "rise without repeats"),
        (["run", "--frames", "abc"], "start:end:step"),
        (["run"], "nothing to run: give --scan"),
        (["run", "--config", "missing.yaml"], "expected a settings file at missing.yaml"),
        (["run", "."], "did you mean --scan .?"),
        (["stage", "lift", ".", "--levels", "x"], "expected numbers such as 2,4"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A misspelt command, option or setting exits 2 with a sentence that names the nearest, no traceback."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("my3dis: error: ")
    assert words in error
    assert "Traceback" not in error


def test_run_prints_the_plan_first_and_the_report_last(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was found and what is missing comes before any stage; stdout ends with the report's path."""
    out = tmp_path / "out"
    assert main(["run", "--scan", str(scan), "--output", str(out), "--levels", "2,4", "--frames", "::2"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == str(out / "room" / "default" / "report.html")
    found, skipped = printed.err.index("Found      some colour"), printed.err.index("Skipped    evaluate")
    assert max(found, skipped) < printed.err.index("candidates started")
    assert "3 of 6 (0::2)" in printed.err
    for name in ("candidates", "filter", "track", "lift", "report"):
        assert printed.err.count(f"{name} started") == printed.err.count(f"{name} done in") == 1
    assert "warning: report: nothing to compare" in printed.err


def test_run_again_says_that_there_is_nothing_to_do(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second run says so and still prints the report's path; a changed setting is shown."""
    arguments = ["run", "--scan", str(scan), "--output", str(tmp_path / "out")]
    main(arguments)
    capsys.readouterr()
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "nothing to do" in printed.err
    assert printed.out.endswith("report.html\n")
    assert main([*arguments, "--set", "stages.lift.min_points=9", "--dry-run"]) == 0
    assert "Changed    stages.lift.min_points: 50 -> 9" in capsys.readouterr().err
    assert main([*arguments, "--set", "stages.lift.min_points=9", "--keep"]) == 2


def test_quiet_shows_warnings_only(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --quiet only warnings and the result are printed."""
    assert main(["run", "--quiet", "--scan", str(scan), "--output", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "nothing to compare" in lines[0]


def test_scene_list_goes_on_after_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing scene is named with its reason, the others run, and the exit code is 6."""
    install_plugin(tmp_path, monkeypatch)
    scans = tmp_path / "scans"
    for name in ("room2", "room10", "hall1"):
        make_tiny(scans / name)
    make_tiny(scans / "room9", frames=0)
    settings = tmp_path / "sweep.yaml"
    values = {"experiment.dataset_root": str(scans), "experiment.scenes": ["room*"]}
    settings.write_text(json.dumps({**TINY, **values, "experiment.output_root": str(tmp_path / "out")}))
    assert main(["run", str(settings)]) == 6
    printed = capsys.readouterr()
    rows = [line.split()[:2] for line in printed.out.splitlines()]
    page = str(tmp_path / "out" / "sweep.html")
    assert rows == [["room2", "done"], ["room9", "failed"], ["room10", "done"], [page]]
    assert "selects none of the scan's 0 frames" in printed.out
    assert "1 of 3 scenes failed" in printed.err
    assert main(["run", str(settings), "--set", "experiment.scenes=rom2"]) == 2
    assert "did you mean room2?" in capsys.readouterr().err


def test_unwritable_output_is_5_and_missing_scan_3(scan: Path, tmp_path: Path) -> None:
    """The exit codes of the contract, through a process of its own."""
    missing = run_cli("run", "--scan", str(tmp_path / "nowhere"), "--output", str(tmp_path))
    assert missing.returncode == 3
    assert missing.stderr.startswith("my3dis: error: ")
    (tmp_path / "file").write_text("x")
    code = f"""
import sys, pytest
from my3dis.cli.main import main
from tests.runs.fakes import FakeStages, install
install(pytest.MonkeyPatch(), FakeStages())
sys.exit(main(["run", "--scan", {str(scan)!r}, "--output", {str(tmp_path / "file")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 5
    assert "choose another output folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_exits_130_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and a polite kill stop the run, the manifest says so, and the message says what next."""
    scan = make_scan(tmp_path / "room", frames=200)
    # Tests that run in the background inherit an ignored SIGINT, which Python then leaves ignored.
    code = f"""
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
from my3dis.cli.main import main
from tests.runs.fakes import FakeStages, install
install(pytest.MonkeyPatch(), FakeStages(frame_seconds=0.05))
sys.exit(main(["run", "--scan", {str(scan)!r}, "--output", {str(tmp_path / "out")!r}]))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    archive = tmp_path / "out" / "room" / "default" / "candidates.my3dis"
    deadline = time.monotonic() + 60
    while not archive.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(number)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "the same command goes on from there" in error
    assert "Traceback" not in error
    assert json.loads((archive.parent / "manifest.json").read_text())["status"] == "interrupted"


def test_bug_shows_its_traceback_and_exits_1(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unexpected exception is called a bug of ours and shown in full."""

    def fail() -> None:
        raise ZeroDivisionError("oops")

    stages.fail["lift"] = fail
    assert main(["run", "--scan", str(scan), "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in error
    assert "this is a bug of ours" in error


def test_terminal_without_unicode_is_no_error() -> None:
    """Where the terminal cannot show a character, the output has its code instead."""
    done = subprocess.run(
        [sys.executable, "-m", "my3dis", "run", "--scan", "/kitchen-\u00e9"],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert rb"/kitchen-\xe9: expected a scan" in done.stderr


def test_closed_pipe_is_no_error() -> None:
    """`my3dis plugins | head` shows no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.Popen(
        [sys.executable, "-m", "my3dis", "plugins"], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    _, error = child.communicate(timeout=60)
    assert error == ""
    assert child.returncode == 0


def test_inspect_and_verify_of_a_run(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Inspect tells what an archive holds, as text or JSON; verify exits 3 on a damaged one."""
    main(["run", "--quiet", "--scan", str(scan), "--output", str(tmp_path / "out")])
    folder = tmp_path / "out" / "room" / "default"
    capsys.readouterr()
    assert main(["inspect", str(folder / "masks.my3dis")]) == 0
    assert "6 (0..5)" in capsys.readouterr().out
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["masks"] for entry in found] == [6, 6, 6]
    assert len(found[0]["frame_index"]) == 6
    assert main(["inspect", str(folder / "masks.my3dis"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 6
    assert main(["verify", str(folder)]) == 0
    archive = folder / "masks.my3dis"
    with sqlite3.connect(archive) as database:
        database.execute("UPDATE masks SET area_px = 23 WHERE frame = 3")
    database.close()
    assert main(["verify", str(archive)]) == 3
    assert main(["inspect", str(tmp_path)]) == 3
    assert "found no archive" in capsys.readouterr().err


def test_stage_runs_one_stage(
    stages: FakeStages, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`stage` makes one stage again; an unknown level exits 2 and a folder that is no run 3."""
    main(["run", "--quiet", "--scan", str(scan), "--output", str(tmp_path / "out")])
    folder = str(tmp_path / "out" / "room" / "default")
    stages.ran.clear()
    assert main(["stage", "track", folder, "--levels", "4"]) == 0
    assert stages.ran == ["track"]
    assert main(["stage", "track", folder, "--levels", "5"]) == 2
    assert main(["stage", "track", str(tmp_path)]) == 3


def test_plugins_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of plug-in is listed with one line each."""
    assert main(["plugins"]) == 0
    text = capsys.readouterr().out
    for name in ("datasets", "scannet", "proposers", "watershed", "trackers", "flow", "exporters", "ply"):
        assert name in text


def test_old_entry_point_translates_its_options(tmp_path: Path) -> None:
    """run_experiment.sh hands its options on as settings, with spaces in values intact."""
    fake = tmp_path / "bin" / "my3dis"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor a in "$@"; do printf \'%s\\n\' "$a"; done\n')
    fake.chmod(0o755)
    arguments = (
        "--scan", "my scans/a b", "--levels", "2,4,6", "--frames", "1200:1600:20", "--ssam-freq", "2",
        "--sam2-max-propagate", "30", "--min-area=500", "--stability", "0.9", "--dry-run",
    )  # fmt: skip
    environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(ROOT / "run_experiment.sh"), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.splitlines() == [
        "run", "--scan", "my scans/a b", "--levels", "2,4,6", "--frames", "1200:1600:20",
        "--set", "stages.ssam.ssam_freq=2", "--set", "stages.tracker.max_propagate=30",
        "--set", "stages.ssam.min_area=500", "--set", "stages.ssam.stability_threshold=0.9", "--dry-run",
    ]  # fmt: skip
    missing = subprocess.run(
        [str(ROOT / "run_experiment.sh"), "--min-area"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert missing.returncode == 2
    assert "--min-area needs a value" in missing.stderr


def test_parser_can_be_built_without_running_anything() -> None:
    """The parser is an object of its own, for documentation and completion."""
    assert build_parser().prog == "my3dis"
