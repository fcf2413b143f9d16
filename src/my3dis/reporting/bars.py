"""Horizontal bars as SVG: a few figures per name, such as memory per stage or scores per level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from my3dis.reporting.curves import round_ticks
from my3dis.reporting.svg import COLORS, RULE, document, text

__all__ = ["BarChart", "BarGroup", "render_bars"]

_TOP, _BOTTOM, _BAR, _GAP = 62, 30, 15, 10
_PER_LETTER = 7.2
_SHORTEST, _LONGEST = 70, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class BarGroup:
    """The figures of one name; None = undefined, said as a dash. ``note`` stands in the bars' tooltips."""

    name: str
    values: tuple[float | None, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Bars from a common line.

    Attributes:
        title: a sentence.
        groups: from top to bottom.
        series: what the figures of a group are; said in a legend when there are several.
        colors: of the series, which of the six.
        show: a figure as text.
        to: end of the axis; None = as the bars need.
    """

    title: str
    groups: tuple[BarGroup, ...]
    series: tuple[str, ...] = ("",)
    colors: tuple[int, ...] = (0, 2, 1, 3, 4, 5)
    show: Callable[[float | None], str] = "{:,.0f}".format
    to: float | None = None


def render_bars(chart: BarChart, *, width: int = 960) -> str:
    """Return the bars as one SVG document."""
    per_group = _BAR * len(chart.series) + _GAP
    top = _TOP if len(chart.series) > 1 else _TOP - 18
    height = top + per_group * len(chart.groups) + _BOTTOM
    longest = max((len(group.name) for group in chart.groups), default=0)
    left = round(min(_LONGEST, max(_SHORTEST, 24 + _PER_LETTER * longest)))
    right = width - 84
    end = (
        chart.to or max([v for group in chart.groups for v in group.values if v is not None] or [1.0]) or 1.0
    )
    parts = [text(16, 26, chart.title, style="head"), *_legend(chart, left)]
    for tick in round_ticks(0.0, end):
        x = left + (right - left) * tick / end
        parts.append(
            f'<path class="rule" d="M{x:.1f} {top}V{height - _BOTTOM + 4}" stroke="{RULE[0]}" fill="none"/>'
        )
        parts.append(text(x, height - 10, chart.show(tick), extra='text-anchor="middle"'))
    for row, group in enumerate(chart.groups):
        y = top + _GAP / 2 + row * per_group
        middle = y + (per_group - _GAP) / 2 + 4.5
        name = _cut(group.name, int((left - 20) / _PER_LETTER))
        parts.append(text(left - 8, middle, name, style="ink", extra='text-anchor="end"'))
        parts += _bars(chart, group, y, (left, (right - left) / end))
    return document(parts, width=width, height=height, label=chart.title)


def _bars(chart: BarChart, group: BarGroup, y: float, axis: tuple[int, float]) -> list[str]:
    left, scale = axis
    parts = []
    for n, value in enumerate(group.values):
        color = chart.colors[n % len(chart.colors)]
        words = f"{group.name}{' ' + chart.series[n] if chart.series[n] else ''}: {chart.show(value)}"
        length = scale * max(0.0, value or 0.0)
        parts.append(
            f'<rect class="f{color}" x="{left}" y="{y + _BAR * n + 1:.1f}" width="{length:.1f}" '
            f'height="{_BAR - 2}" rx="2" fill="{COLORS[color][0]}"><title>'
            f"{escape(words + (' · ' + group.note if group.note else ''))}</title></rect>"
        )
        parts.append(text(left + length + 6, y + _BAR * n + 12, chart.show(value)))
    return parts


def _legend(chart: BarChart, left: int) -> Sequence[str]:
    if len(chart.series) < 2:
        return ()
    parts, x = [], float(left)
    for n, name in enumerate(chart.series):
        color = chart.colors[n % len(chart.colors)]
        parts.append(
            f'<rect class="f{color}" x="{x:.1f}" y="39" width="12" height="12" rx="2" '
            f'fill="{COLORS[color][0]}"/>'
        )
        parts.append(text(x + 17, 50, name))
        x += 17 + _PER_LETTER * len(name) + 18
    return parts


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else words[: max(1, letters - 1)] + "…"
