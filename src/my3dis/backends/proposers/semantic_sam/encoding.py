"""Features of pictures: several at once where memory allows, and each distinct picture once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from my3dis.backends.proposers.semantic_sam.features import ImageFeatures
from my3dis.backends.proposers.semantic_sam.network import SemanticSam
from my3dis.backends.proposers.semantic_sam.views import View
from my3dis.backends.torch_models.devices import BackOff

__all__ = ["PictureEncoder", "encode_together"]

_REMEMBERED = 16
"""Pictures whose features are kept: 0.8 GB of them at 640x853 pixels and 256 channels."""


class PictureEncoder:
    """Runs backbone and pixel decoder, and remembers pictures that may come again.

    Args:
        network: the network.
        at_once: pictures in one batch; halved when memory runs out.

    Attributes:
        batches: the batch size, and what was said when it fell.
        repeats: pictures that were asked for again and not encoded again.
    """

    def __init__(self, network: SemanticSam, at_once: int) -> None:
        self._network = network
        self._known: OrderedDict[bytes, ImageFeatures] = OrderedDict()
        self.batches = BackOff("pictures at once", at_once)
        self.repeats = 0

    def __len__(self) -> int:
        """Return the number of pictures whose features are held."""
        return len(self._known)

    def features(self, views: Sequence[View]) -> list[ImageFeatures]:
        """Return the features of views of one size, in their order."""
        pictures = {view.key: view.picture for view in views}
        held = {key: self._known[key] for key in pictures if key in self._known}
        missing = [key for key in pictures if key not in held]
        self.repeats += len(views) - len(missing)
        held.update(self._encoded({key: pictures[key] for key in missing}))
        for key, features in held.items():
            self._known[key] = features
            self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return [held[view.key] for view in views]

    def forget(self, key: bytes | None = None) -> None:
        """Let go of a picture that will not be asked for again, or of all."""
        if key is None:
            self._known.clear()
        else:
            self._known.pop(key, None)

    def _encoded(self, pictures: dict[bytes, NDArray[np.uint8]]) -> dict[bytes, ImageFeatures]:
        done: list[ImageFeatures] = []
        waiting = list(pictures.values())

        def next_batch(size: int) -> list[ImageFeatures]:
            return encode_together(self._network, waiting[len(done) : len(done) + size])

        while len(done) < len(waiting):
            done += self.batches.run(next_batch)
        return dict(zip(pictures, done, strict=True))


def encode_together(network: SemanticSam, pictures: Sequence[NDArray[np.uint8]]) -> list[ImageFeatures]:
    """Encode (h, w, 3) uint8 RGB pictures of one size in one batch; equal to one by one up to rounding."""
    return network.encode_together(
        [torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))) for picture in pictures]
    )
