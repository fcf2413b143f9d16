"""The log beside an archive: its running sums, and what counts of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dis.archive import StreamingSegmentWriter
from my3dis.archive.wal import _add, has_unseen_commits, logged_pages
from tests.archive.make import masks

PAGE = 4096


@settings(max_examples=50, deadline=None)
@given(
    st.binary(min_size=8, max_size=400).map(lambda data: data[: len(data) // 8 * 8]),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.sampled_from("<>"),
)
def test_sums_are_those_of_the_plain_definition(data: bytes, start: tuple[int, int], order: str) -> None:
    """The matrix form gives what adding word by word gives, as the format's description has it."""
    s, t = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        s = (s + x + t) % 2**32
        t = (t + y + s) % 2**32
    assert _add(data, start, order) == (s, t)


def log_of(path: Path, frames: int) -> StreamingSegmentWriter:
    writer = StreamingSegmentWriter(path, journal="wal")
    for frame in range(frames):
        writer.append_frame(frame, masks(frame, range(8)))
    return writer


def taken(path: Path) -> list[bool]:
    file = os.open(f"{path}-wal", os.O_RDONLY)
    try:
        return [page.is_taken for page in logged_pages(file, PAGE)]
    finally:
        os.close(file)


@pytest.mark.parametrize(
    ("offset", "n_taken", "unseen"),
    [
        (None, None, False),
        (32 + 5 * (24 + PAGE) + 100, 5, True),
        (32 + 5 * (24 + PAGE) + 17, 5, True),
        (20, 0, True),
    ],
    ids=["sound", "content", "sum", "header"],
)
def test_pages_before_the_damage_are_taken(
    tmp_path: Path, offset: int | None, n_taken: int | None, unseen: bool
) -> None:
    """A flipped bit ends what SQLite takes; the commits behind it are noticed."""
    path = tmp_path / "a.my3dis"
    with log_of(path, 10):
        if offset is not None:
            with Path(f"{path}-wal").open("r+b") as file:
                file.seek(offset)
                byte = file.read(1)[0]
                file.seek(offset)
                file.write(bytes([byte ^ 1]))
        found = taken(path)
        assert len(found) > 10
        assert found.count(True) == (len(found) if n_taken is None else n_taken)
        assert found == sorted(found, reverse=True)
        assert has_unseen_commits(path) is unseen


def test_an_earlier_round_of_the_log_does_not_count(tmp_path: Path) -> None:
    """After a checkpoint the log is written over from its start; the rest of the old one is passed over."""
    path = tmp_path / "a.my3dis"
    with log_of(path, 30) as writer:
        before = len(taken(path))
        writer._database().execute("PRAGMA wal_checkpoint(RESTART)")
        writer.append_frame(40, masks(40, range(8)))
        found = taken(path)
        assert all(found)
        assert 0 < len(found) < before
        assert not has_unseen_commits(path)


def test_no_log_and_a_torn_one(tmp_path: Path) -> None:
    """Without a log nothing is unseen; half a page at the end, as a kill leaves it, is no page."""
    path = tmp_path / "a.my3dis"
    with log_of(path, 5):
        whole = taken(path)
        with Path(f"{path}-wal").open("r+b") as file:
            file.truncate(file.seek(0, 2) - 100)
        assert taken(path) == whole[:-1]
        assert not has_unseen_commits(path)
    assert not has_unseen_commits(path)
