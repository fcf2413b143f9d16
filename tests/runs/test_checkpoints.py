"""Model weights are known by their content: in the manifest, and in the digest of the stage using them."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import pytest

from my3dis.config import Config
from my3dis.config.load import load_config
from my3dis.errors import ConfigError
from my3dis.runs import checkpoints
from my3dis.runs.digest import fingerprint_of
from my3dis.runs.plan import load_stage, with_absolute_paths
from tests.runs.fakes import FakeReader, make_scan


def config_with(path: str | Path, **other: object) -> Config:
    return load_config(values={"stages.ssam.checkpoint": str(path), **other}, environment=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in the layout of the hub, weights in two files."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "a.safetensors").write_bytes(b"first")
    (model / "b.safetensors").write_bytes(b"second")
    (model / "notes.md").write_text("no weights")
    return model


def test_the_manifest_names_every_file_of_weights(folder: Path, tmp_path: Path) -> None:
    """A file stands with its own SHA-256, a folder with that of each safetensors file in it."""
    single = tmp_path / "swint.pth"
    single.write_bytes(b"weights")
    assert dict(checkpoints.used_checkpoints(config_with(single))) == {
        str(single): hashlib.sha256(b"weights").hexdigest()
    }
    assert dict(checkpoints.used_checkpoints(config_with(folder))) == {
        f"{folder}/a.safetensors": hashlib.sha256(b"first").hexdigest(),
        f"{folder}/b.safetensors": hashlib.sha256(b"second").hexdigest(),
    }
    assert not list(checkpoints.used_checkpoints(config_with("nobody/nothing-of-the-kind")))


def test_digest_of_the_stage_follows_the_content(folder: Path, tmp_path: Path) -> None:
    """Other weights or another configuration make the stage new; other files and another stage do not."""
    reader = FakeReader(make_scan(tmp_path / "room"))

    def digest(stage: str = "candidates") -> str:
        return fingerprint_of(load_stage(stage), config_with(folder), reader, (0,), {}).digest

    first, track = digest(), digest("track")
    (folder / "notes.md").write_text("other")
    assert digest() == first
    (folder / "b.safetensors").write_bytes(b"other!")
    second = digest()
    assert second != first
    (folder / "config.json").write_text('{"a": 1}')
    assert digest() != second
    assert digest("track") == track


def test_the_same_weights_elsewhere_are_the_same(folder: Path, tmp_path: Path) -> None:
    """A stage is taken over when its weights were moved, and new where their content is unknown."""
    reader = FakeReader(make_scan(tmp_path / "room"))

    def digest(path: str | Path) -> str:
        return fingerprint_of(load_stage("candidates"), config_with(path), reader, (0,), {}).digest

    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert digest(folder) == digest(moved)
    assert digest("nobody/no-such-model") != digest("nobody/another-one") != digest(folder)


def test_paths_mean_the_same_from_any_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder and one below the home folder are written out in full; an id stays an id."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("model", "~/model", "./model"):
        assert with_absolute_paths(config_with(given)).stages.ssam.checkpoint == str(folder)
    given = "facebook/sam2.1-hiera-tiny"
    assert with_absolute_paths(config_with(given)).stages.ssam.checkpoint == given


def test_large_weights_are_read_once_and_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What takes seconds to read is announced, and read once in a process."""
    monkeypatch.setattr(checkpoints, "_WORTH_SAYING", 6)
    with caplog.at_level(logging.INFO):
        first = checkpoints.checkpoint_digest(str(folder))
        assert checkpoints.checkpoint_digest(str(folder)) == first
    assert [r.message for r in caplog.records if "SHA-256" in r.message] == [
        "reading b.safetensors (0.0 GB) to record its SHA-256"
    ]


def test_missing_weights_are_told_before_anything_is_made(folder: Path) -> None:
    """A back end that loads weights is refused without them; others, and stages not asked for, need none."""
    checkpoints.fetch_checkpoints(Config())
    named = {"stages.ssam.proposer": "sam2_auto"}
    checkpoints.fetch_checkpoints(config_with(folder, **named))
    gone = config_with(folder / "gone.safetensors", **named)
    checkpoints.fetch_checkpoints(gone, ("report",))
    with pytest.raises(ConfigError, match=r"gone\.safetensors.*MY3DIS_STAGES__SSAM__CHECKPOINT"):
        checkpoints.fetch_checkpoints(gone)
