"""Pictures of what the quality benchmark found."""

from __future__ import annotations

from collections.abc import Sequence

from my3dis.reporting.bars import BarChart, BarGroup, render_bars
from quality_figures import ABSENT, MASKS, NAIVE, OURS, PEER, PEERS, PUBLIC, TRUE, Figures
from quality_switches import SWITCHES
from quality_tables import mean, of_masks

__all__ = ["pictures"]


def pictures(figures: Sequence[Figures]) -> dict[str, str]:
    """Return SVG documents by file name: AP and AP50 beside others, and what each switch is worth."""
    found = {}
    series = (OURS, PEER, NAIVE, TRUE)
    for at, (name, title) in enumerate((("ap", "AP"), ("ap50", "AP50"), ("ap25", "AP25"))):
        groups = []
        for masks, own in of_masks(figures):
            for f in own:
                value = getattr(getattr(f, MASKS[masks].judged), name)
                published = f.scene in PUBLIC and f.step == 1 and (PEER, masks) in PEERS
                others = [
                    PEERS[who, masks][PUBLIC.index(f.scene)][at] if published else None for who in series[1:]
                ]
                values = (None if value == ABSENT else value, *others)
                groups.append(BarGroup(name=f"{MASKS[masks].label}, {f.scene}", values=values))
        chart = BarChart(
            title=f"{title} of 3D instances, constant scores",
            groups=tuple(groups),
            series=series,
            show=lambda value: "–" if value is None else f"{value:.0f}",
            to=100.0,
        )
        found[f"quality_{name}.svg"] = render_bars(chart)
    return found | switch_pictures(figures)


def switch_pictures(figures: Sequence[Figures]) -> dict[str, str]:
    """Return a picture per kind of masks: AP with everything and with each thing left out."""
    found = {}
    for masks, own in of_masks(figures):
        judged = MASKS[masks].judged
        groups = []
        for name in ("", *SWITCHES):
            some = [f for f in figures if f.masks == masks and f.switch == name]
            aps = [getattr(f, judged) for f in some]
            if len(aps) == len(own):
                values = tuple(mean([getattr(ap, key) for ap in aps]) for key in ("ap", "ap50"))
                groups.append(BarGroup(name=name or "everything", values=values))
        if len(groups) > 1:
            chart = BarChart(
                title=f"{MASKS[masks].label} → {judged}: with one thing left out, mean of {len(own)} scenes",
                groups=tuple(groups),
                series=("AP", "AP50"),
                show=lambda value: "–" if value is None else f"{value:.1f}",
                to=100.0,
            )
            found[f"switches_{masks}.svg"] = render_bars(chart)
    return found
