"""Full precision inside the block, and the process's own settings around it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from my3dis.backends.torch_models.numerics import parity_numerics


@pytest.fixture(autouse=True)
def fast_process() -> Iterator[None]:
    """A process that prefers speed: TF32 everywhere."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def flags() -> tuple[object, ...]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.is_autocast_enabled("cpu"),
    )


def test_inside_and_after() -> None:
    """TF32 and autocast are off inside, nested blocks included, and as before afterwards, errors included."""
    before = flags()
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(ValueError, match="inside"),
        parity_numerics(),
    ):
        with parity_numerics():
            pass
        assert flags() == ("highest", False, False, False)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        raise ValueError("inside")
    assert flags() == before


def test_the_last_thread_restores() -> None:
    """While one thread is inside, precision stays full, whoever leaves first."""
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with parity_numerics():
            inside.set()
            leave.wait(5)

    before = flags()
    thread = threading.Thread(target=work)
    with parity_numerics():
        thread.start()
        assert inside.wait(5)
    assert flags()[:3] == ("highest", False, False)
    leave.set()
    thread.join()
    assert flags() == before


def test_a_process_that_uses_the_newer_flags() -> None:
    """Torch refuses the older names to a process that used the newer ones; they are restored all the same."""
    code = """
import torch
from my3dis.backends.torch_models.numerics import parity_numerics
torch.backends.cuda.matmul.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "tf32"
names = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
before = [n.fp32_precision for n in names]
with parity_numerics():
    assert [n.fp32_precision for n in names] == ["ieee"] * 3, [n.fp32_precision for n in names]
assert [n.fp32_precision for n in names] == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
