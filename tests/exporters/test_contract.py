"""What every exporter does with runs that lack something, bad places, and damaged archives."""

from __future__ import annotations

import contextlib
import importlib.util
import resource
import sqlite3
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from my3dis.cli.main import main
from my3dis.errors import ConfigError, DataError, ResourceError
from my3dis.masks.codec import DECODED
from my3dis.plugins import exporter, names
from tests.exporters.small_run import write_long_run, write_run

# Name → what to write; a name without a suffix is a folder.
PLACES = {
    "coco": "a.json",
    "davis": "davis",
    "glb": "a.glb",
    "npz": "a.npz",
    "parquet": "a.parquet",
    "ply": "a.ply",
    "rerun": "a.rrd",
    "scannet": "scannet",
    "ytvis": "a.json",
}
OF_MASKS = ("coco", "davis", "npz", "parquet", "rerun", "ytvis")


def params(chosen: tuple[str, ...]) -> list[object]:
    heavy = [pytest.mark.extras]
    return [pytest.param(name, marks=heavy if name == "rerun" else []) for name in chosen]


ALL = params(tuple(PLACES))


@pytest.fixture(autouse=True)
def _library(request: pytest.FixtureRequest) -> None:
    wanted = getattr(request.node, "callspec", None)
    if wanted is not None and wanted.params.get("name") == "rerun" and not importlib.util.find_spec("rerun"):
        pytest.skip("rerun-sdk is not installed")


def test_every_exporter_is_tried_here() -> None:
    """No format is left out of these tests."""
    assert set(names("exporters")) == set(PLACES)


@pytest.mark.parametrize("name", ALL)
def test_a_run_is_exported_and_the_paths_are_told(name: str, tmp_path: Path) -> None:
    """What is written is what is told, or lies in a folder that is; a second export gives the same."""
    run = write_run(tmp_path / "run")
    out = tmp_path / "out" / PLACES[name]
    paths = exporter(name).export(run, out)
    found = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert {p if p in paths else next(iter(set(p.parents) & set(paths)), None) for p in found} == set(paths)
    before = {path: path.read_bytes() for path in found}
    exporter(name).export(run, out)
    assert sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file()) == found
    if name != "rerun":  # recordings say when they were made
        assert {path: path.read_bytes() for path in found} == before


@pytest.mark.parametrize("name", ALL)
def test_an_empty_folder_is_no_run(name: str, tmp_path: Path) -> None:
    """The error says what is missing and which stage makes it, and nothing is written."""
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"expected .*run the stage"):
        exporter(name).export(tmp_path / "run", tmp_path / PLACES[name])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ALL)
def test_a_place_that_cannot_be_written_is_named(name: str, tmp_path: Path) -> None:
    """A file in the place of a folder is one sentence, and nothing else appears beside it."""
    run = write_run(tmp_path / "run")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match=r"cannot (write|replace)"):
        exporter(name).export(run, tmp_path / "file" / PLACES[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ALL)
def test_a_full_disk_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    """The error says so; the export of before is not half replaced."""
    run = write_run(tmp_path / "run")
    out = tmp_path / "out" / PLACES[name]
    out.parent.mkdir()
    if out.suffix:
        out.write_text("of before")
    with room_for(40), pytest.raises(ResourceError, match=r"cannot write .*free some space"):
        exporter(name).export(run, out)
    left = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path.read_text() for path in left] == (["of before"] if out.suffix else [])


@pytest.mark.parametrize("name", params(tuple(n for n in OF_MASKS if n not in ("npz", "parquet"))))
def test_sound_masks_of_a_damaged_archive_are_exported(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is lost is said, the rest is there, and the exit code is 3."""
    run = write_run(tmp_path / "run")
    with contextlib.closing(sqlite3.connect(run / "tracks.my3dis")) as db, db:
        db.execute("UPDATE masks SET area_px = 7 WHERE frame = 2 AND mask_id = 1")
    out = tmp_path / "out" / PLACES[name]
    assert main(["export", str(run), "--to", name, str(out)]) == 3
    said = capsys.readouterr()
    assert "frame 2, mask 1" in said.err
    assert "every sound mask is exported" in said.err
    assert out.exists()
    assert not list((tmp_path / "out").rglob(".tmp*"))


@pytest.mark.parametrize("name", params(tuple(n for n in PLACES if n not in ("ply", "npz", "parquet"))))
def test_a_level_that_is_not_there_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the levels of the run; what is no number is refused before anything is opened."""
    run = write_run(tmp_path / "run")
    plugin = exporter(name)
    assert plugin.with_options is not None
    with pytest.raises(ConfigError, match=r"all or a level of the run \(2, 4\), found 3"):
        plugin.with_options({"level": "3"})(run, tmp_path / PLACES[name])
    arguments = ["export", str(run), "--to", name, str(tmp_path / "x"), "--option", "level=two"]
    assert main(arguments) == 2
    assert "level=all|N" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["coco", "davis", "ytvis"])
def test_memory_does_not_grow_with_frames(name: str, tmp_path: Path) -> None:
    """Eight times the frames cost no more memory than their list, and no two masks are decoded at once."""
    peaks = []
    for frames in (4, 32):
        write_long_run(tmp_path / f"run{frames}", frames)
        DECODED.reset_peak()
        tracemalloc.start()
        exporter(name).export(tmp_path / f"run{frames}", tmp_path / str(frames) / PLACES[name])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert DECODED.peak <= DECODED.alive + 2
    assert peaks[1] < peaks[0] + 60_000, peaks
