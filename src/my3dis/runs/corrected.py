"""Apply the settings ``experiment.correct`` to a scan."""

from __future__ import annotations

from my3dis.config.experiment import Correct
from my3dis.datasets.alignment import read_alignment
from my3dis.datasets.corrections import CorrectedReader, Corrections
from my3dis.errors import ConfigError
from my3dis.geometry.transforms import invert_rigid
from my3dis.protocols import SceneReader

__all__ = ["corrections_of", "with_corrections"]


def with_corrections(reader: SceneReader, correct: Correct) -> SceneReader:
    """Return the scan as the settings correct it; the reader itself when they change nothing.

    Raises:
        ConfigError: if the file of the alignment holds none.
    """
    corrections = corrections_of(correct)
    return reader if corrections.nothing else CorrectedReader.of(reader, corrections)


def corrections_of(correct: Correct) -> Corrections:
    """Return what the settings do to frames.

    Raises:
        ConfigError: if the file of the alignment holds none.
    """
    alignment = None
    if correct.alignment is not None:
        alignment = read_alignment(correct.alignment)
        if alignment is None:
            raise ConfigError(
                f"experiment.correct.alignment: expected a file with 16 numbers of a rigid motion "
                f"(a line axisAlignment = ..., or a file with align in its name), found {correct.alignment}"
            )
        alignment = invert_rigid(alignment) if correct.alignment_inverted else alignment
    return Corrections(
        poses=tuple(correct.poses),
        pose_scale=correct.pose_scale,
        depth_scale=correct.depth_scale,
        focal_scale=correct.focal_scale,
        intrinsics_size=correct.intrinsics_size,
        depth_shift_px=correct.depth_shift_px,
        alignment=alignment,
    )
