"""The memory benchmark runs from a checkout with one command, and its scene is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--shapes", "blobs", "--size", "180x240"]


def test_whole_benchmark_on_a_small_scene(tmp_path: Path) -> None:
    """Every stage, both smaller scenes and the old way are measured; all masks are different."""
    options = ["--frames", "12", "--masks", "240", "--shares", "0.5", "--old-masks", "20,60"]
    limit = ["--old-limit-mb", "2000", "--output", str(tmp_path)]
    done = subprocess.run(
        [*COMMAND, *options, *limit, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "240 masks (240 different), 12 frames of 180x240" in done.stdout
    assert "EXTRAPOLATED" in done.stdout
    assert "holds   all 240 masks are there and different" in done.stdout
    assert "growth is not judged: that takes 5,000 masks in 384 frames" in done.stdout
    figures = json.loads((tmp_path / "memory.json").read_text())
    assert [run["frames"] for run in figures["runs"]] == [6, 12]
    whole = {profile["stage"]: profile for profile in figures["runs"][-1]["profiles"]}
    assert list(whole) == ["candidates", "filter", "track", "report"]
    assert whole["filter"]["masks"] == 240
    assert whole["track"]["total"] == 3 * 12
    assert [item["held"] for item in figures["old"]] == [20, 60, 240]
    ElementTree.parse(tmp_path / "memory.svg")


def test_old_way_dies_at_its_limit(tmp_path: Path) -> None:
    """In less memory than its masks need the old way ends with MemoryError, and that is what is reported."""
    options = ["--frames", "5", "--masks", "50", "--size", "1440x1920", "--shares", "", "--until", "filter"]
    limit = ["--old-masks", "5,10", "--old-limit-mb", "110", "--output", str(tmp_path)]
    done = subprocess.run([*COMMAND, *options, *limit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = json.loads((tmp_path / "memory.json").read_text())["old"][-1]
    assert (last["masks"], last["died"]) == (50, True)
    assert last["held"] < 50
    assert "MemoryError" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--masks", "241"], "expected a multiple of 10 masks"),
        (["--until", "lift"], "invalid choice"),
        (["--frames", "0"], "expected a whole number above 0, found '0'"),
        (["--masks", "-120"], "expected a whole number above 0, found '-120'"),
        (["--size", "90x1920"], "expected HxW, 180 pixels or more each, found '90x1920'"),
        (["--shares", "0.5,half"], "expected numbers above 0 with commas between, found '0.5,half'"),
        (["--old-masks", "0"], "expected numbers above 0 with commas between, found '0'"),
    ],
)
def test_wrong_options_are_told(options: list[str], words: str) -> None:
    """A number that makes no scene, or a stage that is not run, ends at once."""
    done = subprocess.run([*COMMAND, "--frames", "12", *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    """A folder of the same name in --output that this benchmark did not make is not taken away."""
    mine = tmp_path / "work" / "thesis.tex"
    mine.parent.mkdir()
    mine.write_text("done")
    options = ["--frames", "2", "--masks", "20", "--output", str(tmp_path)]
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"expected no folder {mine.parent}, or one of this benchmark" in done.stderr
    assert mine.read_text() == "done"
