"""``instances.npz``: 3D instances as plain arrays, readable by NumPy alone without unpickling.

Keys: ``instance_id level parent_id label score point_offsets point_index n_points cloud_digest``, with
the meaning and dtype of `my3dis.types.InstanceSet`. Instance k owns
``point_index[point_offsets[k]:point_offsets[k + 1]]``.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.errors import DataError
from my3dis.types import InstanceSet

__all__ = ["INSTANCE_KEYS", "instances_to_bytes", "read_instances"]

_DTYPES: tuple[tuple[str, type[np.generic]], ...] = (
    ("instance_id", np.int32),
    ("level", np.int16),
    ("parent_id", np.int32),
    ("label", np.int32),
    ("score", np.float32),
    ("point_offsets", np.int64),
    ("point_index", np.int64),
)
INSTANCE_KEYS: tuple[str, ...] = (*(name for name, _ in _DTYPES), "n_points", "cloud_digest")

# What NumPy and zipfile raise on files that are damaged; anything else is a bug worth a traceback.
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,  # a damaged header may ask for any size
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def instances_to_bytes(instances: InstanceSet) -> bytes:
    """Return the content of the file; the same instances give the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {name: getattr(instances, name) for name, _ in _DTYPES}
    arrays["n_points"] = np.asarray(instances.n_points, np.int64)
    arrays["cloud_digest"] = np.asarray(instances.cloud_digest, np.str_)
    buffer = io.BytesIO()
    # The keys are fixed above; the stubs fear that one might be called like a parameter.
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_instances(path: Path) -> InstanceSet:
    """Read the file; older or foreign files may use wider integers and may lack ``cloud_digest``.

    Raises:
        DataError: if it is missing, damaged, or its arrays do not fit each other.
    """
    try:
        # From memory, since NumPy leaves the file open when it turns out to be no archive.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            return _from_arrays({key: stored[key] for key in INSTANCE_KEYS if key in stored})
    except FileNotFoundError as error:
        raise DataError(f"expected 3D instances at {path}, found no such file; run the stage lift") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; run the stage lift again"
        ) from error
    except DataError as error:
        raise DataError(f"{path}: {error}; run the stage lift again") from error
    except _DAMAGE as error:
        raise DataError(
            f"{path}: expected 3D instances as written by the stage lift, found a damaged file "
            f"({type(error).__name__}: {error}); run the stage lift again"
        ) from error


def _from_arrays(arrays: dict[str, NDArray[np.generic]]) -> InstanceSet:
    required = [key for key in INSTANCE_KEYS if key != "cloud_digest"]
    missing = [key for key in required if key not in arrays]
    if missing:
        raise DataError(f"expected the arrays {', '.join(required)}, found no {', '.join(missing)}")
    fields = {name: _converted(name, arrays[name], dtype) for name, dtype in _DTYPES}
    return InstanceSet(
        **fields,  # type: ignore[arg-type]
        n_points=int(_converted("n_points", arrays["n_points"], np.int64).reshape(-1)[0]),
        cloud_digest=str(arrays["cloud_digest"]) if "cloud_digest" in arrays else "",
    )


def _converted(name: str, value: NDArray[np.generic], dtype: type[np.generic]) -> NDArray[np.generic]:
    kind = "f" if np.issubdtype(dtype, np.floating) else "iu"
    if value.dtype.kind not in kind:
        raise DataError(f"{name}: expected {np.dtype(dtype)}, found {value.dtype}")
    with np.errstate(over="ignore"):
        converted = value.astype(dtype)
    if kind == "iu" and not np.array_equal(converted, value):
        raise DataError(f"{name}: expected values that fit {np.dtype(dtype)}, found larger ones")
    if kind == "f" and not np.isfinite(converted).all():
        raise DataError(f"{name}: expected finite values, found inf or nan")
    return converted
