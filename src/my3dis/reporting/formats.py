"""Figures as people read them; a dash where there is none."""

from __future__ import annotations

__all__ = ["UNKNOWN", "format_count", "format_megabytes", "format_score", "format_seconds"]

UNKNOWN = "\u2013"


def format_count(value: float | None) -> str:
    """Return a whole number with thousands separated, or a dash."""
    return UNKNOWN if value is None else f"{round(value):,}"


def format_seconds(value: float | None) -> str:
    """Return a duration as people say it, or a dash."""
    if value is None:
        return UNKNOWN
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_megabytes(value: float | None) -> str:
    """Return an amount of memory given in megabytes, or a dash."""
    if value is None:
        return UNKNOWN
    return f"{value / 1024:.1f} GB" if value >= 1024 else f"{value:.0f} MB"


def format_score(value: float | None) -> str:
    """Return a fraction as per cent with one decimal, or a dash where it is undefined."""
    return UNKNOWN if value is None else f"{100 * value:.1f}"
