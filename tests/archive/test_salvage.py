"""Saving sound rows: whatever opens or doesn't, the rows that fit their checksums come out."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import (
    StreamingSegmentWriter,
    format_report,
    format_salvage,
    open_archive,
    salvage,
    verify,
)
from my3dis.archive.survey import Survey
from my3dis.cli.main import main
from my3dis.errors import ArchiveError
from my3dis.types import MaskSet
from tests.archive.make import SIZE, archive, assert_equal, in_order, masks

PAGE = 4096


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def assert_holds(path: Path, contents: dict[int, MaskSet]) -> None:
    assert verify(path).ok
    with open_archive(path) as reader:
        assert reader.frames() == list(contents)
        for frame, expected in contents.items():
            assert_equal(reader.frame(frame), expected)


def test_a_sound_archive_is_copied(tmp_path: Path) -> None:
    """Frames, masks, tracks, the purpose and the log of dropped masks; the stage digest stays behind."""
    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    contents = archive(path)
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(20, MaskSet.empty(20, SIZE))
        writer.record_dropped(5, [31, 30], [4, 2], ["stability", "min_area"])
    report = salvage(path, out)
    assert report.is_whole
    assert (report.frames, report.masks, report.dropped, report.is_dropped_whole) == (4, 12, 2, True)
    assert format_salvage(report) == f"{out}: 12 sound masks in 4 frames saved\n  no mask is lost"
    assert_holds(out, {**contents, 20: MaskSet.empty(20, SIZE)})
    with open_archive(out) as reader:
        assert (reader.purpose, reader.stage_digest, reader.finished) == ("tracks", None, True)
        assert [(d.frame, d.mask_id, d.level, d.reason) for d in reader.dropped()] == [
            (5, 30, 2, "min_area"),
            (5, 31, 4, "stability"),
        ]


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (0, bytes(100)),
        (0, bytes(PAGE)),
        (16, struct.pack(">H", 512)),
        (16, struct.pack(">H", 77)),
        (20, b"\xff"),
        (60, struct.pack(">I", 9)),
        (68, struct.pack(">I", 1)),
    ],
    ids=["header", "first page", "page size", "impossible page size", "reserved", "version", "application"],
)
def test_a_damaged_beginning_costs_no_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], offset: int, content: bytes
) -> None:
    """SQLite refuses the file; the rows are all there, and verify says so instead of giving up."""
    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    contents = archive(path)
    overwrite(path, offset, content)
    assert main(["verify", str(path), "--salvage", str(out)]) == 3
    said = capsys.readouterr().out
    assert "12 masks are sound" in said
    assert f"{out}: 12 sound masks in 3 frames saved" in said
    assert_holds(out, contents)


def test_lost_parents_and_masks_are_reported(tmp_path: Path) -> None:
    """A lost mask is named; its child is kept without parent, and the report counts it."""
    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    family = dataclasses.replace(
        masks(3, (8, 9, 10), levels=(2, 4, 4)), parent_id=np.array([-1, 8, 8], np.int32)
    )
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(3, family)
        writer.append_frame(4, masks(4))
    db = sqlite3.connect(path)
    (stored,) = db.execute("SELECT rle FROM masks WHERE frame = 3 AND mask_id = 8").fetchone()
    db.close()
    overwrite(path, path.read_bytes().index(stored) + 9, b"zz")
    report = verify(path)
    assert report.first_bad_row is not None
    assert (report.first_bad_row.frame, report.first_bad_row.mask_id, report.n_sound) == (3, 8, 5)
    assert "first bad row: frame 3, mask 8\n" in format_report(report)
    saved = salvage(path, out)
    assert (saved.masks, saved.n_lost, saved.orphans) == (5, 1, 2)
    assert [str(lost) for lost in saved.lost] == ["frame 3: mask 8"]
    assert "1 mask(s) lost:\n    frame 3: mask 8\n  2 mask(s) are without parent now" in format_salvage(saved)
    with open_archive(out) as reader:
        assert reader.frame(3).mask_id.tolist() == [9, 10]
        assert reader.frame(3).parent_id.tolist() == [-1, -1]


def killed_with_log(tmp_path: Path) -> tuple[Path, dict[int, MaskSet]]:
    """An archive with frames in the file, and more and relabelled ones in the log of a killed writer."""
    path, killed = tmp_path / "a.my3dis", tmp_path / "killed.my3dis"
    contents = {frame: masks(frame, range(6), tracks=[0, 1, 2, 3, 4, 5]) for frame in range(30)}
    with StreamingSegmentWriter(path, journal="wal") as writer:
        for frame in range(10):
            writer.append_frame(frame, contents[frame])
    with StreamingSegmentWriter(path, journal="wal") as writer:
        for frame in range(10, 30):
            writer.append_frame(frame, contents[frame])
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    return killed, {frame: in_order(one) for frame, one in contents.items()}


def test_the_log_of_a_killed_writer_is_saved_too(tmp_path: Path) -> None:
    """Rows that are only in the log count like those in the file."""
    killed, contents = killed_with_log(tmp_path)
    with Survey(killed) as survey:
        assert survey.n_sound == 180
    assert salvage(killed, tmp_path / "b.my3dis").is_whole
    assert_holds(tmp_path / "b.my3dis", contents)


def test_damage_in_the_log_is_found_and_what_follows_it_saved(tmp_path: Path) -> None:
    """SQLite drops every commit after a damaged frame of the log without a word; verify says it."""
    killed, contents = killed_with_log(tmp_path)
    log = tmp_path / "killed.my3dis-wal"
    # The content of the log's 12th frame; its header is 32 bytes, that of a frame 24.
    overwrite(log, 32 + 11 * (24 + PAGE) + 24 + 2000, b"\xff\x00\xff")
    with open_archive(killed) as reader:
        assert len(reader.frames()) < 30
    report = verify(killed)
    assert not report.ok
    assert "the log killed.my3dis-wal is damaged" in format_report(report)
    saved = salvage(killed, tmp_path / "b.my3dis")
    assert saved.frames == 30
    assert saved.masks >= 170
    with open_archive(tmp_path / "b.my3dis") as reader:
        for one in reader.iter_frames():
            chosen = contents[one.frame]
            assert_equal(one, chosen.select(chosen.mask_id[:, None].__eq__(one.mask_id).any(axis=1)))


def test_a_sound_log_is_no_problem(tmp_path: Path) -> None:
    """Neither that of a killed writer nor that of a living one."""
    killed, _ = killed_with_log(tmp_path)
    assert verify(killed).ok
    with StreamingSegmentWriter(tmp_path / "c.my3dis", journal="wal") as writer:
        for frame in range(20):
            writer.append_frame(frame, masks(frame))
            assert verify(tmp_path / "c.my3dis").ok


def test_nothing_is_overwritten_or_invented(tmp_path: Path) -> None:
    """An existing target, a missing file and a file that is no archive are refused, and nothing is left."""
    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    archive(path)
    with pytest.raises(ArchiveError, match=r"found .* there already"):
        salvage(path, path)
    with pytest.raises(ArchiveError, match="found none"):
        salvage(tmp_path / "nowhere.my3dis", out)
    with pytest.raises(ArchiveError, match="expected a folder at"):
        salvage(path, tmp_path / "no" / "b.my3dis")
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 100)
    with pytest.raises(ArchiveError, match="found nothing of a mask archive"):
        salvage(noise, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.my3dis", "noise"]


def test_a_folder_of_archives_is_saved_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All archives of a run, so that the new folder can be exported like the run."""
    run, out = tmp_path / "run", tmp_path / "saved"
    run.mkdir()
    for name in ("candidates", "masks", "tracks"):
        archive(run / f"{name}.my3dis")
    overwrite(run / "candidates.my3dis", 0, bytes(PAGE * 30))
    overwrite(run / "masks.my3dis", 0, bytes(PAGE))
    assert main(["verify", str(run), "--salvage", str(out)]) == 3
    said = capsys.readouterr().out
    assert "candidates.my3dis, found" in said
    assert sorted(path.name for path in out.iterdir()) == ["masks.my3dis", "tracks.my3dis"]
    assert main(["verify", str(out)]) == 0


def test_a_chain_that_bites_its_tail_is_followed_for_a_bounded_time(tmp_path: Path) -> None:
    """A made-up file in which thousands of rows claim 32 MB of the same page ends soon and gives nothing."""
    path = tmp_path / "a.my3dis"
    archive(path)
    from my3dis.archive.records import _varint_bytes

    # 19 columns: a header of 23 bytes, one byte for each number, a blob of 32 MiB that begins here and goes
    # on in page 5, which names itself as the next one.
    header = bytes([23, 0, *[1] * 10, 0, 0, *[1] * 5]) + _varint_bytes(12 + 2 * 32 * 2**20)
    row = header + bytes([1] * 15) + bytes(100)
    content = bytearray(path.read_bytes())
    loop = struct.pack(">I", 5) + bytes(PAGE - 4)
    content[4 * PAGE : 5 * PAGE] = loop
    page = bytearray((row * (PAGE // len(row) + 1))[:PAGE])
    content += page * 200
    path.write_bytes(content)
    begun = time.monotonic()
    with Survey(path) as survey:
        assert survey.n_sound <= 12
    assert time.monotonic() - begun < 20


def test_rows_that_a_writer_of_another_kind_made_wrong_are_not_saved(tmp_path: Path) -> None:
    """A checksum that fits is not enough: a row that makes no mask is left out and counted."""
    from tests.archive.test_faults import forge_row

    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    archive(path)
    forge_row(path, codec=7)
    report = salvage(path, out)
    assert (report.masks, report.n_lost) == (11, 1)
    assert verify(out).ok


def test_old_states_of_rows_do_not_come_back(tmp_path: Path) -> None:
    """After tracks were merged the file may still hold rows with the old numbers; the new ones are saved."""
    path, out = tmp_path / "a.my3dis", tmp_path / "b.my3dis"
    with StreamingSegmentWriter(path) as writer:
        for frame in range(60):
            writer.append_frame(frame, masks(frame, range(8), tracks=[0, 1, 2, 3, 4, 5, 6, 7]))
    db = sqlite3.connect(path)
    db.execute("PRAGMA secure_delete = OFF")
    db.close()
    with StreamingSegmentWriter(path) as writer:
        writer.assign_tracks({1: 70_000, 2: 7_000_000, 3: 0})
    assert salvage(path, out).is_whole
    with open_archive(path) as old, open_archive(out) as new:
        for one in old.iter_frames():
            assert_equal(new.frame(one.frame), one)
