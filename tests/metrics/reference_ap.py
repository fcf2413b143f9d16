"""A slow, plain reference of ScanNet AP with sets and dictionaries, written apart from the real one.

It follows the prose of the protocol, one prediction and one vertex set at a time, and shares no code and
no data structure with `my3dis.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Scene:
    """Predictions as (vertex set, confidence) in input order; ground truth as id → vertex set."""

    predictions: list[tuple[frozenset[int], float]]
    ground_truth: dict[int, frozenset[int]]
    void: frozenset[int]
    events: list[tuple[float, bool]] = field(default_factory=list)


def overlap(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


def scene_events(
    scene: Scene, threshold: float, min_region: int
) -> tuple[list[tuple[float, bool]], int, int]:
    """Return (confidence, is true) of each counted prediction, missed instances, counting instances."""
    predictions = [(v, c) for v, c in scene.predictions if len(v) >= min_region and v]
    counting = {i: v for i, v in sorted(scene.ground_truth.items()) if len(v) >= min_region}
    small = {i: v for i, v in scene.ground_truth.items() if len(v) < min_region}
    used = [False] * len(predictions)
    events: list[tuple[float, bool]] = []
    missed = 0
    for vertices in counting.values():
        best: float | None = None
        for n, (predicted, confidence) in enumerate(predictions):
            if used[n] or not predicted & vertices or overlap(predicted, vertices) <= threshold:
                continue
            if best is None:
                best = confidence
                used[n] = True
            else:
                events.append((min(best, confidence), False))
                best = max(best, confidence)
        if best is None:
            missed += 1
        else:
            events.append((best, True))
    for predicted, confidence in predictions:
        if any(overlap(predicted, v) > threshold for v in scene.ground_truth.values()):
            continue
        ignorable = len(predicted & scene.void) + sum(len(predicted & v) for v in small.values())
        if ignorable / len(predicted) <= threshold:
            events.append((confidence, False))
    return events, missed, len(counting)


def curve_area(events: list[tuple[float, bool]], missed: int) -> float:
    """Integrate precision over recall with exact fractions, point by point."""
    total_true = sum(1 for _, true in events if true)
    if total_true + missed == 0:
        return float("nan")
    if not events:
        return 0.0
    points: list[tuple[Fraction, Fraction]] = []
    for level in sorted({confidence for confidence, _ in events}):
        kept = [true for confidence, true in events if confidence >= level]
        points.append((Fraction(sum(kept), len(kept)), Fraction(sum(kept), total_true + missed)))
    points.append((Fraction(1), Fraction(0)))
    area = Fraction(0)
    for n, (precision, _) in enumerate(points):
        before = points[n - 1][1] if n else points[0][1]
        after = points[n + 1][1] if n + 1 < len(points) else Fraction(0)
        area += precision * (before - after) / 2
    return float(area)


def reference_ap(scenes: list[Scene], threshold: float, min_region: int) -> float:
    """Pool the events of all scenes at one threshold and integrate."""
    events: list[tuple[float, bool]] = []
    missed = 0
    for scene in scenes:
        found, lost, _ = scene_events(scene, threshold, min_region)
        events += found
        missed += lost
    return curve_area(events, missed)
