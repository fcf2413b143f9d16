"""What the quality benchmark found: tables, pictures, the published figures beside ours, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quality_figures import (
    ABSENT,
    MASKS,
    NAIVE,
    OURS,
    PEER,
    PEER_COST,
    PEERS,
    PUBLIC,
    TRUE,
    Ap,
    Figures,
)
from quality_switches import SWITCHES

__all__ = ["AIMS", "REQUIRED", "Verdict", "judge", "markdown", "mean", "of_masks"]


@dataclass(frozen=True)
class Bound:
    """One figure, as the mean over the two public rooms, that is to be reached."""

    masks: str
    name: str
    value: float
    figure: Callable[[Figures], float]
    at_least: bool = True


@dataclass(frozen=True)
class Verdict:
    """What was reached of a bound; ``reached`` is None where it could not be judged."""

    bound: Bound
    found: float
    reached: bool | None

    def __str__(self) -> str:
        """Say it in a line."""
        word = "not judged" if self.reached is None else "reached" if self.reached else "MISSED"
        sign = "at least" if self.bound.at_least else "at most"
        label = MASKS[self.bound.masks].label
        return f"{word:10} {label}: {self.bound.name} {show(self.found, 2)}, {sign} {self.bound.value:g}"


def _ap(masks: str, figure: str, value: float) -> Bound:
    judged = MASKS[masks].judged
    name = {"ap": "AP", "ap50": "AP50", "ap25": "AP25"}[figure]
    return Bound(masks, f"{judged} {name}", value, lambda found: getattr(getattr(found, judged), figure))


def _switches(found: Figures) -> float:
    return 100 * found.switches / found.object_frames if found.object_frames else ABSENT


REQUIRED = (
    _ap("oracle", "ap50", 99),
    _ap("degraded", "ap", 70),
    _ap("degraded", "ap50", 97),
    _ap("parts", "ap", 58),
    _ap("parts", "ap50", 86),
    _ap("weight-free", "ap50", 30),
)
AIMS = (
    _ap("oracle", "ap", 90),
    _ap("degraded", "ap", 78),
    _ap("parts", "ap", 65),
    _ap("parts", "ap50", 88),
    _ap("weight-free", "ap50", 35),
    _ap("weight-free", "ap25", 60),
    *(
        bound
        for masks, switches, tracks in (("oracle", 2, 1.1), ("degraded", 6, 1.4))
        for bound in (
            Bound(masks, "switches, % of object-frames", switches, _switches, at_least=False),
            Bound(masks, "tracks per object", tracks, lambda f: f.tracks_per_object, at_least=False),
        )
    ),
    *(
        Bound(masks, "lifting, CPU s", PEER_COST[masks][0][0] / 4, lambda f: f.lift_cpu_s, at_least=False)
        for masks in ("oracle", "degraded", "parts")
    ),
    *(
        Bound(masks, "memory while lifting, MiB", 400, lambda f: f.lift_peak_mb, at_least=False)
        for masks in ("oracle", "degraded", "parts")
    ),
)


def judge(figures: Sequence[Figures], bounds: Sequence[Bound]) -> tuple[Verdict, ...]:
    """Compare means over the two public rooms, all frames used, with bounds."""
    verdicts = []
    for bound in bounds:
        own = [f for f in figures if f.masks == bound.masks and f.scene in PUBLIC and not f.switch]
        whole = len(own) == len(PUBLIC) and all(f.step == 1 for f in own)
        found = mean([bound.figure(f) for f in own])
        holds = found >= bound.value if bound.at_least else ABSENT < found <= bound.value
        verdicts.append(Verdict(bound, found, holds if whole else None))
    return tuple(verdicts)


def mean(values: Sequence[float]) -> float:
    """Return the mean of figures, `ABSENT` where one is."""
    return float(np.mean(values)) if values and ABSENT not in values else ABSENT


def show(value: float, digits: int = 1) -> str:
    """Return a figure as text."""
    return "–" if value == ABSENT or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float) -> str:
    """Return a change as text, without a zero below zero."""
    return f"{round(value, 1) + 0.0:+.1f}"


def triple(ap: Ap) -> str:
    """Return AP / AP50 / AP25 as text."""
    return " / ".join(show(value) for value in (ap.ap, ap.ap50, ap.ap25))


def of_masks(figures: Sequence[Figures], switch: str | None = "") -> Iterator[tuple[str, list[Figures]]]:
    """Return the kinds of masks that were measured with a switch, or any (None), with their figures."""
    for masks in MASKS:
        own = [f for f in figures if f.masks == masks and switch in (None, f.switch)]
        if own:
            yield masks, own


def row(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*cells: str) -> list[str]:
    """Return the first two lines of a table."""
    return [row(*cells), row(*("---" for _ in cells))]


def quality_table(figures: Sequence[Figures]) -> list[str]:
    """Return AP of objects and parts for every kind of masks and scene."""
    lines = head(
        "masks", "scene", "frames", "objects", "objects ranked", "parts", "parts ranked", "levels", "parents"
    )
    for masks, own in of_masks(figures):
        for f in own:
            aps = map(triple, (f.objects, f.objects_ranked, f.parts, f.parts_ranked))
            levels = f"{f.objects.level}, {f.parts.level}"
            lines.append(row(MASKS[masks].label, f.scene, f.frames, *aps, levels, show(f.parents)))
    return lines


def cost_table(figures: Sequence[Figures]) -> list[str]:
    """Return identities, seconds and memory."""
    identity = ("switches, %", "tracks / object", "claimants / object", "IDF1")
    cost = ("run, s", "track, CPU s", "lift, CPU s", "lift, MiB", "run, MiB", "masks", "tracks", "instances")
    lines = head("masks", "scene", *identity, *cost)
    for masks, own in of_masks(figures):
        for f in own:
            who = (show(_switches(f), 2), show(f.tracks_per_object, 2), show(f.claimants, 2), show(f.idf1))
            took = (*map(show, (f.seconds, f.track_cpu_s, f.lift_cpu_s)), show(f.lift_peak_mb, 0))
            took += (show(f.run_peak_mb, 0),)
            lines.append(
                row(MASKS[masks].label, f.scene, *who, *took, f.masks_in, f.tracks, f.instances),
            )
    return lines


def peer_table(figures: Sequence[Figures]) -> list[str]:
    """Return published figures beside ours, on the public rooms and as means, where all frames were used."""
    lines = head("masks → truth", "room", OURS, PEER, NAIVE, TRUE)
    for masks, own in of_masks([f for f in figures if f.step == 1]):
        found = {f.scene: getattr(f, MASKS[masks].judged) for f in own}
        if (PEER, masks) not in PEERS or not set(PUBLIC) & set(found):
            continue
        label = f"{MASKS[masks].label} → {MASKS[masks].judged}"
        for at, scene in enumerate(PUBLIC):
            if scene in found:
                others = (triple(Ap(*PEERS[who, masks][at])) for who in (PEER, NAIVE, TRUE))
                lines.append(row(label, scene, triple(found[scene]), *others))
        if set(PUBLIC) <= set(found):
            aps = [(a.ap, a.ap50, a.ap25) for a in (found[scene] for scene in PUBLIC)]
            means = [np.mean(some, axis=0) for some in (aps, *(PEERS[w, masks] for w in (PEER, NAIVE, TRUE)))]
            lines.append(row(label, "**mean**", *(f"**{triple(Ap(*m.tolist()))}**" for m in means)))
    return lines if len(lines) > 2 else []


def peer_cost_table(figures: Sequence[Figures]) -> list[str]:
    """Return the peer's time and memory beside ours, means of the public rooms."""
    lines = head("masks", "track, CPU s", "lift, CPU s", f"{PEER}, CPU s", "lift, MiB", f"{PEER}, MB")
    for masks, own in of_masks(figures):
        rooms = [f for f in own if f.scene in PUBLIC and f.step == 1]
        if masks in PEER_COST and rooms:
            (least, most), peer_mb = PEER_COST[masks]
            ours = [mean([getattr(f, name) for f in rooms]) for name in ("track_cpu_s", "lift_cpu_s")]
            memory = show(mean([f.lift_peak_mb for f in rooms]), 0)
            lines.append(row(MASKS[masks].label, *map(show, ours), f"{least} to {most}", memory, peer_mb))
    return lines if len(lines) > 2 else []


def worth(figures: Sequence[Figures], masks: str, switch: str) -> tuple[float, float, int]:
    """Return what a switch adds to AP and AP50, as the mean over the scenes tried, and their number."""
    judged = MASKS[masks].judged
    whole = {f.scene: getattr(f, judged) for f in figures if f.masks == masks and not f.switch}
    without = {f.scene: getattr(f, judged) for f in figures if f.masks == masks and f.switch == switch}
    shared = [(whole[scene], without[scene]) for scene in without if scene in whole]
    ap, ap50 = (mean([getattr(a, k) - getattr(b, k) for a, b in shared]) for k in ("ap", "ap50"))
    return ap, ap50, len(shared)


def switch_table(figures: Sequence[Figures]) -> list[str]:
    """Return what AP and AP50 lose when something is left out, and what ranking adds."""
    kinds = [masks for masks, _ in of_masks([f for f in figures if f.switch], None)]
    tried = [name for name in SWITCHES if any(f.switch == name for f in figures)]
    if not tried:
        return []
    lines = head(
        "left out", *(f"{MASKS[masks].label} → {MASKS[masks].judged}" for masks in kinds), "what it is"
    )
    for name in tried:
        cells = []
        for masks in kinds:
            ap, ap50, scenes = worth(figures, masks, name)
            cells.append(f"{signed(-ap)} / {signed(-ap50)}" if scenes else "")
        lines.append(row(name, *cells, SWITCHES[name].what))
    cells = []
    for masks in kinds:
        same, ranked = (
            [getattr(f, MASKS[masks].judged + mode) for f in figures if f.masks == masks and not f.switch]
            for mode in ("", "_ranked")
        )
        pairs = zip(same, ranked, strict=True)
        gains = [(a.ap - b.ap, a.ap50 - b.ap50) for a, b in pairs]
        cells.append(" / ".join(map(signed, np.mean(gains, axis=0).tolist())))
    lines.append(row("constant scores", *cells, "against ranked ones, which no other row uses"))
    return lines


def markdown(figures: Sequence[Figures], notes: Sequence[str]) -> str:
    """Return all tables."""
    sections = (
        ("AP / AP50 / AP25, percent", quality_table(figures)),
        ("Identities, time and memory", cost_table(figures)),
        (
            "Beside others on the public rooms, constant scores (theirs as published in PEER.md)",
            peer_table(figures),
        ),
        (
            "Time and memory beside the peer's, which makes instances of masks in one go",
            peer_cost_table(figures),
        ),
        ("What AP / AP50 change when something is left out, means over scenes", switch_table(figures)),
    )
    verdicts = [
        f"- {kind}: {' '.join(str(verdict).split())}"
        for kind, bounds in (("required", REQUIRED), ("aim", AIMS))
        for verdict in judge(figures, bounds)
    ]
    text = ["# Quality", "", *(f"- {note}" for note in notes), ""]
    for title, lines in sections:
        text += [f"## {title}", "", *lines, ""] if lines else []
    return "\n".join([*text, "## Figures to reach, means of the two public rooms", "", *verdicts, ""])
