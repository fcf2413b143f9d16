"""Whether a back end leaves the process as it found it, seen from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BEFORE = """
import logging, os, random, sys, threading
import cv2  # which puts its own folder into LD_LIBRARY_PATH
import numpy as np
environment, folder, path = dict(os.environ), os.getcwd(), list(sys.path)
handlers, level = list(logging.root.handlers), logging.root.level
import torch
def state():
    return {
        "threads": torch.get_num_threads(), "interop": torch.get_num_interop_threads(),
        "dtype": torch.get_default_dtype(), "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "benchmark": torch.backends.cudnn.benchmark, "mkldnn": torch.backends.mkldnn.enabled,
        "torch_random": torch.random.get_rng_state().tolist(),
        "numpy_random": str(np.random.get_state()), "python_random": random.getstate(),
        "live_threads": {t.name for t in threading.enumerate()},
        "handlers": list(logging.root.handlers), "level": logging.root.level,
    }
torch.set_float32_matmul_precision("high")  # a process with settings of its own keeps them
torch.manual_seed(5); np.random.seed(5); random.seed(5)
before = state()
sys.path.insert(0, sys.argv[2])
from my3dis import plugins
from my3dis.protocols import BackendOptions
from tests.backends.trackers.sam2_video.scenes import picture, rectangles
sys.path.remove(sys.argv[2])
options = BackendOptions(checkpoint=sys.argv[1], device="cpu", points_per_side=2, predicted_iou=0.0)
"""

AFTER = """
after = state()
assert before == after, {k: (before[k], after[k]) for k in before if before[k] != after[k]}
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
assert (os.getcwd(), list(sys.path)) == (folder, path)
assert (handlers, level) == (after["handlers"], after["level"])
"""


def require_as_before(work: str, checkpoint: Path, folder: Path) -> None:
    """Fail if making and running a back end changes anything of its process, or says or writes something.

    Args:
        work: lines of Python that make the back end from ``options`` and run it.
        checkpoint: its weights.
        folder: an empty one to run in.
    """
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + work + AFTER, str(checkpoint), str(ROOT)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert list(folder.iterdir()) == []
