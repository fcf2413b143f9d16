"""The page of a large sweep: how long it takes to read back and draw, how large it is.

``python benchmarks/sweep_page.py [--scenes N] [--keep DIR] [--check]``

Run folders are written for so many scenes with made-up figures, as a sweep leaves them, with failures,
retries, memory and scores; then the page is made from them as `my3dis report` does, and refreshed as a sweep
in progress does. With ``--check`` it exits 1 when a bound is broken. ``--keep`` leaves the folder there.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from my3dis.config import Config
from my3dis.scheduling.jobs import Job, JobEvent, Need, SweepPlan
from my3dis.scheduling.sweep_live import EVERY_S, SHARE, LiveSweep
from my3dis.scheduling.sweep_report import as_json, write_page
from my3dis.scheduling.sweep_state import read_state

STAGES = {"candidates": 120.0, "filter": 3.0, "track": 170.0, "lift": 20.0, "evaluate": 2.0, "report": 4.0}
JOBS = (("candidates", 1), ("filter", 0), ("track", 1), ("lift", 0))
PARTS = {
    "candidates": ("candidates",),
    "filter": ("filter",),
    "track": ("track",),
    "lift": ("lift", "evaluate", "report"),
}
SIZE_BOUND_MB, READ_BOUND_S, DRAW_BOUND_S = 4.0, 10.0, 3.0
BEGAN = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
GPUS, SIDE_BY_SIDE = 8, 12


def main() -> int:
    """Write, read, draw, print and compare with the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--keep", type=Path, help="leave the folder here")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch, "runs")
        root.mkdir(parents=True, exist_ok=True)
        write_sweep(root, arguments.scenes)
        begun = time.perf_counter()
        state = read_state(root)
        read_s = time.perf_counter() - begun
        begun = time.perf_counter()
        page = write_page(state)
        draw_s = time.perf_counter() - begun
        size_mb = page.stat().st_size / 2**20
        refresh_s = refreshed(root, arguments.scenes)
        plain = len(json.dumps(as_json(state))) / 2**20
    print(f"{arguments.scenes:,} scenes: read in {read_s:.2f} s, drawn in {draw_s:.2f} s, {size_mb:.2f} MiB")
    print(f"--json: {plain:.2f} MiB")
    share = refresh_s / max(EVERY_S, SHARE * refresh_s)
    print(f"refresh in progress: {refresh_s:.2f} s, {share:.2%} of the driver's time")
    holds = size_mb <= SIZE_BOUND_MB and read_s <= READ_BOUND_S and draw_s <= DRAW_BOUND_S
    print("bounds hold" if holds else "a bound is BROKEN")
    return 0 if holds or not arguments.check else 1


def refreshed(root: Path, scenes: int) -> float:
    """Return the longest that one refresh of a sweep in progress takes, scenes read back among it."""
    jobs = tuple(
        Job(id=f"{name(n)}:{first}", scene=name(n), scan=root, stages=PARTS[first], need=Need(), seconds=1.0)
        for n in range(scenes)
        for first, _ in JOBS
    )
    plan = SweepPlan(
        config=Config(), output_root=root, scenes=tuple(name(n) for n in range(scenes)), jobs=jobs
    )
    live = LiveSweep(plan, every_s=0.0)
    states = {}
    for job in jobs:
        live.take(JobEvent(kind="started", text="", job_id=job.id))
        live.take(JobEvent(kind="finished", text="", job_id=job.id))
        states[job.id] = "done"
    longest = 0.0
    for _ in range(3):
        live._next = 0.0
        begun = time.perf_counter()
        live.refresh(states, {})
        longest = max(longest, time.perf_counter() - begun)
    return longest


def name(n: int) -> str:
    """Return a scene's name as ScanNet gives them."""
    return f"scene{n // 2:04d}_{n % 2:02d}"


def write_sweep(root: Path, scenes: int) -> None:
    """Write run folders, sweep.json and sweep_events.jsonl as a sweep leaves them."""
    chance = random.Random(0)  # noqa: S311  # chance of made-up figures
    events: list[tuple[float, str, dict[str, object]]] = [(0.0, "sweep_started", {"scenes": scenes})]
    free = [0.0] * SIDE_BY_SIDE
    described = {}
    for n in range(scenes):
        length = chance.lognormvariate(0, 0.5)
        slot = min(range(SIDE_BY_SIDE), key=free.__getitem__)
        failed = n % 97 == 41
        outcome, free[slot] = one_scene(
            root, name(n), (length, free[slot], slot % GPUS), failed=failed, events=events
        )
        described[name(n)] = outcome
    end = max(free)
    for n in range(int(end / 5)):
        used = 180_000 + 40_000 * chance.random() + 30_000 * (n % 700) / 700
        facts: dict[str, object] = {
            "used_mb": used,
            "capacity_mb": 256_000,
            "hard_mb": 240_000,
            "jobs_mb": used - 90_000,
            "running": SIDE_BY_SIDE,
        }
        facts |= {f"gpu {gpu} used_mb": 20_000 + 9_000 * chance.random() for gpu in range(GPUS)}
        events.append((n * 5.0, "memory", facts))
    events.sort(key=lambda event: event[0])
    with (root / "sweep_events.jsonl").open("w") as handle:
        for at, kind, facts in events:
            handle.write(json.dumps({"time": stamp(at), "event": kind, **facts}) + "\n")
    decisions = [
        {"time": stamp(at), "kind": kind, **facts} for at, kind, facts in events if kind == "requeued"
    ]
    content = {
        "format": 1, "status": "failed", "my3dis": "0", "started": stamp(0), "updated": stamp(end),
        "seconds": end, "peak_used_mb": 248_000.0, "output_root": str(root), "run_name": "default",
        "tag": "made up", "scenes": described, "decisions_made": len(decisions), "decisions": decisions,
    }  # fmt: skip
    (root / "sweep.json").write_text(json.dumps(content))


def one_scene(
    root: Path, scene: str, run: tuple[float, float, int], *, failed: bool,
    events: list[tuple[float, str, dict[str, object]]],
) -> tuple[dict[str, object], float]:  # fmt: skip
    """Write one run and its events; return its entry in sweep.json and when it ends."""
    length, at, gpu = run
    chance = random.Random(scene)  # noqa: S311  # the same
    begun, jobs = at, []
    for first, gpus in JOBS:
        job = f"{scene}:{first}"
        took = sum(STAGES[stage] for stage in PARTS[first]) * length
        facts: dict[str, object] = {"job": job, "gpus": str(gpu) if gpus else "", "attempt": 1}
        events.append((at, "started", facts))
        last = failed and first == "track"
        if last or chance.random() < 0.02:
            at += took * chance.random()
            kind = "failed" if last else "requeued"
            why = "ended by SIGKILL" if last else "memory ran out: again, alone"
            events.append((at, kind, {"job": job, "text": why, "peak_rss_mb": 9000.0}))
            if last:
                jobs.append({"id": job, "status": "failed", "exit_code": None})
                break
            events.append((at, "started", facts))
        at += took
        events.append((at, "finished", {"job": job, "peak_rss_mb": 2000 + 4000 * chance.random()}))
        jobs.append({"id": job, "status": "done", "exit_code": 0})
    write_run(root / scene / "default", scene, length, failed=failed)
    evidence = ["oom_kill 3 -> 4 in /sys/fs/cgroup/memory.events"] if failed else []
    message = "ended by SIGKILL; see job.log" if failed else None
    entry = {
        "status": "failed" if failed else "done", "run_dir": str(root / scene / "default"), "report": None,
        "message": message, "evidence": evidence, "seconds": at - begun, "peak_rss_mb": 5000 * length,
        "attempts": 1 + (len(jobs) > 4), "jobs": jobs,
    }  # fmt: skip
    return entry, at


def write_run(folder: Path, scene: str, length: float, *, failed: bool) -> None:
    """Write what the page reads of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = ("candidates", "filter") if failed else tuple(STAGES)
    stages = {
        stage: {
            "name": stage, "status": "done", "digest": "d", "settings": {}, "inputs": {}, "outputs": {},
            "started": stamp(0), "finished": stamp(1), "message": None, "warnings": [],
        }
        for stage in ended
    }  # fmt: skip
    manifest = {
        "format": 1, "status": "failed" if failed else "finished", "scene": scene, "scan": "scan",
        "dataset": "scannet", "run_name": "default", "version": "0", "started": stamp(0), "updated": stamp(1),
        "tag": None, "frame_slice": "0::10", "frames_selected": round(165 * length), "frames_total": 1650,
        "levels": [2, 4, 6], "commit": None, "plugins": {}, "checkpoints": {}, "stages": stages,
    }  # fmt: skip
    timings = {
        stage: {
            "seconds": STAGES[stage] * length, "peak_rss_mb": 900 + 2000 * length,
            "peak_gpu_mb": {"0": 21_000 * length} if stage in ("candidates", "track") else {},
            "masks_out": 9000,
        }
        for stage in ended
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "stage_timings.json").write_text(json.dumps({"stages": timings}))
    if not failed:
        score = min(0.95, 0.3 / length + 0.1)
        rows = [
            {"target": target, "selection": "best level", "scores": "ranked", "level": level, "protocol": "p",
             "ap": 0.6 * score, "ap50": score, "ap25": min(1.0, 1.2 * score), "n_gt": 30}
            for target, level in (("objects", 2), ("parts", 4))
        ]  # fmt: skip
        (folder / "scores.json").write_text(json.dumps({"instances": rows}))
        (folder / "report.html").write_text("<!doctype html>")


def stamp(seconds: float) -> str:
    """Return a time after the beginning as events have it."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(main())
