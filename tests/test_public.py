"""The package's face: quick to import, with the names that people need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import my3dis


def test_import_is_light() -> None:
    """`import my3dis` loads no array library, no image library and no model library."""
    code = (
        "import sys, my3dis; "
        "print([m for m in ('torch', 'cv2', 'numpy', 'scipy', 'pydantic', 'higra') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_scan_is_there_without_torch_or_cv2() -> None:
    """Touching the public names loads neither torch nor cv2."""
    code = "import sys, my3dis; [getattr(my3dis, n) for n in my3dis.__all__]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names() -> None:
    """Every name in __all__ can be had, dir() lists them, and others raise AttributeError."""
    for name in my3dis.__all__:
        assert getattr(my3dis, name) is not None
    assert set(my3dis.__all__) <= set(dir(my3dis))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = my3dis.nothing
