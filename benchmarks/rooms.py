"""Rooms made for choosing parameters: other furniture, sizes and noise than the rooms that are reported.

    python benchmarks/rooms.py FOLDER [--seeds 101 102 103] [--frames 84]

Each room is a scan in ScanNet's exported layout with ground truth; the same seed gives the same room.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from my3dis.datasets.synthetic import make_room, write_scan

SEEDS = (101, 102, 103, 104)
FRAMES = 84
IMAGE_SIZE = (480, 640)


def generated_rooms(
    folder: Path,
    seeds: Iterable[int] = SEEDS,
    *,
    frames: int = FRAMES,
    image_size: tuple[int, int] = IMAGE_SIZE,
) -> tuple[Path, ...]:
    """Write a room for each seed, unless it is there, and return the scans' folders.

    The seed also chooses the room's size, so that distances and occlusions differ.

    Args:
        folder: the rooms' folders ``room_<seed>`` are made in it.
        seeds: of the rooms.
        frames: of each room.
        image_size: height and width in pixels.
    """
    scans = []
    for seed in seeds:
        scan = folder / f"room_{seed}"
        done = scan / ".complete"
        recipe = f"{seed} {frames} {image_size}\n"
        if not done.is_file() or done.read_text() != recipe:
            width, depth = np.random.default_rng([seed, 9]).uniform((5.2, 4.3), (7.5, 6.5)).tolist()
            room = make_room(seed, size_m=(width, depth, 2.6), frames=frames, image_size=image_size)
            write_scan(scan, room)
            done.write_text(recipe)
        scans.append(scan)
    return tuple(scans)


def main() -> None:
    """Write the rooms asked for and print their folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--frames", type=int, default=FRAMES)
    args = parser.parse_args()
    for scan in generated_rooms(args.folder, args.seeds, frames=args.frames):
        print(scan)


if __name__ == "__main__":
    main()
