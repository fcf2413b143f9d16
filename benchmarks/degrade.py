"""Spoil true masks as a proposer would: drop, split, merge, shrink and grow them.

    python benchmarks/degrade.py SCAN OUT [--seed 0] [--kind instance|part]

OUT becomes a ``recorded_root``: ``level_2/<frame>.png``. Walls, floors and ceilings are left out. Per frame
and mask: dropped (p 0.15), else split along a random line through it (0.15), else merged with a
neighbour that it touches (0.10), else whole; then eroded or dilated by 0 to 3 px. Ids are shuffled, so no
identity leaks; the same seed gives the same masks.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoiling:
    """How much is spoilt.

    Attributes:
        drop, split, merge: probability per frame and mask.
        border_px: masks are eroded or dilated by at most so many pixels.
    """

    drop: float = 0.15
    split: float = 0.15
    merge: float = 0.10
    border_px: int = 3


def degrade(
    scan: Path, out: Path, seed: int, *, kind: str = "instance", spoiling: Spoiling | None = None
) -> Path:
    """Write spoilt label images of all frames of a scan to ``out/level_2`` and return ``out``.

    Args:
        scan: folder with ground truth.
        out: made if absent.
        seed: of everything random.
        kind: ``instance`` or ``part``.
        spoiling: how much; the stated amounts when None.
    """
    reader, truth = open_scan(scan), load_ground_truth(scan / "gt")
    (out / "level_2").mkdir(parents=True, exist_ok=True)
    left_out = set(truth.structural_objects)
    if kind == "part":
        left_out = {part for part, owner in truth.object_of_part if owner in truth.structural_objects}
    for index in range(len(reader)):
        name = reader.frame(index).name
        labels = load_frame_labels(scan / "gt", name, "part" if kind == "part" else "instance")
        labels[np.isin(labels, sorted(left_out))] = 0
        rng = np.random.default_rng([seed, index])
        spoilt = spoil(labels, rng, spoiling or Spoiling())
        cv2.imwrite(str(out / "level_2" / f"{name}.png"), spoilt.astype(np.uint16))
    return out


def spoil(labels: NDArray[np.integer], rng: np.random.Generator, spoiling: Spoiling) -> NDArray[np.int32]:
    """Return a spoilt copy of a label image, (H, W) int32, 0 = none."""
    ids = [int(i) for i in np.unique(labels) if i > 0]
    pieces: list[NDArray[np.bool_]] = []
    used: set[int] = set()
    for i in rng.permutation(ids).tolist():
        chance = float(rng.random())
        mask = labels == i
        if i in used:
            continue
        used.add(i)
        if chance < spoiling.drop:
            continue
        if chance < spoiling.drop + spoiling.split:
            pieces.extend(halves(mask, rng))
            continue
        if chance < spoiling.drop + spoiling.split + spoiling.merge:
            touching = [n for n in neighbours(labels, mask) if n not in used]
            if touching:
                other = int(rng.choice(touching))
                used.add(other)
                mask = mask | (labels == other)
        pieces.append(mask)
    result = np.zeros(labels.shape, np.int32)
    numbers = rng.permutation(len(pieces)) + 1
    for piece, number in zip(pieces, numbers.tolist(), strict=True):
        result[moved_border(piece, rng, spoiling.border_px)] = number
    return result


def halves(mask: NDArray[np.bool_], rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Cut a mask along a line of random direction through one of its pixels."""
    y, x = np.nonzero(mask)
    k, angle = int(rng.integers(len(y))), float(rng.uniform(0, np.pi))
    rows, columns = np.indices(mask.shape)
    side = (columns - x[k]) * np.sin(angle) - (rows - y[k]) * np.cos(angle) > 0
    return [half for half in (mask & side, mask & ~side) if half.any()]


def neighbours(labels: NDArray[np.integer], mask: NDArray[np.bool_]) -> list[int]:
    """Return the ids that touch a mask, ascending."""
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return [int(i) for i in np.unique(labels[rim & ~mask]) if i > 0]


def moved_border(mask: NDArray[np.bool_], rng: np.random.Generator, most_px: int) -> NDArray[np.bool_]:
    """Erode or dilate a mask by a random number of pixels."""
    by = int(rng.integers(-most_px, most_px + 1))
    if by == 0:
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(by) + 1, 2 * abs(by) + 1))
    operation = cv2.dilate if by > 0 else cv2.erode
    return np.asarray(operation(mask.astype(np.uint8), kernel) > 0)


def main() -> None:
    """Degrade one scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("instance", "part"), default="instance")
    args = parser.parse_args()
    print(degrade(args.scan, args.out, args.seed, kind=args.kind))


if __name__ == "__main__":
    main()
