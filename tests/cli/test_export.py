"""What `my3dis export` does with a run whose archive is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from my3dis.cli.main import main
from tests.archive.make import archive


def test_every_sound_mask_of_a_damaged_run_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The damaged mask is named, all others come out, and the exit code says that something is lost."""
    run = tmp_path / "run"
    run.mkdir()
    contents = archive(run / "tracks.my3dis")
    with contextlib.closing(sqlite3.connect(run / "tracks.my3dis")) as db, db:
        db.execute("UPDATE masks SET area_px = 7 WHERE frame = 5 AND mask_id = 3")
    before = (run / "tracks.my3dis").read_bytes()
    assert main(["export", str(run), "--to", "parquet", str(tmp_path / "out" / "a.parquet")]) == 3
    said = capsys.readouterr()
    assert "frame 5, mask 3" in said.err
    assert "every sound mask is exported" in said.err
    assert said.out == f"{tmp_path / 'out' / 'a.parquet'}\n"
    table = pd.read_parquet(tmp_path / "out" / "a.parquet")
    found = set(zip(table["frame"], table["mask_id"], table["rle"], strict=True))
    expected = {
        (frame, int(mask_id), rle)
        for frame, masks in contents.items()
        for mask_id, rle in zip(masks.mask_id, masks.rle, strict=True)
    }
    assert found == {one for one in expected if one[:2] != (5, 3)}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.parquet"]
    assert (run / "tracks.my3dis").read_bytes() == before


def test_a_run_whose_archive_is_no_archive_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing can be saved there is one error and no file."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "tracks.my3dis").write_bytes(b"nothing of an archive" * 100)
    assert main(["export", str(run), "--to", "parquet", str(tmp_path / "out" / "a.parquet")]) == 3
    assert "my3dis: error:" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
