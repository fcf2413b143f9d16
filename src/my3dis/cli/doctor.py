"""The command ``my3dis doctor``: what this machine offers, what the memory guard can see, and what to do."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from my3dis.cli.parser import Commands, Parser, add_command
from my3dis.errors import EXIT_OK, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from my3dis.config import Config
    from my3dis.monitoring.gpus import Gpus
    from my3dis.monitoring.host import HostMemory
    from my3dis.monitoring.machine import Disk, Extra, Processors
    from my3dis.runs.provenance import Environment

__all__ = ["add_commands"]

_LOW_DISK_MB = 5_000
_SMALL_MEMORY_MB = 3_000
_WIDTH = 100
_HEADING = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """A setting that names model weights, and where they are; None = not on this machine."""

    key: str
    value: str
    found: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
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
    weights: tuple[_Weights, ...]
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
    for title, lines in (
        ("memory", _memory_lines(findings.memory, findings.address_space_mb)),
        ("processor", _processor_lines(findings)),
        ("output folder", _disk_lines(findings.disk)),
        ("GPUs", _gpu_lines(findings)),
        ("software", _software_lines(findings)),
        ("weights", _weight_lines(findings)),
    ):
        print(title)
        for heading, text in lines:
            print(_wrapped(heading, text))
        print()
    print("what to do" if findings.advice else "Nothing to do: all that a run needs is here.")
    for n, sentence in enumerate(findings.advice, start=1):
        print(textwrap.fill(sentence, _WIDTH, initial_indent=f"{n:>3}. ", subsequent_indent="     "))
    return EXIT_OK


def _look_around(file: Path | None, output: Path | None) -> _Findings:
    from my3dis.config import Config
    from my3dis.config.load import load_config
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
    findings = _Findings(
        memory=read_host_memory(),
        address_space_mb=address_space_mb(),
        processors=processors(),
        disk=look_at_disk(folder),
        gpus=find_gpus(),
        environment=environment_snapshot(),
        extras=extras(),
        weights=_weights(config),
        settings_error=problem,
    )
    findings.advice.extend(_advice(findings))
    return findings


def _weights(config: Config) -> tuple[_Weights, ...]:
    from my3dis.backends.torch_models.weights import local_weights

    set_now = (
        ("stages.ssam.checkpoint", config.stages.ssam.checkpoint),
        ("stages.tracker.checkpoint", config.stages.tracker.checkpoint),
    )
    return tuple(
        _Weights(key=key, value=value, found=str(found) if (found := local_weights(value)) else None)
        for key, value in set_now
        if value
    )


def _advice(findings: _Findings) -> Iterator[str]:
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
    for weights in findings.weights:
        if weights.found is None:
            yield (
                f"Weights: {weights.key} is {weights.value}, which is not on this machine; "
                "`my3dis weights list` says where to get it."
            )


def _memory_lines(memory: HostMemory, address_space_mb: float | None) -> Iterator[tuple[str, str]]:
    from my3dis.monitoring.guard import MemoryGuard

    yield "watched by", memory.source + (f", group {memory.group}" if memory.group else "")
    if memory.limit_mb is not None:
        yield "limit", f"{memory.limit_mb:,.0f} MiB ({memory.limit_from})"
    else:
        yield "limit", "none but the machine's memory"
    guard = MemoryGuard(lambda: memory)
    for bound in memory.bounds:
        soft, hard = guard.marks_mb(bound)
        share = 100 * bound.working_mb / bound.capacity_mb
        yield (
            "in use",
            f"{bound.working_mb:,.0f} of {bound.capacity_mb:,.0f} MiB ({share:.0f} %), {bound.name}; above "
            f"{soft:,.0f} no job starts, above {hard:,.0f} the youngest is stopped",
        )
    if memory.group:
        yield "", f"the group uses {memory.current_mb:,.0f} MiB with page cache"
    yield "peak", "not kept here" if memory.peak_mb is None else f"{memory.peak_mb:,.0f} MiB"
    if memory.oom_kills is None:
        yield "kills", "nothing here counts processes killed for want of memory"
    else:
        yield "kills", f"{memory.oom_kills} for want of memory so far ({memory.kills_from})"
    if memory.pressure is None:
        yield "stalls", "not measured here"
    else:
        some, full = memory.pressure.some, memory.pressure.full
        yield "stalls", f"some work waited {some:g} %, all work {full:g} % of the last ten seconds"
    swap = memory.swap_total_mb
    yield "swap", f"{swap - memory.swap_free_mb:,.0f} of {swap:,.0f} MiB in use" if swap else "none"
    if address_space_mb is not None:
        yield "per process", f"at most {address_space_mb:,.0f} MiB of addresses (ulimit -v)"
    for sentence in memory.notes:
        yield "note", sentence
    blind = "half as many jobs as asked for run at a time" if memory.missing else "nothing"
    yield "missing", f"{len(memory.missing)} (see below): {blind}" if memory.missing else blind


def _processor_lines(findings: _Findings) -> Iterator[tuple[str, str]]:
    found = findings.processors
    yield "name", findings.environment.cpu
    text = f"{found.count} for this process"
    if found.quota is not None:
        text += f", but time for {found.quota:g} only (limit of its group)"
    yield "threads", text


def _disk_lines(disk: Disk) -> Iterator[tuple[str, str]]:
    made = "" if disk.looked_at == os.path.realpath(disk.folder) else " (will be made)"
    yield "path", f"{disk.folder}{made}"
    yield "space", f"{disk.free_mb:,.0f} of {disk.total_mb:,.0f} MiB free"
    kind = disk.filesystem or "of unknown kind"
    if disk.network:
        yield (
            "file system",
            f"{kind}, not known to be local: archives use the slower journal that is safe there",
        )
    else:
        yield "file system", f"{kind}, local: archives use SQLite's write-ahead log"
    locks = {True: "work", False: "do not work", None: "not tried, since nothing can be written there"}
    yield "file locks", locks[disk.locks]


def _gpu_lines(findings: _Findings) -> Iterator[tuple[str, str]]:
    gpus = findings.gpus
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    for gpu in gpus.devices:
        memory = f", {gpu.used_mb:,.0f} of {gpu.total_mb:,.0f} MiB in use" if gpu.total_mb else ""
        yield f"{gpu.index}", f"{gpu.name}{memory} {gpu.uuid}".rstrip()
    if not gpus.devices:
        yield "found", "none; the weight-free back ends need none"
    else:
        yield "told by", gpus.source + (f", driver {gpus.driver}" if gpus.driver else "")
        measured = "as the driver counts it" if gpus.source == "NVML" else "as torch counts it"
        yield "peaks", f"stage_timings.json has GPU memory {measured}"
    if visible is not None:
        yield "visible", f"CUDA_VISIBLE_DEVICES={visible}"
    for note in gpus.notes:
        yield "note", note


def _software_lines(findings: _Findings) -> Iterator[tuple[str, str]]:
    here = findings.environment
    commit = f" (commit {here.commit[:12]})" if here.commit else ""
    yield "my3dis", f"{here.my3dis}{commit}, {here.python}, {here.os}"
    yield "libraries", ", ".join(f"{name} {version}" for name, version in here.packages)
    for extra in findings.extras:
        state = "installed"
        if extra.absent:
            state = f"not installed ({', '.join(extra.absent)}); pip install 'my3dis[{extra.name}]'"
        yield f"[{extra.name}]", f"{extra.purpose}: {state}"


def _weight_lines(findings: _Findings) -> Iterator[tuple[str, str]]:
    if findings.settings_error:
        yield "set", "unknown, since the settings cannot be read"
    elif not findings.weights:
        yield "set", "none; the weight-free back ends need none (`my3dis weights list` shows what there is)"
    for weights in findings.weights:
        yield weights.key, f"{weights.value}: {weights.found or 'not on this machine'}"


def _wrapped(heading: str, text: str) -> str:
    start = f"  {heading:<{_HEADING}} "
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * (_HEADING + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )
