"""The pruned memory of a tracker as arrays, and back: what a checkpoint of the stage holds of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from my3dis.backends.trackers.sam2_video.session import ObjectMemory
from my3dis.errors import DataError

__all__ = ["Snapshot", "arrays_of", "snapshot_of"]

_LAYOUT = "layout"
# NumPy has no bfloat16; its bits travel as integers.
_AS_BITS = {torch.bfloat16: torch.int16}
_DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64)}
_DTYPES |= {str(dtype): dtype for dtype in (torch.int32, torch.int64, torch.bool, torch.uint8)}

Node: TypeAlias = Any
"""A value of JSON that stands for what the library keeps."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Snapshot:
    """All that later frames depend on.

    Attributes:
        frame: of the stream, as the session counts; None before the first prompt.
        image_size: (H, W) of the frames, or None before the first.
        objects: what is remembered of each.
    """

    frame: int | None
    image_size: tuple[int, int] | None
    objects: tuple[ObjectMemory, ...]


def arrays_of(snapshot: Snapshot) -> dict[str, NDArray[Any]]:
    """Return a snapshot as arrays; a tensor that several objects share is kept once."""
    writer = _Writer()
    layout = {
        "frame": snapshot.frame,
        "image_size": snapshot.image_size,
        "objects": [_object_node(memory, writer) for memory in snapshot.objects],
        "dtypes": writer.dtypes,
    }
    return {_LAYOUT: np.frombuffer(json.dumps(layout).encode(), np.uint8), **writer.arrays}


def snapshot_of(arrays: Mapping[str, NDArray[Any]], device: torch.device) -> Snapshot:
    """Return the snapshot that arrays hold, its tensors on a device.

    Raises:
        DataError: if the arrays are not what `arrays_of` makes.
    """
    try:
        layout = json.loads(arrays[_LAYOUT].tobytes())
        tensors = {name: _tensor(arrays[name], dtype).to(device) for name, dtype in layout["dtypes"].items()}
        size = layout["image_size"]
        return Snapshot(
            frame=layout["frame"],
            image_size=None if size is None else (size[0], size[1]),
            objects=tuple(_object(node, tensors) for node in layout["objects"]),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(f"sam2_video: expected a saved session, found something else ({error})") from error


class _Writer:
    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.dtypes: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._kept: list[torch.Tensor] = []

    def node(self, value: object) -> Node:
        if isinstance(value, torch.Tensor):
            return {"tensor": self._name(value)}
        if isinstance(value, (list, tuple)):
            return {"list": [self.node(one) for one in value]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"sam2_video: a {type(value).__name__} cannot be kept in a checkpoint")

    def _name(self, tensor: torch.Tensor) -> str:
        if id(tensor) not in self._names:
            name = self._names[id(tensor)] = f"tensor_{len(self._kept):05d}"
            self._kept.append(tensor)
            host = tensor.detach().cpu().contiguous()
            self.dtypes[name] = str(tensor.dtype)
            bits = _AS_BITS.get(tensor.dtype)
            self.arrays[name] = (host if bits is None else host.view(bits)).numpy()
        return self._names[id(tensor)]


def _object_node(memory: ObjectMemory, writer: _Writer) -> Node:
    return {
        "track_id": memory.track_id,
        "level": memory.level,
        "outputs": [
            [kind, [[frame, _pairs(output.items(), writer)] for frame, output in frames.items()]]
            for kind, frames in memory.outputs.items()
        ],
        "tracked": list(memory.tracked.items()),
    }


def _pairs(items: Iterable[tuple[str, object]], writer: _Writer) -> Node:
    return [[name, writer.node(value)] for name, value in items]


def _object(node: Node, tensors: Mapping[str, torch.Tensor]) -> ObjectMemory:
    return ObjectMemory(
        track_id=node["track_id"],
        level=node["level"],
        outputs={
            kind: {
                frame: {name: _value(value, tensors) for name, value in output} for frame, output in frames
            }
            for kind, frames in node["outputs"]
        },
        tracked={frame: dict(flags) for frame, flags in node["tracked"]},
    )


def _value(node: Node, tensors: Mapping[str, torch.Tensor]) -> Any:  # noqa: ANN401 - as the library keeps it
    if isinstance(node, dict):
        return tensors[node["tensor"]] if "tensor" in node else [_value(v, tensors) for v in node["list"]]
    return node


def _tensor(array: NDArray[Any], dtype: str) -> torch.Tensor:
    # A copy: the array lies in the file's bytes, which nobody may write to.
    tensor = torch.from_numpy(array.copy())
    return tensor.view(_DTYPES[dtype]) if _DTYPES[dtype] in _AS_BITS else tensor
