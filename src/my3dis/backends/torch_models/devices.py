"""Choose where and in which precision a model runs, and get along when its memory runs out."""

from __future__ import annotations

import contextlib
import difflib
import gc
import logging
import re
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Protocol, TypeVar

import torch

from my3dis.backends.torch_models.numerics import parity_numerics
from my3dis.errors import ConfigError, ResourceError

__all__ = [
    "BackOff",
    "PeakMemory",
    "choose_device",
    "choose_dtype",
    "empty_cache",
    "first_line",
    "is_out_of_memory",
    "parity_numerics",
    "torch_errors",
]

_LOG = logging.getLogger(__name__)
_MIB = 1 << 20
_T = TypeVar("_T")

_DTYPES = {
    "auto": torch.float32,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_OTHER_NAMES = {
    "fp32": "float32",
    "float": "float32",
    "fp16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "double": "float32",
    "float64": "float32",
}
# Of the CPU's allocator, Apple's, CUDA's where it raises no class of its own, and cuBLAS's.
_SHORTAGE = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "cublas_status_alloc_failed",
)
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def choose_device(name: str) -> torch.device:
    """Return the device that a setting means.

    Args:
        name: ``auto`` (the current CUDA GPU, else Apple's MPS, else the CPU), ``cpu``, ``mps``, ``cuda``
            or ``cuda:N``.

    Raises:
        ConfigError: if it is no such name.
        ResourceError: if this machine has no such device, telling which it has.
    """
    if not _DEVICE.fullmatch(name):
        near = difflib.get_close_matches(name.lower(), ["auto", "cpu", "cuda:0", "mps"], n=1, cutoff=0.3)
        wanted = "cuda:0" if "gpu" in name.lower() else near[0] if near else None
        meant = f"; did you mean {wanted}?" if wanted else ""
        raise ConfigError(f"device: expected auto, cpu, cuda:N or mps, found {name!r}{meant}")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and device.index is None and count:
        return torch.device("cuda", torch.cuda.current_device())
    absent = (device.type == "cuda" and (device.index or 0) >= count) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ResourceError(
            f"device {name} was asked for, but this machine offers {', '.join(_devices_here())} to torch "
            f"{torch.__version__}; set device to one of them or to auto, or install a torch build for "
            "your GPU (https://pytorch.org/get-started)"
        )
    return device


def _devices_here() -> list[str]:
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.append("mps")
    if torch.cuda.is_available():
        here += [f"cuda:{n}" for n in range(torch.cuda.device_count())]
    return here


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the floating-point type that a setting means.

    ``auto`` is float32 on every device, since only float32 was compared with recorded reference outputs;
    ``float16`` and ``bfloat16`` are the faster mode of GPUs, and change results.

    Raises:
        ConfigError: if it is no such name, or float16 is asked for on a CPU.
    """
    if name not in _DTYPES:
        near = difflib.get_close_matches(name.lower().removeprefix("torch."), list(_DTYPES), n=1, cutoff=0.4)
        meant = _OTHER_NAMES.get(name.lower()) or (near[0] if near else None)
        raise ConfigError(
            f"dtype: expected {', '.join(_DTYPES)}, found {name!r}"
            + (f"; did you mean {meant}?" if meant else "")
        )
    if name == "float16" and device.type == "cpu":
        raise ConfigError(
            "dtype: float16 is for GPUs, found device cpu; use float32, or bfloat16 where speed matters more"
        )
    return _DTYPES[name]


class _Counts(Protocol):
    """What is asked of ``torch.cuda``."""

    def reset_peak_memory_stats(self, device: torch.device) -> None: ...

    def max_memory_allocated(self, device: torch.device) -> int: ...


class PeakMemory:
    """The most memory that torch held on a GPU since this object was made.

    On the CPU there is nothing to tell: resident memory is measured by the stage.

    Args:
        device: where the model runs.
        cuda: the module to ask; another one in tests.
    """

    def __init__(self, device: torch.device, *, cuda: ModuleType | _Counts = torch.cuda) -> None:
        self._device = device
        self._cuda = cuda
        if device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # a driver that cannot say must not stop the work
                cuda.reset_peak_memory_stats(device)

    def peak_mb(self) -> tuple[tuple[str, float], ...]:
        """Return (device, MiB), empty where torch keeps no count."""
        if self._device.type != "cuda":
            return ()
        try:
            return ((str(self._device), self._cuda.max_memory_allocated(self._device) / _MIB),)
        except RuntimeError:
            return ()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that a device or the host ran out of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SHORTAGE)


@contextlib.contextmanager
def torch_errors(what: str) -> Iterator[None]:
    """Turn running out of memory into `ResourceError`; other errors of torch pass through.

    Args:
        what: what was being done, as the beginning of a sentence.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"{what}: the memory ran out ({first_line(error)}); use a smaller batch, another device, or "
            "stop what else uses it, then run again: finished stages are kept"
        ) from error


def empty_cache(device_type: str | None = None) -> None:
    """Give back to the device what torch keeps in reserve."""
    gc.collect()
    if device_type in (None, "cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if device_type in (None, "mps") and torch.backends.mps.is_available():
        torch.mps.empty_cache()


class BackOff:
    """Runs work in batches and makes them smaller when the memory runs out.

    The smaller size is kept for all later work, since what did not fit once will not fit again. Safe to
    share between threads: the size only ever falls.

    Args:
        what: what the batch is made of, such as ``prompts at once``.
        size: the first batch size.
        smallest: below it nothing is tried.

    Attributes:
        size: batch size of the next run.
        notes: (``smaller_batch``, sentence) for each time that it was made smaller.
    """

    def __init__(self, what: str, size: int, smallest: int = 1) -> None:
        self.what = what
        self.size = max(size, smallest)
        self.notes: tuple[tuple[str, str], ...] = ()
        self._smallest = smallest
        self._lock = threading.Lock()

    def run(self, fn: Callable[[int], _T]) -> _T:
        """Call ``fn(batch size)`` until it fits; it must start anew on each call.

        Raises:
            ResourceError: naming every size tried, when the smallest does not fit either.
        """
        tried: list[int] = []
        while True:
            size = self.size
            tried.append(size)
            try:
                return fn(size)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
                if size <= self._smallest:
                    # The traceback holds the tensors of the failed attempt; the sentence is enough.
                    raise ResourceError(
                        f"the memory ran out with {size} {self.what} (tried {', '.join(map(str, tried))}): "
                        f"{reason}; use another device, smaller images or a smaller model"
                    ) from None
            # Outside the handler, so that the failed attempt's tensors are let go before the next one.
            self._shrink(size, reason)

    def _shrink(self, failed: int, reason: str) -> None:
        with self._lock:
            if self.size >= failed:  # another thread may have been here already
                self.size = max(failed // 2, self._smallest)
                note = f"the memory ran out with {failed} {self.what} ({reason}); going on with {self.size}"
                self.notes = (*self.notes, ("smaller_batch", note))
                _LOG.info("%s", note)  # the stage warns of it at its end
        empty_cache()


def first_line(error: BaseException) -> str:
    """Return how an error's message begins, or the name of its type if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
