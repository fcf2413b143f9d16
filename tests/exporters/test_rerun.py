"""Rerun recordings: verified by Rerun's own command, and read back by its reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from my3dis.errors import PluginError
from my3dis.exporters import rerun as exporter
from my3dis.masks.palette import colors_for_ids
from tests.exporters.small_run import BOXES, FRAMES, SIZE, pixels, write_run


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rerun-sdk the error says what to install."""
    run = write_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(PluginError, match=r"my3dis\[rerun\]"):
        exporter.PLUGIN.export(run, tmp_path / "a.rrd")


def rows_of(path: Path) -> dict[str, list[dict[str, object]]]:
    """Entity → its rows, with component names cut after the colon."""
    import rerun as rr

    found: dict[str, list[dict[str, object]]] = {}
    for chunk in rr.chunk.RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        for row in batch.to_pylist():
            found.setdefault(chunk.entity_path, []).append({k.split(":")[-1]: v for k, v in row.items()})
    return found


@pytest.mark.extras
def test_rerun_verifies_and_reads_it(tmp_path: Path) -> None:
    """Cameras, pictures, segmentations and points are there for every frame, with the right values."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (extra rerun)")
    run = write_run(tmp_path / "run", tmp_path / "scan")
    exporter.PLUGIN.export(run, tmp_path / "a.rrd")
    command = Path(sys.executable).with_name("rerun")
    done = subprocess.run(
        [command, "rrd", "verify", tmp_path / "a.rrd"],
        env={**os.environ, "DO_NOT_TRACK": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "a.rrd")
    for level in (2, 4):
        labels = sorted(rows[f"/world/camera/image/level_{level}"], key=lambda row: row["frame"])
        assert [row["frame"] for row in labels] == list(FRAMES)
        found = np.frombuffer(np.array(labels[1]["buffer"][0], np.uint8), np.uint16).reshape(SIZE)
        expected = np.zeros(SIZE, int)
        for track, own, _, box in sorted(BOXES[2], key=lambda row: -pixels(row[3]).sum()):
            if own == level and track >= 0:
                expected[pixels(box)] = track + 1
        np.testing.assert_array_equal(found, expected)
    pictures = [row for row in rows["/world/camera/image"] if row.get("blob")]
    assert len(pictures) == 3
    assert bytes(pictures[0]["blob"][0][:2]) == b"\xff\xd8"
    moves = sorted(
        (row["frame"], row["translation"][0][2]) for row in rows["/world/camera"] if row.get("translation")
    )
    assert moves == [(0, -1.0), (2, -3.0), (5, -6.0)]
    (points,) = rows["/world/points/level_2"]
    assert len(points["positions"]) == 36
    red, green, blue = colors_for_ids(np.array([3]))[0].tolist()
    assert points["colors"][0] == (red << 24) | (green << 16) | (blue << 8) | 255


@pytest.mark.extras
def test_a_picture_that_cannot_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One damaged picture costs that picture, with a warning that names its file."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (extra rerun)")
    run = write_run(tmp_path / "run", tmp_path / "scan")
    (tmp_path / "scan" / "color" / "20.png").write_bytes(b"no picture")
    exporter.PLUGIN.export(run, tmp_path / "a.rrd")
    assert "frame 2 has neither picture nor camera in the recording" in caplog.text
    assert "20.png" in caplog.text
    rows = rows_of(tmp_path / "a.rrd")
    assert sorted(row["frame"] for row in rows["/world/camera/image"] if row.get("blob")) == [0, 5]
    assert len(rows["/world/camera/image/level_2"]) == 3


@pytest.mark.extras
def test_pictures_are_made_smaller(tmp_path: Path) -> None:
    """No row is longer than asked for; without the scan there are no pictures but all the rest."""
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (extra rerun)")
    run = write_run(tmp_path / "run")
    assert exporter.PLUGIN.with_options is not None
    exporter.PLUGIN.with_options({"width": "18", "level": "2"})(run, tmp_path / "a.rrd")
    rows = rows_of(tmp_path / "a.rrd")
    assert len(rows["/world/camera/image/level_2"][0]["buffer"][0]) == 2 * 18 * 12
    assert "/world/camera/image" not in rows
    assert "/world/camera/image/level_4" not in rows
