"""Alignments of a scan's world that lie in files beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from my3dis.datasets.poses import valid_poses

__all__ = ["find_alignments", "read_alignment"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LARGEST_BYTES = 1 << 16


def find_alignments(root: Path) -> tuple[Path, ...]:
    """Return the files directly in a folder that hold an alignment, sorted by name."""
    if not root.is_dir():
        return ()
    named = (p for p in root.iterdir() if p.suffix in (".txt", ".json") and p.is_file())
    return tuple(path for path in sorted(named) if read_alignment(path) is not None)


def read_alignment(path: Path) -> NDArray[np.float64] | None:
    """Return the (4, 4) float64 alignment in a text file, or None when it holds none.

    Understood are a line ``axisAlignment = `` with 16 numbers, as in ScanNet's ``<scene>.txt``, and a file
    with ``align`` in its name that holds 16 numbers. The numbers go row by row and make a rigid motion that
    moves something.
    """
    try:
        text = path.read_text(errors="replace") if path.stat().st_size < _LARGEST_BYTES else ""
    except OSError:
        return None
    line = re.search(r"axisAlignment\s*=\s*(.+)", text)
    if line is None and "align" not in path.name.lower():
        return None
    words = re.findall(_NUMBER, line[1] if line else text)
    if len(words) != 16:
        return None
    matrix = valid_poses(np.array([float(word) for word in words]).reshape(1, 4, 4))[0]
    moves = not np.isnan(matrix[0, 0]) and not np.allclose(matrix, np.eye(4))
    return matrix if moves else None
