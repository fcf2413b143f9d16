"""Scores as plain text for a terminal: protocol, thresholds and number of scenes stand with every figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from my3dis.metrics.protocols import AP_THRESHOLDS, PROTOCOLS

if TYPE_CHECKING:
    from my3dis.runs.scores import IdentityScore, InstanceScore, Scores, VideoScore

__all__ = ["format_scores"]

_NAMES_SHOWN = 4


def format_scores(scores: Scores) -> str:
    """Return the scores as a plain-text table for a terminal, with protocol and scenes named."""
    lines: list[str] = []
    for target in ("objects", "parts"):
        rows = [row for row in scores.instances if row.target == target]
        if rows:
            lines += [*_instance_table(target, rows), ""]
    if scores.instances:
        lines += [*_explanation(scores), ""]
    if scores.parents is not None:
        parents = scores.parents
        lines += [
            f"parts under the right object ({parents.scene}): {_percent(parents.share).strip()} % "
            f"({parents.consistent} of {parents.matched} matched parts; {parents.n_parts} parts, "
            f"IoU > {parents.threshold:g})",
            "",
        ]
    if scores.identity is not None:
        lines += [*_identity_lines(scores.identity), ""]
    for identity in scores.identities:
        lines += [*_identity_lines(identity), ""]
    for level in dict.fromkeys(row.level for row in scores.videos):
        lines += [*_video_table([row for row in scores.videos if row.level == level]), ""]
    lines += [f"note: {note}" for note in scores.notes]
    return "\n".join(lines).rstrip()


def _explanation(scores: Scores) -> Iterable[str]:
    low, high = min(scores.thresholds), max(scores.thresholds)
    nine = len(scores.thresholds) == len(AP_THRESHOLDS)
    yield (
        f"AP: mean over {len(scores.thresholds)} overlaps, IoU > {low:.2f} to {high:.2f}"
        + ("" if nine else " (not the nine of ScanNet's code: compares with no published figure)")
        + "; ranked: instances by their confidence; constant: every instance has the same confidence"
    )
    pairs = [(r.ap, r.closed_form) for r in scores.instances if r.scores == "constant"]
    checked = [abs(ap - form) for ap, form in pairs if ap is not None and form is not None]
    if checked:
        agree = max(checked) < 1e-9
        yield (
            f"check: constant AP by its closed form R(1+P)/2 {'agrees' if agree else 'DIFFERS'} "
            f"({len(checked)} rows, largest difference {max(checked):.1e})"
        )


def _scene_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = f", … {names[-1]}" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} scene{'s' if len(names) != 1 else ''} ({shown}{more})"


def _own_way(protocol: str) -> str:
    own = next((p.scores for p in PROTOCOLS if p.name == protocol), None)
    return " · its own scripts report constant figures" if own == "constant" else ""


def _instance_table(target: str, rows: list[InstanceScore]) -> Iterable[str]:
    first = rows[0]
    classes = f"{len(first.classes)} classes · " if first.classes else ""
    yield (
        f"{target} · protocol {first.protocol} · {_scene_names(first.scenes)} · "
        f"{len(first.thresholds) - 1} thresholds · min region {first.min_region} points · {classes}"
        f"{first.n_gt} instances{_own_way(first.protocol)}"
    )
    yield f"{'':<22}   {'-- ranked (%) --':^23}   {'-- constant (%) --':^23}"
    columns = f"{'AP':>7} {'AP50':>7} {'AP25':>7}"
    yield f"{'':<16}{'n':>6}   {columns}   {columns}"
    for ranked in (row for row in rows if row.scores == "ranked"):
        constant = next(
            row
            for row in rows
            if row.scores == "constant" and (row.selection, row.level) == (ranked.selection, ranked.level)
        )
        name = {
            "level": f"level {ranked.level}",
            "best level": f"best: level {ranked.level}",
            "all levels": "all levels",
        }[ranked.selection]
        yield f"{name:<16}{ranked.n_predictions:>6}   {_ap_columns(ranked)}   {_ap_columns(constant)}"


def _ap_columns(row: InstanceScore) -> str:
    return " ".join(f"{_percent(value):>7}" for value in (row.ap, row.ap50, row.ap25))


def _identity_lines(identity: IdentityScore) -> Iterable[str]:
    def value(number: float | None) -> str:
        return "–" if number is None else f"{number:.2f}"

    yield (
        f"identity · level {identity.level} against {identity.target} · {identity.scene} · "
        f"{identity.frames} frames · match at IoU {identity.iou:g}, visible from {identity.min_visible_px} px"
    )
    yield (
        f"IDF1 {value(identity.idf1)} · tracks per object {value(identity.tracks_per_object)} · "
        f"mean J {value(identity.mean_j)} · switches {identity.switches} · "
        f"fragmentations {identity.fragmentations} · objects matched {identity.matched_objects} of "
        f"{identity.objects} · kept their id after {identity.gap_frames} frames out of sight: "
        f"{identity.returning_kept} of {identity.returning}"
    )
    if identity.hota is not None:
        yield (
            f"HOTA {value(identity.hota)} · DetA {value(identity.detection)} · "
            f"AssA {value(identity.association)} · LocA {value(identity.localisation)} "
            "(means over IoU 0.05 to 0.95)"
        )


def _video_table(rows: list[VideoScore]) -> Iterable[str]:
    first = rows[0]
    yield (
        f"video · protocol davis · {first.scene} · level {first.level} · {first.frames} frames, without the "
        "first and the last · tracks given to objects by mean J"
    )
    columns = " ".join(f"{name:>7}" for name in ("J&F", "J", "J rec", "J dec", "F", "F rec", "F dec"))
    yield f"{'object':>6} {'track':>6}   {columns}"
    for row in rows:
        measures = (row.jf_mean, row.j_mean, row.j_recall, row.j_decay, row.f_mean, row.f_recall, row.f_decay)
        track = "–" if row.track is None else str(row.track)
        yield f"{row.object:>6} {track:>6}   " + " ".join(f"{_percent(m):>7}" for m in measures)
    if len(rows) > 1:
        means = [row.jf_mean for row in rows if row.jf_mean is not None]
        yield f"mean J&F over {len(rows)} objects: {_percent(sum(means) / len(means) if means else None)}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
