"""Damaged archives: the first bad row is named, and every row that the damage spares is saved."""

from __future__ import annotations

import dataclasses
import random
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from my3dis.archive import (
    StreamingSegmentWriter,
    connect,
    format_salvage,
    open_archive,
    salvage,
    verify,
)
from my3dis.cli.main import main
from my3dis.errors import ArchiveError
from my3dis.masks import codec
from my3dis.types import MaskSet
from tests.archive.make import masks

PAGE = 4096
SOAK = pytest.mark.soak
COLUMNS = (
    "frame, mask_id, level, track_id, parent_id, x0, y0, x1, y1, area_px, score, stability, source, height, "
    "width, codec, rle"
)
Key = tuple[int, int]
Row = tuple[object, ...]


def big_masks(frame: int, ids: tuple[int, ...]) -> MaskSet:
    """Masks whose codes take from a few bytes to several pages, a fine one inside a coarse one."""
    rng = np.random.default_rng([frame, *ids])
    size = (120, 160)
    rles = [codec.encode(rng.random(size) > rng.choice([0.5, 0.97, 0.999])) for _ in ids]
    boxes, areas = codec.measure(rles, size)
    return dataclasses.replace(
        masks(frame, ids, size=size),
        rle=tuple(rles),
        boxes=boxes,
        area_px=areas,
        level=np.array([2, *[4] * (len(ids) - 1)], np.int16),
        parent_id=np.array([-1, *[ids[0]] * (len(ids) - 1)], np.int32),
        track_id=rng.integers(-1, 40, len(ids)).astype(np.int32),
    )


@dataclass
class Sound:
    """A sound archive's bytes, its rows as SQLite reads them, and the pages that each row takes up."""

    content: bytes
    rows: dict[Key, Row] = field(default_factory=dict)
    pages: dict[Key, frozenset[int]] = field(default_factory=dict)
    frames: list[int] = field(default_factory=list)


def read_rows(path: Path) -> dict[Key, Row]:
    db = sqlite3.connect(path)
    rows = {row[:2]: row for row in db.execute(f"SELECT {COLUMNS} FROM masks")}
    db.close()
    return rows


def pages_of(content: bytes, crc: int, blob: bytes) -> frozenset[int]:
    """Where a row lies, found by its bytes alone: checksum and code, then every piece of the code."""
    width = 4 if crc < 2**31 else 6
    start = crc.to_bytes(width, "big") + blob[:16]
    places = [m.start() for m in re.finditer(re.escape(start), content)]
    # Old states of merged rows may still lie about; the one that counts is among them.
    found = {place // PAGE for place in places}
    assert found
    for i in range(0, len(blob) - 24, 200):
        # None is found where the piece runs over the end of a page.
        found |= {m.start() // PAGE for m in re.finditer(re.escape(blob[i : i + 24]), content)}
    return frozenset(found)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Two dozen frames, some appended twice, tracks merged afterwards, a log of dropped masks."""
    path = tmp_path_factory.mktemp("sound") / "tracks.my3dis"
    open_connection = connect._connect

    def without_secure_delete(*arguments: object) -> sqlite3.Connection:
        # Many builds of SQLite wipe what they delete; without it old states of rows stay in the file.
        db = open_connection(*arguments)
        db.execute("PRAGMA secure_delete = OFF")
        return db

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(connect, "_connect", without_secure_delete)
    with StreamingSegmentWriter(path, purpose="tracks", stage_digest="abc") as writer:
        for frame in range(0, 48, 2):
            writer.record_dropped(frame, [90, 91], [2, 4], ["min_area", "stability"])
            writer.append_frame(frame, big_masks(frame, (5, 1, 7, 0, 300)))
        for frame in range(0, 48, 10):
            writer.append_frame(frame, big_masks(frame, (20, 21)))
        writer.append_frame(81, MaskSet.empty(81, (120, 160)))
        writer.assign_tracks({3: 1000, 5: 70_000, 7: 2, 9: -1})
    monkeypatch.undo()
    result = Sound(path.read_bytes(), read_rows(path))
    db = sqlite3.connect(path)
    for frame, mask_id, crc, blob in db.execute("SELECT frame, mask_id, crc32, rle FROM masks"):
        result.pages[frame, mask_id] = pages_of(result.content, crc, blob)
    db.close()
    with open_archive(path) as reader:
        result.frames = reader.frames()
    # Half of the rows go over several pages, so that damage to a chain of them is met too.
    assert sum(len(pages) > 1 for pages in result.pages.values()) > 40
    return result


def check(sound: Sound, path: Path, damaged_pages: set[int], folder: Path) -> set[Key]:
    """Verify and save; returns the lost rows after asserting that nothing else is lost or changed."""
    untouched = {key for key, pages in sound.pages.items() if not pages & damaged_pages}
    out = folder / "saved.my3dis"
    out.unlink(missing_ok=True)
    saved: dict[Key, Row] = {}
    try:
        report = salvage(path, out)
    except ArchiveError as error:
        assert "found nothing of a mask archive" in str(error)
    else:
        saved = read_rows(out)
        assert len(saved) == report.masks
        assert verify(out).ok
        assert len(saved) + report.n_lost <= len(sound.rows) or report.lost_frames
        assert str(report.masks) in format_salvage(report)
    assert untouched <= set(saved) <= set(sound.rows)
    lost = set(sound.rows) - set(saved)
    for key, row in saved.items():
        parent = (key[0], sound.rows[key][4])
        kept = list(sound.rows[key])
        if parent in lost:
            kept[4] = -1
        assert row == tuple(kept)
    code = main(["verify", str(path)])
    assert code in (0, 3)
    if lost:
        assert code == 3
    return lost


def flip(content: bytes, rng: random.Random) -> tuple[bytes, set[int]]:
    """Flip one to eight bits anywhere."""
    changed = bytearray(content)
    places = [rng.randrange(len(content)) for _ in range(rng.randint(1, 8))]
    for place in places:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed), {place // PAGE for place in places}


def cut(content: bytes, rng: random.Random) -> tuple[bytes, set[int]]:
    """Keep the beginning, as after a copy that was broken off."""
    end = rng.randrange(1, len(content))
    return content[:end], set(range(end // PAGE, len(content) // PAGE))


def blank(content: bytes, rng: random.Random) -> tuple[bytes, set[int]]:
    """Overwrite a stretch with zeros or noise, as a bad sector does."""
    start = rng.randrange(len(content)) // 512 * 512
    n = min(rng.choice([512, 4096, 20_000]), len(content) - start)
    filler = bytes(n) if rng.random() < 0.5 else rng.randbytes(n)
    changed = content[:start] + filler + content[start + n :]
    return changed, set(range(start // PAGE, (start + n - 1) // PAGE + 1))


def swap(content: bytes, rng: random.Random) -> tuple[bytes, set[int]]:
    """Put one page in the place of another, as a misdirected write does."""
    a, b = (rng.randrange(len(content) // PAGE) for _ in range(2))
    page = content[a * PAGE : (a + 1) * PAGE]
    return content[: b * PAGE] + page + content[(b + 1) * PAGE :], {b}


KINDS = (flip, cut, blank, swap)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("cases", [6, pytest.param(300, marks=[SOAK, pytest.mark.timeout(3600)])])
def test_every_row_that_damage_spares_is_saved(
    sound: Sound,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: Callable[[bytes, random.Random], tuple[bytes, set[int]]],
    cases: int,
) -> None:
    """Whatever is damaged, all rows in untouched pages come out as they were, and lost rows are named."""
    path = tmp_path / "tracks.my3dis"
    counts: Counter[str] = Counter()
    for seed in range(cases):
        changed, pages = kind(sound.content, random.Random(f"{kind.__name__} {seed}"))
        path.write_bytes(changed)
        lost = check(sound, path, pages, tmp_path)
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        counts["lost rows"] += len(lost)
        counts["damaged"] += bool(lost)
        first = re.search(r"first bad row: frame (\d+), (?:mask (\d+)|a mask that nothing names)", said.out)
        if not lost:
            continue
        if first is None:
            counts["not opened"] += 1
            words = "is damaged|no SQLite database|an empty database|frames as the table"
            assert re.search(words, said.err + said.out)
        elif first[2] is None:
            counts["first frame named"] += 1
            assert int(first[1]) == min(lost)[0]
        elif (int(first[1]), int(first[2])) == min(lost):
            counts["first row named"] += 1
        else:
            # Of a frame some of whose masks nothing names any more, the first that something names.
            counts["first frame named"] += 1
            assert (int(first[1]), int(first[2])) in lost
            assert re.search(rf"frame {min(lost)[0]}: \d+ masks are lost that no row names", said.out)
    with capsys.disabled():
        sys.stdout.write(f"\n{kind.__name__}: {cases} damaged files, {dict(counts)}\n")
