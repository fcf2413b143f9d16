"""Carry masks along dense optical flow: needs nothing but colour.

Source: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016 (as
implemented by OpenCV); the forward-backward test after Sundaram, Brox and Keutzer, "Dense Point Trajectories
by GPU-accelerated Large Displacement Optical Flow", ECCV 2010, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.trackers.grid import BackwardGrid, GridTracker
from my3dis.protocols import BackendOptions, TrackerPlugin
from my3dis.types import Frame

__all__ = ["PLUGIN", "FlowSource", "FlowView", "working_size"]

LONGEST_SIDE_PX = 854
"""Flow is found at no more than this size: finer detail costs time and moves borders by under a pixel."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FlowView:
    """What flow needs of a frame.

    Attributes:
        gray: (h, w) uint8 at working size.
        image_size: (H, W) of the masks.
    """

    gray: NDArray[np.uint8]
    image_size: tuple[int, int]


class FlowSource:
    """Makes grids from optical flow in both directions."""

    def prepare(self, frame: Frame) -> FlowView:
        """Return the frame in grey at working size."""
        import cv2

        height, width = working_size(frame.image_size)
        gray = cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)
        if gray.shape != (height, width):
            gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
        return FlowView(gray=gray, image_size=frame.image_size)

    def grid(self, previous: FlowView, current: FlowView) -> BackwardGrid:
        """Return where each pixel was, known where the flow there and back ends where it began."""
        backward = dense_flow(current.gray, previous.gray)
        forward = dense_flow(previous.gray, current.gray)
        x_px, y_px = pixel_coordinates(current.gray.shape)
        source_x, source_y = x_px + backward[..., 0], y_px + backward[..., 1]
        known = agrees_there_and_back(backward, forward, source_x, source_y)
        return at_image_size(source_x, source_y, known, current.image_size)


def working_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return (h, w) of an image shrunk so that its longest side is at most `LONGEST_SIDE_PX`."""
    scale = min(1.0, LONGEST_SIDE_PX / max(image_size))
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def dense_flow(start: NDArray[np.uint8], end: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (h, w, 2) float32: how far each pixel of ``start`` has moved in ``end``, in pixels."""
    import cv2

    if min(start.shape) < MIN_FLOW_SIDE_PX:
        # Dense inverse search needs a pyramid; tiny images are padded by repeating their border.
        pad_y, pad_x = (max(0, MIN_FLOW_SIDE_PX - side) for side in start.shape)
        start, end = (cv2.copyMakeBorder(i, 0, pad_y, 0, pad_x, cv2.BORDER_REPLICATE) for i in (start, end))
        flow: NDArray[np.float32] = dense_flow(start, end)
        return flow[: flow.shape[0] - pad_y, : flow.shape[1] - pad_x]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found: NDArray[np.float32] = finder.calc(start, end, None)
    return found


MIN_FLOW_SIDE_PX = 32


def pixel_coordinates(size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return broadcastable x (1, w) and y (h, 1) float32 coordinates of the pixel centres."""
    height, width = size
    return np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]


def agrees_there_and_back(
    backward: NDArray[np.float32],
    forward: NDArray[np.float32],
    source_x: NDArray[np.float32],
    source_y: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether going back to the previous frame and forth again ends near the start: (h, w) bool."""
    import cv2

    height, width = source_x.shape
    returned = cv2.remap(forward, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.square(backward + returned).sum(axis=2)
    size = np.square(backward).sum(axis=2) + np.square(returned).sum(axis=2)
    inside = (source_x >= -0.5) & (source_x < width - 0.5) & (source_y >= -0.5) & (source_y < height - 0.5)
    agreeing: NDArray[np.bool_] = inside & (error <= 0.01 * size + 0.5)
    return agreeing


def at_image_size(
    source_x: NDArray[np.float32],
    source_y: NDArray[np.float32],
    known: NDArray[np.bool_],
    image_size: tuple[int, int],
) -> BackwardGrid:
    """Return a grid found at working size at the size of the masks; pixel centres are at integers."""
    import cv2

    height, width = image_size
    if known.shape != image_size:
        scale_y, scale_x = height / known.shape[0], width / known.shape[1]
        source_x = (cv2.resize(source_x, (width, height)) + 0.5) * np.float32(scale_x) - np.float32(0.5)
        source_y = (cv2.resize(source_y, (width, height)) + 0.5) * np.float32(scale_y) - np.float32(0.5)
        small = known.view(np.uint8)
        known = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST).view(np.bool_)
    return BackwardGrid(source_x_px=source_x, source_y_px=source_y, known=known)


def create(options: BackendOptions) -> GridTracker[FlowView]:  # noqa: ARG001 - part of the plug-in contract
    """Make a tracker; no option matters to it."""
    return GridTracker(FlowSource(), by_color=True)


PLUGIN = TrackerPlugin(
    summary="optical flow with a forward-backward test, borders kept by colour; no depth, no weights",
    version="3",
    create=create,
    resumable="checkpoint",
)
