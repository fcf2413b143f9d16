"""One measured run of the quality benchmark, in a process of its own: `python quality_runs.py JOB.json`.

A job is a scan with masks of one kind; it goes through `my3dis.run_scan`, and its scores, identities, seconds
and memory are written beside the run. A job with a switch takes the masks or the tracks of a finished run and
makes the stages after them again with one thing left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

import my3dis
from my3dis.archive import open_archive
from my3dis.config.load import load_config
from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.metrics.frame_overlap import frame_overlap
from my3dis.metrics.protocols import CLASS_AGNOSTIC, CLASS_AGNOSTIC_PARTS, ScoreMode
from my3dis.metrics.video import IdentityAccumulator, IdentityScores, countable
from my3dis.monitoring.display import SilentDisplay
from my3dis.monitoring.timings import read_timings
from my3dis.runs.instances import load_instances
from my3dis.runs.layout import RunLayout
from my3dis.runs.scores import Scores, Target, load_scores
from my3dis.runs.scoring import instance_scores
from my3dis.stages import lift, track
from my3dis.stages.context import StageContext
from my3dis.stages.evaluate import frame_name, scene_targets, visible_px
from quality_figures import ABSENT, MASKS, Ap, Figures, Job
from quality_switches import SWITCHES

__all__ = ["finished", "made_by", "start", "write_part_maps"]

_MIB = 1 << 20
_MADE = ("candidates", "filter", "track", "lift")
"""Stages whose seconds count; scoring does not."""


class Clock(SilentDisplay):
    """Notes the processor seconds of every stage of a run."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Time a stage."""
        began = time.process_time()
        yield lambda _done, _total: None
        self.cpu_s[name] = time.process_time() - began


def made_by() -> str:
    """Return a digest of the source of the program and of this measurement."""
    digest = hashlib.sha256()
    package = Path(my3dis.__file__).parent
    for path in (*sorted(package.rglob("*.py")), *sorted(Path(__file__).parent.glob("quality_[rsf]*.py"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def settings_of(job: Job) -> dict[str, object]:
    """Return the settings of a job's run."""
    recorded = {"stages.ssam.recorded_root": job.recorded} if job.recorded else {}
    return {
        "experiment.frames": f"::{job.step}",
        "experiment.check": "off",
        "stages.report.enabled": False,
        "stages.tracker.render_viz": False,
        **dict(MASKS[job.masks].settings),
        **recorded,
    }


def measured_run(job: Job) -> Figures:
    """Take a scan through its stages and measure it."""
    clock = Clock()
    result = my3dis.run_scan(job.scan, Path(job.folder) / "run", settings_of(job), display=clock)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB
    layout = RunLayout(result.run_dir)
    timings = {timing.name: timing for timing in read_timings(layout.timings)}
    return replace(
        figures_of(job, layout, load_scores(layout.scores)),
        seconds=sum(timings[name].seconds for name in _MADE),
        track_cpu_s=clock.cpu_s["track"],
        lift_cpu_s=clock.cpu_s["lift"],
        lift_peak_mb=timings["lift"].peak_rss_mb,
        run_peak_mb=max(peak_mb, *(timing.peak_rss_mb for timing in timings.values())),
        masks_in=timings["track"].masks_in,
    )


def measured_switch(job: Job) -> Figures:
    """Make the stages of a finished run again with something left out."""
    switch, earlier, layout = SWITCHES[job.switch], RunLayout(Path(job.run_dir)), RunLayout(Path(job.folder))
    for path in (earlier.masks, earlier.tracks, earlier.relations):
        shutil.copy(path, layout.root / path.name)
    reader, truth = open_scan(Path(job.scan)), load_ground_truth(Path(job.scan) / "gt")
    context = StageContext(
        reader=reader,
        frames=tuple(range(0, len(reader), job.step)),
        layout=layout,
        config=load_config(values=settings_of(job) | dict(switch.settings), environment=False),
        stage_digest="benchmark",
        progress=lambda _done, _total: None,
        warn=lambda _warning: None,
    )
    with switch.applied():
        if switch.tracks:
            for path in (layout.tracks, layout.relations):
                path.unlink()
            track.run(context)
        lift.run(context)
    targets = scene_targets(truth, job.scene, objects=CLASS_AGNOSTIC, parts=CLASS_AGNOSTIC_PARTS)
    rows = instance_scores(load_instances(layout.instances), targets)
    return figures_of(job, layout, Scores(scenes=(job.scene,), instances=rows))


def figures_of(job: Job, layout: RunLayout, scores: Scores) -> Figures:
    """Return the scores of a run, with those of its identities where these are its own."""
    share = None if scores.parents is None else scores.parents.share
    figures = Figures(
        masks=job.masks,
        scene=job.scene,
        switch=job.switch,
        step=job.step,
        run_dir=str(layout.root),
        objects=ap_of(scores, "objects", "constant"),
        objects_ranked=ap_of(scores, "objects", "ranked"),
        parts=ap_of(scores, "parts", "constant"),
        parts_ranked=ap_of(scores, "parts", "ranked"),
        parents=ABSENT if share is None else 100 * share,
        instances=len(load_instances(layout.instances)),
    )
    if job.switch and not SWITCHES[job.switch].tracks:
        return figures
    identity, object_frames, frames = identities(job, layout)
    return replace(
        figures,
        switches=identity.switches,
        object_frames=object_frames,
        tracks_per_object=identity.tracks_per_object,
        claimants=identity.claimants_per_object,
        idf1=100 * identity.idf1,
        frames=frames,
        tracks=identity.tracks,
    )


def ap_of(scores: Scores, target: Target, mode: ScoreMode) -> Ap:
    """Return the AP of the best level, in percent."""
    row = scores.best(target, mode)
    if row is None:
        return Ap()
    ap, ap50, ap25 = (ABSENT if v is None else 100 * v for v in (row.ap, row.ap50, row.ap25))
    return Ap(ap, ap50, ap25, -1 if row.level is None else row.level, row.n_predictions, row.n_gt)


def identities(job: Job, layout: RunLayout) -> tuple[IdentityScores, int, int]:
    """Score who is who against label images; return also how often objects were visible, and frames."""
    kind, folder, reader = MASKS[job.masks], Path(job.scan) / "gt", open_scan(Path(job.scan))
    truth = load_ground_truth(folder)
    void = truth.structural_objects
    if kind.judged == "parts":
        void = frozenset(part for part, owner in truth.object_of_part if owner in truth.structural_objects)
    least = visible_px(reader.overview.image_size)
    accumulator, object_frames = IdentityAccumulator(min_visible_px=least), 0
    with open_archive(layout.tracks) as archive:
        frames = archive.frames()
        for index in frames:
            name = frame_name(reader, index)
            labels = load_frame_labels(folder, name, "part" if kind.judged == "parts" else "instance")
            overlap = frame_overlap(archive.frame(index, kind.level), labels, void)
            object_frames += int(countable(overlap, 0.5, least)[2].sum())
            accumulator.add(overlap)
    return accumulator.result(), object_frames, len(frames)


def write_part_maps(scan: Path, folder: Path) -> Path:
    """Write the true parts as label maps to replay, parts of walls, floors and ceilings left out."""
    reader, truth = open_scan(scan), load_ground_truth(scan / "gt")
    left_out = sorted(part for part, owner in truth.object_of_part if owner in truth.structural_objects)
    (folder / "level_2").mkdir(parents=True, exist_ok=True)
    for index in range(len(reader)):
        name = frame_name(reader, index)
        labels = load_frame_labels(scan / "gt", name, "part")
        labels[np.isin(labels, left_out)] = 0
        cv2.imwrite(str(folder / "level_2" / f"{name}.png"), labels.astype(np.uint16))
    return folder


def finished(job: Job, *, any_source: bool = False) -> Figures | None:
    """Return what the same job measured before, from the same source or from any, or None."""
    path = Path(job.folder) / "figures.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    if any_source:
        kept["job"]["made_by"] = job.made_by
    return Figures.read(kept["figures"]) if kept["job"] == asdict(job) else None


def start(job: Job) -> Figures:
    """Do a job in a process of its own.

    Raises:
        SystemExit: with what the process said, when it failed.
    """
    folder = Path(job.folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MY3DIS_")}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, str(Path(__file__).resolve()), str(folder / "job.json")]
    done = subprocess.run(
        command, env=kept | threads, cwd=folder, capture_output=True, text=True, check=False
    )
    found = finished(job)
    if done.returncode or found is None:
        sys.exit(f"{job.scene}, {job.masks} {job.switch}: failed\n{done.stderr[-4000:]}")
    return found


def main(path: Path) -> None:
    """Do the job of a file and write its figures beside it."""
    cv2.setNumThreads(1)
    job = Job(**json.loads(path.read_text()))
    figures = measured_switch(job) if job.switch else measured_run(job)
    (path.parent / "figures.json").write_text(json.dumps({"job": asdict(job), "figures": asdict(figures)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
