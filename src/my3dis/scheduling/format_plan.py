"""The plan of a sweep as a table that a person reads before starting it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from my3dis.scheduling.capacity import Capacity, machine_capacity
from my3dis.scheduling.jobs import Job, SweepPlan

__all__ = ["format_plan", "format_seconds", "wall_seconds"]

_MOST_ROWS = 40
_FIRST, _LAST = 24, 8
_WIDEST_WHY = 48
_MOST_REASONS = 5
_WIDEST_SCENE = 28
_CHANGES_LATER = (
    "expected, not certain: a change of a scan's files, of ground truth or of weights is noticed by the "
    "jobs, which then make the stages concerned as well"
)


def wall_seconds(plan: SweepPlan, capacity: Capacity) -> float:
    """Return a lower bound of the wall time: the scarcest resource is always busy.

    Bounds: threads, memory, GPUs, ``experiment.parallel_scenes`` and the longest scene.
    """
    scenes: dict[str, float] = {}
    for job in plan.jobs:
        scenes[job.scene] = scenes.get(job.scene, 0.0) + job.seconds
    work = sum(scenes.values())
    bounds = [max(scenes.values(), default=0.0)]
    needs = [(job.seconds, capacity.clipped(job.need)) for job in plan.jobs]
    bounds.append(sum(seconds * need.threads for seconds, need in needs) / max(1, capacity.threads))
    bounds.append(sum(seconds * need.memory_mb for seconds, need in needs) / max(1, capacity.memory_mb))
    whole_mb = sum(gpu.whole_mb for gpu in capacity.gpus)
    if whole_mb:
        mean_mb = whole_mb / len(capacity.gpus)
        leased = sum(s * need.gpus * min(need.gpu_memory_mb or mean_mb, mean_mb) for s, need in needs)
        bounds.append(leased / whole_mb)
    if plan.config.experiment.parallel_scenes:
        bounds.append(work / plan.config.experiment.parallel_scenes)
    return max(bounds)


def format_plan(
    plan: SweepPlan,
    notes: Sequence[str] = (),
    capacity: Capacity | None = None,
    *,
    elsewhere: Sequence[str] = (),
) -> str:
    """Return the table of a plan: per scene what is made, what is taken over, why, and how long it may take.

    Args:
        plan: what will be done.
        notes: sentences to print below, as `my3dis.scheduling.plan.survey_sweep` gives them.
        capacity: what there is to run on; this machine when None.
        elsewhere: sentences about the cluster on which it runs instead of this machine.
    """
    rows = _shortened([*_rows(plan)])
    head = ("scene", "make", "taken over", "why", "about")
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    lines = [*table, "", *_totals(plan)]
    if plan.jobs:
        lines += elsewhere or _machine(plan, capacity or machine_capacity())
    lines += [f"- {note}" for note in notes]
    if plan.reused:
        lines.append(f"- {_CHANGES_LATER}")
    return "\n".join(lines)


def _rows(plan: SweepPlan) -> Iterator[tuple[str, ...]]:
    jobs: dict[str, list[Job]] = {}
    for job in plan.jobs:
        jobs.setdefault(job.scene, []).append(job)
    reused: dict[str, list[str]] = {}
    for stage in plan.reused:
        reused.setdefault(stage.scene, []).append(stage.stage)
    for scene in plan.scenes:
        mine = jobs.get(scene, [])
        made = [stage for job in mine for stage in job.stages]
        taken = reused.get(scene, [])
        yield (
            _cut(scene, _WIDEST_SCENE),
            ", ".join(made) if made and taken else "all" if made else "nothing",
            ", ".join(taken) if made and taken else "all" if taken else "",
            _cut(mine[0].why, _WIDEST_WHY) if mine else "",
            format_seconds(sum(job.seconds for job in mine)) if mine else "",
        )


def _shortened(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    if len(rows) <= _MOST_ROWS:
        return rows
    hidden = rows[_FIRST:-_LAST]
    idle = sum(row[1] == "nothing" for row in hidden)
    text = f"... {len(hidden):,} more"
    made = f"{len(hidden) - idle:,} to be made" if len(hidden) > idle else ""
    taken = f"{idle:,} unchanged" if idle else ""
    return [*rows[:_FIRST], (text, made, taken, "", ""), *rows[-_LAST:]]


def _totals(plan: SweepPlan) -> Iterator[str]:
    busy = {job.scene for job in plan.jobs}
    yield (
        f"{len(plan.scenes):,} scenes: {len(busy):,} to be made in {len(plan.jobs):,} jobs, "
        f"{len(plan.scenes) - len(busy):,} unchanged; results in {plan.output_root}"
    )
    if not plan.jobs:
        return
    first = {job.scene: job.why for job in reversed(plan.jobs)}
    reasons = Counter(first.values()).most_common()
    shown = [f"{_cut(why, _WIDEST_WHY)} ({count:,})" for why, count in reasons[:_MOST_REASONS]]
    others = sum(count for _, count in reasons[_MOST_REASONS:])
    yield f"why: {', '.join([*shown, *([f'others ({others:,})'] if others else [])])}"
    needs = [job.need for job in plan.jobs]
    memory = sorted(need.memory_mb for need in needs)
    span = f"{memory[0]:,}" if memory[0] == memory[-1] else f"{memory[0]:,} to {memory[-1]:,}"
    line = f"a job reserves {span} MiB"
    on_gpu = [need for need in needs if need.gpus]
    if on_gpu:
        share = max(need.gpu_memory_mb for need in on_gpu)
        line += f"; {len(on_gpu):,} jobs lease {f'{share:,} MiB of a GPU' if share else 'a whole GPU'}"
    yield line


def _machine(plan: SweepPlan, capacity: Capacity) -> Iterator[str]:
    """Yield what this machine makes of a plan."""
    needs = [job.need for job in plan.jobs]
    memory_mb = max(need.memory_mb for need in needs)
    offered = [_counted(capacity.threads, "processor"), f"{capacity.memory_mb:,} MiB for jobs"]
    offered += [_counted(len(capacity.gpus), "GPU")] if capacity.gpus else []
    parallel = plan.config.experiment.parallel_scenes
    offered += [f"{_counted(parallel, 'scene')} at a time"] if parallel else []
    work = format_seconds(sum(job.seconds for job in plan.jobs))
    wall = format_seconds(wall_seconds(plan, capacity))
    yield f"about {work} of work; at least {wall} with {', '.join(offered)}"
    if memory_mb > capacity.memory_mb:
        yield f"the largest job reserves more than these {capacity.memory_mb:,} MiB: it will run alone"
    lacking = next((why for need in needs if (why := capacity.gpus_lack(need))), None)
    if lacking:
        yield f"some jobs cannot run here: {lacking}"


def format_seconds(seconds: float) -> str:
    """Return a duration in the two units that matter, such as ``42 s`` or ``3 h 20 min``."""
    whole = max(1, round(seconds))
    for unit, size, lesser, lesser_size in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // lesser_size
            return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")
    return f"{whole} s"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
