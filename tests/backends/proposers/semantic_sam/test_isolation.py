"""Proposing leaves the process as it was: directory, paths, environment, settings and random state."""

from __future__ import annotations

import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from my3dis import plugins
from my3dis.backends.proposers.semantic_sam.proposer import SemanticSamProposer
from my3dis.protocols import BackendOptions
from my3dis.refinement.progressive import RefineOptions, refine
from my3dis.types import MaskSet
from tests.backends.isolation import require_as_before
from tests.backends.proposers.semantic_sam import painted, tiny

LEVELS = (2, 4)
WORK = """
from my3dis.refinement.progressive import RefineOptions, refine
assert len(refine(picture(0), (2, 4), plugins.proposer("semantic_sam").create(options), RefineOptions()).kept)
"""


def made(folder: Path, mode: str = "mask") -> SemanticSamProposer:
    options = BackendOptions(
        checkpoint=str(tiny.write_checkpoint(folder)), device="cpu", refine=mode, points_per_side=2
    )
    proposer = plugins.proposer("semantic_sam").create(options)
    assert isinstance(proposer, SemanticSamProposer)
    return proposer


def codes(masks: MaskSet) -> list[tuple[int, int, bytes]]:
    return list(zip(masks.level.tolist(), masks.parent_id.tolist(), masks.rle, strict=True))


def test_two_threads_propose_while_a_third_resolves_paths(tmp_path: Path) -> None:
    """Threads that share a proposer get what each gets alone, and relative paths keep their meaning."""
    proposer = made(tmp_path)
    frames = [painted.frame(index, scale=1.0 + index / 4) for index in range(2)]

    def propose(position: int) -> list[tuple[int, int, bytes]]:
        return codes(refine(frames[position], LEVELS, proposer, RefineOptions(min_area=10)).kept)

    alone = [propose(position) for position in range(2)]
    assert all(alone)
    before = (Path.cwd(), list(sys.path), dict(os.environ))
    wanted, seen, stop = Path("somewhere").resolve(), set(), threading.Event()

    def resolve() -> None:
        while not stop.is_set():
            seen.add(Path("somewhere").resolve())

    watcher = threading.Thread(target=resolve)
    watcher.start()
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(propose, [0, 1]))
    stop.set()
    watcher.join()
    assert together == alone
    assert seen == {wanted}
    assert (Path.cwd(), list(sys.path), dict(os.environ)) == before


def state() -> dict[str, object]:
    """What a back end could change for everybody else."""
    return {
        "directory": Path.cwd(),
        "paths": list(sys.path),
        "environment": dict(os.environ),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "tf32": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "torch's randomness": torch.random.get_rng_state().numpy().tobytes(),
        "numpy's randomness": str(np.random.get_state()),  # noqa: NPY002 - it is the global state that counts
        "python's randomness": random.getstate(),
        "print options": str(torch._tensor_str.PRINT_OPTS),
        "error handling": np.geterr(),
    }


@pytest.mark.parametrize("mode", ["crop", "mask", "points"])
def test_the_process_is_left_as_it_was(tmp_path: Path, mode: str) -> None:
    """Loading and proposing change no setting of the process, and no gradient is recorded."""
    before = state()
    proposer = made(tmp_path, mode)
    masks = refine(painted.frame(), LEVELS, proposer, RefineOptions(min_area=10)).kept
    assert len(masks)
    assert state() == before


def test_settings_that_somebody_chose_come_back(tmp_path: Path) -> None:
    """TF32 and autocast that another part of the process switched on are on again, and change no mask."""
    proposer = made(tmp_path)
    frame = painted.frame()
    plain = codes(refine(frame, LEVELS, proposer).kept)
    precision, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        with torch.autocast("cpu", dtype=torch.bfloat16):
            before = state()
            masks = codes(refine(frame, LEVELS, made(tmp_path)).kept)
            assert state() == before
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = convolutions
    assert masks == plain


def test_a_fresh_process_is_as_before(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nor does what is imported and built for the first time, such as torch's compiler, leave anything."""
    require_as_before(WORK, tiny.write_checkpoint(tmp_path_factory.mktemp("weights")), tmp_path)
