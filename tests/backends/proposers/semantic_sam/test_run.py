"""`my3dis run` with Semantic-SAM, from a checkpoint in the released layout to the archive of candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from my3dis import plugins, run_scan
from my3dis.archive import open_archive
from my3dis.cli.main import main
from my3dis.errors import ConfigError, DataError, PluginError, ResourceError
from my3dis.masks import hierarchy
from my3dis.protocols import BackendOptions
from my3dis.types import MaskSet, MaskSource
from tests.backends.proposers.semantic_sam import tiny

LEVELS = [2, 4, 6]
FRAMES = "0:24:8"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("weights"))


def settings(checkpoint: Path, mode: str) -> dict[str, object]:
    return {
        "experiment.frames": FRAMES,
        "experiment.levels": LEVELS,
        "stages.ssam.proposer": "semantic_sam",
        "stages.ssam.checkpoint": str(checkpoint),
        "stages.ssam.device": "cpu",
        "stages.ssam.refine": mode,
        "stages.ssam.points_per_side": 3,
        "stages.tracker.enabled": False,
        "stages.lift.enabled": False,
        "stages.evaluate.enabled": False,
        "stages.report.enabled": False,
    }


def archived(run_dir: Path) -> list[MaskSet]:
    with open_archive(run_dir / "candidates.my3dis") as archive:
        return list(archive.iter_frames())


def candidates_figures(run_dir: Path) -> dict[str, object]:
    stages = json.loads((run_dir / "stage_timings.json").read_text())["stages"]
    figures: dict[str, object] = stages["candidates"]
    return figures


@pytest.mark.parametrize("mode", ["crop", "mask", "points"])
def test_a_run_gives_nested_candidates(built_in: Path, checkpoint: Path, tmp_path: Path, mode: str) -> None:
    """Children lie inside parents, ids are unique, passes are recorded, and another run gives the same."""
    result = run_scan(built_in, tmp_path / "one", settings(checkpoint, mode))
    frames = archived(result.run_dir)
    assert [masks.frame for masks in frames] == [0, 8, 16]
    for masks in frames:
        hierarchy.require_nested(masks)
        assert len(set(masks.mask_id.tolist())) == len(masks)
        found = masks.select(masks.source == MaskSource.CANDIDATE)
        assert len(found) >= 2
        assert (found.stability >= 0.92).all()
    figures = candidates_figures(result.run_dir)
    assert figures["refine"] == mode
    assert figures["proposed_frames"] == 3
    wanted = 3 + (0 if mode == "points" else int(str(figures["regions"])))
    assert int(str(figures["backbone_passes"])) <= wanted
    assert mode != "points" or figures["backbone_passes"] == 3
    other = run_scan(built_in, tmp_path / "two", settings(checkpoint, mode))
    for one, two in zip(frames, archived(other.run_dir), strict=True):
        assert one.rle == two.rle
        assert one.parent_id.tolist() == two.parent_id.tolist()
        assert one.score.tolist() == two.score.tolist()


def test_the_command_line_runs_it(
    built_in: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documented command goes through all stages, tracks and report included."""
    command = ["run", "--scan", str(built_in), "--output", str(tmp_path), "--set", "experiment.frames=0:16:8"]
    for key, value in {
        "proposer": "semantic_sam",
        "checkpoint": checkpoint,
        "points_per_side": 3,
        "refine": "points",
    }.items():
        command += ["--set", f"stages.ssam.{key}={value}"]
    assert main(command) == 0
    (manifest,) = tmp_path.glob("*/default/manifest.json")
    assert str(checkpoint) in json.dumps(json.loads(manifest.read_text())["checkpoints"])
    assert (manifest.parent / "report.html").exists()
    capsys.readouterr()


def test_what_is_missing_is_said(checkpoint: Path, tmp_path: Path) -> None:
    """No checkpoint, a wrong path, another file, a device that is not here: each error says what to do."""
    create = plugins.proposer("semantic_sam").create
    with pytest.raises(ConfigError, match=r"MY3DIS_STAGES__SSAM__CHECKPOINT"):
        create(BackendOptions())
    with pytest.raises(ConfigError, match=r"nowhere\.pth"):
        create(BackendOptions(checkpoint=str(tmp_path / "nowhere.pth")))
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"wrong\.pth"):
        create(BackendOptions(checkpoint=str(wrong)))
    with pytest.raises(DataError, match="expected safetensors in this folder"):
        create(BackendOptions(checkpoint=str(tmp_path)))
    with pytest.raises(ConfigError, match="refine"):
        create(BackendOptions(checkpoint=str(checkpoint), refine="box"))
    with pytest.raises(ResourceError, match="cuda:99"):
        create(BackendOptions(checkpoint=str(checkpoint), device="cuda:99"))
    with pytest.raises(ConfigError, match="dtype"):
        create(BackendOptions(checkpoint=str(checkpoint), dtype="float8"))


def test_without_torch_the_extra_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch cannot be imported, the plug-in is listed and making it says which extra to install."""
    import builtins
    import sys

    name = "my3dis.backends.proposers.semantic_sam.proposer"
    monkeypatch.delitem(sys.modules, name, raising=False)
    real = builtins.__import__

    def without(module: str, *rest: object, **more: object) -> object:
        if module == name:
            raise ImportError("No module named 'torch'")
        return real(module, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PluginError, match=r"pip install 'my3dis\[semantic-sam\]'"):
        plugins.proposer("semantic_sam").create(BackendOptions(checkpoint=str(checkpoint)))


def test_options_reach_the_model(checkpoint: Path) -> None:
    """Grid, batch and quality of the settings replace the model's own, and bfloat16 reaches the backbone."""
    create = plugins.proposer("semantic_sam").create
    own = create(BackendOptions(checkpoint=str(checkpoint), device="cpu"))
    assert (own.automatic.points_per_side, own.automatic.points_per_batch) == (32, 200)  # type: ignore[union-attr]
    assert (own.automatic.predicted_iou, own.automatic.stability) == (0.88, 0.92)  # type: ignore[union-attr]
    assert plugins.proposer("semantic_sam").stability_threshold == 0.92
    chosen = create(
        BackendOptions(
            checkpoint=str(checkpoint),
            device="cpu",
            dtype="bfloat16",
            points_per_side=5,
            points_per_batch=7,
            predicted_iou=0.0,
        )
    )
    assert (chosen.automatic.points_per_side, chosen.automatic.points_per_batch) == (5, 7)  # type: ignore[union-attr]
    assert chosen.automatic.predicted_iou == 0.0  # type: ignore[union-attr]
    assert str(chosen.network.backbone_dtype) == "torch.bfloat16"  # type: ignore[union-attr]
