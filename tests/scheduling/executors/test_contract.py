"""What every executor keeps: the same jobs, order, retries, reasons and results, wherever they run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from my3dis.config.load import load_config
from my3dis.pipeline import run_scan
from my3dis.runs.events import read_events
from my3dis.scheduling.capacity import Capacity, Gpu
from my3dis.scheduling.jobs import JobEvent, JobStatus
from my3dis.scheduling.sweep import SweepResult
from tests.scheduling import tiny_scans
from tests.scheduling.executors.fake_worker import told
from tests.scheduling.executors.sweeps import drive, make_fake, settings
from tests.scheduling.test_local import masks_of

KINDS = ["local", "slurm", pytest.param("ray", marks=pytest.mark.extras)]
ELSEWHERE = ["slurm", pytest.param("ray", marks=pytest.mark.extras)]
GPUS = Capacity(gpus=(Gpu("0", "GPU-a", 8000), Gpu("1", "GPU-b", 8000)), threads=8, memory_mb=8000)


@dataclass
class Place:
    """Where sweeps of a module run.

    Attributes:
        folder: for scans and results.
        address: of the Ray cluster, when one was asked for.
        cluster: that cluster.
    """

    folder: Path
    address: str | None = None
    cluster: object = None
    swept: dict[str, tuple[SweepResult, list[JobEvent], Path]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A folder in which processes find the tiny scans; the nodes of Ray come later and inherit that."""
    folder = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        tiny_scans.install_plugin(folder, patch)
        patch.setattr("my3dis.scheduling.executors.local_sweep.machine_capacity", lambda **_: GPUS)
        found = Place(folder)
        yield found
        if found.cluster is not None:
            found.cluster.shutdown()  # type: ignore[attr-defined]  # an optional library


def address_of(place: Place, kind: str) -> str | None:
    """Return the address of a Ray cluster with two nodes of one fake GPU each, starting it the first time."""
    if kind != "ray":
        return None
    if place.cluster is None:
        pytest.importorskip("ray", reason="needs the extra ray")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1)
        place.cluster, place.address = cluster, cluster.address
    return place.address


@pytest.fixture
def swept(place: Place, request: pytest.FixtureRequest) -> tuple[SweepResult, list[JobEvent], Path]:
    """One sweep per executor: a sound scene, one whose first job is killed, and one that cannot be used."""
    kind = request.param
    if kind not in place.swept:
        scans = place.folder / kind / "scans"
        make_fake(scans / "good", candidates={"sleep_s": 0.3})
        make_fake(scans / "killed", candidates={"sleep_s": 0.3, "times": 1, "signal": int(signal.SIGKILL)})
        make_fake(scans / "unfit", candidates={"sleep_s": 0.3, "times": 9, "exit": 3})
        result, events = drive(scans, kind, address_of(place, kind))
        place.swept[kind] = result, events, scans
    return place.swept[kind]


every_executor = pytest.mark.parametrize("swept", KINDS, indirect=True)


@every_executor
def test_every_job_is_done_but_those_of_the_scene_that_fails(
    swept: tuple[SweepResult, list[JobEvent], Path],
) -> None:
    """A scene that cannot be used fails with its reason, its second job is blocked, and the rest is done."""
    result, events, _ = swept
    assert {outcome.job.id: outcome.status.value for outcome in result.outcomes} == {
        "good:candidates": "done",
        "good:lift": "done",
        "killed:candidates": "done",
        "killed:lift": "done",
        "unfit:candidates": "failed",
        "unfit:lift": "blocked",
    }
    scene = next(scene for scene in result.scenes if scene.scene == "unfit")
    assert (scene.status, scene.message, scene.attempts) == ("failed", "this scan cannot be used", 1)
    ends = [event.kind for event in events if event.kind in ("finished", "failed", "blocked")]
    assert sorted(ends) == ["blocked", "failed", *["finished"] * 4]
    content = json.loads(result.path.read_text())
    assert content["status"] == "failed"
    (failed, blocked) = content["scenes"]["unfit"]["jobs"]
    assert (failed["exit_code"], failed["attempts"], blocked["attempts"]) == (3, 1, 0)


@every_executor
def test_killed_job_is_tried_once_more(swept: tuple[SweepResult, list[JobEvent], Path]) -> None:
    """A job that SIGKILL ends is told as requeued, and is done at the second attempt."""
    result, events, scans = swept
    outcome = next(outcome for outcome in result.outcomes if outcome.job.id == "killed:candidates")
    assert (outcome.status, outcome.attempts) == (JobStatus.DONE, 2)
    (requeued,) = [event for event in events if event.kind == "requeued"]
    assert requeued.job_id == "killed:candidates"
    assert dict(requeued.facts)["signal"] == 9
    assert "SIGKILL" in requeued.text
    starts = [dict(e.facts)["attempt"] for e in events if e.kind == "started" and e.job_id == outcome.job.id]
    assert starts == [1, 2]
    written = [e["event"] for e in read_events(scans.parent / "out" / "sweep_events.jsonl")]
    assert written.count("requeued") == 1


@every_executor
def test_jobs_keep_their_order_and_their_results_are_those_of_local(
    swept: tuple[SweepResult, list[JobEvent], Path],
) -> None:
    """A scene's second job begins after its first has ended, finds its result, and both have a log."""
    _, _, scans = swept
    for scene in ("good", "killed"):
        lines = told(scans / scene)
        (first_end,) = [
            line["time"] for line in lines if (line["what"], line["stage"]) == ("end", "candidates")
        ]
        (second,) = [line["time"] for line in lines if (line["what"], line["stage"]) == ("begin", "lift")]
        assert float(str(second)) > float(str(first_end))
        folder = scans.parent / "out" / scene / "default"
        results = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.result")}
        assert results == {
            "candidates": {"stages": ["candidates", "filter", "track"], "before": []},
            "lift": {"stages": ["lift", "evaluate", "report"], "before": ["candidates"]},
        }
        assert f"{scene}:lift: lift, evaluate, report" in (folder / "job.log").read_text()


@every_executor
def test_jobs_see_the_gpus_that_they_need_and_no_others(
    swept: tuple[SweepResult, list[JobEvent], Path], request: pytest.FixtureRequest
) -> None:
    """A job with a GPU sees one, one without sees none, and no more run at a time than there are GPUs."""
    _, events, scans = swept
    spans: list[tuple[float, int]] = []
    for scene in ("good", "killed", "unfit"):
        for line in (line for line in told(scans / scene) if line["what"] == "begin"):
            devices = [name for name in str(line["gpus"]).split(",") if name]
            assert len(devices) == (1 if line["stage"] == "candidates" else 0), line
            assert line["threads"] == "1"
            if devices:
                begun = float(str(line["time"]))
                spans += [(begun, 1), (begun + 0.25, -1)]  # they sleep for 0.3 s
    running, most = 0, 0
    for _, change in sorted(spans):
        running += change
        most = max(most, running)
    if "slurm" not in request.node.name:  # SLURM itself counts GPUs; submitit's stand-in does not
        assert most <= 2
    told_gpus = {e.job_id: dict(e.facts)["gpus"] for e in events if e.kind == "started"}
    assert told_gpus["good:candidates"]
    assert told_gpus["good:lift"] == ""


def start(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a driver in a session of its own."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=out, stderr=out, start_new_session=True, cwd=log.parent
        )


def wait_for(condition: Callable[[], bool], log: Path, seconds: float = 90.0) -> None:
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)


def living(pids: list[int]) -> list[int]:
    """Return those that still run."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_no_process(place: Place, kind: str) -> None:
    """Ctrl-C ends what runs and takes back what waits; nothing is left, and the records say so."""
    scans = place.folder / f"{kind}-stopped" / "scans"
    make_fake(scans / "a", candidates={"sleep_s": 300})
    make_fake(scans / "b", candidates={"sleep_s": 300})
    log = place.folder / f"{kind}-stopped.log"
    arguments = ["tests.scheduling.executors.sweeps", str(scans), kind, address_of(place, kind) or ""]
    driver = start(arguments, log)
    wait_for(lambda: all(told(scans / name) for name in ("a", "b")), log)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) == 130, log.read_text()
    assert not living([int(str(line["pid"])) for name in ("a", "b") for line in told(scans / name)])
    assert json.loads((scans.parent / "out" / "sweep.json").read_text())["status"] == "interrupted"
    assert not (scans.parent / "out" / ".sweep").exists()


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_killed_driver_is_followed_by_one_that_repeats_nothing_finished(place: Place, kind: str) -> None:
    """A driver that is killed leaves its job's stages; the same command goes on, with a local run's masks."""
    folder = place.folder / f"{kind}-resumed"
    scan = tiny_scans.make_tiny(folder / "scans" / "room", frames=12, sleep_s=0.1)
    path, log = folder / "sweep.yaml", folder / "driver.log"
    path.write_text(json.dumps(settings(folder / "scans", "local")))  # JSON is YAML
    address = address_of(place, kind)
    arguments = ["my3dis", "run", str(path), "--executor", kind, *(["--address", address] if address else [])]
    driver = start(arguments, log)
    run_dir = folder / "out" / "room" / "default"
    events = run_dir / "events.jsonl"
    wait_for(lambda: any(event["event"] == "stage_finished" for event in read_events(events)), log)
    driver.kill()
    driver.wait()
    before = [event["stage"] for event in read_events(events) if event["event"] == "stage_finished"]
    (scan / "do.json").unlink()
    again = start(arguments, log)
    assert again.wait(90) == 0, log.read_text()
    made = [event["stage"] for event in read_events(events) if event["event"] == "stage_finished"]
    assert before
    assert not set(before) & set(made[len(before) :]), made
    config = load_config(values=tiny_scans.SETTINGS, environment=False)
    alone = run_scan(scan, folder / "alone", config)
    assert masks_of(run_dir) == masks_of(alone.run_dir)


@pytest.mark.extras
def test_sweep_outlives_a_node(place: Place) -> None:
    """A node is killed while each of three has a job: that job goes to another, and all scenes are done."""
    address = address_of(place, "ray")
    cluster: Any = place.cluster
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    scans = place.folder / "node-loss" / "scans"
    for name in ("a", "b", "c"):
        make_fake(scans / name, candidates={"sleep_s": 6.0})
    begun: list[str | None] = []

    def lose_one(event: JobEvent) -> None:
        if event.kind == "started":
            begun.append(event.job_id)
            if len(begun) == 3:
                cluster.remove_node(node, allow_graceful=False)

    result, events = drive(scans, "ray", address, observe=lose_one)
    assert {outcome.status for outcome in result.outcomes} == {JobStatus.DONE}
    (requeued,) = [event for event in events if event.kind == "requeued"]
    assert "another place" in requeued.text
    lost = next(outcome for outcome in result.outcomes if outcome.job.id == requeued.job_id)
    assert lost.attempts == 2
    (scene,) = {outcome.job.scene for outcome in result.outcomes if outcome.attempts > 1}
    begins = [int(str(line["pid"])) for line in told(scans / scene) if line["what"] == "begin"]
    assert len(begins) == 3
    assert not living(begins)
