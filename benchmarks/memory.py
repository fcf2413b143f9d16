"""77,000 masks through the real stages while memory is watched; beside it, the way it was done before.

``python benchmarks/memory.py [--frames N] [--masks N] [--until STAGE] [--output DIR] [--check]``

A scene of 385 frames at 1440x1920 with 200 moving masks in each, all different (`memory_scene`), goes through
``my3dis run --profile-memory`` as any scan would: candidates, filter, track (with a tracker that costs
nothing) and report. Prints a table and writes ``memory.svg`` and ``memory.json``. ``--check`` exits 1 when a
bound is broken. How it is measured is in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from memory_outlines import SOURCES, find_outlines
from memory_report import (
    ENOUGH_FRAMES,
    ENOUGH_MASKS,
    Figures,
    OldWay,
    SceneFacts,
    SceneRun,
    chart_of,
    judge,
    print_tables,
)
from memory_scene import FILE, LIFE_FRAMES, MASKS_PER_OBJECT, SceneSettings, write_scene
from my3dis.archive import open_archive
from my3dis.monitoring.profile import read_profiles
from my3dis.reporting.curves import render_svg
from my3dis.runs.layout import RunLayout
from process_tree import watch

HERE = Path(__file__).resolve().parent
STAGES = ("candidates", "filter", "track", "report")
SAY_EVERY_S = 10.0
LEAST_SIDE = 180  # objects would leave smaller frames
BEGUN = time.monotonic()
ENTRY_POINTS = """[my3dis.datasets]
memory_scene = memory_scene:DATASET
[my3dis.proposers]
memory_scene = memory_scene:PROPOSER
[my3dis.trackers]
memory_hold = memory_scene:TRACKER
"""


def main() -> int:
    """Make the scene, run it, run the old way, print."""
    options = _parse()
    kept = options.output is not None
    folder = options.output.absolute() if kept else Path(tempfile.mkdtemp(prefix="my3dis-memory-"))
    work = folder / "work"
    try:
        _make_room(work)
        figures = _measure(options, work)
    except BaseException:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if not kept:
        shutil.rmtree(work, ignore_errors=True)
    (folder / "memory.svg").write_text(render_svg(chart_of(figures)))
    print_tables(figures)
    verdicts = judge(figures)
    for text, holds in verdicts:
        print(f"{'holds ' if holds else 'BROKEN'}  {text}")
    if not figures.tells_growth:
        print(f"growth is not judged: that takes {ENOUGH_MASKS:,} masks in {ENOUGH_FRAMES} frames")
    plain = {**asdict(figures), "verdicts": dict(verdicts)}
    for run in plain["runs"]:
        for profile in run["profiles"]:
            del profile["samples"]  # they are in the picture, and in the run's memory_profile.json
    (folder / "memory.json").write_text(json.dumps(plain, indent=2, default=str) + "\n")
    print(f"picture and figures in {folder / 'memory.svg'} and memory.json")
    return 0 if all(holds for _, holds in verdicts) or not options.check else 1


def _make_room(work: Path) -> None:
    """Take away what this benchmark left in a folder before, and nothing else."""
    try:
        if work.exists():
            if not (work / "scene" / FILE).is_file():
                raise SystemExit(
                    f"expected no folder {work}, or one of this benchmark; choose another --output"
                )
            shutil.rmtree(work)
        work.mkdir(parents=True)
    except OSError as error:
        raise SystemExit(f"cannot write to {work}: {error.strerror}; choose another --output") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=_count, default=385, help="frames of the scene; default 385")
    parser.add_argument("--masks", type=_count, default=77_000, help="masks in all; default 77000")
    parser.add_argument(
        "--size", type=_size, default=(1440, 1920), metavar="HxW", help="of the frames; default 1440x1920"
    )
    parser.add_argument("--until", choices=STAGES[1:], default="report", help="last stage; default report")
    parser.add_argument(
        "--shapes", choices=SOURCES, default="auto", help="outlines of the masks; default auto"
    )
    parser.add_argument(
        "--shares",
        type=_numbers,
        default=(0.25, 0.5),
        metavar="S,S,..",
        help="smaller scenes, as shares of the frames; default 0.25,0.5; an empty text: none",
    )
    parser.add_argument(
        "--old-masks",
        type=_numbers,
        default=(250, 500, 1000),
        metavar="N,N,..",
        help="sizes of the old way; default 250,500,1000; an empty text: none",
    )
    parser.add_argument("--old-limit-mb", type=_count, default=3072, help="memory it may take; default 3072")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="keep everything here; default: a temporary folder that keeps picture and figures",
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    options = parser.parse_args()
    if options.masks % (options.frames * MASKS_PER_OBJECT):
        parser.error(
            f"--masks: expected a multiple of {MASKS_PER_OBJECT} masks in each of {options.frames} frames, "
            f"found {options.masks}"
        )
    return options


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = (0.0,)
    if not all(0 < number < float("inf") for number in found):
        raise argparse.ArgumentTypeError(f"expected numbers above 0 with commas between, found {text!r}")
    return found


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()) or min(int(height), int(width)) < LEAST_SIDE:
        raise argparse.ArgumentTypeError(f"expected HxW, {LEAST_SIDE} pixels or more each, found {text!r}")
    return int(height), int(width)


def say(text: str) -> None:
    """Print a line of progress with the time since the start."""
    print(f"[{time.monotonic() - BEGUN:6.1f} s] {text}", flush=True)


def _measure(options: argparse.Namespace, work: Path) -> Figures:
    height, width = options.size
    source, outlines = find_outlines(options.shapes, options.seed)
    settings = SceneSettings(
        frames=options.frames,
        objects=options.masks // options.frames // MASKS_PER_OBJECT,
        image_size=(height, width),
        life=LIFE_FRAMES,
        seed=options.seed,
        source=source,
        outlines=outlines,
    )
    scene = work / "scene"
    write_scene(scene, settings)
    say(f"{options.masks:,} masks in {options.frames} frames of {height}x{width}; {source}")
    plugins = work / "plugins"
    metadata = plugins / "my3dis_memory_benchmark-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my3dis-memory-benchmark\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    frames = sorted({max(1, round(share * options.frames)) for share in options.shares} | {options.frames})
    runs = [_run(options, work, settings, n) for n in frames]
    facts = _facts(runs[-1], settings)
    say(f"{facts.distinct:,} of {facts.masks:,} masks are different")
    old = [_old_way(work, runs[-1], int(n), options.old_limit_mb) for n in options.old_masks]
    if options.old_masks:
        old.append(_old_way(work, runs[-1], options.masks, options.old_limit_mb))
    return Figures(
        runs=tuple(runs),
        facts=facts,
        old=tuple(old),
        old_limit_mb=options.old_limit_mb,
        load=os.getloadavg()[0],
    )


def _run(options: argparse.Namespace, work: Path, settings: SceneSettings, frames: int) -> SceneRun:
    """Take the first frames of the scene through the stages with the real command."""
    height, width = settings.image_size
    values = {
        "stages.ssam.proposer": "memory_scene",
        "stages.ssam.recorded_root": work / "scene",
        "stages.ssam.add_gaps": "false",
        "stages.ssam.min_area": max(1, round(200 * height * width / (1440 * 1920))),
        "stages.tracker.propagator": "memory_hold",
        "stages.tracker.enabled": str(options.until != "filter").lower(),
        "stages.report.enabled": str(options.until == "report").lower(),
    }
    command = [sys.executable, "-m", "my3dis", "run", "--scan", str(work / "scene"), "--profile-memory"]
    command += ["--output", str(work / "runs"), "--name", f"frames_{frames}", "--frames", f":{frames}"]
    command += [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
    path = os.pathsep.join(map(str, (work / "plugins", HERE, HERE.parent / "src")))
    log = work / f"frames_{frames}.log"
    layout = RunLayout(work / "runs" / "scene" / f"frames_{frames}")
    say(f"my3dis run, {frames} frames")
    os.environ["PYTHONPATH"] = path
    watched = watch(command, log=log, probe=_progress(log))
    if watched.returncode:
        raise SystemExit(f"{log.read_text()[-3000:]}\n`{' '.join(command)}` ended with {watched.returncode}")
    profiles = tuple(p for p in read_profiles(layout.memory_profile) if p.stage in STAGES and p.total)
    files = {"candidates": layout.candidates, "filter": layout.masks, "track": layout.tracks}
    files |= {"report": layout.report("report")}
    return SceneRun(
        frames=frames,
        masks=frames * settings.objects * MASKS_PER_OBJECT,
        folder=layout.root,
        profiles=profiles,
        file_bytes={name: file.stat().st_size for name, file in files.items() if file.is_file()},
        seconds=watched.wall_s,
        peak_outside_mb=watched.peak_mb,
    )


def _progress(log: Path) -> Callable[[], None]:
    """Return a probe that repeats the last line of a log from time to time."""
    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if time.monotonic() - last >= SAY_EVERY_S:
            last = time.monotonic()
            lines = log.read_text(errors="replace").splitlines()
            if lines:
                say(f"    {lines[-1][:100]}")

    return look


def _facts(run: SceneRun, settings: SceneSettings) -> SceneFacts:
    """Count what is in the archives: different codes, their size, tracks against objects."""
    seen: set[bytes] = set()
    total = size = 0
    with open_archive(RunLayout(run.folder).candidates) as archive:
        for masks in archive.iter_frames():
            total += len(masks)
            size += sum(map(len, masks.rle))
            seen.update(hashlib.blake2b(rle, digest_size=16).digest() for rle in masks.rle)
    generations = sum(
        1 + (run.frames - 1 + slot * settings.life // settings.objects) // settings.life
        for slot in range(settings.objects)
    )
    tracks = 0
    if RunLayout(run.folder).tracks.is_file():
        with open_archive(RunLayout(run.folder).tracks) as archive:
            tracks = len(archive.tracks())
    return SceneFacts(
        masks=total,
        distinct=len(seen),
        plain_bytes_per_mask=size / max(1, total),
        objects=generations * MASKS_PER_OBJECT,
        tracks=tracks,
        source=settings.source,
        image_size=settings.image_size,
    )


def _old_way(work: Path, run: SceneRun, masks: int, limit_mb: int) -> OldWay:
    """Hold masks of the scene dense and save them, in a process with a limit on its memory."""
    say(f"the old way, {masks:,} masks in at most {limit_mb:,} MB")
    out, log = work / "old.npz", work / f"old_{masks}.log"
    archive = RunLayout(run.folder).candidates
    command: Sequence[str] = [sys.executable, str(HERE / "memory_old_way.py"), str(archive)]
    command = [*command, "--masks", str(masks), "--limit-mb", str(limit_mb), "--out", str(out)]
    watched = watch(command, log=log)
    out.unlink(missing_ok=True)
    lines = log.read_text(errors="replace").splitlines()
    try:
        told = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"the old way ended with {watched.returncode}:\n" + "\n".join(lines[-20:])) from None
    return OldWay(
        masks=masks,
        held=told["held"],
        died=told["died"],
        peak_mb=watched.peak_mb,
        seconds=told.get("seconds"),
        saving_s=told.get("saving_s"),
        file_bytes=told.get("file_bytes"),
    )


if __name__ == "__main__":
    sys.exit(main())
