"""A stage's digest follows everything that can change its result, and nothing else."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.config.load import load_config
from my3dis.runs.digest import fingerprint_of
from my3dis.runs.layout import RunLayout
from my3dis.runs.plan import STAGE_NAMES, load_stage, stages_after
from tests.runs.fakes import FakeReader, make_scan


@pytest.fixture
def reader(tmp_path: Path) -> FakeReader:
    return FakeReader(make_scan(tmp_path / "room"))


def digest(name: str, reader: FakeReader, config: Config | None = None, **changes: object) -> str:
    options: dict[str, object] = {"frames": (0, 1), "upstream": {}, **changes}
    found = fingerprint_of(load_stage(name), config or Config(), reader, **options)  # type: ignore[arg-type]  # by name
    return found.digest


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_each_stage_declares_what_it_uses(name: str) -> None:
    """Every stage names existing settings and files of the layout, its own switch among the settings."""
    stage = importlib.import_module(f"my3dis.stages.{name}")
    assert name == stage.NAME
    for key in stage.CONFIG_FIELDS:
        value_of(Config(), key)
    for attribute in (*stage.INPUTS, *stage.OUTPUTS):
        assert hasattr(RunLayout, attribute), attribute
    section = {"candidates": "ssam", "track": "tracker"}.get(name, name)
    if name != "report":  # a report that is switched on again may be the old one
        assert f"stages.{section}.enabled" in stage.CONFIG_FIELDS


def test_every_input_of_a_stage_is_written_before_it() -> None:
    """A stage reads only what earlier stages write."""
    written: set[str] = set()
    for name in STAGE_NAMES:
        stage = load_stage(name)
        assert set(stage.INPUTS) <= written, name
        written |= set(stage.OUTPUTS)
    assert stages_after("track") == ("lift", "evaluate", "report")
    assert stages_after("report") == ()


def test_digest_follows_settings_frames_and_earlier_stages(reader: FakeReader) -> None:
    """A used setting, other frames or another earlier digest change it; an unused setting does not."""
    first = digest("lift", reader)
    assert digest("lift", reader) == first
    assert digest("lift", reader, load_config(values={"stages.lift.min_points": 7})) != first
    assert digest("lift", reader, load_config(values={"stages.report.name": "x"})) == first
    assert digest("lift", reader, frames=(0, 2)) != first
    assert digest("lift", reader, upstream={"track": "new"}) != first
    (reader.root / "9.jpg").write_text("x")
    assert digest("lift", reader) != first


def test_recorded_masks_are_part_of_the_digest(reader: FakeReader, tmp_path: Path) -> None:
    """When the recorded label maps change, the candidates are proposed again."""
    root = tmp_path / "maps"
    root.mkdir()
    config = load_config(values={"stages.ssam.proposer": "recorded", "stages.ssam.recorded_root": str(root)})
    first = digest("candidates", reader, config)
    (root / "a.png").write_text("x")
    assert digest("candidates", reader, config) != first


def test_version_of_the_back_end_is_part_of_the_digest(
    reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of the proposer makes candidates and instances new, not the stages that do not ask it."""
    from dataclasses import replace

    from my3dis import plugins

    candidates, lift, track = (digest(stage, reader) for stage in ("candidates", "lift", "track"))
    new = replace(plugins.proposer("watershed"), version="99")
    monkeypatch.setattr(plugins, "proposer", lambda name: new)
    assert digest("candidates", reader) != candidates
    assert digest("lift", reader) != lift
    assert digest("track", reader) == track
