"""The image model: loaded whole from a folder, asked in pixels, and the same as the library's own forward."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Model
from transformers.utils import logging as library_logging

from my3dis.backends.proposers.sam2_auto.model import ImageModel, load_model
from my3dis.errors import ConfigError, DataError
from tests.backends.proposers import boxes
from tests.backends.proposers.sam2_auto.tiny import SIDE, save_tiny_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def network(folder: Path) -> Sam2Model:
    return load_model(folder, CPU, torch.float32)


def test_every_weight_is_the_one_of_the_file(folder: Path, network: Sam2Model) -> None:
    """All parameters equal the file's; the video part is left out."""
    stored = load_file(folder / "model.safetensors")
    names = [name for name, _ in network.named_parameters()]
    assert all(torch.equal(parameter, stored[name]) for name, parameter in network.named_parameters())
    assert not [name for name in names if name.startswith("memory")]
    assert not network.training


def test_answers_equal_the_library_s_own_forward(network: Sam2Model) -> None:
    """Features once and prompts after give what one call of the library with the same input gives."""
    color = boxes.frame().color
    model = ImageModel(network)
    points = np.array([[10.0, 20.0], [64.0, 48.0], [120.5, 90.25]], np.float32)
    found = model.ask(model.features(color), points, boxes.SIZE)
    # Nothing shrinks here, so antialiasing has nothing to do and plain interpolation is the same.
    resized = cv2.resize(color.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    image = (resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with torch.inference_mode():
        expected = network(
            pixel_values=torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None],
            input_points=torch.from_numpy(points * [SIDE / 128, SIDE / 96]).float()[None, :, None],
            multimask_output=True,
        )
    assert found.logits.shape == (3, 3, SIDE // 4, SIDE // 4)
    assert torch.allclose(found.logits, expected.pred_masks[0], atol=1e-3, rtol=1e-3)
    assert torch.allclose(found.predicted_iou, expected.iou_scores[0], atol=1e-4)


def test_a_larger_picture_is_averaged(network: Sam2Model) -> None:
    """A fine chequerboard shrinks to grey, not to whichever pixels happen to be hit."""
    board = np.indices((8 * SIDE, 8 * SIDE)).sum(axis=0) % 2 * 255
    fine = ImageModel(network).features(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))[-1]
    grey, black = (
        ImageModel(network).features(np.full((SIDE, SIDE, 3), value, np.uint8))[-1] for value in (127, 0)
    )
    assert (fine - grey).abs().mean() < 0.05 * (black - grey).abs().mean()


def test_loading_leaves_the_process_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Random state, default type and the library's progress bars are as they were; nothing is warned of."""
    state, kind, bars = (
        torch.random.get_rng_state(),
        torch.get_default_dtype(),
        library_logging.is_progress_bar_enabled(),
    )
    tensors = load_file(folder / "model.safetensors")
    assert tensors
    with caplog.at_level(logging.WARNING):
        load_model(folder, CPU, torch.bfloat16)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() == kind
    assert library_logging.is_progress_bar_enabled() == bars
    assert not caplog.records


def test_a_missing_weight_draws_nothing_from_the_process(folder: Path, tmp_path: Path) -> None:
    """A file that lacks a tensor is an error that names it, and the random state is untouched."""
    tensors = load_file(folder / "model.safetensors")
    del tensors["mask_decoder.iou_token.weight"]
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    state = torch.random.get_rng_state()
    with pytest.raises(DataError, match=r"1 missing: mask_decoder\.iou_token\.weight"):
        load_model(tmp_path, CPU, torch.float32)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "found no such file at config.json"),
        ("{", r"found Expecting .* at config\.json; get them from"),
        ("[]", "found None"),
        (json.dumps({"model_type": "bert"}), "found 'bert'"),
        (json.dumps({"model_type": "sam2", "vision_config": 3}), "expected SAM 2's configuration"),
        (json.dumps({"model_type": "sam2"}), "found"),
    ],
)
def test_what_is_no_model(tmp_path: Path, config: str | None, words: str) -> None:
    """No configuration, a damaged one, another model's, and a folder without weights are told apart."""
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises((ConfigError, DataError), match=words):
        load_model(tmp_path, CPU, torch.float32)
