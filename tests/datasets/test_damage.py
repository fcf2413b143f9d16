"""Whatever is done to the files of a scan, reading it ends in frames or in a `DataError`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.annotations import load_truth
from my3dis.datasets.detect import open_scan
from my3dis.errors import DataError
from tests.datasets.miniatures import FRAMES, WRITERS, multiscan_decoded, replica, scannet_corner, scannetpp

SCANS: dict[str, Callable[[Path], Path]] = {
    **WRITERS,
    "multiscan-posed": multiscan_decoded,
    "replica-labelled": lambda root: replica(root, labelled=True),
    "scannet-labelled": scannet_corner,
    "scannetpp-lz4": lambda root: scannetpp(root, packing="lz4"),
}


def members(scan: Path) -> list[Path]:
    """Return one file of each kind: of numbered images the fourth."""
    if scan.is_file():
        return [scan]
    kinds: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(p for p in scan.parent.rglob("*") if p.is_file()):
        stem = path.name.rstrip(path.suffix).rstrip("0123456789.")
        kinds.setdefault((str(path.parent), stem + path.suffix), []).append(path)
    return [paths[min(3, len(paths) - 1)] for paths in kinds.values()]


def read_all(scan: Path, name: str) -> None:
    """Open a scan and read all that it offers; a `DataError` is a fine answer to any of it."""
    try:
        reader = open_scan(scan, name)
    except DataError:
        return
    steps: list[Callable[[], object]] = [
        reader.cloud,
        reader.fingerprint,
        *((lambda i=i: reader.frame(i)) for i in (0, 3, FRAMES - 1, 1)),
    ]
    truth = reader.overview.ground_truth
    if truth is not None:
        steps.append(lambda: load_truth(truth))
    for step in steps:
        try:
            step()
        except DataError as error:
            assert "expected" in str(error), error


def damages(data: bytes, rng: np.random.Generator) -> list[bytes | None]:
    """Return ways to spoil a file: gone, emptied, cut, flipped, other bytes."""
    spoiled: list[bytes | None] = [None, b"", data[:1], data[: len(data) // 3], data[:-1], b"\0" * len(data)]
    for _ in range(4):
        flipped = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            flipped[at] ^= int(rng.integers(1, 256))
        spoiled.append(bytes(flipped))
    spoiled.append(data.replace(b"1", b"-").replace(b"0", b"9"))
    spoiled.append(data.replace(b"[", b"{").replace(b"]", b"}"))
    spoiled.append(b"[" * 100_000)
    return spoiled


@pytest.mark.soak
@pytest.mark.parametrize("name", SCANS)
def test_damaged_files_never_crash_a_reader(name: str, tmp_path: Path) -> None:
    """Each file of each layout, gone, emptied, cut, flipped or replaced, is read or refused in a sentence."""
    scan = SCANS[name](tmp_path / "place" / "mini")
    rng = np.random.default_rng(0)
    for path in members(scan):
        data = path.read_bytes()
        for spoiled in damages(data, rng) if data else ():
            path.unlink() if spoiled is None else path.write_bytes(spoiled)
            read_all(scan, name.partition("-")[0])
            path.write_bytes(data)
    read_all(scan, name.partition("-")[0])
    shutil.rmtree(tmp_path / "place")
