"""Whole runs as processes: killed, on a full disk, and two at once; the end is that of an undisturbed run."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import open_archive, verify
from my3dis.runs.events import read_events
from my3dis.runs.manifest import read_manifest
from tests.archive.make import assert_equal
from tests.small_scan import write_small_scan

SOAK = pytest.mark.soak
ARCHIVES = ("candidates", "masks", "tracks")
TABLES = ("meta", "frames", "masks", "frame_index", "dropped")
OPTIONS = (
    *("--levels", "2,4"),
    *("--set", "stages.report.max_width=120"),
    *("--set", "stages.tracker.comparison_sampling.max=2"),
    *("--set", "stages.tracker.checkpoint_every=2"),
)
BUILT_IN_OPTIONS = (*OPTIONS, "--set", "stages.tracker.checkpoint_every=10")
# The command line with every disk taken for a network, as it is where the journal must be the safe one.
ON_NETWORK = (
    "import my3dis.archive.writer as writer; writer.on_network = lambda path: True; "
    "from my3dis.cli.main import main; raise SystemExit(main())"
)


@dataclass(frozen=True)
class Scan:
    """A small scan, and what an undisturbed run makes of it."""

    root: Path
    folder: Path


def run_folder(output: Path) -> Path:
    return output / "small" / "default"


def command(
    scan: Path, output: Path, *, network: bool = False, options: tuple[str, ...] = OPTIONS
) -> list[str]:
    program = ["-c", ON_NETWORK] if network else ["-m", "my3dis"]
    return [sys.executable, *program, "run", "--scan", str(scan), "--output", str(output), *options]


def start(
    scan: Path,
    output: Path,
    *,
    network: bool = False,
    limit: int | None = None,
    options: tuple[str, ...] = OPTIONS,
) -> subprocess.Popen[str]:
    arguments = command(scan, output, network=network, options=options)
    if limit is not None:
        # Python ignores SIGXFSZ, so a write beyond the limit is an error and not the end.
        lower = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2); "
        arguments = [sys.executable, "-c", lower + "os.execv(sys.argv[1], sys.argv[1:])", *arguments]
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> str:
    with process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def scan(built_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    base = tmp_path_factory.mktemp("faults")
    root = write_small_scan(built_in, base / "small")
    finish(start(root, base / "undisturbed"))
    return Scan(root, run_folder(base / "undisturbed"))


def rows(path: Path) -> dict[str, list[tuple]]:
    db = sqlite3.connect(path)
    found = {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}
    db.close()
    return found


def assert_same_results(folder: Path, expected: Path) -> None:
    """Archives row by row, relations, instances and scores are those of the undisturbed run."""
    for name in ARCHIVES:
        assert rows(folder / f"{name}.my3dis") == rows(expected / f"{name}.my3dis"), name
        assert verify(folder / f"{name}.my3dis").finished
    for name in ("relations.json", "scores.json"):
        assert json.loads((folder / name).read_text()) == json.loads((expected / name).read_text()), name
    with np.load(folder / "instances.npz") as found, np.load(expected / "instances.npz") as wanted:
        assert set(found) == set(wanted)
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert (folder / "instances.ply").read_bytes() == (expected / "instances.ply").read_bytes()
    assert (folder / "report.html").is_file()
    manifest = read_manifest(folder / "manifest.json")
    assert manifest.status == "finished"
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert {path.name for path in folder.iterdir()} == {path.name for path in expected.iterdir()}


def assert_committed_frames_are_sound(folder: Path, expected: Path) -> None:
    """Each archive verifies; finished or not, its frames are those of the undisturbed run."""
    for name in ARCHIVES:
        path = folder / f"{name}.my3dis"
        if not path.is_file() or path.stat().st_size == 0:
            continue
        report = verify(path)
        assert report.ok, report.problems
        # Tracks change until the last pass is over; of the other stages each frame is final.
        if name == "tracks":
            continue
        with open_archive(path) as found, open_archive(expected / path.name) as wanted:
            for one in found.iter_frames():
                assert_equal(one, wanted.frame(one.frame))


def killed_after(process: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process that long after its start; False if it had ended by itself."""
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    with process:
        process.communicate()
    return process.returncode == -signal.SIGKILL


def ends_of(output: Path) -> list[str]:
    """How the attempts ended, by the history."""
    with (output / "workflow_history.csv").open() as handle:
        return [line["status"] for line in csv.DictReader(handle)]


def stage_at_work(folder: Path) -> str:
    path = folder / "manifest.json"
    if not path.is_file():
        return "before the first"
    running = [stage.name for stage in read_manifest(path).stages if stage.status == "running"]
    return running[0] if running else "between stages"


def test_a_run_killed_five_times_ends_as_if_nothing_had_happened(
    scan: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One run is killed five times, on from stage to stage, and continued by the same command each time.

    While it comes to its end, the same command elsewhere is refused and changes nothing.
    """
    folder, rng, where = run_folder(tmp_path), random.Random(5), Counter[str]()
    for n, stage in enumerate(("", "candidates", "track", "lift", "report")):
        process = start(scan.root, tmp_path, network=n % 2 == 1)
        wait_for_stage(process, folder, stage)
        assert killed_after(process, rng.uniform(0, 0.2))
        where[stage_at_work(folder)] += 1
        assert_committed_frames_are_sound(folder, scan.folder)
    last = start(scan.root, tmp_path)
    assert_a_second_run_is_refused(scan, tmp_path, last)
    finish(last)
    assert_same_results(folder, scan.folder)
    # Only the first may have been killed before there was anything to tell of it.
    assert len(ends := ends_of(tmp_path)) >= 5
    assert ends == ["killed"] * (len(ends) - 1) + ["finished"]
    with capsys.disabled():
        sys.stdout.write(f"\nrun killed: 5/5 survived; {dict(where)}\n")


def assert_a_second_run_is_refused(scan: Scan, output: Path, first: subprocess.Popen[str]) -> None:
    """A second run of the same folder names the process of the first and what to do."""
    lock, deadline = run_folder(output) / ".lock", time.monotonic() + 120
    while not lock.is_file() or lock.read_text() != f"{first.pid}\n":
        assert time.monotonic() < deadline
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)  # it must not end meanwhile
    second = start(scan.root, output)
    said, _ = second.communicate(timeout=120)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 5
    assert f"another process ({first.pid}) is working in {run_folder(output)}; wait for it" in said


def wait_for_stage(process: subprocess.Popen[str], folder: Path, stage: str) -> None:
    """Wait until a run says that it works on a stage."""
    deadline = time.monotonic() + 120
    while stage and stage_at_work(folder) != stage:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)


# Ten runs, spread over the stages as these take time; "" is anywhere before the first.
MOMENTS = ("", "candidates", "candidates", "track", "track", "track", "lift", "lift", "report", "report")


@SOAK
@pytest.mark.timeout(3600)
def test_runs_killed_at_random_moments_end_the_same(
    scan: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten runs, each killed once at a random moment of a stage, in both journal modes."""
    timings = json.loads((scan.folder / "stage_timings.json").read_text())["stages"]
    rng, where, survived = random.Random(10), Counter[str](), 0
    for n, stage in enumerate(MOMENTS):
        output, network = tmp_path / str(n), n % 2 == 1
        delay_s = rng.uniform(0, timings[stage]["seconds"] if stage else 0.5)
        while True:
            process = start(scan.root, output, network=network)
            wait_for_stage(process, run_folder(output), stage)
            if killed_after(process, delay_s):
                break
            # It was faster than the undisturbed run and had ended.
            delay_s /= 2
            shutil.rmtree(output)
        where[stage_at_work(run_folder(output))] += 1
        if run_folder(output).is_dir():
            assert_committed_frames_are_sound(run_folder(output), scan.folder)
        finish(start(scan.root, output, network=network))
        assert_same_results(run_folder(output), scan.folder)
        survived += 1
        shutil.rmtree(output)
    with capsys.disabled():
        sys.stdout.write(f"\nrun killed: {survived}/{len(MOMENTS)} survived; {dict(where)}\n")


KILLS = 30


@SOAK
@pytest.mark.timeout(7200)
def test_thirty_random_kills_of_the_built_in_scan(
    built_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Thirty runs of the whole scan, each killed at a random moment of all it takes: none ends differently.

    The same command goes on, and no stage that was finished is made again.
    """
    begun = time.monotonic()
    finish(start(built_in, tmp_path / "undisturbed", options=BUILT_IN_OPTIONS))
    seconds, rng, where = time.monotonic() - begun, random.Random(30), Counter[str]()
    (undisturbed,) = tmp_path.glob("undisturbed/*/default")
    for n in range(KILLS):
        output, delay_s = tmp_path / str(n), rng.uniform(0, seconds)
        folder = output / undisturbed.parent.name / undisturbed.name
        while not killed_after(start(built_in, output, options=BUILT_IN_OPTIONS), delay_s):
            delay_s *= 0.9  # it was faster than the undisturbed run
            shutil.rmtree(output)
        stage = stage_at_work(folder)
        where[stage] += 1
        if folder.is_dir():
            assert_committed_frames_are_sound(folder, undisturbed)
        finish(start(built_in, output, options=BUILT_IN_OPTIONS))
        assert_same_results(folder, undisturbed)
        events = list(read_events(folder / "events.jsonl"))
        finished = Counter(e["stage"] for e in events if e["event"] == "stage_finished")
        assert set(finished.values()) == {1}, finished
        assert ends_of(output) in (["killed", "finished"], ["finished"])  # it may have had no folder yet
        resumed = [f"{e['stage']} {e['message']}" for e in events if e["event"] == "stage_resumed"]
        with capsys.disabled():
            told = "; ".join(resumed) or "from the last finished stage"
            sys.stdout.write(f"\nkill {n + 1} after {delay_s:.1f} s in {stage}: {told}; same results")
        shutil.rmtree(output)
    with capsys.disabled():
        sys.stdout.write(f"\nrun of the built-in scan killed: {KILLS}/{KILLS} survived; {dict(where)}\n")


def assert_clear_shortage(process: subprocess.Popen[str], folder: Path) -> str:
    """The run ended with exit code 5, one sentence and no traceback; returns what could not be written."""
    with process:
        said, _ = process.communicate(timeout=600)
    assert process.returncode == 5, said
    assert "Traceback" not in said
    (error,) = [line for line in said.splitlines() if line.startswith("my3dis: error: ")]
    assert "full" in error or "limit" in error
    assert "again" in error
    named = re.search(re.escape(str(folder.parent)) + r"[^\s:]*", error)
    assert named is not None, error
    return Path(named[0]).name


@pytest.mark.parametrize(
    ("network", "limits"),
    [
        (False, (180_000,)),
        *(
            pytest.param(network, tuple(int(500 * 1.5**n) for n in range(16)), marks=SOAK)
            for network in (False, True)
        ),
    ],
    ids=["one", "many", "many-rollback"],
)
@pytest.mark.timeout(3600)
def test_a_run_that_meets_a_file_size_limit_goes_on_later(
    scan: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str], network: bool, limits: tuple[int, ...]
) -> None:
    """At limits that hit the archives, their logs, the clouds or the report: exit 5, and nothing is lost."""
    folder, hit = run_folder(tmp_path), []
    for limit in limits:
        process = start(scan.root, tmp_path, network=network, limit=limit)
        hit.append(assert_clear_shortage(process, folder))
        assert_committed_frames_are_sound(folder, scan.folder)
    finish(start(scan.root, tmp_path, network=network))
    assert_same_results(folder, scan.folder)
    with capsys.disabled():
        sys.stdout.write(f"\nfile-size limits met by: {', '.join(hit)}\n")


@pytest.fixture
def may_mount(tmp_path: Path) -> Iterator[Path]:
    """A folder to mount a small file system on, in a name space of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    tried = subprocess.run(
        in_own_name_space(f"mount -t tmpfs -o size=1m none {shlex.quote(str(folder))}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"this user may not mount a file system: {tried.stderr.strip()[:100]}")
    yield folder


def in_own_name_space(script: str) -> list[str]:
    return [shutil.which("unshare") or "false", "--map-root-user", "--mount", "sh", "-c", script]


@SOAK
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", [False, True], ids=["wal", "rollback"])
def test_a_run_on_a_full_disk_goes_on_when_there_is_space(
    scan: Scan, may_mount: Path, tmp_path: Path, network: bool
) -> None:
    """A real file system is full: exit 5, sound archives; with more space the same command completes."""
    sizes_kib = range(40, 720, 40)
    disk, kept = shlex.quote(str(may_mount)), shlex.quote(str(tmp_path / "kept"))
    run = shlex.join(command(scan.root, may_mount / "out", network=network))
    check = f"{shlex.quote(sys.executable)} -m my3dis verify {disk}/out/small/default"
    script = [f"mount -t tmpfs -o size={sizes_kib[0]}k none {disk} || exit 90"]
    for size in sizes_kib:
        script.append(f"mount -o remount,size={size}k {disk} || exit 91")
        script.append(f"{run}; code=$?; echo code $code with {size} KiB; [ $code = 5 ] || exit 92")
        # SQLite needs a little space to read the log of a writer that could not close.
        script.append(f"mount -o remount,size={size + 64}k {disk} || exit 93")
        script.append(f"if ls {disk}/out/small/default/*.my3dis; then {check} || exit 94; fi")
    script.append(f"mount -o remount,size=64m {disk} && {run} && cp -r {disk}/out {kept}")
    done = subprocess.run(
        in_own_name_space("\n".join(script)), capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("my3dis: error: cannot ") == len(sizes_kib), done.stderr
    assert_same_results(run_folder(tmp_path / "kept"), scan.folder)
