"""What the quality benchmark leaves out to see what it is worth, for the masks that it can matter for."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from my3dis.lifting import lift as lifting
from my3dis.lifting.consensus import ConsensusOptions, LevelClaims
from my3dis.lifting.grouping import GroupingOptions
from my3dis.lifting.lift import LiftOptions
from my3dis.lifting.visibility import ViewOptions
from my3dis.lifting.vote import Votes
from my3dis.stages import lift as stage
from my3dis.stages import track_passes
from my3dis.tracking.identity import IdentityOptions
from my3dis.types import NO_ID

__all__ = ["SWITCHES", "Switch", "plain_claims", "switches_for"]

Patch = Callable[[], contextlib.AbstractContextManager[Any]]
Changes = Mapping[str, Any]
_NEVER = 10**9
_THINGS = ("oracle", "degraded", "parts")
_REGIONS = ("weight-free",)


@dataclass(frozen=True)
class Switch:
    """One thing left out.

    Attributes:
        what: in words.
        patches: that leave it out.
        masks: the kinds of masks for which it is tried.
        tracks: whether tracking is made again too.
        settings: of the run that leave it out.
    """

    what: str
    patches: tuple[Patch, ...] = ()
    masks: tuple[str, ...] = _THINGS
    tracks: bool = False
    settings: tuple[tuple[str, object], ...] = ()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Leave it out while the block runs."""
        with contextlib.ExitStack() as stack:
            for patch in self.patches:
                stack.enter_context(patch())
            yield


def _options(name: str, kind: type, change: Callable[[Any], Any]) -> Patch:
    """Change the options that the lift stage calls a function with."""

    def patch() -> contextlib.AbstractContextManager[Any]:
        real = getattr(stage, name)

        def called(*arguments: object, **named: object) -> object:
            changed = [change(value) if isinstance(value, kind) else value for value in arguments]
            return real(*changed, **named)

        return mock.patch.object(stage, name, called)

    return patch


def _lift(**changes: Changes) -> Patch:
    """Change parts of the options of lifting: the name of a part and its fields that change."""

    def change(options: LiftOptions) -> LiftOptions:
        parts = {name: replace(getattr(options, name), **fields) for name, fields in changes.items()}
        return replace(options, **parts)

    return _options("lift_instances", LiftOptions, change)


def _group(**changes: Changes) -> Patch:
    """Change parts of the options of grouping the surface, likewise."""

    def change(options: GroupingOptions) -> GroupingOptions:
        parts = {name: replace(getattr(options, name), **fields) for name, fields in changes.items()}
        return replace(options, **parts)

    return _options("group_instances", GroupingOptions, change)


def _put(module: ModuleType, name: str, value: object) -> Patch:
    return lambda: mock.patch.object(module, name, value)


def plain_claims(
    votes: Votes, track_level: NDArray[np.int16], average: sparse.csr_array, options: ConsensusOptions
) -> list[LevelClaims]:
    """Give every point to the track that most of the views that see it name, or to nobody if most name none.

    Stands in for `my3dis.lifting.consensus.claim_points`; neighbours and shares play no part.
    """
    del average, options
    points, tracks, claims = len(votes.point_weight), len(votes.track_id), []
    for level in np.unique(track_level).tolist():
        chosen = track_level[votes.pair_track] == level
        point, track, weight = votes.pair_point[chosen], votes.pair_track[chosen], votes.pair_weight[chosen]
        silent = votes.point_weight - np.bincount(point, weight, points)
        order = np.lexsort((track, -weight, point))
        point, track, weight = point[order], track[order], weight[order]
        first = np.flatnonzero(np.diff(point, prepend=-1))
        won = first[weight[first] > silent[point[first]]]
        owner, share = np.full(points, NO_ID, np.int32), np.zeros(points, np.float32)
        owner[point[won]] = track[won]
        share[point[won]] = weight[won] / votes.point_weight[point[won]]
        claims.append(LevelClaims(level, owner, share, np.bincount(track[won], minlength=tracks)))
    return claims


_SAME_VIEWS = _put(
    stage,
    "ViewOptions",
    functools.partial(
        ViewOptions, edge_weight=1.0, grazing_weight=1.0, least_agreement=1.0, spreads=math.inf
    ),
)
_NO_CLEANING = _lift(clean={"speck_share": 0.0, "hole_points": 0})

SWITCHES: dict[str, Switch] = {
    "naive voting": Switch(
        "every view within the depth tolerance has one vote and the most votes win; nothing is cleaned",
        (_put(lifting, "claim_points", plain_claims), _SAME_VIEWS, _NO_CLEANING),
    ),
    "no view selection": Switch(
        "all views weigh the same: edges of depth, angle, agreement with depth", (_SAME_VIEWS,)
    ),
    "no merging": Switch(
        "tracks are instances, in whatever pieces",
        (_lift(merge={"shared_points": _NEVER}, continuation={"fewest_points": _NEVER}),),
    ),
    "no continuation": Switch(
        "pieces whose middle is hidden stay apart", (_lift(continuation={"fewest_points": _NEVER}),)
    ),
    "no neighbours": Switch(
        "points are decided each for itself",
        (_lift(consensus={"neighbour_views": 0.0, "near_tie": 0.0, "settling_rounds": 0}),),
    ),
    "no cleaning": Switch("specks stay and holes are not filled", (_NO_CLEANING,)),
    "doubtful kept": Switch(
        "instances that are trusted least stay", (_lift(hierarchy={"least_score": 0.0}),)
    ),
    "flow, not depth": Switch(
        "masks are carried by optical flow", tracks=True, settings=(("stages.tracker.propagator", "flow"),)
    ),
    "no second pass": Switch(
        "tracks are not followed back in time",
        tracks=True,
        settings=(("stages.tracker.backward_frames", 0),),
    ),
    "fragments at once": Switch(
        "a piece of a known object becomes a track without persisting",
        (_put(track_passes, "IdentityOptions", functools.partial(IdentityOptions, persistence=1)),),
        tracks=True,
    ),
    "no memory": Switch(
        "objects out of view are forgotten",
        (_put(track_passes, "IdentityOptions", functools.partial(IdentityOptions, max_sleeping=0)),),
        tracks=True,
    ),
    "votes, not surface": Switch(
        "tracks of regions vote, as if they were things",
        (_put(stage, "_recognises", lambda _context: True),),
        masks=_REGIONS,
    ),
    "no drawn borders": Switch("shape and colour alone", (_group(border={"views": 0.0}),), masks=_REGIONS),
    "no creases": Switch(
        "folds are no borders", (_group(border={"crease": 0.0, "turn": 0.0}),), masks=_REGIONS
    ),
    "no colour": Switch("steps of colour are no borders", (_group(border={"color": 0.0}),), masks=_REGIONS),
    "no planes": Switch(
        "floor, walls and ceiling are surfaces like others",
        (_group(plane={"area_m2": math.inf}),),
        masks=_REGIONS,
    ),
}
"""What can be left out, by name."""


def switches_for(masks: str) -> Sequence[str]:
    """Return the names of the switches that are tried with masks of a kind."""
    return [name for name, switch in SWITCHES.items() if masks in switch.masks]
