"""When which job ran, as SVG: one lane per job at a time, lanes grouped by what the jobs were lent.

However many jobs there are, the picture stays small: bars that would touch within a pixel become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from my3dis.reporting.curves import round_ticks
from my3dis.reporting.svg import COLORS, RULE, document, text

__all__ = ["Gantt", "GanttBar", "pack_lanes", "render_gantt"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 22, 66, 44
_MOST_BARS = 3000
_RED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GanttBar:
    """One attempt of a job; ``kind`` indexes the legend, ``bad`` marks one that came to nothing."""

    name: str
    group: str
    start: float
    end: float
    kind: int = 0
    bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gantt:
    """Bars over one axis.

    Attributes:
        title: a sentence.
        bars: in any order.
        kinds: (name, which of the six colours).
        end: of the axis.
        unit: what the axis counts.
        per_unit: seconds in one of it.
    """

    title: str
    bars: tuple[GanttBar, ...]
    kinds: tuple[tuple[str, int], ...]
    end: float
    unit: str = "s"
    per_unit: float = 1.0


def pack_lanes(bars: Sequence[GanttBar]) -> list[tuple[str, list[GanttBar]]]:
    """Return (group, bars in order) per lane; bars of one lane do not overlap, and no lane is needless."""
    lanes: list[tuple[str, list[GanttBar]]] = []
    for group in sorted({bar.group for bar in bars}):
        own: list[list[GanttBar]] = []
        for bar in sorted((b for b in bars if b.group == group), key=lambda b: (b.start, b.end, b.name)):
            lane = next((lane for lane in own if lane[-1].end <= bar.start + 1e-6), None)
            if lane is None:
                own.append(lane := [])
            lane.append(bar)
        lanes += [(group, lane) for lane in own]
    return lanes


def render_gantt(gantt: Gantt, *, width: int = 960, most_bars: int = _MOST_BARS) -> str:
    """Return the bars as one SVG document."""
    lanes = pack_lanes(gantt.bars)
    thick = 16 if len(lanes) <= 12 else 9 if len(lanes) <= 40 else 4
    heads = _heads([group for group, _ in lanes], thick)
    height = max(heads, default=_TOP) + max(thick, 14) + _BOTTOM
    scale = (width - _LEFT - _RIGHT) / max(gantt.end, 1e-9)
    merged, within = lanes, 0.5
    while sum(len(lane) for _, lane in merged) > most_bars and within < width:
        merged = [(group, _merged(lane, within / scale)) for group, lane in lanes]
        within *= 2
    parts = [text(16, 26, gantt.title, style="head"), *_legend(gantt)]
    for tick in round_ticks(0.0, gantt.end / gantt.per_unit, 9):
        x = _LEFT + tick * gantt.per_unit * scale
        parts.append(
            f'<path class="rule" d="M{x:.1f} {_TOP}V{height - _BOTTOM + 4}" stroke="{RULE[0]}" fill="none"/>'
        )
        parts.append(text(x, height - _BOTTOM + 20, f"{tick:g}", extra='text-anchor="middle"'))
    middle = (_LEFT + width - _RIGHT) / 2
    unit = f"{gantt.unit} since the sweep began"
    parts.append(text(middle, height - 6, unit, extra='text-anchor="middle"'))
    named: set[str] = set()
    for y, (group, lane) in zip(heads, merged, strict=True):
        if group not in named:
            named.add(group)
            parts.append(text(_LEFT - 8, y + max(thick, 12) - 3, group, extra='text-anchor="end"'))
        parts += [_bar(gantt, bar, y, thick, scale) for bar in lane]
    return document(parts, width=width, height=height, label=gantt.title)


def _heads(groups: Sequence[str], thick: int) -> list[int]:
    """Return where each lane begins; a group's name needs more room than a thin lane has."""
    heads: list[int] = []
    label = y = _TOP
    for number, group in enumerate(groups):
        if number and group != groups[number - 1]:
            y = max(y + 2, label + 14)
            label = y
        heads.append(y)
        y += thick
    return heads


def _bar(gantt: Gantt, bar: GanttBar, y: float, thick: int, scale: float) -> str:
    color = _RED if bar.bad else gantt.kinds[bar.kind][1]
    gap = 1 if thick > 4 else 0.5
    return (
        f'<rect class="f{color}" x="{_LEFT + bar.start * scale:.1f}" y="{y + gap:g}" '
        f'width="{max(0.8, (bar.end - bar.start) * scale - 0.4):.1f}" height="{thick - 2 * gap:g}" '
        f'fill="{COLORS[color][0]}"><title>{escape(bar.name)}</title></rect>'
    )


def _merged(lane: list[GanttBar], within: float) -> list[GanttBar]:
    """Join bars of one kind that are closer than so much, the joined one as long as that or more."""
    joined: list[tuple[GanttBar, int]] = []
    for bar in lane:
        last, count = joined[-1] if joined else (bar, 0)
        alike = count and (last.bad, last.kind) == (bar.bad, bar.kind)
        if alike and bar.start - last.end <= within:
            joined[-1] = (
                GanttBar(
                    name=last.name,
                    group=last.group,
                    start=last.start,
                    end=bar.end,
                    kind=last.kind,
                    bad=last.bad,
                ),
                count + 1,
            )
        else:
            joined.append((bar, 1))
    return [
        bar
        if count == 1
        else GanttBar(
            name=f"{count} jobs from {bar.name}",
            group=bar.group,
            start=bar.start,
            end=bar.end,
            kind=bar.kind,
            bad=bar.bad,
        )
        for bar, count in joined
    ]


def _legend(gantt: Gantt) -> Sequence[str]:
    parts, x = [], 16.0
    entries = [*gantt.kinds]
    if any(bar.bad for bar in gantt.bars):
        entries.append(("failed, stopped or repeated", _RED))
    for name, color in entries:
        parts.append(
            f'<rect class="f{color}" x="{x:.1f}" y="40" width="12" height="12" rx="2" '
            f'fill="{COLORS[color][0]}"/>'
        )
        parts.append(text(x + 17, 51, name))
        x += 17 + 7.2 * len(name) + 18
    return parts
