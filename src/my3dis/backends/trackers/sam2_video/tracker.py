"""A `MaskTracker` over a streaming session: which masks are prompts, and what becomes of predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.backends.torch_models.devices import PeakMemory, choose_device, choose_dtype
from my3dis.backends.torch_models.weights import find_model_folder
from my3dis.backends.trackers.sam2_video import families
from my3dis.backends.trackers.sam2_video.batches import Batches
from my3dis.backends.trackers.sam2_video.families import VideoModel
from my3dis.backends.trackers.sam2_video.prompts import MODES, prompt_of
from my3dis.backends.trackers.sam2_video.session import ObjectMemory, StreamingSession, held_bytes
from my3dis.backends.trackers.sam2_video.snapshot import Snapshot, arrays_of, snapshot_of
from my3dis.errors import ConfigError, DataError
from my3dis.masks.logits import LogitMask, encode_logits
from my3dis.masks.overlap import iou_matrix
from my3dis.protocols import BackendOptions, BackendReport
from my3dis.types import NO_ID, Frame, MaskSet, MaskSource

__all__ = ["CONFIRMED_IOU", "RESTART_IOU", "Sam2VideoTracker", "TrackerOptions"]

CONFIRMED_IOU = 0.8
"""A prompt that overlaps the object's own prediction this much says nothing new: the model keeps what it saw.
So an object that is followed well is decoded once per frame, not twice."""
RESTART_IOU = 0.1
"""A prompt that overlaps it less than this says that the model followed something else: its memory goes."""
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerOptions:
    """What a tracker needs; see `BackendOptions`.

    Attributes:
        folder: the checkpoint.
        device: as a setting.
        dtype: as a setting.
        prompt_mode: one of `prompts.MODES`.
        objects_per_batch: objects in one pass; None = `batches.OBJECTS_PER_BATCH`.
    """

    folder: Path
    device: str = "auto"
    dtype: str = "auto"
    prompt_mode: str = "all_mask"
    objects_per_batch: int | None = None

    @classmethod
    def of(cls, options: BackendOptions) -> TrackerOptions:
        """Take what matters from the options of the plug-in.

        Raises:
            ConfigError: if no checkpoint is set or there, or an option is none.
            PluginError: if a model of the hub cannot be had.
        """
        if options.prompt_mode not in MODES:
            raise ConfigError(f"prompt_mode: expected {', '.join(MODES)}, found {options.prompt_mode!r}")
        if options.objects_per_batch is not None and options.objects_per_batch < 1:
            raise ConfigError(f"objects_per_batch: expected 1 or more, found {options.objects_per_batch}")
        folder = find_model_folder(options.checkpoint, backend=families.BACKEND)
        families.family_of(folder)
        return cls(
            folder=folder,
            device=options.device,
            dtype=options.dtype,
            prompt_mode=options.prompt_mode,
            objects_per_batch=options.objects_per_batch,
        )


class Sam2VideoTracker:
    """Carries masks with the memory of a video model, in one direction; see `MaskTracker`.

    Frames count as successive whatever their index, so descending order is as good as ascending. The model is
    loaded at the first prompt, and shared with other trackers of the same checkpoint that are alive.

    Raises:
        ConfigError, ResourceError: if device or dtype is none, or not here.
    """

    def __init__(self, options: TrackerOptions) -> None:
        self._options = options
        self._device = choose_device(options.device)
        self._dtype = choose_dtype(options.dtype, self._device)
        self._model = families.loaded(options.folder, self._device, self._dtype)
        self._session: StreamingSession | None = None
        self._peak = PeakMemory(self._device)
        self._batches = Batches(options.objects_per_batch, self._device)
        self._held: dict[int, ObjectMemory] = {}
        self._frame: Frame | None = None
        self._image_size: tuple[int, int] | None = None
        self._predicted = MaskSet.empty(0, (1, 1))
        self._counts: Counter[str] = Counter()
        self._held_at_most = self._objects_at_most = 0

    def __len__(self) -> int:
        """Return the number of held objects."""
        return len(self._held)

    def step(self, frame: Frame) -> MaskSet:
        """Advance to a frame; see `MaskTracker.step`. Objects that the model does not see are not returned.

        Raises:
            DataError: if the frame's size differs from the frame's before it.
            ResourceError: if the memory does not suffice, whatever was tried.
        """
        size = self._image_size or frame.image_size
        if size != frame.image_size:
            raise DataError(
                f"expected frames of {size[1]}x{size[0]} throughout, found "
                f"{frame.image_size[1]}x{frame.image_size[0]} at {frame.name!r}; split the scan there"
            )
        self._frame, self._image_size = frame, size
        if self._session is not None:
            self._session.begin_frame(frame.color)
        objects = list(self._held.values())
        found: dict[int, tuple[LogitMask, float]] = {}

        def one_batch(positions: Sequence[int]) -> None:
            assert self._session is not None
            some = [objects[i] for i in positions]
            for memory, seen in zip(some, self._session.advance(some), strict=True):
                if seen.object_score > 0:
                    mask = encode_logits(seen.logits, frame.image_size)
                    found[memory.track_id] = (mask, 1 / (1 + math.exp(-seen.object_score)))

        self._batches.run(len(objects), one_batch, self._to_host)
        self._counts["unseen"] += len(objects) - len(found)
        self._predicted = self._as_mask_set(frame, found)
        self._measure()
        return self._predicted

    def prompt(self, frame: Frame, masks: MaskSet) -> None:
        """Take new or corrected masks on the frame last stepped to; see `MaskTracker.prompt`.

        A mask that confirms the object's own prediction (`CONFIRMED_IOU`) changes nothing; one that has next
        to nothing in common with it (`RESTART_IOU`) begins the object anew; any other takes the prediction's
        place in the object's memory. An empty mask drops the object.

        Raises:
            DataError: if the frame or the size of the masks is another one.
            ConfigError, DataError, PluginError: if the model cannot be loaded.
            ResourceError: if the memory does not suffice, whatever was tried.
        """
        if self._frame is None or frame.index != self._frame.index:
            raise DataError(f"expected prompts on the frame last stepped to, found frame {frame.name!r}")
        if masks.image_size != frame.image_size:
            raise DataError(
                f"expected prompts of the frame's size {frame.image_size}, found {masks.image_size}"
            )
        self.drop(masks.track_id[masks.area_px == 0].tolist())
        rows = [row for row in np.flatnonzero(masks.area_px).tolist() if not self._confirms(masks, row)]
        if not rows:
            return
        session = self._started(frame)
        objects = [self._memory_for(masks, row) for row in rows]

        def one_batch(positions: Sequence[int]) -> None:
            # Masks at the model's size exist for one batch at a time.
            prompts = [prompt_of(masks, rows[i], session.model, self._options.prompt_mode) for i in positions]
            session.condition([objects[i] for i in positions], prompts)
            self._counts.update(f"prompts_{p.kind}" for p in prompts)

        self._batches.run(len(rows), one_batch, self._to_host)
        self._measure()

    def drop(self, track_ids: Sequence[int]) -> None:
        """Forget objects and free what was remembered of them; unknown ids are ignored."""
        for track_id in track_ids:
            self._held.pop(track_id, None)

    def held_bytes(self) -> int:
        """Return the bytes of the tensors held: memories of objects, and features of the current frame."""
        if self._session is None:
            return 0
        return held_bytes(self._session.tensors(self._held.values()))

    def snapshot(self) -> Mapping[str, NDArray[Any]]:
        """Return the pruned memory of every held object; see `Snapshotting`."""
        frame = None if self._session is None else self._session.frame
        held = tuple(self._held.values())
        return arrays_of(Snapshot(frame=frame, image_size=self._image_size, objects=held))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a snapshot; see `Snapshotting`. Figures count from here.

        Raises:
            ConfigError, DataError, PluginError, ResourceError: if the model cannot be loaded.
        """
        found = snapshot_of(arrays, self._device)
        self._image_size = found.image_size
        self._held = {memory.track_id: memory for memory in found.objects}
        if found.frame is not None:
            self._session = StreamingSession(self._loaded_model())
            self._session.frame = found.frame

    def report(self) -> BackendReport:
        """Return what happened so far; see `Reporting.report`."""
        session = self._session
        if session is None:
            return BackendReport()
        names = ("prompts_mask", "prompts_box", "prompts_confirmed", "restarts", "unseen")
        return BackendReport(
            facts=(
                ("model", session.model.family.name),
                ("backbone_passes", session.backbone_passes),
                ("object_passes", session.object_passes),
                ("batches", session.forward_passes),
                ("objects_at_most", self._objects_at_most),
                ("held_mb_at_most", round(self._held_at_most / _MIB, 3)),
                *((name, self._counts[name]) for name in names),
            ),
            notes=self._batches.notes,
            peak_gpu_mb=self._peak.peak_mb(),
        )

    def _started(self, frame: Frame) -> StreamingSession:
        if self._session is None:
            self._session = StreamingSession(self._loaded_model())
            self._session.begin_frame(frame.color)
        return self._session

    def _loaded_model(self) -> VideoModel:
        if self._model is None:
            self._model = families.load(self._options.folder, self._device, self._dtype)
        return self._model

    def _confirms(self, masks: MaskSet, row: int) -> bool:
        iou = self._iou_with_prediction(masks, row)
        confirmed = iou is not None and iou >= CONFIRMED_IOU
        if confirmed:
            self._counts["prompts_confirmed"] += 1
            self._held[int(masks.track_id[row])].level = int(masks.level[row])
        return confirmed

    def _memory_for(self, masks: MaskSet, row: int) -> ObjectMemory:
        track_id, level = int(masks.track_id[row]), int(masks.level[row])
        iou = self._iou_with_prediction(masks, row)
        restart = iou is not None and iou < RESTART_IOU
        self._counts["restarts"] += restart
        if restart or track_id not in self._held:
            self._held[track_id] = ObjectMemory(track_id, level)
        self._held[track_id].level = level
        return self._held[track_id]

    def _iou_with_prediction(self, masks: MaskSet, row: int) -> float | None:
        """Return the overlap of a mask with what its object was predicted to be, None if there is nothing."""
        track_id = int(masks.track_id[row])
        (place,) = np.nonzero(self._predicted.track_id == track_id)
        if track_id not in self._held or not len(place):
            return None
        return float(iou_matrix(self._predicted.select(place), masks.select([row]))[0, 0])

    def _to_host(self) -> None:
        if self._session is not None:
            self._session.keep_on_host(self._held.values())

    def _measure(self) -> None:
        self._held_at_most = max(self._held_at_most, self.held_bytes())
        self._objects_at_most = max(self._objects_at_most, len(self._held))

    def _as_mask_set(self, frame: Frame, found: dict[int, tuple[LogitMask, float]]) -> MaskSet:
        seen = {track_id: value for track_id, value in found.items() if value[0].area_px}
        n = len(seen)
        if not n:
            return MaskSet.empty(frame.index, frame.image_size)
        return MaskSet(
            frame=frame.index,
            image_size=frame.image_size,
            mask_id=np.arange(n, dtype=np.int32),
            level=np.array([self._held[track_id].level for track_id in seen], np.int16),
            parent_id=np.full(n, NO_ID, np.int32),
            boxes=np.array([mask.box for mask, _ in seen.values()], np.int32),
            area_px=np.array([mask.area_px for mask, _ in seen.values()], np.int64),
            score=np.array([score for _, score in seen.values()], np.float32),
            stability=np.ones(n, np.float32),
            source=np.full(n, MaskSource.TRACK, np.int8),
            rle=tuple(mask.rle for mask, _ in seen.values()),
            track_id=np.array(list(seen), np.int32),
        )
