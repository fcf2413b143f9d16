"""`--profile-memory`: the curve of a stage's memory is printed and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from my3dis.cli.main import main
from my3dis.errors import DataError
from my3dis.monitoring.profile import read_profiles
from my3dis.runs.layout import RunLayout
from tests.runs.fakes import FakeStages, install, make_scan


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FakeStages:
    fake = FakeStages()
    install(monkeypatch, fake)
    return fake


@pytest.fixture
def layout(stages: FakeStages, tmp_path: Path) -> RunLayout:
    """A finished run of 12 frames, made without profiles."""
    scan = make_scan(tmp_path / "room", frames=12)
    assert main(["run", "--scan", str(scan), "--output", str(tmp_path / "out")]) == 0
    return RunLayout(tmp_path / "out" / "room" / "default")


@pytest.mark.parametrize("name", ["candidates", "filter", "track", "lift", "evaluate", "report"])
def test_any_stage_can_be_profiled(name: str, layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
    """The text has the peak, the last line is the run's folder, and both files are in it."""
    assert not layout.memory_profile.exists()
    capsys.readouterr()
    assert main(["stage", name, str(layout.root), "--profile-memory"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Memory of {name}, levels 2, 4, 6: MB over ")
    assert "\npeak " in out
    assert out.splitlines()[-1] == str(layout.root)
    assert "memory_profile.json" in out
    assert layout.memory_plot.read_text().startswith("<svg")
    assert [profile.stage for profile in read_profiles(layout.memory_profile)] == [name]


def test_some_levels_of_a_stage(layout: RunLayout, capsys: pytest.CaptureFixture[str]) -> None:
    """With --levels 4 the curve says which level it is of; without the option nothing is kept."""
    assert main(["stage", "track", str(layout.root), "--levels", "4"]) == 0
    assert "Memory of" not in capsys.readouterr().out
    assert not layout.memory_profile.exists()
    assert main(["stage", "track", str(layout.root), "--levels", "4", "--profile-memory"]) == 0
    assert "Memory of track, level 4: MB over " in capsys.readouterr().out
    kept = json.loads(layout.memory_profile.read_text())["stages"]["track"]
    assert kept["levels"] == [4]
    assert kept["frames"] == 12
    assert kept["samples"]["masks_written"][-1] == 12


def test_stage_that_fails_leaves_its_curve(stages: FakeStages, layout: RunLayout) -> None:
    """The curve up to the failure is what one wants to see most."""

    def fail() -> None:
        raise DataError("frame 1 is gone")

    stages.fail["track"] = fail
    assert main(["stage", "track", str(layout.root), "--profile-memory"]) == 3
    (profile,) = read_profiles(layout.memory_profile)
    assert not profile.complete


def test_whole_run_can_be_profiled(
    stages: FakeStages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` keeps all stages; those that are taken over later have no new curve."""
    scan = make_scan(tmp_path / "room")
    command = ["run", "--scan", str(scan), "--output", str(tmp_path / "out"), "--profile-memory"]
    assert main(command) == 0
    layout = RunLayout(tmp_path / "out" / "room" / "default")
    names = [profile.stage for profile in read_profiles(layout.memory_profile)]
    assert names == ["candidates", "filter", "track", "lift", "evaluate", "report"]
    assert capsys.readouterr().out.count("Memory of ") == 6
    assert main([*command, "--set", "stages.lift.min_points=9"]) == 0
    assert capsys.readouterr().out.count("Memory of ") == 3
    assert len(read_profiles(layout.memory_profile)) == 6


def test_help_shows_how(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of `stage` has the option in an example."""
    assert main(["stage", "--help"]) == 0
    assert "track runs/scan1/default --levels 4 --profile-memory" in capsys.readouterr().out
