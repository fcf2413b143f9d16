"""Memory of tracking with a video model: flat with pruning, and how it grows as the library alone keeps it.

``OMP_NUM_THREADS=1 python benchmarks/session_memory.py [--frames 2000] [--svg FILE] [--json FILE]``

Needs torch and the extra ``sam2``; the model has 1.35 M random weights at an image size of 128, built here:
the megabytes are that model's, and only flat or not flat says something of others. Every run is a process of
its own with one thread:

- the tracker with 10 objects over ``--frames``, while at every 40th frame one object is dropped and another
  born, and at every 7th one is corrected;
- the same with 20, 40 and 80 objects over an eighth of the frames, all in batches of at most 10;
- a session of the library that keeps everything, 10 objects, 300 frames.

Prints a table; ``--svg`` draws resident memory and tensors held over frames, the library's line going on as a
dashed extrapolation. Exits 1 if the tracker holds more in the second half of its frames than in the first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20
WARM_UP = 100
BATCH = 10
IMAGE_SIZE = (96, 128)


@dataclass
class Series:
    """What one run measured.

    Attributes:
        name: of the run.
        objects: held at a time.
        frame, rss_mb, held_mb: equally long.
        seconds: of the whole run.
    """

    name: str
    objects: int
    frame: list[int] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    held_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, frame: int, held_bytes: int) -> None:
        """Note what is held now."""
        self.frame.append(frame)
        self.rss_mb.append(psutil.Process().memory_info().rss / MIB)
        self.held_mb.append(held_bytes / MIB)

    def slope(self, values: list[float], after: int) -> float:
        """Return MiB per 1,000 frames, by least squares over the frames from one on."""
        frames, chosen = np.array(self.frame), np.array(values)
        kept = frames >= after
        return float(np.polyfit(frames[kept], chosen[kept], 1)[0] * 1000) if kept.sum() > 1 else float("nan")


def color(index: int) -> np.ndarray:
    """Return a noisy picture that moves to the left."""
    still = np.random.default_rng(5).integers(0, 256, (IMAGE_SIZE[0] // 8, IMAGE_SIZE[1] // 8, 3))
    moved = np.roll(still.repeat(8, axis=0).repeat(8, axis=1), -3 * index, axis=1)
    return np.clip(moved + np.random.default_rng(index).integers(-20, 21, moved.shape), 0, 255).astype(
        np.uint8
    )


def rectangle(track: int, frame: int):  # noqa: ANN201 - the package is imported in the child only
    """Return one object's prompt, a rectangle whose place follows from its id and the frame."""
    from my3dis.masks import codec
    from my3dis.masks.build import from_codes

    mask = np.zeros(IMAGE_SIZE, np.bool_)
    x, y = (7 * track + frame) % 80, (5 * track) % 50
    mask[y : y + 40, x : x + 40] = True
    return from_codes(
        [codec.encode(mask)], frame=frame, image_size=IMAGE_SIZE, mask_id=[0], level=2, track_id=[track]
    )


def run_tracker(folder: Path, objects: int, frames: int) -> Series:
    """Run the tracker, with births, drops and corrections throughout."""
    from my3dis.backends.trackers.sam2_video import PLUGIN
    from my3dis.protocols import BackendOptions
    from my3dis.types import Frame

    tracker = PLUGIN.create(BackendOptions(checkpoint=str(folder), device="cpu", objects_per_batch=BATCH))
    series, begun = Series("pruned", objects), time.monotonic()
    alive = list(range(objects))
    for t in range(frames):
        frame = Frame(index=t, name=str(t), color=color(t))
        tracker.step(frame)
        if t == 0:
            for track in alive:
                tracker.prompt(frame, rectangle(track, t))
        elif t % 40 == 0:
            tracker.drop([alive.pop(0)])
            alive.append(alive[-1] + 1)
            tracker.prompt(frame, rectangle(alive[-1], t))
        elif t % 7 == 0:
            tracker.prompt(frame, rectangle(alive[t % objects], t))
        if t % 5 == 4:
            series.add(t, tracker.held_bytes())
    series.seconds = time.monotonic() - begun
    return series


def run_library(folder: Path, objects: int, frames: int) -> Series:
    """Run the library's own streaming session, which forgets nothing."""
    import torch

    from my3dis.backends.trackers.sam2_video import families, images, prompts
    from my3dis.backends.trackers.sam2_video.session import held_bytes

    model = families.load(folder, torch.device("cpu"), torch.float32)
    session = model.new_session(model.device)
    series, begun = Series("library", objects), time.monotonic()
    for track in range(objects):
        prompt = prompts.prompt_of(rectangle(track, 0), 0, model, "all_mask")
        prompt.add_to(session, session.obj_id_to_idx(track), 0)
    session.obj_with_new_inputs = list(range(objects))
    for t in range(frames):
        with torch.inference_mode():
            model.network(session, frame=images.as_pixels(color(t), model), frame_idx=t)
        if t % 5 == 4:
            series.add(t, held_bytes(_library_tensors(session)))
    series.seconds = time.monotonic() - begun
    return series


def _library_tensors(session) -> Iterator:  # noqa: ANN001 - a session of the library
    import torch

    yield from session.processed_frames.values()
    for outputs in session.output_dict_per_obj.values():
        for frames in outputs.values():
            for output in frames.values():
                yield from (value for value in output.values() if isinstance(value, torch.Tensor))
    for masks in session.mask_inputs_per_obj.values():
        yield from masks.values()
    for features in session.cache._vision_features.values():
        for value in features.values():
            yield from value


def in_a_process(kind: str, folder: Path, objects: int, frames: int) -> Series:
    """Run one kind in a process of its own and return what it measured."""
    command = [sys.executable, __file__, "--child", kind, str(folder), str(objects), str(frames)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{kind} with {objects} objects failed:\n{done.stderr}")
    return Series(**json.loads(done.stdout.splitlines()[-1]))


def child(kind: str, folder: str, objects: str, frames: str) -> None:
    """Do one run and print it; ``build`` makes the checkpoint instead."""
    if kind == "build":
        from tests.backends.trackers.sam2_video import tiny

        tiny.save("sam2", Path(folder))
        print(json.dumps(asdict(Series("build", 0))))
        return
    run = {"pruned": run_tracker, "library": run_library}[kind]
    print(json.dumps(asdict(run(Path(folder), int(objects), int(frames)))))


def table(runs: list[Series]) -> list[str]:
    """Return the table's lines; the first figures and the slopes are from frame 100 on, past the warm-up."""
    lines = [
        f"{'run':8s} {'objects':>7s} {'frames':>6s} | {'held MiB':>9s} {'at end':>8s} {'at most':>8s} "
        f"{'per 1000':>9s} | {'RSS MiB':>8s} {'at end':>7s} {'per 1000':>9s} | s/frame"
    ]
    for run in runs:
        after = min(WARM_UP, run.frame[-1] // 3)
        first = next(i for i, t in enumerate(run.frame) if t >= after)
        cells = (
            f"{run.name:8s} {run.objects:7d} {run.frame[-1] + 1:6d}",
            f"{run.held_mb[first]:9.3f} {run.held_mb[-1]:8.3f} {max(run.held_mb):8.3f} "
            f"{run.slope(run.held_mb, after):9.3f}",
            f"{run.rss_mb[first]:8.1f} {run.rss_mb[-1]:7.1f} {run.slope(run.rss_mb, after):9.2f}",
            f"{run.seconds / (run.frame[-1] + 1):7.3f}",
        )
        lines.append(" | ".join(cells))
    return lines


COLORS = {"library": "#c0392b", 10: "#1b6ca8", 20: "#2a9d8f", 40: "#8a6fb0", 80: "#b5651d"}


def color_of(run: Series) -> str:
    """Return the colour of a run's lines."""
    return COLORS.get(run.name) or COLORS[run.objects]


def draw(runs: list[Series], path: Path) -> None:
    """Draw tensors held (left) and resident memory (right) over frames, as SVG."""
    end = max(run.frame[-1] for run in runs) + 1
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="1020" height="500" font-family="sans-serif" '
        'font-size="12"><rect width="1020" height="500" fill="white"/>',
        _panel(runs, "held_mb", "tensors held, MiB", 70, end),
        _panel(runs, "rss_mb", "resident memory, MiB", 560, end),
    ]
    for row, run in enumerate(runs):
        label = f"{run.objects} objects, {run.frame[-1] + 1} frames, pruned"
        if run.name == "library":
            label = f"{run.objects} objects, {run.frame[-1] + 1} frames, library alone (dashed: extrapolated)"
        x, y = 70 + 490 * (row // 3), 440 + 18 * (row % 3)
        parts.append(f'<path d="M{x},{y - 4}h24" stroke="{color_of(run)}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 32}" y="{y}">{label}</text>')
    path.write_text("".join(parts) + "</svg>\n")


def _panel(runs: list[Series], what: str, title: str, left: int, end: int) -> str:
    library = next(run for run in runs if run.name == "library")
    last = getattr(library, what)[-1]
    reached = last + library.slope(getattr(library, what), library.frame[-1] // 3) / 1000 * (
        end - library.frame[-1]
    )
    top = _round_up(max([reached] + [max(getattr(run, what)) for run in runs]))

    def place(t: float, value: float) -> str:
        return f"{left + 400 * t / end:.1f},{380 - 320 * value / top:.1f}"

    parts = [f'<text x="{left}" y="30" font-size="14">{title}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = left + 400 * share, 380 - 320 * share
        parts.append(f'<path d="M{left},{y}h400" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{top * share:g}</text>')
        parts.append(f'<text x="{x}" y="396" text-anchor="middle">{end * share:g}</text>')
    parts.append(f'<text x="{left + 200}" y="414" text-anchor="middle">frame</text>')
    for run in runs:
        points = " ".join(place(t, v) for t, v in zip(run.frame, getattr(run, what), strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color_of(run)}" stroke-width="2"/>')
    parts.append(
        f'<polyline points="{place(library.frame[-1], last)} {place(end, reached)}" fill="none" '
        f'stroke="{color_of(library)}" stroke-dasharray="6 5"/>'
    )
    return "".join(parts)


def _round_up(value: float) -> float:
    """Return the next 1, 2, 4, 6 or 8 times a power of ten."""
    power = 10 ** int(np.floor(np.log10(value)))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--json", type=Path, help="keep what was measured")
    parser.add_argument("--again", type=Path, help="print and draw what --json kept, measure nothing")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    if options.again:
        runs = [Series(**run) for run in json.loads(options.again.read_text())]
        print("\n".join(table(runs)))
        if options.svg:
            draw(runs, options.svg)
        return
    fewer = max(options.frames // 8, 60)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        in_a_process("build", folder, 0, 0)
        runs = [in_a_process("pruned", folder, 10, options.frames)]
        print("\n".join(table(runs)), flush=True)
        for objects in (20, 40, 80):
            runs.append(in_a_process("pruned", folder, objects, fewer))
            print(table(runs)[-1], flush=True)
        runs.append(in_a_process("library", folder, 10, min(300, options.frames)))
        print(table(runs)[-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs]))
    if options.svg:
        draw(runs, options.svg)
    for run in runs[:-1]:
        half = len(run.held_mb) // 2
        early, late = max(run.held_mb[:half]), max(run.held_mb[half:])
        if late > 1.01 * early:
            sys.exit(f"{run.objects} objects: the tensors held grew from {early:.3f} to {late:.3f} MiB")


if __name__ == "__main__":
    main()
