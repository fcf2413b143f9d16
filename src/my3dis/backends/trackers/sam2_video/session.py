"""A stream of frames through a video model, with memory of objects that stays within the model's window.

The library keeps every tensor of every frame. Here the memory of an object is a record of its own, which is
lent to a session of the library for one forward pass and pruned afterwards. Passes therefore never mix what
should not be mixed: prompted objects go alone, since in one session a prompt for one object makes the library
store the memory of all others differently; and an object that is dropped leaves nothing behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from my3dis.backends.torch_models.devices import parity_numerics
from my3dis.backends.trackers.sam2_video.families import VideoModel
from my3dis.backends.trackers.sam2_video.images import as_logits, as_pixels
from my3dis.backends.trackers.sam2_video.library import Outputs
from my3dis.backends.trackers.sam2_video.prompts import Prompt

__all__ = ["ObjectMemory", "Prediction", "StreamingSession", "held_bytes"]

_SPATIAL = ("maskmem_features", "maskmem_pos_enc")
_KEPT = (*_SPATIAL, "object_pointer", "object_score_logits")


def _no_outputs() -> Outputs:
    return {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}


@dataclass(slots=True, eq=False)
class ObjectMemory:
    """What the model remembers of one object, in the library's own layout.

    Attributes:
        track_id: the object.
        level: granularity of its mask.
        outputs: frames that were prompted first, and the others, each by frame of the stream.
        tracked: frames on which the object was predicted; only the current one matters.
    """

    track_id: int
    level: int
    outputs: Outputs = field(default_factory=_no_outputs)
    tracked: dict[int, dict[str, bool]] = field(default_factory=dict)

    def tensors(self) -> Iterator[torch.Tensor]:
        """Yield every tensor that is held."""
        for frames in self.outputs.values():
            for output in frames.values():
                yield from (value for value in output.values() if isinstance(value, torch.Tensor))

    def prune(self, frame: int, model: VideoModel) -> None:
        """Let go of what the model will not look at again once it has seen a frame."""
        for frames in self.outputs.values():
            for output in frames.values():
                for name in [n for n in output if n not in _KEPT]:
                    del output[name]
        tracked = self.outputs["non_cond_frame_outputs"]
        # The current frame may still be prompted: its window stays, one frame more than the next one's.
        for index in [i for i in tracked if i < frame - model.pointer_frames]:
            del tracked[index]
        for index, output in tracked.items():
            if index < frame - model.memory_frames:
                for name in _SPATIAL:
                    output.pop(name, None)
        for index in [i for i in self.tracked if i != frame]:
            del self.tracked[index]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Where the model sees an object.

    Attributes:
        logits: (h, w) float32 at the model's resolution; above 0 is the object.
        object_score: logit of the object being visible.
    """

    logits: NDArray[np.float32]
    object_score: float


class StreamingSession:
    """Frames in, predictions out; knows no identities and no batches.

    Attributes:
        backbone_passes: images that were encoded; at most one per frame, whatever the number of batches.
        forward_passes: calls of the model.
        object_passes: objects in all of them.
    """

    def __init__(self, model: VideoModel, *, prune: bool = True) -> None:
        self.model = model
        self.backbone_passes = self.forward_passes = self.object_passes = 0
        self.frame = -1
        self._prune = prune
        self._color: NDArray[np.uint8] | None = None
        self._cache = model.new_session(model.device).cache
        self._state_device = model.device
        self._places: dict[tuple[torch.Size, torch.dtype, torch.device], torch.Tensor] = {}

    def begin_frame(self, color: NDArray[np.uint8]) -> None:
        """Go on to the next frame; it is encoded when the first object needs it.

        Args:
            color: (H, W, 3) RGB.
        """
        self.frame += 1
        self._color = color
        self._cache.clear_all()

    def advance(self, objects: Sequence[ObjectMemory]) -> list[Prediction]:
        """Predict objects on the current frame."""
        return self._forward(objects, None)

    def condition(self, objects: Sequence[ObjectMemory], prompts: Sequence[Prompt]) -> list[Prediction]:
        """Give each object a prompt on the current frame, and predict it; masks and boxes go separately."""
        found: dict[int, Prediction] = {}
        for kind in ("mask", "box"):
            # In one pass EdgeTAM fails to join what it finds for the two.
            rows = [row for row, prompt in enumerate(prompts) if prompt.kind == kind]
            if rows:
                seen = self._forward([objects[row] for row in rows], [prompts[row] for row in rows])
                found.update(zip(rows, seen, strict=True))
        return [found[row] for row in range(len(prompts))]

    def keep_on_host(self, objects: Iterable[ObjectMemory]) -> None:
        """Move what is remembered to the host, now and from now on; slower, and the same results."""
        self._state_device = torch.device("cpu")
        for memory in objects:
            self._tidy(memory)

    def tensors(self, objects: Iterable[ObjectMemory]) -> Iterator[torch.Tensor]:
        """Yield every tensor that is held: of objects, and of the current frame."""
        for memory in objects:
            yield from memory.tensors()
        for features in self._cache._vision_features.values():
            for value in features.values():
                yield from value

    def _forward(self, objects: Sequence[ObjectMemory], prompts: Sequence[Prompt] | None) -> list[Prediction]:
        with torch.inference_mode(), self._numerics():
            self._encode_image()
            session = self.model.new_session(self._state_device)
            session.cache = self._cache
            for memory in objects:
                index = session.obj_id_to_idx(memory.track_id)
                session.output_dict_per_obj[index] = memory.outputs
                session.frames_tracked_per_obj[index] = memory.tracked
            for index, prompt in enumerate(prompts or ()):
                prompt.add_to(session, index, self.frame)
            if prompts is not None:
                session.obj_with_new_inputs = [memory.track_id for memory in objects]
            # The features are in the cache; a frame handed over says only that this is a stream, whose
            # length is not known.
            unused = torch.empty(0, device=self.model.device)
            found = self.model.network(session, frame=unused, frame_idx=self.frame)
            logits = as_logits(found.pred_masks)
            scores = found.object_score_logits.reshape(-1).float().tolist()
        self.forward_passes += 1
        self.object_passes += len(objects)
        for memory in objects:
            self._tidy(memory)
        return [Prediction(some, score) for some, score in zip(logits, scores, strict=True)]

    def _encode_image(self) -> None:
        if self._cache.get_vision_features(self.frame) is not None:
            return
        assert self._color is not None
        features = self.model.network.get_image_features(as_pixels(self._color, self.model), return_dict=True)
        self._cache.cache_vision_features(
            self.frame,
            {
                "vision_feats": features.fpn_hidden_states,
                "vision_pos_embeds": features.fpn_position_encoding,
            },
        )
        self.backbone_passes += 1

    def _tidy(self, memory: ObjectMemory) -> None:
        """Prune, and keep each tensor once, in a storage of its own, where it belongs."""
        if not self._prune:
            return
        memory.prune(self.frame, self.model)
        for frames in memory.outputs.values():
            for output in frames.values():
                for name in _SPATIAL:
                    if isinstance(output.get(name), torch.Tensor):
                        output[name] = self._placed(name, output[name])

    def _placed(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        placed = tensor.to(self._state_device)
        if name == "maskmem_pos_enc":
            # The same numbers for every object and frame, and twice the size of the features.
            key = (placed.shape, placed.dtype, placed.device)
            shared = self._places.setdefault(key, placed)
            if shared is placed or torch.equal(shared, placed):
                return shared
        # A view would keep the memories of the whole batch.
        return placed.clone() if placed.untyped_storage().nbytes() > _nbytes(placed) else placed

    def _numerics(self) -> contextlib.AbstractContextManager[None]:
        return parity_numerics() if self.model.dtype == torch.float32 else contextlib.nullcontext()


def held_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of all storages behind some tensors, each counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def _nbytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
