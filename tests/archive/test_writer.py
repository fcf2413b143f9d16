"""Writing: one transaction per call, nothing half done, one file at the end."""

from __future__ import annotations

import dataclasses
import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from my3dis.archive import (
    StreamingSegmentWriter,
    connect,
    discard_archive,
    open_archive,
    read_stage_digest,
    verify,
)
from my3dis.errors import ArchiveError
from my3dis.types import MaskSet
from tests.archive.make import SIZE, archive, assert_equal, in_order, masks


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def read(path: Path, frame: int) -> MaskSet:
    with open_archive(path) as reader:
        return reader.frame(frame)


def test_frames_come_back_as_they_were(tmp_path: Path) -> None:
    """Every field of every mask survives, in the order of level and mask id."""
    path = tmp_path / "a.my3dis"
    contents = archive(path)
    for frame, expected in contents.items():
        assert_equal(read(path, frame), expected)
    assert names(tmp_path) == ["a.my3dis"]
    assert verify(path).ok


def test_odd_file_names_work(tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the name."""
    path = tmp_path / "a b?#%20.my3dis"
    archive(path, (1,))
    assert names(tmp_path) == [path.name]
    with open_archive(str(path)) as reader:
        assert reader.frames() == [1]


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_a_frame_may_be_appended_twice(tmp_path: Path, journal: str) -> None:
    """A second call adds masks with new ids; both calls are read as one frame."""
    path = tmp_path / "a.my3dis"
    first, second = masks(3, (5, 6), levels=4), masks(3, (9, 1), levels=(4, 2))
    with StreamingSegmentWriter(path, journal=journal) as writer:  # type: ignore[arg-type]
        writer.append_frame(3, first)
        writer.append_frame(3, second)
        assert writer.frames() == [3]
    assert_equal(read(path, 3), in_order(MaskSet.concatenate([first, second])))
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT frame, level, first_row, n FROM frame_index ORDER BY level").fetchall()
    db.close()
    # Rows 1 and 2 were the first call (level 4); 3 is level 2 and 4 is level 4 of the second.
    assert rows == [(3, 2, 3, 1), (3, 4, 1, 3)]
    assert verify(path).ok


def test_a_repeated_id_leaves_nothing(tmp_path: Path) -> None:
    """When one id of a call is stored already, no mask of that call is kept and writing goes on."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(3, masks(3, (5, 6)))
        with pytest.raises(ArchiveError, match=r"new mask ids for frame 3, found \[6\] stored already"):
            writer.append_frame(3, masks(3, (7, 6, 8)))
        writer.append_frame(4, masks(4, (5, 6)))
    assert_equal(read(path, 3), masks(3, (5, 6)))
    assert verify(path).ok


def test_a_frame_without_masks_is_recorded(tmp_path: Path) -> None:
    """An empty set makes the frame known, with its size and no masks."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(8, MaskSet.empty(8, SIZE))
        assert writer.frames() == [8]
    with open_archive(path) as reader:
        assert reader.frames() == [8]
        assert reader.image_size(8) == SIZE
        assert len(reader.frame(8)) == reader.count() == 0
        assert reader.levels() == []


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    """Another frame index, image size or type is an error that says what was expected and found."""
    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        with pytest.raises(ArchiveError, match="expected masks of frame 4, found masks of frame 3"):
            writer.append_frame(4, masks(3))
        writer.append_frame(3, masks(3, (0,)))
        with pytest.raises(ArchiveError, match=r"expected masks of 36x24 for frame 3 .* found 9x8"):
            writer.append_frame(3, masks(3, (1,), size=(8, 9)))
        with pytest.raises(ArchiveError, match="expected a MaskSet to append, found dict"):
            writer.append_frame(3, {})  # type: ignore[arg-type]
        with pytest.raises(ArchiveError, match="at most 268435456 pixels, found 70000x70000"):
            writer.append_frame(5, MaskSet.empty(5, (70_000, 70_000)))
        assert writer.frames() == [3]
    with pytest.raises(ArchiveError, match="is closed"):
        writer.append_frame(6, masks(6))


def test_numpy_frame_indices_and_nan_scores_are_fine(tmp_path: Path) -> None:
    """A NumPy integer is a frame index, in the call and in the set; scores may be no numbers."""
    path = tmp_path / "a.my3dis"
    nan = np.full(3, np.nan, np.float32)
    one = dataclasses.replace(in_order(masks(3)), frame=np.int64(3), score=nan, stability=nan)  # type: ignore[arg-type]
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(np.int64(3), one)  # type: ignore[arg-type]
    assert_equal(read(path, 3), one)
    assert verify(path).ok


def test_long_codes_are_packed_and_read_plain(tmp_path: Path) -> None:
    """The file holds the smaller of plain and deflated codes; readers always give plain ones."""
    path = tmp_path / "a.my3dis"
    rows = np.arange(480)[:, None]
    stripes = np.broadcast_to(rows // 7 % 2 == 0, (480, 640))
    from my3dis.masks import codec

    rles = (codec.encode(stripes), codec.encode(np.zeros((480, 640), bool)))
    boxes, areas = codec.measure(rles, (480, 640))
    one = dataclasses.replace(masks(0, (0, 1), size=(480, 640)), rle=rles, boxes=boxes, area_px=areas)
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, one)
    with sqlite3.connect(path) as db:
        stored = db.execute("SELECT codec, length(rle) FROM masks ORDER BY mask_id").fetchall()
    db.close()
    assert stored[0][0] == 1
    assert stored[0][1] < len(rles[0]) // 2
    assert stored[1] == (0, len(rles[1]))
    assert read(path, 0).rle == rles


def test_merged_tracks_are_relabelled_along_chains(tmp_path: Path) -> None:
    """``{5: 3, 3: 1}`` makes 5 and 3 become 1, -1 unsets, and checksums keep fitting."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0, (0, 1, 2, 3, 4), tracks=(5, 3, 1, 8, 9)))
        writer.append_frame(1, masks(1, (0, 1), tracks=(5, 9)))
        writer.assign_tracks({5: 3, 3: 1, 9: -1, 8: 8, 77: 2})
    with open_archive(path) as reader:
        assert reader.frame(0).track_id.tolist() == [1, 1, 1, 8, -1]
        assert reader.frame(1).track_id.tolist() == [1, -1]
        assert [one.frame for one in reader.track(1)] == [0, 0, 0, 1]
        assert list(reader.track(5)) == []
    assert verify(path).ok


@pytest.mark.parametrize("mapping", [{1: 2, 2: 1}, {1: 2, 2: 3, 3: 2}, {-1: 4}, {4: -2}])
def test_impossible_relabelling_changes_nothing(tmp_path: Path, mapping: dict[int, int]) -> None:
    """A circle or a negative id is refused before anything is changed."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0, (0, 1, 2), tracks=(1, 2, 3)))
        with pytest.raises(ArchiveError, match=r"without circles|track ids of 0 or more"):
            writer.assign_tracks(mapping)
    assert read(path, 0).track_id.tolist() == [1, 2, 3]


def test_dropped_masks_are_logged_and_may_be_logged_again(tmp_path: Path) -> None:
    """The log keeps frame, id, level and reason; repeating a frame after a kill overwrites equal rows."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.record_dropped(4, np.array([7, 2]), np.array([2, 4]), ["min_area", "duplicate"])  # type: ignore[arg-type]
        writer.record_dropped(4, [7, 2], [2, 4], ["min_area", "stability"])
        with pytest.raises(ArchiveError, match="as many levels and reasons"):
            writer.record_dropped(4, [7], [], ["x"])
    with open_archive(path) as reader:
        log = [(d.frame, d.mask_id, d.level, d.reason) for d in reader.dropped()]
    assert log == [(4, 2, 4, "stability"), (4, 7, 2, "min_area")]


def test_metadata_guards_against_another_stage(tmp_path: Path) -> None:
    """Opening with another digest is refused; the digest can be read beforehand."""
    path = tmp_path / "a.my3dis"
    assert read_stage_digest(path) is None
    with StreamingSegmentWriter(path, purpose="masks", stage_digest="one"):
        pass
    assert read_stage_digest(path) == "one"
    with pytest.raises(ArchiveError, match=r"expected stage_digest two .* found one"):
        StreamingSegmentWriter(path, stage_digest="two")
    with StreamingSegmentWriter(path, stage_digest="one") as writer:
        writer.append_frame(0, masks(0))
    with open_archive(path) as reader:
        assert (reader.purpose, reader.stage_digest) == ("masks", "one")


def test_an_exception_keeps_committed_frames_and_says_unfinished(tmp_path: Path) -> None:
    """After an error in the block the frames are there, the archive is unfinished and may go on."""
    path = tmp_path / "a.my3dis"
    with pytest.raises(RuntimeError, match="stop"), StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0))
        raise RuntimeError("stop")
    with open_archive(path) as reader:
        assert not reader.finished
        assert reader.frames() == [0]
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(1, masks(1))
    with open_archive(path) as reader:
        assert reader.finished
    with pytest.raises(RuntimeError, match="again"), StreamingSegmentWriter(path) as writer:
        writer.append_frame(2, masks(2))
        raise RuntimeError("again")
    with open_archive(path) as reader:
        assert not reader.finished
        assert reader.frames() == [0, 1, 2]
    assert names(tmp_path) == ["a.my3dis"]


def test_close_is_idempotent(tmp_path: Path) -> None:
    """A second close does nothing."""
    writer = StreamingSegmentWriter(tmp_path / "a.my3dis")
    writer.append_frame(0, masks(0))
    writer.close()
    writer.close()
    with open_archive(tmp_path / "a.my3dis") as reader:
        assert reader.finished


def test_a_second_writer_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    """Two writers at once are an error; after the first closes, the next may write."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path), pytest.raises(ArchiveError, match=f"by process {os.getpid()};"):
        StreamingSegmentWriter(path)
    StreamingSegmentWriter(path).close()


def test_a_killed_writers_lock_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The lock of a dead process doesn't hold, and the log says that it was there."""
    path = tmp_path / "a.my3dis"
    code = f"""
        import os, signal
        from my3dis.archive import StreamingSegmentWriter
        writer = StreamingSegmentWriter({str(path)!r})
        print(os.getpid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True
    )
    assert (tmp_path / "a.my3dis-lock").exists()
    with caplog.at_level(logging.WARNING), StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0))
    assert f"process {child.stdout.strip()} left behind" in caplog.text
    assert names(tmp_path) == ["a.my3dis"]


def test_network_file_systems_get_the_rollback_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the mount table says nfs, the journal is rolled back instead of written ahead."""
    mounts = ((str(tmp_path), "nfs4"), ("/", "ext4"))
    parts = [SimpleNamespace(mountpoint=mountpoint, fstype=kind) for mountpoint, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    assert connect.on_network(tmp_path / "a.my3dis")
    assert not connect.on_network(tmp_path.parent / "a.my3dis")
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "a.my3dis"
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0))
        writer.flush()
        assert names(path.parent) == ["a.my3dis", "a.my3dis-lock"]
        with open_archive(path) as reader:
            assert_equal(reader.frame(0), in_order(masks(0)))
    assert read(path, 0).mask_id.tolist() == [0, 2, 4]


def test_a_local_disk_gets_the_write_ahead_log(tmp_path: Path) -> None:
    """While writing there is a log; after closing there is one file in rollback mode that needs none."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path, journal="wal") as writer:
        writer.append_frame(0, masks(0))
        assert (tmp_path / "a.my3dis-wal").stat().st_size > 0
    assert names(tmp_path) == ["a.my3dis"]
    # Bytes 18 and 19 of an SQLite file: 1 = rollback journal, 2 = write-ahead log.
    assert path.read_bytes()[18:20] == b"\x01\x01"


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_other_files_are_not_overwritten(tmp_path: Path, content: bytes) -> None:
    """A file that is no archive is refused and stays as it is; an empty file becomes an archive."""
    path = tmp_path / "a.my3dis"
    path.write_bytes(content)
    if content:
        with pytest.raises(ArchiveError, match="no SQLite database"):
            StreamingSegmentWriter(path)
        assert path.read_bytes() == content
    else:
        StreamingSegmentWriter(path).close()
        assert verify(path).ok


def test_other_databases_and_versions_are_refused(tmp_path: Path) -> None:
    """A database of another application or a newer format is named as such, for writer and reader."""
    path = tmp_path / "a.my3dis"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    for use in (StreamingSegmentWriter, open_archive):
        with pytest.raises(ArchiveError, match=r"expected a My3DIS mask archive .* application id 0x0"):
            use(path)
    path.unlink()
    archive(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    for use in (StreamingSegmentWriter, open_archive):
        with pytest.raises(ArchiveError, match="found version 9; update my3dis"):
            use(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """Writing into a folder that isn't there says so, and nothing is made."""
    with pytest.raises(ArchiveError, match=r"expected a folder at .*nowhere"):
        StreamingSegmentWriter(tmp_path / "nowhere" / "a.my3dis")
    with pytest.raises(ArchiveError):
        StreamingSegmentWriter(tmp_path)


def test_discarding_spares_an_archive_in_use(tmp_path: Path) -> None:
    """Deleting takes the logs along; an archive that is being written is not deleted."""
    path = tmp_path / "a.my3dis"
    discard_archive(path)
    discard_archive(tmp_path / "nowhere" / "a.my3dis")
    with StreamingSegmentWriter(path, journal="wal") as writer:
        writer.append_frame(0, masks(0))
        with pytest.raises(ArchiveError, match=f"by process {os.getpid()};"):
            discard_archive(path)
        writer.append_frame(1, masks(1))
    assert verify(path).frames == 2
    (tmp_path / "a.my3dis-wal").write_bytes(b"left behind")
    discard_archive(path)
    assert names(tmp_path) == []
