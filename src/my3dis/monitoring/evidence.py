"""Tell whether a process died for want of memory, and what shows it."""

from __future__ import annotations

import re
import signal as signals
from collections.abc import Iterator, Sequence

from my3dis.errors import ConfigError, DataError, PluginError
from my3dis.monitoring.host import Bound, HostMemory

__all__ = ["GPU_EVIDENCE", "evidence_of_shortage", "signal_of"]

GPU_EVIDENCE = "GPU memory ran out"
"""Evidence about a GPU's memory begins so; all other is about the host's."""

_NEAR_LIMIT = 0.97
_STALLED = 40.0
_LAST_LINES, _LAST_TRACE = 5, 100
_LAST_CHARACTERS = 20_000

# These are wrong again however much memory there is.
_NEVER = frozenset(
    (0, 130, ConfigError.exit_code, DataError.exit_code, PluginError.exit_code)  # 3 is an archive's too
)
# A model that ran out and went on with smaller batches says so in its log, and did not die of it.
_SURVIVED = re.compile(r"going on with \d+|smaller_batch")
_CHAINED = re.compile(r"was the direct cause of|During handling of the above")
_GPU = re.compile(
    r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUDA error: out of memory|HIP out of memory"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
    r"|CUDA driver error: out of memory|MPS backend out of memory",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"\bMemoryError\b|ArrayMemoryError|Unable to allocate .{1,60} for an array|the memory ran out"
    r"|std::bad_alloc|Cannot allocate memory(?! in static TLS)|can't allocate memory|not enough memory"
    r"|Insufficient memory|Memory allocation still failed|\bout of memory\b|Failed to allocate .{1,40} bytes"
    r"|failed to map segment from shared object(?!: Operation not permitted)|can't start new thread"
    r"|ray\.exceptions\.OutOfMemory|oom[-_ ]kill",
    re.IGNORECASE,
)


def signal_of(exit_code: int | None, signal: int | None) -> int | None:
    """Return the signal that ended a process, also where a shell or container made a code of it (128 + n)."""
    if signal is not None or exit_code is None:
        return signal
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if exit_code in (128 + signals.SIGKILL, 128 + signals.SIGBUS) else None


def evidence_of_shortage(
    exit_code: int | None, signal: int | None, looks: Sequence[HostMemory], after: HostMemory, log_tail: str
) -> tuple[str, ...]:
    """Return what shows that a process died for want of memory; empty = it died of something else.

    Args:
        exit_code: how it ended, None where a signal did it.
        signal: that ended it, or None.
        looks: the last few before its end was noticed; the newest may be later than its end itself.
        after: a look after its end.
        log_tail: the end of its log.
    """
    signal = signal_of(exit_code, signal)
    if signal is None and (exit_code is None or exit_code in _NEVER):
        return ()
    found = [*_said_in(log_tail)]
    killed = signal == signals.SIGKILL
    kills = _kills(looks, after)
    if signal in (None, signals.SIGKILL, signals.SIGBUS) and after.oom_kills and kills < after.oom_kills:
        found.insert(
            0,
            f"oom_kill {kills} -> {after.oom_kills} in {after.kills_from}"
            + (": killed by the kernel (SIGKILL)" if killed else ": the kernel killed a process"),
        )
    if killed or signal == signals.SIGTERM:  # some watchers of memory ask with SIGTERM
        found.extend(_was_full(looks, after))
    if killed and not found and after.oom_kills is None:
        found.append(
            "SIGKILL, and nothing here counts kills for want of memory, so it is taken for one "
            "(`my3dis doctor` says what is missing)"
        )
    return tuple(dict.fromkeys(found))


def _kills(looks: Sequence[HostMemory], after: HostMemory) -> float:
    """Return the lowest count before, of the same counter; infinite when none was taken."""
    counts = (look.oom_kills for look in looks if look.kills_from == after.kills_from)
    return min((count for count in counts if count is not None), default=float("inf"))


def _was_full(looks: Sequence[HostMemory], after: HostMemory) -> Iterator[str]:
    fullest: dict[str, Bound] = {}
    for bound in (bound for look in looks for bound in look.bounds):
        if bound.name not in fullest or bound.held_mb > fullest[bound.name].held_mb:
            fullest[bound.name] = bound
    for bound in fullest.values():
        if bound.held_mb >= _NEAR_LIMIT * bound.capacity_mb:
            yield f"{bound.held_mb:,.0f} of {bound.capacity_mb:,.0f} MiB ({bound.name}) were used just before"
    limit, peak = after.limit_mb, after.peak_mb
    # A peak is kept for ever: only one that was reached since those looks belongs to this death.
    peaks = [look.peak_mb for look in looks if look.peak_mb is not None]
    if limit and peak and peaks and peak >= _NEAR_LIMIT * limit and peak > min(peaks):
        yield f"use rose to {peak:,.0f} of {limit:,.0f} MiB ({after.limit_from})"
    stalls = max((look.pressure.full for look in (*looks, after) if look.pressure), default=0.0)
    if stalls >= _STALLED:
        yield f"everything waited for memory in {stalls:.0f} % of the last ten seconds (pressure)"


def _said_in(log_tail: str) -> Iterator[str]:
    """Yield the line of the last error in which memory is named, first about a GPU's."""
    lines = [line for line in _last_error(log_tail[-_LAST_CHARACTERS:]) if not _SURVIVED.search(line)]
    for pattern, beginning in ((_GPU, GPU_EVIDENCE), (_HOST, "its log ends with")):
        line = next((line for line in reversed(lines) if pattern.search(line)), None)
        if line is not None:
            yield f"{beginning}: {line.strip()[:200]}"
            return


def _last_error(log: str) -> list[str]:
    """Return the lines from the last traceback (with those that it follows from) or error on."""
    lines = log.splitlines()[-_LAST_TRACE:]
    first: int | None = None
    for n in reversed(range(len(lines))):
        begins = "Traceback (most recent call last)" in lines[n] or re.search(r"\berror: ", lines[n])
        if begins and (first is None or any(_CHAINED.search(line) for line in lines[n:first])):
            first = n
    return lines[-_LAST_LINES:] if first is None else lines[first:]
