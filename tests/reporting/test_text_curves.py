"""Curves on a terminal: nothing is lost, nothing is too wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from my3dis.reporting.text_curves import render_text


def test_terminal_curve_loses_no_peak() -> None:
    """One high value among a thousand reaches the top row in its column; the axis names both ends."""
    points = [(float(i), 500.0 if i == 700 else 100.0) for i in range(1000)]
    rows = render_text(points, width=50, height=8).splitlines()
    top = rows[0].partition("|")[2]
    assert rows[0].startswith("    500.0 |")
    assert rows[7].startswith("    100.0 |")
    assert top.index("*") == 35
    assert "*" not in top[36:]
    assert rows[8].strip().startswith("+---")


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=60))
def test_terminal_curve_has_its_size(values: list[float]) -> None:
    """Any curve gives the rows and at most the columns that were asked for, in ASCII."""
    text = render_text([(float(i), v) for i, v in enumerate(values)], width=30, height=6)
    rows = text.splitlines()
    assert text.isascii()
    assert len(rows) == 7
    assert max(map(len, rows)) <= 30 + 11
