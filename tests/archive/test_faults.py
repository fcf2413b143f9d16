"""Full disks, hostile and damaged files: what was committed stays, and what is damaged is said."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from my3dis.archive import StreamingSegmentWriter, connect, inspect, open_archive, verify
from my3dis.errors import ArchiveError, ResourceError
from my3dis.types import MaskSet
from tests.archive.make import archive, assert_equal, in_order, masks

ROOT = Path(__file__).resolve().parents[2]


def start(code: str) -> subprocess.Popen[str]:
    """Start a child that runs the code with this checkout's tests importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


SOAK = pytest.mark.soak


def test_a_full_disk_is_said_and_the_archive_goes_on(tmp_path: Path) -> None:
    """At a file-size limit the call fails with a clear error; earlier frames stay; later it goes on."""
    path = tmp_path / "a.my3dis"
    child = start(f"""
        import resource, signal
        from my3dis.archive import StreamingSegmentWriter
        from my3dis.errors import ResourceError
        from tests.archive.make import masks
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        try:
            with StreamingSegmentWriter({str(path)!r}) as writer:
                for frame in range(1000):
                    writer.append_frame(frame, masks(frame, range(8)))
        except ResourceError as error:
            print(frame, error)
    """)
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    frame, _, sentence = said.partition(" ")
    assert "the disk is full, a file-size limit is reached" in sentence
    assert "free space and run again" in sentence
    assert len(said.splitlines()) == 1
    with open_archive(path) as reader:
        assert reader.frames() == list(range(int(frame)))
        assert not reader.finished
        for one in reader.iter_frames():
            assert_equal(one, masks(one.frame, range(8)))
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(int(frame), masks(int(frame), range(8)))
    assert verify(path).ok


def test_one_call_fails_and_the_next_works(tmp_path: Path) -> None:
    """The same writer goes on after a call that met a full disk."""
    path = tmp_path / "a.my3dis"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(0, masks(0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 60_000, hard))
        try:
            with pytest.raises(ResourceError, match="disk is full"):
                writer.append_frame(1, masks(1, range(2000)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert writer.frames() == [0]
        writer.append_frame(1, masks(1))
    assert verify(path).ok


def read_everything(path: Path) -> dict[int, MaskSet]:
    with open_archive(path) as reader:
        frames = {one.frame: one for one in reader.iter_frames()}
        for track_id in reader.tracks().track_id.tolist():
            list(reader.track(track_id))
        for level in reader.levels():
            list(reader.iter_frames(level))
        list(reader.dropped())
        assert reader.count() == sum(len(one) for one in frames.values())
    return frames


class Sound:
    """The bytes of a small archive and what is in it."""

    def __init__(self, content: bytes, frames: dict[int, MaskSet]) -> None:
        self.content = content
        self.frames = frames


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = tmp_path_factory.mktemp("sound") / "a.my3dis"
    contents = archive(path, range(0, 40, 2))
    with StreamingSegmentWriter(path) as writer:
        writer.record_dropped(4, [1, 2], [2, 4], ["min_area", "stability"])
    return Sound(path.read_bytes(), contents)


def check_damaged(path: Path, contents: dict[int, MaskSet]) -> None:
    """A damaged file reads as it was or raises `ArchiveError`, and so do the tools."""
    try:
        found = read_everything(path)
    except ArchiveError:
        found = None
    if found is not None:
        assert list(found) == list(contents)
        for frame, expected in contents.items():
            assert_equal(found[frame], expected)
    for tool in (verify, inspect):
        try:
            result = tool(path)
            assert str(result)
        except ArchiveError:
            pass


damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("examples", [100, pytest.param(10_000, marks=[SOAK, pytest.mark.timeout(3600)])])
def test_flipped_bytes_are_never_read_as_masks(sound: Sound, tmp_path: Path, examples: int) -> None:
    """Whatever bytes are flipped, readers give the right masks or say that the file is damaged."""
    path = tmp_path / "flipped.my3dis"

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damage)
    def flip(flips: list) -> None:
        changed = bytearray(sound.content)
        for place, mask in flips:
            changed[int(place * len(changed))] ^= mask
        path.write_bytes(changed)
        check_damaged(path, sound.frames)

    flip()


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 8191), st.integers(1, 255))
def test_a_flipped_header_or_schema_is_answered(
    sound: Sound, tmp_path_factory: pytest.TempPathFactory, place: int, mask: int
) -> None:
    """The first two pages hold the schema and the metadata; damage there is answered like any other."""
    changed = bytearray(sound.content)
    changed[place] ^= mask
    path = tmp_path_factory.getbasetemp() / "header.my3dis"
    path.write_bytes(changed)
    check_damaged(path, sound.frames)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.floats(0, 1, exclude_max=True))
def test_truncated_files_are_answered(
    sound: Sound, tmp_path_factory: pytest.TempPathFactory, part: float
) -> None:
    """A file that was cut anywhere gives right masks or says that it is damaged."""
    path = tmp_path_factory.getbasetemp() / "cut.my3dis"
    path.write_bytes(sound.content[: int(part * len(sound.content))])
    check_damaged(path, sound.frames)


def change(path: Path, sql: str, *values: object) -> None:
    """Run a statement on an archive, as someone with ill will could."""
    db = sqlite3.connect(path)
    with db:
        db.execute(sql, values)
    db.close()


def forge_row(path: Path, **columns: object) -> None:
    """Change columns of mask 1 of frame 3 and make its checksum fit."""
    from my3dis.archive.rows import SELECT_MASK, _row_crc, track_crc

    for name, value in columns.items():
        change(path, f"UPDATE masks SET {name} = ? WHERE frame = 3 AND mask_id = 1", value)
    db = sqlite3.connect(path)
    row = db.execute(f"{SELECT_MASK} WHERE frame = 3 AND mask_id = 1").fetchone()
    db.close()
    try:
        crc = _row_crc(row) ^ track_crc(row[3])
    except (struct.error, TypeError):
        return  # such a value has no checksum
    change(path, "UPDATE masks SET crc32 = ? WHERE frame = 3 AND mask_id = 1", crc)


def bomb() -> bytes:
    return zlib.compress(bytes(200 * 2**20), 9)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"codec": 7}, "expected codec 0 or 1, found 7"),
        ({"codec": 1, "rle": b"no zlib"}, "expected a zlib stream"),
        ({"codec": 1, "rle": zlib.compress(b"00000000000")[:-3]}, "zlib stream, found damage"),
        ({"codec": 1, "rle": bomb()}, "at most 33554432 bytes"),
        ({"height": 2**20, "width": 2**20}, "as the table frames says"),
        ({"mask_id": 1, "area_px": 2**62}, None),
        ({"level": 2**40}, "damaged"),
        ({"x1": 5000}, "half-open xyxy boxes"),
        ({"score": "many"}, "expected numbers"),
        ({"rle": "text"}, "expected numbers and a blob"),
        ({"area_px": 1.5}, "expected numbers"),
    ],
)
def test_forged_rows_are_refused(tmp_path: Path, columns: dict[str, object], said: str | None) -> None:
    """Values that no writer writes are named by readers and by verify, in bounded memory."""
    path = tmp_path / "a.my3dis"
    archive(path)
    forge_row(path, **columns)
    report = verify(path)
    assert not report.ok
    assert report.first_bad_row is not None
    assert (report.first_bad_row.frame, report.first_bad_row.mask_id) == (3, 1)
    if said is not None:
        with open_archive(path) as reader, pytest.raises(ArchiveError, match=said):
            reader.frame(3)


def test_an_image_of_absurd_size_is_refused(tmp_path: Path) -> None:
    """A frame that claims 2^40 pixels is refused before anything is allocated."""
    path = tmp_path / "a.my3dis"
    archive(path)
    change(path, "UPDATE frames SET height = 1048576, width = 1048576 WHERE frame = 3")
    change(path, "UPDATE masks SET height = 1048576, width = 1048576 WHERE frame = 3")
    with open_archive(path) as reader, pytest.raises(ArchiveError, match=r"frame 3 .* damaged"):
        reader.frame(3)
    assert "at most 268435456 pixels" in str(verify(path).problems[0])


def test_blobs_over_the_limit_are_refused(tmp_path: Path) -> None:
    """A code of 40 MB is not read at all."""
    path = tmp_path / "a.my3dis"
    archive(path)
    change(path, "UPDATE masks SET rle = zeroblob(40000000) WHERE frame = 3 AND mask_id = 1")
    with open_archive(path) as reader:
        with pytest.raises(ArchiveError, match="damaged: string or blob too big"):
            reader.frame(3)
        assert len(reader.frame(5)) == 4
    assert not verify(path).ok


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON masks BEGIN DELETE FROM masks; END",
        "ALTER TABLE masks ADD COLUMN extra",
        "DROP TABLE frame_index",
        "ALTER TABLE masks RENAME TO other",
    ],
)
def test_foreign_tables_views_and_triggers_are_refused(tmp_path: Path, sql: str) -> None:
    """Nothing runs that the file itself brings along."""
    path = tmp_path / "a.my3dis"
    archive(path)
    change(path, sql)
    for use in (open_archive, inspect, StreamingSegmentWriter):
        with pytest.raises(ArchiveError, match="expected"):
            use(path)
    report = verify(path)
    assert "expected the tables of archive version 1" in str(report.problems[0])
    assert report.n_sound == 12


def test_read_only_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no log can be recovered, a whole archive is read; one whose log holds frames says what to do."""
    path, killed = tmp_path / "a.my3dis", tmp_path / "killed.my3dis"
    contents = archive(path)
    with StreamingSegmentWriter(tmp_path / "b.my3dis", journal="wal") as writer:
        writer.append_frame(0, masks(0))
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"b.my3dis{suffix}", f"{killed}{suffix}")
    original = connect._connect

    def in_read_only_folder(path: Path, options: str) -> sqlite3.Connection:
        # Tests may run as root, who can write everywhere; this is what SQLite says to others.
        if "immutable" not in options:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = "SQLITE_CANTOPEN"
            raise error
        return original(path, options)

    with monkeypatch.context() as patch:
        patch.setattr(connect, "_connect", in_read_only_folder)
        with open_archive(path) as reader:
            assert_equal(reader.frame(3), contents[3])
        with pytest.raises(ArchiveError, match=r"killed\.my3dis-wal is needed to recover"):
            open_archive(killed)
    with open_archive(killed) as reader:
        assert_equal(reader.frame(0), in_order(masks(0)))


def test_a_half_done_commit_is_undone_before_reading(tmp_path: Path) -> None:
    """A hot rollback journal, as a kill in the middle of a commit leaves it, is played back by the reader."""
    path, killed = tmp_path / "a.my3dis", tmp_path / "killed.my3dis"
    contents = archive(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN")
    # With hardly any cache the pages of the open transaction spill into the file.
    db.execute("UPDATE masks SET rle = zeroblob(100000)")
    for suffix in ("", "-journal"):
        shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    db.execute("ROLLBACK")
    db.close()
    assert killed.stat().st_size > path.stat().st_size
    with open_archive(killed) as reader:
        for frame, expected in contents.items():
            assert_equal(reader.frame(frame), expected)
    assert verify(killed).ok


def test_verify_names_the_first_bad_row_and_the_rest_is_read(tmp_path: Path) -> None:
    """A flipped bit in one code is named by frame and mask; other frames read as before."""
    path = tmp_path / "a.my3dis"
    contents = archive(path)
    content = bytearray(path.read_bytes())
    rle = contents[5].rle[contents[5].mask_id.tolist().index(3)]
    codes = {rle, *(zlib.compress(rle, level) for level in range(10))}
    places = [content.find(code) for code in codes if content.find(code) >= 0]
    assert len(places) == 1
    content[places[0] + 9] ^= 4
    path.write_bytes(content)
    report = verify(path)
    assert [(p.frame, p.mask_id) for p in report.problems] == [(5, 3)]
    with open_archive(path) as reader:
        with pytest.raises(ArchiveError, match=r"frame 5, mask 3: .* the row is damaged"):
            reader.frame(5)
        assert_equal(reader.frame(9), contents[9])


def test_the_writer_keeps_no_masks(tmp_path: Path) -> None:
    """After many frames the writer holds no more byte strings, arrays and sets than after a few."""
    import gc

    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        one = masks(0, range(50))
        sizes = []
        for frame in range(40):
            writer.append_frame(frame, MaskSet(**{**fields(one), "frame": frame}))
            if frame in (5, 39):
                gc.collect()
                # By type: asking an object what it is an instance of may run code of any library.
                sizes.append(sum(type(o) in (bytes, np.ndarray, MaskSet) for o in gc.get_objects()))
    assert sizes[1] <= sizes[0] + 2


def fields(one: MaskSet) -> dict:
    return {name: getattr(one, name) for name in MaskSet.__slots__}
