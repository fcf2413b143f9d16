"""A run shows itself as bars on a terminal, as lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from my3dis.monitoring import display
from my3dis.monitoring.display import ConsoleDisplay, SilentDisplay


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line comes from time to time, and none for the last frame."""
    monkeypatch.setattr(display, "_LINE_EVERY_S", 0.0)
    out = io.StringIO()
    shown = ConsoleDisplay(Console(file=out, width=40))
    shown.say("Scan", "a path [with] brackets that is much longer than the console is wide")
    with shown.stage("track") as progress:
        progress(1, 3)
        progress(3, 3)
    assert out.getvalue().splitlines() == [
        "Scan       a path [with] brackets that is much longer than the console is wide",
        "track: 1 of 3",
    ]


def test_bar_on_a_terminal() -> None:
    """On a terminal a bar with the counts is drawn and taken away at the end."""
    out = io.StringIO()
    with ConsoleDisplay(Console(file=out, force_terminal=True, width=80)).stage("track") as progress:
        progress(2, 3)
    assert "track" in out.getvalue()


def test_silence() -> None:
    """The silent display takes everything and shows nothing."""
    silent = SilentDisplay()
    silent.say("a", "b")
    with silent.stage("track") as progress:
        progress(1, 2)
