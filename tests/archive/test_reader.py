"""Reading: one frame, one level or one track, also beside a writer."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import StreamingSegmentWriter, open_archive
from my3dis.errors import ArchiveError
from my3dis.types import MaskSet
from tests.archive.make import SIZE, archive, assert_equal, in_order, masks


def test_frames_levels_and_counts(tmp_path: Path) -> None:
    """What is there is listed without reading masks."""
    archive(tmp_path / "a.my3dis")
    with open_archive(tmp_path / "a.my3dis") as reader:
        assert reader.frames() == [3, 5, 9]
        assert reader.levels() == [2, 4]
        assert reader.count() == 12
        assert reader.count_by_level() == ((2, 6), (4, 6))
        assert reader.image_size(5) == SIZE
        assert (reader.finished, reader.purpose, reader.stage_digest) == (True, "tracks", "abc")


def test_one_level_of_a_frame(tmp_path: Path) -> None:
    """A level gives its masks only; a known level that a frame lacks gives an empty set."""
    path = tmp_path / "a.my3dis"
    contents = archive(path)
    with StreamingSegmentWriter(path) as writer:
        writer.append_frame(20, masks(20, (0,), levels=6))
    with open_archive(path) as reader:
        assert_equal(reader.frame(5, level=4), contents[5].at_level(4))
        assert len(reader.frame(5, 6)) == 0
        assert [len(one) for one in reader.iter_frames(level=6)] == [0, 0, 0, 1]


def test_unknown_frames_and_levels_name_the_known_ones(tmp_path: Path) -> None:
    """A frame or level that isn't there is an error that says which are."""
    archive(tmp_path / "a.my3dis")
    with open_archive(tmp_path / "a.my3dis") as reader:
        with pytest.raises(ArchiveError, match=r"one of the 3 frames 3..9 .* found frame 4"):
            reader.frame(4)
        with pytest.raises(ArchiveError, match=r"one of the levels \[2, 4\] .* found level 3"):
            reader.frame(3, level=3)
        with pytest.raises(ArchiveError, match="found level 8"):
            next(reader.iter_frames(level=8))
        with pytest.raises(ArchiveError, match="found frame 1"):
            reader.image_size(1)
    StreamingSegmentWriter(tmp_path / "b.my3dis").close()
    with open_archive(tmp_path / "b.my3dis") as reader:
        assert (reader.frames(), reader.levels(), reader.count()) == ([], [], 0)
        with pytest.raises(ArchiveError, match="there are none yet"):
            reader.frame(0)


def test_iteration_gives_every_frame(tmp_path: Path) -> None:
    """All frames come in ascending order, whatever order they were written in."""
    contents = archive(tmp_path / "a.my3dis", (9, 3, 5))
    with open_archive(tmp_path / "a.my3dis") as reader:
        found = list(reader.iter_frames())
    assert [one.frame for one in found] == [3, 5, 9]
    for one in found:
        assert_equal(one, contents[one.frame])


def test_a_track_comes_frame_by_frame(tmp_path: Path) -> None:
    """A track is an iterator of one-row sets; an unknown track has none."""
    contents = archive(tmp_path / "a.my3dis")
    with open_archive(tmp_path / "a.my3dis") as reader:
        found = list(reader.track(10))
        assert [one.frame for one in found] == [3, 5, 9]
        for one in found:
            assert_equal(one, contents[one.frame].select(contents[one.frame].track_id == 10))
        assert list(reader.track(99)) == []
        # Masks that belong to no track are not a track.
        assert list(reader.track(-1)) == []


def test_a_damaged_row_of_a_track_is_named_after_those_before_it(tmp_path: Path) -> None:
    """Frames before the damaged row are given, then the error names frame, mask and file."""
    path = tmp_path / "a.my3dis"
    contents = {frame: masks(frame, [7], tracks=3) for frame in range(5)}
    with StreamingSegmentWriter(path) as writer:
        for frame, one in contents.items():
            writer.append_frame(frame, one)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE masks SET area_px = area_px + 1 WHERE frame = 3")
    found: list[MaskSet] = []
    with (
        open_archive(path) as reader,
        pytest.raises(ArchiveError, match=r"a\.my3dis: frame 3, mask 7: .*dam"),
    ):
        for one in reader.track(3):
            found.append(one)  # noqa: PERF402 - what came before the error is wanted
    for one, frame in zip(found, range(3), strict=True):
        assert_equal(one, contents[frame])


def test_tracks_are_listed_without_decoding(tmp_path: Path) -> None:
    """The track set has every observation, the span and the level of each track; parents are unset."""
    contents = archive(tmp_path / "a.my3dis")
    with open_archive(tmp_path / "a.my3dis") as reader:
        tracks = reader.tracks()
    assert tracks.track_id.tolist() == [10, 11, 12]
    assert tracks.level.tolist() == [4, 2, 2]
    assert tracks.parent_id.tolist() == [-1, -1, -1]
    assert tracks.first_frame.tolist() == [3, 3, 3]
    assert tracks.last_frame.tolist() == [9, 9, 9]
    assert tracks.obs_track.tolist() == [10, 10, 10, 11, 11, 11, 12, 12, 12]
    assert tracks.obs_frame.tolist() == [3, 5, 9] * 3
    assert tracks.obs_mask_id.tolist() == [7, 7, 7, 1, 1, 1, 0, 0, 0]
    expected = [contents[f].score[contents[f].track_id == 10][0] for f in (3, 5, 9)]
    np.testing.assert_array_equal(tracks.obs_score[:3], np.array(expected))


def test_an_archive_without_tracks_has_an_empty_track_set(tmp_path: Path) -> None:
    """No tracked mask gives a track set of length 0."""
    with StreamingSegmentWriter(tmp_path / "a.my3dis") as writer:
        writer.append_frame(0, masks(0))
    with open_archive(tmp_path / "a.my3dis") as reader:
        assert len(reader.tracks()) == 0


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_reading_while_writing(tmp_path: Path, journal: str) -> None:
    """A reader in another thread sees only whole frames, with their exact content, while a writer appends."""
    path = tmp_path / "a.my3dis"
    done = threading.Event()
    failures: list[str] = []
    seen: set[int] = set()

    def watch() -> None:
        with open_archive(path) as reader:
            while not (done.is_set() and len(seen) == 60):
                for one in reader.iter_frames():
                    seen.add(one.frame)
                    halves = [masks(one.frame, (0, 1)), masks(one.frame, (2, 3))]
                    if one.mask_id.tolist() == [0, 1]:
                        expected = halves[0].rle
                    else:
                        expected = halves[0].rle + halves[1].rle
                    if one.rle != expected:
                        failures.append(f"frame {one.frame}")

    with StreamingSegmentWriter(path, journal=journal) as writer:  # type: ignore[arg-type]
        watcher = threading.Thread(target=watch)
        watcher.start()
        for frame in range(60):
            writer.append_frame(frame, masks(frame, (0, 1)))
            writer.append_frame(frame, masks(frame, (2, 3)))
        writer.flush()
        done.set()
        watcher.join(60)
    assert not watcher.is_alive()
    assert failures == []
    assert seen == set(range(60))


def test_a_reader_survives_the_writers_close(tmp_path: Path) -> None:
    """A reader that was open while the writer closed goes on, and then everything is in one file."""
    path = tmp_path / "a.my3dis"
    with StreamingSegmentWriter(path, journal="wal") as writer:
        writer.append_frame(0, masks(0))
        reader = open_archive(path)
        assert not reader.finished
        writer.append_frame(1, masks(1))
    assert reader.finished
    assert_equal(reader.frame(1), in_order(masks(1)))
    # The log could not be removed while the reader was there, but nothing is left in it.
    log = path.with_name("a.my3dis-wal")
    assert not log.exists() or log.stat().st_size == 0
    alone = tmp_path / "copy.my3dis"
    alone.write_bytes(path.read_bytes())
    reader.close()
    with open_archive(alone) as copy:
        assert copy.frames() == [0, 1]


def test_threads_may_share_a_reader(tmp_path: Path) -> None:
    """Calls from several threads wait for each other and give right answers."""
    contents = archive(tmp_path / "a.my3dis")
    wrong: list[int] = []
    with open_archive(tmp_path / "a.my3dis") as reader:

        def work(frame: int) -> None:
            found = (reader.frame(frame) for _ in range(30))
            wrong.extend(one.frame for one in found if one.rle != contents[frame].rle)

        threads = [threading.Thread(target=work, args=(frame,)) for frame in (3, 5, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []


def test_closed_readers_and_missing_files_say_so(tmp_path: Path) -> None:
    """Using a closed reader, opening nothing or opening a folder is a clear error."""
    archive(tmp_path / "a.my3dis")
    reader = open_archive(tmp_path / "a.my3dis")
    reader.close()
    reader.close()
    with pytest.raises(ArchiveError, match="is closed"):
        reader.frames()
    with pytest.raises(ArchiveError, match="found none"):
        open_archive(tmp_path / "b.my3dis")
    with pytest.raises(ArchiveError, match="found a folder"):
        open_archive(tmp_path)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """A finished archive is the same file, alone, after it was read."""
    path = tmp_path / "a.my3dis"
    archive(path)
    before = path.read_bytes()
    with open_archive(path) as reader:
        list(reader.iter_frames())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.my3dis"]
