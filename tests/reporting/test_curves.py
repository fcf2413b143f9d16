"""Charts: right places, whole documents, light and dark."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from my3dis.reporting.curves import Chart, Line, Panel, render_svg, round_ticks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 300, (0, 100, 200, 300)),
        (0, 77_000, (0, 20_000, 40_000, 60_000)),
        (0, 10, (0, 2, 4, 6, 8, 10)),
        (5, 5, (5,)),
        (0, 0.5, (0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    """Ticks are multiples of 1, 2 or 5 times a power of ten between both ends."""
    assert round_ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12))
def test_ticks_are_never_too_many_nor_outside(low: float, span: float, most: int) -> None:
    """However the ends lie, ticks stay between them and are at most as many as asked for."""
    ticks = round_ticks(low, low + span, most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_points_stand_where_they_belong() -> None:
    """On an axis from 0 to 10 and values up to a limit of 100, x is linear and larger is higher."""
    line = Line(points=((0.0, 0.0), (5.0, 50.0), (10.0, 100.0)), dots=True, label="kept")
    chart = Chart(title="a", y_label="MB", panels=(Panel(lines=(line,), x_to=10, x_label="frames"),))
    root = ElementTree.fromstring(render_svg([chart]))
    dots = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter(f"{SVG}circle")]
    (x0, y0), (x1, y1), (x2, y2) = dots
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)
    assert y0 > y1 > y2


def test_logarithmic_axis_has_powers_of_ten() -> None:
    """Values from 250 to 200,000 get ticks from 100 to 1,000,000, equally far apart."""
    line = Line(points=((0.0, 250.0), (1.0, 200_000.0)), dashed=True)
    chart = Chart(title="a", y_label="MB", panels=(Panel(lines=(line,)),), log=True)
    root = ElementTree.fromstring(render_svg([chart]))
    at = {t.text: float(t.get("y", "")) for t in root.iter(f"{SVG}text")}
    steps = [at[a] - at[b] for a, b in (("100", "1,000"), ("1,000", "10,000"), ("100,000", "1,000,000"))]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert any(p.get("stroke-dasharray") == "6 5" for p in root.iter(f"{SVG}path"))


def test_charts_stand_below_each_other_and_text_is_escaped() -> None:
    """Two charts make one document of twice the height; markup in names stays text."""
    charts = [Chart(title="a < b & c", y_label="MB", panels=(Panel(lines=()),))] * 2
    root = ElementTree.fromstring(render_svg(charts, height=300))
    assert root.get("height") == "600"
    assert [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "head"] == ["a < b & c"] * 2


def test_dark_pages_are_thought_of() -> None:
    """Colours change where the page is dark, and stand in the elements for programs without style sheets."""
    chart = Chart(title="a", y_label="MB", panels=(Panel(lines=(Line(points=((0, 1), (1, 2))),)),))
    text = render_svg([chart])
    assert "prefers-color-scheme: dark" in text
    assert 'fill="#ffffff"' in text
