"""Devices and types by name, and what happens when memory runs out; the GPU is a fake."""

from __future__ import annotations

import logging
import threading

import pytest
import torch

from my3dis.backends.torch_models import devices
from my3dis.backends.torch_models.devices import (
    BackOff,
    PeakMemory,
    choose_device,
    choose_dtype,
    torch_errors,
)
from my3dis.errors import ConfigError, ResourceError

CPU = torch.device("cpu")


class FakeCuda:
    """Two GPUs, the second chosen; 3 MiB at most since the last reset."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.reset: list[torch.device] = []

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        if self.broken:
            raise RuntimeError("no driver")
        self.reset.append(device)

    def max_memory_allocated(self, device: torch.device) -> int:
        if self.broken:
            raise RuntimeError("no driver")
        return 3 << 20


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


def test_device_names_on_a_machine_with_gpus(two_gpus: None) -> None:
    """``auto`` and ``cuda`` are the current GPU, a number is that GPU, and one too many is a shortage."""
    assert choose_device("auto") == torch.device("cuda", 1)
    assert choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cuda:0") == torch.device("cuda", 0)
    assert choose_device("cpu") == CPU
    with pytest.raises(ResourceError, match=r"cuda:3 was asked for.*offers cpu, cuda:0, cuda:1 to torch"):
        choose_device("cuda:3")


def test_device_names_on_a_machine_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` is the CPU, or Apple's GPU; every other device is a shortage that names what is here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(ResourceError, match=f"{name} was asked for, but this machine offers cpu to"):
            choose_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("mps")


@pytest.mark.parametrize(("wrong", "near"), [("gpu", "cuda:0"), ("CPU", "cpu"), ("cuda:x", "cuda:0")])
def test_wrong_device_names_the_nearest(wrong: str, near: str) -> None:
    """A misspelt device is a wrong setting, with the right one."""
    with pytest.raises(ConfigError, match=f"found '{wrong}'; did you mean {near}"):
        choose_device(wrong)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("fp16", "float16"), ("bf16", "bfloat16"), ("double", "float32"), ("flaot32", "float32")],
)
def test_wrong_type_names_the_nearest(wrong: str, near: str) -> None:
    """A type that is none is a wrong setting, with the right one."""
    with pytest.raises(ConfigError, match=f"found '{wrong}'; did you mean {near}"):
        choose_dtype(wrong, CPU)


def test_types() -> None:
    """``auto`` is float32 everywhere, and float16 is refused on a CPU."""
    gpu = torch.device("cuda", 0)
    assert choose_dtype("auto", gpu) == choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("float16", gpu) == torch.float16
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    with pytest.raises(ConfigError, match="float16 is for GPUs"):
        choose_dtype("float16", CPU)


def test_peaks_of_a_gpu() -> None:
    """The count is set back at the start and read in MiB; a CPU and a broken driver have none."""
    cuda = FakeCuda()
    peak = PeakMemory(torch.device("cuda", 1), cuda=cuda)
    assert cuda.reset == [torch.device("cuda", 1)]
    assert peak.peak_mb() == (("cuda:1", 3.0),)
    assert PeakMemory(CPU, cuda=cuda).peak_mb() == ()
    assert PeakMemory(torch.device("cuda", 0), cuda=FakeCuda(broken=True)).peak_mb() == ()


SHORTAGES = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes"),
    MemoryError(),
)


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda e: type(e).__name__)
def test_shortages_become_resource_errors(error: Exception) -> None:
    """Whatever says that memory ran out becomes ResourceError with what was being done."""
    with pytest.raises(ResourceError, match="loading: the memory ran out") as caught, torch_errors("loading"):
        raise error
    assert "more lines" not in str(caught.value)


def test_a_real_allocation_that_fails_is_recognised() -> None:
    """The allocator's own words for too much memory are understood."""
    with pytest.raises(ResourceError), torch_errors("asking for 4 PB"):
        torch.empty(10**15)


def test_other_errors_pass() -> None:
    """What is no shortage stays what it is."""
    with pytest.raises(RuntimeError, match="shape") as caught, torch_errors("loading"):
        raise RuntimeError("wrong shape")
    assert not isinstance(caught.value, ResourceError)
    with pytest.raises(RuntimeError, match="shape"):
        BackOff("points", 4).run(lambda size: (_ for _ in ()).throw(RuntimeError("wrong shape")))


def fits(most: int) -> object:
    def work(size: int) -> int:
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    return work


def test_batches_shrink_until_they_fit(caplog: pytest.LogCaptureFixture) -> None:
    """Sizes are halved, the one that fits is kept for later work, and each step is logged and noted."""
    back_off = BackOff("prompts at once", 64)
    with caplog.at_level(logging.INFO):
        assert back_off.run(fits(20)) == 16  # type: ignore[arg-type]
    assert back_off.run(fits(99)) == 16  # type: ignore[arg-type]
    assert [code for code, _ in back_off.notes] == ["smaller_batch", "smaller_batch"]
    assert back_off.notes[0][1] == (
        "the memory ran out with 64 prompts at once (CUDA out of memory); going on with 32"
    )
    assert [record.getMessage() for record in caplog.records] == [sentence for _, sentence in back_off.notes]


def test_the_smallest_batch_is_the_end() -> None:
    """When the smallest does not fit either, the error tells everything that was tried."""
    with pytest.raises(ResourceError, match=r"2 objects \(tried 7, 3, 2\)"):
        BackOff("objects", 7, smallest=2).run(fits(1))  # type: ignore[arg-type]


def test_the_cache_is_emptied_after_the_failed_attempt_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the failed attempt held is free before the next begins."""
    alive: list[int] = []

    class Held:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    seen: list[int] = []
    monkeypatch.setattr(devices, "empty_cache", lambda device_type=None: seen.append(len(alive)))

    def work(size: int) -> int:
        held = Held()
        if size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        del held
        return size

    assert BackOff("points", 4).run(work) == 1
    assert seen == [0, 0]


def test_threads_shrink_once() -> None:
    """Two threads that fail with the same size halve it once."""
    back_off = BackOff("points", 8)
    together = threading.Barrier(2)

    def work(size: int) -> int:
        if size == 8:
            together.wait(5)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return size

    threads = [threading.Thread(target=back_off.run, args=(work,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert back_off.size == 4
    assert len(back_off.notes) == 1
