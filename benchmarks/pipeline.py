"""The whole run on one scan, measured from outside, beside three-scale felzenszwalb on the same frames.

``python benchmarks/pipeline.py [--scan PATH] [--out DIR] [--set KEY=VALUE ...] [--check]``

Prints seconds and peak memory of every stage, the ratio of the run's time to felzenszwalb's, the files
written, the growth of memory while tracking per 10,000 masks written, and the scores where the scan has
ground truth. ``--check`` exits 1 when a bound is broken. Everything is written to --out or a temporary
folder. Felzenszwalb needs scikit-image: ``pip install -e '.[bench]'``, or name a Python that has it with
``--felzenszwalb-python``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from my3dis.archive import open_archive
from my3dis.errors import ArchiveError
from my3dis.monitoring.timings import StageTiming, read_timings
from my3dis.runs.events import read_events
from my3dis.runs.layout import RunLayout
from my3dis.runs.scores import format_scores, load_scores
from process_tree import Sample, Watched, watch

PEAK_BOUND_MB = 600.0
GROWTH_BOUND_MB = 1.5
FILES_BOUND = 40
RATIO_BOUND = 1.0
PER_MASKS = 10_000
WARM_UP_SHARE = 0.2
ENOUGH_MASKS = 5_000
SOURCE = Path(__file__).resolve().parents[1] / "src"


@dataclass(frozen=True)
class Yardstick:
    """Felzenszwalb's seconds on all frames of the run; `measured` of `frames` were really segmented."""

    wall_s: float
    cpu_s: float
    measured: int
    frames: int
    regions: tuple[float, ...]


@dataclass(frozen=True)
class Growth:
    """A line through memory over masks written while tracking.

    Attributes:
        mb_per_10k: slope after the warm-up (first fifth of the masks), MiB per 10,000 masks.
        mb_per_10k_all: the same with the warm-up.
        masks: masks written.
        points: samples that the line is fitted to.
    """

    mb_per_10k: float
    mb_per_10k_all: float
    masks: int
    points: int


def main() -> int:
    """Run, watch, time the yardstick, print."""
    arguments = _parse()
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        return _measure(arguments, arguments.out)
    with tempfile.TemporaryDirectory(prefix="my3dis-bench-") as folder:
        return _measure(arguments, Path(folder))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scan", type=Path, help="scan; default: the built-in one, made first")
    parser.add_argument("--out", type=Path, help="folder for the run; default: temporary, deleted")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of `my3dis run`")
    parser.add_argument("--frames", metavar="START:END:STEP", help="as of `my3dis run`")
    parser.add_argument(
        "--every",
        type=int,
        default=4,
        help="felzenszwalb on every n-th frame, scaled up (1 = all); default 4",
    )
    parser.add_argument("--no-felzenszwalb", action="store_true", help="leave the yardstick out")
    parser.add_argument(
        "--felzenszwalb-python", default=sys.executable, metavar="PYTHON", help="has scikit-image"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--check", action="store_true", help="exit 1 when a bound is broken")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace, out: Path) -> int:
    scan = arguments.scan or _built_in(out)
    runs = out / "runs"
    command = [sys.executable, "-m", "my3dis", "run", "--scan", str(scan), "--output", str(runs)]
    command += ["--frames", arguments.frames] if arguments.frames else []
    command += [word for pair in arguments.set for word in ("--set", pair)]
    log = out / "run.log"
    watched = watch(command, log=log, probe=lambda: _masks_written(runs))
    if watched.returncode:
        print(log.read_text(errors="replace")[-4000:])
        print(f"`{' '.join(command)}` ended with exit code {watched.returncode}")
        return watched.returncode
    layout = RunLayout(next(runs.glob("*/*/manifest.json")).parent)
    with open_archive(layout.tracks) as tracks:
        frames = tracks.frames()
    yardstick = None if arguments.no_felzenszwalb else _felzenszwalb(arguments, scan, frames)
    load = os.getloadavg()[0]
    print(f"scan {scan.name}, {len(frames)} frames; load of the machine at the end {load:.1f}")
    return _report(arguments, layout, watched, yardstick)


def _built_in(out: Path) -> Path:
    from my3dis.datasets.synthetic import built_in_scan

    return Path(built_in_scan(out / "scan"))


def _masks_written(runs: Path) -> int | None:
    """Return how many masks the track archive has by now; None before there is one."""
    for path in runs.glob("*/*/tracks.my3dis"):
        try:
            with open_archive(path) as archive:
                return archive.count()
        except ArchiveError:  # being created at this moment
            return None
    return None


def _felzenszwalb(arguments: argparse.Namespace, scan: Path, frames: list[int]) -> Yardstick:
    chosen = frames[:: arguments.every]
    script = Path(__file__).with_name("felzenszwalb.py")
    listed = ",".join(map(str, chosen))
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [arguments.felzenszwalb_python, str(script), str(scan), "--frames", listed],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"felzenszwalb failed (is scikit-image installed there?):\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    factor = len(frames) / len(chosen)
    return Yardstick(
        wall_s=found["segment_s"] * factor,
        cpu_s=found["segment_cpu_s"] * factor,
        measured=len(chosen),
        frames=len(frames),
        regions=tuple(found["regions"]),
    )


def _stage_spans(layout: RunLayout) -> dict[str, tuple[float, float]]:
    """Return when each stage ran, in seconds since the epoch."""
    starts: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    for event in read_events(layout.events):
        stage = str(event.get("stage", ""))
        when = datetime.fromisoformat(str(event["time"])).timestamp()
        if event["event"] == "stage_started":
            starts[stage] = when
        elif event["event"] in ("stage_finished", "stage_skipped") and stage in starts:
            spans[stage] = (starts[stage], when)
    return spans


def _within(samples: tuple[Sample, ...], span: tuple[float, float]) -> list[Sample]:
    return [sample for sample in samples if span[0] <= sample.time_s <= span[1]]


def _growth(samples: list[Sample]) -> Growth | None:
    """Fit memory over masks written; None with too few samples for a line."""
    points = [(sample.value, sample.rss_mb) for sample in samples if sample.value]
    if len({masks for masks, _ in points}) < 5:
        return None
    masks, rss = (np.array(column, float) for column in zip(*points, strict=True))
    warm = masks >= WARM_UP_SHARE * masks.max()
    late = np.polyfit(masks[warm], rss[warm], 1)[0] if len(set(masks[warm])) > 2 else np.nan
    return Growth(
        mb_per_10k=float(late) * PER_MASKS,
        mb_per_10k_all=float(np.polyfit(masks, rss, 1)[0]) * PER_MASKS,
        masks=int(masks.max()),
        points=len(points),
    )


def _report(
    arguments: argparse.Namespace, layout: RunLayout, watched: Watched, yardstick: Yardstick | None
) -> int:
    spans = _stage_spans(layout)
    peaks = {
        name: max((sample.rss_mb for sample in _within(watched.samples, span)), default=0.0)
        for name, span in spans.items()
    }
    timings = read_timings(layout.timings)
    _print_stages(timings, peaks, watched)
    growth = _growth(_within(watched.samples, spans["track"])) if "track" in spans else None
    if growth is None:
        print("memory while tracking: too few samples for a line")
    verdicts = [
        *_limits(layout, watched, growth),
        *([] if yardstick is None else _ratios(watched, yardstick)),
    ]
    for text, holds in verdicts:
        print(f"{'holds ' if holds else 'BROKEN'}  {text}")
    if layout.scores.is_file():
        print()
        print(format_scores(load_scores(layout.scores)))
    if arguments.json is not None:
        figures = {
            "wall_s": watched.wall_s,
            "cpu_s": watched.cpu_s,
            "peak_mb": watched.peak_mb,
            "stages": {
                timing.name: {"seconds": timing.seconds, "peak_mb": peaks.get(timing.name)}
                for timing in timings
            },
            "growth": None if growth is None else asdict(growth),
            "felzenszwalb": None if yardstick is None else asdict(yardstick),
            "verdicts": dict(verdicts),
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(holds for _, holds in verdicts) or not arguments.check else 1


def _limits(layout: RunLayout, watched: Watched, growth: Growth | None) -> list[tuple[str, bool]]:
    """Return (sentence, whether it holds) for memory and files."""
    files = [path for path in layout.root.rglob("*") if path.is_file()]
    pictures = sum(layout.comparison in path.parents for path in files)
    others = len(files) - pictures
    found = [
        (f"peak memory {watched.peak_mb:.0f} MB <= {PEAK_BOUND_MB:.0f} MB", watched.peak_mb <= PEAK_BOUND_MB),
        (f"files {others} (+ {pictures} comparison pictures) <= {FILES_BOUND}", others <= FILES_BOUND),
    ]
    if growth is not None:
        text = (
            f"memory while tracking {growth.mb_per_10k:+.2f} MB per 10,000 masks <= {GROWTH_BOUND_MB:g} "
            f"({growth.masks} masks, {growth.points} samples; {growth.mb_per_10k_all:+.2f} with the warm-up)"
        )
        if growth.masks >= ENOUGH_MASKS:
            found.append((text, growth.mb_per_10k <= GROWTH_BOUND_MB))
        else:
            print(f"not judged, fewer than {ENOUGH_MASKS} masks: {text}")
    return found


def _ratios(watched: Watched, yardstick: Yardstick) -> list[tuple[str, bool]]:
    """Print the yardstick and return (sentence, whether it holds) for wall and processor time."""
    whole = yardstick.measured == yardstick.frames
    note = "all frames" if whole else f"{yardstick.measured} of {yardstick.frames} frames, scaled up"
    regions = "/".join(f"{n:.0f}" for n in yardstick.regions)
    print(
        f"felzenszwalb x3: {yardstick.wall_s:.1f} s wall, {yardstick.cpu_s:.1f} s cpu "
        f"({note}; {regions} regions)"
    )
    pairs = (("wall", watched.wall_s, yardstick.wall_s), ("cpu", watched.cpu_s, yardstick.cpu_s))
    return [
        (f"run / felzenszwalb, {kind}: {own / other:.2f} <= {RATIO_BOUND:g}", own / other <= RATIO_BOUND)
        for kind, own, other in pairs
    ]


def _print_stages(timings: tuple[StageTiming, ...], peaks: dict[str, float], watched: Watched) -> None:
    print(f"{'stage':<12}{'seconds':>9}{'peak MB':>9}{'own peak':>10}{'masks in':>10}{'out':>9}")
    for timing in timings:
        print(
            f"{timing.name:<12}{timing.seconds:>9.1f}{peaks.get(timing.name, 0.0):>9.0f}"
            f"{timing.peak_rss_mb:>10.0f}{timing.masks_in:>10}{timing.masks_out:>9}"
        )
    print(
        f"{'whole run':<12}{watched.wall_s:>9.1f}{watched.peak_mb:>9.0f}{'':>10}   cpu {watched.cpu_s:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
