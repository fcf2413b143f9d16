"""The usual suspects: what most often is wrong with a scan, each as the corrections that would undo it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Literal

from my3dis.datasets.alignment import read_alignment
from my3dis.datasets.check.evidence import Evidence
from my3dis.datasets.check.registration import Registration
from my3dis.datasets.corrections import Corrections
from my3dis.geometry.transforms import invert_rigid
from my3dis.types import Camera

__all__ = ["Cause", "Suspect", "alignment_suspects", "implied_size", "pairs_of", "suspects_of"]

Cause = Literal[
    "none",
    "inverse",
    "opengl",
    "transposed",
    "pose_unit",
    "depth_unit",
    "alignment",
    "registration",
    "intrinsics",
    "unknown",
]

_OFF_CENTRE = 0.08
"""A principal point farther from the middle, as a share of the image, is that of another resolution."""

_POSE_UNITS = ((0.001, "millimetres"), (0.01, "centimetres"))
# Beside powers of ten: Replica's 6553.5 a metre, TUM's 5000, 4000, 256, and 16 bits shifted by three.
_LARGE_UNITS = (0.001, 0.1, 0.01, 1 / 6.5535, 0.2, 0.25, 0.125)
_SMALL_UNITS = (1000.0, 10.0, 100.0, 6.5535, 5.0, 4.0, 1000 / 256)
_DEPTH_UNITS = (*_LARGE_UNITS, *_SMALL_UNITS)
_FOCAL = (0.5, 2.0, 640 / 1296, 1296 / 640, 640 / 1920, 3.0, 0.75, 4 / 3, 2 / 3, 1.5)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Suspect:
    """Something that may be wrong.

    Attributes:
        cause: its name in the last line of ``my3dis check``.
        sentence: what is wrong, for people.
        corrections: what would undo it.
        settings: (key, value) to add to the settings.
    """

    cause: Cause
    sentence: str
    corrections: Corrections
    settings: tuple[tuple[str, str], ...]


def suspects_of(evidence: Evidence, registration: Registration | None) -> tuple[Suspect, ...]:
    """Return all single suspects, the likelier ones first.

    Args:
        evidence: of the scan; its cameras say what other resolution they may be for.
        registration: where depth belongs, when it is clearly off.
    """
    return (
        *_poses(),
        *_units(),
        *_intrinsics(evidence),
        *(() if registration is None else (_registration(registration),)),
    )


def pairs_of(suspects: tuple[Suspect, ...]) -> Iterator[tuple[Suspect, Suspect]]:
    """Yield pairs of suspects that may hold together; two changes of poses in both orders."""
    for pair in combinations(suspects, 2):
        first, second = pair
        if first.corrections.poses and second.corrections.poses:
            yield from permutations(pair)
        elif first.cause != second.cause:
            yield pair


def _poses() -> Iterator[Suspect]:
    told: tuple[tuple[Cause, Literal["inverse", "opengl", "transposed", "transposed_rotation"], str], ...] = (
        ("transposed", "transposed", "pose matrices are transposed (written column by column)"),
        ("inverse", "inverse", "poses are camera-from-world (extrinsics); expected world-from-camera"),
        ("opengl", "opengl", "poses have OpenGL camera axes (y up, z backwards); expected OpenCV's"),
        ("transposed", "transposed_rotation", "the rotations in the poses are transposed"),
    )
    for cause, change, sentence in told:
        yield Suspect(
            cause=cause,
            sentence=sentence,
            corrections=Corrections(poses=(change,)),
            settings=(("experiment.correct.poses", f"[{change}]"),),
        )


def _units() -> Iterator[Suspect]:
    for scale, unit in _POSE_UNITS:
        yield Suspect(
            cause="pose_unit",
            sentence=f"translations of the poses are in {unit}; expected metres",
            corrections=Corrections(pose_scale=scale),
            settings=(("experiment.correct.pose_scale", f"{scale:g}"),),
        )
    for scale in _DEPTH_UNITS:
        too = f"{1 / scale:.5g} times too large" if scale < 1 else f"{scale:.5g} times too small"
        yield Suspect(
            cause="depth_unit",
            sentence=f"depth is {too}: its unit is not the one that this layout has",
            corrections=Corrections(depth_scale=scale),
            settings=(("experiment.correct.depth_scale", f"{scale:.6g}"),),
        )


def implied_size(camera: Camera) -> tuple[int, int] | None:
    """Return the (width, height) of the images that a camera's principal point is the middle of.

    None when that is the camera's own size, or as good as.
    """
    width, height = round(2 * camera.cx + 1), round(2 * camera.cy + 1)
    off = max(abs(camera.cx / camera.width - 0.5), abs(camera.cy / camera.height - 0.5))
    return (width, height) if off > _OFF_CENTRE and width > 0 and height > 0 else None


def _intrinsics(evidence: Evidence) -> Iterator[Suspect]:
    if not evidence.views:
        return
    view = evidence.views[0]
    cameras = [view.depth_camera] + ([] if view.color_camera is None else [view.color_camera])
    sizes = dict.fromkeys(size for camera in cameras if (size := implied_size(camera)) is not None)
    for width, height in sizes:
        yield Suspect(
            cause="intrinsics",
            sentence=f"intrinsics are those of images of about {width}x{height}, "
            f"while the images are {cameras[0].width}x{cameras[0].height}",
            corrections=Corrections(intrinsics_size=(width, height)),
            settings=(("experiment.correct.intrinsics_size", f"[{width}, {height}]"),),
        )
    for scale in _FOCAL:
        yield Suspect(
            cause="intrinsics",
            sentence=f"focal lengths are about {1 / scale:.3g} times what they should be",
            corrections=Corrections(focal_scale=scale),
            settings=(("experiment.correct.focal_scale", f"{scale:.6g}"),),
        )


def _registration(found: Registration) -> Suspect:
    x, y = found.shift_px
    if found.zoom != 1.0:  # a shift alone would leave most of it
        return Suspect(
            cause="registration",
            sentence="depth is not registered to colour: its edges meet those of colour when it grows by "
            f"{found.zoom:g} and moves by ({x:g}, {y:g}) pixels; register it with the cameras' calibration",
            corrections=Corrections(),
            settings=(),
        )
    return Suspect(
        cause="registration",
        sentence=f"depth is not registered to colour: its edges meet those of colour when it moves by "
        f"({x:g}, {y:g}) pixels",
        corrections=Corrections(depth_shift_px=found.shift_px),
        settings=(("experiment.correct.depth_shift_px", f"[{x:g}, {y:g}]"),),
    )


def alignment_suspects(files: tuple[Path, ...]) -> Iterator[Suspect]:
    """Yield, for each file that holds an alignment, that only mesh or only poses were aligned by it."""
    for path, inverted in product(files, (False, True)):
        matrix = read_alignment(path)
        if matrix is None:
            continue
        aligned = invert_rigid(matrix) if inverted else matrix
        yield Suspect(
            cause="alignment",
            sentence=f"the mesh is {'not ' if inverted else ''}aligned by {path.name}, and the poses are"
            f"{'' if inverted else ' not'}",
            corrections=Corrections(alignment=aligned),
            settings=(
                ("experiment.correct.alignment", str(path)),
                *((("experiment.correct.alignment_inverted", "true"),) if inverted else ()),
            ),
        )
