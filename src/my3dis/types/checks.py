"""Checks that the core types run on construction: shape, dtype and range, without copying."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from my3dis.errors import DataError

__all__ = ["frozen_array", "require"]


def require(condition: bool, owner: str, message: str) -> None:
    """Raise ``DataError("<owner>: <message>")`` unless the condition holds."""
    if not condition:
        raise DataError(f"{owner}: {message}")


def frozen_array(value: object, owner: str, shape: tuple[int | None, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return a read-only view of an array after checking its shape and dtype.

    Args:
        value: what was passed for the field.
        owner: name for the message, such as ``MaskSet.boxes``.
        shape: expected shape; None matches any length.
        dtype: the exact dtype expected; nothing is converted silently.

    Raises:
        DataError: if the value is no array, or its dtype or shape differ.
    """
    wanted = np.dtype(dtype)
    if not isinstance(value, np.ndarray):
        raise DataError(f"{owner}: expected a NumPy array of {wanted}, found {type(value).__name__}")
    if value.dtype != wanted:
        raise DataError(
            f"{owner}: expected dtype {wanted}, found {value.dtype}; convert with .astype(np.{wanted.name})"
        )
    fits = value.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        described = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise DataError(f"{owner}: expected shape {described}, found {value.shape}")
    view = value.view()
    view.flags.writeable = False
    return view
