"""Perfect masks from ground truth: what the rest of the pipeline could reach at best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.proposers.anonymous import anonymised
from my3dis.backends.proposers.rescale import nearest
from my3dis.datasets.ground_truth import load_frame_labels, load_ground_truth
from my3dis.errors import ConfigError, DataError
from my3dis.masks.labels import from_label_map
from my3dis.protocols import BackendOptions, ProposerPlugin
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["PLUGIN", "OracleProposer"]


class OracleProposer:
    """Objects at the first level, parts at every deeper one; walls, floors and ceilings are left out.

    The parent of a part is its object; at the third level and below, where parts are repeated, it is the
    same part one level up. Ids are permuted per frame, so that no identity leaks.

    Args:
        folder: the scan's ground truth folder.
        seed: of the permutation.

    Raises:
        DataError: if the folder or its hierarchy is missing or broken.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        truth = load_ground_truth(folder)
        tree = folder / "hierarchy.json"
        if not tree.is_file():
            raise DataError(
                f"{tree}: expected the tree of objects and parts, found none; without it walls and floors "
                "would count as objects: restore it, or choose another proposer"
            )
        self._folder = folder
        self._seed = seed
        self._structural = np.array(sorted(truth.structural_objects), np.int32)
        pairs = np.array(truth.object_of_part, np.int32).reshape(-1, 2)
        self._parts, self._objects = pairs[:, 0], pairs[:, 1]

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        """Return the true masks of a frame; see the class.

        Raises:
            DataError: if a label image is missing, or has a part that the hierarchy does not know.
        """
        objects = self._labels(frame, "instance")
        objects[np.isin(objects, self._structural)] = 0
        found = [from_label_map(objects, frame=frame.index, level=levels[0])]
        if len(levels) > 1:
            parts = self._labels(frame, "part")
            owners = self._owner(np.unique(parts[parts > 0]), frame)
            outside = np.isin(owners[1], self._structural)
            parts[np.isin(parts, owners[0][outside])] = 0
            found += self._part_levels(parts, frame, levels[1:], found[0])
        return anonymised(MaskSet.concatenate(found), self._seed)

    def _part_levels(
        self, parts: NDArray[np.int32], frame: Frame, levels: Sequence[int], objects: MaskSet
    ) -> list[MaskSet]:
        masks = from_label_map(parts, frame=frame.index)
        _, owner = self._owner(masks.mask_id, frame)
        parents = np.where(np.isin(owner, objects.mask_id), owner, NO_ID).astype(np.int32)
        next_id = int(objects.mask_id.max(initial=0)) + 1
        found = []
        for level in levels:
            ids = np.arange(next_id, next_id + len(masks), dtype=np.int32)
            column = np.full(len(masks), level, np.int16)
            found.append(replace(masks, mask_id=ids, level=column, parent_id=parents))
            parents = ids
            next_id += len(masks)
        return found

    def _owner(self, parts: NDArray[np.int32], frame: Frame) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the parts and the object of each."""
        known = np.isin(parts, self._parts)
        if not known.all():
            raise DataError(
                f"{self._folder / 'hierarchy.json'}: expected an object for every part in frame "
                f"{frame.name}, found none for part {int(parts[~known][0])}; write the ground truth again"
            )
        return parts, self._objects[np.searchsorted(self._parts, parts)]

    def _labels(self, frame: Frame, kind: str) -> NDArray[np.int32]:
        labels = load_frame_labels(self._folder, frame.name, "part" if kind == "part" else "instance")
        return nearest(labels, frame.image_size)


def _create(options: BackendOptions) -> OracleProposer:
    # Annotations of a data set tell vertices apart, not pixels.
    if options.ground_truth is None or not options.ground_truth.is_dir():
        raise ConfigError(
            "stages.ssam.proposer=oracle: expected a scan with a ground truth folder, found none; "
            "choose another proposer, such as watershed"
        )
    return OracleProposer(options.ground_truth, options.seed)


PLUGIN = ProposerPlugin(
    summary="true masks from the scan's ground truth, to measure the other stages",
    version="1",
    create=_create,
    final=True,
    resumable="frame",
)
