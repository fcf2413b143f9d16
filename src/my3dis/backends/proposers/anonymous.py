"""Ids that say nothing: masks that come from recordings or ground truth must not name their object."""

from __future__ import annotations

import numpy as np

from my3dis.masks.build import renumber
from my3dis.types import MaskSet

__all__ = ["anonymised"]


def anonymised(masks: MaskSet, seed: int) -> MaskSet:
    """Renumber 0..N-1 by a permutation that is seeded per frame, ordered by (level, new id).

    Neither the ids nor the order of the masks then tells which masks of two frames belong together.
    """
    generator = np.random.default_rng((seed, masks.frame))
    shuffled = renumber(masks, generator.permutation(len(masks)).astype(np.int32))
    return shuffled.select(np.lexsort((shuffled.mask_id, shuffled.level)))
