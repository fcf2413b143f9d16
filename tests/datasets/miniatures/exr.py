"""Writes OpenEXR images of one or more channels, scan lines, as the layout document says."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

KINDS = {"uint32": 0, "float16": 1, "float32": 2}
LINES = {0: 1, 1: 1, 2: 1, 3: 16}


def attribute(name: str, kind: str, value: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value


def split(raw: bytes) -> bytes:
    """Put even bytes before odd ones and store each as its difference from the one before, plus 128."""
    halves = np.frombuffer(raw[0::2] + raw[1::2], np.uint8).astype(int)
    steps = halves.copy()
    steps[1:] = (halves[1:] - halves[:-1] + 128) % 256
    return steps.astype(np.uint8).tobytes()


def run_lengths(raw: bytes) -> bytes:
    """Pack runs of equal bytes as (length - 1, byte), others one at a time as (-1, byte)."""
    out, at = bytearray(), 0
    while at < len(raw):
        length = 1
        while length < 127 and raw[at : at + 1] == raw[at + length : at + length + 1]:
            length += 1
        out += bytes([length - 1, raw[at]]) if length > 2 else bytes([255, raw[at]])
        at += length if length > 2 else 1
    return bytes(out)


def exr(path: Path, channels: dict[str, np.ndarray], compression: int = 3) -> None:
    """Write channels of one size; compression 0 none, 1 run lengths, 2 zip by line, 3 zip by 16 lines."""
    names = sorted(channels)
    height, width = channels[names[0]].shape
    listing = b"".join(
        n.encode() + b"\0" + struct.pack("<iB3xii", KINDS[str(channels[n].dtype)], 0, 1, 1) for n in names
    )
    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = (
        struct.pack("<ii", 20000630, 2)
        + attribute("channels", "chlist", listing + b"\0")
        + attribute("compression", "compression", bytes([compression]))
        + attribute("dataWindow", "box2i", box)
        + attribute("displayWindow", "box2i", box)
        + attribute("lineOrder", "lineOrder", b"\0")
        + attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
        + attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0))
        + attribute("screenWindowWidth", "float", struct.pack("<f", 1))
        + b"\0"
    )
    blocks = []
    for first in range(0, height, LINES[compression]):
        rows = range(first, min(first + LINES[compression], height))
        raw = b"".join(channels[n][row].tobytes() for row in rows for n in names)
        packed = raw
        if compression == 1:
            packed = run_lengths(split(raw))
        elif compression > 1:
            packed = zlib.compress(split(raw))
        packed = packed if len(packed) < len(raw) else raw
        blocks.append(struct.pack("<ii", first, len(packed)) + packed)
    offsets, at = [], len(header) + 8 * len(blocks)
    for block in blocks:
        offsets.append(struct.pack("<Q", at))
        at += len(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + b"".join(offsets) + b"".join(blocks))
