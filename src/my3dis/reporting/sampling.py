"""Which frames are drawn: the first, the last and every n-th, at most so many."""

from __future__ import annotations

from collections.abc import Sequence

from my3dis.errors import DataError

__all__ = ["comparison_frames", "nearest_available"]


def comparison_frames(frames: Sequence[int], every: int, maximum: int) -> tuple[int, ...]:
    """Choose the frames to draw from the selected frames.

    The first and the last are always chosen, and every ``every``-th counted in selected frames. When
    these are more than ``maximum`` they are thinned evenly, keeping the first and the last.

    Args:
        frames: selected frame indices, ascending.
        every: distance between drawn frames, counted in selected frames; at least 1.
        maximum: the most frames to draw; at least 2.

    Raises:
        DataError: if ``every`` is under 1 or ``maximum`` is under 2.
    """
    if every < 1 or maximum < 2:
        raise DataError(
            f"expected every >= 1 and max >= 2 for comparison pictures, found every={every}, max={maximum}; "
            "set stages.tracker.render_viz=false to draw none"
        )
    if not frames:
        return ()
    last = len(frames) - 1
    positions = sorted({*range(0, last + 1, every), last})
    if len(positions) > maximum:
        steps = maximum - 1
        span = len(positions) - 1
        # Integer rounding of i * span / steps: exact, and never the same position twice as span >= steps.
        positions = [positions[(2 * i * span + steps) // (2 * steps)] for i in range(maximum)]
    return tuple(frames[p] for p in positions)


def nearest_available(chosen: Sequence[int], available: Sequence[int]) -> tuple[int, ...]:
    """Replace each chosen frame by the nearest available one (the earlier on a tie), without repeats.

    Masks may exist only for some frames, as candidates proposed on every n-th frame do.
    """
    if not available:
        return ()
    nearest = set()
    for want in chosen:
        distances = [(abs(have - want), have) for have in available]
        nearest.add(min(distances)[1])
    return tuple(sorted(nearest))
