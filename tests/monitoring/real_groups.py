"""Make a real control group with a memory limit below this process's own, where the machine allows it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from my3dis.monitoring.cgroups import find_group

_LIMITS = {1: "memory.limit_in_bytes", 2: "memory.max"}
_SWAP_LIMITS = ("memory.swap.max", "memory.memsw.limit_in_bytes")


@contextlib.contextmanager
def limited_group(limit_mb: int) -> Iterator[Path]:
    """Give the folder of a new group; skips the test, with the reason, where none can be made."""
    group = find_group(Path("/"))
    if not group.chain:
        pytest.skip(f"no control group can be made here: {group.hidden or 'this system has none'}")
    folder, reason = None, ""
    # Below a group with processes version 2 allows no limits, but beside it perhaps.
    for place in group.chain[:2]:
        folder = place / f"my3dis-test-{os.getpid()}-{time.monotonic_ns()}"
        try:
            folder.mkdir()
        except OSError as error:
            folder, reason = None, str(error)
            continue
        try:
            (folder / _LIMITS[group.version]).write_text(str(limit_mb << 20))
        except OSError as error:
            folder.rmdir()
            folder, reason = None, str(error)
            continue
        break
    if folder is None:
        pytest.skip(f"no control group with a memory limit can be made here: {reason}")
    for name in _SWAP_LIMITS:
        with contextlib.suppress(OSError):  # without swap there is no such file, or nothing to limit
            (folder / name).write_text("0" if "swap.max" in name else str(limit_mb << 20))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group; what still runs in it (it was started by the test) is ended first."""
    for _ in range(100):
        for line in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line), signal.SIGKILL)
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return
