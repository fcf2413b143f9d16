"""HOTA: cases worked out by hand, and vectors worked out with trackeval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from my3dis.metrics.hota import hota_scores
from my3dis.metrics.video import FrameOverlap, IdentityAccumulator


def frame(
    tracks: dict[int, int], objects: dict[int, int], shared: dict[tuple[int, int], int]
) -> FrameOverlap:
    """A frame of tracks and objects, id → pixels, and of what pairs share; nothing lies in void."""
    table = np.array([[shared.get((t, g), 0) for g in objects] for t in tracks], np.int64)
    return FrameOverlap(
        track_id=np.array(list(tracks), np.int64),
        track_px=np.array(list(tracks.values()), np.int64),
        gt_id=np.array(list(objects), np.int64),
        gt_px=np.array(list(objects.values()), np.int64),
        shared_px=table.reshape(len(tracks), len(objects)),
        void_px=np.zeros(len(tracks), np.int64),
    )


def random_frames(seed: int, n: int = 12) -> list[FrameOverlap]:
    """Tracks that mostly follow one of a few objects and now and then another."""
    rng = np.random.default_rng(seed)
    n_gt, n_tracks = rng.integers(1, 6), rng.integers(1, 8)
    home = rng.integers(0, n_gt, n_tracks)
    frames = []
    for _ in range(n):
        gts = np.flatnonzero(rng.random(n_gt) < 0.8)
        tracks = np.flatnonzero(rng.random(n_tracks) < 0.7)
        left = np.full(len(gts), 1000)
        shared = np.zeros((len(tracks), len(gts)), np.int64)
        size = np.zeros(len(tracks), np.int64)
        for i, track in enumerate(tracks):
            on = home[track] if rng.random() < 0.85 else rng.integers(0, n_gt)
            for j in np.flatnonzero(gts == on):
                shared[i, j] = int(left[j] * rng.uniform(0.1, 1))
                left[j] -= shared[i, j]
            size[i] = shared[i].sum() + int(rng.integers(0, 300)) + 1
        frames.append(
            FrameOverlap(
                track_id=tracks,
                track_px=size,
                gt_id=gts,
                gt_px=np.full(len(gts), 1000, np.int64),
                shared_px=shared,
                void_px=np.zeros(len(tracks), np.int64),
            )
        )
    return frames


def test_perfect_track_scores_1() -> None:
    """One track that is the object all along."""
    frames = [frame({7: 500}, {1: 500}, {(7, 1): 500})] * 4
    scores = hota_scores(lambda: frames)
    assert (scores.hota, scores.detection, scores.association, scores.localisation) == (1, 1, 1, 1)


def test_changed_id_halves_the_association() -> None:
    """Two ids of two frames each: every match shares 2 of 4 frames with its object."""
    frames = [frame({t: 500}, {1: 500}, {(t, 1): 500}) for t in (7, 7, 8, 8)]
    scores = hota_scores(lambda: frames)
    assert (scores.detection, scores.association) == (1.0, 0.5)
    assert scores.hota == pytest.approx(math.sqrt(0.5))


def test_nothing_tracked_is_0_and_no_object_is_nan() -> None:
    """Without tracks nothing is right; without objects nothing is defined."""
    assert hota_scores(lambda: [frame({}, {1: 500}, {})]).hota == 0.0
    assert math.isnan(hota_scores(lambda: [frame({}, {}, {})]).hota)


@pytest.mark.parametrize(
    ("seed", "hota", "idf1", "switches"),
    [
        (0, (0.1347713313, 0.1179129277, 0.1569764829, 0.7066900034), 0.1518987342, 2),
        (1, (0.1875953635, 0.1817368364, 0.1957154772, 0.7112303923), 0.15625, 3),
        (2, (0.128265868, 0.09777036, 0.1701536508, 0.6901431417), 0.0857142857, 0),
        (3, (0.0967298494, 0.0620959195, 0.1564255307, 0.749015353), 0.1071428571, 0),
    ],
)
def test_equals_trackeval(seed: int, hota: tuple[float, ...], idf1: float, switches: int) -> None:
    """HOTA, DetA, AssA, LocA, IDF1 and identity switches are those of trackeval 1.3 on the same frames."""
    frames = random_frames(seed)
    scores = hota_scores(lambda: frames, min_visible_px=1)
    found = (scores.hota, scores.detection, scores.association, scores.localisation)
    assert found == pytest.approx(hota, abs=1e-9)
    accumulator = IdentityAccumulator(min_visible_px=1)
    for each in frames:
        accumulator.add(each)
    result = accumulator.result()
    assert result.idf1 == pytest.approx(idf1, abs=1e-9)
    assert result.switches == switches
