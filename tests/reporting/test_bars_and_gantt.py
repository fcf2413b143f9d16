"""Bars and jobs over time as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from my3dis.reporting.bars import BarChart, BarGroup, render_bars
from my3dis.reporting.gantt import Gantt, GanttBar, pack_lanes, render_gantt


def rects(svg: str) -> list[tuple[float, float, str]]:
    """Return (x, width, title) of the bars that have a title."""
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    found = []
    for rect in root.iter(f"{space}rect"):
        title = rect.find(f"{space}title")
        if title is not None:
            found.append((float(rect.get("x", "0")), float(rect.get("width", "0")), title.text or ""))
    return found


def test_lengths_are_in_proportion_and_unknown_is_a_dash() -> None:
    """Half the figure is half the length; an undefined one has no length; text is escaped."""
    groups = (BarGroup(name="<a>", values=(10.0, None)), BarGroup(name="b", values=(5.0, 0.0)))
    svg = render_bars(BarChart(title="x & y", groups=groups, series=("one", "two"), show=lambda v: f"{v}"))
    widths = [width for _, width, _ in rects(svg)]
    assert widths[0] > 100
    assert abs(widths[0] - 2 * widths[2]) < 0.2
    assert (widths[1], widths[3]) == (0.0, 0.0)
    assert "<a>: " not in svg
    assert rects(svg)[0][2] == "<a> one: 10.0"


def test_nothing_to_draw_is_still_a_picture() -> None:
    """No group, and only zeros, give a valid document."""
    ElementTree.fromstring(render_bars(BarChart(title="none", groups=())))
    ElementTree.fromstring(render_bars(BarChart(title="0", groups=(BarGroup(name="a", values=(0.0,)),))))


def bar(start: float, end: float, group: str = "g", **more: object) -> GanttBar:
    return GanttBar(name=f"{start}-{end}", group=group, start=start, end=end, **more)


def test_lanes_hold_what_runs_side_by_side() -> None:
    """Three jobs of which two overlap need two lanes; another group has lanes of its own."""
    lanes = pack_lanes([bar(0, 4), bar(1, 3), bar(4, 6), bar(0, 1, "h")])
    assert [(group, [(b.start, b.end) for b in lane]) for group, lane in lanes] == [
        ("g", [(0, 4), (4, 6)]),
        ("g", [(1, 3)]),
        ("h", [(0, 1)]),
    ]


def test_many_jobs_stay_a_small_picture() -> None:
    """Of 20,000 short jobs few bars are drawn that say how many they are; a failed one stays apart."""
    bars = [bar(n, n + 0.9) for n in range(20_000)]
    bars[7] = bar(7, 7.9, bad=True)
    svg = render_gantt(Gantt(title="t", bars=tuple(bars), kinds=(("k", 0),), end=20_000.0))
    assert len(svg) < 400_000
    titles = [title for _, _, title in rects(svg)]
    assert len(titles) <= 3000
    counted = sum(int(match[1]) if (match := re.match(r"(\d+) jobs", title)) else 1 for title in titles)
    assert counted == 20_000
    assert "7-7.9" in titles
