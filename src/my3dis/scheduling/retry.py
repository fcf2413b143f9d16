"""Decide whether a job that died is tried again, and with what: more memory, smaller batches, then alone.

Only a death for want of memory, or by a signal that may be the machine's fault, is worth another attempt.
Wrong settings, data and plug-ins are wrong again.
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, replace

from my3dis.config import Config
from my3dis.errors import ArchiveError, ConfigError, DataError, PluginError
from my3dis.monitoring.evidence import GPU_EVIDENCE, signal_of
from my3dis.scheduling.jobs import Job, JobOutcome, Need

__all__ = ["Batch", "Retry", "RetryPolicy", "batches_of", "need_after_stop", "next_attempt"]

_PERMANENT = frozenset(error.exit_code for error in (ArchiveError, ConfigError, DataError, PluginError))
# The machine may be at fault (a driver, a disk, somebody's kill), once.
_MAYBE_THE_MACHINE = frozenset((signals.SIGKILL, signals.SIGBUS, signals.SIGSEGV))
_OVER_PEAK = 1.25
# Of back ends whose batch size is theirs when no setting names one; a test compares them.
_OWN_POINTS = {"sam2_auto": 64, "semantic_sam": 200}
_OWN_OBJECTS = {"sam2_video": 1}


@dataclass(frozen=True, slots=True)
class Batch:
    """A setting that bounds how much a model does at once.

    Attributes:
        stage: that it belongs to.
        key: dotted key of the setting.
        size: in the first attempt.
    """

    stage: str
    key: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How far jobs are helped.

    Attributes:
        attempts: of a job in all.
        growth: of the memory that is reserved, per attempt.
        capacity_mb: host memory that there is at most, None = unknown; no job reserves more, or it would
            never start.
        batches: what may be made smaller, of `batches_of`.
    """

    attempts: int = 3
    growth: float = 1.5
    capacity_mb: float | None = None
    batches: tuple[Batch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Another attempt.

    Attributes:
        need: what to reserve for it.
        alone: nothing else may run beside it on its host.
        settings: (dotted key, value) for this attempt only; they are no part of a stage's digest, since they
            change what a model does at once and not what is asked of it.
        reason: one sentence.
    """

    need: Need
    alone: bool
    settings: tuple[tuple[str, int], ...]
    reason: str


def batches_of(config: Config) -> tuple[Batch, ...]:
    """Return the batch sizes that the chosen back ends work with; none for those without a model."""
    ssam, tracker = config.stages.ssam, config.stages.tracker
    found = (
        ("candidates", "stages.ssam.points_per_batch", ssam.points_per_batch, _OWN_POINTS.get(ssam.proposer)),
        (
            "track",
            "stages.tracker.objects_per_batch",
            tracker.objects_per_batch,
            _OWN_OBJECTS.get(tracker.propagator),
        ),
    )
    return tuple(Batch(stage, key, size) for stage, key, set_, own in found if (size := set_ or own))


def next_attempt(
    outcome: JobOutcome, attempt: int, need: Need, policy: RetryPolicy | None = None
) -> Retry | None:
    """Return how to try a job again, or None when it has failed for good.

    The first attempt after a shortage gets more memory and smaller batches, the last one runs alone.

    Args:
        outcome: how the attempt ended: exit code, signal, highest memory and the guard's evidence.
        attempt: which attempt that was, from 1; jobs that the guard stopped do not count.
        need: what was reserved for it.
        policy: how far jobs are helped.
    """
    policy = policy or RetryPolicy()
    signal = signal_of(outcome.exit_code, outcome.signal)
    if attempt >= policy.attempts or (signal is None and outcome.exit_code in _PERMANENT):
        return None
    if outcome.evidence:
        return _with_more(outcome, attempt, need, policy)
    if attempt == 1 and signal in _MAYBE_THE_MACHINE:
        name = signals.Signals(signal).name
        return Retry(
            need=need,
            alone=False,
            settings=(),
            reason=f"ended by {name} without a shortage of memory: tried once more as it was",
        )
    return None


def need_after_stop(need: Need, rss_mb: float, capacity_mb: float | None = None) -> Need:
    """Return what to reserve for a job that the guard stopped while it held ``rss_mb``."""
    return _reserved(need, max(need.memory_mb, rss_mb * _OVER_PEAK), capacity_mb)


def _with_more(outcome: JobOutcome, attempt: int, need: Need, policy: RetryPolicy) -> Retry:
    on_gpu = any(sentence.startswith(GPU_EVIDENCE) for sentence in outcome.evidence)
    on_host = any(not sentence.startswith(GPU_EVIDENCE) for sentence in outcome.evidence)
    alone = attempt + 1 >= policy.attempts
    changed: list[str] = []
    if on_gpu and need.gpu_memory_mb:
        need = replace(need, gpu_memory_mb=0)
        changed.append("a whole GPU")
    if on_host:
        wanted = max(need.memory_mb * policy.growth, outcome.peak_rss_mb * _OVER_PEAK)
        more = _reserved(need, wanted, policy.capacity_mb)
        if more.memory_mb > need.memory_mb:
            changed.append(f"{more.memory_mb:,} MiB reserved instead of {need.memory_mb:,}")
        need = more
    settings = _smaller(outcome.job, attempt, policy)
    changed.extend(f"{key} {size}" for key, size in settings)
    if alone:
        changed.append("nothing beside it")
    return Retry(
        need=need,
        alone=alone,
        settings=settings,
        reason=f"memory ran out ({outcome.evidence[0]}): attempt {attempt + 1} of {policy.attempts} with "
        + (", ".join(changed) or "fewer jobs beside it"),
    )


def _reserved(need: Need, memory_mb: float, capacity_mb: float | None) -> Need:
    most = max(need.memory_mb, int(capacity_mb)) if capacity_mb is not None else None
    wanted = int(-(-memory_mb // 1))
    return replace(need, memory_mb=wanted if most is None else min(wanted, most))


def _smaller(job: Job, attempt: int, policy: RetryPolicy) -> tuple[tuple[str, int], ...]:
    """Return the batches of a job's stages, halved once per attempt so far; those of one stay."""
    return tuple(
        (batch.key, max(1, batch.size >> attempt))
        for batch in policy.batches
        if batch.stage in job.stages and batch.size > 1
    )
