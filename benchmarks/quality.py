"""How good identities, instances and parts are, on rooms with exact truth, and what each part of it is worth.

    python benchmarks/quality.py [--scenes SCAN ...] [--generated N] [--step N] [--only MASKS ...]
                                 [--ablations [NAME ...]] [--out DIR] [--check]

Masks of every kind (true objects, objects spoilt as a proposer would, true parts, objects and parts
together, and the weight-free default) of every scene go through `my3dis.run_scan`, one process after the
other. Printed and written to DIR (quality.md, quality.json, SVG pictures) are AP / AP50 / AP25 of objects
and parts with all confidences equal, and as predicted beside them; identity switches, tracks per object and
IDF1; seconds and peak memory; published figures of others on the two public rooms; and with --ablations
what changes when one thing is left out. What is in DIR already, made by the same source, is taken over.

Scenes are the two public rooms, where that data is (MY3DIS_TEST_DATA, else ../shared/data), and generated
rooms of other seeds than those that parameters were chosen on. --check exits 1 when a required figure is
missed, and says which aims are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from degrade import degrade
from my3dis.datasets.detect import open_scan
from quality_figures import MASKS, PUBLIC, Figures, Job
from quality_pictures import pictures
from quality_runs import finished, made_by, start, write_part_maps
from quality_switches import SWITCHES, switches_for
from quality_tables import AIMS, REQUIRED, judge, markdown
from rooms import generated_rooms

DATA = Path(os.environ.get("MY3DIS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SEEDS_FROM = 901
"""Rooms of seeds 101 to 104 are those that parameters were chosen on."""
SEED = 0
"""Of the degrader."""


def recorded(masks: str, scan: Path, out: Path) -> Path | None:
    """Return the label maps to replay, made where they are not there."""
    kind = MASKS[masks].recorded
    if not kind:
        return None
    published = DATA / "synth" / "masks_degraded" / scan.name
    if kind == "degraded" and scan.resolve().parent == (DATA / "synth").resolve() and published.is_dir():
        return published
    folder = out / "masks" / kind / scan.name
    done = folder / ".complete"
    if not done.is_file():
        print(f"  {kind} masks of {scan.name}", flush=True)
        if kind == "degraded":
            degrade(scan, folder, SEED)
        else:
            write_part_maps(scan, folder)
        done.touch()
    return folder


def jobs(args: argparse.Namespace, scans: Sequence[Path]) -> Iterator[Job]:
    """Return the runs of all scans, then what is left out of them."""
    out, source = args.out.resolve(), made_by()
    runs = []
    for masks in args.only:
        for scan in scans:
            maps = recorded(masks, scan, out)
            name = f"{masks}_{scan.name}_step{args.step}"
            runs.append(
                Job(
                    masks=masks,
                    scan=str(scan.resolve()),
                    folder=str(out / "runs" / name),
                    step=args.step,
                    recorded="" if maps is None else str(maps.resolve()),
                    made_by=source,
                )
            )
    yield from runs
    if args.ablations is None:
        return
    for run in runs:
        whole = finished(run, any_source=args.any_source)
        assert whole is not None
        for switch in switches_for(run.masks):
            if not args.ablations or switch in args.ablations:
                folder = f"{run.folder}_without/{switch.replace(' ', '_').replace(',', '')}"
                yield Job(**{**asdict(run), "folder": folder, "switch": switch, "run_dir": whole.run_dir})


def measure(args: argparse.Namespace, scans: Sequence[Path]) -> list[Figures]:
    """Do all jobs, or take over what they measured before."""
    measured = []
    for job in jobs(args, scans):
        figures = finished(job, any_source=args.any_source)
        words = f"{MASKS[job.masks].label}, {job.scene}{', ' + job.switch if job.switch else ''}"
        if figures is None:
            figures = start(job)
            print(f"  {datetime.now(tz=UTC):%H:%M:%S} {words}", flush=True)
        else:
            print(f"  taken over: {words}", flush=True)
        measured.append(figures)
    return measured


def scenes_of(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Return the scans to measure, and what is to be said of them."""
    notes = []
    scans = list(args.scenes or [])
    if args.scenes is None:
        there = [DATA / "synth" / name for name in PUBLIC]
        scans = [scan for scan in there if scan.is_dir()]
        if not scans:
            notes.append(f"the public rooms are not in {DATA}: generated rooms alone (set MY3DIS_TEST_DATA)")
    if args.generated:
        seeds = range(SEEDS_FROM, SEEDS_FROM + args.generated)
        size = (args.room_height, args.room_height * 4 // 3)
        rooms = generated_rooms(args.out / "rooms", seeds, frames=args.room_frames, image_size=size)
        scans += rooms
        shape = f"{args.room_frames} frames of {size[1]}x{size[0]}"
        notes.append(f"generated rooms: seeds {seeds[0]} to {seeds[-1]}, {shape}")
    for scan in scans:
        if open_scan(scan).overview.ground_truth is None:
            sys.exit(f"{scan}: expected a scan with ground truth (gt/), found none; leave it out")
    return scans, notes


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--scenes", nargs="*", type=Path, help="scans with ground truth; default the public rooms"
    )
    parser.add_argument("--generated", type=int, default=2, help="so many generated rooms; default 2")
    parser.add_argument("--room-frames", type=int, default=84, help="of each; default 84")
    parser.add_argument("--room-height", type=int, default=480, help="of their images, px; default 480")
    parser.add_argument("--step", type=int, default=1, help="use every n-th frame; default all")
    parser.add_argument("--only", nargs="+", choices=list(MASKS), default=list(MASKS), help="kinds of masks")
    parser.add_argument(
        "--ablations",
        nargs="*",
        choices=list(SWITCHES),
        metavar="NAME",
        help="leave things out, all or these",
    )
    parser.add_argument("--out", type=Path, default=Path("/tmp/my3dis-quality"), help="folder of everything")  # noqa: S108
    parser.add_argument(
        "--any-source", action="store_true", help="take over also what another version of the source made"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a required figure is missed")
    return parser.parse_args()


def main() -> None:
    """Measure, write and judge."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    scans, notes = scenes_of(args)
    if not scans:
        sys.exit("expected a scene, found none; give --scenes or --generated")
    thinned = f"one frame of {args.step} used, so published figures, which are of all, are not beside these"
    notes.append(thinned if args.step > 1 else "all frames used")
    figures = measure(args, scans)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    notes.append(f"one thread a run; load {load} on {os.cpu_count()} cores when the last run ended")
    if args.any_source:
        notes.append("figures may be of several versions of the source (--any-source)")
    notes.append(
        "constant scores at the best level, by ranked AP50; seconds from candidates to lift, no report"
    )
    text = markdown(figures, notes)
    (args.out / "quality.md").write_text(text)
    (args.out / "quality.json").write_text(
        json.dumps({"notes": notes, "figures": [asdict(f) for f in figures]}, indent=1)
    )
    for name, svg in pictures(figures).items():
        (args.out / name).write_text(svg)
    print(text)
    print(f"written to {args.out}: quality.md, quality.json and pictures")
    if args.check:
        check(figures)


def check(figures: Sequence[Figures]) -> None:
    """Exit 1 when a required figure is missed or could not be judged."""
    for verdict in judge(figures, AIMS):
        if not verdict.reached:
            print(f"aim  {verdict}")
    missed = [verdict for verdict in judge(figures, REQUIRED) if not verdict.reached]
    if missed:
        sys.exit("\n".join(f"required  {verdict}" for verdict in missed))
    print("every required figure is reached")


if __name__ == "__main__":
    main()
