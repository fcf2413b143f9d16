"""Which model a folder holds, and what is said of one that cannot be used."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from my3dis.backends.trackers.sam2_video import families
from my3dis.errors import ConfigError, DataError, PluginError
from tests.backends.trackers.sam2_video import tiny

CPU = torch.device("cpu")


@pytest.fixture
def copy(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint of SAM 2 that may be spoilt."""
    return Path(shutil.copytree(checkpoints["sam2"], tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "family"), [("sam2", "SAM 2"), ("edgetam", "EdgeTAM"), ("sam3", "SAM 3 tracker")]
)
def test_the_checkpoint_says_which_family(checkpoints: dict[str, Path], name: str, family: str) -> None:
    """The folder of each is known, loads, and has every tensor that it was saved with."""
    assert families.family_of(checkpoints[name]).name == family
    model = families.load(checkpoints[name], CPU, torch.float32)
    saved = tiny.network(name).state_dict()
    found = model.network.state_dict()
    assert saved.keys() == found.keys()
    assert all(torch.equal(found[key], value) for key, value in saved.items())
    assert (model.image_size_px, model.memory_frames, model.pointer_frames) == (tiny.SIDES[name], 6, 15)
    assert not model.network.training


def test_precision_is_part_of_the_model(checkpoints: dict[str, Path]) -> None:
    """The same folder in bfloat16 is another model, which runs."""
    from my3dis.backends.trackers.sam2_video.tracker import Sam2VideoTracker, TrackerOptions
    from tests.backends.trackers.sam2_video.scenes import rectangles
    from tests.backends.trackers.sam2_video.test_tracker import follow

    tracker = Sam2VideoTracker(TrackerOptions(folder=checkpoints["sam2"], device="cpu", dtype="bfloat16"))
    found = follow(tracker, 6, {0: rectangles(0, (1, (10, 20, 50, 60)))})
    assert any(found)
    boxed = Sam2VideoTracker(replace(tracker._options, prompt_mode="all_box"))
    assert any(follow(boxed, 6, {0: rectangles(0, (1, (10, 20, 50, 60)))}))
    assert tracker._model is not families.load(checkpoints["sam2"], CPU, torch.float32)


def test_other_models_are_refused(copy: Path) -> None:
    """A model of another type, or a folder without a config, is named with what was expected."""
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "resnet"}))
    with pytest.raises(ConfigError, match=r"sam2_video, edgetam_video.*found 'resnet'"):
        families.family_of(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match="found None"):
        families.family_of(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json and model\.safetensors"):
        families.family_of(copy)


def test_missing_weights_are_named(copy: Path) -> None:
    """A tensor that the file lacks is not drawn at random."""
    weights = load_file(copy / "model.safetensors")
    del weights["memory_encoder.projection.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        DataError, match=r"weights of SAM 2, found 1 missing: memory_encoder\.projection\.weight"
    ):
        families.load(copy, CPU, torch.float32)


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    """A tensor of another shape than the config says is an error of the data."""
    weights = load_file(copy / "model.safetensors")
    weights["memory_encoder.projection.weight"] = torch.zeros(3, 3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"found 1 of another shape: memory_encoder\.projection\.weight"):
        families.load(copy, CPU, torch.float32)


def test_damaged_weights_are_refused(copy: Path) -> None:
    """A file that was cut off, or is not there, is an error of the data that says where to get it."""
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot be loaded as SAM 2"):
        families.load(copy, CPU, torch.float32)
    path.unlink()
    with pytest.raises(DataError, match="cannot be loaded as SAM 2"):
        families.load(copy, CPU, torch.float32)


def test_edgetams_own_backbone_needs_timm(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The published EdgeTAM says which library it needs where that is missing."""
    if importlib.util.find_spec("timm"):
        pytest.skip("timm is installed here")
    folder = Path(shutil.copytree(checkpoints["edgetam"], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    backbone = {"model_type": "timm_wrapper", "architecture": "repvit_m1.dist_in1k"}
    config["vision_config"] = {"model_type": "edgetam_vision_model", "backbone_config": backbone}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PluginError, match="timm"):
        families.load(folder, CPU, torch.float32)


def test_sam3_is_taken_out_of_the_whole_model(tmp_path: Path) -> None:
    """A checkpoint laid out like the published one, detector and tracker, gives the tracker's tensors."""
    tracker = tiny.network("sam3")
    transformers.Sam3VideoConfig(tracker_config=tracker.config.to_dict()).save_pretrained(tmp_path)
    weights = {"detector_model.text_encoder.unused": torch.zeros(2)}
    for key, value in tracker.state_dict().items():
        if key.startswith("vision_encoder.backbone."):
            name = f"detector_model.{key}"
        elif key.startswith("vision_encoder.neck."):
            name = key.replace("vision_encoder.neck.", "tracker_neck.")
        else:
            name = f"tracker_model.{key}"
        weights[name] = value.clone()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = families.load(tmp_path, CPU, torch.float32)
    assert model.family.name == "SAM 3 tracker"
    found = model.network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in tracker.state_dict().items())


def test_loading_leaves_random_numbers_alone(checkpoints: dict[str, Path], copy: Path) -> None:
    """The process's random state is the same before and after."""
    before = torch.random.get_rng_state()
    families.load(copy, CPU, torch.float32)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_plugin_is_listed_without_torch() -> None:
    """Where torch is missing the tracker is listed, and says what to install when it is made."""
    code = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from my3dis import plugins
from my3dis.errors import PluginError
from my3dis.protocols import BackendOptions
assert "sam2_video" in plugins.names("trackers")
try:
    plugins.tracker("sam2_video").create(BackendOptions(checkpoint="nowhere"))
except PluginError as error:
    assert "my3dis[sam2]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
