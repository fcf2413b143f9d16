"""Scores that people can trust: instance AP in 3D, identities in the image, parents of parts."""

from my3dis.metrics.average_precision import ApResult, ThresholdResult, evaluate_instances
from my3dis.metrics.hierarchy import ParentConsistency, parent_consistency
from my3dis.metrics.protocols import PROTOCOLS, Protocol, object_targets, part_targets, protocol_named
from my3dis.metrics.video import FrameOverlap, IdentityAccumulator, IdentityScores

__all__ = [
    "PROTOCOLS",
    "ApResult",
    "FrameOverlap",
    "IdentityAccumulator",
    "IdentityScores",
    "ParentConsistency",
    "Protocol",
    "ThresholdResult",
    "evaluate_instances",
    "object_targets",
    "parent_consistency",
    "part_targets",
    "protocol_named",
]
