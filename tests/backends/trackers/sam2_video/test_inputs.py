"""Images and prompts as the published processors make them, by other means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from my3dis.backends.trackers.sam2_video.families import VideoModel
from my3dis.backends.trackers.sam2_video.images import as_logits, as_pixels, resized_mask
from my3dis.backends.trackers.sam2_video.prompts import by_box, prompt_of
from my3dis.errors import ConfigError
from tests.backends.trackers.sam2_video.scenes import SIZE, picture, rectangles


def triangle_filter(image: np.ndarray, n: int) -> np.ndarray:
    """Resize the first axis by a triangle as wide as a target pixel where that is the wider: antialiasing."""
    size = len(image)
    scale = max(size / n, 1.0)
    centre = (np.arange(n) + 0.5) * size / n - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(size)[None] - centre[:, None]) / scale)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.tensordot(weights, image, axes=1)


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """Resize (H, W, ...) to (side, side, ...), one axis after the other."""
    return np.swapaxes(triangle_filter(np.swapaxes(triangle_filter(image, side), 0, 1), side), 0, 1)


def test_pixels_are_resized_rounded_and_normalised(model: VideoModel) -> None:
    """Equal to a filter written with NumPy, rounded to whole values, within one value of rounding."""
    pixels = as_pixels(picture(3).color, model)
    side = model.image_size_px
    assert pixels.shape == (1, 3, side, side)
    expected = np.rint(resized(picture(3).color.astype(np.float64), side)) / 255
    expected = (expected - model.family.mean) / np.array(model.family.std)
    found = pixels[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - expected) * 255 * np.array(model.family.std)
    assert difference.max() < 1.001
    assert (difference > 0.001).mean() < 0.01


def test_masks_are_resized_by_majority(sam2: VideoModel) -> None:
    """A mask stretched by four thirds keeps its place; a pixel belongs if at least half of it does."""
    mask = np.zeros(SIZE, np.bool_)
    mask[24:48, 32:64] = True
    found = resized_mask(mask, sam2)[0, 0].numpy()
    assert np.array_equal(found, resized(mask.astype(np.float64), 128) >= 0.5)
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (32, 64, 32, 64)
    same = np.random.default_rng(0).random((128, 128)) > 0.5
    assert np.array_equal(resized_mask(same, sam2)[0, 0].numpy() > 0, same)


def test_boxes_end_at_the_last_pixel(sam2: VideoModel) -> None:
    """Half-open (32, 24, 64, 48) of 128 x 96 is (32, 32) to (63, 62.67) at 128 x 128, with labels 2 and 3."""
    prompt = prompt_of(rectangles(0, (1, (32, 24, 64, 48))), 0, sam2, "all_box")
    expected = torch.tensor([[[[32, 32], [63, 47 * 128 / 96]]]])
    torch.testing.assert_close(prompt.value, expected)
    session = sam2.new_session(sam2.device)
    prompt.add_to(session, session.obj_id_to_idx(1), 0)
    points = session.point_inputs_per_obj[0][0]
    assert points["point_coords"].shape == (1, 1, 2, 2)
    assert points["point_labels"].tolist() == [[[2, 3]]]


def test_small_is_less_than_a_256th_of_the_image() -> None:
    """47 of 12,288 pixels are small, 48 are not; of 640 x 480 the limit is 1,200 pixels."""
    assert [by_box(area, SIZE, "small_box") for area in (47, 48)] == [True, False]
    assert [by_box(area, (480, 640), "small_box") for area in (1199, 1200)] == [True, False]
    assert by_box(10_000, SIZE, "all_box")
    assert not by_box(1, SIZE, "all_mask")
    with pytest.raises(ConfigError, match="prompt_mode"):
        by_box(1, SIZE, "mask")


def test_a_mask_that_vanishes_becomes_a_box(model: VideoModel) -> None:
    """A line one pixel thin has no pixel at a size that is smaller by more than two."""
    from dataclasses import replace

    from my3dis.masks import codec
    from my3dis.masks.build import from_codes

    size = (600, 700)
    line = np.zeros(size, np.bool_)
    line[300, 100:600] = True
    masks = from_codes([codec.encode(line)], frame=0, image_size=size, mask_id=[0])
    assert prompt_of(masks, 0, model, "all_mask").kind == "box"
    line[250:350] = True
    masks = replace(masks, rle=(codec.encode(line),))
    assert prompt_of(masks, 0, model, "all_mask").kind == "mask"


def test_logits_come_as_one_grid_per_object() -> None:
    """Whatever axes a model puts between, and in whatever precision."""
    masks = torch.arange(24, dtype=torch.bfloat16).reshape(2, 1, 3, 4)
    found = as_logits(masks)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.arange(24, dtype=np.float32).reshape(2, 3, 4))
