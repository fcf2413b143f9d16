"""A curve drawn with plain characters, for any terminal and any log."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["render_text"]


def render_text(
    points: Sequence[tuple[float, float]], *, width: int = 72, height: int = 10, least_span: float = 10.0
) -> str:
    """Return one curve drawn with plain characters, its vertical axis cut to what the curve covers.

    Each column shows the lowest to the highest value of its part, so that no peak is lost.

    Args:
        points: (x, y), at least one.
        width: of the drawing in characters, without the axis.
        height: the same.
        least_span: of the vertical axis at least, so that noise does not look like growth.
    """
    x_from, x_to = points[0][0], max(points[-1][0], points[0][0] + 1e-9)
    columns: list[list[float]] = [[] for _ in range(width)]
    for x, y in points:
        columns[min(width - 1, int((x - x_from) / (x_to - x_from) * width))].append(y)
    low, high = min(y for _, y in points), max(y for _, y in points)
    missing = max(0.0, least_span - (high - low))
    low, high = max(0.0, low - missing / 2), high + missing / 2
    grid = [[" "] * width for _ in range(height)]

    def row_of(value: float) -> int:
        return height - 1 - min(height - 1, int((value - low) / (high - low) * height))

    before: int | None = None
    for column, values in enumerate(columns):
        if not values:
            continue
        top, bottom = row_of(max(values)), row_of(min(values))
        first, last = top, bottom
        if before is not None:  # a steep rise or fall leaves no hole
            first = before + 1 if before < top else first
            last = before - 1 if before > bottom else last
        for row in range(first, last + 1):
            grid[row][column] = "*" if row == top else "|"
        before = row_of(values[-1])
    labels = [high - (high - low) * row / max(1, height - 1) for row in range(height)]
    lines = [f"{value:9,.1f} |{''.join(row).rstrip()}" for value, row in zip(labels, grid, strict=True)]
    return "\n".join([*lines, " " * 10 + "+" + "-" * width])
