"""Find out whether a scan fits together, and which of the usual suspects is to blame when it does not.

A suspect is guilty when undoing it makes depth agree between frames and with the mesh. Sizes that no room has
and edges of depth beside those of colour are evidence of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from my3dis.datasets.check.agreement import Agreement, measure
from my3dis.datasets.check.evidence import Evidence
from my3dis.datasets.check.options import CheckOptions
from my3dis.datasets.check.registration import Registration, find_registration
from my3dis.datasets.check.suspects import Suspect, alignment_suspects, pairs_of, suspects_of
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


def diagnose(
    evidence: Evidence, options: CheckOptions, alignments: Callable[[], tuple[Path, ...]] = tuple
) -> Diagnosis:
    """Judge a scan and look for what is wrong with it.

    Args:
        evidence: some of its frames, and its mesh.
        options: what passes for a fit.
        alignments: finds the files beside the scan that hold an alignment of its world; asked only when
            something does not fit.
    """
    now = measure(evidence, Corrections(), options)
    registration = find_registration(evidence.views)
    width = evidence.views[0].depth_m.shape[1] if evidence.views else 640
    off = registration if registration is not None and registration.is_off(options, width) else None
    suspects = suspects_of(evidence, off)
    other_size = next((s for s in suspects if s.corrections.intrinsics_size is not None), None)
    beside = next((s for s in suspects if s.cause == "registration"), None)
    unjudged = now.between is None and (now.valid_poses or not evidence.pairs) and not _is_torn(now)
    judged = not unjudged or now.mesh_fits(options) is False
    guilty: tuple[Suspect, ...]
    if not judged:
        guilty = () if other_size is None else (other_size,)
    elif _all_fits(now, options) or (now.between is None and now.mesh_fits(options)):
        blamed = other_size or beside
        guilty = () if blamed is None else (blamed,)
    else:
        suspects = (*suspects, *alignment_suspects(alignments()))
        guilty = _blame(evidence, suspects, now, options)
        mesh_only = now.frames_fit(options) and not guilty
        return Diagnosis(
            now=now, judged=True, guilty=guilty, fits=False, mesh_only=mesh_only, registration=registration
        )
    return Diagnosis(now=now, judged=judged, guilty=guilty, fits=not guilty, registration=registration)


def _blame(
    evidence: Evidence, suspects: tuple[Suspect, ...], now: Agreement, options: CheckOptions
) -> tuple[Suspect, ...]:
    """Return what is wrong with a scan that does not fit; nothing when it is unknown, or the mesh's place."""
    beside = next((s for s in suspects if s.cause == "registration"), None)
    saturated = not now.has_depth_of_a_room(options) and _is_saturated(evidence)
    # Depth that is the same everywhere agrees with itself whatever is done to it.
    guilty = () if saturated else _search(evidence, suspects, now, options)
    if beside is not None and beside not in guilty and (guilty or now.frames_fit(options)):
        guilty = (*guilty, beside)
    if not guilty and not now.frames_fit(options):
        guilty = _by_size(now, suspects, options)
    if saturated:  # no factor brings back what was cut off
        guilty = tuple(
            s if s.cause != "depth_unit" else replace(s, corrections=Corrections(), settings=())
            for s in guilty
        )
    # What is wrong by its size alone comes first: it is certain.
    return tuple(sorted(guilty, key=lambda s: s.cause != "depth_unit" or now.has_depth_of_a_room(options)))


def _is_torn(now: Agreement) -> bool:
    """Whether the camera goes so far, for what it sees, that its frames have nothing in common."""
    return bool(now.way_m > 3 * now.depth_m)


def _is_saturated(evidence: Evidence) -> bool:
    """Whether nearly all readings are the largest that there is."""
    readings = np.concatenate([view.readings[1] for view in evidence.views] or [np.zeros(0)])
    return bool(len(readings) and np.mean(readings == readings.max()) > _SATURATED)


def _all_fits(found: Agreement, options: CheckOptions) -> bool:
    return found.frames_fit(options) and found.mesh_fits(options) is not False


def _search(
    evidence: Evidence, suspects: tuple[Suspect, ...], now: Agreement, options: CheckOptions
) -> tuple[Suspect, ...]:
    """Return the suspects that make all fit, one if one will do; else those that leave only the mesh."""
    singles = _trials(evidence, ((s,) for s in suspects), options, _THIN_SINGLE)
    single = _best(t for t in singles if _all_fits(t.found, options))
    if single is not None and single.is_clear(options):
        return single.suspects
    pairs = _trials(evidence, pairs_of(suspects), options, _THIN_PAIR)
    pair = _best(t for t in pairs if _all_fits(t.found, options))
    if single is not None and (pair is None or pair.score > single.score / 2):
        return single.suspects
    if single is None and now.frames_fit(options):
        # Frames fit as they are: two things wrong with them must explain the mesh beyond doubt.
        return pair.suspects if pair is not None and pair.is_clear(options) else ()
    if pair is not None:
        return pair.suspects
    # Frames fit after a correction, and the mesh is elsewhere.
    framed = _best(t for t in singles if t.found.frames_fit(options))
    framed = framed or _best(t for t in pairs if t.found.frames_fit(options))
    return () if framed is None else framed.suspects


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


def _by_size(now: Agreement, suspects: tuple[Suspect, ...], options: CheckOptions) -> tuple[Suspect, ...]:
    """Return what is wrong by its size alone, where no correction could be confirmed."""
    guilty = [s for s in suspects if s.corrections.intrinsics_size is not None][:1]
    if not now.has_depth_of_a_room(options):
        units = [s for s in suspects if s.cause == "depth_unit"]
        guilty.append(min(units, key=lambda s: abs(np.log(now.depth_m * s.corrections.depth_scale / 2.0))))
    elif now.way_m > options.way_m:
        units = [s for s in suspects if s.cause == "pose_unit"]
        guilty.append(min(units, key=lambda s: abs(np.log(now.way_m * s.corrections.pose_scale / 4.0))))
    guilty += [s for s in suspects if s.cause == "registration"]
    return tuple(guilty)
