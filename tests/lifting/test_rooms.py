"""Lifting on a rendered room with exact masks and identities: how much is lost in 3D."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from my3dis.datasets.detect import open_scan
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.lifting.lift import LiftOptions, lift_instances, surface_of
from my3dis.lifting.vote import VoteAccumulator
from my3dis.masks.labels import from_label_map
from my3dis.metrics.average_precision import evaluate_instances
from my3dis.metrics.protocols import CLASS_AGNOSTIC, object_targets
from tests.lifting.panels import track_set


@pytest.mark.shared
@pytest.mark.parametrize("scene", ["synth0000_00", "synth0001_00"])
def test_perfect_masks_find_every_object(shared_data: Path, scene: str) -> None:
    """Every eighth frame with exact masks is enough to find all objects of a room at half overlap."""
    scan = shared_data / "synth" / scene
    reader, truth = open_scan(scan), load_ground_truth(scan / "gt")
    cloud = reader.cloud()
    assert cloud is not None
    assert truth.instances is not None
    frames, masks = range(0, len(reader), 8), {}
    for index in frames:
        labels = load_frame_labels(scan / "gt", reader.frame(index).name, "instance")
        labels[np.isin(labels, sorted(truth.structural_objects))] = 0
        exact = from_label_map(labels, frame=index, level=2)
        masks[index] = replace(exact, track_id=exact.mask_id)
    tracks = track_set(
        dict.fromkeys(np.unique(np.concatenate([m.track_id for m in masks.values()])).tolist(), 2)
    )
    surface = surface_of(cloud)
    votes = VoteAccumulator(cloud.xyz_m, surface.normal, tracks.track_id, view_count=len(frames))
    for index in frames:
        votes.add(reader.frame(index), masks[index])
    lifted = lift_instances(cloud, surface, votes.result(), tracks, LiftOptions())
    target = object_targets(CLASS_AGNOSTIC, truth.instances, truth.structural)
    result = evaluate_instances([(lifted.instances, target)], min_region=CLASS_AGNOSTIC.min_region)
    assert result.ap50 >= 0.99
    assert result.ap >= 0.8
