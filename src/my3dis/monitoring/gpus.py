"""Which GPUs this machine has, and who told so."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from my3dis.monitoring.device import nvml_library
from my3dis.monitoring.machine import package_version

__all__ = ["Gpu", "Gpus", "find_gpus"]

_MIB = 1 << 20
_SMI_PATIENCE_S = 20.0
_SMI_FIELDS = ("index", "uuid", "name", "memory.total", "memory.used", "driver_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; memory in MiB, 0 = unknown."""

    index: int
    name: str
    uuid: str = ""
    total_mb: float = 0.0
    used_mb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpus:
    """The GPUs of this machine, who told of them, and what was not found out."""

    source: str
    devices: tuple[Gpu, ...] = ()
    driver: str | None = None
    notes: tuple[str, ...] = ()


def find_gpus(library: Any = None, *, use_torch: bool = True) -> Gpus:  # noqa: ANN401  # a module without types
    """Return the GPUs as NVIDIA's library tells them, else ``nvidia-smi``, else torch; never raises.

    Args:
        library: to ask in NVIDIA's place, in tests.
        use_torch: ask torch too, which takes seconds; only where it was built for a GPU.
    """
    notes: list[str] = []
    found = _ask_nvml(library or nvml_library(), notes) or _ask_smi(notes)
    if found is not None:
        return found
    version = package_version("torch")
    if use_torch and version is not None and "+cpu" not in version:
        found = _ask_torch(notes)
        if found is not None:
            return found
    return Gpus(source="none", notes=tuple(notes))


def _ask_nvml(library: Any, notes: list[str]) -> Gpus | None:  # noqa: ANN401  # a module without types
    if library is None:
        return None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        notes.append(f"NVIDIA's library finds no driver ({error})")
        return None
    try:
        devices = []
        for n in range(library.nvmlDeviceGetCount()):
            device = library.nvmlDeviceGetHandleByIndex(n)
            memory = library.nvmlDeviceGetMemoryInfo(device)
            devices.append(
                Gpu(
                    index=n,
                    name=_text(library.nvmlDeviceGetName(device)),
                    uuid=_text(library.nvmlDeviceGetUUID(device)),
                    total_mb=memory.total / _MIB,
                    used_mb=memory.used / _MIB,
                )
            )
        driver = _text(library.nvmlSystemGetDriverVersion())
    except library.NVMLError as error:
        notes.append(f"NVIDIA's library does not tell of the GPUs ({error})")
        return None
    finally:
        with contextlib.suppress(library.NVMLError):
            library.nvmlShutdown()
    return Gpus(source="NVML", devices=tuple(devices), driver=driver, notes=tuple(notes))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _ask_smi(notes: list[str]) -> Gpus | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, f"--query-gpu={','.join(_SMI_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603  # the program is NVIDIA's, found on PATH
            query, capture_output=True, text=True, check=True, timeout=_SMI_PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        notes.append(f"nvidia-smi is there but does not answer ({error})")
        return None
    devices, driver = [], None
    for line in done.stdout.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_SMI_FIELDS) or not fields[0].isdecimal():
            notes.append(f"nvidia-smi says what cannot be understood: {line[:80]!r}")
            continue
        total, used = (float(text) if re.fullmatch(r"[0-9.]+", text) else 0.0 for text in fields[3:5])
        devices.append(
            Gpu(index=int(fields[0]), uuid=fields[1], name=fields[2], total_mb=total, used_mb=used)
        )
        driver = fields[5]
    return Gpus(source="nvidia-smi", devices=tuple(devices), driver=driver, notes=tuple(notes))


def _ask_torch(notes: list[str]) -> Gpus | None:
    try:
        import torch

        if torch.cuda.is_available():
            devices = []
            for n in range(torch.cuda.device_count()):
                free, total = torch.cuda.mem_get_info(n)
                name = torch.cuda.get_device_name(n)
                devices.append(Gpu(index=n, name=name, total_mb=total / _MIB, used_mb=(total - free) / _MIB))
            return Gpus(source="torch", devices=tuple(devices), notes=tuple(notes))
        if torch.backends.mps.is_available():
            return Gpus(source="torch", devices=(Gpu(index=0, name="Apple MPS"),), notes=tuple(notes))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        notes.append(f"torch does not tell of GPUs ({error})")
    return None
