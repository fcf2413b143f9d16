"""The scores of a run as rows of the report."""

from __future__ import annotations

from my3dis.reporting.model import Figure, ScoreRow, ScoreTable
from my3dis.reporting.page import format_score
from my3dis.runs.scores import InstanceScore, Scores

__all__ = ["score_figures", "score_table"]

_MEASURES = ("AP", "AP50", "AP25", "AP50, constant")


def score_table(scores: Scores) -> ScoreTable:
    """Return every score of the 3D instances, with protocols and thresholds named."""
    if not scores.instances:
        reasons = " ".join(scores.notes)
        return ScoreTable(notice=f"Nothing was scored. {reasons}".strip())
    ranked = [row for row in scores.instances if row.scores == "ranked"]
    constant = {_key(row): row.ap50 for row in scores.instances if row.scores == "constant"}
    rows = tuple(
        ScoreRow(
            target=row.target,
            level=_level(row),
            values=(row.ap, row.ap50, row.ap25, constant.get(_key(row))),
            ground_truth=row.n_gt,
            predictions=row.n_predictions,
            best=row.selection == "best level",
        )
        for row in ranked
    )
    return ScoreTable(about=_about(scores, ranked), measures=_MEASURES, rows=rows, lines=_lines(scores))


def score_figures(scores: Scores) -> tuple[Figure, ...]:
    """Return the key figures: AP50 of the best level for objects and for parts."""
    figures = []
    for target, label in (("objects", "Object AP50"), ("parts", "Part AP50")):
        row = scores.best("objects" if target == "objects" else "parts")
        if row is not None:
            notes = (f"best: level {row.level}", f"{row.protocol.replace('_', ' ')}, ranked")
            figures.append(Figure(label=label, value=f"{format_score(row.ap50)} %", notes=notes))
    return tuple(figures)


def _key(row: InstanceScore) -> tuple[str, str, int | None]:
    return row.target, row.selection, row.level


def _level(row: InstanceScore) -> str:
    if row.selection == "all levels":
        return "all"
    return f"best: {row.level}" if row.selection == "best level" else str(row.level)


def _about(scores: Scores, rows: list[InstanceScore]) -> str:
    low, high = min(scores.thresholds), max(scores.thresholds)
    protocols = dict.fromkeys((row.target, row.protocol, row.min_region) for row in rows)
    named = "; ".join(
        f"{target}: protocol {protocol}, instances of {least} points and more"
        for target, protocol, least in protocols
    )
    return (
        f"Average precision of the 3D instances in per cent. AP is the mean over {len(scores.thresholds)} "
        f"overlaps (IoU) from {low:.2f} to {high:.2f}; AP50 and AP25 are at 0.50 and 0.25. Instances are "
        f"ranked by their scores; in the last column all have the same. {named[:1].upper()}{named[1:]}."
    )


def _lines(scores: Scores) -> tuple[str, ...]:
    lines = []
    identity, parents = scores.identity, scores.parents
    if identity is not None:
        lines.append(
            f"Identity at level {identity.level} against {identity.target}: "
            f"{_number(identity.tracks_per_object)} tracks per object, IDF1 {_number(identity.idf1)}, "
            f"{identity.switches} switches; of {identity.returning} objects that left for "
            f"{identity.gap_frames} frames or more and came back, {identity.returning_kept} kept their id."
        )
    if parents is not None:
        lines.append(
            f"Parts under the right object: {format_score(parents.share)} % "
            f"({parents.consistent} of {parents.matched} matched parts)."
        )
    return (*lines, *scores.notes)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
