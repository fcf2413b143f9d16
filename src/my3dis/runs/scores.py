"""``scores.json``: every score of a run with all that is needed to compare it.

Schema 1, written from the records below: ``schema``, ``scenes`` (names), ``thresholds`` (the overlaps
that AP is the mean of), ``instances`` (rows of `InstanceScore`), ``identity`` (`IdentityScore` or null),
``parents`` (`ParentScore` or null), ``notes`` (sentences: what was not scored and why), ``identities``
(`IdentityScore` of every level) and ``videos`` (`VideoScore`), where these were asked for. Scores are
fractions in [0, 1]; null = undefined, for example AP without ground truth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from my3dis.errors import DataError
from my3dis.metrics.average_precision import ApResult
from my3dis.metrics.by_class import ClassResult
from my3dis.metrics.hierarchy import ParentConsistency
from my3dis.metrics.protocols import AP_THRESHOLDS, ScoreMode
from my3dis.runs.files import atomic_write_json, read_json
from my3dis.runs.score_text import format_scores
from my3dis.runs.track_scores import IdentityScore, Target, VideoScore, number

__all__ = [
    "SCHEMA",
    "ClassScore",
    "IdentityScore",
    "InstanceScore",
    "ParentScore",
    "Scores",
    "Target",
    "ThresholdScore",
    "VideoScore",
    "format_scores",
    "load_scores",
    "save_scores",
]

SCHEMA: Literal[1] = 1


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
class ClassScore:
    """One class of an `InstanceScore` whose protocol scores classes apart."""

    label: int
    ap: float | None
    ap50: float | None
    ap25: float | None
    n_gt: int
    n_predictions: int


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
        ap, ap50, ap25: AP over the thresholds (nine unless ten were asked for), at 0.50 and at 0.25.
        n_gt, n_predictions, dropped_small: instances that count, predictions scored and left out.
        thresholds: those of `ap` and, last, 0.25.
        closed_form: R (1 + P) / 2 over the thresholds of `ap`: what a constant `ap` must be.
        classes: each class alone, where the protocol scores classes apart; the rest are then means over them.
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
    closed_form: float | None = None
    classes: tuple[ClassScore, ...] = ()

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
            ap=number(result.ap),
            ap50=number(result.ap50),
            ap25=number(result.ap25),
            n_gt=result.n_gt,
            n_predictions=result.n_predictions,
            dropped_small=result.dropped_small,
            thresholds=tuple(
                ThresholdScore(
                    threshold=round(at.threshold, 10),
                    ap=number(at.ap),
                    precision=number(at.precision),
                    recall=number(at.recall),
                    true_positives=at.true_positives,
                    false_positives=at.false_positives,
                    missed=at.missed,
                    ignored=at.ignored,
                    curve=at.curve,
                )
                for at in result.thresholds
            ),
            closed_form=number(result.closed_form),
        )

    def with_classes(self, classes: tuple[ClassResult, ...]) -> InstanceScore:
        """Return the row with the scores of each class, by the row's way of using confidences."""
        return replace(self, classes=tuple(_class(c.label, getattr(c, self.scores)) for c in classes))


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
        return cls(scene=scene, share=number(result.share), **asdict(result))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All scores of a run or of one ``my3dis evaluate``; the fields are described in the module."""

    scenes: tuple[str, ...]
    thresholds: tuple[float, ...] = tuple(round(t, 10) for t in AP_THRESHOLDS)
    instances: tuple[InstanceScore, ...] = ()
    identity: IdentityScore | None = None
    parents: ParentScore | None = None
    notes: tuple[str, ...] = ()
    identities: tuple[IdentityScore, ...] = ()
    videos: tuple[VideoScore, ...] = ()
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


def _class(label: int, result: ApResult) -> ClassScore:
    return ClassScore(
        label=label,
        ap=number(result.ap),
        ap50=number(result.ap50),
        ap25=number(result.ap25),
        n_gt=result.n_gt,
        n_predictions=result.n_predictions,
    )
