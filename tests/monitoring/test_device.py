"""GPU memory is measured where there is a GPU, and nothing fails where there is none."""

from __future__ import annotations

import time
from types import SimpleNamespace

from my3dis.monitoring.device import DeviceSampler, nvml_library

MIB = 1 << 20
OWN = 4321


class FakeNvml:
    """Two GPUs; the process takes memory on the second, and another process on both."""

    class NVMLError(Exception):
        """Any failure of the library."""

    def __init__(self, *, driver: bool = True, silent: tuple[int, ...] = ()) -> None:
        self.driver, self.silent = driver, silent
        self.own_mb = 100
        self.opened = 0

    def nvmlInit(self) -> None:  # noqa: N802 - names of the real library
        if not self.driver:
            raise self.NVMLError("driver not loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, n: int) -> int:  # noqa: N802
        return n

    def nvmlDeviceGetComputeRunningProcesses(self, n: int) -> list[SimpleNamespace]:  # noqa: N802
        if n in self.silent:
            raise self.NVMLError("not supported")
        other = SimpleNamespace(pid=1, usedGpuMemory=900 * MIB)
        unknown = SimpleNamespace(pid=OWN, usedGpuMemory=None)
        own = SimpleNamespace(pid=OWN, usedGpuMemory=self.own_mb * MIB)
        return [other, own] if n == 1 else [other, unknown]


def test_the_highest_use_of_this_process_is_kept() -> None:
    """A peak between start and end counts; other processes and GPUs do not."""
    nvml = FakeNvml()
    with DeviceSampler(nvml, interval_s=0.005, process=OWN) as gpus:
        nvml.own_mb = 700
        time.sleep(0.1)
        nvml.own_mb = 50
    assert gpus.peaks() == (("nvml:1", 700.0),)
    assert nvml.opened == 0


def test_no_library_no_driver_no_answer() -> None:
    """Without the library or a driver, or where a GPU does not tell, there are no figures and no error."""
    for nvml in (None, FakeNvml(driver=False), FakeNvml(silent=(0, 1))):
        with DeviceSampler(nvml, interval_s=0.005, process=OWN) as gpus:
            time.sleep(0.02)
        assert gpus.peaks() == ()


def test_this_machine_is_measured_without_failing() -> None:
    """Whatever is installed here, a stage can be measured."""
    with DeviceSampler(nvml_library()) as gpus:
        pass
    assert all(peak >= 0 for _, peak in gpus.peaks())
