"""How long `my3dis run CONFIG.yaml --dry-run` takes for 1,500 scenes, whole command included.

``python benchmarks/planning.py [--scenes N] [--frames N] [--check]``; with ``--check`` it exits 1 when the
command takes more processor time than its bound (wall time depends on what else the machine does; both are
printed). A third of the scenes is finished, a third was stopped while tracking, a third is new; every scan
has so many colour, depth and pose files, which are empty: planning opens none of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from my3dis.config import Config
from my3dis.runs.layout import RunLayout
from my3dis.runs.manifest import Manifest, StageRecord, StageStatus, write_manifest
from my3dis.runs.plan import load_stage, output_paths, with_absolute_paths
from my3dis.scheduling.expected import Wanted
from my3dis.scheduling.plan import survey_sweep

BOUND_S = 2.0


def make_tree(root: Path, scenes: int, frames: int) -> Config:
    """Write scans and the folders of earlier runs, and return the settings of the sweep."""
    values = {"dataset_root": root / "scans", "output_root": root / "out"}
    config = with_absolute_paths(Config.model_validate({"experiment": values}))
    template = RunLayout(root / "template")
    template.root.mkdir(parents=True)
    finished = _manifest(config, template, frames)
    stopped = replace(
        finished.with_stage(replace(finished.stages[2], status=StageStatus.RUNNING, outputs=())),
        status="running",
    )
    texts = {}
    for name, manifest in (("finished", finished), ("stopped", replace(stopped, stages=stopped.stages[:3]))):
        write_manifest(root / f"{name}.json", manifest)
        texts[name] = (root / f"{name}.json").read_text()
    for n in range(scenes):
        scan = root / "scans" / f"scene{n:04}_00"
        for folder, suffix in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
            (scan / folder).mkdir(parents=True)
            for frame in range(frames):
                os.close(os.open(scan / folder / f"{frame}.{suffix}", os.O_CREAT | os.O_WRONLY))
        kind = ("finished", "stopped", "new")[3 * n // scenes]
        if kind == "new":
            continue
        run = RunLayout(root / "out" / scan.name / "default")
        run.root.mkdir(parents=True)
        run.comparison.mkdir()
        run.manifest.write_text(texts[kind].replace("SCENE", scan.name))
        for path in template.root.iterdir():
            os.link(path, run.root / path.name)
    return config


def _manifest(config: Config, template: RunLayout, frames: int) -> Manifest:
    """Return the manifest of a finished run, and write files that stand for what it wrote."""
    records = []
    for stage in Wanted.of(config).stages:
        outputs = [path for path in output_paths(load_stage(stage.name), template, config) if path.suffix]
        for path in outputs:
            path.write_bytes(b"x" * 100)
        scan = (("scan", f"scannet {'0' * 64}"), ("frames", f"{frames} of {frames} {'0' * 64}"))
        upstream = tuple((f"stage {name}", f"digest of {name}") for name in stage.upstream)
        records.append(
            StageRecord(
                name=stage.name,
                status=StageStatus.DONE,
                digest=f"digest of {stage.name}",
                settings=stage.settings,
                inputs=(*stage.inputs, *scan, *upstream),
                outputs=tuple((path.name, 100) for path in outputs),
            )
        )
    return Manifest(
        status="finished",
        scene="SCENE",
        scan="SCENE",
        dataset="scannet",
        run_name="default",
        version="0",
        started="",
        updated="",
        frames_selected=frames,
        frames_total=frames,
        levels=(2, 4, 6),
        stages=tuple(records),
    )


def command_s(config: Config) -> tuple[float, float, str]:
    """Return wall and processor seconds of the command, and what it printed."""
    experiment = config.experiment
    command = [sys.executable, "-m", "my3dis", "run", "--dry-run"]
    command += ["--set", f"experiment.dataset_root={experiment.dataset_root}"]
    command += ["--output", str(experiment.output_root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, spent, done.stdout


def main() -> int:
    """Measure, print and compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1500)
    parser.add_argument("--frames", type=int, default=40, help="of every scan")
    parser.add_argument("--repeats", type=int, default=3, help="best of how many")
    parser.add_argument("--show", action="store_true", help="print the plan too")
    parser.add_argument("--check", action="store_true", help="exit 1 when the bound is broken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="my3dis-planning-") as folder:
        config = make_tree(Path(folder), arguments.scenes, arguments.frames)
        runs = [command_s(config) for _ in range(arguments.repeats)]
        begun = time.process_time()
        survey = survey_sweep(config)
        inside = time.process_time() - begun
    wall, spent = (min(run[n] for run in runs) for n in (0, 1))
    if arguments.show:
        print(runs[0][2])
    facts = {
        "scenes": arguments.scenes,
        "frames per scan": arguments.frames,
        "jobs": len(survey.plan.jobs),
        "planning alone, processor s": round(inside, 2),
        "whole command, processor s": round(spent, 2),
        "whole command, wall s": round(wall, 2),
        "load of the machine": round(os.getloadavg()[0], 1),
        "processors": len(os.sched_getaffinity(0)),
    }
    print(f"best of {arguments.repeats}: {json.dumps(facts)}")
    fits = spent < BOUND_S
    print(f"{'ok' if fits else 'BROKEN'}: {spent:.2f} s of one processor, bound {BOUND_S} s")
    return int(arguments.check and not fits)


if __name__ == "__main__":
    sys.exit(main())
