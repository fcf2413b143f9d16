"""Find and read 3D instances of one scene or of many, in our form and in those of benchmarks.

One scene: the folder of a run, ``instances.npz``, an ``.npz`` of ``pred_masks`` (P, K), ``pred_scores`` and
``pred_classes`` (K,), or ScanNet's text file with ``relative_mask_path label_id confidence`` a line. Many
scenes: a folder of such files, named after their scenes; or of folders ``<scene>/instances.npz`` or
``<scene>/<run>/instances.npz``.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.files import read_bytes
from my3dis.errors import ConfigError, DataError
from my3dis.runs.instances import load_instances
from my3dis.runs.layout import RunLayout
from my3dis.types import InstanceSet

__all__ = ["Prediction", "find_predictions", "load_prediction"]

_SHOWN = 80
"""Characters of somebody's text that a message repeats."""
_LARGEST = 2.0**31
_WHITESPACE = b" \t\r\n"
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, OverflowError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where the instances of one scene are."""

    scene: str
    path: Path


def find_predictions(path: Path, run: str | None = None) -> tuple[Prediction, ...]:
    """Return the scenes that have predictions, by name; nothing of them is read yet.

    Args:
        path: one scene or a folder of many, as described in the module.
        run: name of the run to take where scenes have several.

    Raises:
        DataError: if there is nothing to score.
        ConfigError: if a scene has several runs and none was named, or one was named where there are none.
    """
    found = _without_runs(path)
    if found:
        if run is not None:
            raise ConfigError(
                f"--run {run} chooses among the runs of scenes, and {path} has none; leave it out"
            )
        return found
    scenes = [_of_folder(folder, run) for folder in sorted(path.iterdir()) if folder.is_dir()]
    found = tuple(scene for scene in scenes if scene is not None)
    if not found:
        named = f" of run {run!r}" if run else ""
        raise DataError(
            f"{path}: expected instances{named}: <scene>.npz, <scene>.txt, <scene>/instances.npz or "
            "<scene>/<run>/instances.npz; found none"
        )
    return found


def _without_runs(path: Path) -> tuple[Prediction, ...]:
    """Return the one scene, or the scenes that are files of a folder; empty where scenes are folders."""
    if path.is_file():
        return (Prediction(_scene_of(path), path),)
    if not path.is_dir():
        raise DataError(
            f"expected the folder of a run, an instances.npz or a folder of scenes, found no {path}"
        )
    own = RunLayout(path).instances
    if own.is_file():
        return (Prediction(_scene_of(own), own),)
    if RunLayout(path).manifest.is_file():
        raise DataError(
            f"{path}: expected instances.npz in the folder of a run, found none; lift the run first"
        )
    for suffix in (".npz", ".txt"):
        files = sorted(file for file in path.glob(f"*{suffix}") if file.is_file())
        if files:
            return tuple(Prediction(file.stem, file) for file in files)
    return ()


def load_prediction(prediction: Prediction, n_points: int) -> InstanceSet:
    """Read the instances of a scene.

    Args:
        prediction: where they are.
        n_points: vertices of the ground truth; a text file without a line says no number of its own.

    Raises:
        DataError: if a file is missing, damaged, or of another form.
    """
    path = prediction.path
    if path.suffix == ".txt":
        return _benchmark(path, n_points)
    if path.suffix != ".npz":
        raise DataError(f"{path}: expected .npz or .txt, found another file; give the folder of a run")
    names = _array_names(path)
    return _dense(path) if "pred_masks" in names else load_instances(path)


def _scene_of(path: Path) -> str:
    # <scene>/<run>/instances.npz, as runs are laid out
    folder = path.resolve().parent
    return folder.parent.name if RunLayout(folder).manifest.is_file() else path.stem


def _of_folder(folder: Path, run: str | None) -> Prediction | None:
    own = RunLayout(folder).instances
    if own.is_file():
        return Prediction(folder.name, own)
    runs = sorted(
        inner.name
        for inner in folder.iterdir()
        if RunLayout(inner).instances.is_file() and (run is None or inner.name == run)
    )
    if len(runs) > 1:
        raise ConfigError(f"{folder}: expected one run, found {', '.join(runs)}; name one with --run NAME")
    return Prediction(folder.name, RunLayout(folder / runs[0]).instances) if runs else None


def _array_names(path: Path) -> frozenset[str]:
    """Return the names of an archive's arrays; none where it is damaged, which its reader will say better."""
    try:
        with zipfile.ZipFile(path) as file:
            return frozenset(name.removesuffix(".npy") for name in file.namelist())
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()


def _dense(path: Path) -> InstanceSet:
    expected = "pred_masks (P, K), pred_scores (K,) and pred_classes (K,)"
    try:
        with np.load(path, allow_pickle=False) as file:
            scores = "pred_score" if "pred_score" in file.files else "pred_scores"
            masks, score, label = (np.asarray(file[name]) for name in ("pred_masks", scores, "pred_classes"))
        if masks.ndim != 2 or score.shape != (masks.shape[1],) or label.shape != score.shape:
            raise ValueError(f"shapes {masks.shape}, {score.shape} and {label.shape}")
        points = [np.flatnonzero(_whole(column, "masks of 0 and 1")) for column in masks.T]
        if score.dtype.kind not in "fiu":
            raise ValueError(f"confidences of {score.dtype}")
        label = _whole(label, "whole labels").astype(np.int64)
        return _instance_set(points, len(masks), label, score.astype(np.float64))
    except OSError as error:
        raise DataError(f"{path}: expected {expected}, found no readable file ({error})") from error
    except (*_DAMAGE, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected {expected}, found something else ({error})") from error


def _whole(values: NDArray[Any], what: str) -> NDArray[Any]:
    """Return the values if all are whole numbers; else a probability would pass for a 1 without a word."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"expected {what}, found {values.dtype}")
    if values.dtype.kind == "f":
        whole = (np.abs(values) <= _LARGEST) & (values == np.trunc(values))
        if not bool(whole.all()):
            raise ValueError(f"expected {what}, found {values[~whole][0]}")
    return values


def _benchmark(path: Path, n_points: int) -> InstanceSet:
    expected = "lines of relative_mask_path label_id confidence"
    # A scene in which nothing was found has a file without a line.
    data = read_bytes(path, expected) if path.stat().st_size else b""
    text = data.decode("utf-8", "replace")
    root = path.resolve().parent
    points: list[NDArray[np.int64]] = []
    labels: list[int] = []
    scores: list[float] = []
    length = None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            name, label, score = words
            labels.append(int(label))
            scores.append(float(score))
        except ValueError as error:
            raise DataError(f"{path}: expected {expected}, found {_cut(line)!r} in line {number}") from error
        values = _mask(_below(root, name, f"{path}, line {number}"))
        if length is not None and len(values) != length:
            raise DataError(
                f"{root / name}: expected {length} values like the scene's first mask, found {len(values)}"
            )
        length = len(values)
        points.append(np.flatnonzero(values))
    try:
        return _instance_set(
            points, n_points if length is None else length, np.array(labels, np.int64), np.array(scores)
        )
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {error}") from error


def _below(root: Path, name: str, where: str) -> Path:
    try:
        mask = (root / name).resolve()
        below = mask.is_relative_to(root) and mask.is_file()
    except (OSError, ValueError):  # too long, or with a character that no file name has
        below = False
    if not below:
        raise DataError(f"{where}: expected the file of a mask below {root}, found {_cut(name)!r}")
    return mask


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _mask(path: Path) -> NDArray[np.bool_]:
    expected = "0 or 1 a line, one for each vertex"
    data = np.frombuffer(read_bytes(path, expected), np.uint8)
    digit = (data == ord("0")) | (data == ord("1"))
    # Nearly all files are single digits apart: those need no parsing of numbers.
    if not bool((digit[1:] & digit[:-1]).any()) and bool(
        (digit | np.isin(data, np.frombuffer(_WHITESPACE, np.uint8))).all()
    ):
        return np.asarray(data[digit] == ord("1"))
    try:
        values = np.array(data.tobytes().split(), np.bytes_).astype(np.float64)
        return np.asarray(_whole(values, "whole numbers") != 0)
    except ValueError as error:
        raise DataError(f"{path}: expected {expected}, found something else ({_cut(str(error))})") from error


def _instance_set(
    points: list[NDArray[Any]], n_points: int, label: NDArray[np.int64], score: NDArray[np.float64]
) -> InstanceSet:
    if not bool((np.abs(score) <= np.finfo(np.float32).max).all()):
        raise ValueError("expected finite confidences, found others")
    limit = np.iinfo(np.int32).max
    if len(label) and not -1 <= int(label.min()) <= int(label.max()) <= limit:
        raise ValueError(f"expected labels from -1 to {limit}, found {label.min()}..{label.max()}")
    k = len(points)
    return InstanceSet(
        instance_id=np.arange(k, dtype=np.int32),
        level=np.zeros(k, np.int16),
        parent_id=np.full(k, -1, np.int32),
        label=label.astype(np.int32),
        score=score.astype(np.float32),
        point_offsets=np.cumsum([0, *map(len, points)]).astype(np.int64),
        point_index=np.concatenate([np.zeros(0, np.int64), *points]).astype(np.int64),
        n_points=n_points,
        cloud_digest="",
    )
