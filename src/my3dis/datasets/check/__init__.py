"""Check that poses, depth, intrinsics, colour and mesh of a scan belong together, and name what does not.

Depth of one frame, carried into another by the poses, must meet the depth that is measured there, and so must
the mesh; edges of depth must lie over edges of colour. A wrong pose convention, unit, focal length, alignment
or registration each breaks one of these, and undoing the right one mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from my3dis.datasets.alignment import find_alignments
from my3dis.datasets.check.agreement import Agreement
from my3dis.datasets.check.diagnose import Diagnosis, diagnose
from my3dis.datasets.check.evidence import Evidence, gather
from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.check.suspects import Cause
from my3dis.datasets.corrections import Corrections
from my3dis.protocols import SceneReader, StoredPoses

__all__ = ["Cause", "CheckOptions", "ScanCheck", "can_be_checked", "check_scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanCheck:
    """How well a scan fits together.

    Attributes:
        fits: whether all is well, or nothing could be judged.
        cause: what is wrong; ``none`` when the scan fits, ``unknown`` when nothing tried explains it.
        causes: all of them where several hold together, ``cause`` first.
        message: a sentence for people.
        settings: (key, value) that correct the scan, for ``--set``; empty when none does.
        median_error_m: median difference between carried and measured depth; NaN when not judged.
        agreement: share of points that agree within the tolerance; NaN when not judged.
        pairs: pairs of frames that were compared.
        mesh_agreement: share of mesh vertices that agree with depth; None without a mesh or when not judged.
        scale: median depth in metres after the corrections over the same before: 1 when the unit is right.
        shift_px: (x, y) by which depth lies beside colour, in pixels of depth; None when not judged.
        evidence: the frames that were compared, for pictures; None when nothing was.
        corrections: what the settings do.
    """

    fits: bool
    cause: Cause
    message: str
    causes: tuple[Cause, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    median_error_m: float = float("nan")
    agreement: float = float("nan")
    pairs: int = 0
    mesh_agreement: float | None = None
    scale: float = 1.0
    shift_px: tuple[float, float] | None = None
    evidence: Evidence | None = None
    corrections: Corrections = field(default_factory=Corrections)

    @property
    def how_to_correct(self) -> str:
        """The options to add to the command line, or an empty text."""
        return " ".join(f"--set '{key}={value}'" for key, value in self.settings)


def can_be_checked(reader: SceneReader) -> bool:
    """Whether a scan has depth, and poses that are valid or at least stored as numbers."""
    overview = reader.overview
    if not overview.has_depth or overview.has_pose:
        return overview.has_depth
    if not isinstance(reader, StoredPoses):
        return False
    some = np.unique(np.linspace(0, len(reader) - 1, min(32, len(reader))).astype(int))
    stored = (reader.stored_pose(int(index)) for index in some)
    return any(m is not None and np.isfinite(m).all() and abs(np.linalg.det(m)) > 1e-6 for m in stored)


def check_scan(reader: SceneReader, frames: Sequence[int], options: CheckOptions | None = None) -> ScanCheck:
    """Compare depth between frames, with the mesh and with colour on a few frames of a posed RGB-D scan.

    Args:
        reader: the scan.
        frames: the selected frame indices, ascending; partners may lie between them.
        options: what passes for a fit.

    Raises:
        DataError: if a frame or the mesh cannot be read.
    """
    options = options or CheckOptions()
    if not can_be_checked(reader):
        message = "not checked: the scan has no poses or no depth"
        return ScanCheck(fits=True, cause="none", message=message)
    evidence = gather(reader, frames, options)
    found = diagnose(evidence, options, lambda: find_alignments(reader.overview.root))
    corrections = Corrections()
    for suspect in found.guilty:
        corrections = corrections.joined(suspect.corrections)
    causes: tuple[Cause, ...] = tuple(dict.fromkeys(suspect.cause for suspect in found.guilty))
    if not found.fits and not causes:
        causes = ("alignment",) if found.mesh_only else ("unknown",)
    now, shift = found.now, found.registration
    return ScanCheck(
        fits=found.fits,
        cause=causes[0] if causes else "none",
        causes=causes,
        message=_message(found, options),
        settings=tuple(setting for suspect in found.guilty for setting in suspect.settings),
        median_error_m=float("nan") if now.between is None else now.between.median_m,
        agreement=float("nan") if now.between is None else now.between.agreement(options),
        pairs=now.pairs,
        mesh_agreement=None if now.mesh is None else now.mesh.agreement(options),
        scale=corrections.depth_scale / corrections.pose_scale,
        shift_px=None if shift is None else shift.shift_px,
        evidence=evidence,
        corrections=corrections,
    )


def _message(found: Diagnosis, options: CheckOptions) -> str:
    figures = _figures(found.now, options)
    if found.fits and not found.judged:
        return "poses and depth could not be judged: the frames compared overlap too little"
    if found.fits:
        return f"poses, depth and intrinsics fit together: {figures}"
    if found.mesh_only:
        return (
            f"the mesh does not fit poses and depth ({figures}): expected both in one frame of reference; "
            "give the file with the alignment of the mesh as experiment.correct.alignment, or align the poses"
        )
    head = f"the parts of the scan do not fit together: {figures}"
    if not found.now.frames_fit(options):
        head += f"; expected under {options.error_m * 1000:.0f} mm and over {options.agreement:.0%}"
    if found.guilty:
        return f"{head}. What explains it: {'; and '.join(s.sentence for s in found.guilty)}"
    return (
        f"{head}. None of the usual mistakes explains it; check the pose convention (camera-to-world, OpenCV "
        "axes, metres), the depth unit, the intrinsics, and that depth and poses belong to the same frames"
    )


def _figures(now: Agreement, options: CheckOptions) -> str:
    if now.between is None:
        text = (
            f"{now.pairs} pairs of frames have nothing in common" if now.valid_poses else "no pose is valid"
        )
    else:
        text = (
            f"median difference {now.between.median_m * 1000:.1f} mm, "
            f"{now.between.agreement(options):.0%} agree on {now.pairs} pairs of frames"
        )
    text += f", depth is {now.depth_m:.3g} m in the middle"
    if now.mesh is not None:
        text += f"; {now.mesh.agreement(options):.0%} of mesh vertices agree with depth"
    return text
