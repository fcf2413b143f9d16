"""FORMAT.md is enough to write a reader: its statements run, its example is right, its checksums fit."""

from __future__ import annotations

import re
import sqlite3
import struct
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from my3dis.archive import StreamingSegmentWriter, schema
from my3dis.masks import codec
from tests.archive.make import archive

# pycocotools 2.0 has not learned NumPy 2's __array__ signature.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = ("level", "frame", "mask_id", "parent_id", "x0", "y0", "x1", "y1", "area_px")
NAMES = (*NAMES, "source", "height", "width", "codec")
TEXT = (files("my3dis.archive") / "FORMAT.md").read_text("utf-8")
BLOCKS = re.findall(r"```sql\n(.*?)```", TEXT, re.S)
STATEMENTS = [s.strip() for block in BLOCKS for s in block.split(";") if s.strip()]
QUERIES = [s for s in STATEMENTS if s.startswith("SELECT")]


def test_the_documented_tables_are_the_ones_written() -> None:
    """The CREATE statements on the page are the writer's, in its order."""
    documented = [s for s in STATEMENTS if s.startswith("CREATE")]
    assert documented == list(schema.DDL)
    assert len(documented) + len(QUERIES) == len(STATEMENTS)


@pytest.mark.parametrize("query", QUERIES)
def test_documented_queries_run(tmp_path: Path, query: str) -> None:
    """Every query on the page runs on an archive and finds something."""
    path = tmp_path / "a.my3dis"
    archive(path)
    with StreamingSegmentWriter(path) as writer:
        writer.record_dropped(4, [1, 2], [2, 4], ["min_area", "stability"])
    db = sqlite3.connect(path)
    db.execute("UPDATE masks SET parent_id = 1 WHERE mask_id = 7")
    assert db.execute(query).fetchall()
    db.close()


def test_file_identification(tmp_path: Path) -> None:
    """The identifying bytes are where the page says."""
    path = tmp_path / "a.my3dis"
    archive(path)
    head = path.read_bytes()[:100]
    assert head[:16] == b"SQLite format 3\0"
    assert head[68:72] == b"M3DS"
    assert struct.unpack(">I", head[68:72])[0] == 1295205459 == schema.APPLICATION_ID
    assert struct.unpack(">I", head[60:64])[0] == 1 == schema.FORMAT_VERSION


def test_the_worked_example_is_right() -> None:
    """The picture on the page has the counts, the code, the box and the area that it says."""
    picture = re.search(r"```\n([.#\n]+)```", TEXT)
    assert picture is not None
    mask = np.array([[c == "#" for c in line] for line in picture[1].split()])
    assert mask.shape == (4, 6)
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert code == b"53101O6" == codec.encode(mask)
    assert codec.parse_counts(code) == [5, 3, 1, 3, 2, 2, 8]
    rows = re.findall(r"^\| \d \| (\d+) \| .* \| (\d+) \| `(.)` \|$", TEXT, re.M)
    assert [int(count) for count, _, _ in rows] == [5, 3, 1, 3, 2, 2, 8]
    assert "".join(character for _, _, character in rows) == code.decode()
    assert [int(group) + 48 for _, group, _ in rows] == list(code)
    assert codec.encode(np.zeros((10, 10), bool)) == b"T3"
    boxes, areas = codec.measure([code], (4, 6))
    assert (boxes.tolist(), areas.tolist()) == ([[1, 1, 4, 4]], [8])


def runs_as_the_page_says(code: bytes) -> list[int]:
    """Decode by the letter of section 4, independently of the package."""
    counts: list[int] = []
    groups: list[int] = []
    for character in code:
        groups.append((character - 48) & 31)
        if (character - 48) & 32:
            continue
        number = sum(group << 5 * i for i, group in enumerate(groups))
        if groups[-1] & 16:
            number -= 1 << 5 * len(groups)
        if len(counts) >= 3:
            number += counts[-2]
        counts.append(number)
        groups = []
    return counts


def test_a_reader_written_from_the_page_agrees(tmp_path: Path) -> None:
    """A few lines of struct, zlib and SQL, as the page describes, give the pixels and the checksums."""
    path = tmp_path / "a.my3dis"
    contents = archive(path)
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    rows = db.execute("SELECT * FROM masks ORDER BY frame, level, mask_id").fetchall()
    assert len(rows) == 12
    for row in rows:
        numbers = struct.pack("<13q2d", *(row[name] for name in NAMES), row["score"], row["stability"])
        first, second = zlib.crc32(numbers + row["rle"]), zlib.crc32(struct.pack("<q", row["track_id"]))
        assert row["crc32"] == first ^ second
        code = zlib.decompress(row["rle"]) if row["codec"] else row["rle"]
        counts = runs_as_the_page_says(code)
        pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        mask = pixels.reshape(row["width"], row["height"]).T
        masks = contents[row["frame"]]
        at = masks.mask_id.tolist().index(row["mask_id"])
        expected = coco.decode({"size": list(masks.image_size), "counts": masks.rle[at]})
        np.testing.assert_array_equal(mask, expected.astype(bool))
        assert mask.sum() == row["area_px"]
    for row in db.execute("SELECT * FROM frames"):
        assert row["crc32"] == zlib.crc32(struct.pack("<4q", *tuple(row)[:4]))
    assert db.execute("SELECT value FROM meta WHERE key = 'frames'").fetchone()[0] == "3"
    db.close()
