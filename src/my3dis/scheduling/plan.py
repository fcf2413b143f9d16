"""Plan a sweep before anything runs: which stages of which scenes are made, which are there, and why.

Planning is cheap: no scan is opened. What the folders of earlier runs record is compared with the settings,
so a plan says what is *expected*: whether the files of a scan, its ground truth, recorded masks or weights
have changed since is found by each job when it runs, which then makes the stages concerned as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from my3dis.config import Config
from my3dis.config.fields import value_of
from my3dis.errors import ConfigError
from my3dis.monitoring.gpus import Gpus, find_gpus
from my3dis.runs.plan import STAGE_NAMES, with_absolute_paths
from my3dis.scheduling.capacity import Capacity, machine_capacity
from my3dis.scheduling.estimates import (
    BACKEND_SETTING,
    Cost,
    History,
    Work,
    needs_model,
    proposed_on,
    read_history,
)
from my3dis.scheduling.expected import SceneState, StageState, Wanted, look_at_scene
from my3dis.scheduling.format_plan import format_plan
from my3dis.scheduling.frame_counts import count_some, image_pixels, typical
from my3dis.scheduling.jobs import Job, Need, ReusedStage, SweepPlan
from my3dis.scheduling.scenes import select_scenes

__all__ = ["Survey", "format_plan", "plan_sweep", "survey_sweep"]

_COUNTING_S = 0.5
"""Longest that frames are counted: the plan of 1,500 scenes must be there in two seconds."""

_START_S = 1.0
"""Start of a job's process: what `import my3dis` and the stages import, one busy core."""

_MODEL_THREADS = 4
"""Of a model on the processor; more gain little and keep other jobs out."""

_SHOWN_REFUSALS = 3
_REFERENCE_PIXELS = 640 * 480


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A plan with what a person should know of it.

    Attributes:
        plan: what will be done.
        capacity: of this machine.
        notes: sentences on what the plan and its estimates rest on, and what will stop.
    """

    plan: SweepPlan
    capacity: Capacity
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimator:
    """What all jobs of a plan share."""

    config: Config
    history: History
    gpus: int
    threads: int
    pixels: int

    def cost(self, stage: str, frames: int) -> Cost:
        """Return what a stage of a scene takes."""
        every = {"stages.ssam.ssam_freq": self.config.stages.ssam.ssam_freq}
        return self.history.cost(
            Work(
                stage=stage,
                backend=self.backend(stage),
                frames=max(1, proposed_on(stage, frames, every)),
                levels=len(self.config.experiment.levels),
                pixels=self.pixels,
                on_gpu=self.on_gpu(stage),
                skipped=self.skipped(stage),
            )
        )

    def backend(self, stage: str) -> str:
        """Return what does a stage's work; nothing for the stages that have one way only."""
        setting = BACKEND_SETTING.get(stage)
        return str(value_of(self.config, setting)) if setting else ""

    def skipped(self, stage: str) -> bool:
        """Return whether the settings leave a stage out; what a scan lacks is not known yet."""
        stages = self.config.stages
        tracked = stages.ssam.enabled and stages.tracker.enabled
        return not {
            "candidates": stages.ssam.enabled,
            "filter": stages.ssam.enabled,
            "track": tracked,
            "lift": stages.lift.enabled and tracked,
            "evaluate": stages.evaluate.enabled and tracked,
            "report": stages.report.enabled,
        }[stage]

    def has_model(self, stage: str) -> bool:
        """Return whether a stage loads weights."""
        return needs_model(self.backend(stage)) and not self.skipped(stage)

    def on_gpu(self, stage: str) -> bool:
        """Return whether a stage leases a GPU: it has a model, there are GPUs, and it may use them."""
        stages = self.config.stages
        device = {"candidates": stages.ssam.device, "track": stages.tracker.device}.get(stage)
        return self.gpus > 0 and device != "cpu" and self.has_model(stage)

    def need(self, stages: Sequence[str], costs: Sequence[Cost]) -> Need:
        """Return what a job of these stages occupies."""
        experiment = self.config.experiment
        on_gpu = any(self.on_gpu(stage) for stage in stages)
        on_processor = not on_gpu and any(self.has_model(stage) for stage in stages)
        gpu_memory_mb = max((cost.gpu_memory_mb for cost in costs), default=0.0)
        return Need(
            gpus=int(on_gpu),
            gpu_memory_mb=(experiment.gpu_memory_mb or round(gpu_memory_mb)) if on_gpu else 0,
            threads=min(_MODEL_THREADS, self.threads) if on_processor else 1,
            memory_mb=experiment.memory_mb or round(max(cost.memory_mb for cost in costs)),
        )


def plan_sweep(
    config: Config, *, keep: bool = False, history: History | None = None, gpus: int | None = None
) -> SweepPlan:
    """Return what a sweep will do, as far as can be told without opening a scan.

    The plan is what is expected: changes of a scan's files are found by its jobs when they run.

    Args:
        config: settings; ``experiment.dataset_root`` and ``scenes`` choose the scans.
        keep: refuse to replace results that were made with other settings.
        history: what earlier runs took; None reads the history below ``output_root``.
        gpus: how many there are; None looks at this machine, where a stage has a model.

    Raises:
        ConfigError: if no scenes are chosen, two would share a folder, or ``keep`` forbids what changed.
        DataError: if the root of the scenes is no folder or empty.
        PluginError: if a back end that the settings name is missing.
    """
    return survey_sweep(config, keep=keep, history=history, gpus=gpus).plan


def survey_sweep(
    config: Config, *, keep: bool = False, history: History | None = None, gpus: int | None = None
) -> Survey:
    """Return the plan of a sweep and what it rests on; see `plan_sweep`."""
    config = with_absolute_paths(config)
    scans = select_scenes(config)
    experiment = config.experiment
    root = Path(str(experiment.output_root).replace("{name}", experiment.name))
    _refuse_shared_folders(scans, root)
    wanted = Wanted.of(config)
    states = [look_at_scene(scan, root / _scene(scan) / experiment.name, wanted) for scan in scans]
    if keep:
        _refuse_changes(states, root)
    frames, frames_note = _frames(config, states)
    capacity = _capacity(config)
    estimator = _Estimator(
        config=config,
        history=history if history is not None else read_history(root),
        gpus=len(capacity.gpus) if gpus is None else gpus,
        threads=capacity.threads,
        # The scans of a sweep are taken to be of one kind: one header is read, not thousands.
        pixels=image_pixels(scans[0]) or _REFERENCE_PIXELS,
    )
    measured: set[bool] = set()
    jobs: list[Job] = []
    for state, count in zip(states, frames, strict=True):
        jobs.extend(_jobs(state, count, estimator, measured))
    plan = SweepPlan(
        config=config,
        output_root=root,
        scenes=tuple(state.scene for state in states),
        jobs=tuple(jobs),
        reused=tuple(
            ReusedStage(scene=s.scene, stage=stage.name) for s in states for stage in s.stages if stage.reuse
        ),
        keep=keep,
    )
    notes = (*_stops(states), frames_note, _basis(measured, estimator)) if jobs else ()
    return Survey(plan=plan, capacity=capacity, notes=notes)


def _scene(scan: Path) -> str:
    """Return the name that the readers give a scan: a folder's, or a video's without its suffix."""
    return scan.name if scan.is_dir() else scan.stem


def _refuse_shared_folders(scans: Sequence[Path], root: Path) -> None:
    seen: dict[str, Path] = {}
    for scan in scans:
        other = seen.setdefault(_scene(scan), scan)
        if other is not scan:
            raise ConfigError(
                f"{other.name} and {scan.name} would both be written to {root / _scene(scan)}; leave one out "
                "with experiment.scenes, or rename it"
            )


def _refuse_changes(states: Sequence[SceneState], root: Path) -> None:
    changed = [(s.scene, c) for s in states for c in dict.fromkeys(c for t in s.stages for c in t.changes)]
    scenes = dict.fromkeys(scene for scene, _ in changed)
    if scenes:
        shown = "; ".join(f"{scene}: {change}" for scene, change in changed[:_SHOWN_REFUSALS])
        raise ConfigError(
            f"--keep: {len(scenes)} of {len(states)} scenes below {root} were made with other settings: "
            f"{shown}{'; ...' if len(changed) > _SHOWN_REFUSALS else ''}; give this sweep another --name, or "
            "leave out --keep"
        )


def _frames(config: Config, states: Sequence[SceneState]) -> tuple[list[int], str]:
    """Return selected frames per scene, and where the figures come from."""
    unknown = [s.scan for s in states if not s.frames_total and not all(t.reuse for t in s.stages)]
    counted = count_some(unknown, _COUNTING_S)
    stand_in = typical([*counted.values()])
    chosen = config.experiment.frames
    totals = [state.frames_total or counted.get(state.scan, stand_in) for state in states]
    selected = [max(1, len(range(total)[chosen.start : chosen.end : chosen.step])) for total in totals]
    guessed = len(unknown) - len(counted)
    parts = [
        f"{len(states) - len(unknown):,} scenes known from earlier runs"
        if len(states) > len(unknown)
        else "",
        f"{len(counted):,} by counting image files" if counted else "",
        f"{guessed:,} taken to have {stand_in}" if guessed else "",
    ]
    return selected, f"frames: {', '.join(part for part in parts if part)}"


def _capacity(config: Config) -> Capacity:
    """Return what this machine offers; its GPUs only where a model may use them, since asking takes time."""
    stages = config.stages
    if not any(map(needs_model, (stages.ssam.proposer, stages.tracker.propagator))):
        return machine_capacity(found=Gpus(source="not asked"))
    found = find_gpus(use_torch=False)
    chosen = (str(stages.gpu),) if stages.gpu is not None and found.devices else None
    return machine_capacity(gpus=chosen, found=found)


def _jobs(state: SceneState, frames: int, estimator: _Estimator, measured: set[bool]) -> Iterator[Job]:
    """Yield the jobs of a scene: one per run of stages that need the same resources."""
    made = [stage for stage in state.stages if not stage.reuse]
    before: tuple[str, ...] = ()
    for _, group in groupby(made, key=lambda stage: estimator.on_gpu(stage.name)):
        stages: list[StageState] = [*group]
        names = tuple(stage.name for stage in stages)
        costs = [estimator.cost(name, frames) for name in names]
        measured.update(
            cost.measured
            for name, cost in zip(names, costs, strict=True)
            if name in BACKEND_SETTING and not estimator.skipped(name)
        )
        job = Job(
            id=f"{state.scene}:{names[0]}",
            scene=state.scene,
            scan=state.scan,
            stages=names,
            need=estimator.need(names, costs),
            seconds=round(_START_S + sum(cost.seconds for cost in costs), 3),
            after=before,
            why=stages[0].why,
        )
        before = (job.id,)
        yield job


def _stops(states: Sequence[SceneState]) -> Iterator[str]:
    for state in states:
        if state.stop:
            yield f"{state.scene} will stop at once: {state.stop}"


def _basis(measured: set[bool], estimator: _Estimator) -> str:
    guess = any(estimator.has_model(stage) for stage in STAGE_NAMES)
    defaults = "guesses, since no finished run with this model is recorded" if guess else "measured defaults"
    if measured == {True}:
        basis = f"{estimator.history.runs} finished runs"
    elif True in measured:
        basis = f"{estimator.history.runs} finished runs, where they used the same back end; else {defaults}"
    else:
        basis = defaults
    return f"times and memory are estimates: {basis}"
