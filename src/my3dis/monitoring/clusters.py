"""Whether the clusters on which jobs can run are to be reached from here; nothing is started there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from my3dis.monitoring.machine import package_version

__all__ = ["ClusterFound", "look_at_clusters", "ray_answers"]

_CONNECT_S, _SINFO_S = 2.0, 5.0
_COMMANDS = ("sbatch", "srun", "sacct", "scancel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFound:
    """One kind of cluster.

    Attributes:
        name: as in ``experiment.executor``.
        library: version of the library that speaks to it, None when it is not installed.
        reachable: whether something answers; None when there is nothing to ask.
        text: what was found, a sentence.
    """

    name: str
    library: str | None
    reachable: bool | None
    text: str


def look_at_clusters(
    ray_address: str | None = None, environment: Mapping[str, str] | None = None
) -> tuple[ClusterFound, ...]:
    """Return what is found of Ray and of SLURM.

    Args:
        ray_address: of the settings; without one that of ``RAY_ADDRESS``, else the cluster of this machine.
        environment: with ``RAY_ADDRESS``; of this process when None.
    """
    variables = os.environ if environment is None else environment
    reachable, text = ray_answers(ray_address or variables.get("RAY_ADDRESS") or "auto")
    ray = ClusterFound(name="ray", library=package_version("ray"), reachable=reachable, text=text)
    reachable, text = _slurm()
    slurm = ClusterFound(name="slurm", library=package_version("submitit"), reachable=reachable, text=text)
    return ray, slurm


def ray_answers(address: str) -> tuple[bool | None, str]:
    """Return whether something answers at the address of a Ray cluster, and a sentence about it.

    None means that there is nothing to ask: no cluster was started on this machine.
    """
    if address == "auto":
        found = _started_here()
        if found is None:
            return None, "no cluster was started on this machine; without an address a sweep starts its own"
        address = found
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return False, f"expected HOST:PORT or auto as the address, found {address!r}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        return False, f"nothing answers at {address} ({error})"
    return True, f"something answers at {address}"


def _started_here() -> str | None:
    """Return the address that ``ray start`` notes on its machine."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    try:
        return (folder / "ray_current_cluster").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _slurm() -> tuple[bool | None, str]:
    absent = [name for name in _COMMANDS if shutil.which(name) is None]
    if len(absent) == len(_COMMANDS):
        return None, "no commands of SLURM on this machine"
    if absent:
        return False, f"{', '.join(absent)} of SLURM's commands are not on this machine"
    sinfo = shutil.which("sinfo")
    if sinfo is None:
        return True, f"{', '.join(_COMMANDS)} are here"
    command = [sinfo, "--noheader", "--format=%P"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SINFO_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, f"sinfo does not answer ({error})"
    if done.returncode:
        return False, f"sinfo says: {done.stderr.strip()[:200] or f'exit code {done.returncode}'}"
    return True, f"partitions: {', '.join(dict.fromkeys(done.stdout.split())) or 'none'}"
