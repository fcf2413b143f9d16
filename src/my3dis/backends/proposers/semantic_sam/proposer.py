"""Semantic-SAM as a proposer: masks of one level inside given parents, with every network pass counted."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from my3dis.backends.proposers.semantic_sam.automatic import (
    FULL_SIZE,
    MASKS_AT_ONCE,
    AutomaticOptions,
    Found,
    generate,
)
from my3dis.backends.proposers.semantic_sam.checkpoint import load_network
from my3dis.backends.proposers.semantic_sam.config import tokens_for_levels
from my3dis.backends.proposers.semantic_sam.encoding import PictureEncoder
from my3dis.backends.proposers.semantic_sam.features import ImageFeatures
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.placement import apart, intersection, place
from my3dis.backends.proposers.semantic_sam.preprocess import SHORT_SIDE
from my3dis.backends.proposers.semantic_sam.views import (
    REFINE_MODES,
    Parent,
    Shown,
    View,
    whole_frame,
    within,
)
from my3dis.backends.torch_models.devices import (
    BackOff,
    PeakMemory,
    choose_device,
    choose_dtype,
    torch_errors,
)
from my3dis.backends.torch_models.weights import find_weights
from my3dis.errors import ConfigError
from my3dis.masks.build import from_codes
from my3dis.protocols import BackendOptions, BackendReport
from my3dis.types import NO_ID, Frame, MaskSet

__all__ = ["SemanticSamProposer", "make"]

_FRAMES_REMEMBERED = 4
"""More than one, so that a few threads may work on frames of their own."""
_DROPPED = ("masks_covered", "masks_outside_parent", "masks_vanished")
_PICTURES_AT_ONCE = 4
"""On a GPU; a CPU gains nothing from batches."""


def make(options: BackendOptions) -> SemanticSamProposer:
    """Load the weights and make the proposer.

    Raises:
        ConfigError: if no weights are named or found, or device, type or mode are no such thing.
        ResourceError: if the device is not here or too small.
        DataError: if the file is no Semantic-SAM checkpoint.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    path = find_weights(options.checkpoint, backend="semantic_sam")
    with torch_errors("loading Semantic-SAM"):
        network = load_network(path, device=device, dtype=dtype)
    own = AutomaticOptions()
    automatic = replace(
        own,
        points_per_side=options.points_per_side or own.points_per_side,
        points_per_batch=options.points_per_batch or own.points_per_batch,
        predicted_iou=own.predicted_iou if options.predicted_iou is None else options.predicted_iou,
    )
    return SemanticSamProposer(network, refine=options.refine, automatic=automatic)


class SemanticSamProposer:
    """Finds masks by point prompts; at the first level in the whole frame, then inside each parent.

    What all parents of a frame can share is computed once: backbone and pixel decoder run once per distinct
    picture. With ``refine="points"`` that is once per frame; with ``"mask"`` and ``"crop"``, once for the
    frame and once for each parent. See `my3dis.backends.proposers.semantic_sam.views` for the three.

    Masks of a level do not overlap within a region: a pixel that several masks claim goes to the best of
    them. Threads may share a proposer; they take turns.

    Args:
        network: the network, on its device.
        refine: ``crop``, ``mask`` or ``points``.
        automatic: grid and thresholds.
        short_side: pixels of the shorter side of what the network sees.
        pictures_at_once: batch of backbone and pixel decoder; None = 4 on a GPU, else 1.

    Attributes:
        network: as given.
        automatic: grid and thresholds in use.
    """

    def __init__(
        self,
        network: SemanticSam,
        *,
        refine: str = "crop",
        automatic: AutomaticOptions | None = None,
        short_side: int = SHORT_SIDE,
        pictures_at_once: int | None = None,
    ) -> None:
        if refine not in REFINE_MODES:
            raise ConfigError(f"refine: expected one of {', '.join(REFINE_MODES)}, found {refine!r}")
        self.network = network
        self._refine = refine
        self.automatic = automatic or AutomaticOptions()
        self._short_side = short_side
        default = 1 if network.device.type == "cpu" else _PICTURES_AT_ONCE
        self._encoder = PictureEncoder(network, pictures_at_once or default)
        self._points = BackOff("points at once", self.automatic.points_per_batch)
        self._full_size = BackOff(FULL_SIZE, MASKS_AT_ONCE)
        self._frames: OrderedDict[int, Shown] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._peak = PeakMemory(network.device)
        self._lock = threading.Lock()

    def propose_in(self, frame: Frame, level: int, parents: MaskSet) -> MaskSet:
        """Return masks at a level inside each parent, or of the whole frame when there are none.

        ``score`` is the quality that the network predicts for a mask, cut to [0, 1]. Masks lie inside their
        parent already.

        Raises:
            ConfigError: if the level is none of 1 to 6.
            ResourceError: if memory ran out even for the smallest batches.
        """
        tokens = tokens_for_levels([level])
        found = _Proposals()
        with self._lock, torch_errors("Semantic-SAM"):
            shown = self._shown(frame)
            views = self._views(shown, parents)
            while some := list(islice(views, self._encoder.batches.size)):
                for view, features in zip(some, self._encoder.features(some), strict=True):
                    comes_again = self._take(found, shown, view, self._generate(features, view, tokens))
                    if not comes_again and view.key != shown.key:
                        self._encoder.forget(view.key)
        return from_codes(
            found.rle,
            frame=frame.index,
            image_size=frame.image_size,
            mask_id=np.arange(len(found.rle)),
            level=level,
            parent_id=found.parent,
            score=np.clip(found.score, 0.0, 1.0),
            stability=found.stability,
        )

    @property
    def held(self) -> tuple[int, int]:
        """Frames, and pictures with their features, that are remembered at the moment."""
        return len(self._frames), len(self._encoder)

    def report(self) -> BackendReport:
        """Return network passes in all and per frame, what was dropped here, and smaller batches."""
        with self._lock:
            frames = self._counts["frames"]
            passes = self.network.backbone_passes
            facts: list[tuple[str, float | int | str]] = [
                ("refine", self._refine),
                ("proposed_frames", frames),
                ("regions", self._counts["regions"]),
                ("backbone_passes", passes),
                ("backbone_passes_per_frame", round(passes / frames, 3) if frames else 0.0),
                ("backbone_passes_saved", self._encoder.repeats),
                ("decoder_passes", self.network.decoder_passes),
            ]
            facts += [(name, self._counts[name]) for name in _DROPPED]
            notes = (*self._encoder.batches.notes, *self._points.notes, *self._full_size.notes)
            return BackendReport(facts=tuple(facts), notes=notes, peak_gpu_mb=self._peak.peak_mb())

    def _shown(self, frame: Frame) -> Shown:
        """Return the frame as the network sees it; the same array is resampled once for all its levels."""
        key = id(frame.color)
        shown = self._frames.get(key)
        # The array is held here, so that its id cannot become another's.
        if shown is None or shown.color is not frame.color:
            shown = self._frames[key] = Shown.of(frame.color, self._short_side)
            self._counts["frames"] += 1
        self._frames.move_to_end(key)
        while len(self._frames) > _FRAMES_REMEMBERED:
            _, old = self._frames.popitem(last=False)
            self._encoder.forget(old.key)
        return shown

    def _views(self, shown: Shown, parents: MaskSet) -> Iterator[View]:
        side = self.automatic.points_per_side
        if not len(parents):
            yield whole_frame(shown, side)
            return
        for i, (mask_id, rle) in enumerate(zip(parents.mask_id.tolist(), parents.rle, strict=True)):
            self._counts["regions"] += 1
            x0, y0, x1, y1 = parents.boxes[i].tolist()
            yield within(shown, Parent(mask_id, rle, (x0, y0, x1, y1)), self._refine, side)

    def _generate(self, features: ImageFeatures, view: View, tokens: tuple[int, ...]) -> Found:
        def with_points(most: int) -> Found:
            if most < self.automatic.points_per_batch:
                self._encoder.forget()
            options = replace(self.automatic, points_per_batch=most)
            return generate(self.network, features, view.points_xy, tokens, options, self._full_size)

        return self._points.run(with_points)

    def _take(self, found: _Proposals, shown: Shown, view: View, masks: Found) -> bool:
        """Bring masks of a view into the frame and their parent; return whether one is the parent itself."""
        parent, whole = view.parent, False
        for i, rle in enumerate(apart(masks.rle, masks.image_size)):
            if not rle:
                self._counts["masks_covered"] += 1
                continue
            in_picture = rle
            if view.parent_in_picture is not None:
                in_picture, _ = intersection(rle, view.parent_in_picture, masks.image_size)
            code = place(in_picture, masks.image_size, view.box, shown.frame_size)
            code, area = intersection(code, parent.rle if parent else code, shown.frame_size)
            if not area:
                # In the whole frame, what is thinner than a pixel of a smaller frame can vanish.
                self._counts["masks_outside_parent" if parent else "masks_vanished"] += 1
                continue
            whole |= parent is not None and code == parent.rle
            if view.parent_in_picture is not None or parent is None:
                shown.exact[code] = in_picture
            found.add(code, masks, i, NO_ID if parent is None else parent.mask_id)
        return whole


class _Proposals:
    """Columns of the set that is being made."""

    def __init__(self) -> None:
        self.rle: list[bytes] = []
        self.parent: list[int] = []
        self.score: list[float] = []
        self.stability: list[float] = []

    def add(self, rle: bytes, masks: Found, position: int, parent_id: int) -> None:
        """Append a mask with the figures that it was found with."""
        self.rle.append(rle)
        self.parent.append(parent_id)
        self.score.append(float(masks.predicted_iou[position]))
        self.stability.append(float(masks.stability[position]))
