"""Read weights: safetensors, or ``torch.save`` files under torch's restricted reader and a short allow-list.

Nothing else is unpickled anywhere. A file that asks for more than the list is refused by name.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # the exception alone; torch's restricted reader does the reading
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from my3dis.errors import DataError

__all__ = ["Weights", "read_weights"]

_CONTAINERS = ("model", "state_dict")
_ALLOWING = threading.Lock()
_SCALAR: Any = np.float64(0).__reduce__()[0]
# Harmless values that training loops leave beside the weights: numpy's scalars (a best score, an
# iteration). They are read and dropped. The second name is how numpy 1 called the same function.
_ALLOWED: list[Any] = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
]
# What torch's reader raises on bytes that are no checkpoint.
_DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    AssertionError,
    struct.error,
)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_PROTOCOL = 2
"""Of the pickles that torch.save writes, and the newest whose codes the restricted reader knows."""
_UNKNOWN_CODE, _REASON = "Unsupported operand", "WeightsUnpickler error:"


@dataclass(frozen=True, slots=True)
class Weights:
    """What a weights file holds.

    Attributes:
        tensors: by name, on the CPU.
        dropped: what stood beside them, as ``name (type)``.
    """

    tensors: dict[str, Tensor]
    dropped: tuple[str, ...] = ()


def read_weights(path: Path) -> Weights:
    """Read the tensors of a ``.safetensors``, ``.pth`` or ``.pt`` file, or of all safetensors of a folder.

    Of a ``torch.save`` file the entry ``model`` or ``state_dict`` is taken where there is one.

    Raises:
        DataError: if the file is missing, empty, cut off, no weights file, or asks for other types than
            tensors and plain values.
    """
    if path.is_dir():
        return _joined(path)
    _require_weights(path)
    if path.suffix == ".safetensors":
        try:
            return Weights(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, error) from error
    return _unwrapped(path, _loaded(path))


def _joined(folder: Path) -> Weights:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise DataError(f"{folder}: expected safetensors in this folder, found none; name the file itself")
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_weights(file).tensors
    return Weights(tensors)


def _require_weights(path: Path) -> None:
    """Tell by its first bytes what a file is that cannot hold weights."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: expected a weights file, cannot read it: {error}") from error
    found = None
    if not head:
        found = "an empty file"
    elif head.lstrip()[:1] == b"<":
        found = "a web page (the download was an error or a login page)"
    elif head.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer instead of the file (git lfs pull fetches it)"
    elif path.suffix != ".safetensors" and not head.startswith((_ZIP, _PICKLE)):
        found = "neither a zip archive nor a pickle of torch.save"
    elif path.suffix != ".safetensors" and head[:1] == _PICKLE and head[1:2] > bytes([_PROTOCOL]):
        raise _too_new(path)
    if found:
        raise DataError(f"{path}: expected a weights file, found {found}; download it again")


def _loaded(path: Path) -> object:
    with path.open("rb") as file:
        is_zip = file.read(4) == _ZIP
    try:
        # The list belongs to the process: it is longer for the time of reading, and one file is read at once.
        with _ALLOWING, torch.serialization.safe_globals(_ALLOWED):
            if is_zip:
                refused = torch.serialization.get_unsafe_globals_in_checkpoint(path)
                if refused:
                    raise _refusal(path, ", ".join(sorted(refused)))
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except DataError:
        raise
    except UnpicklingError as error:
        name = _named_global(str(error))
        if name:
            raise _refusal(path, name) from error
        raise (_too_new(path) if _UNKNOWN_CODE in str(error) else _damaged(path, error)) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _named_global(text: str) -> str | None:
    """Return the type that torch's message refuses; a file cut off inside a name refuses nothing real."""
    _, _, rest = text.partition("GLOBAL ")
    name = rest.split(" ", 1)[0]
    return name if name and not name.endswith(".") else None


def _refusal(path: Path, names: str) -> DataError:
    return DataError(
        f"{path}: expected tensors and plain values, found the types {names}, which could run code when "
        "read; nothing was read. Get the weights as safetensors, or, where you trust the file, save its "
        "tensors alone with the program that made it: torch.save({'model': model.state_dict()}, 'new.pth')"
    )


def _too_new(path: Path) -> DataError:
    return DataError(
        f"{path}: expected a pickle of protocol {_PROTOCOL}, as torch.save writes, found codes that torch's "
        "restricted reader does not know; nothing was read. Get the weights as safetensors, or, where you "
        "trust the file, save its tensors alone with the program that made it: "
        "torch.save({'model': model.state_dict()}, 'new.pth')"
    )


def _damaged(path: Path, error: Exception) -> DataError:
    # What torch says before its reason is advice to read the file without its guard.
    lines = str(error).rpartition(_REASON)[2].strip().splitlines()
    return DataError(
        f"{path}: expected a weights file, found a damaged one or one cut off "
        f"({lines[0][:200] if lines else type(error).__name__}); download it again and compare its SHA-256"
    )


def _unwrapped(path: Path, value: object) -> Weights:
    if not isinstance(value, Mapping):
        raise DataError(f"{path}: expected named tensors, found {type(value).__name__}; is it a checkpoint?")
    dropped: list[str] = []
    inner: Mapping[str, object] = value
    for name in _CONTAINERS:
        entry = value.get(name)
        if isinstance(entry, Mapping):
            dropped += [_labelled(key, other) for key, other in value.items() if key != name]
            inner = entry
            break
    tensors = {str(key): found for key, found in inner.items() if isinstance(found, Tensor)}
    dropped += [_labelled(key, found) for key, found in inner.items() if not isinstance(found, Tensor)]
    if not tensors:
        raise DataError(f"{path}: expected named tensors, found none; is it a checkpoint of a model?")
    return Weights(tensors, tuple(dropped))


def _labelled(name: object, value: object) -> str:
    return f"{name} ({type(value).__name__})"
