"""``scores.json``: every score of a run with all that is needed to compare it.

Schema 1, written from the records below: ``schema``, ``scenes`` (names), ``thresholds`` (the overlaps
that AP is the mean of), ``instances`` (rows of `InstanceScore`), ``identity`` (`IdentityScore` or null),
``parents`` (`ParentScore` or null), ``notes`` (sentences: what was not scored and why). Scores are
fractions in [0, 1]; null = undefined, for example AP without ground truth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from my3dis.errors import DataError
from my3dis.metrics.average_precision import ApResult
from my3dis.metrics.hierarchy import ParentConsistency
from my3dis.metrics.protocols import AP_THRESHOLDS, ScoreMode
from my3dis.metrics.video import IdentityScores
from my3dis.runs.files import atomic_write_json, read_json

__all__ = [
    "SCHEMA",
    "IdentityScore",
    "InstanceScore",
    "ParentScore",
    "Scores",
    "ThresholdScore",
    "format_scores",
    "load_scores",
    "save_scores",
]

SCHEMA: Literal[1] = 1
Target = Literal["objects", "parts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdScore:
    """One overlap threshold of an `InstanceScore`; see `my3dis.metrics.average_precision.ThresholdResult`."""

    threshold: float
    ap: float | None
    precision: float | None
    recall: float | None
    true_positives: int
    false_positives: int
    missed: int
    ignored: int
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScore:
    """Average precision of one selection of 3D instances.

    Attributes:
        target: which ground truth, ``objects`` or ``parts``.
        selection: ``level``, ``best level`` (a copy of that level's row) or ``all levels`` (flattened).
        level: the level, or None for all levels.
        protocol: name of the protocol; figures of different protocols cannot be compared.
        scores: ``ranked`` (confidences as predicted) or ``constant`` (1 for every instance).
        min_region: smaller instances do not count, points.
        scenes: names of the scenes pooled.
        ap, ap50, ap25: AP over the nine thresholds, at 0.50 and at 0.25.
        n_gt, n_predictions, dropped_small: instances that count, predictions scored and left out.
        thresholds: the nine thresholds and, last, 0.25.
    """

    target: Target
    selection: Literal["level", "best level", "all levels"]
    level: int | None
    protocol: str
    scores: ScoreMode
    min_region: int
    scenes: tuple[str, ...]
    ap: float | None
    ap50: float | None
    ap25: float | None
    n_gt: int
    n_predictions: int
    dropped_small: int
    thresholds: tuple[ThresholdScore, ...]

    @classmethod
    def of(
        cls,
        result: ApResult,
        *,
        target: Target,
        selection: Literal["level", "best level", "all levels"],
        level: int | None,
        protocol: str,
        scenes: tuple[str, ...],
    ) -> InstanceScore:
        """Make a row from a result."""
        return cls(
            target=target,
            selection=selection,
            level=level,
            protocol=protocol,
            scores=result.scores,
            min_region=result.min_region,
            scenes=scenes,
            ap=_number(result.ap),
            ap50=_number(result.ap50),
            ap25=_number(result.ap25),
            n_gt=result.n_gt,
            n_predictions=result.n_predictions,
            dropped_small=result.dropped_small,
            thresholds=tuple(
                ThresholdScore(
                    threshold=round(at.threshold, 10),
                    ap=_number(at.ap),
                    precision=_number(at.precision),
                    recall=_number(at.recall),
                    true_positives=at.true_positives,
                    false_positives=at.false_positives,
                    missed=at.missed,
                    ignored=at.ignored,
                    curve=at.curve,
                )
                for at in result.thresholds
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityScore:
    """Identities of the tracks of one level in the image; see `my3dis.metrics.video.IdentityScores`."""

    level: int
    target: Target
    scene: str
    mean_j: float | None
    idf1: float | None
    tracks_per_object: float | None
    claimants_per_object: float | None
    switches: int
    fragmentations: int
    returning: int
    returning_kept: int
    objects: int
    matched_objects: int
    tracks: int
    frames: int
    iou: float
    min_visible_px: int
    gap_frames: int

    @classmethod
    def of(cls, result: IdentityScores, *, level: int, target: Target, scene: str) -> IdentityScore:
        """Make a record from a result."""
        values: dict[str, Any] = {
            k: _number(v) if isinstance(v, float) else v for k, v in asdict(result).items()
        }
        return cls(level=level, target=target, scene=scene, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentScore:
    """Whether 3D parts hang under the right objects; see `my3dis.metrics.hierarchy.ParentConsistency`."""

    scene: str
    share: float | None
    consistent: int
    orphans: int
    matched: int
    n_parts: int
    threshold: float

    @classmethod
    def of(cls, result: ParentConsistency, *, scene: str) -> ParentScore:
        """Make a record from a result."""
        return cls(scene=scene, share=_number(result.share), **asdict(result))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of a run or of one ``my3dis evaluate``; the fields are described in the module."""

    scenes: tuple[str, ...]
    thresholds: tuple[float, ...] = tuple(round(t, 10) for t in AP_THRESHOLDS)
    instances: tuple[InstanceScore, ...] = ()
    identity: IdentityScore | None = None
    parents: ParentScore | None = None
    notes: tuple[str, ...] = ()
    schema: Literal[1] = SCHEMA

    def best(self, target: Target, scores: ScoreMode = "ranked") -> InstanceScore | None:
        """Return the row of the best level, if there is one."""
        for row in self.instances:
            if (row.target, row.selection, row.scores) == (target, "best level", scores):
                return row
        return None


def save_scores(path: Path, scores: Scores) -> None:
    """Write ``scores.json`` in one step.

    Raises:
        ResourceError: if it cannot be written.
    """
    atomic_write_json(path, asdict(scores))


def load_scores(path: Path) -> Scores:
    """Read ``scores.json``.

    Raises:
        DataError: if it is missing, no JSON or of another schema.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Scores).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"{path}: expected scores of schema {SCHEMA}, found at {where or 'the top'}: {first['msg']}; "
            "run the evaluate stage again"
        ) from error


def format_scores(scores: Scores) -> str:
    """Return the scores as a plain-text table for a terminal, with protocol and scenes named."""
    lines: list[str] = []
    for target in ("objects", "parts"):
        rows = [row for row in scores.instances if row.target == target]
        if rows:
            lines += [*_instance_table(target, rows), ""]
    if scores.instances:
        low, high = min(scores.thresholds), max(scores.thresholds)
        lines += [
            f"AP: mean over {len(scores.thresholds)} overlaps, IoU > {low:.2f} to {high:.2f}; "
            "ranked: instances by their confidence; constant: every instance has the same confidence",
            "",
        ]
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
    lines += [f"note: {note}" for note in scores.notes]
    return "\n".join(lines).rstrip()


def _instance_table(target: str, rows: list[InstanceScore]) -> Iterable[str]:
    first = rows[0]
    names = ", ".join(first.scenes)
    yield (
        f"{target} · protocol {first.protocol} · {len(first.scenes)} "
        f"scene{'s' if len(first.scenes) != 1 else ''} ({names}) · min region {first.min_region} points · "
        f"{first.n_gt} instances"
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


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
