"""Scaling, joining and encoding of pictures."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from my3dis.reporting.pictures import (
    data_uri,
    encode_jpeg,
    encode_webp,
    join_panels,
    panel_columns,
    panel_width,
    resize,
)


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("max_width", [64, 390, 960, 1920])
def test_joined_pictures_keep_to_the_maximum(panels: int, max_width: int) -> None:
    """However many panels, the joined picture is at most so wide and shows each of them."""
    width = panel_width(panels, max_width)
    image = np.zeros((width * 3 // 4, width, 3), np.uint8)
    sheet = join_panels([image] * panels, ["a"] * panels, max_width)
    assert sheet.shape[1] <= max_width
    assert (sheet == 0).all(axis=2).sum() >= panels * image.shape[0] * image.shape[1]


def test_four_panels_make_two_rows_at_the_default_width() -> None:
    """Panels under 320 px would be hard to read, so that four of them share two rows."""
    assert panel_columns(4, 960) == 2
    assert panel_columns(3, 976) == 3
    assert panel_columns(2, 960) == 2


def test_colours_survive_encoding() -> None:
    """Red stays red (RGB in, RGB for the viewer), and WebP keeps what is transparent."""
    red = np.zeros((16, 16, 3), np.uint8)
    red[:] = (250, 10, 10)
    back = cv2.imdecode(np.frombuffer(encode_jpeg(red), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert abs(back.astype(int) - red).max() < 12
    clear = np.zeros((16, 16, 4), np.uint8)
    clear[:8] = (250, 10, 10, 255)
    webp = cv2.imdecode(np.frombuffer(encode_webp(clear), np.uint8), cv2.IMREAD_UNCHANGED)
    assert webp[2, 2, 2] > 230
    assert webp[2, 2, 3] == 255
    assert webp[14, 14, 3] == 0


def test_data_uri_holds_the_bytes() -> None:
    """The address carries its content."""
    uri = data_uri(b"abc", "image/jpeg")
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == b"abc"


def test_resize_keeps_proportions() -> None:
    """Half the width is half the height; the same width is the same picture."""
    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    assert resize(image, 6).shape == (4, 6, 3)
    assert resize(image, 12) is image
