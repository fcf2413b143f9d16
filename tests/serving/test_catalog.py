"""The runs of a folder: found, read once, read again when they change, with bounded work per request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.sweep_page import write_run
from my3dis.errors import DataError
from my3dis.serving import catalog as module
from my3dis.serving.catalog import Catalog, open_root


class Clock:
    """Seconds that only a test moves; every look may cost some."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.now, self.cost_s = 100.0, cost_s

    def __call__(self) -> float:
        self.now += self.cost_s
        return self.now


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = (tmp_path / "runs").resolve()
    for n in range(4):
        write_run(folder / f"room{n}" / "default", f"room{n}", 1.0, failed=n == 3)
    (folder / "room0" / "empty").mkdir()
    return folder


def names(catalog: Catalog) -> list[str]:
    return ["/".join(run.segments) for run in catalog.listing().runs]


@pytest.mark.parametrize(
    ("below", "expected"),
    [
        (".", ["room0/default", "room1/default", "room2/default", "room3/default"]),
        ("room1", ["default"]),
        ("room1/default", [""]),
    ],
)
def test_runs_of_a_folder_of_a_scene_and_of_one(root: Path, below: str, expected: list[str]) -> None:
    """A folder of all runs, of one scene and of one run are served alike; addresses begin there."""
    assert names(Catalog(open_root(root / below))) == expected


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    """An empty folder, a file and a path to nothing are told apart, with what to name instead."""
    (tmp_path / "file").write_text("x")
    for name, words in (("", "no run in it"), ("file", "a file"), ("absent", "no such folder")):
        with pytest.raises(DataError, match=words):
            open_root(tmp_path / name)


def test_only_what_changed_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are read once; later only new and changed ones, and what was deleted is gone."""
    read: list[str] = []
    original = module.read_overview

    def counted(folder: Path) -> object:
        read.append(folder.parent.name)
        return original(folder)

    monkeypatch.setattr(module, "read_overview", counted)
    clock = Clock()
    catalog = Catalog(root, clock=clock)
    first = catalog.listing()
    assert sorted(read) == ["room0", "room1", "room2", "room3"]
    read.clear()
    write_run(root / "room4" / "default", "room4", 1.0, failed=False)
    write_run(root / "room3" / "default", "room3", 2.0, failed=False)  # it has a report and scores now
    (root / "room1" / "default" / "manifest.json").unlink()
    assert catalog.listing() == first  # the folder is not even listed so soon
    clock.now += module.LIST_EVERY_S
    second = catalog.listing()
    assert sorted(read) == ["room3", "room4"]
    assert [run.segments[0] for run in second.runs] == ["room0", "room2", "room3", "room4"]
    assert second.runs[2].overview is not None
    assert second.runs[2].overview.status == "finished"
    assert second.version != first.version


def test_a_request_reads_for_a_bounded_time(root: Path) -> None:
    """Where reading takes long, a request ends with some runs unread, and the next ones go on."""
    catalog = Catalog(root, clock=Clock(cost_s=0.6))
    waiting = [catalog.listing().waiting for _ in range(4)]
    assert waiting[0] > 0
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[-1] == 0


def test_a_damaged_run_is_told_and_hides_no_other(root: Path) -> None:
    """A manifest that is no JSON makes one row that says so."""
    (root / "room1" / "default" / "manifest.json").write_text("{oops")
    runs = Catalog(root).listing().runs
    assert [bool(run.trouble) for run in runs] == [False, True, False, False]
    assert "expected JSON" in runs[1].trouble


def test_links_out_of_the_folder_are_counted_not_followed(root: Path, tmp_path: Path) -> None:
    """Links of folders or of records that lead outside are left out; links inside are followed."""
    write_run(tmp_path / "elsewhere" / "default", "elsewhere", 1.0, failed=False)
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root / "room0")
    scores = root / "room2" / "default" / "scores.json"
    scores.unlink()
    scores.symlink_to(tmp_path / "elsewhere" / "default" / "scores.json")
    listing = Catalog(root).listing()
    assert listing.left_out == 1
    assert "out" not in {run.segments[0] for run in listing.runs}
    by_name = {run.segments[0]: run for run in listing.runs}
    assert by_name["again"].overview is not None
    assert "outside" in by_name["room2"].trouble


def test_names_that_no_address_holds_are_counted(root: Path) -> None:
    """Folders with line breaks or bytes that are no text in their names are left out and counted."""
    for name in (b"two\nlines", b"\xff\xfe", b"back\\slash"):
        write_run(root / os.fsdecode(name) / "default", "x", 1.0, failed=True)
    assert Catalog(root).listing().left_out == 3
