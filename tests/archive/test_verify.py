"""Verification: what is right passes, and each kind of wrong is named with its frame and mask."""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, format_report, open_archive, verify
from my3dis.errors import ArchiveError
from my3dis.masks import codec
from my3dis.types import MaskSet
from tests.archive.make import archive, masks


def write(path: Path, one: MaskSet) -> None:
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(one.frame, one)


def nested(*, parent_id: int = 0, child_level: int = 4, shift: int = 0) -> MaskSet:
    """A 10x10 square and a 4x4 square in it, its child."""
    outer, inner = np.zeros((24, 36), bool), np.zeros((24, 36), bool)
    outer[5:15, 5:15] = True
    inner[8:12, 8 + shift : 12 + shift] = True
    rles = (codec.encode(outer), codec.encode(inner))
    boxes, areas = codec.measure(rles, (24, 36))
    return dataclasses.replace(
        masks(3, (0, 1), levels=(2, child_level)),
        rle=rles,
        boxes=boxes,
        area_px=areas,
        parent_id=np.array([-1, parent_id], np.int32),
    )


def test_a_sound_archive_passes(tmp_path: Path) -> None:
    """No problem is found, and the counts are those of the archive."""
    archive(tmp_path / "a.my3dis")
    report = verify(tmp_path / "a.my3dis", containment=True)
    assert (report.ok, report.frames, report.rows, report.problems) == (True, 3, 12, ())
    assert report.finished
    assert format_report(report) == f"{tmp_path / 'a.my3dis'}: ok, 12 masks in 3 frames checked"


def test_an_archive_being_written_passes(tmp_path: Path) -> None:
    """An archive that isn't closed is checked as far as it goes, and that is said."""
    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        writer.append_frame(3, masks(3))
        report = verify(tmp_path / "a.my3dis")
    assert report.ok
    assert "its writer has not closed it" in format_report(report)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"area_px": np.array([100, 17], np.int64)}, "expected the area 16 of its pixels, found 17"),
        ({"boxes": np.array([[5, 5, 15, 15], [8, 8, 12, 13]], np.int32)}, "expected the box (8, 8, 12, 12)"),
        ({"parent_id": np.array([-1, 9], np.int32)}, "expected its parent 9 in the same frame, found none"),
        ({"level": np.array([2, 2], np.int16)}, "expected its parent 0 at a level above 2, found level 2"),
        ({"rle": (nested().rle[0], b"T3")}, "found 2 bytes that are none"),
        ({"rle": (nested().rle[0], b"")}, "found 0 bytes that are none"),
    ],
)
def test_wrong_masks_are_named(tmp_path: Path, changes: dict, said: str) -> None:
    """A writer that was handed wrong values is found out: frame, mask and what is wrong."""
    write(tmp_path / "a.my3dis", dataclasses.replace(nested(), **changes))
    report = verify(tmp_path / "a.my3dis")
    assert not report.ok
    assert report.n_problems == 1
    bad = report.first_bad_row
    assert bad is not None
    assert (bad.frame, bad.mask_id) == (3, 1)
    assert said in bad.what
    assert "1 problem(s), 2 masks in 1 frames checked" in format_report(report)
    assert "frame 3: mask 1: " in format_report(report)


def test_codes_that_other_readers_would_misread_are_named(tmp_path: Path) -> None:
    """A run of 2^32 + 864 pixels looks like 864 to a 32-bit reader; it is a problem all the same."""
    value, code = 2**32 + 864, b""
    while value:
        value, group = value >> 5, value & 31
        code += bytes([48 + group + (32 if value else 0)])
    one = masks(3, (0,))
    zero = np.zeros((1, 4), np.int32)
    write(
        tmp_path / "a.my3dis",
        dataclasses.replace(one, rle=(code,), boxes=zero, area_px=np.zeros(1, np.int64)),
    )
    assert "expected runs of 864 pixels, found 4294968160" in str(verify(tmp_path / "a.my3dis").problems[0])


def test_unusual_but_right_codes_pass(tmp_path: Path) -> None:
    """Runs of no pixels are legal in the code, though nobody writes them."""
    # 24 * 36 = 864 pixels: 800 background, 0 mask, 64 background.
    code = codec.encode(np.zeros((1, 800), bool)) + b"0" + codec.encode(np.zeros((1, 64), bool))
    one = dataclasses.replace(
        masks(3, (0,)), rle=(code,), boxes=np.zeros((1, 4), np.int32), area_px=np.zeros(1, np.int64)
    )
    assert codec.parse_counts(code) == [800, 0, 64]
    write(tmp_path / "a.my3dis", one)
    assert verify(tmp_path / "a.my3dis").ok


def test_containment_is_checked_on_request(tmp_path: Path) -> None:
    """A child that sticks out of its parent is a problem only when asked for."""
    path = tmp_path / "a.my3dis"
    write(path, nested(shift=5))
    assert verify(path).ok
    report = verify(path, containment=True)
    # Columns 13..16 of four rows: 15 and 16 lie outside.
    assert [str(p) for p in report.problems] == [
        "frame 3: mask 1: expected a mask inside its parent, found 8 pixels outside"
    ]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE frame_index SET n = 9 WHERE frame = 3 AND level = 2", "in the table frame_index, found"),
        ("DELETE FROM masks WHERE frame = 3 AND mask_id = 1", "frame 3: expected 4 masks"),
        ("DELETE FROM frames WHERE frame = 5", "4 rows of the table masks are of a frame"),
        ("UPDATE frames SET n = 5 WHERE frame = 3", "frame 3: its row in the table frames"),
        (
            "UPDATE masks SET track_id = 99 WHERE frame = 9 AND mask_id = 0",
            "mask 0: expected contents that fit",
        ),
        ("UPDATE meta SET value = 7 WHERE key = 'frames'", "expected 7 frames as the table meta says"),
    ],
)
def test_inconsistent_tables_are_named(tmp_path: Path, sql: str, said: str) -> None:
    """Tables that don't agree with each other are problems."""
    path = tmp_path / "a.my3dis"
    archive(path)
    db = sqlite3.connect(path)
    with db:
        db.execute(sql)
    db.close()
    report = verify(path)
    assert not report.ok
    assert said in format_report(report)


def test_many_problems_are_counted_and_few_are_kept(tmp_path: Path) -> None:
    """A report lists the first hundred problems and counts all."""
    path = tmp_path / "a.my3dis"
    archive(path, range(60))
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE masks SET score = 2.0")
    db.close()
    report = verify(path)
    assert (report.n_problems, len(report.problems)) == (240, 100)
    assert "... and 230 more" in format_report(report)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"x" * 5000])
def test_files_that_are_no_archives_raise(tmp_path: Path, content: bytes) -> None:
    """An empty file, a bare magic and noise are not archives with problems but no archives."""
    (tmp_path / "a.my3dis").write_bytes(content)
    with pytest.raises(ArchiveError, match="expected a"):
        verify(tmp_path / "a.my3dis")
    with pytest.raises(ArchiveError, match="found none"):
        verify(tmp_path / "b.my3dis")


def patch(path: Path, pattern: bytes, offset: int, byte: int) -> None:
    """Change one byte at the only place where a pattern is found."""
    content = bytearray(path.read_bytes())
    (found,) = re.finditer(pattern, content)
    content[found.start() + offset] = byte
    path.write_bytes(content)


def test_a_table_that_leads_round_in_circles_ends(tmp_path: Path) -> None:
    """Frames 5, 9 and 11, the last of which now says 3: what follows 9 is 3, and 5 follows that."""
    path = tmp_path / "a.my3dis"
    archive(path, (5, 9, 11))
    # A cell of the table frames: its length, the frame, and the header of the row.
    patch(path, rb"[\x08-\x14]\x0b\x06\x00", 1, 3)
    report = verify(path)
    assert "the table frames is out of order: frame 3 follows 9" in [
        problem.what for problem in report.problems
    ]
    assert report.n_sound == 12


def test_an_index_that_leads_to_another_track_is_noticed(tmp_path: Path) -> None:
    """An entry of track 10 that leads to a row of track 11 is refused, not shown as track 10."""
    path = tmp_path / "a.my3dis"
    archive(path, (5,))
    # Length, header of four small numbers, then track 10, frame 5, mask 7, row 4; row 2 is of track 11.
    patch(path, rb"\x09\x05\x01\x01\x01\x01\x0a\x05\x07\x04", 9, 2)
    with open_archive(path) as reader, pytest.raises(ArchiveError, match="damaged"):
        list(reader.track(10))
    assert not verify(path).ok
    assert verify(path).n_sound == 4


def test_an_index_that_leads_round_in_circles_ends(tmp_path: Path) -> None:
    """Seventy masks of a track, one of whose entries goes back: reading it in batches comes to an end."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        for frame in range(2, 120):
            writer.append_frame(frame, masks(frame, (7,), tracks=(10,)))
    # The entry of frame 65, row 64 (the last of a batch), now says frame 1.
    patch(path, rb"\x09\x05\x01\x01\x01\x01\x0a\x41\x07\x40", 7, 1)
    with open_archive(path) as reader, pytest.raises(ArchiveError, match="damaged"):
        list(reader.track(10))
