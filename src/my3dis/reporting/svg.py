"""The common frame of our pictures: one SVG document with colours for light and for dark pages.

The colours are told apart by people who see few colours, and each has a lighter twin for dark pages. Light
colours stand in the elements themselves, so that programs that know no style sheets draw them right.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["COLORS", "GROUND", "INK", "QUIET", "RULE", "document", "text"]

COLORS = (
    ("#0b62a4", "#6db6f2"),  # blue
    ("#b8500b", "#f3a15d"),  # orange
    ("#1b7f47", "#67cf97"),  # green
    ("#7a48b8", "#bd9cf0"),  # purple
    ("#a3262b", "#f08a86"),  # red
    ("#66707a", "#a7b1ba"),  # grey
)
GROUND, INK, QUIET, RULE = (
    ("#ffffff", "#1d2126"),
    ("#171a1d", "#e8eaec"),
    ("#5b636d", "#a2abb4"),
    ("#e2e4e6", "#343a41"),
)


def document(body: Iterable[str], *, width: int, height: int, label: str) -> str:
    """Return elements as one SVG document, readable on light and dark pages.

    Args:
        body: elements; ``f0`` to ``f5`` fill and ``c0`` to ``c5`` draw in a colour.
        width: in px.
        height: in px.
        label: what the picture shows, for people who do not see it.
    """
    dark = "".join(f".c{i}{{stroke:{b}}} .f{i}{{fill:{b}}} " for i, (_, b) in enumerate(COLORS))
    style = (
        "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif} "
        "text.head{font-size:16px;font-weight:600} "
        f"@media (prefers-color-scheme: dark){{.ground{{fill:{GROUND[1]}}} .ink,.head{{fill:{INK[1]}}} "
        f".quiet{{fill:{QUIET[1]}}} .rule{{stroke:{RULE[1]}}} .limit{{stroke:{INK[1]}}} {dark}}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="13" role="img" '
        f'aria-label="{escape(label)}">\n<style>{style}</style>\n'
        f'<rect class="ground" width="{width}" height="{height}" fill="{GROUND[0]}"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, *, style: str = "quiet", extra: str = "") -> str:
    """Return words at a place; ``style`` is ``quiet``, ``ink`` or ``head`` (a title)."""
    fill = QUIET[0] if style == "quiet" else INK[0]
    if style == "head":
        extra = f'font-size="16" font-weight="600" {extra}'
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" fill="{fill}" {extra}>{escape(words)}</text>'
