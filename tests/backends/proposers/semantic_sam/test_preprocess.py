"""What the network sees is what Pillow would have made of the image, to the last bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from my3dis.backends.proposers.semantic_sam.preprocess import resize_bicubic, resized_size
from my3dis.errors import DataError

PILLOW = [
    ((180, 60), (144, 48), "2ba91c98a73965cb"),
    ((61, 30), (48, 24), "6e9e930b69063830"),
    ((100, 40), (80, 30), "03a7dcea900d6ae5"),
    ((101, 40), (80, 30), "ae9bea56e5bce659"),
    ((40, 30), (39, 37), "5987c696955e203a"),
    ((30, 40), (37, 39), "a267741a3898af35"),
    ((50, 70), (60, 30), "c50ce59cdbda27fd"),
    ((30, 90), (24, 72), "bf9bad8c2b649fb4"),
]
"""Size, new size, and the beginning of the SHA-256 of what Pillow 13.0.0 makes of the test's pattern."""


@pytest.mark.parametrize("name", ["landscape", "portrait", "up"])
def test_recorded_pictures_are_matched_bit_for_bit(reference: Path, name: str) -> None:
    """Recorded images come out as recorded at a small size, and by their digest at 640 pixels."""
    path = reference / "preprocess_case.safetensors"
    case = load_file(path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    source = case[f"{name}.src_hwc"]
    small = resize_bicubic(source, resized_size(source.shape[:2], int(case[f"{name}.short_side"])))
    assert np.array_equal(small, case[f"{name}.out_hwc"])
    large = resize_bicubic(source, resized_size(source.shape[:2]))
    assert list(large.shape) == json.loads(metadata[f"{name}.640.shape"])
    assert hashlib.sha256(large.tobytes()).hexdigest() == metadata[f"{name}.640.sha256"]


@pytest.mark.parametrize(("size", "new", "digest"), PILLOW)
def test_the_axis_that_pillow_begins_with_comes_first(
    size: tuple[int, int], new: tuple[int, int], digest: str
) -> None:
    """Tall images, and those that lose exactly or over twice as many rows as columns, are Pillow 13's."""
    y, x, channel = np.indices((*size, 3))
    image = ((37 * y + 101 * x + 53 * channel + 7 * x * y) % 256).astype(np.uint8)
    assert hashlib.sha256(resize_bicubic(image, new).tobytes()).hexdigest()[:16] == digest


def test_the_shorter_side_has_640_pixels() -> None:
    """The longer side is rounded down and has no limit; a square stays one."""
    assert resized_size((480, 640)) == (640, 853)
    assert resized_size((1920, 1440)) == (853, 640)
    assert resized_size((100, 100)) == (640, 640)
    assert resized_size((10, 1000), 20) == (20, 2000)


def test_weights_are_those_of_a_cubic_convolution() -> None:
    """An edge that is doubled overshoots as computed by hand for the cubic kernel with a = -0.5."""
    edge = np.array([0, 0, 0, 100, 100, 100], np.uint8)
    image = np.repeat(np.repeat(edge[None, :, None], 4, axis=0), 3, axis=2)
    doubled = resize_bicubic(image, (4, 12))
    # The kernel at 0.25, 0.75, 1.25 and 1.75 is 0.8671875, 0.2265625, -0.0703125 and -0.0234375. Sample 4
    # lies 1.25 and 2.25 before the first two bright pixels, sample 5 0.75 and 1.75, sample 6 0.25 and so on.
    assert doubled[0, 3:9, 0].tolist() == [0, 0, 20, 80, 107, 102]
    assert np.array_equal(doubled, np.repeat(doubled[:1], 4, axis=0))
    # Brighter by 100 nothing is cut off at 0.
    assert resize_bicubic(image + 100, (4, 12))[0, 3:9, 0].tolist() == [98, 93, 120, 180, 207, 202]


def test_even_images_stay_even_and_sizes_may_stay() -> None:
    """A single colour stays itself at any size, and an image of the right size is copied unchanged."""
    plain = np.full((7, 5, 3), (3, 128, 255), np.uint8)
    for size in ((1, 1), (7, 5), (23, 2), (640, 457)):
        assert (resize_bicubic(plain, size) == (3, 128, 255)).all()
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    same = resize_bicubic(image, (6, 9))
    assert np.array_equal(same, image)
    assert not np.shares_memory(same, image)


def test_what_is_no_picture_is_refused() -> None:
    """Floats, grey images without an axis of channels, and sides of no pixels are errors."""
    image = np.zeros((4, 4, 3), np.uint8)
    for wrong in (image.astype(np.float32), image[..., 0], image[:0]):
        with pytest.raises(DataError, match=r"expected an \(h, w, C\) uint8 image"):
            resize_bicubic(wrong, (2, 2))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="size above 0"):
        resize_bicubic(image, (0, 2))
