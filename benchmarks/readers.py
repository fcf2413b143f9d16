"""Read generated ScanNet ``.sens`` and raw MultiScan scans: speed, and memory whatever their length.

    python benchmarks/readers.py                       # 200 and 800 frames of each
    python benchmarks/readers.py --frames 500 4000 --step 10

The scans have the data sets' sizes: JPEG of 1296x968 with zlib depth of 640x480; video of 1920x1440 with one
deflate stream of depth and one of confidence of 256x192. Every measurement runs in a process of its own:
``open`` looks for where frames begin, ``in order`` reads every n-th frame, ``back and forth`` jumps between
twenty places. Peaks are of the whole process; ``above opening`` is what reading adds to them.
"""

from __future__ import annotations

import argparse
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from my3dis.datasets.detect import open_scan


@dataclass(frozen=True)
class Figures:
    """What one process measured: seconds, and MB of its peak."""

    megabytes: float
    open_s: float
    frames: int
    in_order_s: float
    jumps_s: float
    opening_mb: float
    peak_mb: float


def picture(index: int, width: int, height: int) -> np.ndarray:
    """Return a picture with edges and noise that moves with the frames."""
    rng = np.random.default_rng(index % 7)
    coarse = rng.integers(0, 255, (height // 40, width // 40, 3), dtype=np.uint8)
    return np.roll(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 5 * index, axis=1)


def depth_mm(index: int, width: int, height: int) -> np.ndarray:
    """Return a slanted wall with two millimetres of noise."""
    rng = np.random.default_rng(index)
    slant = 1500 + 3 * np.arange(width)[None, :] + np.arange(height)[:, None] + index
    return (slant + rng.normal(0, 2, (height, width))).astype("<u2")


def pose(index: int) -> np.ndarray:
    """Return a camera that moves along x."""
    matrix = np.eye(4)
    matrix[0, 3] = 0.01 * index
    return matrix


def intrinsics(width: int, height: int) -> np.ndarray:
    """Return an intrinsic matrix with the principal point in the middle."""
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = 0.9 * width
    matrix[0, 2], matrix[1, 2] = (width - 1) / 2, (height - 1) / 2
    return matrix


def write_sens(folder: Path, frames: int) -> Path:
    """Write a sensor file; a few different frames are repeated."""
    color, depth = (1296, 968), (640, 480)
    images, depths = [], []
    for i in range(16):
        images.append(cv2.imencode(".jpg", picture(i, *color))[1].tobytes())
        depths.append(zlib.compress(depth_mm(i, *depth).tobytes()))
    with (folder / "scan.sens").open("wb") as file:
        file.write(struct.pack("<IQ", 4, 6) + b"sensor")
        for matrix in (intrinsics(*color), np.eye(4), intrinsics(*depth), np.eye(4)):
            file.write(matrix.astype("<f4").tobytes())
        file.write(struct.pack("<iiIIIIfQ", 2, 1, *color, *depth, 1000, frames))
        for i in range(frames):
            image, packed = images[i % 16], depths[i % 16]
            file.write(pose(i).astype("<f4").tobytes() + struct.pack("<4Q", 0, 0, len(image), len(packed)))
            file.write(image + packed)
    return folder


def write_multiscan(folder: Path, frames: int) -> Path:
    """Write a raw MultiScan scan; the video is MPEG-4, which OpenCV can write, in place of H.264."""
    color, depth = (1920, 1440), (256, 192)
    code = cv2.VideoWriter_fourcc(*"mp4v")
    video = cv2.VideoWriter(str(folder / "scan.mp4"), code, 60, color)
    pictures = [picture(i, *color) for i in range(8)]
    packers = [zlib.compressobj(6, zlib.DEFLATED, -15) for _ in range(2)]
    streams = [(folder / f"scan.{name}.zlib").open("wb") for name in ("depth", "confidence")]
    with (folder / "scan.jsonl").open("w") as lines:
        for i in range(frames):
            video.write(pictures[i % 8])
            metres = (depth_mm(i, *depth) / 1000).astype("<f2").tobytes()
            sure = np.full(depth[0] * depth[1], 2, np.uint8).tobytes()
            for packer, stream, data in zip(packers, streams, (metres, sure), strict=True):
                stream.write(packer.compress(data))
            arkit = pose(i) @ np.diag([1, -1, -1, 1])
            k = intrinsics(*color)[:3, :3].T.ravel().tolist()
            camera = {"timestamp": i * 16_666_667, "intrinsics": k, "transform": arkit.T.ravel().tolist()}
            lines.write(json.dumps(camera) + "\n")
    video.release()
    for packer, stream in zip(packers, streams, strict=True):
        stream.write(packer.flush())
        stream.close()
    sizes = [{"resolution": [h, w], "number_of_frames": frames} for w, h in (color, depth)]
    (folder / "scan.json").write_text(json.dumps({"depth_unit": "m", "streams": sizes}))
    return folder


WRITERS = {"sens": write_sens, "multiscan_raw": write_multiscan}


def peak_mb() -> float:
    """Return the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(scan: Path, step: int) -> Figures:
    """Open a scan, read every step-th frame, and jump about."""
    start = time.perf_counter()
    reader = open_scan(scan)
    opened = time.perf_counter() - start
    reader.frame(0)
    before = peak_mb()
    chosen = range(0, len(reader), step)
    start = time.perf_counter()
    for i in chosen:
        reader.frame(i)
    ordered = time.perf_counter() - start
    places = np.random.default_rng(0).integers(0, len(reader), 20)
    start = time.perf_counter()
    for i in places:
        reader.frame(int(i))
    size = sum(p.stat().st_size for p in scan.rglob("*") if p.is_file()) / 2**20
    jumped = (time.perf_counter() - start) / len(places)
    return Figures(size, opened, len(chosen), ordered, jumped, before, peak_mb())


def main() -> None:
    """Write scans, measure each in a child, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[200, 800])
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(asdict(measure(arguments.measure, arguments.step))))
        return
    print("| scan | frames | MB | open, s | in order, ms/frame | jump, ms | peak, MB | above opening, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, write in WRITERS.items():
        for frames in arguments.frames:
            with tempfile.TemporaryDirectory() as place:
                scan = write(Path(place), frames)
                command = [sys.executable, __file__, "--measure", str(scan), "--step", str(arguments.step)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            f = Figures(**json.loads(done.stdout))
            print(
                f"| {name} | {frames} | {f.megabytes:.0f} | {f.open_s:.2f} | "
                f"{1000 * f.in_order_s / f.frames:.1f} | {1000 * f.jumps_s:.0f} | {f.peak_mb:.0f} | "
                f"{f.peak_mb - f.opening_mb:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
