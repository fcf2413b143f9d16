"""How ``my3dis doctor`` says what it found: a heading and a text per line."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from my3dis.cli.doctor import Findings
    from my3dis.monitoring.host import HostMemory
    from my3dis.monitoring.machine import Disk

__all__ = ["numbered", "sections"]

_WIDTH = 100
_HEADING = 15

Lines = Iterator[tuple[str, str]]


def sections(findings: Findings) -> Iterator[str]:
    """Yield a paragraph per part of the machine."""
    for title, lines in (
        ("memory", _memory_lines(findings.memory, findings.address_space_mb)),
        ("processor", _processor_lines(findings)),
        ("output folder", _disk_lines(findings.disk)),
        ("GPUs", _gpu_lines(findings)),
        ("software", _software_lines(findings)),
        ("clusters", _cluster_lines(findings)),
        ("weights", _weight_lines(findings)),
    ):
        yield "\n".join((title, *(_wrapped(heading, text) for heading, text in lines)))


def numbered(n: int, sentence: str) -> str:
    """Return a sentence of a numbered list."""
    return textwrap.fill(
        sentence, _WIDTH, initial_indent=f"{n:>3}. ", subsequent_indent="     ", break_on_hyphens=False
    )


def _memory_lines(memory: HostMemory, address_space_mb: float | None) -> Lines:
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


def _processor_lines(findings: Findings) -> Lines:
    found = findings.processors
    yield "name", findings.environment.cpu
    text = f"{found.count} for this process"
    if found.quota is not None:
        text += f", but time for {found.quota:g} only (limit of its group)"
    yield "threads", text


def _disk_lines(disk: Disk) -> Lines:
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


def _gpu_lines(findings: Findings) -> Lines:
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


def _software_lines(findings: Findings) -> Lines:
    here = findings.environment
    commit = f" (commit {here.commit[:12]})" if here.commit else ""
    yield "my3dis", f"{here.my3dis}{commit}, {here.python}, {here.os}"
    yield "libraries", ", ".join(f"{name} {version}" for name, version in here.packages)
    for extra in findings.extras:
        state = "installed"
        if extra.absent:
            state = f"not installed ({', '.join(extra.absent)}); pip install 'my3dis[{extra.name}]'"
        yield f"[{extra.name}]", f"{extra.purpose}: {state}"


def _cluster_lines(findings: Findings) -> Lines:
    yield "jobs run", {"local": "on this machine"}.get(findings.executor, f"through {findings.executor}")
    for cluster in findings.clusters:
        extra = "" if cluster.library else f"the extra is not installed (my3dis[{cluster.name}]); "
        yield cluster.name, f"{extra}{cluster.text}"


def _weight_lines(findings: Findings) -> Lines:
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
