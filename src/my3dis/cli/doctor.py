"""The command ``my3dis doctor``: what this machine offers, what the memory guard can see, and what to do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.doctor_lines import numbered, sections
from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.config import Config
    from my3dis.monitoring.clusters import ClusterFound
    from my3dis.monitoring.gpus import Gpus
    from my3dis.monitoring.host import HostMemory
    from my3dis.monitoring.machine import Disk, Extra, Processors
    from my3dis.runs.provenance import Environment

__all__ = ["Findings", "Weights", "add_commands"]

_LOW_DISK_MB = 5_000
_SMALL_MEMORY_MB = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A setting that names model weights, and where they are; None = not on this machine."""

    key: str
    value: str
    found: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that was found out.

    Attributes:
        advice: what to do, one sentence each; empty when all is well.
    """

    memory: HostMemory
    address_space_mb: float | None
    processors: Processors
    disk: Disk
    gpus: Gpus
    environment: Environment
    extras: tuple[Extra, ...]
    executor: str
    clusters: tuple[ClusterFound, ...]
    weights: tuple[Weights, ...]
    settings_error: str | None
    advice: list[str] = field(default_factory=list)


def add_commands(commands: Commands[Parser]) -> None:
    """Add the command."""
    doctor = add_command(
        commands,
        "doctor",
        "show what this machine offers, what the memory guard can see here, and what to do about gaps",
        """
my3dis doctor                         memory, processors, disk, GPUs, versions, extras, weights
my3dis doctor my.yaml                 the same for the output folder and weights of these settings
my3dis doctor --output /mnt/runs      is that folder fit for runs: space, locks, network or local
my3dis doctor --json                  the same for scripts; "advice" is empty when all is well
""",
    )
    doctor.add_argument("config", metavar="CONFIG.yaml", nargs="?", type=Path, help="settings file")
    doctor.add_argument("--output", metavar="DIR", type=Path, help="folder for runs, instead of the setting")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(call=_doctor)


def _doctor(arguments: argparse.Namespace, console: Console) -> int:
    del console
    findings = _look_around(arguments.config, arguments.output)
    if arguments.json:
        shown = asdict(findings)
        shown["environment"] = findings.environment.as_json()
        shown["memory"]["capacity_mb"] = findings.memory.capacity_mb
        shown["processors"]["usable"] = findings.processors.usable
        for extra in shown["extras"]:
            extra["installed"] = dict(extra["installed"])
        print(json.dumps(shown, indent=2, default=str))
        return EXIT_OK
    for paragraph in sections(findings):
        print(f"{paragraph}\n")
    print("what to do" if findings.advice else "Nothing to do: all that a run needs is here.")
    for n, sentence in enumerate(findings.advice, start=1):
        print(numbered(n, sentence))
    return EXIT_OK


def _look_around(file: Path | None, output: Path | None) -> Findings:
    from my3dis.config import Config
    from my3dis.config.load import load_config
    from my3dis.monitoring.clusters import look_at_clusters
    from my3dis.monitoring.gpus import find_gpus
    from my3dis.monitoring.host import read_host_memory
    from my3dis.monitoring.machine import address_space_mb, extras, look_at_disk, processors
    from my3dis.runs.provenance import environment_snapshot

    problem = None
    try:
        config = load_config(file)
    except ConfigError as error:  # somebody whose settings are broken needs the rest all the more
        config, problem = Config(), str(error)
    folder = output or Path(str(config.experiment.output_root).replace("{name}", config.experiment.name))
    findings = Findings(
        memory=read_host_memory(),
        address_space_mb=address_space_mb(),
        processors=processors(),
        disk=look_at_disk(folder),
        gpus=find_gpus(),
        environment=environment_snapshot(),
        extras=extras(),
        executor=config.experiment.executor,
        clusters=look_at_clusters(config.experiment.ray_address),
        weights=_weights(config),
        settings_error=problem,
    )
    findings.advice.extend(_advice(findings))
    return findings


def _weights(config: Config) -> tuple[Weights, ...]:
    from my3dis.backends.torch_models.weights import local_weights

    set_now = (
        ("stages.ssam.checkpoint", config.stages.ssam.checkpoint),
        ("stages.tracker.checkpoint", config.stages.tracker.checkpoint),
    )
    return tuple(
        Weights(key=key, value=value, found=str(found) if (found := local_weights(value)) else None)
        for key, value in set_now
        if value
    )


def _advice(findings: Findings) -> Iterator[str]:
    memory, disk, gpus = findings.memory, findings.disk, findings.gpus
    if findings.settings_error:
        yield f"The settings cannot be read: {findings.settings_error}"
    for sentence in memory.missing:
        yield f"Memory: {sentence}."
    if 0 < memory.capacity_mb < _SMALL_MEMORY_MB:
        yield f"Memory: {memory.capacity_mb:,.0f} MiB are little; run one scene at a time."
    if not disk.writable:
        yield f"Output: {disk.looked_at} cannot be written; choose another folder or change its permissions."
    elif not disk.total_mb:
        yield f"Output: the file system of {disk.looked_at} does not answer; see whether its server is there."
    elif disk.free_mb < _LOW_DISK_MB:
        yield (
            f"Output: {disk.free_mb:,.0f} MiB are free in {disk.looked_at}; free some space or choose "
            "another folder: a full disk ends a run (which continues later)."
        )
    if disk.locks is False:
        yield (
            f"Output: {disk.looked_at} gives no file locks, which archives and leases need; mount it with "
            "locks, or choose a folder on a local disk."
        )
    environment = findings.environment
    if gpus.devices and environment.torch and "+cpu" in environment.torch:
        yield (
            f"GPUs: there are {len(gpus.devices)}, but torch {environment.torch} was built without them; "
            "install a build for your GPU (https://pytorch.org/get-started)."
        )
    if gpus.devices and gpus.source != "NVML":
        yield (
            "GPUs: install 'my3dis[gpu]', so that stage_timings.json has GPU memory as the driver counts it."
        )
    yield from _cluster_advice(findings)
    for weights in findings.weights:
        if weights.found is None:
            yield (
                f"Weights: {weights.key} is {weights.value}, which is not on this machine; "
                "`my3dis weights list` says where to get it."
            )


def _cluster_advice(findings: Findings) -> Iterator[str]:
    """Yield what is wrong with the cluster that the settings name; the others need not be there."""
    for cluster in findings.clusters:
        if cluster.name != findings.executor:
            continue
        if cluster.library is None:
            yield f"Executor: {cluster.name} needs its library; run `pip install 'my3dis[{cluster.name}]'`."
        if cluster.reachable is False or (cluster.name == "slurm" and not cluster.reachable):
            yield f"Executor: experiment.executor is {cluster.name}, but {cluster.text} (docs/clusters.md)."
