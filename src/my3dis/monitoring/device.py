"""Measure how much GPU memory this process takes, with NVIDIA's library where it is there."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from types import ModuleType, TracebackType
from typing import Any, Self

__all__ = ["DeviceSampler", "nvml_library"]

_LOG = logging.getLogger(__name__)
_MIB = 1 << 20
_INTERVAL_S = 0.2


def nvml_library() -> ModuleType | None:
    """Return NVIDIA's management library (``pip install 'my3dis[gpu]'``), or None without it."""
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None


class DeviceSampler:
    """Samples what the driver counts for this process on each GPU while a block runs; a context manager.

    That includes the context and the cache of torch, so it is more than torch's own count of live tensors.
    Without the library, a driver or a GPU it does nothing: the measurement must never end the work.

    Args:
        library: what to ask; None = nothing.
        interval_s: seconds between samples.
        process: id of the process to look for.

    Attributes:
        peak_mb: GPU (``nvml:N``, N as the driver counts) to MiB at most; GPUs without this process are
            left out.
    """

    def __init__(
        self,
        library: Any,  # noqa: ANN401  # a module without types
        *,
        interval_s: float = _INTERVAL_S,
        process: int | None = None,
    ) -> None:
        self.peak_mb: dict[str, float] = {}
        self._library = library
        self._interval_s = interval_s
        self._process = os.getpid() if process is None else process
        self._devices: list[Any] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def peaks(self) -> tuple[tuple[str, float], ...]:
        """Return (GPU, MiB) in the driver's order."""
        return tuple(self.peak_mb.items())

    def __enter__(self) -> Self:
        if self._library is not None and self._open():
            self._look()
            self._thread = threading.Thread(target=self._sample, name="my3dis-gpu", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._look()
        with contextlib.suppress(self._library.NVMLError):
            self._library.nvmlShutdown()

    def _open(self) -> bool:
        library = self._library
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
            self._devices = [library.nvmlDeviceGetHandleByIndex(n) for n in range(count)]
        except library.NVMLError as error:
            _LOG.debug("GPU memory is not measured: %s", error)
            return False
        return bool(self._devices)

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._look()

    def _look(self) -> None:
        for n, device in enumerate(self._devices):
            try:
                running = self._library.nvmlDeviceGetComputeRunningProcesses(device)
            except self._library.NVMLError:
                continue  # a GPU that does not tell, such as one that is split or asleep
            used = [p.usedGpuMemory for p in running if p.pid == self._process and p.usedGpuMemory]
            if used:
                name = f"nvml:{n}"
                self.peak_mb[name] = max(self.peak_mb.get(name, 0.0), sum(used) / _MIB)
