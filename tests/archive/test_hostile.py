"""Archives that claim to hold more than any memory: refused in bounded memory, the rest still read."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, open_archive, verify
from my3dis.archive.rows import CODEC_PLAIN, CODEC_ZLIB, INSERT_MASK, _row_crc, frame_crc, track_crc
from my3dis.archive.schema import MAX_BLOB_BYTES, MAX_FRAME_BYTES
from my3dis.errors import ArchiveError
from my3dis.types import MaskSet
from tests.archive.make import SIZE, archive, assert_equal, masks

BOUND_MB = 768
"""What reading one frame of a hostile archive may take at most: three times `MAX_FRAME_BYTES`."""


def forge_frame(path: Path, frame: int, blobs: list[tuple[int, bytes]]) -> None:
    """Add a frame whose rows have right checksums and codes as given."""
    height, width = SIZE
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for mask_id, (codec, blob) in enumerate(blobs):
            row = (2, frame, mask_id, 77, -1, 0, 0, 1, 1, 1, 1.0, 1.0, 0, height, width, codec)
            db.execute(INSERT_MASK, (*row, _row_crc((*row, 0, blob)) ^ track_crc(77), blob))
        n = len(blobs)
        values = (frame, height, width, n, frame_crc(frame, height, width, n))
        db.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?)", values)
        db.execute("INSERT INTO frame_index VALUES (?, 2, 1, ?)", (frame, n))
        db.execute("UPDATE meta SET value = value + 1 WHERE key = 'frames'")


BOMB = zlib.compress(b"1" * MAX_BLOB_BYTES, 9)


@pytest.mark.parametrize(
    "blobs",
    [[(CODEC_ZLIB, BOMB)] * 300, [(CODEC_PLAIN, bytes(MAX_BLOB_BYTES - 10))] * 9],
    ids=["a bomb of ten gigabytes", "plain codes of 300 MB"],
)
def test_frames_of_endless_codes_are_refused(tmp_path: Path, blobs: list[tuple[int, bytes]]) -> None:
    """A frame that would unpack to more than it may is refused in under 768 MB; the others are read."""
    path = tmp_path / "a.my3dis"
    expected = archive(path)
    forge_frame(path, 20, blobs)
    code = f"""
import resource, sys
from my3dis.archive import open_archive
from my3dis.errors import ArchiveError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_archive({str(path)!r}) as reader:
    for use in (lambda: reader.frame(20), lambda: list(reader.track(77))):
        try:
            use()
        except ArchiveError as error:
            assert "at most {MAX_FRAME_BYTES} bytes together" in str(error), error
        else:
            sys.exit("nothing was refused")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < BOUND_MB
    with open_archive(path) as reader:
        for frame, one in expected.items():
            assert_equal(reader.frame(frame), one)


def test_verify_names_the_first_bomb(tmp_path: Path) -> None:
    """Verify looks at one mask at a time, so a bomb among sound masks is named and the others are checked."""
    path = tmp_path / "a.my3dis"
    archive(path)
    forge_frame(path, 20, [(CODEC_ZLIB, BOMB)] * 3)
    report = verify(path)
    assert report.first_bad_row is not None
    assert (report.first_bad_row.frame, report.first_bad_row.mask_id) == (20, 0)
    assert report.rows == 15


def test_noise_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    """A code over the limit is refused when it is appended, and what was there stays."""
    path = tmp_path / "a.my3dis"
    sound = masks(0)
    noise = MaskSet(
        **{name: getattr(sound, name) for name in ("image_size", "mask_id", "level", "parent_id", "boxes")},
        **{name: getattr(sound, name) for name in ("area_px", "score", "stability", "source")},
        frame=1,
        rle=(b"1" * (MAX_BLOB_BYTES + 1), *sound.rle[1:]),
    )
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, sound)
        with pytest.raises(ArchiveError, match="these masks are noise"):
            writer.append_frame(1, noise)
        writer.append_frame(2, masks(2))
    with open_archive(path) as reader:
        assert reader.frames() == [0, 2]
        np.testing.assert_array_equal(reader.frame(0).mask_id, np.sort(sound.mask_id))
