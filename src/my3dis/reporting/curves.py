"""Line charts as SVG; no library is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from my3dis.reporting.svg import COLORS, INK, RULE, document, text

__all__ = ["Chart", "Line", "Panel", "render_svg", "round_ticks"]

_LEFT, _RIGHT, _TOP, _BOTTOM, _BETWEEN = 96, 22, 74, 54, 34
_PER_LETTER = 7.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve.

    Attributes:
        points: (x, y), x ascending.
        color: which of the six colours.
        label: said in the legend; empty = none.
        dashed: not measured, but worked out.
        dots: draw a dot at every point.
    """

    points: tuple[tuple[float, float], ...]
    color: int = 0
    label: str = ""
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Curves over one axis.

    Attributes:
        lines: the curves.
        title: above the panel.
        x_label: with its unit.
        x_from, x_to: ends of the axis.
        marks: (x, text): where something begins.
        weight: share of the chart's width.
    """

    lines: tuple[Line, ...]
    title: str = ""
    x_label: str = ""
    x_from: float = 0.0
    x_to: float = 1.0
    marks: tuple[tuple[float, str], ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Panels side by side over one vertical axis.

    Attributes:
        title: a sentence.
        y_label: with its unit.
        panels: from left to right.
        note: a line below the title.
        limit: (y, text) of a horizontal line, or None.
        log: whether the vertical axis is logarithmic.
        y_to: end of the vertical axis; None = as the curves need.
        key_above: put the labels of the first panel's curves above the curves, where they cover none.
    """

    title: str
    y_label: str
    panels: tuple[Panel, ...]
    note: str = ""
    limit: tuple[float, str] | None = None
    log: bool = False
    y_to: float | None = None
    key_above: bool = False

    @property
    def values(self) -> list[float]:
        """All y of all curves, and the limit."""
        found = [y for panel in self.panels for line in panel.lines for _, y in line.points]
        return found + ([self.limit[0]] if self.limit else [])


def round_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return round numbers between two ends, at most so many, in steps of 1, 2 or 5 times a power of 10."""
    span = high - low
    if not span > 0 or most < 2:
        return (low,)
    raw = span / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(n * step for n in range(first, last + 1))


@dataclass(slots=True)
class _Canvas:
    """Collects elements; gives coordinates for values."""

    chart: Chart
    width: int
    height: int
    top: float
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        values = self.chart.values or [1.0]
        if self.chart.log:
            self.y_from = 10.0 ** math.floor(math.log10(max(1e-9, min(values))))
            self.y_to = self.chart.y_to or 10.0 ** math.ceil(math.log10(max(values)))
        else:
            ticks = round_ticks(0.0, max(values) or 1.0)
            self.y_from, self.y_to = 0.0, self.chart.y_to or ticks[-1] + (ticks[-1] - ticks[-2])

    y_from: float = 0.0
    y_to: float = 1.0

    @property
    def floor(self) -> float:
        return self.top + self.height - _BOTTOM

    @property
    def ceiling(self) -> float:
        return self.top + _TOP

    def y(self, value: float) -> float:
        low, high = self.y_from, self.y_to
        if self.chart.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, self.y_from))
        return self.floor - (value - low) / (high - low) * (self.floor - self.ceiling)

    def add(self, element: str) -> None:
        self.parts.append(element)

    def text(self, x: float, y: float, words: str, *, style: str = "quiet", extra: str = "") -> None:
        self.add(text(x, y, words, style=style, extra=extra))


def render_svg(charts: Sequence[Chart], *, width: int = 960, height: int = 380) -> str:
    """Return charts below each other as one SVG document, readable on light and dark pages."""
    body: list[str] = []
    for number, chart in enumerate(charts):
        canvas = _Canvas(chart, width, height, number * height)
        _draw(canvas)
        body += canvas.parts
    total = height * len(charts)
    return document(body, width=width, height=total, label=charts[0].title if charts else "")


def _draw(canvas: _Canvas) -> None:
    chart = canvas.chart
    canvas.text(16, canvas.top + 26, chart.title, style="head")
    if chart.note:
        canvas.text(16, canvas.top + 45, chart.note)
    middle = (canvas.floor + canvas.ceiling) / 2
    turn = f'text-anchor="middle" transform="rotate(-90 18 {middle:.1f})"'
    canvas.text(18, middle, chart.y_label, extra=turn)
    room = canvas.width - _LEFT - _RIGHT - _BETWEEN * (len(chart.panels) - 1)
    weights = sum(panel.weight for panel in chart.panels)
    left = float(_LEFT)
    for number, panel in enumerate(chart.panels):
        right = left + room * panel.weight / weights
        _draw_grid(canvas, left, right, labelled=number == 0)
        _draw_panel(canvas, panel, left, right)
        left = right + _BETWEEN
    if chart.limit is not None:
        y = canvas.y(chart.limit[0])
        canvas.add(
            f'<path class="limit" d="M{_LEFT} {y:.1f}H{canvas.width - _RIGHT}" stroke="{INK[0]}" '
            'stroke-dasharray="2 4" fill="none"/>'
        )
        canvas.text(_LEFT + 4, y - 5, chart.limit[1])


def _draw_grid(canvas: _Canvas, left: float, right: float, *, labelled: bool) -> None:
    for value in _levels(canvas):
        y = canvas.y(value)
        canvas.add(f'<path class="rule" d="M{left:.1f} {y:.1f}H{right:.1f}" stroke="{RULE[0]}" fill="none"/>')
        if labelled:
            canvas.text(left - 8, y + 4, _short(value), extra='text-anchor="end"')


def _levels(canvas: _Canvas) -> Iterable[float]:
    if not canvas.chart.log:
        return round_ticks(canvas.y_from, canvas.y_to)
    low, high = round(math.log10(canvas.y_from)), round(math.log10(canvas.y_to))
    return [10.0**n for n in range(low, high + 1)]


def _draw_panel(canvas: _Canvas, panel: Panel, left: float, right: float) -> None:
    span = (panel.x_to - panel.x_from) or 1.0

    def x_of(value: float) -> float:
        return left + (value - panel.x_from) / span * (right - left)

    if panel.title:
        canvas.text(left, canvas.ceiling - 8, panel.title, style="ink")
    ticks: tuple[float, ...] = (*(where for where, _ in panel.marks), panel.x_to)
    if not panel.marks:
        ticks = round_ticks(panel.x_from, panel.x_to, most=min(6, int((right - left) / 70)))
    for tick in ticks if len(ticks) > 1 else (panel.x_from, panel.x_to):
        canvas.text(x_of(tick), canvas.floor + 18, _short(tick), extra='text-anchor="middle"')
    canvas.text((left + right) / 2, canvas.floor + 38, panel.x_label, extra='text-anchor="middle"')
    for where, words in panel.marks:
        x = x_of(where)
        canvas.add(
            f'<path class="rule" d="M{x:.1f} {canvas.ceiling:.1f}V{canvas.floor:.1f}" '
            f'stroke="{RULE[0]}" fill="none"/>'
        )
        canvas.text(x + 5, canvas.ceiling + 14, words)
    labels = [line for line in panel.lines if line.label]
    if canvas.chart.key_above:
        x = left
        for line in labels:
            canvas.add(_path(line, f"M{x:.1f} {canvas.ceiling - 16:.1f}h22"))
            canvas.text(x + 28, canvas.ceiling - 12, line.label)
            x += 28 + _PER_LETTER * len(line.label) + 20
        labels = []
    for row, line in enumerate(labels):
        y = canvas.ceiling + 16 + 18 * row
        canvas.add(_path(line, f"M{left + 8:.1f} {y - 4:.1f}h22"))
        canvas.text(left + 36, y, line.label)
    for line in panel.lines:
        at = [(x_of(x), canvas.y(y)) for x, y in line.points]
        canvas.add(_path(line, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)) if at else "")
        if line.dots:
            number = line.color % len(COLORS)
            dot = f'<circle class="f{number}" r="3.5" fill="{COLORS[number][0]}"'
            canvas.parts += [f'{dot} cx="{x:.1f}" cy="{y:.1f}"/>' for x, y in at]


def _path(line: Line, data: str) -> str:
    number = line.color % len(COLORS)
    dash = ' stroke-dasharray="6 5"' if line.dashed else ""
    return (
        f'<path class="c{number}" d="{data}" stroke="{COLORS[number][0]}" stroke-width="1.8" '
        f'stroke-linejoin="round" fill="none"{dash}/>'
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2g}"
