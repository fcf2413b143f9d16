"""3D instances in the form of ScanNet's benchmark, for its evaluation scripts and those made after them.

``OUT`` is a folder::

    <scene>.txt                              one line per instance: mask file, label, confidence
    predicted_masks/<scene>_000.txt, ...     0 or 1 a line for every vertex, in the order of the mesh

Folders of several scenes can be one: export them to the same ``OUT``. Instances keep their order, which the
benchmark's script depends on. An instance without a label gets the number that the option ``label`` gives,
else -1, which scripts that know labels leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.archive.instances import read_instances
from my3dis.exporters.run_folder import LEVEL_OPTION, chosen_levels, scene_of
from my3dis.exporters.writing import new_file, remove
from my3dis.protocols import ExporterPlugin, ExportOption
from my3dis.types import NO_ID, InstanceSet

__all__ = ["PLUGIN"]

_FOLDER = "predicted_masks"


@dataclass(frozen=True, slots=True)
class _Export:
    """Writes the instances of some levels."""

    level: str = "all"
    label: str = "own"

    def __call__(self, run_dir: Path, out: Path) -> tuple[Path, ...]:
        """Write a run's instances and return the paths of the list and of the folder of masks.

        Raises:
            DataError: if the run has no instances.
            ConfigError: if the run has no such level.
            ResourceError: if a file cannot be written.
        """
        instances = read_instances(run_dir / "instances.npz")
        levels = chosen_levels(np.unique(instances.level).tolist(), self.level)
        scene = scene_of(run_dir)
        # First, so that no list of an earlier export names masks of this one should it stop half-way.
        remove(out / f"{scene}.txt")
        lines: list[str] = []
        for position in np.flatnonzero(np.isin(instances.level, levels)).tolist():
            name = f"{_FOLDER}/{scene}_{len(lines):03d}.txt"
            lines.append(f"{name} {self._label(instances, position)} {float(instances.score[position])!r}\n")
            with new_file(out / name) as unfinished:
                unfinished.write_bytes(_mask(instances.points_of(position), instances.n_points))
        # Last, so that a list never names a mask that is not there.
        with new_file(out / f"{scene}.txt") as unfinished:
            unfinished.write_text("".join(lines), encoding="ascii")
        return (out / f"{scene}.txt", *([out / _FOLDER] if lines else []))

    def _label(self, instances: InstanceSet, position: int) -> int:
        label = int(instances.label[position])
        return int(self.label) if label == NO_ID and self.label != "own" else label


def _mask(points: NDArray[np.int64], n_points: int) -> bytes:
    """Return 0 or 1 a line for every point."""
    text = np.empty((n_points, 2), np.uint8)
    text[:] = (ord("0"), ord("\n"))
    text[points, 0] = ord("1")
    return text.tobytes()


PLUGIN = ExporterPlugin(
    summary="3D instances as ScanNet's benchmark files",
    export=_Export(),
    options=(
        LEVEL_OPTION,
        ExportOption(
            name="label",
            values=("own",),
            whole_numbers=True,
            summary="the label of instances that have none; own = -1",
        ),
    ),
    with_options=lambda chosen: _Export(**chosen),
)
