"""Time of the evaluator on a large scene, and beside it that of the slow reference on a smaller one.

    python benchmarks/evaluator.py [--vertices N] [--predictions K] [--check]

The large scene has 300,000 vertices, 100 objects and 500 predictions of about 3,000 vertices by default;
ranked and constant AP at ten overlaps are timed together, the best of three. The reference (Python sets and
dictionaries, `tests/metrics/reference_ap.py`) does the same on 3,000 vertices and 50 predictions, and both
results are compared there. With --check it exits 1 when the large scene takes 2 s or more.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from my3dis.metrics.average_precision import ApResult, evaluate_score_modes
from my3dis.types import InstanceSet
from tests.metrics.build import instance_set
from tests.metrics.reference_ap import Scene, reference_ap

BOUND_S = 2.0
SMALL = (3_000, 50)


def scene(n_vertices: int, n_predictions: int) -> tuple[InstanceSet, NDArray[np.int64]]:
    """Return noisy predictions of objects that take 90 % of the vertices, and the targets."""
    rng = np.random.default_rng(0)
    n_objects = max(2, min(100, n_predictions // 5))
    ids = np.sort(rng.integers(-1, n_objects, n_vertices))
    size = n_vertices // n_objects
    starts = rng.integers(0, n_vertices - size, n_predictions)
    masks = [np.arange(s, s + size)[rng.random(size) < 0.95].tolist() for s in starts]
    scores = rng.random(n_predictions).astype(np.float32).tolist()
    return instance_set(masks, n_vertices, scores=scores), ids.astype(np.int64)


def best_of(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the least processor time and the least wall time, seconds."""
    times = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(t[0] for t in times), min(t[1] for t in times)


def slow(instances: InstanceSet, ids: NDArray[np.int64], like: ApResult) -> list[float]:
    """Return AP at each overlap by the reference, ranked and then constant."""
    values = []
    for constant in (False, True):
        scores = np.ones(len(instances)) if constant else instances.score
        masks = [frozenset(instances.points_of(k).tolist()) for k in range(len(instances))]
        made = Scene(
            predictions=[(m, float(c)) for m, c in zip(masks, scores, strict=True)],
            ground_truth={
                int(i): frozenset(np.flatnonzero(ids == i).tolist()) for i in np.unique(ids) if i >= 0
            },
            void=frozenset(np.flatnonzero(ids < 0).tolist()),
        )
        values += [reference_ap([made], at.threshold, like.min_region) for at in like.thresholds]
    return values


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vertices", type=int, default=300_000)
    parser.add_argument("--predictions", type=int, default=500)
    parser.add_argument("--check", action="store_true", help="exit 1 when it takes 2 s or more")
    arguments = parser.parse_args()
    large = scene(arguments.vertices, arguments.predictions)
    cpu, wall = best_of(lambda: evaluate_score_modes([large]), 3)
    print(
        f"{arguments.vertices} vertices x {arguments.predictions} predictions, 10 overlaps, ranked and "
        f"constant: {cpu:.3f} s processor, {wall:.3f} s wall (bound {BOUND_S:g} s)"
    )
    small = scene(*SMALL)
    ours, _ = best_of(lambda: evaluate_score_modes([small]), 5)
    results = evaluate_score_modes([small])
    theirs, _ = best_of(lambda: slow(*small, results[0]), 1)
    fast = [at.ap for result in results for at in result.thresholds]
    equal = all(
        math.isclose(a, b, abs_tol=1e-12) for a, b in zip(fast, slow(*small, results[0]), strict=True)
    )
    print(
        f"{SMALL[0]} vertices x {SMALL[1]} predictions: {1000 * ours:.1f} ms, slow reference "
        f"{1000 * theirs:.0f} ms, ratio {theirs / ours:.0f}; results {'equal' if equal else 'DIFFER'}"
    )
    return int(not equal or (arguments.check and wall >= BOUND_S))


if __name__ == "__main__":
    raise SystemExit(main())
