"""Masks that another program proposed before, replayed from label maps.

``recorded_root/level_<L>/<frame name>.png`` are 16-bit label maps, 0 = none. An optional
``relations.json``, ``{frame name: {"rows": [{"id", "parent", "level"}]}}``, names parents; other keys,
such as boxes (which are inclusive in old runs), are not used: boxes and areas are measured on the maps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.proposers.anonymous import anonymised
from my3dis.backends.proposers.rescale import nearest
from my3dis.datasets.files import read_bytes, read_label_map
from my3dis.errors import ConfigError, DataError
from my3dis.masks.labels import from_label_map
from my3dis.masks.overlap import containment_matrix
from my3dis.protocols import BackendOptions, ProposerPlugin
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["PLUGIN", "RecordedProposer"]

_CONTAINED = 0.9
"""Share of a mask that must lie in a coarser one for that to be its parent when no record says so."""

_UNKNOWN = -2
"""Position of a parent that the record does not tell; `NO_ID` where it says that there is none."""

Parents = Mapping[tuple[int, int], int]
"""(level, id) → id of the recorded parent."""


class RecordedProposer:
    """Replays label maps; masks are delivered as recorded, scaled to the frame by nearest neighbour.

    A mask's parent is the recorded one, and none where the record says null. Where the record does not
    list the mask, or its parent has no pixels at the next coarser level used, it is the mask of that level
    which holds at least nine tenths of it. Ids are permuted
    per frame: whatever the recording says about identities over time stays unknown to the pipeline.

    Args:
        root: folder of ``level_<L>`` folders.
        seed: of the permutation.

    Raises:
        DataError: if relations.json is broken.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._seed = seed
        self._relations = _load_relations(root / "relations.json")

    def propose(self, frame: Frame, levels: Sequence[int]) -> MaskSet:
        """Return the recorded masks of a frame; none where nothing was recorded for it.

        Raises:
            ConfigError: if a level was not recorded at all.
            DataError: if a label map is damaged.
        """
        rows = self._relations.get(frame.name, {})
        found: list[MaskSet] = []
        labels: list[NDArray[np.int32]] = []
        next_id = 0
        for rank, level in enumerate(levels):
            masks = self._level(frame, level)
            own = masks.mask_id
            ids = np.arange(next_id, next_id + len(masks), dtype=np.int32)
            parents = np.full(len(masks), NO_ID, np.int32)
            if rank:
                at = _recorded_parents(own, level, labels[-1], levels[rank - 1], rows)
                at = np.where(at == _UNKNOWN, _holders(masks, found[-1]), at)
                parents[at != NO_ID] = found[-1].mask_id[at[at != NO_ID]]
            labels.append(own)
            found.append(replace(masks, mask_id=ids, parent_id=parents))
            next_id += len(masks)
        return anonymised(MaskSet.concatenate(found), self._seed)

    def _level(self, frame: Frame, level: int) -> MaskSet:
        folder = self._root / f"level_{level}"
        if not folder.is_dir():
            there = sorted(p.name for p in self._root.glob("level_*"))
            raise ConfigError(
                f"stages.ssam.recorded_root: expected the folder {folder} for level {level}, found "
                f"{', '.join(there) or 'no level folders'}; set experiment.levels to what was recorded"
            )
        path = folder / f"{frame.name}.png"
        if not path.exists():
            return MaskSet.empty(frame.index, frame.image_size)
        return from_label_map(nearest(read_label_map(path), frame.image_size), frame=frame.index, level=level)


def _recorded_parents(
    own: NDArray[np.int32],
    level: int,
    coarser: NDArray[np.int32],
    coarser_level: int,
    rows: Parents,
) -> NDArray[np.int64]:
    """Return the position of each mask's recorded parent among the coarser masks.

    -1 = recorded to have none; `_UNKNOWN` = not recorded, or its parent is not among the coarser masks.

    Levels that were recorded but are not used are climbed over.
    """
    position = {int(label): i for i, label in enumerate(coarser.tolist())}
    recorded = sorted({lv for lv, _ in rows}, reverse=True)
    between = [lv for lv in recorded if coarser_level <= lv < level]
    found = np.full(len(own), _UNKNOWN, np.int64)
    for i, label in enumerate(own.tolist()):
        at, name = level, label
        for above in between:
            parent = rows.get((at, name))
            if parent is None or (above, parent) not in rows:
                continue
            at, name = above, parent
        if at == coarser_level and name in position:
            found[i] = position[name]
        elif at > coarser_level and rows.get((at, name)) == NO_ID:
            found[i] = NO_ID
    return found


def _holders(masks: MaskSet, coarser: MaskSet) -> NDArray[np.int64]:
    """Return the position of the coarser mask that holds most of each mask, -1 = less than `_CONTAINED`."""
    if not len(masks) or not len(coarser):
        return np.full(len(masks), NO_ID, np.int64)
    share = containment_matrix(masks, coarser)
    best = share.argmax(axis=1)
    return np.where(share[np.arange(len(masks)), best] >= _CONTAINED, best, NO_ID)


def _load_relations(path: Path) -> Mapping[str, Parents]:
    if not path.exists():
        return {}
    try:
        recorded = json.loads(read_bytes(path, "a JSON object of recorded relations"))
        return {str(name): _parents(entry["rows"]) for name, entry in recorded.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f'{path}: expected {{frame name: {{"rows": [{{"id", "parent", "level"}}]}}}}, found something '
            f"else ({type(error).__name__}: {error}); repair or remove the file"
        ) from error


def _parents(rows: Sequence[Mapping[str, int | None]]) -> Parents:
    parents: dict[tuple[int, int], int] = {}
    for row in rows:
        label, level, parent = row["id"], row["level"], row.get("parent")
        if not isinstance(label, int) or not isinstance(level, int) or not isinstance(parent, int | None):
            raise TypeError(f"{dict(row)!r} has an id, level or parent that is no whole number")
        parents[level, label] = NO_ID if parent is None else parent
    return parents


def _create(options: BackendOptions) -> RecordedProposer:
    root = options.recorded_root
    if root is None or not root.is_dir():
        raise ConfigError(
            "stages.ssam.proposer=recorded: expected stages.ssam.recorded_root to be a folder of "
            f"level_<L>/<frame name>.png, found {root}; set it to the recording"
        )
    return RecordedProposer(root, options.seed)


PLUGIN = ProposerPlugin(
    summary="label maps that another program made before (stages.ssam.recorded_root)",
    version="2",
    create=_create,
    final=True,
    resumable="frame",
)
