"""What only a real GPU can show; skipped without one, and not run by the project itself so far."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from my3dis.backends.torch_models.devices import BackOff, PeakMemory, choose_device, parity_numerics
from my3dis.masks.overlap import iou_matrix
from my3dis.plugins import proposer
from my3dis.protocols import BackendOptions, MaskProposer, Reporting
from tests.backends.proposers import boxes
from tests.backends.proposers.sam2_auto.tiny import save_tiny_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def test_peaks_are_what_was_allocated() -> None:
    """A tensor of 64 MiB that is freed again is in the peak."""
    device = choose_device("auto")
    peak = PeakMemory(device)
    block = torch.zeros(16 << 20, device=device)
    del block
    ((name, peak_mb),) = peak.peak_mb()
    assert name == str(device)
    assert peak_mb >= 64


def test_a_real_shortage_backs_off() -> None:
    """A batch that no GPU holds is halved until it fits."""
    device = choose_device("auto")
    back_off = BackOff("values", 1 << 50)
    size = back_off.run(lambda n: torch.empty(n, device=device).numel())
    assert size < 1 << 50
    assert back_off.notes


def test_full_precision_inside() -> None:
    """With TF32 preferred outside, a product inside the block agrees with the CPU's."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        a = torch.rand(256, 256)
        with parity_numerics():
            product = (a.cuda() @ a.cuda()).cpu()
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.allclose(product, a @ a, rtol=1e-5)


def test_masks_agree_with_those_of_a_cpu(tmp_path: Path) -> None:
    """The same model proposes nearly the same masks on both, and memory is reported."""
    folder = save_tiny_model(tmp_path / "tiny")
    found = []
    for device in ("cpu", "cuda:0"):
        options = BackendOptions(checkpoint=str(folder), device=device, points_per_side=6, predicted_iou=0.0)
        made = proposer("sam2_auto").create(options)
        assert isinstance(made, MaskProposer)
        assert isinstance(made, Reporting)
        found.append(made.propose(boxes.frame(), (2, 4, 6)))
        assert bool(made.report().peak_gpu_mb) == (device != "cpu")
    assert len(found[0]) == len(found[1])
    assert (iou_matrix(found[0], found[1]).max(axis=1) > 0.98).all()
