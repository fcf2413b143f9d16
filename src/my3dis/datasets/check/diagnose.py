"""Find out whether a scan fits together, and which of the usual suspects is to blame when it does not.

A suspect is guilty when undoing it makes depth agree between frames and with the mesh. Sizes that no room has
and edges of depth beside those of colour are evidence of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from my3dis.datasets.check.agreement import Agreement, measure
from my3dis.datasets.check.evidence import Evidence
from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.check.registration import Registration, find_registration
from my3dis.datasets.check.suspects import Suspect, pairs_of, suspects_of
from my3dis.datasets.corrections import Corrections

__all__ = ["Diagnosis", "diagnose"]

_THIN_SINGLE, _THIN_PAIR = 3, 12
_SATURATED = 0.9
_LEAST_WAY = 0.03
"""Share of the median depth that the camera goes at least, once its poses were divided."""
_CLEAR, _CLEAR_MESH = 0.012, 0.75
"""A single suspect that leaves a larger median difference, as a share of depth, or less of the mesh agreeing
competes with pairs."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Diagnosis:
    """What the evidence says.

    Attributes:
        now: the scan as it is stored.
        judged: whether there was enough to compare.
        guilty: the suspects to blame; empty when all fits, or when nothing explains the misfit.
        fits: whether the scan fits together as it is.
        mesh_only: frames fit among themselves and only the mesh is elsewhere.
        registration: where depth belongs relative to colour, None when not judged.
    """

    now: Agreement
    judged: bool
    guilty: tuple[Suspect, ...]
    fits: bool
    mesh_only: bool = False
    registration: Registration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    suspects: tuple[Suspect, ...]
    found: Agreement

    @property
    def score(self) -> float:
        """Median share of difference, the worse the less the depth is that of a room; smaller is better."""
        between, mesh = self.found.between, self.found.mesh
        assert between is not None
        share = float(np.median(between.share))
        if mesh is not None:
            share = (share + float(np.median(mesh.share))) / 2
        # Scaling depth up or poses down agrees equally well: what leaves depth as rooms have it is meant.
        unlikely = abs(np.log(max(self.found.depth_m, 1e-9) / 2.0))
        return float((share + 1e-4) * (1 + 0.3 * unlikely) / max(self.found.overlap, 0.05) ** 0.25)

    def is_clear(self, options: CheckOptions) -> bool:
        """Whether no pair of suspects need be tried."""
        mesh = self.found.mesh
        return self.score < _CLEAR and (mesh is None or mesh.agreement(options) > _CLEAR_MESH)


def diagnose(evidence: Evidence, options: CheckOptions, alignments: tuple[Path, ...] = ()) -> Diagnosis:
    """Judge a scan and look for what is wrong with it.

    Args:
        evidence: some of its frames, and its mesh.
        options: what passes for a fit.
        alignments: files beside the scan that hold an alignment of its world.
    """
    now = measure(evidence, Corrections(), options)
    registration = find_registration(evidence.views)
    width = evidence.views[0].depth_m.shape[1] if evidence.views else 640
    off = registration if registration is not None and registration.is_off(options, width) else None
    suspects = suspects_of(evidence, off, alignments)
    other_size = next((s for s in suspects if s.corrections.intrinsics_size is not None), None)
    unjudged = now.between is None and (now.valid_poses or not evidence.pairs) and not _is_torn(now)
    if unjudged and now.mesh_fits(options) is not False:
        guilty: tuple[Suspect, ...] = () if other_size is None else (other_size,)
        return Diagnosis(now=now, judged=False, guilty=guilty, fits=not guilty, registration=registration)
    if _all_fits(now, options) or (now.between is None and now.mesh_fits(options)):
        blamed = other_size or _off(off, suspects)
        return Diagnosis(
            now=now,
            judged=True,
            guilty=() if blamed is None else (blamed,),
            fits=blamed is None and off is None,
            registration=off or registration,
        )
    blamed = _off(off, suspects)
    saturated = not now.has_depth_of_a_room(options) and _is_saturated(evidence)
    # Depth that is the same everywhere agrees with itself whatever is done to it.
    guilty = () if saturated else _search(evidence, suspects, options)
    if blamed is not None and blamed not in guilty and (guilty or now.frames_fit(options)):
        guilty = (*guilty, blamed)
    mesh_only = now.frames_fit(options) and not guilty
    if not guilty and not mesh_only:
        guilty = _by_size(now, other_size, blamed, suspects, options)
    if saturated:  # no factor brings back what was cut off
        guilty = tuple(
            s if s.cause != "depth_unit" else replace(s, corrections=Corrections(), settings=())
            for s in guilty
        )
    # What is wrong by its size alone comes first: it is certain.
    guilty = tuple(sorted(guilty, key=lambda s: s.cause != "depth_unit" or now.has_depth_of_a_room(options)))
    return Diagnosis(
        now=now,
        judged=True,
        guilty=guilty,
        fits=False,
        mesh_only=mesh_only,
        registration=off or registration,
    )


def _is_torn(now: Agreement) -> bool:
    """Whether the camera goes so far, for what it sees, that its frames have nothing in common."""
    return bool(now.way_m > 3 * now.depth_m)


def _is_saturated(evidence: Evidence) -> bool:
    """Whether nearly all readings are the largest that there is."""
    readings = np.concatenate([view.readings[1] for view in evidence.views] or [np.zeros(0)])
    return bool(len(readings) and np.mean(readings == readings.max()) > _SATURATED)


def _all_fits(found: Agreement, options: CheckOptions) -> bool:
    return found.frames_fit(options) and found.mesh_fits(options) is not False


def _off(off: Registration | None, suspects: tuple[Suspect, ...]) -> Suspect | None:
    return None if off is None else next((s for s in suspects if s.cause == "registration"), None)


def _search(evidence: Evidence, suspects: tuple[Suspect, ...], options: CheckOptions) -> tuple[Suspect, ...]:
    """Return the suspects that make all fit, one if one will do; else those that leave only the mesh."""
    singles = _trials(evidence, ((s,) for s in suspects), options, _THIN_SINGLE)
    best = _best(t for t in singles if _all_fits(t.found, options))
    if best is not None and best.is_clear(options):
        return best.suspects
    framed = _best(t for t in singles if t.found.frames_fit(options))
    plain = measure(evidence, Corrections(), options).frames_fit(options)
    if best is None and (framed is not None or plain):
        # Frames fit, perhaps after a correction, and the mesh is elsewhere.
        trials = _trials(evidence, pairs_of(suspects), options, _THIN_PAIR)
        pair = _best(t for t in trials if _all_fits(t.found, options))
        # Where frames fit as they are, two things wrong with them must explain the mesh beyond doubt.
        if pair is not None and (not plain or pair.is_clear(options)):
            return pair.suspects
        return () if plain or framed is None else framed.suspects
    pairs = _trials(evidence, pairs_of(suspects), options, _THIN_PAIR)
    pair = _best(t for t in pairs if _all_fits(t.found, options))
    if best is not None and (pair is None or pair.score > best.score / 2):
        return best.suspects
    if pair is None:
        pair = _best(t for t in pairs if t.found.frames_fit(options))
    return () if pair is None else pair.suspects


def _trials(
    evidence: Evidence, choices: Iterable[tuple[Suspect, ...]], options: CheckOptions, thin: int
) -> list[_Trial]:
    trials = []
    for chosen in choices:
        corrections = Corrections()
        for suspect in chosen:
            corrections = corrections.joined(suspect.corrections)
        found = measure(evidence, corrections, options, thin=thin)
        # Poses in one place agree with each other almost whatever depth is, so shrinking them proves nothing.
        shrunk = corrections.pose_scale < 1 and found.way_m < _LEAST_WAY * found.depth_m
        if found.between is not None and not shrunk:
            trials.append(_Trial(chosen, found))
    return trials


def _best(trials: Iterable[_Trial]) -> _Trial | None:
    return min(trials, key=lambda trial: trial.score, default=None)


def _by_size(
    now: Agreement,
    other_size: Suspect | None,
    off: Suspect | None,
    suspects: tuple[Suspect, ...],
    options: CheckOptions,
) -> tuple[Suspect, ...]:
    """Return what is wrong by its size alone, where no correction could be confirmed."""
    guilty: list[Suspect | None] = [other_size]
    if not now.has_depth_of_a_room(options):
        units = [s for s in suspects if s.cause == "depth_unit"]
        guilty.append(min(units, key=lambda s: abs(np.log(now.depth_m * s.corrections.depth_scale / 2.0))))
    elif now.way_m > options.way_m:
        units = [s for s in suspects if s.cause == "pose_unit"]
        guilty.append(min(units, key=lambda s: abs(np.log(now.way_m * s.corrections.pose_scale / 4.0))))
    guilty.append(off)
    return tuple(suspect for suspect in guilty if suspect is not None)
