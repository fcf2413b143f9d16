"""Weights are verified by loading them as their back end does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from my3dis.backends.torch_models import convert
from my3dis.backends.torch_models.verify import verify_weights
from my3dis.cli.main import main
from my3dis.errors import DataError
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model
from tests.backends.proposers.semantic_sam.tiny import write_checkpoint


@pytest.fixture
def sam2(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "sam2")


def test_a_whole_folder(sam2: Path) -> None:
    """A video checkpoint serves both back ends; its file alone stands for the folder."""
    for path in (sam2, sam2 / "model.safetensors"):
        found = verify_weights(path)
        assert found.model == "sam2_video"
        assert found.backends == ("sam2_auto", "sam2_video")
        assert found.files == (sam2 / "model.safetensors",)


def change(folder: Path, turn: str) -> str:
    """Damage a model's weights and return a word that the error has to hold."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "mask_decoder.iou_token.weight"
    if turn == "missing":
        del tensors[name]
    elif turn == "misshapen":
        tensors[name] = torch.zeros(3, 5)
    elif turn == "unknown":
        tensors["mask_decoder.extra.weight"], name = torch.zeros(2), "mask_decoder.extra.weight"
    elif turn == "nan":
        tensors[name][0, 0] = float("nan")
    save_file(tensors, path, {"format": "pt"})
    if turn == "cut":
        path.write_bytes(path.read_bytes()[:-50])
        return "safetensors"
    return name


@pytest.mark.parametrize("turn", ["missing", "misshapen", "unknown", "nan", "cut"])
def test_what_is_wrong_with_a_folder_is_named(sam2: Path, turn: str) -> None:
    """A missing, misshapen, unknown or not finite tensor is named, and a cut file is told."""
    name = change(sam2, turn)
    with pytest.raises(DataError, match=name):
        verify_weights(sam2)


def test_other_models_and_empty_folders(sam2: Path, tmp_path: Path) -> None:
    """A model of another kind, a folder without weights, and nothing at all are three errors."""
    with pytest.raises(DataError, match="found nothing"):
        verify_weights(tmp_path / "gone")
    with pytest.raises(DataError, match=r"config\.json"):
        verify_weights(tmp_path)
    (sam2 / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(DataError, match="bert"):
        verify_weights(sam2)
    (sam2 / "model.safetensors").unlink()
    with pytest.raises(DataError, match="found none"):
        verify_weights(sam2)


def test_a_file_beside_a_foreign_config_is_itself(sam2: Path) -> None:
    """A checkpoint is verified as Semantic-SAM's, whatever ``config.json`` lies beside it; so is a folder."""
    assert verify_weights(write_checkpoint(sam2)).backends == ("semantic_sam",)
    folder = sam2 / "alone"
    folder.mkdir()
    file = folder / "tiny.safetensors"
    convert.write_safetensors(convert.converted(sam2 / "tiny.pth").tensors, file, {})
    found = verify_weights(folder)
    assert (found.backends, found.files) == (("semantic_sam",), (file,))


def test_convert_and_verify_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint in a training container becomes safetensors that verify to the same model."""
    source = write_checkpoint(tmp_path)
    content = torch.load(source, weights_only=True)
    container = content if "model" in content else {"model": content}
    torch.save({**container, "iteration": 7}, tmp_path / "trained.pth")
    monkeypatch.chdir(tmp_path)
    assert main(["weights", "convert", "trained.pth", "made/tiny.safetensors"]) == 0
    text = capsys.readouterr().out
    assert "dropped: iteration (int)" in text
    assert text.count("sha256 ") == 2
    assert main(["weights", "verify", "made/tiny.safetensors"]) == 0
    assert "Semantic-SAM" in capsys.readouterr().out
    before, after = convert.converted(source), convert.converted(Path("made/tiny.safetensors"))
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)
    assert main(["weights", "convert", "trained.pth", "made/tiny.safetensors"]) == 2
    assert main(["weights", "convert", "trained.pth", "made/tiny.safetensors", "--force"]) == 0
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["tiny.safetensors"]


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of another model are not converted, and no file appears."""
    source, target = tmp_path / "other.pth", tmp_path / "other.safetensors"
    torch.save({"model": {"model.x": torch.ones(2)}}, source)
    assert main(["weights", "convert", str(source), str(target)]) == 3
    assert "other.pth" in capsys.readouterr().err
    assert not target.exists()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """When the target cannot be written the error is one of resources."""
    from my3dis.errors import ResourceError

    with pytest.raises(ResourceError, match="cannot write"):
        convert.write_safetensors({"a": torch.ones(2)}, tmp_path / "no" / "a.safetensors", {})
